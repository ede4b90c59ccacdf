//! What others want recorded, into the audit log: one chain per input partition. Owns nothing of what is recorded, a tampering aside: that is
//! told to whoever follows changes as well, and only once.
use crate::{
    chain,
    commands::{audit_output, output},
    object_key,
    report::Report,
    stores::{IntentChains, Reported},
    written::{Topic, Written},
};
use atio_schemas::{Code, Codec, audit::AuditIntent};
use atio_stage::{NonEmpty, Outcome, Processor, Record, StageError, Tx};
use std::sync::Arc;

pub(crate) struct Intents {
    codec: Codec,
    audit: Arc<str>,
    changes: Arc<str>,
}

impl Intents {
    pub(crate) fn new(codec: Codec, audit: Arc<str>, changes: Arc<str>) -> Self {
        Self { codec, audit, changes }
    }

    fn append(
        &self,
        mut intent: AuditIntent,
        record: &Record<'_>,
        tx: &mut Tx<'_>,
    ) -> Result<Outcome, StageError> {
        let mut outputs = vec![];
        if let Some(report) = Report::of(&intent) {
            if tx.store::<Reported>().get(&intent.intent_id)?.is_some() {
                return Ok(Outcome::Drop(Code::Duplicate));
            }
            tx.store::<Reported>().put(&intent.intent_id, &())?;
            let key = object_key(report.kind, &report.name);
            let change = report.change(&intent, record.origin());
            let id = &change.change_id;
            let told = output(&self.codec, &self.changes, &key, &change, id, record, intent.at)?;
            intent.details = noted(&intent.details, &Written::of(Topic::Changes, &told))?;
            outputs.push(told);
        }
        let chain = format!("intents-{}", record.partition);
        let entry = chain::append::<IntentChains>(&chain, &intent, tx)?;
        outputs.push(audit_output(&self.codec, &self.audit, &entry, record)?);
        // The entry is always there.
        NonEmpty::from_vec(outputs).map(|outputs| Outcome::Emit { outputs, rejected: vec![] }).ok_or_else(
            || StageError { code: Code::Internal, message: "an intent without an entry".to_owned() },
        )
    }
}

/// The details with what is written beside the entry.
fn noted(details: &str, written: &Written) -> Result<String, StageError> {
    let internal =
        |e: serde_json::Error| StageError { code: Code::Internal, message: format!("audit details: {e}") };
    let mut object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(details).map_err(internal)?;
    object.insert("written".to_owned(), serde_json::to_value([written]).map_err(internal)?);
    serde_json::to_string(&object).map_err(internal)
}

impl Processor for Intents {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        match record.decode::<AuditIntent>(&self.codec, "an intent") {
            Ok(intent) => self.append(intent, record, tx).unwrap_or_else(Outcome::Fail),
            Err(refused) => refused,
        }
    }
}
