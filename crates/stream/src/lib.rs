//! Runs stages on Kafka, exactly once.
