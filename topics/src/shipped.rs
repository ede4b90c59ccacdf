//! Declarations that come with the program, alphabetical: one line each. The user's of the same name win.

macro_rules! shipped {
    ($folder:literal: $($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../", $folder, "/", $name, ".yaml")))),*] };
}

/// Name and YAML text.
pub const SOURCES: &[(&str, &str)] = shipped!("sources": "openvas", "stix", "suricata");
pub const WORKFLOWS: &[(&str, &str)] =
    shipped!("workflows": "threat-detection-response", "vulnerability-identification", "workflow-tampering");
pub const SINKS: &[(&str, &str)] = shipped!("sinks": "report", "share", "siem");
pub const TABLES: &[(&str, &str)] = shipped!("tables": "assets", "vulnerabilities");
