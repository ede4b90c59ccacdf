//! One enriched detection in; one record out for each workflow whose trigger holds and that has a topic of its own, and one for all the others.
//! Owns nothing but that.
use crate::Definitions;
use atio_schemas::{Code, Codec, Detection};
use atio_stage::{NonEmpty, Outcome, Output, Processor, Record, Tx};
use atio_workflow::{To, Trigger, routed::Unwritten};

pub(crate) struct Router {
    codec: Codec,
    prefix: String,
}

impl Router {
    pub(crate) const fn new(codec: Codec, prefix: String) -> Self {
        Self { codec, prefix }
    }

    fn route(
        &self,
        detection: Detection,
        record: &Record<'_>,
        definitions: &Definitions,
    ) -> Result<Vec<Output>, Unwritten> {
        let found: Vec<(&str, i64)> = definitions.matches(Trigger::Detection, &detection).collect();
        // What was written with our schema is handed on as it stands.
        let datum = record.value.and_then(|value| self.codec.own_datum::<Detection>(value));
        let key = record.key.map(<[u8]>::to_vec);
        let to = To { codec: &self.codec, prefix: &self.prefix, definitions };
        to.routed(record.headers, (key, datum), detection, &found)
    }
}

impl Processor for Router {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let detection: Detection = match record.decode(&self.codec, "a detection") {
            Ok(detection) => detection,
            Err(refused) => return refused,
        };
        let definitions = match tx.table::<Definitions>(Definitions::TABLE) {
            Ok(definitions) => definitions,
            Err(error) => return Outcome::Fail(error),
        };
        match self.route(detection, record, definitions).map(NonEmpty::from_vec) {
            Ok(Some(outputs)) => Outcome::Emit { outputs, rejected: vec![] },
            Ok(None) => Outcome::Drop(Code::NoMatch),
            Err(error) => refused(error),
        }
    }
}

/// How a record ends of which something can't be written.
pub(crate) fn refused(error: impl Into<Unwritten>) -> Outcome {
    error.into().reject().map_or_else(Outcome::Fail, |reject| Outcome::DeadLetter(NonEmpty::one(reject)))
}
