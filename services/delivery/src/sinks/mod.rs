//! The sinks, one file each.
pub mod file;
pub mod http;
pub mod kafka;
pub mod opensearch;
pub mod webhook;

#[cfg(test)]
mod tests;
