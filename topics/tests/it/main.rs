//! The crate from outside: what users write, what it derives, what is planned.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers may fail the test"
)]
mod declarations;
mod derived;
mod docs;
mod planned;
