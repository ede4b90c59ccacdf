//! Incidents over HTTP: looking at them, and answering. 202 only after the broker has the answer. Owns what a request may say; what an answer
//! does is the stage's.
use crate::{
    SERVICE, meant,
    view::{State as Where, View},
};
use atio_runtime::{
    clock,
    http::{
        auth::{Keys, Role},
        axum::{
            Json, Router,
            body::Bytes,
            extract::{DefaultBodyLimit, Path, Query, State},
            http::{HeaderMap, StatusCode},
            response::{IntoResponse, Response},
            routing::{get, post},
        },
        limits::{Rate, refuse, unavailable},
    },
};
use atio_schemas::{
    Code, Codec, CodecError, header,
    incident::{Ack, AckAction, Incident, Severity, Verdict},
};
use atio_stage::{Headers, Output};
use atio_stream::publish::Publish;
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// A request's body.
const BODY_MAX: usize = 16 << 10;
/// Incidents of one answer.
const LIMIT_MAX: usize = 1000;
const LIMIT: usize = 100;

#[derive(Clone)]
pub struct Deps {
    pub prefix: String,
    pub codec: Codec,
    pub keys: Keys,
    pub rate: Rate,
    pub publisher: Arc<dyn Publish>,
    pub view: View,
}

pub fn router(deps: Deps) -> Router {
    Router::new()
        .route("/v1/incidents", get(list))
        .route("/v1/incidents/{id}", get(show))
        .route("/v1/incidents/{id}/acks", post(answer).layer(DefaultBodyLimit::max(BODY_MAX)))
        .with_state(deps)
}

/// The record of an answer, as the stage takes it: for whoever asks a person.
///
/// # Errors
/// The codec's: its schema is not registered.
pub fn ack_output(codec: &Codec, prefix: &str, ack: &Ack, tenant: &str) -> Result<Output, CodecError> {
    let mut headers = Headers::default();
    headers.describe("atio.ack", &ack.ack_id, format!("/atio/{tenant}/acks"), Some(ack.sent_at));
    headers.set(header::RUN, header::LIVE);
    headers.set(header::TENANT, tenant.as_bytes());
    let topic = format!("{prefix}acks");
    Ok(Output::new(topic, ack.incident_id.as_bytes(), codec.encode(ack)?, headers))
}

type Refused = Box<Response>;

fn wrong(message: &str) -> Refused {
    Box::new(refuse(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidField.as_str(), message))
}

fn checked(deps: &Deps, headers: &HeaderMap, role: Role) -> Result<atio_runtime::http::auth::Key, Refused> {
    let key = deps.keys.check(headers, role, None)?;
    deps.rate.check(&key.id)?;
    Ok(key)
}

fn found(deps: &Deps, id: &str) -> Result<Arc<Incident>, Refused> {
    let missing =
        || Box::new(refuse(StatusCode::NOT_FOUND, Code::UnknownIncident.as_str(), "no such incident"));
    deps.view.get(id).ok_or_else(missing)
}

async fn list(
    State(deps): State<Deps>,
    Query(asked): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let answer = || {
        checked(&deps, &headers, Role::Viewer)?;
        if let Some(name) = asked.keys().find(|name| !["state", "limit"].contains(&name.as_str())) {
            return Err(wrong(&format!("no parameter `{name}`; there are state and limit")));
        }
        let state = asked.get("state").map(|text| {
            Where::parse(text).ok_or_else(|| wrong(&format!("state: one of {}", Where::NAMES.join(", "))))
        });
        let limit = asked.get("limit").map_or(Ok(LIMIT), |text| match text.parse() {
            Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
            _ => Err(wrong(&format!("limit: 1 to {LIMIT_MAX}"))),
        });
        let incidents = deps.view.list(state.transpose()?, limit?);
        let incidents: Vec<&Incident> = incidents.iter().map(|i| &**i).collect();
        Ok(Json(json!({ "incidents": incidents })).into_response())
    };
    answer().unwrap_or_else(|refused: Refused| *refused)
}

async fn show(State(deps): State<Deps>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let answer = || {
        checked(&deps, &headers, Role::Viewer)?;
        Ok(Json(&*found(&deps, &id)?).into_response())
    };
    answer().unwrap_or_else(|refused: Refused| *refused)
}

/// What a person says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    action: AckAction,
    verdict: Option<Verdict>,
    comment: Option<String>,
    wait_id: Option<String>,
    choice: Option<String>,
    assignee: Option<String>,
    severity: Option<Severity>,
}

async fn answer(
    State(deps): State<Deps>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = async {
        let key = checked(&deps, &headers, Role::Analyst)?;
        let said: Said = serde_json::from_slice(&body).map_err(|e| wrong(&e.to_string()))?;
        let incident = found(&deps, &id)?;
        let ack_id = uuid::Uuid::new_v4().to_string();
        let ack = Ack {
            wait_id: said.wait_id,
            verdict: said.verdict,
            comment: said.comment,
            choice: said.choice,
            assignee: said.assignee,
            severity: said.severity,
            ..Ack::new(&ack_id, &id, said.action, &key.id, clock::now())
        };
        allowed(&ack, &incident, key.role)?;
        publish(&deps, &ack, &incident.tenant).await
    };
    answer.await.unwrap_or_else(|refused: Refused| *refused)
}

/// Whether this may be said of the incident, by somebody with this role.
fn allowed(ack: &Ack, incident: &Incident, role: Role) -> Result<(), Refused> {
    let refusal = |r: meant::Refused| {
        let status = match r.code {
            Code::Closed | Code::Claimed => StatusCode::CONFLICT,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Box::new(refuse(status, r.code.as_str(), &r.message))
    };
    meant::formed(ack).map_err(refusal)?;
    let waits = meant::meant(incident, ack).map_err(refusal)?;
    let wait_id = ack.wait_id.as_deref();
    if wait_id.is_some_and(|id| !incident.waits.iter().any(|w| w.wait_id == id)) {
        return Err(wrong("wait_id: the incident has no such open wait"));
    }
    let above = |needed: &str| Role::parse(needed).is_some_and(|needed| !role.may(needed));
    if waits.into_iter().any(|w| above(&w.role)) {
        let message = "a branch waits for the answer of a higher role than this key's";
        return Err(Box::new(refuse(StatusCode::FORBIDDEN, Code::NotAllowed.as_str(), message)));
    }
    Ok(())
}

async fn publish(deps: &Deps, ack: &Ack, tenant: &str) -> Result<Response, Refused> {
    let output = ack_output(&deps.codec, &deps.prefix, ack, tenant).map_err(|e| {
        Box::new(refuse(StatusCode::INTERNAL_SERVER_ERROR, e.code().as_str(), "the answer can't be written"))
    })?;
    match deps.publisher.publish(vec![output]).await.into_iter().next() {
        Some(Ok(_)) => Ok((StatusCode::ACCEPTED, Json(json!({"ack_id": ack.ack_id}))).into_response()),
        Some(Err(error)) => {
            tracing::warn!(service = SERVICE, error_code = error.code(), %error, "an answer could not be published");
            Err(Box::new(unavailable()))
        }
        None => Err(Box::new(unavailable())),
    }
}
