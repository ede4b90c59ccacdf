//! One HTTP listener a process. Owns listening, limits, health and metrics; services bring their routers.
use super::{
    auth::Keys,
    limits::{Door, Rate, door},
};
use crate::{config::HttpConfig, lifecycle::Tasks};
use atio_metric::Metrics;
use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::net::TcpListener;

/// What a part of the process says of itself: None = ready, else why not.
pub type Ready = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What health and metrics answer from.
#[derive(Clone)]
struct Health {
    metrics: Metrics,
    ready: Arc<Mutex<Vec<(String, Ready)>>>,
    keys: Keys,
}

/// A listener with what it will serve.
pub struct Server {
    router: Router,
    health: Health,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    #[must_use]
    pub fn new(metrics: Metrics, keys: Keys) -> Self {
        Self { router: Router::new(), health: Health { metrics, ready: Arc::default(), keys } }
    }
    /// Adds a service's routes; they check their keys themselves.
    #[must_use]
    pub fn merge(mut self, router: Router) -> Self {
        self.router = self.router.merge(router);
        self
    }
    /// Adds what `/readyz` asks.
    pub fn ready_when(&self, what: &str, ready: Ready) {
        self.health.ready.lock().unwrap_or_else(PoisonError::into_inner).push((what.to_owned(), ready));
    }
}

/// Serves until the tasks stop. Returns the bound address at once.
///
/// # Errors
/// The address is taken or not ours.
pub async fn serve(server: Server, config: &HttpConfig, tasks: &Tasks) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(config.listen).await?;
    let addr = listener.local_addr()?;
    let health = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(server.health);
    let limits = Door::new(config.concurrency, Duration::from_secs(config.timeout));
    let app = server
        .router
        .merge(health)
        .layer(DefaultBodyLimit::max(config.max_body))
        .layer(middleware::from_fn_with_state(limits, door))
        .into_make_service_with_connect_info::<SocketAddr>();
    let stop = tasks.token();
    tasks.spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "http listener ended");
        }
    });
    Ok(addr)
}

/// The rate limiter that a configuration asks for.
#[must_use]
pub fn rate(config: &HttpConfig) -> Rate {
    Rate::new(config.rate)
}

/// For what only shows how the system is: open on loopback; from elsewhere a viewer's key is needed.
///
/// # Errors
/// The 401 or 403 to answer.
pub fn open_on_loopback(keys: &Keys, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Box<Response>> {
    if peer.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    keys.check(headers, super::auth::Role::Viewer, None).map(|_| ())
}

async fn readyz(State(health): State<Health>) -> Response {
    let asked = health.ready.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let waiting: Vec<String> =
        asked.iter().filter_map(|(what, ready)| ready().map(|why| format!("{what}: {why}"))).collect();
    if waiting.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, waiting.join("\n") + "\n").into_response()
}

async fn metrics(
    State(health): State<Health>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = open_on_loopback(&health.keys, peer, &headers) {
        return *refused;
    }
    match health.metrics.text() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::post;

    async fn started(config: &HttpConfig) -> (SocketAddr, Tasks, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::open(dir.path()).unwrap();
        let server = Server::new(Metrics::default(), keys)
            .merge(Router::new().route("/in", post(|body: String| async move { body.len().to_string() })));
        server.ready_when("test", Arc::new(|| Some("not yet".into())));
        let tasks = Tasks::default();
        (serve(server, config, &tasks).await.unwrap(), tasks, dir)
    }

    #[tokio::test]
    async fn health_metrics_and_the_body_limit() {
        let config = HttpConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            max_body: 10,
            ..HttpConfig::default()
        };
        let (addr, tasks, _dir) = started(&config).await;
        let client = crate::http::outbound::loopback().unwrap();
        let get = |path: &str| client.get(format!("http://{addr}{path}")).send();
        assert_eq!(get("/healthz").await.unwrap().status(), 200);
        let ready = get("/readyz").await.unwrap();
        assert_eq!((ready.status().as_u16(), ready.text().await.unwrap().as_str()), (503, "test: not yet\n"));
        assert_eq!(get("/metrics").await.unwrap().status(), 200);
        let send = |body: &'static str| client.post(format!("http://{addr}/in")).body(body).send();
        assert_eq!(send("0123456789").await.unwrap().status(), 200);
        assert_eq!(send("0123456789a").await.unwrap().status(), 413);
        assert!(tasks.shutdown(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn a_request_that_stalls_ends_and_a_full_house_says_so() {
        let config = HttpConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            timeout: 1,
            concurrency: 1,
            ..HttpConfig::default()
        };
        let (addr, tasks, _dir) = started(&config).await;
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut slow = tokio::net::TcpStream::connect(addr).await.unwrap();
        slow.write_all(b"POST /in HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab").await.unwrap();
        let client = crate::http::outbound::loopback().unwrap();
        let mut statuses = vec![];
        while !statuses.contains(&503) && statuses.len() < 1000 {
            statuses
                .push(client.get(format!("http://{addr}/healthz")).send().await.unwrap().status().as_u16());
        }
        assert!(statuses.contains(&503), "{statuses:?}");
        let mut answer = vec![0; 12];
        slow.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
        assert!(tasks.shutdown(Duration::from_secs(10)).await);
    }
}
