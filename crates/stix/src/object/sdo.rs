//! SDOs and SROs of ATIO's graphs (STIX 2.1 §4, §5), each property by its name in the standard. Texts that the standard
//! requires are plain, the rest is optional; a required list must not stay empty.
use super::{Common, ExternalReference, KillChainPhase, Text, objects};
use crate::ids::Id;
use crate::stamp::Stamp;

objects! {
    /// §4.1
    AttackPattern = "attack-pattern", Common {
        name: Text<'a>, description: Option<Text<'a>>, aliases: Vec<Text<'a>>,
        kill_chain_phases: Vec<KillChainPhase<'a>>,
    }
    /// §4.2
    Campaign = "campaign", Common {
        name: Text<'a>, description: Option<Text<'a>>, aliases: Vec<Text<'a>>, first_seen: Option<Stamp>,
        last_seen: Option<Stamp>, objective: Option<Text<'a>>,
    }
    /// §4.3
    CourseOfAction = "course-of-action", Common { name: Text<'a>, description: Option<Text<'a>> }
    /// §4.4; `context` from grouping-context-ov, object_refs required.
    Grouping = "grouping", Common {
        name: Option<Text<'a>>, description: Option<Text<'a>>, context: Text<'a>, object_refs: Vec<Id<'a>>,
    }
    /// §4.5; `identity_class` from identity-class-ov: `system` for assets and sensors.
    Identity = "identity", Common {
        name: Text<'a>, description: Option<Text<'a>>, roles: Vec<Text<'a>>, identity_class: Option<Text<'a>>,
        sectors: Vec<Text<'a>>, contact_information: Option<Text<'a>>,
    }
    /// §4.6; what it says is in the Incident Core extension.
    Incident = "incident", Common { name: Text<'a>, description: Option<Text<'a>> }
    /// §4.7; `pattern_type` from pattern-type-ov: `stix`, `suricata` …
    Indicator = "indicator", Common {
        name: Option<Text<'a>>, description: Option<Text<'a>>, indicator_types: Vec<Text<'a>>, pattern: Text<'a>,
        pattern_type: Text<'a>, pattern_version: Option<Text<'a>>, valid_from: Stamp, valid_until: Option<Stamp>,
        kill_chain_phases: Vec<KillChainPhase<'a>>,
    }
    /// §4.8
    Infrastructure = "infrastructure", Common {
        name: Text<'a>, description: Option<Text<'a>>, infrastructure_types: Vec<Text<'a>>, aliases: Vec<Text<'a>>,
        kill_chain_phases: Vec<KillChainPhase<'a>>, first_seen: Option<Stamp>, last_seen: Option<Stamp>,
    }
    /// §4.11; `is_family` is required: always Some.
    Malware = "malware", Common {
        name: Option<Text<'a>>, description: Option<Text<'a>>, malware_types: Vec<Text<'a>>, is_family: Option<bool>,
        aliases: Vec<Text<'a>>, kill_chain_phases: Vec<KillChainPhase<'a>>,
    }
    /// §4.13; object_refs required.
    Note = "note", Common {
        // `abstract` is a word of Rust's: r#abstract would print with its prefix, and nothing of ours writes one.
        content: Text<'a>, authors: Vec<Text<'a>>, object_refs: Vec<Id<'a>>,
    }
    /// §4.14; number_observed 1 to 999,999,999, object_refs required.
    ObservedData = "observed-data", Common {
        first_observed: Stamp, last_observed: Stamp, number_observed: u32, object_refs: Vec<Id<'a>>,
    }
    /// §4.15; `opinion` from opinion-enum: `strongly-disagree` … `strongly-agree`.
    Opinion = "opinion", Common {
        explanation: Option<Text<'a>>, authors: Vec<Text<'a>>, opinion: Text<'a>, object_refs: Vec<Id<'a>>,
    }
    /// §4.16; `report_types` from report-type-ov, object_refs required.
    Report = "report", Common {
        name: Text<'a>, description: Option<Text<'a>>, report_types: Vec<Text<'a>>, published: Stamp,
        object_refs: Vec<Id<'a>>,
    }
    /// §4.17
    ThreatActor = "threat-actor", Common {
        name: Text<'a>, description: Option<Text<'a>>, threat_actor_types: Vec<Text<'a>>, aliases: Vec<Text<'a>>,
    }
    /// §4.18
    Tool = "tool", Common {
        name: Text<'a>, description: Option<Text<'a>>, tool_types: Vec<Text<'a>>, aliases: Vec<Text<'a>>,
        tool_version: Option<Text<'a>>,
    }
    /// §4.19
    Vulnerability = "vulnerability", Common { name: Text<'a>, description: Option<Text<'a>> }
    /// §5.1
    Relationship = "relationship", Common {
        relationship_type: Text<'a>, description: Option<Text<'a>>, source_ref: Id<'a>, target_ref: Id<'a>,
        start_time: Option<Stamp>, stop_time: Option<Stamp>,
    }
    /// §5.2
    Sighting = "sighting", Common {
        description: Option<Text<'a>>, first_seen: Option<Stamp>, last_seen: Option<Stamp>, count: Option<u32>,
        sighting_of_ref: Id<'a>, observed_data_refs: Vec<Id<'a>>, where_sighted_refs: Vec<Id<'a>>,
    }
}

impl<'a> Relationship<'a> {
    /// A knowledge relationship, seeded by its type and ends, at the fixed time.
    #[must_use]
    pub fn between(tenant: &str, relationship_type: &'static str, source: Id<'a>, target: Id<'a>) -> Self {
        let id = crate::ids::relationship(tenant, relationship_type, &source, &target);
        Self {
            common: Common::fixed(id),
            relationship_type: relationship_type.into(),
            source_ref: source,
            target_ref: target,
            ..Self::default()
        }
    }
}

impl<'a> Vulnerability<'a> {
    /// A vulnerability by its CVE, with the reference that the standard asks for.
    #[must_use]
    pub fn of_cve(tenant: &str, cve: &'a str) -> Self {
        let mut common = Common::fixed(crate::ids::vulnerability_cve(tenant, cve));
        common.external_references.push(ExternalReference::new("cve", cve));
        Self { common, name: cve.into(), description: None }
    }
}
