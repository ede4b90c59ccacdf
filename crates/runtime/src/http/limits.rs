//! Limits at the door: body size, time, concurrency, rate. One middleware each, in the order: concurrency, time, (auth), rate.
use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use std::{num::NonZeroU32, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// An error body as every endpoint of ours gives it.
#[must_use]
pub fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(serde_json::json!({"code": code, "message": message}))).into_response()
}

/// The answer while nothing can be published.
#[must_use]
pub fn unavailable() -> Response {
    let message = "the broker does not answer; try again";
    let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "broker_unavailable", message);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

/// Requests under way.
#[derive(Clone, Debug)]
pub struct Door {
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Door {
    #[must_use]
    pub fn new(concurrency: usize, timeout: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(concurrency)), timeout }
    }
}

/// Concurrency (503) and time (408) of a request as a whole, its body included.
pub async fn door(State(door): State<Door>, request: Request, next: Next) -> Response {
    let Ok(_place) = door.places.try_acquire() else {
        let mut full =
            refuse(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many requests under way; try again");
        full.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return full;
    };
    let late = || refuse(StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long");
    tokio::time::timeout(door.timeout, next.run(request)).await.unwrap_or_else(|_| late())
}

/// Requests per second and key.
#[derive(Clone)]
pub struct Rate(Arc<DefaultKeyedRateLimiter<String>>);

impl std::fmt::Debug for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rate")
    }
}

impl Rate {
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self(Arc::new(RateLimiter::keyed(Quota::per_second(
            NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN),
        ))))
    }
    /// Counts one request of `key`.
    ///
    /// # Errors
    /// The 429 to answer, with Retry-After in whole seconds.
    pub fn check(&self, key: &str) -> Result<(), Box<Response>> {
        let Err(early) = self.0.check_key(&key.to_owned()) else { return Ok(()) };
        let wait = early.wait_time_from(governor::clock::DefaultClock::default().now()).as_secs() + 1;
        let mut response =
            refuse(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests for this key");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        Err(Box::new(response))
    }
}
