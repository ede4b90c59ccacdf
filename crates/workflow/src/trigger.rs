//! What a workflow is triggered by: the names of `on`, and which columns can be known of what each brings. Owns both; how a record of a topic
//! becomes a detection is routing's. Must not know: topics, records.
use atio_schemas::{
    Detection,
    column::{Column, NewCell, Type},
    detection::{Kind, Tlp, Zone},
};

macro_rules! triggers {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// `on`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Trigger { $($(#[$doc])* $name),+ }
        impl Trigger {
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
            pub const NAMES: &'static [&'static str] = &[$($text),+];
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text),+ } }
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> { match text { $($text => Some(Self::$name),)+ _ => None } }
        }
    };
}

triggers! {
    /// Something happened to a definition, by a command or behind ATIO's back.
    Change = "change",
    /// What was enriched.
    #[default]
    Detection = "detection",
    /// An incident has come to a state.
    Incident = "incident",
    /// Somebody runs it by hand, on an event.
    Manual = "manual",
    /// A sink has answered.
    Receipt = "receipt",
    /// The time has come.
    Schedule = "schedule",
    /// What came does not come any more.
    Silence = "silence",
}

/// What every operational detection has.
const COMMON: &[&str] = &[
    "event_id",
    "kind",
    "category",
    "tenant",
    "zone",
    "source",
    "product",
    "rule.id",
    "rule.name",
    "confidence",
    "occurred_at",
    "reported_at",
    "received_at",
    "tlp",
    "labels",
    "tools",
    "raw_ref",
];
/// What can become of a definition: the values of `code`.
pub const CHANGES: &[&str] = &[
    "created", "modified", "paused", "resumed", "deleted", "restored", "refused", "tampered", "run",
    "promoted",
];
const CHANGE: &[&str] = &[
    "rule.rev",
    "code",
    "severity_id",
    "severity_score",
    "importance",
    "disposition",
    "outcome",
    "asset",
    "resource",
    "actor",
    "users",
    "recommended_actions",
    "incident_id",
    "external_ids",
];
/// Where an incident can stand.
const STATES: &[&str] = &["open", "waiting", "acknowledged", "closed"];
const INCIDENT: &[&str] = &[
    "code",
    "severity_id",
    "severity_score",
    "importance",
    "outcome",
    "count",
    "asset",
    "first_seen",
    "last_seen",
    "incident_id",
    "analysts",
];
const RECEIPT: &[&str] = &[
    "finding_uid",
    "rule.rev",
    "code",
    "severity_id",
    "severity_score",
    "importance",
    "outcome",
    "count",
    "asset",
    "target",
    "resource",
    "incident_id",
    "external_ids",
];
/// How a due time is taken up: in time, or later than that.
pub const DUE: &[&str] = &["due", "late"];
const SCHEDULE: &[&str] =
    &["rule.rev", "code", "severity_id", "severity_score", "importance", "asset", "resource"];
/// It does not come any more; it is back.
pub const SOUNDS: &[&str] = &["silent", "returned"];
const SILENCE: &[&str] = &[
    "rule.rev",
    "code",
    "severity_id",
    "severity_score",
    "importance",
    "asset",
    "host",
    "sensor",
    "provider",
    "channel",
    "resource",
    "last_seen",
];

impl Trigger {
    /// Whether this can be known of what it brings. What is no detection of a tool is an *operational* one: its columns are filled from a record.
    #[must_use]
    pub fn knows(self, column: &str) -> bool {
        self.columns().is_none_or(|own| own.contains(&column) || COMMON.contains(&column))
    }

    /// What `match` is about: what it brings, or, for silence, what does not come any more.
    #[must_use]
    pub(crate) const fn matched(self) -> Self {
        match self {
            Self::Silence => Self::Detection,
            other => other,
        }
    }

    /// The columns that can be known, for people; none = any.
    #[must_use]
    pub fn known(self) -> Option<Vec<&'static str>> {
        self.columns().map(|own| own.iter().chain(COMMON).copied().collect())
    }

    const fn columns(self) -> Option<&'static [&'static str]> {
        match self {
            // An event of any kind.
            Self::Detection | Self::Manual => None,
            Self::Change => Some(CHANGE),
            Self::Incident => Some(INCIDENT),
            Self::Receipt => Some(RECEIPT),
            Self::Schedule => Some(SCHEDULE),
            Self::Silence => Some(SILENCE),
        }
    }

    /// Every value that a column can have here, where that is more than its type says.
    pub(crate) fn values(self, column: &Column) -> Option<Vec<NewCell>> {
        self.columns()?;
        let texts = |all: &[&str]| Some(all.iter().map(|text| NewCell::Text((*text).to_owned())).collect());
        let text = |text: &str| texts(&[text]);
        match column.name {
            "kind" => text(Kind::Operational.as_str()),
            "category" => text(self.as_str()),
            "tlp" => text(Tlp::Amber.as_str()),
            "zone" => text(Zone::It.as_str()),
            "code" if self == Self::Change => texts(CHANGES),
            "code" if self == Self::Incident => texts(STATES),
            "code" if self == Self::Schedule => texts(DUE),
            "code" if self == Self::Silence => texts(SOUNDS),
            name if self.knows(name) => None,
            _ if column.ty == Type::Texts => Some(vec![NewCell::Texts(vec![])]),
            _ => Some(vec![NewCell::Null]),
        }
    }

    /// A detection of which nothing is known yet but that it is this trigger's; a threat where that may be of any kind.
    #[must_use]
    pub fn blank(self, event_id: String, tenant: &str, source: &str) -> Detection {
        if self.columns().is_none() {
            return Detection::new(event_id, Kind::Threat, tenant, source);
        }
        let mut detection = Detection::new(event_id, Kind::Operational, tenant, source);
        detection.category = Some(self.as_str().to_owned());
        detection
    }
}
