//! `on: receipt`: what a sink answered to a delivery. Owns what each column is filled with (docs/workflows.md).
//!
//! No loop: what a workflow on receipts delivered triggers no workflow on receipts.
use super::{Event, Source, definitions, operational, weigh};
use atio_schemas::{Code, Codec, Detection, delivery::ReceiptRecord};
use atio_stage::{Outcome, Pace, Record, Tx};
use atio_workflow::Trigger;

pub(super) struct Receipts;

const TELLER: &str = "delivery";

impl Source for Receipts {
    const ON: Trigger = Trigger::Receipt;
    const TOPIC: &'static str = "receipts";
    /// One for each delivery.
    const PACE: Pace = Pace::Bulk;

    fn event<'d>(&self, codec: &Codec, record: &Record<'_>, tx: &mut Tx<'d>) -> Result<Event<'d>, Outcome> {
        let receipt: ReceiptRecord = record.decode(codec, "a receipt")?;
        let (name, version) = workflow(&receipt);
        let delivered_by = version.and_then(|v| definitions(tx).ok()?.version(name, v.parse().ok()?).ok());
        if delivered_by.is_some_and(|definition| definition.on == Self::ON) {
            return Err(Outcome::Drop(Code::NoMatch));
        }
        Ok(Event { detection: detection(&receipt, record), before: None, also: None, alone: false })
    }
}

fn workflow(receipt: &ReceiptRecord) -> (&str, Option<&str>) {
    match receipt.workflow.rsplit_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (&receipt.workflow, None),
    }
}

fn detection(receipt: &ReceiptRecord, record: &Record<'_>) -> Detection {
    let mut d = operational(Trigger::Receipt, TELLER, record);
    let (name, version) = workflow(receipt);
    let (sink, status) = (&receipt.sink, &receipt.status);
    d.code.clone_from(&receipt.code);
    d.outcome = Some(status.clone());
    d.rule.id = Some(name.to_owned());
    d.rule.rev = version.map(str::to_owned);
    d.rule.name = Some(format!("{status} by {sink}"));
    d.asset = Some(format!("sink:{sink}"));
    d.resource = Some(sink.clone());
    d.target = Some(receipt.branch.clone());
    d.count = Some(receipt.attempts.into());
    d.finding_uid = Some(receipt.event_id.clone());
    d.incident_id.clone_from(&receipt.incident_id);
    d.external_ids = receipt.external_id.iter().cloned().collect();
    d.occurred_at = Some(receipt.delivered_at);
    let score = if status == "delivered" { 10.0 } else { 50.0 };
    weigh(&mut d, score, format!("{} attempts", receipt.attempts));
    d
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
