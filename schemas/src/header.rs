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
/// How often workflows handed the event on to others.
pub const CALLS: &str = "atio_calls";
pub const IDEMPOTENCY_KEY: &str = "atio_idempotency_key";
/// Dead letters: `atio.errors.` + topic, partition, offset, stage, code, message, attempt, first_seen.
pub const ERRORS: &str = "atio.errors.";
/// A dead letter's message is cut to so many bytes.
pub const ERROR_MESSAGE_MAX: usize = 1024;
/// Dead letters whose record gave something all the same: what, 16 hex digits an output, spaces between; `*` = more than
/// fit.
pub const ERRORS_EMITTED: &str = "atio.errors.emitted";
/// Dead letters whose value was written anew, because the record itself was held by the stage and is gone.
pub const ERRORS_ANEW: &str = "atio.errors.anew";
/// Records that were replayed out of a dead letter: `atio.replay.` + letter, stage, place, part, attempts, first_seen, emitted, anew.
pub const REPLAY: &str = "atio.replay.";
/// topic/partition/offset of the dead letter; every replayed record has it.
pub const REPLAY_LETTER: &str = "atio.replay.letter";
/// The one stage that it is meant for; others that read the topic had the record before.
pub const REPLAY_STAGE: &str = "atio.replay.stage";
/// topic/partition/offset where the record lay first: ids are made of that.
pub const REPLAY_PLACE: &str = "atio.replay.place";
/// Where a part of a record stood in it, in bytes.
pub const REPLAY_PART: &str = "atio.replay.part";
/// How often it was tried before.
pub const REPLAY_ATTEMPTS: &str = "atio.replay.attempts";
pub const REPLAY_FIRST_SEEN: &str = "atio.replay.first_seen";
/// As [`ERRORS_EMITTED`]: what the record gave before, and must not give again.
pub const REPLAY_EMITTED: &str = "atio.replay.emitted";
/// As [`ERRORS_ANEW`].
pub const REPLAY_ANEW: &str = "atio.replay.anew";
pub const LIVE: &str = "live";
pub const CONTENT_TYPE_AVRO: &str = "application/vnd.confluent.avro";

/// Headers that a stage carries on from its input to its outputs.
pub const CARRIED: &[&str] = &[TRACEPARENT, RUN, ORIGIN, TENANT, CALLS];
