//! The records that matches become: on the workflow's own topic, or on the one that the pool reads. Owns their topics, keys and headers. Must not know:
//! who matched, stages, groups.
use crate::{
    Definitions,
    outputs::{headers, shared_headers},
};
use atio_schemas::{Codec, CodecError, Detection, definition::Placement, routed::Routed};
use atio_stage::{Headers, Output, Reject, StageError};
use std::sync::Arc;

/// Matches in one record at most. What more match is a record of its own, so that none is too large and gives too much.
const MATCHES_MAX: usize = 1_000;
/// What a routed record says of itself in `ce_type`.
pub const ROUTED: &str = "atio.routed";

/// What records are written with.
#[derive(Clone, Copy)]
pub struct To<'a> {
    pub codec: &'a Codec,
    /// Of topics, e.g. `atio.`.
    pub prefix: &'a str,
    pub definitions: &'a Definitions,
}

/// Why a record can't be written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl Unwritten {
    /// What concerns this record alone is refused; a schema that is not registered yet, or a table that is behind, concerns all records.
    ///
    /// # Errors
    /// The stage can't go on.
    pub fn reject(self) -> Result<Reject, StageError> {
        match self {
            Self::Stage(error) => Err(error),
            Self::Codec(error @ CodecError::Unregistered(_)) => {
                Err(StageError { code: error.code(), message: error.to_string() })
            }
            Self::Codec(error) => Ok(Reject::whole(error.code(), error.to_string())),
        }
    }
}

impl To<'_> {
    /// As [`Self::routed`], of an event that no record has brought: keyed by its asset, else its incident, else itself.
    ///
    /// # Errors
    /// [`Unwritten`].
    pub fn event(
        self,
        from: &Headers,
        detection: Detection,
        found: &[(&str, i64)],
    ) -> Result<Vec<Output>, Unwritten> {
        let place =
            detection.asset.as_ref().or(detection.incident_id.as_ref()).unwrap_or(&detection.event_id);
        let key = Some(place.as_bytes().to_vec());
        self.routed(from, (key, None), detection, found)
    }

    /// A record for each workflow with a topic of its own, under the key that it brings its events together by, else this one; and what all others
    /// share, out of which the pool takes it. With the detection's datum, where that is written already. `from`: headers of the record that it came
    /// with.
    ///
    /// # Errors
    /// [`Unwritten`].
    pub fn routed(
        self,
        from: &Headers,
        (key, datum): (Option<Vec<u8>>, Option<&[u8]>),
        detection: Detection,
        found: &[(&str, i64)],
    ) -> Result<Vec<Output>, Unwritten> {
        let is_own = |(name, _): &&(&str, i64)| self.definitions.placement(name) == Some(Placement::Own);
        let (own, shared): (Vec<_>, Vec<_>) = found.iter().partition(is_own);
        let mut routed = Routed { matches: vec![], detection };
        let mut outputs = Vec::with_capacity(own.len() + 1);
        let mut output = |topic: String, matches, key, routed: &mut Routed, headers| {
            routed.matches = matches;
            let value = match datum {
                Some(datum) => self.codec.encode_with::<Routed>(&routed.matches, datum)?,
                None => self.codec.encode(routed)?,
            };
            outputs.push(Output {
                topic: Arc::from(topic),
                partition: None,
                key,
                value: Some(value),
                headers,
            });
            Ok::<(), CodecError>(())
        };
        for (name, version) in own {
            let workflow = format!("{name}@{version}");
            let headers = headers(from, &routed.detection, &workflow, ROUTED);
            let together = self.definitions.record_key(name, version, &routed.detection)?;
            let key = together.or_else(|| key.clone());
            output(format!("{}workflow.{name}", self.prefix), vec![workflow], key, &mut routed, headers)?;
        }
        for some in shared.chunks(MATCHES_MAX) {
            let matches = some.iter().map(|(name, version)| format!("{name}@{version}")).collect();
            let headers = shared_headers(from, &routed.detection, ROUTED);
            output(format!("{}routed", self.prefix), matches, key.clone(), &mut routed, headers)?;
        }
        Ok(outputs)
    }
}
