//! The detection's columns by name: type, reading and writing. What matches, expressions and views share, so that a column is described once.
//!
//! `bundle` and `reasons` are no plain columns and are missing here. Must not know: expressions, workflows.
use crate::{
    Detection, Timestamp,
    detection::{AssetResolvedBy, Criticality, Decision, Disposition, Exposure, Kind, Status, Tlp, Zone},
};
use std::{collections::HashMap, sync::LazyLock};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Text,
    /// Text that is an IP address.
    Ip,
    /// One of these texts.
    Symbol(&'static [&'static str]),
    Int,
    Float,
    Bool,
    Time,
    /// A list of texts; never null.
    Texts,
}

/// A column's value, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    Null,
    Text(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
    Time(Timestamp),
    Texts(&'a [String]),
}

/// A value to put into a column.
#[derive(Clone, Debug, PartialEq)]
pub enum NewCell {
    Null,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Time(Timestamp),
    Texts(Vec<String>),
}

/// The value does not fit the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value does not fit column {0}")]
pub struct Misfit(pub &'static str);

pub struct Column {
    /// As on the detection; nested ones with a dot: `src.ip`, `rule.id`.
    pub name: &'static str,
    pub ty: Type,
    /// False for lists and for what every detection has.
    pub nullable: bool,
    pub get: for<'a> fn(&'a Detection) -> Cell<'a>,
    set: fn(&mut Detection, NewCell) -> Option<()>,
}

impl Column {
    /// Puts a value into its column.
    ///
    /// # Errors
    /// Another type, a symbol that is none of the column's, null where the column is never null.
    pub fn put(&self, detection: &mut Detection, value: NewCell) -> Result<(), Misfit> {
        (self.set)(detection, value).ok_or(Misfit(self.name))
    }
}

impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "column {}: {:?}", self.name, self.ty)
    }
}

macro_rules! field {
    (text $($f:ident).+; $n:literal, $ty:expr) => {
        Column { name: $n, ty: $ty, nullable: true,
            get: |d| d.$($f).+.as_deref().map_or(Cell::Null, Cell::Text),
            set: |d, v| { d.$($f).+ = match v { NewCell::Null => None, NewCell::Text(t) => Some(t), _ => return None }; Some(()) } }
    };
    (given $($f:ident).+; $n:literal) => {
        Column { name: $n, ty: Type::Text, nullable: false,
            get: |d| Cell::Text(&d.$($f).+),
            set: |d, v| { let NewCell::Text(t) = v else { return None }; d.$($f).+ = t; Some(()) } }
    };
    (symbol $t:ident $($f:ident).+; $n:literal) => {
        Column { name: $n, ty: Type::Symbol($t::NAMES), nullable: false,
            get: |d| Cell::Text(d.$($f).+.as_str()),
            set: |d, v| { let NewCell::Text(t) = v else { return None }; d.$($f).+ = $t::parse(&t)?; Some(()) } }
    };
    (symbol_or_null $t:ident $($f:ident).+; $n:literal) => {
        Column { name: $n, ty: Type::Symbol($t::NAMES), nullable: true,
            get: |d| d.$($f).+.map_or(Cell::Null, |s| Cell::Text(s.as_str())),
            set: |d, v| { d.$($f).+ = match v { NewCell::Null => None, NewCell::Text(t) => Some($t::parse(&t)?), _ => return None }; Some(()) } }
    };
    (int $($f:ident).+; $n:literal) => {
        Column { name: $n, ty: Type::Int, nullable: true,
            get: |d| d.$($f).+.map_or(Cell::Null, |n| Cell::Int(n.into())),
            set: |d, v| { d.$($f).+ = match v { NewCell::Null => None, NewCell::Int(n) => Some(n.try_into().ok()?), _ => return None }; Some(()) } }
    };
    (float $($f:ident).+; $n:literal) => {
        Column { name: $n, ty: Type::Float, nullable: true,
            get: |d| d.$($f).+.map_or(Cell::Null, Cell::Float),
            set: |d, v| { d.$($f).+ = match v {
                NewCell::Null => None, NewCell::Float(n) => Some(n), NewCell::Int(n) => Some(n as f64), _ => return None }; Some(()) } }
    };
    (bool $($f:ident).+; $n:literal) => {
        Column { name: $n, ty: Type::Bool, nullable: true,
            get: |d| d.$($f).+.map_or(Cell::Null, Cell::Bool),
            set: |d, v| { d.$($f).+ = match v { NewCell::Null => None, NewCell::Bool(b) => Some(b), _ => return None }; Some(()) } }
    };
    (time $($f:ident).+; $n:literal) => {
        Column { name: $n, ty: Type::Time, nullable: true,
            get: |d| d.$($f).+.map_or(Cell::Null, Cell::Time),
            set: |d, v| { d.$($f).+ = match v { NewCell::Null => None, NewCell::Time(t) => Some(t), _ => return None }; Some(()) } }
    };
    (texts $($f:ident).+; $n:literal) => {
        Column { name: $n, ty: Type::Texts, nullable: false,
            get: |d| Cell::Texts(&d.$($f).+),
            set: |d, v| { let NewCell::Texts(t) = v else { return None }; d.$($f).+ = t; Some(()) } }
    };
}

/// Every plain column, in the envelope's order.
pub static COLUMNS: &[Column] = &[
    field!(given event_id; "event_id"),
    field!(text finding_uid; "finding_uid", Type::Text),
    field!(symbol Kind kind; "kind"),
    field!(text category; "category", Type::Text),
    field!(given tenant; "tenant"),
    field!(symbol Zone zone; "zone"),
    field!(given source; "source"),
    field!(text product; "product", Type::Text),
    field!(text sensor; "sensor", Type::Text),
    field!(text rule.id; "rule.id", Type::Text),
    field!(text rule.rev; "rule.rev", Type::Text),
    field!(text rule.name; "rule.name", Type::Text),
    field!(text code; "code", Type::Text),
    field!(text provider; "provider", Type::Text),
    field!(text channel; "channel", Type::Text),
    field!(int severity_id; "severity_id"),
    field!(float severity_score; "severity_score"),
    field!(text severity_raw; "severity_raw", Type::Text),
    field!(int confidence; "confidence"),
    field!(float importance; "importance"),
    field!(float asset_risk; "asset_risk"),
    field!(symbol_or_null Decision decision; "decision"),
    field!(symbol_or_null Disposition disposition; "disposition"),
    field!(text outcome; "outcome", Type::Text),
    field!(symbol_or_null Status status; "status"),
    field!(int count; "count"),
    field!(text asset; "asset", Type::Text),
    field!(symbol_or_null AssetResolvedBy asset_resolved_by; "asset_resolved_by"),
    field!(symbol_or_null Criticality criticality; "criticality"),
    field!(symbol_or_null Exposure exposure; "exposure"),
    field!(texts policies; "policies"),
    field!(text host; "host", Type::Text),
    field!(texts users; "users"),
    field!(text process; "process", Type::Text),
    field!(text parent; "parent", Type::Text),
    field!(text command_line; "command_line", Type::Text),
    field!(texts hashes; "hashes"),
    field!(texts domains; "domains"),
    field!(texts urls; "urls"),
    field!(text email_from; "email_from", Type::Text),
    field!(texts email_to; "email_to"),
    field!(text email_subject; "email_subject", Type::Text),
    field!(text src.ip; "src.ip", Type::Ip),
    field!(int src.port; "src.port"),
    field!(text dst.ip; "dst.ip", Type::Ip),
    field!(int dst.port; "dst.port"),
    field!(text proto; "proto", Type::Text),
    field!(text direction; "direction", Type::Text),
    field!(text actor; "actor", Type::Text),
    field!(text target; "target", Type::Text),
    field!(text community_id; "community_id", Type::Text),
    field!(text flow_id; "flow_id", Type::Text),
    field!(int bytes_out; "bytes_out"),
    field!(text cloud_account; "cloud_account", Type::Text),
    field!(text resource; "resource", Type::Text),
    field!(texts cves; "cves"),
    field!(texts cpes; "cpes"),
    field!(float cvss; "cvss"),
    field!(float epss; "epss"),
    field!(bool kev; "kev"),
    field!(bool fix_available; "fix_available"),
    field!(texts capecs; "capecs"),
    field!(texts tactics; "tactics"),
    field!(texts techniques; "techniques"),
    field!(texts matched_indicators; "matched_indicators"),
    field!(texts recommended_actions; "recommended_actions"),
    field!(time occurred_at; "occurred_at"),
    field!(time reported_at; "reported_at"),
    field!(time received_at; "received_at"),
    field!(time first_seen; "first_seen"),
    field!(time last_seen; "last_seen"),
    field!(symbol Tlp tlp; "tlp"),
    field!(texts labels; "labels"),
    field!(texts quality; "quality"),
    field!(text incident_id; "incident_id", Type::Text),
    field!(text iris_id; "iris_id", Type::Text),
    field!(text misp_id; "misp_id", Type::Text),
    field!(texts external_ids; "external_ids"),
    field!(texts analysts; "analysts"),
    field!(texts tools; "tools"),
    field!(text raw_ref; "raw_ref", Type::Text),
    field!(text raw_sha256; "raw_sha256", Type::Text),
    field!(text tool_url; "tool_url", Type::Text),
    field!(text suppressed_by; "suppressed_by", Type::Text),
];

static BY_NAME: LazyLock<HashMap<&'static str, usize>> =
    LazyLock::new(|| COLUMNS.iter().enumerate().map(|(i, c)| (c.name, i)).collect());

/// The position in [`COLUMNS`] of the column of this name.
#[must_use]
pub fn position(name: &str) -> Option<usize> {
    BY_NAME.get(name).copied()
}

/// The column of this name.
#[must_use]
pub fn column(name: &str) -> Option<&'static Column> {
    COLUMNS.get(position(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Detection {
        serde_json::from_str(include_str!("../examples/atio.detection/full.json")).unwrap()
    }

    /// The JSON form has every column and the table has every column of the JSON form.
    #[test]
    fn every_column_of_the_envelope_reads_as_its_json() {
        let detection = full();
        let json = serde_json::to_value(&detection).unwrap();
        let mut seen = 0;
        for (name, value) in json.as_object().unwrap() {
            let fields: Vec<(String, &serde_json::Value)> = match value {
                serde_json::Value::Object(o) if name != "bundle" => {
                    o.iter().map(|(k, v)| (format!("{name}.{k}"), v)).collect()
                }
                _ if name == "bundle" || name == "reasons" => continue,
                _ => vec![(name.clone(), value)],
            };
            for (name, value) in fields {
                let found = column(&name).unwrap_or_else(|| panic!("no column {name}"));
                let cell = match (found.get)(&detection) {
                    Cell::Null => serde_json::Value::Null,
                    Cell::Text(t) => t.into(),
                    Cell::Int(n) => n.into(),
                    Cell::Float(n) => n.into(),
                    Cell::Bool(b) => b.into(),
                    Cell::Time(t) => t.rfc3339_micros().into(),
                    Cell::Texts(t) => t.into(),
                };
                assert_eq!(&cell, value, "{name}");
                seen += 1;
            }
        }
        assert_eq!(seen, COLUMNS.len());
    }

    #[test]
    fn what_is_read_can_be_put_and_misfits_are_refused() {
        let from = full();
        let mut to = Detection::new(String::new(), Kind::Log, "", "");
        to.reasons.clone_from(&from.reasons);
        to.bundle = from.bundle.clone();
        for column in COLUMNS {
            let value = match (column.get)(&from) {
                Cell::Null => NewCell::Null,
                Cell::Text(t) => NewCell::Text(t.to_owned()),
                Cell::Int(n) => NewCell::Int(n),
                Cell::Float(n) => NewCell::Float(n),
                Cell::Bool(b) => NewCell::Bool(b),
                Cell::Time(t) => NewCell::Time(t),
                Cell::Texts(t) => NewCell::Texts(t.to_vec()),
            };
            column.put(&mut to, value).unwrap();
            assert_eq!(
                column.put(&mut to.clone(), NewCell::Null).is_ok(),
                column.nullable,
                "{}",
                column.name
            );
        }
        assert_eq!(from, to);
        assert_eq!(
            column("kind").unwrap().put(&mut to, NewCell::Text("nonsense".into())),
            Err(Misfit("kind"))
        );
        assert_eq!(column("src.port").unwrap().put(&mut to, NewCell::Int(1 << 40)), Err(Misfit("src.port")));
    }
}
