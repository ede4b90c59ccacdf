//! What `metadata.placement` may say, and what it comes to.
use super::*;

fn text(placement: &str, steps: &str) -> String {
    format!(
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: w{placement}}}\non: detection\nmatch: {{kind: threat}}\nbranches:\n  b: {steps}\n"
    )
}

#[test]
fn where_branches_are_to_run() {
    let plain = "[{deliver: siem}]";
    let counts = "[{dedup: {key: asset, within: 10m}}, {deliver: siem}]";
    let found = |placement: &str, steps: &str| {
        compile("w.yaml", &text(placement, steps), &tests::known()).map(|d| d.placement())
    };
    let found = |placement: &str, steps: &str| found(placement, steps).map_err(|p| p[0].to_string());
    assert_eq!(found("", plain), Ok(Placement::Auto));
    assert_eq!(found(", placement: auto", plain), Ok(Placement::Auto));
    assert_eq!(found(", placement: own", plain), Ok(Placement::Own));
    assert_eq!(found(", placement: pooled", plain), Ok(Placement::Pooled));
    assert_eq!(
        found(", placement: auto", counts),
        Ok(Placement::Own),
        "what it counts needs a group of its own"
    );
    let refused = found(", placement: pooled", counts).unwrap_err();
    assert!(
        refused.contains("w.yaml:3:32") && refused.contains("branch `b` keeps something between events"),
        "{refused}"
    );
    let refused = found(", placement: shared", plain).unwrap_err();
    assert!(refused.contains("unknown placement `shared`"), "{refused}");
}
