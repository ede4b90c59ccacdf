//! What HTTP sinks share: the endpoint with its credentials, and how a status is judged.
use crate::DeliveryError;
use atio_runtime::{
    http::outbound::{IpNet, Options, Outbound, Response, StatusCode, Url, anywhere, header},
    secret::{self, ExposeSecret, SecretString},
};
use atio_schemas::Code;
use atio_stage::{Receipt, Reject, Verdict};
use atio_topics::sink::{Auth, Http};
use std::time::Duration;

/// An answer's text is cut to so many bytes before it goes into a message.
const EXCERPT: usize = 300;
/// The longest answer that is read.
const MAX_ANSWER: usize = 8 << 20;

enum Credentials {
    None,
    Basic(String, SecretString),
    Bearer(SecretString),
    Header(header::HeaderName, SecretString),
}

/// Where a sink is and how to get in.
pub struct Endpoint {
    outbound: Outbound,
    pub url: Url,
    credentials: Credentials,
}

impl Endpoint {
    /// # Errors
    /// The url leads inside, a secret is missing, the authorities' file can't be read.
    pub fn new(sink: &str, http: &Http, allow_internal: &[IpNet]) -> Result<Self, DeliveryError> {
        let setup = |reason: String| DeliveryError::Setup { sink: sink.to_owned(), reason };
        let read =
            |s| secret::read(s).map_err(|source| DeliveryError::Secret { sink: sink.to_owned(), source });
        let ca = http.ca.as_ref().map(std::fs::read).transpose().map_err(|e| setup(format!("ca: {e}")))?;
        let allow_internal = if http.allow_internal { anywhere() } else { allow_internal.to_vec() };
        let options =
            Options { allow_internal, timeout: http.timeout, connect_timeout: http.connect_timeout, ca };
        let outbound = Outbound::new(&options).map_err(|e| setup(e.to_string()))?;
        let url = outbound.url(&http.url).map_err(|e| setup(e.to_string()))?;
        let credentials = match &http.auth {
            None => Credentials::None,
            Some(Auth::Basic { user, password }) => Credentials::Basic(user.clone(), read(password)?),
            Some(Auth::Bearer(token)) => Credentials::Bearer(read(token)?),
            Some(Auth::ApiKey { header, key }) => {
                let name = header.parse().map_err(|_| setup(format!("`{header}` is no header name")))?;
                Credentials::Header(name, read(key)?)
            }
        };
        Ok(Self { outbound, url, credentials })
    }

    /// A POST with the credentials; the caller adds headers and the body.
    pub fn post(&self, url: Url) -> atio_runtime::http::outbound::RequestBuilder {
        let request = self.outbound.client().post(url);
        match &self.credentials {
            Credentials::None => request,
            Credentials::Basic(user, password) => request.basic_auth(user, Some(password.expose_secret())),
            Credentials::Bearer(token) => request.bearer_auth(token.expose_secret()),
            Credentials::Header(name, key) => request.header(name, key.expose_secret()),
        }
    }
}

/// Not reached, or no answer in time: not now.
pub fn unreachable(error: &atio_runtime::http::outbound::Error) -> Verdict {
    // The url may hold what only the two ends should know.
    let mut text = "no answer".to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(c) = cause {
        text = format!("{text}: {c}");
        cause = c.source();
    }
    Verdict::Retry { after: None, error: text }
}

/// Retry-After in seconds (RFC 9110 §10.2.3), at most five minutes; dates are left to the back-off.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(300)))
}

/// The body, up to a limit.
///
/// # Errors
/// The connection broke, or the answer is longer than 8 MiB.
pub async fn body(mut response: Response) -> Result<Vec<u8>, Verdict> {
    let mut all = vec![];
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(all),
            Ok(Some(chunk)) if all.len() + chunk.len() <= MAX_ANSWER => all.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                return Err(Verdict::Retry { after: None, error: "answer is longer than 8 MiB".into() });
            }
            Err(e) => return Err(unreachable(&e)),
        }
    }
}

/// The start of an answer, for messages.
pub fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..EXCERPT).unwrap_or(body)).into_owned();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// True where the same request will never be taken. 401, 403, 407 and 404 are not: somebody mends a key or an address, and nothing that
/// waited for it may be lost; 408, 409, 423, 425, 429 ask to come again.
pub fn is_permanent(status: StatusCode) -> bool {
    status.is_redirection()
        || (status.is_client_error()
            && !matches!(status.as_u16(), 401 | 403 | 404 | 407 | 408 | 409 | 423 | 425 | 429))
}

/// The verdict of a status for one delivery.
pub fn judge(
    status: StatusCode,
    after: Option<Duration>,
    external_id: Option<String>,
    answer: &[u8],
) -> Verdict {
    if status.is_success() {
        return Verdict::Delivered(Receipt { external_id, code: Some(status.as_u16().to_string()) });
    }
    let message = format!("status {}: {}", status.as_u16(), excerpt(answer));
    if is_permanent(status) {
        Verdict::Reject(Reject::whole(Code::SinkRejected, message))
    } else {
        Verdict::Retry { after, error: message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_permanent_answers_are_rejected() {
        let of = |status: u16| judge(StatusCode::from_u16(status).unwrap(), None, None, b"x");
        assert!([200, 201, 202, 204].iter().all(|s| matches!(of(*s), Verdict::Delivered(_))));
        assert!([301, 400, 405, 410, 413, 415, 422].iter().all(|s| matches!(of(*s), Verdict::Reject(_))));
        assert!(
            [401, 403, 404, 408, 409, 429, 500, 502, 503, 504]
                .iter()
                .all(|s| matches!(of(*s), Verdict::Retry { .. }))
        );
    }
}
