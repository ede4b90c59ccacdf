//! Rows of the reference tables (`atio.reference.<table>`, compacted, key = entity).
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A row of any table: column name → text. Typed on reading (`assets`: id, addresses, hostnames, owner, criticality, exposure, policies;
/// several values in one cell are separated by `;` or blanks). `vulnerabilities`: key = CVE id, columns kev, kev_due, epss, epss_percentile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReferenceRow {
    pub table: String,
    pub id: String,
    pub columns: BTreeMap<String, String>,
}
