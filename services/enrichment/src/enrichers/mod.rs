//! The enrichers, one file each, and the order in which they run. An enricher adds columns; it can't drop an event.
pub mod asset;
pub mod cve;

use atio_schemas::Detection;
use atio_stage::{StageError, Tx};

/// What an enricher could not do: the event is marked and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(pub &'static str);

pub trait Enricher: Send + Sync {
    /// # Errors
    /// The stage as a whole can't go on (a table that was not declared). What is merely not known is `Ok(Some(Missing))`.
    fn enrich(&self, d: &mut Detection, tx: &mut Tx<'_>) -> Result<Option<Missing>, StageError>;
}

/// In the order in which they run.
pub(crate) const ENRICHERS: &[&dyn Enricher] = &[&asset::OfAsset, &cve::OfCve];

/// Runs them all.
pub(crate) fn run(d: &mut Detection, tx: &mut Tx<'_>) -> Result<(), StageError> {
    for enricher in ENRICHERS {
        if let Some(Missing(name)) = enricher.enrich(d, tx)? {
            let mark = format!("enrichment_missing:{name}");
            if !d.quality.contains(&mark) {
                d.quality.push(mark);
            }
        }
    }
    Ok(())
}

/// Several values in one cell are separated by `;`, `,` or blanks.
fn cells(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(|c: char| c == ';' || c == ',' || c.is_whitespace()).filter(|part| !part.is_empty())
}
