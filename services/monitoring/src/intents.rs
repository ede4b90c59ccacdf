//! What others want recorded, into the audit log: one chain per input partition. Owns nothing of what is recorded.
use crate::{chain, commands::audit_output, stores::IntentChains};
use atio_schemas::{Codec, audit::AuditIntent};
use atio_stage::{Outcome, Processor, Record, StageError, Tx};
use std::sync::Arc;

pub(crate) struct Intents {
    codec: Codec,
    audit: Arc<str>,
}

impl Intents {
    pub(crate) fn new(codec: Codec, audit: Arc<str>) -> Self {
        Self { codec, audit }
    }

    fn append(
        &self,
        intent: &AuditIntent,
        record: &Record<'_>,
        tx: &mut Tx<'_>,
    ) -> Result<Outcome, StageError> {
        let entry = chain::append::<IntentChains>(&format!("intents-{}", record.partition), intent, tx)?;
        Ok(Outcome::emit(audit_output(&self.codec, &self.audit, &entry, record)?))
    }
}

impl Processor for Intents {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        match record.decode::<AuditIntent>(&self.codec, "an intent") {
            Ok(intent) => self.append(&intent, record, tx).unwrap_or_else(Outcome::Fail),
            Err(refused) => refused,
        }
    }
}
