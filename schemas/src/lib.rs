//! Every record that crosses a topic: its Rust type, its Avro schema, its subject, the headers, the reason codes and the audit chain.
//!
//! Owns the shape of what is on the wire. Must not know: Kafka, HTTP, STIX, a service.
//! Times are microseconds since the epoch ([`Timestamp`]); ids are text; nullable columns are `Option`, lists are never null.

pub mod audit;
pub mod code;
pub mod codec;
pub mod column;
pub mod command;
pub mod definition;
pub mod delivery;
pub mod detection;
pub mod header;
pub mod heard;
pub mod incident;
pub mod letter;
pub mod raw;
pub mod reference;
pub mod routed;
pub mod state;
pub mod time;

pub use code::Code;
pub use codec::{Codec, CodecError, Record, SUBJECTS, SchemaIds};
pub use detection::Detection;
pub use time::Timestamp;
