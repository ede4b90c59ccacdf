//! Every record that crosses a topic: Avro schemas, the Rust types, headers, reason codes, the audit chain.
