//! Sources and tables, as users declare them, and what every declaration has: the head, places, secrets.
//! Owns the field names. Must not know how a source is read: formats and transports live in services.
use crate::{
    place::{Place, Problem},
    suggest,
    units::{Span, is_name, is_topic, parse_span},
    yaml,
};
use atio_schemas::detection::{Tlp, Zone};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

pub const API_VERSION: &str = "atio/v1";
/// Kinds that this version reads.
pub const KINDS: &[&str] = &["Source", "Workflow", "Sink", "Table"];
/// Kinds that a later version reads.
const LATER_KINDS: &[&str] = &["Mapping", "Policy", "Suppression", "Playbook", "Dashboard"];
const TRANSPORTS: &[&str] = &["http", "tail", "directory", "topic"];
const LATER_TRANSPORTS: &[&str] = &["syslog", "poll", "taxii", "misp", "s3", "mqtt"];
const TABLES: &[&str] = &["csv", "json", "kev", "epss"];
const LATER_TABLES: &[&str] = &["ndjson", "stix", "mmdb", "sqlite", "warninglist"];

/// What Kafka takes as a topic's name.
pub(crate) const TOPIC_HELP: &str = "1 to 249 of letters, digits, `.`, `_` and `-`";

/// A declaration's name and what people want to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// `[a-z0-9-]{1,63}`.
    pub name: String,
    pub description: Option<String>,
    pub owner: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub place: Place,
}

/// Where a secret is kept. The secret itself is never in a declaration, nor in this type.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Env(String),
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Env(_) => "Secret(env)",
            Self::File(_) => "Secret(file)",
        })
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// Asks for a mapping, so that an error about anything else can't quote it.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reference to a secret, {env: NAME} or {file: PATH}")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
                let wrong =
                    || serde::de::Error::custom("a secret is a reference: {env: NAME} or {file: PATH}");
                let secret = match map.next_key::<String>()?.as_deref() {
                    Some("env") => Secret::Env(map.next_value()?),
                    Some("file") => Secret::File(map.next_value()?),
                    _ => return Err(wrong()),
                };
                if map.next_key::<serde::de::IgnoredAny>()?.is_some() { Err(wrong()) } else { Ok(secret) }
            }
        }
        d.deserialize_map(Visitor)
    }
}

/// How raw events get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// Posted to `/v1/sources/<name>/events`.
    Http,
    /// Files that are appended to; globs in the last part.
    Tail { paths: Vec<String> },
    /// Whole files that appear in a directory.
    Directory { path: PathBuf, glob: String },
    /// A Kafka topic of somebody else's: read where it is, never created nor altered.
    Topic { name: String, start: Start, payload: Payload },
}

impl From {
    /// Bounded: goes into the raw event and into labels.
    #[must_use]
    pub const fn transport(&self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tail { .. } => "tail",
            Self::Directory { .. } => "directory",
            Self::Topic { .. } => "topic",
        }
    }
}

/// Where a source starts on an adopted topic that it has no position for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    #[default]
    Beginning,
    End,
}

/// How much a source counts beside the others of its tenant, where more comes than can be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Critical,
    #[default]
    Normal,
    Bulk,
}

impl Class {
    /// A source of a class has four times the share of one of the next.
    #[must_use]
    pub const fn weight(self) -> u32 {
        match self {
            Self::Critical => 16,
            Self::Normal => 4,
            Self::Bulk => 1,
        }
    }
}

/// What an adopted topic's values are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// The tool's bytes as they are.
    #[default]
    Naked,
    /// Raw events in Avro, as on topics of ours.
    Raw,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub meta: Meta,
    /// None = recognised by content.
    pub format: Option<String>,
    pub tenant: String,
    pub class: Class,
    pub zone: Zone,
    /// For what carries no marking of its own.
    pub tlp: Tlp,
    pub from: From,
}

impl Source {
    /// The topic that normalization reads: of ours, or the adopted one.
    #[must_use]
    pub fn topic(&self, prefix: &str) -> String {
        match &self.from {
            From::Topic { name, .. } => name.clone(),
            _ => format!("{prefix}raw.{}", self.meta.name),
        }
    }
    /// Where its dead letters go; ours also for an adopted topic.
    #[must_use]
    pub fn dead_letters(&self, prefix: &str) -> String {
        format!("{prefix}raw.{}.dlq", self.meta.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Header line, then rows.
    Csv,
    /// A list of objects.
    Json,
    /// CISA's catalogue, JSON.
    Kev,
    /// FIRST's scores, CSV with a comment line before the header.
    Epss,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFile {
    pub file: PathBuf,
    pub format: TableFormat,
}

/// A reference table, loaded from files; several are joined by the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub meta: Meta,
    /// At least one.
    pub files: Vec<TableFile>,
    /// The column that identifies a row.
    pub key: String,
    /// How often the files are looked at.
    pub refresh: Duration,
}

impl Table {
    #[must_use]
    pub fn topic(&self, prefix: &str) -> String {
        format!("{prefix}reference.{}", self.meta.name)
    }
    /// A file's place: relative ones lie in `<topics>/tables`, beside where the user's own declarations are.
    #[must_use]
    pub fn path(topics: &Path, file: &TableFile) -> PathBuf {
        topics.join("tables").join(&file.file)
    }
}

// ---- as written ----

/// What every declaration starts with; the rest is read by kind.
#[derive(Deserialize)]
pub(crate) struct Head {
    #[serde(rename = "apiVersion")]
    api_version: Spanned<String>,
    pub(crate) kind: Spanned<String>,
    metadata: HeadMeta,
}
#[derive(Deserialize)]
struct HeadMeta {
    name: Spanned<String>,
    description: Option<String>,
    owner: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// As written in sources, sinks and tables; a workflow's metadata has more and is read by its own crate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // read through `Head`; here only so that unknown fields are refused
pub(crate) struct MetaFields {
    name: String,
    description: Option<String>,
    owner: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Reads the head and checks version, kind and name.
pub(crate) fn head(file: &str, text: &str) -> Result<(String, Meta), Problem> {
    let head: Head = yaml::read(file, text)?;
    let at = |s: &Spanned<String>| yaml::place(&Place::file(file), s.referenced);
    if head.api_version.value != API_VERSION {
        let help = Some(format!("`apiVersion: {API_VERSION}`"));
        let message = format!("apiVersion is `{API_VERSION}` here");
        return Err(Problem::new(&at(&head.api_version), message).help(help));
    }
    let kind = &head.kind.value;
    if LATER_KINDS.contains(&kind.as_str()) {
        return Err(Problem::later(&at(&head.kind), &format!("kind `{kind}`"), KINDS));
    }
    if !KINDS.contains(&kind.as_str()) {
        return Err(
            Problem::new(&at(&head.kind), format!("unknown kind `{kind}`")).help(suggest::help(kind, KINDS))
        );
    }
    let place = at(&head.metadata.name);
    let name = head.metadata.name.value;
    if !is_name(&name) {
        let help = Some("1 to 63 of a-z, 0-9 and `-`".to_owned());
        return Err(Problem::new(&place, "a name is part of topic names").help(help));
    }
    let HeadMeta { description, owner, labels, .. } = head.metadata;
    Ok((head.kind.value, Meta { name, description, owner, labels, place }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // the head's fields are read through `Head`
struct SourceFields {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    metadata: MetaFields,
    format: Option<Spanned<String>>,
    tenant: Option<Spanned<String>>,
    #[serde(default)]
    class: Class,
    zone: Option<ZoneText>,
    tlp: Option<TlpText>,
    from: Spanned<BTreeMap<String, serde::de::IgnoredAny>>,
}

/// `from` a second time, now that its one key is known to be one of ours.
#[derive(Deserialize)]
struct FromDoc {
    from: FromFields,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum FromFields {
    Http(NoFields),
    Tail(TailFields),
    Directory(DirectoryFields),
    Topic(TopicFields),
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TailFields {
    paths: Spanned<Vec<String>>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectoryFields {
    path: PathBuf,
    glob: Option<String>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicFields {
    name: Spanned<String>,
    #[serde(default)]
    start: Start,
    #[serde(default)]
    payload: Payload,
}
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ZoneText {
    It,
    Ot,
}
/// TLP 2.0; `amber+strict` as FIRST writes it, `amber_strict` as the column does.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TlpText {
    Clear,
    Green,
    Amber,
    #[serde(rename = "amber+strict", alias = "amber_strict")]
    AmberStrict,
    Red,
}

impl TlpText {
    pub(crate) const fn tlp(self) -> Tlp {
        match self {
            Self::Clear => Tlp::Clear,
            Self::Green => Tlp::Green,
            Self::Amber => Tlp::Amber,
            Self::AmberStrict => Tlp::AmberStrict,
            Self::Red => Tlp::Red,
        }
    }
}

pub(crate) fn source(file: &str, text: &str, meta: Meta) -> Result<Source, Problem> {
    let fields: SourceFields = yaml::read(file, text)?;
    let here = Place::file(file);
    let at = |s| yaml::place(&here, s);
    if let Some(kind) = fields.from.value.keys().find(|k| LATER_TRANSPORTS.contains(&k.as_str())) {
        return Err(Problem::later(&at(fields.from.referenced), &format!("`from: {kind}`"), TRANSPORTS));
    }
    let tenant = match fields.tenant {
        Some(t) if !is_name(&t.value) => {
            let message = "a tenant's name is 1 to 63 of a-z, 0-9 and `-`";
            return Err(Problem::new(&at(t.referenced), message).help(Some("like `plant-2`".to_owned())));
        }
        Some(t) => t.value,
        None => "default".to_owned(),
    };
    let format = fields.format.filter(|f| f.value != "auto");
    if let Some(f) = format.as_ref().filter(|f| !is_name(&f.value)) {
        return Err(Problem::new(
            &at(f.referenced),
            "a format's name is 1 to 63 of a-z, 0-9 and `-`, or `auto`",
        )
        .help(Some("like `suricata`; `atio normalize --help` lists them".to_owned())));
    }
    let doc: FromDoc = yaml::read(file, text)?;
    let from = match doc.from {
        FromFields::Http(NoFields {}) => From::Http,
        FromFields::Tail(t) if t.paths.value.is_empty() => {
            let help = Some("`paths: [/var/log/suricata/eve.json]`".to_owned());
            return Err(Problem::new(&at(t.paths.referenced), "`paths` names no file").help(help));
        }
        FromFields::Tail(t) => From::Tail { paths: t.paths.value },
        FromFields::Directory(d) => {
            From::Directory { path: d.path, glob: d.glob.unwrap_or_else(|| "*".to_owned()) }
        }
        FromFields::Topic(t) if !is_topic(&t.name.value) => {
            return Err(Problem::new(&at(t.name.referenced), "not a name that Kafka takes")
                .help(Some(TOPIC_HELP.to_owned())));
        }
        FromFields::Topic(t) => From::Topic { name: t.name.value, start: t.start, payload: t.payload },
    };
    Ok(Source {
        meta,
        format: format.map(|f| f.value),
        tenant,
        class: fields.class,
        zone: if matches!(fields.zone, Some(ZoneText::Ot)) { Zone::Ot } else { Zone::It },
        tlp: fields.tlp.map_or(Tlp::Amber, TlpText::tlp),
        from,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // the head's fields are read through `Head`
struct TableFields {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    metadata: MetaFields,
    file: Option<PathBuf>,
    format: Option<Spanned<String>>,
    files: Option<Vec<FileFields>>,
    key: Spanned<String>,
    refresh: Option<Spanned<String>>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileFields {
    file: PathBuf,
    format: Spanned<String>,
}

pub(crate) fn table(file: &str, text: &str, meta: Meta) -> Result<Table, Problem> {
    let fields: TableFields = yaml::read(file, text)?;
    let here = Place::file(file);
    let given = match (fields.file, fields.format, fields.files) {
        (Some(file), Some(format), None) => vec![FileFields { file, format }],
        (None, None, Some(files)) if (1..=16).contains(&files.len()) => files,
        _ => {
            let help = Some("`file` with `format`, or `files`, a list of 1 to 16 of them".to_owned());
            return Err(Problem::new(&meta.place, "a table is loaded from files").help(help));
        }
    };
    let files = given
        .into_iter()
        .map(|f| {
            Ok(TableFile {
                file: f.file,
                format: table_format(&yaml::place(&here, f.format.referenced), &f.format.value)?,
            })
        })
        .collect::<Result<_, Problem>>()?;
    let refresh = match fields.refresh {
        None => Span(Duration::from_secs(30)),
        Some(text) => parse_span(&text.value).filter(|s| s.0 >= Duration::from_secs(1)).ok_or_else(|| {
            Problem::new(
                &yaml::place(&here, text.referenced),
                "a duration of at least `1s`, like `30s` or `10m`",
            )
            .help(Some("`refresh: 30s`".to_owned()))
        })?,
    };
    if fields.key.value.is_empty() {
        return Err(Problem::new(
            &yaml::place(&here, fields.key.referenced),
            "`key` names the column that identifies a row",
        )
        .help(Some("`key: id`".to_owned())));
    }
    Ok(Table { meta, files, key: fields.key.value, refresh: refresh.0 })
}

fn table_format(place: &Place, text: &str) -> Result<TableFormat, Problem> {
    match text {
        "csv" => Ok(TableFormat::Csv),
        "json" => Ok(TableFormat::Json),
        "kev" => Ok(TableFormat::Kev),
        "epss" => Ok(TableFormat::Epss),
        later if LATER_TABLES.contains(&later) => {
            Err(Problem::later(place, &format!("table format `{later}`"), TABLES))
        }
        other => {
            Err(Problem::new(place, format!("unknown table format `{other}`"))
                .help(suggest::help(other, TABLES)))
        }
    }
}
