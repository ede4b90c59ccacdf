//! The status page: what runs, what came in, what went out; open on loopback, from elsewhere a viewer's key is needed. And the page of incidents, which
//! looks and answers by `/v1/incidents` with a key that is entered there. Must not know: what incidents are.
use crate::system::System;
use atio_runtime::http::{
    auth::Keys,
    axum::{
        Json, Router,
        extract::{ConnectInfo, State},
        http::{HeaderMap, header},
        response::{Html, IntoResponse, Response},
        routing::get,
    },
    server::open_on_loopback,
};
use atio_stream::LaneState;
use serde_json::{Value, json};
use std::net::SocketAddr;

#[derive(Clone)]
struct Page {
    system: System,
    keys: Keys,
}

/// Pages hold no data of their own: a script of their own origin fetches them and writes them as text.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn router(system: &System) -> Router {
    let page = Page { system: system.clone(), keys: system.keys.clone() };
    Router::new()
        .route("/", get(|| async { secured(Html(include_str!("page.html"))) }))
        .route("/incidents", get(|| async { secured(Html(include_str!("incidents.html"))) }))
        .route("/page.css", get(|| async { asset("text/css; charset=utf-8", include_str!("page.css")) }))
        .route("/dom.js", get(|| async { asset(SCRIPT, include_str!("dom.js")) }))
        .route("/page.js", get(|| async { asset(SCRIPT, include_str!("page.js")) }))
        .route("/incidents.js", get(|| async { asset(SCRIPT, include_str!("incidents.js")) }))
        .route("/status.json", get(status))
        .with_state(page)
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

fn asset(kind: &'static str, text: &'static str) -> Response {
    secured(([(header::CONTENT_TYPE, kind)], text))
}

fn secured(body: impl IntoResponse) -> Response {
    let headers = [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ];
    (headers, body).into_response()
}

async fn status(
    State(page): State<Page>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = open_on_loopback(&page.keys, peer, &headers) {
        return *refused;
    }
    secured(Json(describe(&page.system)))
}

fn describe(system: &System) -> Value {
    let stages: Vec<Value> = system
        .lanes
        .status()
        .into_iter()
        .map(|s| {
            let (state, why) = match &s.status.state {
                LaneState::Starting => ("starting", None),
                LaneState::Running => ("running", None),
                LaneState::Stalled { why } => ("stalled", Some(why.clone())),
                LaneState::Failed(error) => ("failed", Some(error.to_string())),
                LaneState::Stopped => ("stopped", None),
            };
            let l = &s.status.ledger;
            json!({
                "name": s.name, "service": s.service, "state": state, "why": why, "read": l.read, "emitted": l.emitted,
                "dropped": l.dropped_total(), "dead_lettered": l.dead_lettered_total(), "parts": l.parts, "held": l.held,
                "balanced": l.balanced(), "last_commit": s.status.last_commit,
            })
        })
        .collect();
    let declarations = &system.declarations;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "kafka": system.kafka.bootstrap,
        "data": system.config.data,
        "ready": system.lanes.waiting().is_none(),
        "stages": stages,
        "sources": declarations.sources.values().map(|s| json!({"name": s.meta.name, "transport": s.from.transport()})).collect::<Vec<_>>(),
        "workflows": declarations.workflows.keys().collect::<Vec<_>>(),
        "sinks": declarations.sinks.values().map(|s| json!({"name": s.meta.name, "type": s.target.kind()})).collect::<Vec<_>>(),
    })
}
