//! The standard's property tables (STIX 2.1 §3.2, §4 to §7): name, kind, required. Data only.

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    Texts,
    Bool,
    /// From, to, both included.
    Int(i64, i64),
    Float(f64, f64),
    Time,
    /// An id of one of these types; any type when empty.
    Ref(&'static [&'static str]),
    Refs(&'static [&'static str]),
    Hashes,
    Dict,
    /// A list of objects.
    Dicts,
    OneOf(&'static [&'static str]),
    Base64,
    Languages,
    Address4,
    Address6,
    Mac,
    References,
    Phases,
    Granular,
    Version21,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

const fn must(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, required: true }
}
const fn may(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, required: false }
}

use Kind::{
    Address4, Address6, Base64, Bool, Dict, Dicts, Float, Granular, Hashes, Int, Languages, Mac, OneOf,
    Phases, Ref, References, Refs, Text, Texts, Time, Version21,
};

const NATURAL: Kind = Int(0, i64::MAX);
const COUNT: Kind = Int(0, 999_999_999);
const PORT: Kind = Int(0, 65_535);
const MARKINGS: Kind = Refs(&["marking-definition"]);
const HOSTS: Kind = Ref(&["ipv4-addr", "ipv6-addr", "mac-addr", "domain-name"]);

pub(crate) const SDO: &[Property] = &[
    must("spec_version", Version21),
    may("created_by_ref", Ref(&["identity"])),
    must("created", Time),
    must("modified", Time),
    may("revoked", Bool),
    may("labels", Texts),
    may("confidence", Int(0, 100)),
    may("lang", Text),
    may("external_references", References),
    may("object_marking_refs", MARKINGS),
    may("granular_markings", Granular),
    may("extensions", Dict),
];
pub(crate) const SCO: &[Property] = &[
    may("spec_version", Version21),
    may("object_marking_refs", MARKINGS),
    may("granular_markings", Granular),
    may("defanged", Bool),
    may("extensions", Dict),
];
pub(crate) const MARKING: &[Property] = &[
    must("spec_version", Version21),
    may("created_by_ref", Ref(&["identity"])),
    must("created", Time),
    may("external_references", References),
    may("object_marking_refs", MARKINGS),
    may("granular_markings", Granular),
    may("extensions", Dict),
];
/// What holds for types that the standard does not know.
pub(crate) const ANY: &[Property] = &[
    may("created_by_ref", Ref(&["identity"])),
    may("created", Time),
    may("modified", Time),
    may("revoked", Bool),
    may("confidence", Int(0, 100)),
    may("object_marking_refs", MARKINGS),
    may("extensions", Dict),
];

const NAMED: &[Property] = &[
    must("name", Text),
    may("description", Text),
    may("aliases", Texts),
    may("kill_chain_phases", Phases),
    may("first_seen", Time),
    may("last_seen", Time),
    may("goals", Texts),
    may("roles", Texts),
    may("sectors", Texts),
    may("objective", Text),
    may("identity_class", Text),
    may("contact_information", Text),
    may("resource_level", Text),
    may("primary_motivation", Text),
    may("secondary_motivations", Texts),
    may("sophistication", Text),
    may("personal_motivations", Texts),
    may("infrastructure_types", Texts),
    may("threat_actor_types", Texts),
    may("tool_types", Texts),
    may("tool_version", Text),
];
const CONTENT: &[Property] =
    &[must("object_refs", Refs(&[])), may("authors", Texts), may("abstract", Text), may("explanation", Text)];

/// A type's own properties; None for a type that the standard does not know.
pub(crate) fn of(kind: &str) -> Option<&'static [Property]> {
    TYPES.iter().find(|(name, _)| *name == kind).map(|(_, properties)| *properties)
}

const CONTENT_NOTE: &[Property] = &[must("content", Text), CONTENT[0], CONTENT[1], CONTENT[2]];
const CONTENT_OPINION: &[Property] = &[
    must("opinion", OneOf(&["strongly-disagree", "disagree", "neutral", "agree", "strongly-agree"])),
    CONTENT[0],
    CONTENT[1],
    CONTENT[3],
];

#[rustfmt::skip]
const TYPES: &[(&str, &[Property])] = &[
    ("attack-pattern", NAMED),
    ("campaign", NAMED),
    ("course-of-action", NAMED),
    ("identity", NAMED),
    ("incident", NAMED),
    ("infrastructure", NAMED),
    ("intrusion-set", NAMED),
    ("threat-actor", NAMED),
    ("tool", NAMED),
    ("vulnerability", NAMED),
    ("grouping", &[may("name", Text), may("description", Text), must("context", Text), must("object_refs", Refs(&[]))]),
    ("indicator", &[may("name", Text), may("description", Text), may("indicator_types", Texts), must("pattern", Text),
            must("pattern_type", Text), may("pattern_version", Text), must("valid_from", Time), may("valid_until", Time),
            may("kill_chain_phases", Phases)]),
    ("location", &[may("name", Text), may("latitude", Float(-90.0, 90.0)), may("longitude", Float(-180.0, 180.0)),
            may("precision", Float(0.0, f64::MAX)), may("region", Text), may("country", Text), may("city", Text)]),
    ("malware", &[may("name", Text), may("malware_types", Texts), must("is_family", Bool), may("aliases", Texts),
            may("kill_chain_phases", Phases), may("first_seen", Time), may("last_seen", Time),
            may("operating_system_refs", Refs(&["software"])), may("sample_refs", Refs(&["artifact", "file"]))]),
    ("malware-analysis", &[must("product", Text), may("version", Text), may("host_vm_ref", Ref(&["software"])),
            may("operating_system_ref", Ref(&["software"])), may("installed_software_refs", Refs(&["software"])),
            may("submitted", Time), may("analysis_started", Time), may("analysis_ended", Time), may("result", Text),
            may("analysis_sco_refs", Refs(&[])), may("sample_ref", Ref(&["artifact", "file", "network-traffic"]))]),
    ("note", CONTENT_NOTE),
    ("opinion", CONTENT_OPINION),
    ("observed-data", &[must("first_observed", Time), must("last_observed", Time),
            must("number_observed", Int(1, 999_999_999)), may("objects", Dict), may("object_refs", Refs(&[]))]),
    ("report", &[must("name", Text), may("description", Text), may("report_types", Texts), must("published", Time),
            must("object_refs", Refs(&[]))]),
    ("relationship", &[must("relationship_type", Text), may("description", Text), must("source_ref", Ref(&[])),
            must("target_ref", Ref(&[])), may("start_time", Time), may("stop_time", Time)]),
    ("sighting", &[may("description", Text), may("first_seen", Time), may("last_seen", Time), may("count", COUNT),
            must("sighting_of_ref", Ref(&[])), may("observed_data_refs", Refs(&["observed-data"])),
            may("where_sighted_refs", Refs(&["identity", "location"])), may("summary", Bool)]),
    ("language-content", &[must("object_ref", Ref(&[])), may("object_modified", Time), must("contents", Dict)]),
    ("marking-definition", &[may("name", Text), may("definition_type", Text), may("definition", Dict)]),
    ("extension-definition", &[must("name", Text), must("created_by_ref", Ref(&["identity"])), must("schema", Text),
            must("version", Text), must("extension_types", Texts), may("extension_properties", Texts)]),
    ("artifact", &[may("mime_type", Text), may("payload_bin", Base64), may("url", Text), may("hashes", Hashes),
            may("encryption_algorithm", OneOf(&["AES-256-GCM", "ChaCha20-Poly1305", "mime-type-indicated"])),
            may("decryption_key", Text)]),
    ("autonomous-system", &[must("number", NATURAL), may("name", Text), may("rir", Text)]),
    ("directory", &[must("path", Text), may("path_enc", Text), may("ctime", Time), may("mtime", Time),
            may("atime", Time), may("contains_refs", Refs(&["file", "directory"]))]),
    ("domain-name", &[must("value", Text), may("resolves_to_refs", Refs(&["ipv4-addr", "ipv6-addr", "domain-name"]))]),
    ("email-addr", &[must("value", Text), may("display_name", Text), may("belongs_to_ref", Ref(&["user-account"]))]),
    ("email-message", &[must("is_multipart", Bool), may("date", Time), may("content_type", Text),
            may("from_ref", Ref(&["email-addr"])), may("sender_ref", Ref(&["email-addr"])), may("to_refs", Refs(&["email-addr"])),
            may("cc_refs", Refs(&["email-addr"])), may("bcc_refs", Refs(&["email-addr"])), may("message_id", Text),
            may("subject", Text), may("received_lines", Texts), may("additional_header_fields", Dict), may("body", Text),
            may("body_multipart", Dicts), may("raw_email_ref", Ref(&["artifact"]))]),
    ("file", &[may("hashes", Hashes), may("size", NATURAL), may("name", Text), may("name_enc", Text),
            may("magic_number_hex", Text), may("mime_type", Text), may("ctime", Time), may("mtime", Time), may("atime", Time),
            may("parent_directory_ref", Ref(&["directory"])), may("contains_refs", Refs(&[])),
            may("content_ref", Ref(&["artifact"]))]),
    ("ipv4-addr", &[must("value", Address4), may("resolves_to_refs", Refs(&["mac-addr"])),
            may("belongs_to_refs", Refs(&["autonomous-system"]))]),
    ("ipv6-addr", &[must("value", Address6), may("resolves_to_refs", Refs(&["mac-addr"])),
            may("belongs_to_refs", Refs(&["autonomous-system"]))]),
    ("mac-addr", &[must("value", Mac)]),
    ("mutex", &[must("name", Text)]),
    ("network-traffic", &[may("start", Time), may("end", Time), may("is_active", Bool), may("src_ref", HOSTS),
            may("dst_ref", HOSTS), may("src_port", PORT), may("dst_port", PORT), must("protocols", Texts),
            may("src_byte_count", NATURAL), may("dst_byte_count", NATURAL), may("src_packets", NATURAL),
            may("dst_packets", NATURAL), may("ipfix", Dict), may("src_payload_ref", Ref(&["artifact"])),
            may("dst_payload_ref", Ref(&["artifact"])), may("encapsulates_refs", Refs(&["network-traffic"])),
            may("encapsulated_by_ref", Ref(&["network-traffic"]))]),
    ("process", &[may("is_hidden", Bool), may("pid", Int(i64::MIN, i64::MAX)), may("created_time", Time), may("cwd", Text),
            may("command_line", Text), may("environment_variables", Dict),
            may("opened_connection_refs", Refs(&["network-traffic"])), may("creator_user_ref", Ref(&["user-account"])),
            may("image_ref", Ref(&["file"])), may("parent_ref", Ref(&["process"])), may("child_refs", Refs(&["process"]))]),
    ("software", &[must("name", Text), may("cpe", Text), may("swid", Text), may("languages", Languages),
            may("vendor", Text), may("version", Text)]),
    ("url", &[must("value", Text)]),
    ("user-account", &[may("user_id", Text), may("credential", Text), may("account_login", Text), may("account_type", Text),
            may("display_name", Text), may("is_service_account", Bool), may("is_privileged", Bool),
            may("can_escalate_privs", Bool), may("is_disabled", Bool), may("account_created", Time),
            may("account_expires", Time), may("credential_last_changed", Time), may("account_first_login", Time),
            may("account_last_login", Time)]),
    ("windows-registry-key", &[may("key", Text), may("values", Dicts), may("modified_time", Time),
            may("creator_user_ref", Ref(&["user-account"])), may("number_of_subkeys", NATURAL)]),
    ("x509-certificate", &[may("is_self_signed", Bool), may("hashes", Hashes), may("version", Text),
            may("serial_number", Text), may("signature_algorithm", Text), may("issuer", Text), may("validity_not_before", Time),
            may("validity_not_after", Time), may("subject", Text), may("subject_public_key_algorithm", Text),
            may("subject_public_key_modulus", Text), may("subject_public_key_exponent", Int(i64::MIN, i64::MAX)),
            may("x509_v3_extensions", Dict)]),
];
