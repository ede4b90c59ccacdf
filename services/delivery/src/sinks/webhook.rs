//! Webhook: POST of one payload, signed. Idempotent where the receiver honours `Idempotency-Key`.
//!
//! `Atio-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256(secret, t.body)>`: the receiver computes the same over the raw body and refuses
//! old times.
use super::http::{Endpoint, body, judge, retry_after, unreachable};
use atio_runtime::{
    clock,
    http::outbound::header::CONTENT_TYPE,
    secret::{ExposeSecret, SecretString},
};
use atio_stage::{BoxFuture, Delivery, Sink, Verdict};
use hmac::{Hmac, Mac};
use sha2::Sha256;

pub struct Webhook {
    endpoint: Endpoint,
    secret: SecretString,
}

/// The header's value for a body sent at `unix` seconds.
pub fn signature(secret: &SecretString, unix: i64, body: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    // HMAC takes keys of any length; there is no other way for it to fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
        return String::new();
    };
    mac.update(unix.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("t={unix},v1={}", hex(&mac.finalize().into_bytes()))
}

impl Webhook {
    pub fn new(endpoint: Endpoint, secret: SecretString) -> Self {
        Self { endpoint, secret }
    }

    async fn send(&self, delivery: &Delivery) -> Verdict {
        let record = &delivery.record;
        let unix = clock::now().millis() / 1000;
        let request = self
            .endpoint
            .post(self.endpoint.url.clone())
            .header(CONTENT_TYPE, &record.content_type)
            .header("Idempotency-Key", &record.idempotency_key)
            .header("Atio-Signature", signature(&self.secret, unix, &record.payload))
            .header("Atio-Event", &record.event_id)
            .header("Atio-Workflow", &record.workflow)
            .body(record.payload.clone());
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return unreachable(&error),
        };
        let (status, after) = (response.status(), retry_after(&response));
        let external_id = response.headers().get("location").and_then(|v| v.to_str().ok()).map(str::to_owned);
        match body(response).await {
            Ok(answer) => judge(status, after, external_id, &answer),
            // The status alone says that it arrived.
            Err(_) if status.is_success() => judge(status, after, external_id, b""),
            Err(retry) => retry,
        }
    }
}

impl Sink for Webhook {
    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Verdict>> {
        Box::pin(async move {
            let mut verdicts = Vec::with_capacity(batch.len());
            for delivery in batch {
                verdicts.push(self.send(delivery).await);
            }
            verdicts
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_page() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac topsecret
        let made = signature(&SecretString::from("topsecret".to_owned()), 1_700_000_000, br#"{"a":1}"#);
        assert_eq!(made, "t=1700000000,v1=6a939b0c71853d606167625a15168ee9188c6a511c773ef4f42d307f3849e50f");
    }
}
