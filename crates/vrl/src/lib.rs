//! VRL expressions: compiled and type-checked against the detection's columns, then run. The only crate that names vrl.
//!
//! Owns what an expression may say: columns of the detection and what is named beside them ([`Scope`]), read only; pure functions ([`functions::ALLOWED`]); no network, files,
//! environment, clock or randomness. An unknown column (null) is handled in one way everywhere: a comparison or a call that meets one is
//! false where a yes or no is needed, and null elsewhere, but for `!=`: what is unknown is not this value (the compiler then knows every column by its type, never "or null").
//! Must not know: workflows, YAML, Kafka.

mod compile;
pub mod functions;
mod guard;
mod scan;
mod scope;
mod symbols;
mod target;

pub use compile::{CompileError, Expression, Purpose, RunError};
pub use scope::{Constant, Failure, Row, Scalar, ScalarType, Scope, Seen};

/// An expression is at most so many bytes.
pub const MAX_SOURCE: usize = 4096;
/// At most so many operators, brackets and keywords: bounds the depth of the syntax tree.
pub const MAX_OPERATORS: usize = 128;
/// Brackets nest at most so deep.
pub const MAX_DEPTH: usize = 24;
/// An expression evaluates at most so many sub-expressions (closures over lists are its only loops).
pub const MAX_FUEL: u32 = 100_000;
