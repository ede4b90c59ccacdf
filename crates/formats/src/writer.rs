//! Formats that are written from detections: the contract, the table, what all of them share. Owns residue: the columns that a format does
//! not carry. Must not know: sinks, workflows.
use crate::{ecs, report, stix};
use atio_schemas::column::{COLUMNS, Cell};
use atio_schemas::{Code, Detection};

/// What a writer is told beside the detection.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct WriteCx {}

/// One detection in another form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// Names of the columns that have a value and that the form does not carry, in the envelope's order.
    pub residue: Vec<String>,
}

/// Why a detection has no such form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WriteError {
    code: Code,
    message: String,
}

impl WriteError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }
}

/// Writes one format.
pub trait Writer: Send + Sync {
    /// # Errors
    /// `convert_failed` where this detection has no such form.
    fn write(&self, d: &Detection, cx: &WriteCx) -> Result<Written, WriteError>;
}

/// A format that ATIO writes: what `convert:` and a sink's `format:` take.
pub struct OutFormat {
    pub name: &'static str,
    pub description: &'static str,
    pub content_type: &'static str,
    pub writer: &'static dyn Writer,
}

impl std::fmt::Debug for OutFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutFormat").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every format that is written, alphabetical, a line each.
#[rustfmt::skip]
pub static WRITERS: &[OutFormat] = &[
    OutFormat { name: "ecs", description: "Elastic Common Schema 8 document", content_type: ecs::CONTENT_TYPE, writer: &ecs::Ecs },
    OutFormat { name: "report", description: "plain JSON report for people", content_type: report::CONTENT_TYPE, writer: &report::Report },
    OutFormat { name: "stix", description: "self-contained STIX 2.1 bundle", content_type: stix::CONTENT_TYPE, writer: &stix::StixBundle },
];

/// The written format of that name.
#[must_use]
pub fn writer(name: &str) -> Option<&'static OutFormat> {
    WRITERS.iter().find(|format| format.name == name)
}

pub(crate) fn has_value(cell: Cell<'_>) -> bool {
    match cell {
        Cell::Null => false,
        Cell::Texts(list) => !list.is_empty(),
        Cell::Text(text) => !text.is_empty(),
        _ => true,
    }
}

/// Columns with a value that `carried` does not know; the bundle and the reasons are judged by their names too.
pub(crate) fn residue(d: &Detection, carried: impl Fn(&str) -> bool) -> Vec<String> {
    let plain = COLUMNS.iter().filter(|column| has_value((column.get)(d))).map(|column| column.name);
    let reasons = (!d.reasons.is_empty()).then_some("reasons");
    let bundle = (!d.bundle.is_empty()).then_some("bundle");
    plain.chain(reasons).chain(bundle).filter(|name| !carried(name)).map(str::to_owned).collect()
}

/// What happened, in one line.
pub(crate) fn headline(d: &Detection) -> String {
    let tool = d.product.as_deref().unwrap_or(&d.source);
    let what = match (&d.rule.name, &d.rule.id, &d.category) {
        (Some(name), ..) if !name.is_empty() => name.clone(),
        (_, Some(id), _) => format!("{tool} rule {id}"),
        (_, _, Some(category)) => format!("{tool} {category}"),
        _ => format!("{tool} {}", d.kind),
    };
    match d.asset.as_deref().or(d.host.as_deref()) {
        Some(asset) => format!("{what} on {asset}"),
        None => what,
    }
}

#[cfg(test)]
mod tests;
