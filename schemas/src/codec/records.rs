//! Which type has which subject: one line a record, alphabetical. Owns nothing else.
use super::{Codec, CodecError, Record};
use crate::{
    audit, command, definition, delivery, detection, heard, incident, letter, raw, reference, routed, state,
};
use serde_json::Value;

fn from<R: Record>(codec: &Codec, value: Value) -> Result<Vec<u8>, CodecError> {
    let failed =
        |e: serde_json::Error| CodecError::EncodeFailed { subject: R::SUBJECT, reason: e.to_string() };
    let record: R = serde_json::from_value(value).map_err(failed)?;
    codec.encode(&record)
}

fn to<R: Record>(codec: &Codec, raw: &[u8]) -> Result<Value, CodecError> {
    let record: R = codec.decode(raw)?;
    serde_json::to_value(&record)
        .map_err(|e| CodecError::DecodeFailed { subject: R::SUBJECT, reason: e.to_string() })
}

macro_rules! records {
    ($($subject:literal $version:literal $type:ty;)+) => {
        /// Every subject of ours with its newest schema, alphabetical.
        pub const SUBJECTS: &[(&str, &str)] = &[$(($subject, <$type as Record>::SCHEMA)),+];
        pub(super) fn from_json(codec: &Codec, subject: &str, value: Value) -> Option<Result<Vec<u8>, CodecError>> {
            match subject {
                $($subject => Some(from::<$type>(codec, value)),)+
                _ => None,
            }
        }
        pub(super) fn to_json(codec: &Codec, subject: &str, raw: &[u8]) -> Option<Result<Value, CodecError>> {
            match subject {
                $($subject => Some(to::<$type>(codec, raw)),)+
                _ => None,
            }
        }

        $(impl Record for $type {
            const SUBJECT: &'static str = $subject;
            const SCHEMA: &'static str = include_str!(concat!("../../avro/", $subject, ".v", $version, ".avsc"));
        })+
    };
}

records! {
    "atio.ack" 1 incident::Ack;
    "atio.applied" 1 state::Applied;
    "atio.audit-entry" 1 audit::AuditEntry;
    "atio.audit-intent" 1 audit::AuditIntent;
    "atio.change" 1 definition::Change;
    "atio.command" 1 command::Command;
    "atio.definition" 1 definition::Definition;
    "atio.delivery" 1 delivery::Delivery;
    "atio.detection" 1 detection::Detection;
    "atio.epoch" 1 state::Epoch;
    "atio.heard" 1 heard::Heard;
    "atio.incident" 1 incident::Incident;
    "atio.incident-event" 1 incident::IncidentEvent;
    "atio.letter-mark" 1 letter::LetterMark;
    "atio.position" 1 raw::Position;
    "atio.raw-event" 1 raw::RawEvent;
    "atio.receipt" 1 delivery::ReceiptRecord;
    "atio.reference-row" 1 reference::ReferenceRow;
    "atio.routed" 1 routed::Routed;
    "atio.state-entry" 1 state::StateEntry;
    "atio.wait" 1 incident::Wait;
}
