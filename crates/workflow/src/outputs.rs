//! The records that a branch's end becomes, whoever runs the branch. Owns their topics, keys and headers. Must not know: stages, groups.
use crate::{Delivered, End};
use atio_schemas::{
    Codec, CodecError, Detection, header,
    incident::{Ack, Wait},
};
use atio_stage::{Headers, Output};

/// What a delivery says of itself in `ce_type`.
const DELIVERY: &str = "atio.delivery";
const WAIT: &str = "atio.wait";
const ACK: &str = "atio.ack";

/// Headers of what a workflow makes of a record with headers `from`: what is carried on, the event, the workflow (`name@version`), the
/// type of what it is (`ce_type`).
#[must_use]
pub fn headers(from: &Headers, detection: &Detection, workflow: &str, kind: &str) -> Headers {
    let mut headers = shared_headers(from, detection, kind);
    headers.set(header::WORKFLOW, workflow);
    headers
}

/// The same, of what is several workflows'.
#[must_use]
pub fn shared_headers(from: &Headers, detection: &Detection, kind: &str) -> Headers {
    let mut headers = from.carried();
    let source = format!("/atio/{}/{}", detection.tenant, detection.source);
    headers.describe(kind, &detection.event_id, source, detection.occurred_at);
    headers
}

/// What goes on from a record's headers, as text: kept beside what waits or is held.
#[must_use]
pub fn carried(from: &Headers) -> Vec<(String, String)> {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    from.carried().0.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// The headers that were kept.
#[must_use]
pub fn restored(carried: &[(String, String)]) -> Headers {
    let mut headers = Headers::default();
    carried.iter().for_each(|(name, value)| headers.set(name, value.as_bytes()));
    headers
}

/// A delivery on `<prefix>delivery.<sink>`, keyed by incident, else asset, else event. `from`: headers of the record that the branch was run
/// for; `original`: the detection as the branch got it.
fn delivery_output(
    codec: &Codec,
    prefix: &str,
    from: &Headers,
    original: &Detection,
    delivered: &Delivered,
) -> Result<Output, CodecError> {
    let key = delivered.incident_id.as_ref().or(delivered.asset.as_ref()).unwrap_or(&delivered.event_id);
    let mut headers = headers(from, original, &delivered.workflow, DELIVERY);
    headers.set(header::IDEMPOTENCY_KEY, delivered.idempotency_key.as_bytes());
    let topic = format!("{prefix}delivery.{}", delivered.sink);
    Ok(Output::new(topic, key.as_bytes(), codec.encode(delivered)?, headers))
}

/// A wait on `<prefix>waits`, keyed by incident. `from`: headers of the record that the branch was run for.
fn wait_output(codec: &Codec, prefix: &str, from: &Headers, wait: &Wait) -> Result<Output, CodecError> {
    let headers = headers(from, &wait.original, &format!("{}@{}", wait.workflow, wait.version), WAIT);
    Ok(Output::new(format!("{prefix}waits"), wait.incident_id.as_bytes(), codec.encode(wait)?, headers))
}

/// A command to the incident on `<prefix>acks`, keyed by it. `from`: headers of the record that the branch was run for.
fn command_output(
    codec: &Codec,
    prefix: &str,
    from: &Headers,
    original: &Detection,
    command: &Ack,
) -> Result<Output, CodecError> {
    // Whoever says it is its workflow, `name@version`.
    let mut headers = headers(from, original, &command.actor, ACK);
    let source = format!("/atio/{}/acks", original.tenant);
    headers.describe(ACK, &command.ack_id, source, Some(command.sent_at));
    Ok(Output::new(format!("{prefix}acks"), command.incident_id.as_bytes(), codec.encode(command)?, headers))
}

/// All that a branch's end says is to be written: its deliveries, what it tells the incident, then where it waits.
///
/// # Errors
/// What the codec says: a schema that is not registered yet, or a value that does not fit it.
pub fn outputs(
    codec: &Codec,
    prefix: &str,
    from: &Headers,
    original: &Detection,
    end: &End,
) -> Result<Vec<Output>, CodecError> {
    let deliveries = end.outputs.iter().map(|d| delivery_output(codec, prefix, from, original, d));
    let commands = end.commands.iter().map(|c| command_output(codec, prefix, from, original, c));
    deliveries.chain(commands).chain(end.waits.iter().map(|w| wait_output(codec, prefix, from, w))).collect()
}
