//! The API on HTTP: routes for the process's server. Owns nothing but the translation; limits of time and number are the server's.
use crate::api::{CONTENT_TYPE, Log, MAX_BODY, Registry, Request};
use atio_runtime::http::axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, RawQuery, State},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};
use std::sync::Arc;

/// Every path of the API.
const PATHS: &[&str] = &[
    "/",
    "/subjects",
    "/subjects/{*rest}",
    "/schemas/{*rest}",
    "/config",
    "/config/{*rest}",
    "/mode",
    "/mode/{*rest}",
    "/compatibility/{*rest}",
];

/// Routes of a registry, to be merged into a server.
pub fn router<L: Log + 'static>(registry: Arc<Registry<L>>) -> Router {
    let routes = PATHS.iter().fold(Router::new(), |router, path| router.route(path, any(answer::<L>)));
    routes.layer(DefaultBodyLimit::max(MAX_BODY)).with_state(registry)
}

async fn answer<L: Log>(
    State(registry): State<Arc<Registry<L>>>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let query = query.unwrap_or_default();
    let request = Request { method: method.as_str(), path: uri.path(), query: &query, body: &body };
    let response = registry.handle(request).await;
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], response.body).into_response()
}
