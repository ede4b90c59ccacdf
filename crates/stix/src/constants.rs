//! Objects that never change: ATIO's identity, its extension-definition, FIRST's TLP 2.0 markings. Byte-identical every time.
//!
//! On Kafka bundles only refer to them; [`crate::bundle::close`] adds those that are referred to.
use crate::ids::Id;
use atio_schemas::detection::Tlp;

/// ATIO's identity: `identity|default|atio`, held by a test.
pub const IDENTITY_ID: &str = "identity--4b2c3faf-985c-5f26-ac86-faf82ec52af8";
/// ATIO's extension-definition: `extension-definition|default|atio`, held by a test.
pub const EXTENSION_ID: &str = "extension-definition--e1b8cb28-a16f-5912-bdee-8fcf502741f9";
/// The extension of TLP 2.0 marking-definitions (OASIS common objects).
pub const TLP_EXTENSION_ID: &str = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d";
/// The OASIS Incident Core extension.
pub const INCIDENT_CORE_ID: &str = "extension-definition--ef765651-680c-498d-9894-99799f2fa126";
/// The OASIS CACAO course-of-action extension.
pub const CACAO_ID: &str = "extension-definition--1e1c1bd7-c527-4215-8e18-e199e74da57c";

const IDENTITY: &str = concat!(
    r#"{"type":"identity","spec_version":"2.1","id":"identity--4b2c3faf-985c-5f26-ac86-faf82ec52af8","#,
    r#""created":"2024-01-01T00:00:00.000Z","modified":"2024-01-01T00:00:00.000Z","name":"ATIO","#,
    r#""description":"Advanced Threat Intelligence Orchestrator: normalizes, enriches and routes detections","#,
    r#""identity_class":"system"}"#
);

const EXTENSION: &str = concat!(
    r#"{"type":"extension-definition","spec_version":"2.1","id":"extension-definition--e1b8cb28-a16f-5912-bdee-8fcf502741f9","#,
    r#""created_by_ref":"identity--4b2c3faf-985c-5f26-ac86-faf82ec52af8","created":"2024-01-01T00:00:00.000Z","#,
    r#""modified":"2024-01-01T00:00:00.000Z","name":"ATIO detection","#,
    r#""description":"What a detection says that STIX has no property for: where it was seen, which rule, how severe, how "#,
    r#"important and why, which asset, what is to be done","#,
    r#""schema":"On report: the columns of an ATIO detection by their names, unknown ones left out. On observed-data of a log: "#,
    r#"provider, channel, code, record_id, outcome, logon_type, host (text).","#,
    r#""version":"1.0.0","extension_types":["property-extension"]}"#
);

macro_rules! tlp {
    ($id:literal, $name:literal, $value:literal) => {
        (
            concat!("marking-definition--", $id),
            concat!(
                r#"{"type":"marking-definition","spec_version":"2.1","id":"marking-definition--"#,
                $id,
                r#"","created":"2022-10-01T00:00:00.000Z","name":""#,
                $name,
                r#"","extensions":{"extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d":"#,
                r#"{"extension_type":"property-extension","tlp_2_0":""#,
                $value,
                r#""}}}"#
            ),
        )
    };
}

const TLP_CLEAR: (&str, &str) = tlp!("94868c89-83c2-464b-929b-a1a8aa3c8487", "TLP:CLEAR", "clear");
const TLP_GREEN: (&str, &str) = tlp!("bab4a63c-aed9-4cf5-a766-dfca5abac2bb", "TLP:GREEN", "green");
const TLP_AMBER: (&str, &str) = tlp!("55d920b0-5e8b-4f79-9ee9-91f868d9b421", "TLP:AMBER", "amber");
const TLP_AMBER_STRICT: (&str, &str) =
    tlp!("939a9414-2ddd-4d32-a0cd-375ea402b003", "TLP:AMBER+STRICT", "amber+strict");
const TLP_RED: (&str, &str) = tlp!("e828b379-4e03-4974-9ac4-e53a884c97c1", "TLP:RED", "red");

/// Every constant: id and JSON, in the order in which `close` adds them.
pub const ALL: &[(&str, &str)] = &[
    (IDENTITY_ID, IDENTITY),
    (EXTENSION_ID, EXTENSION),
    TLP_CLEAR,
    TLP_GREEN,
    TLP_AMBER,
    TLP_AMBER_STRICT,
    TLP_RED,
];

/// ATIO's identity, for created_by_ref.
#[must_use]
pub const fn atio_identity_id() -> Id<'static> {
    Id::Text(IDENTITY_ID)
}

/// The official marking-definition of a TLP 2.0 level.
#[must_use]
pub const fn tlp_marking(tlp: Tlp) -> Id<'static> {
    Id::Text(match tlp {
        Tlp::Clear => TLP_CLEAR.0,
        Tlp::Green => TLP_GREEN.0,
        Tlp::Amber => TLP_AMBER.0,
        Tlp::AmberStrict => TLP_AMBER_STRICT.0,
        Tlp::Red => TLP_RED.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids;

    #[test]
    fn ids_follow_the_rule_and_contents_name_them() {
        assert_eq!(ids::seeded("identity", ids::DEFAULT_TENANT, &["atio"]).to_text(), IDENTITY_ID);
        assert_eq!(
            ids::seeded("extension-definition", ids::DEFAULT_TENANT, &["atio"]).to_text(),
            EXTENSION_ID
        );
        assert_eq!(atio_identity_id().to_text(), IDENTITY_ID);
        for (id, json) in ALL {
            let object: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(object["id"], *id);
            assert_eq!(
                serde_json::to_string(&object).unwrap(),
                *json,
                "compact, so that splicing keeps the form"
            );
        }
    }
}
