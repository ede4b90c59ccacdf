//! Which type has which subject: one line a record, alphabetical. Owns nothing else.
use super::Record;
use crate::{audit, command, definition, delivery, detection, incident, raw, reference, routed, state};

macro_rules! records {
    ($($subject:literal $version:literal $type:ty;)+) => {
        /// Every subject of ours with its newest schema, alphabetical.
        pub const SUBJECTS: &[(&str, &str)] = &[$(($subject, <$type as Record>::SCHEMA)),+];
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
    "atio.incident" 1 incident::Incident;
    "atio.incident-event" 1 incident::IncidentEvent;
    "atio.position" 1 raw::Position;
    "atio.raw-event" 1 raw::RawEvent;
    "atio.receipt" 1 delivery::ReceiptRecord;
    "atio.reference-row" 1 reference::ReferenceRow;
    "atio.routed" 1 routed::Routed;
    "atio.state-entry" 1 state::StateEntry;
    "atio.wait" 1 incident::Wait;
}
