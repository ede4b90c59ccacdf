//! One enriched detection in; one record out for each workflow whose trigger holds. Owns nothing but that.
use crate::Definitions;
use atio_schemas::{Code, Codec, CodecError, Detection, routed::Routed};
use atio_stage::{Headers, NonEmpty, Outcome, Output, Processor, Record, StageError, Tx};
use atio_workflow::{Trigger, outputs::headers};
use std::sync::Arc;

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
        found: &[(&str, i64)],
    ) -> Result<Vec<Output>, Outcome> {
        // What was written with our schema is handed on as it stands.
        let datum = record.value.and_then(|value| self.codec.own_datum::<Detection>(value));
        let key = record.key.map(<[u8]>::to_vec);
        let to = To { codec: &self.codec, prefix: &self.prefix, definitions };
        to.outputs(record.headers, (key, datum), detection, found)
    }
}

/// Where records of matches go.
#[derive(Clone, Copy)]
pub(crate) struct To<'a> {
    pub(crate) codec: &'a Codec,
    pub(crate) prefix: &'a str,
    pub(crate) definitions: &'a Definitions,
}

impl To<'_> {
    /// A record for each workflow: under the key that it brings its events together by, else this one; and with the detection's datum, where that
    /// is written already. `from`: headers of the record that it came with.
    ///
    /// # Errors
    /// How the input ends then.
    pub(crate) fn outputs(
        self,
        from: &Headers,
        (key, datum): (Option<Vec<u8>>, Option<&[u8]>),
        detection: Detection,
        found: &[(&str, i64)],
    ) -> Result<Vec<Output>, Outcome> {
        let mut routed = Routed { matches: vec![], detection };
        let mut outputs = Vec::with_capacity(found.len());
        for (name, version) in found {
            let workflow = format!("{name}@{version}");
            routed.matches = vec![workflow.clone()];
            let value = match datum {
                Some(datum) => self.codec.encode_with::<Routed>(&routed.matches, datum),
                None => self.codec.encode(&routed),
            };
            let own = self.definitions.record_key(name, *version, &routed.detection);
            outputs.push(Output {
                topic: Arc::from(format!("{}workflow.{name}", self.prefix)),
                partition: None,
                key: own.map_err(Outcome::Fail)?.or_else(|| key.clone()),
                value: Some(value.map_err(|error| refused(&error))?),
                headers: headers(from, &routed.detection, &workflow, "atio.routed"),
            });
        }
        Ok(outputs)
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
        let found: Vec<(&str, i64)> = definitions.matches(Trigger::Detection, &detection).collect();
        match self.route(detection, record, definitions, &found).map(NonEmpty::from_vec) {
            Ok(Some(outputs)) => Outcome::Emit { outputs, rejected: vec![] },
            Ok(None) => Outcome::Drop(Code::NoMatch),
            Err(end) => end,
        }
    }
}

/// A record that can't be written is a dead letter; a schema that is not registered yet concerns all records.
pub(crate) fn refused(error: &CodecError) -> Outcome {
    match error {
        CodecError::Unregistered(_) => {
            Outcome::Fail(StageError { code: error.code(), message: error.to_string() })
        }
        _ => Outcome::dead_letter(error.code(), error.to_string()),
    }
}
