//! A Confluent-compatible schema registry kept in the compacted topic _schemas.
