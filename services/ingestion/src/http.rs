//! The HTTP door: `POST /v1/sources/{source}/events`. 202 only after the broker has the events.
use crate::{
    SERVICE,
    body::{self, MAX_BYTES, Refused},
    door::{self, Pieces},
    metrics::IngestionMetrics,
};
use atio_runtime::{
    clock,
    http::{
        auth::{Keys, Role},
        axum::{
            Json, Router,
            body::Bytes,
            extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State},
            http::{HeaderMap, StatusCode, header},
            response::{IntoResponse, Response},
            routing::post,
        },
        limits::{Rate, refuse, unavailable},
    },
};
use atio_schemas::{Code, Codec};
use atio_stix::ids;
use atio_stream::publish::{Position, Publish, PublishError};
use atio_topics::{From, Source};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

/// Longest id and source that a sender may give (CloudEvents 1.0 asks for at least 64 KiB in all; a key this long helps nobody).
const MAX_NAME: usize = 512;

/// What the door is built from.
#[derive(Clone)]
pub struct Deps {
    pub prefix: String,
    pub codec: Codec,
    pub keys: Keys,
    pub rate: Rate,
    pub metrics: IngestionMetrics,
    pub publisher: Arc<dyn Publish>,
    /// By name; those with another transport are unknown here.
    pub sources: Arc<BTreeMap<String, Source>>,
}

pub fn router(deps: Deps) -> Router {
    let accept = post(accept).layer(DefaultBodyLimit::max(MAX_BYTES));
    Router::new().route("/v1/sources/{source}/events", accept).with_state(deps)
}

#[derive(Debug, Deserialize)]
struct Parameters {
    sensor: Option<String>,
}

/// Who sent it, under which id.
struct Sender {
    ce_source: Option<String>,
    ce_id: Option<String>,
    sensor: Option<String>,
    content_type: Option<String>,
    /// W3C trace context, carried on.
    traceparent: Option<String>,
    peer: SocketAddr,
}

async fn accept(
    State(deps): State<Deps>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = async {
        let key = deps.keys.check(&headers, Role::Ingest, Some(&name))?;
        deps.rate.check(&key.id)?;
        let known = deps.sources.get(&name).filter(|s| matches!(s.from, From::Http));
        let missing = || {
            Box::new(refuse(
                StatusCode::NOT_FOUND,
                Code::UnknownSource.as_str(),
                &format!("no source `{name}` takes HTTP"),
            ))
        };
        let source = known.ok_or_else(missing)?;
        let sender =
            sender(&headers, parameters.sensor, peer).map_err(|r| Box::new(refused(&deps, &name, &r)))?;
        let plain = plain(&headers, &body).map_err(|r| Box::new(refused(&deps, &name, &r)))?;
        let pieces = door::divide(source, &plain).map_err(|r| Box::new(refused(&deps, &name, &r)))?;
        Ok(publish(&deps, source, &sender, pieces).await)
    };
    answer.await.unwrap_or_else(|refused: Box<Response>| *refused)
}

fn plain(headers: &HeaderMap, body: &Bytes) -> Result<Vec<u8>, Refused> {
    body::check_type(text(headers, header::CONTENT_TYPE.as_str()).as_deref())?;
    body::decode(text(headers, header::CONTENT_ENCODING.as_str()).as_deref(), body.to_vec())
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
}

/// `00-<32 hex>-<16 hex>-<2 hex>` (W3C Trace Context §3.2); anything else is dropped.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|p| p.len()).collect();
    lengths == [2, 32, 16, 2]
        && parts.iter().all(|p| p.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

fn sender(headers: &HeaderMap, sensor: Option<String>, peer: SocketAddr) -> Result<Sender, Refused> {
    let id = text(headers, "ce-id").or_else(|| text(headers, "idempotency-key"));
    let sender = Sender {
        ce_source: text(headers, "ce-source"),
        ce_id: id,
        sensor,
        content_type: text(headers, header::CONTENT_TYPE.as_str()),
        traceparent: text(headers, "traceparent").filter(|t| is_traceparent(t)),
        peer,
    };
    let names = [("ce-source", &sender.ce_source), ("ce-id", &sender.ce_id), ("sensor", &sender.sensor)];
    for (what, value) in names {
        if value
            .as_ref()
            .is_some_and(|v| v.is_empty() || v.len() > MAX_NAME || v.chars().any(char::is_control))
        {
            return Err(Refused {
                code: Code::InvalidField,
                message: format!("{what} is empty, longer than {MAX_NAME} bytes, or has control characters"),
            });
        }
    }
    Ok(sender)
}

/// The answer to a request that was refused as a whole.
fn refused(deps: &Deps, source: &str, why: &Refused) -> Response {
    // The label is a declared name or none: what a stranger makes up must not become a series.
    let label = if deps.sources.contains_key(source) { source } else { "unknown" };
    deps.metrics.rejected(label, "http", why.code.as_str());
    let status = match why.code {
        Code::TooLarge | Code::Expanded | Code::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
        Code::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ => StatusCode::BAD_REQUEST,
    };
    let rejected = json!([{"index": 0, "code": why.code, "message": why.message}]);
    (
        status,
        Json(
            json!({"accepted": 0, "ids": [], "rejected": rejected, "code": why.code, "message": why.message}),
        ),
    )
        .into_response()
}

async fn publish(deps: &Deps, source: &Source, sender: &Sender, pieces: Pieces<'_>) -> Response {
    let received_at = clock::now();
    let (mut outputs, mut indices, mut rejected, mut bytes) = (vec![], vec![], vec![], 0);
    for (index, piece) in pieces.into_iter().enumerate() {
        let made = piece.and_then(|piece| {
            let mut event = door::event(source, piece.raw, received_at);
            event.content_type.clone_from(&sender.content_type);
            event.sensor.clone_from(&sender.sensor);
            event.received_from = Some(sender.peer.to_string());
            event.dedup_key = dedup_key(sender);
            event.index = i32::try_from(index).unwrap_or(i32::MAX);
            bytes += event.payload.len() as u64;
            let key = event
                .dedup_key
                .clone()
                .or_else(|| sender.sensor.clone())
                .or_else(|| sender.ce_source.clone());
            let mut output = door::record(&deps.codec, &deps.prefix, key.as_deref(), &event)
                .map_err(|e| Refused { code: e.code(), message: e.to_string() })?;
            if let Some(traceparent) = &sender.traceparent {
                output.headers.set(atio_schemas::header::TRACEPARENT, traceparent.as_bytes());
            }
            Ok(output)
        });
        match made {
            Ok(output) => {
                outputs.push(output);
                indices.push(index);
            }
            Err(why) => {
                deps.metrics.rejected(&source.meta.name, "http", why.code.as_str());
                rejected.push(json!({"index": index, "code": why.code, "message": why.message}));
            }
        }
    }
    if outputs.is_empty() {
        let body = json!({"accepted": 0, "ids": [], "rejected": rejected});
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    let answers = deps.publisher.publish(outputs).await;
    let mut sent = Vec::with_capacity(answers.len());
    for (index, answer) in indices.iter().zip(answers) {
        match answer {
            Ok(position) => sent.push(event_id(source, sender, &position, *index)),
            Err(PublishError::TooLarge { .. }) => {
                deps.metrics.rejected(&source.meta.name, "http", Code::TooLarge.as_str());
                rejected.push(json!({"index": index, "code": Code::TooLarge, "message": "the event with its envelope is more than the topic takes"}));
            }
            // Some may be there: with ce_id, sending again is safe.
            Err(error) => {
                tracing::warn!(service = SERVICE, error_code = error.code(), %error, "events could not be published");
                return unavailable();
            }
        }
    }
    if sent.is_empty() {
        return (
            StatusCode::PAYLOAD_TOO_LARGE,
            Json(json!({"accepted": 0, "ids": [], "rejected": rejected})),
        )
            .into_response();
    }
    deps.metrics.accepted(&source.meta.name, "http", sent.len() as u64, bytes);
    (StatusCode::ACCEPTED, Json(json!({"accepted": sent.len(), "ids": sent, "rejected": rejected})))
        .into_response()
}

/// `ce_source/ce_id`: repeats meet on one partition and are ended there.
fn dedup_key(sender: &Sender) -> Option<String> {
    let id = sender.ce_id.as_ref()?;
    Some(format!("{}/{id}", sender.ce_source.as_deref().unwrap_or_default()))
}

/// The id that the event's first detection will have (docs/normalization.md).
fn event_id(source: &Source, sender: &Sender, at: &Position, index: usize) -> Value {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let (tenant, name) = (source.tenant.as_str(), source.meta.name.as_str());
    // Divided as normalization divides it: an id may have slashes in it.
    let id = match dedup_key(sender).as_deref().and_then(|key| key.rsplit_once('/')) {
        Some((ce_source, ce_id)) => ids::cloud_event_id(tenant, name, ce_source, ce_id, index),
        None => ids::event_id(tenant, name, &at.topic, at.partition, at.offset, 0),
    };
    Value::String(id.to_string())
}

#[cfg(test)]
mod tests;
