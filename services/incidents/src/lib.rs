//! Incidents: detections, waits, acknowledgements and receipts joined by incident. Owns the state and the times of each incident, and runs the
//! remaining steps of what waited. Must not know: how a step works, how a sink is spoken to, Kafka.

pub const SERVICE: &str = "incidents";
