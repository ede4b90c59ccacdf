//! What state makes of a detection: the sighting, the report, and bundles cut to what may leave.
//!
//! Pure functions for enrichment, `atio normalize` and the steps that drop STIX objects. Must not know: stores, clocks.
mod merge;
mod operational;
pub mod refs;
pub mod report;
pub mod sighting;

use crate::bundle::{self, BundleError};
use crate::ids::NORMALIZE;
use crate::object::StixObject as _;
use crate::scan::Objects;
use atio_schemas::detection::Kind;
use atio_schemas::{Detection, Timestamp};
pub use merge::merge;
pub use operational::operational;
pub use refs::{Branch, remove};
pub use report::Version;
pub use sighting::Window;

/// Why a graph was not made.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    #[error("the detection's bundle is not a bundle in ATIO's compact form")]
    Bundle,
    #[error("an object could not be written: {0}")]
    Write(#[from] serde_json::Error),
    #[error(transparent)]
    Read(#[from] BundleError),
}

impl GraphError {
    /// The bounded reason code.
    #[must_use]
    pub const fn code(&self) -> atio_schemas::Code {
        match self {
            Self::Bundle => atio_schemas::Code::InvalidStix,
            Self::Write(_) => atio_schemas::Code::EncodeFailed,
            Self::Read(error) => error.code(),
        }
    }
}

/// The detection's bundle with its sighting and its report appended, each where it is asked for and makes sense. Objects
/// of the same id that were there before are replaced. Nothing is parsed into values.
///
/// # Errors
/// [`GraphError`]: the bundle is not in our form.
pub fn complete(
    detection: &Detection,
    window: Option<&Window<'_>>,
    version: Option<&Version<'_>>,
) -> Result<Vec<u8>, GraphError> {
    let objects = Objects::of(&detection.bundle).ok_or(GraphError::Bundle)?;
    let sighting = window.and_then(|window| sighting::build(detection, &objects, window));
    let report_id = version.map(|version| report::id(detection, version));
    let made = [sighting.as_ref().map(|s| s.common.id), report_id];
    let is_made =
        |id: Option<&str>| id.is_some_and(|id| made.iter().flatten().any(|made| *made == id.into()));
    let kept: Vec<_> = objects.iter().filter(|found| !is_made(found.id)).collect();
    let mut added: Vec<Vec<u8>> = vec![];
    if let Some(sighting) = &sighting {
        added.push(sighting.json()?);
    }
    if let Some(version) = version {
        let mut refs: Vec<_> = kept.iter().filter_map(|found| found.id).map(crate::Id::Text).collect();
        refs.extend(sighting.as_ref().map(|s| s.common.id));
        added.push(report::build(detection, version, refs).json()?);
    }
    let new = added.iter().map(Vec::as_slice);
    if kept.len() == objects.len() {
        return Ok(bundle::splice(&detection.bundle, objects.end(), new));
    }
    let list = detection.bundle.get(..objects.start()).ok_or(GraphError::Bundle)?;
    let empty = [list, b"]}"].concat();
    Ok(bundle::splice(&empty, list.len(), kept.iter().map(|found| found.json).chain(new)))
}

/// What `atio normalize` prints in the place of enrichment: sighting and report seeded with `normalize|`, a window of one
/// event. Logs and intelligence keep their bundle as it is.
///
/// # Errors
/// As [`complete`].
pub fn normalized(detection: &Detection) -> Result<Vec<u8>, GraphError> {
    let at = detection.reported_at.or(detection.occurred_at).or(detection.received_at).unwrap_or_default();
    let event = [NORMALIZE, detection.event_id.as_str()];
    let finding = detection.finding_uid.as_deref().map(|uid| [NORMALIZE, uid]);
    let seed: &[&str] = finding.as_ref().map_or(&event, |finding| finding);
    let version = Version { seed, created: at, modified: at };
    match detection.kind {
        Kind::Threat => {
            let window = Window::of_one(&event, at, detection.occurred_at.unwrap_or(at));
            let version = Version { seed: &event, ..version };
            complete(detection, Some(&window), Some(&version))
        }
        Kind::Vulnerability if Objects::of(&detection.bundle).is_some() => {
            complete(detection, None, Some(&version))
        }
        _ => Ok(detection.bundle.to_vec()),
    }
}

/// The later of both: modified is never before created (§3.2).
pub(crate) fn not_before(created: Timestamp, modified: Timestamp) -> Timestamp {
    created.max(modified)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
