//! The receiving end of the demo's webhook: counts what arrives under distinct idempotency keys, and checks each signature.
use anyhow::Context;
use atio_runtime::{
    Tasks,
    http::axum::{
        self, Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post,
    },
    secret::SecretString,
};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

struct Inner {
    secret: String,
    keys: Mutex<BTreeSet<String>>,
    forged: AtomicU64,
}

pub struct Receiver {
    addr: SocketAddr,
    inner: Arc<Inner>,
    tasks: Tasks,
}

impl Receiver {
    pub async fn start() -> anyhow::Result<Self> {
        let secret = uuid::Uuid::new_v4().simple().to_string();
        let inner = Arc::new(Inner { secret, keys: Mutex::default(), forged: AtomicU64::new(0) });
        let socket = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .context("the demo's webhook receiver")?;
        let addr = socket.local_addr()?;
        let app = Router::new().route("/siem", post(receive)).with_state(inner.clone());
        let tasks = Tasks::default();
        let stop = tasks.token();
        tasks.spawn(async move {
            if let Err(error) = axum::serve(socket, app).with_graceful_shutdown(stop.cancelled_owned()).await
            {
                tracing::error!(%error, "the demo's receiver ended");
            }
        });
        Ok(Self { addr, inner, tasks })
    }
    pub fn url(&self) -> String {
        format!("http://{}/siem", self.addr)
    }
    pub fn secret(&self) -> &str {
        &self.inner.secret
    }
    pub fn received(&self) -> u64 {
        self.inner.keys.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }
    pub fn forged(&self) -> u64 {
        self.inner.forged.load(SeqCst)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

async fn receive(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let sent = text("atio-signature");
    let unix = sent.strip_prefix("t=").and_then(|s| s.split(',').next()).and_then(|t| t.parse().ok());
    let secret = SecretString::from(inner.secret.clone());
    if unix.is_none_or(|unix| atio_delivery::sinks::webhook::signature(&secret, unix, &body) != sent) {
        inner.forged.fetch_add(1, SeqCst);
        return StatusCode::BAD_REQUEST;
    }
    inner.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(text("idempotency-key").to_owned());
    StatusCode::OK
}
