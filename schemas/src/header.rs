//! Names of the record headers (design, "Topics"): CloudEvents binary mode, W3C trace context, ATIO's own.
pub const CE_ID: &str = "ce_id";
pub const CE_SOURCE: &str = "ce_source";
pub const CE_TYPE: &str = "ce_type";
pub const CE_TIME: &str = "ce_time";
pub const CE_SPECVERSION: &str = "ce_specversion";
pub const CONTENT_TYPE: &str = "content-type";
pub const TRACEPARENT: &str = "traceparent";
/// `name@version` of the workflow that the record went through.
pub const WORKFLOW: &str = "atio_workflow";
/// `live`, or a replay's id.
pub const RUN: &str = "atio_run";
/// topic/partition/offset of the raw record that it came from.
pub const ORIGIN: &str = "atio_origin";
pub const TENANT: &str = "atio_tenant";
pub const IDEMPOTENCY_KEY: &str = "atio_idempotency_key";
/// Dead letters: `atio.errors.` + topic, partition, offset, stage, code, message, attempt, first_seen.
pub const ERRORS: &str = "atio.errors.";
/// A dead letter's message is cut to so many bytes.
pub const ERROR_MESSAGE_MAX: usize = 1024;
pub const LIVE: &str = "live";
pub const CONTENT_TYPE_AVRO: &str = "application/vnd.confluent.avro";

/// Headers that a stage carries on from its input to its outputs.
pub const CARRIED: &[&str] = &[TRACEPARENT, RUN, ORIGIN, TENANT];
