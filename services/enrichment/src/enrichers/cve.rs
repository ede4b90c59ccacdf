//! KEV and EPSS of the event's CVEs (table `vulnerabilities`, loaded from CISA's and FIRST's files): the worst of them.
use super::{Enricher, Missing};
use atio_schemas::{Code, Codec, Detection, reference::ReferenceRow};
use atio_stage::{StageError, Tx, View};
use std::collections::HashMap;

pub const TABLE: &str = "vulnerabilities";

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known {
    kev: bool,
    /// 0-1; NaN = not scored.
    epss: f32,
}

/// By CVE number, packed: 300,000 rows are 5 MB.
#[derive(Clone)]
pub struct Vulnerabilities {
    codec: Codec,
    rows: HashMap<u64, Known>,
}

/// `CVE-2024-12345` → year and number in one integer.
fn packed(cve: &str) -> Option<u64> {
    let (year, number) = cve.get(4..)?.split_once('-')?;
    Some(year.parse::<u64>().ok()?.checked_mul(1 << 32)? + u64::from(number.parse::<u32>().ok()?))
}

impl Vulnerabilities {
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self { codec, rows: HashMap::new() }
    }
}

impl View for Vulnerabilities {
    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StageError> {
        let fail = |code, message: String| StageError { code, message };
        let text = String::from_utf8_lossy(key);
        let id = packed(&text).ok_or_else(|| fail(Code::InvalidField, format!("{text:?} is no CVE id")))?;
        self.rows.remove(&id);
        let Some(value) = value else { return Ok(()) };
        let row: ReferenceRow = self.codec.decode(value).map_err(|e| fail(e.code(), e.to_string()))?;
        let epss = row.columns.get("epss").filter(|c| !c.is_empty()).map(|c| c.parse::<f32>());
        let epss = epss
            .transpose()
            .ok()
            .map(|e| e.unwrap_or(f32::NAN))
            .filter(|e| e.is_nan() || (0.0..=1.0).contains(e));
        let epss =
            epss.ok_or_else(|| fail(Code::InvalidField, format!("{text}: epss is no number from 0 to 1")))?;
        self.rows.insert(id, Known { kev: row.columns.get("kev").is_some_and(|k| k == "true"), epss });
        Ok(())
    }
    fn fork(&self) -> Box<dyn View> {
        Box::new(self.clone())
    }
}

pub(crate) struct OfCve;

impl Enricher for OfCve {
    fn enrich(&self, d: &mut Detection, tx: &mut Tx<'_>) -> Result<Option<Missing>, StageError> {
        if d.cves.is_empty() {
            return Ok(None);
        }
        let table: &Vulnerabilities = tx.table(TABLE)?;
        if table.rows.is_empty() {
            return Ok(Some(Missing(TABLE)));
        }
        let known = || d.cves.iter().filter_map(|cve| table.rows.get(&packed(cve)?));
        let kev = known().any(|k| k.kev);
        let epss = known().map(|k| k.epss).filter(|e| !e.is_nan()).max_by(f32::total_cmp);
        d.kev = Some(kev);
        // Six digits, as FIRST publishes them: not what the binary fraction adds.
        d.epss = epss.map(|e| (f64::from(e) * 1e6).round() / 1e6);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::packed;

    #[test]
    fn cve_ids_are_packed_and_others_are_not() {
        assert_eq!(packed("CVE-2024-3094"), Some((2024 << 32) + 3094));
        assert!(
            packed("CVE-2024").is_none()
                && packed("NVT-1").is_none()
                && packed("").is_none()
                && packed("CVE-x-1").is_none()
        );
    }
}
