//! Every tool format, read to findings and written from detections. Pure: bytes in, values and rejects out.
//!
//! A stranger adds a format in one file and one line of the table of formats. Must not know: Kafka, HTTP, ids, assets; STIX only where
//! the format is STIX.

pub mod finding;
