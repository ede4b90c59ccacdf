//! A detection's bundle as it leaves: closed, so that what others get is self-contained. Owns what STIX did not carry of the columns.
use crate::writer::{WriteCx, WriteError, Writer, Written, residue};
use atio_schemas::column::{Cell, column};
use atio_schemas::{Code, Detection};
use memchr::memmem;

pub(crate) const CONTENT_TYPE: &str = "application/stix+json;version=2.1";

pub(crate) struct StixBundle;

impl Writer for StixBundle {
    fn write(&self, d: &Detection, _: &WriteCx) -> Result<Written, WriteError> {
        if d.bundle.is_empty() {
            return Err(WriteError::new(Code::ConvertFailed, "the detection has no bundle"));
        }
        let body = atio_stix::bundle::close(&d.bundle);
        let residue = residue(d, |name| name == "bundle" || carries(&body, d, name));
        Ok(Written { content_type: CONTENT_TYPE, body, residue })
    }
}

/// True where the bundle has a property of the column's name (ATIO's extension writes a dot as `_`), or says its text somewhere.
fn carries(body: &[u8], d: &Detection, name: &str) -> bool {
    let property = format!("\"{}\":", name.replace('.', "_"));
    if memmem::find(body, property.as_bytes()).is_some() {
        return true;
    }
    let says = |text: &str| {
        serde_json::to_vec(text)
            .is_ok_and(|json| memmem::find(body, json.get(1..json.len() - 1).unwrap_or_default()).is_some())
    };
    match column(name).map(|column| (column.get)(d)) {
        Some(Cell::Text(text)) => says(text),
        // A hash stands in a file under the algorithm's name: `sha256:…` there is the value alone.
        Some(Cell::Texts(list)) => list.iter().all(|text| {
            says(text) || text.split_once(':').is_some_and(|(_, value)| !value.is_empty() && says(value))
        }),
        Some(Cell::Int(number)) => memmem::find(body, format!(":{number}").as_bytes()).is_some(),
        Some(Cell::Time(at)) => says(&at.rfc3339_millis()),
        _ => false,
    }
}
