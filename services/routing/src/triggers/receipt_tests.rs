//! Receipts, as workflows see them.
use super::super::tests::{desk, fills, lies, record, topics, workflow};
use super::*;
use crate::tests::deps;
use atio_schemas::{Timestamp, routed::Routed};
use atio_stage::{Headers, harness::Given};

fn receipt(workflow: &str, status: &str) -> ReceiptRecord {
    ReceiptRecord {
        sink: "siem".into(),
        idempotency_key: "k".into(),
        event_id: "e1".into(),
        incident_id: Some("i1".into()),
        workflow: workflow.into(),
        branch: "respond".into(),
        status: status.into(),
        code: Some("503".into()),
        external_id: Some("case-7".into()),
        attempts: 5,
        delivered_at: Timestamp(4),
    }
}

fn of(receipt: &ReceiptRecord) -> Given {
    record("t.receipts", "i1", receipt)
}

#[test]
fn a_workflow_on_receipts_gets_those_that_it_is_for_and_not_its_own() {
    let text = workflow("failed", "receipt", "{outcome: rejected}", "{b: [{deliver: files}]}");
    let all = workflow("all", "receipt", "{}", "{b: [{deliver: files}]}");
    let threats = workflow("threats", "detection", "{}", "{respond: [{deliver: siem}]}");
    let mut harness = desk(Receipts, &[("failed", 1, &text), ("all", 2, &all), ("threats", 1, &threats)]);
    harness.commit(&[
        of(&receipt("threats@1", "rejected")),
        of(&receipt("threats@1", "delivered")),
        of(&receipt("all@2", "rejected")),
        of(&receipt("failed@1", "delivered")),
    ]);
    assert_eq!(topics(&harness), ["workflow.all", "workflow.failed", "workflow.all"]);
    assert_eq!(harness.counts.dropped.get(&Code::NoMatch), Some(&2));
    let routed: Routed = deps().codec.decode(harness.outputs[1].value.as_ref().unwrap()).unwrap();
    let d = &routed.detection;
    assert_eq!((d.rule.id.as_deref(), d.rule.rev.as_deref()), (Some("threats"), Some("1")));
    assert_eq!((d.resource.as_deref(), d.asset.as_deref()), (Some("siem"), Some("sink:siem")));
    assert_eq!((d.incident_id.as_deref(), d.finding_uid.as_deref()), (Some("i1"), Some("e1")));
    assert_eq!((d.code.as_deref(), d.importance, d.count), (Some("503"), Some(50.0), Some(5)));
    assert!(harness.counts.balanced());
}

#[test]
fn what_is_told_of_a_receipt() {
    let headers = Headers::default();
    let record = lies("t.receipts", 0, 3_000_000, &headers);
    let made =
        [receipt("threats@1", "rejected"), receipt("odd", "delivered")].map(|r| detection(&r, &record));
    assert_eq!((made[1].rule.id.as_deref(), made[1].rule.rev.as_deref()), (Some("odd"), None));
    fills(Trigger::Receipt, &made);
}
