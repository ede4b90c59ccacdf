//! The embedded broker: one node, Kafka's protocol and semantics.
