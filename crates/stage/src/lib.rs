//! The contract of a stage, and an in-memory harness for it. No tokio, no Kafka.
