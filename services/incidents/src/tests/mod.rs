//! The stage in the harness: what the tests of rules and of orders share.
mod answers;
mod doors;
mod orders;
mod rules;

use super::*;
use crate::stage::Joiner;
use atio_schemas::{
    Code, Detection, Timestamp, codec,
    codec::StaticIds,
    command::ObjectKind,
    definition::Definition as Stored,
    delivery::{Delivery, ReceiptRecord},
    detection::{Kind, Tlp},
    header,
    incident::{Ack, AckAction, Incident, IncidentEvent, Otherwise, Verdict, Wait},
};
use atio_stage::{
    Headers,
    harness::{Given, Harness},
};
use atio_topics::Audience;
use atio_workflow::SinkFacts;

/// Branches by what comes of an answer; `twice` waits again, `choose` goes on with one of its choices.
const RESPOND: &str = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: respond}\non: detection\nmatch: {kind: threat}\n\
    branches:\n  tell:\n    - WAIT\n    - deliver: tool\n  drop:\n    - WAIT\n    - when: .confidence > 100\n    - deliver: tool\n  \
    secret:\n    - WAIT\n    - deliver: public\n  twice:\n    - WAIT\n    - WAIT\n    - deliver: tool\n  \
    close:\n    - WAIT\n    - incident: {close: {verdict: benign}}\n  \
    choose:\n    - await: {ack: analyst, within: 1m, otherwise: continue, choices: [isolate, monitor]}\n    \
    - when: .choice == \"isolate\" || .answer == \"unanswered\"\n    - deliver: tool\n";

/// What the branch `choose` waits for.
fn choosing(id: &str) -> Wait {
    Wait {
        choices: vec!["isolate".into(), "monitor".into()],
        otherwise: Otherwise::Continue,
        ..waiting(id, "choose", Otherwise::Continue)
    }
}

fn deps() -> Deps {
    let sink = |clearance| SinkFacts { format: "report".into(), audience: Audience::Internal, clearance };
    Deps {
        called: std::collections::BTreeSet::new(),
        prefix: "t.".into(),
        codec: Codec::new(Arc::new(StaticIds::new())),
        known: Known {
            sinks: [("tool".to_owned(), sink(Tlp::Red)), ("public".to_owned(), sink(Tlp::Clear))].into(),
            ..Known::default()
        },
        response: ["tool".to_owned()].into(),
        home_networks: vec![],
    }
}

struct World {
    harness: Harness<Joiner>,
}

/// Milliseconds.
fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

impl World {
    fn new() -> Self {
        let mut world = Self::without_definitions();
        world.define();
        world
    }
    fn without_definitions() -> Self {
        let deps = deps();
        Self { harness: Harness::new(Joiner::new(&deps), &[deps.table()], at(0)) }
    }
    fn define(&mut self) {
        let mut stored = Stored {
            kind: ObjectKind::Workflow,
            name: "respond".into(),
            version: 3,
            pointer: false,
            paused: false,
            definition: RESPOND.replace("WAIT", "await: {ack: analyst, within: 1m, otherwise: stop}"),
            sha256: String::new(),
            created_at: at(0),
            created_by: "t".into(),
            command_id: "c".into(),
            placement: None,
        };
        let value = deps().codec.encode(&stored).unwrap();
        self.harness.table(Definitions::TABLE, b"respond@3", Some(&value)).unwrap();
        stored.pointer = true;
        let value = deps().codec.encode(&stored).unwrap();
        self.harness.table(Definitions::TABLE, b"respond", Some(&value)).unwrap();
    }
    /// One record, one transaction, at its own time.
    fn put(&mut self, given: Given) {
        self.harness.set_now(given.timestamp);
        self.harness.commit(&[given]);
        assert!(self.harness.counts.balanced(), "{:?}", self.harness.counts);
    }
    fn fire(&mut self, ms: i64) -> usize {
        self.harness.set_now(at(ms));
        let fired = self.harness.fire();
        assert!(self.harness.counts.balanced(), "{:?}", self.harness.counts);
        fired
    }
    /// As its topic shows it now.
    fn incident(&self) -> Incident {
        let shown = self.harness.outputs.iter().rev().find(|o| &*o.topic == "t.incidents").expect("shown");
        deps().codec.decode(shown.value.as_ref().unwrap()).unwrap()
    }
    fn deliveries(&self) -> Vec<Delivery> {
        let delivered = self.harness.outputs.iter().filter(|o| o.topic.starts_with("t.delivery."));
        delivered.map(|o| deps().codec.decode(o.value.as_ref().unwrap()).unwrap()).collect()
    }
    fn dropped(&self, code: Code) -> u64 {
        self.harness.counts.dropped.get(&code).copied().unwrap_or(0)
    }
    fn dead(&self, code: Code) -> u64 {
        self.harness.counts.dead_lettered.get(&code).copied().unwrap_or(0)
    }
}

fn given<R: codec::Record>(topic: &str, key: &str, value: &R, ms: i64) -> Given {
    let mut headers = Headers::default();
    headers.set(header::TRACEPARENT, "00-1-2-01");
    headers.set(header::RUN, header::LIVE);
    Given {
        topic: format!("t.{topic}"),
        key: Some(key.into()),
        value: Some(deps().codec.encode(value).unwrap()),
        headers,
        timestamp: at(ms),
        ..Given::default()
    }
}

fn event(id: &str, ms: i64) -> Given {
    let event = IncidentEvent {
        incident_id: "i".into(),
        event_id: id.into(),
        tenant: "default".into(),
        kind: Kind::Threat,
        asset: Some("host:web-1".into()),
        rule_id: Some("1:7".into()),
        opened: false,
        importance: Some(50.0),
        status: None,
        occurred_at: Some(at(ms - 500)),
        received_at: None,
    };
    given("incident-events", "i", &event, ms)
}

fn waiting(id: &str, branch: &str, otherwise: Otherwise) -> Wait {
    let mut original = Detection::new("e1".into(), Kind::Threat, "default", "suricata");
    original.incident_id = Some("i".into());
    original.confidence = Some(80);
    Wait { version: 3, within_ms: 60_000, otherwise, ..Wait::new(id, "i", "respond", branch, original) }
}

fn wait(id: &str, otherwise: Otherwise, ms: i64) -> Given {
    given("waits", "i", &waiting(id, "tell", otherwise), ms)
}

fn said(id: &str, action: AckAction) -> Ack {
    let verdict = (action == AckAction::Close).then_some(Verdict::FalsePositive);
    let comment = (action == AckAction::Comment).then(|| "seen".to_owned());
    Ack { verdict, comment, ..Ack::new(id, "i", action, "carol", at(0)) }
}

fn ack(id: &str, action: AckAction, ms: i64) -> Given {
    given("acks", "i", &said(id, action), ms)
}

fn received(sink: &str, incident: Option<&str>, status: &str) -> ReceiptRecord {
    ReceiptRecord {
        sink: sink.into(),
        idempotency_key: format!("key-{sink}"),
        event_id: "e1".into(),
        incident_id: incident.map(str::to_owned),
        workflow: "respond@3".into(),
        branch: "tell".into(),
        status: status.into(),
        code: None,
        external_id: None,
        attempts: 1,
        delivered_at: at(0),
    }
}

fn receipt(sink: &str, status: &str, ms: i64) -> Given {
    given("receipts", "i", &received(sink, Some("i"), status), ms)
}
