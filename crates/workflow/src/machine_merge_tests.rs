//! Branches with `merge`: what stands in the file comes into the bundle, and what is delivered is sound.
use super::*;
use atio_stix::validate;

const TOOL: &str = "tool--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f";
const STAMPS: &str = "created: 2024-01-01T00:00:00Z, modified: 2024-01-01T00:00:00Z";

/// A tool, and what uses it.
fn step(by: &str) -> String {
    let tool = format!("{{type: tool, id: {TOOL}, {STAMPS}, name: \"7\", tool_version: \"2.0\"}}");
    let uses = format!(
        "{{type: relationship, id: relationship--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f, {STAMPS}, relationship_type: uses, source_ref: {by}, target_ref: {TOOL}, confidence: 60}}"
    );
    format!("{{merge: {{objects: [{tool}, {uses}]}}}}")
}

fn technique() -> String {
    ids::attack_pattern("default", "mitre-attack", "T1190").to_text()
}

fn delivered(steps: &str) -> Vec<bundle::Object> {
    let end = branch(steps);
    assert_eq!(end.rejected, []);
    let all = objects(&end);
    for object in &all {
        assert_eq!(validate::validate(object), [], "{object:?}");
    }
    all
}

#[test]
fn objects_of_the_file_come_into_the_bundle() {
    let plain = branch("[{deliver: stix}]");
    let steps = format!("[{}, {{deliver: stix}}]", step(&technique()));
    let all = delivered(&steps);
    let tool = find(&all, "tool");
    assert_eq!(
        (&tool["id"], &tool["name"], &tool["spec_version"]),
        (&TOOL.into(), &"7".into(), &"2.1".into())
    );
    assert!(all.iter().any(|o| o["type"] == "relationship" && o["confidence"] == 60));
    let report = find(&all, "report");
    assert!(report["object_refs"].as_array().unwrap().contains(&TOOL.into()));
    assert_ne!(report["id"].as_str().unwrap(), id_of(&plain, "report"), "the branch's own version");
    assert_eq!(branch(&steps).outputs[0].payload, branch(&steps).outputs[0].payload, "the same each time");
}

#[test]
fn what_refers_to_nothing_falls() {
    let all = delivered(&format!(
        "[{}, {{deliver: stix}}]",
        step("campaign--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f")
    ));
    find(&all, "tool");
    assert!(!all.iter().any(|o| o["type"] == "relationship" && o["target_ref"] == TOOL));
}

/// Columns that were set before are in the report that lists what came, and what came is filtered as the rest is.
#[test]
fn merged_objects_are_as_the_others() {
    let all =
        delivered(&format!("[{{set: {{labels: '[\"seen\"]'}}}}, {}, {{deliver: stix}}]", step(&technique())));
    let report = find(&all, "report");
    assert_eq!(report["labels"][0], "seen");
    assert!(report["object_refs"].as_array().unwrap().contains(&TOOL.into()));
    let left = delivered(&format!(
        "[{{filter: {{type: [ipv4-addr]}}}}, {}, {{filter: {{type: [tool]}}}}, {{deliver: stix}}]",
        step(&technique())
    ));
    assert_eq!(left.iter().filter(|o| o["type"] == "tool").count(), 1);
    assert!(left.iter().all(|o| o["type"] != "ipv4-addr"));
    let bare = Detection { bundle: Arc::from(&b""[..]), ..detection() };
    let end = run_on(&format!("[{}, {{deliver: stix}}]", step(&technique())), &bare);
    assert_eq!(find(&objects(&end), "tool")["id"], TOOL);
}
