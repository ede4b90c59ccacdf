//! HTTP in and out: the server with its limits and keys, and the client that does not reach inside. Handlers get axum from here.

pub mod auth;
pub mod limits;
pub mod outbound;
pub mod server;
pub(crate) mod tls;

pub use axum;
pub use server::{Server, serve};
