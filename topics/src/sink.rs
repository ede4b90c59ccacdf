//! Sinks as users declare them. Owns field names and which type takes which; must not know how a sink is spoken to.
use crate::{
    place::{Place, Problem},
    spec::{Meta, MetaFields, Secret, TOPIC_HELP, TlpText},
    suggest,
    units::{Span, is_topic, parse_span},
    yaml,
};
use atio_schemas::detection::Tlp;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::{path::PathBuf, time::Duration};

const TYPES: &[&str] = &["file", "kafka", "webhook", "opensearch"];
const LATER_TYPES: &[&str] = &[
    "splunk", "elastic", "sentinel", "misp", "taxii", "thehive", "iris", "syslog", "openc2", "sql", "email",
    "s3", "opencti", "slack",
];
const FORMATS: &[&str] = &["stix", "report", "ecs"];
const LATER_FORMATS: &[&str] = &[
    "ocsf", "cef", "leef", "misp", "markdown", "html", "csv", "thehive", "iris", "splunk", "sentinel",
    "openc2", "sql",
];

/// Who reads what the sink gets. External forces `sanitize: external`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    Internal,
    External,
}

/// What the sink is to the organisation; `response` ends the hand-over time of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Siem,
    Sirp,
    Tip,
    Response,
    Dashboard,
    Archive,
}

impl Role {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Siem => "siem",
            Self::Sirp => "sirp",
            Self::Tip => "tip",
            Self::Response => "response",
            Self::Dashboard => "dashboard",
            Self::Archive => "archive",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Auth {
    Basic { user: String, password: Secret },
    Bearer(Secret),
    ApiKey { header: String, key: Secret },
}

/// How an HTTP sink is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// http or https, without user and password.
    pub url: String,
    pub auth: Option<Auth>,
    /// Of a whole request.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Loopback, link-local and private addresses are refused otherwise.
    pub allow_internal: bool,
    /// PEM file of the authority to trust in addition.
    pub ca: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Appended to, a record a line. Relative = below the data directory.
    File { path: PathBuf },
    /// A topic of whoever reads it: created when absent, never altered. The name is taken as it is.
    Kafka { topic: String },
    /// Signed with the secret.
    Webhook { http: Http, secret: Secret },
    /// OpenSearch and Elasticsearch, through `_bulk`.
    OpenSearch { http: Http, index: String },
}

impl Target {
    /// Bounded: a label.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Kafka { .. } => "kafka",
            Self::Webhook { .. } => "webhook",
            Self::OpenSearch { .. } => "opensearch",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    pub meta: Meta,
    pub target: Target,
    /// What `deliver` without `convert` makes: stix (the usual), report or ecs (usual for opensearch).
    pub format: String,
    pub audience: Audience,
    /// The highest TLP marking that reaches it.
    pub clearance: Tlp,
    pub role: Option<Role>,
}

impl Sink {
    /// Where its deliveries wait.
    #[must_use]
    pub fn topic(&self, prefix: &str) -> String {
        format!("{prefix}delivery.{}", self.meta.name)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // the head's fields are read through `Head`
struct SinkFields {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    metadata: MetaFields,
    #[serde(rename = "type")]
    target: Spanned<String>,
    format: Option<Spanned<String>>,
    audience: Option<Audience>,
    clearance: Option<TlpText>,
    role: Option<Role>,
    path: Option<Spanned<PathBuf>>,
    topic: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    index: Option<Spanned<String>>,
    secret: Option<Spanned<Secret>>,
    auth: Option<Spanned<Auth>>,
    timeout: Option<Spanned<String>>,
    connect_timeout: Option<Spanned<String>>,
    allow_internal: Option<Spanned<bool>>,
    ca: Option<Spanned<PathBuf>>,
}

pub(crate) fn sink(file: &str, text: &str, meta: Meta) -> Result<Sink, Problem> {
    let mut fields: SinkFields = yaml::read(file, text)?;
    let here = Place::file(file);
    let at = yaml::place(&here, fields.target.referenced);
    let target = target(&here, &at, &mut fields)?;
    let format = format(&here, &target, fields.format.take())?;
    refuse_leftovers(&here, target.kind(), &fields)?;
    let audience = fields.audience.unwrap_or(Audience::Internal);
    let usual = if audience == Audience::External { Tlp::Green } else { Tlp::Amber };
    Ok(Sink {
        meta,
        target,
        format,
        audience,
        clearance: fields.clearance.map_or(usual, TlpText::tlp),
        role: fields.role,
    })
}

fn target(here: &Place, at: &Place, fields: &mut SinkFields) -> Result<Target, Problem> {
    match fields.target.value.as_str() {
        "file" => Ok(Target::File { path: required(at, "path", fields.path.take())?.value }),
        "kafka" => {
            let topic = required(at, "topic", fields.topic.take())?;
            if !is_topic(&topic.value) {
                return Err(Problem::new(
                    &yaml::place(here, topic.referenced),
                    "not a name that Kafka takes",
                )
                .help(Some(TOPIC_HELP.to_owned())));
            }
            Ok(Target::Kafka { topic: topic.value })
        }
        "webhook" => {
            let secret = required(at, "secret", fields.secret.take())?.value;
            Ok(Target::Webhook { http: http(here, at, fields)?, secret })
        }
        "opensearch" => {
            let index = required(at, "index", fields.index.take())?;
            if !is_index(&index.value) {
                let help = Some(
                    "lower case, without blanks and `\\/*?\"<>|,#:`, not starting with `-`, `_` or `+`"
                        .to_owned(),
                );
                return Err(Problem::new(
                    &yaml::place(here, index.referenced),
                    "not a name that an index takes",
                )
                .help(help));
            }
            Ok(Target::OpenSearch { http: http(here, at, fields)?, index: index.value })
        }
        later if LATER_TYPES.contains(&later) => {
            Err(Problem::later(at, &format!("sink type `{later}`"), TYPES))
        }
        other => {
            Err(Problem::new(at, format!("unknown sink type `{other}`")).help(suggest::help(other, TYPES)))
        }
    }
}

fn required<T>(at: &Place, name: &str, field: Option<Spanned<T>>) -> Result<Spanned<T>, Problem> {
    let problem = || Problem::new(at, format!("this type of sink needs `{name}`"));
    field.ok_or_else(|| problem().help(Some(format!("add `{name}: …`"))))
}

fn http(here: &Place, at: &Place, fields: &mut SinkFields) -> Result<Http, Problem> {
    let url = required(at, "url", fields.url.take())?;
    let place = yaml::place(here, url.referenced);
    let rest = url.value.strip_prefix("https://").or_else(|| url.value.strip_prefix("http://"));
    let authority = rest.map(|r| r.split(['/', '?', '#']).next().unwrap_or_default());
    match authority {
        None | Some("") => {
            return Err(Problem::new(&place, "a url starts with https:// or http:// and names a host")
                .help(Some("`https://siem.example.org:9200`".to_owned())));
        }
        Some(a) if a.contains('@') => {
            return Err(Problem::new(&place, "a url holds no user and password")
                .help(Some("put them into `auth`".to_owned())));
        }
        Some(_) => {}
    }
    Ok(Http {
        url: url.value,
        auth: fields.auth.take().map(|a| a.value),
        timeout: span(here, fields.timeout.take(), Duration::from_secs(10))?,
        connect_timeout: span(here, fields.connect_timeout.take(), Duration::from_secs(3))?,
        allow_internal: fields.allow_internal.take().is_some_and(|a| a.value),
        ca: fields.ca.take().map(|c| c.value),
    })
}

fn span(here: &Place, text: Option<Spanned<String>>, usual: Duration) -> Result<Duration, Problem> {
    let Some(text) = text else { return Ok(usual) };
    let range = Duration::from_millis(10)..=Duration::from_secs(300);
    match parse_span(&text.value) {
        Some(Span(d)) if range.contains(&d) => Ok(d),
        _ => Err(Problem::new(&yaml::place(here, text.referenced), "a duration from `10ms` to `300s`")
            .help(Some("a whole number with ms, s or m: `10s`".to_owned()))),
    }
}

fn format(here: &Place, target: &Target, text: Option<Spanned<String>>) -> Result<String, Problem> {
    let Some(text) = text else {
        let usual = if matches!(target, Target::OpenSearch { .. }) { "ecs" } else { "stix" };
        return Ok(usual.to_owned());
    };
    let at = yaml::place(here, text.referenced);
    match text.value.as_str() {
        known if FORMATS.contains(&known) => Ok(text.value),
        later if LATER_FORMATS.contains(&later) => {
            Err(Problem::later(&at, &format!("format `{later}`"), FORMATS))
        }
        other => {
            Err(Problem::new(&at, format!("unknown format `{other}`")).help(suggest::help(other, FORMATS)))
        }
    }
}

/// What a type did not take is a mistake, not something to overlook.
fn refuse_leftovers(here: &Place, kind: &str, f: &SinkFields) -> Result<(), Problem> {
    let left = [
        ("path", f.path.as_ref().map(|s| s.referenced)),
        ("topic", f.topic.as_ref().map(|s| s.referenced)),
        ("url", f.url.as_ref().map(|s| s.referenced)),
        ("index", f.index.as_ref().map(|s| s.referenced)),
        ("secret", f.secret.as_ref().map(|s| s.referenced)),
        ("auth", f.auth.as_ref().map(|s| s.referenced)),
        ("timeout", f.timeout.as_ref().map(|s| s.referenced)),
        ("connect_timeout", f.connect_timeout.as_ref().map(|s| s.referenced)),
        ("allow_internal", f.allow_internal.as_ref().map(|s| s.referenced)),
        ("ca", f.ca.as_ref().map(|s| s.referenced)),
    ];
    match left.into_iter().find_map(|(name, at)| Some((name, at?))) {
        Some((name, at)) => {
            let message = format!("a sink of type {kind} has no `{name}`");
            Err(Problem::new(&yaml::place(here, at), message).help(Some("leave it out".to_owned())))
        }
        None => Ok(()),
    }
}

fn is_index(text: &str) -> bool {
    let bad =
        |c: char| c.is_uppercase() || c.is_whitespace() || c.is_control() || "\\/*?\"<>|,#:".contains(c);
    (1..=255).contains(&text.len())
        && !text.starts_with(['-', '_', '+'])
        && text != "."
        && text != ".."
        && !text.contains(bad)
}
