//! Branches with `each` and `on_error`: steps that work on a copy of the event.
use super::*;
use crate::steps::Called;
use std::collections::BTreeSet;

fn columns(end: &End, at: usize) -> Value {
    serde_json::from_slice(&end.outputs[at].payload).unwrap()
}

fn with_cves(cves: &[&str]) -> Detection {
    Detection { cves: cves.iter().map(|c| (*c).to_owned()).collect(), ..detection() }
}

const EACH: &str = "[{each: .cves, do: [{when: '.item != \"CVE-0\"'}, {set: {cves: '[.item]', labels: 'push(.labels, .item)'}}, {deliver: siem}]}, {deliver: stix}]";

fn keys(end: &End, sink: &str) -> Vec<String> {
    end.outputs.iter().filter(|o| o.sink == sink).map(|o| o.idempotency_key.clone()).collect()
}

#[test]
fn steps_run_for_each_element() {
    let end = run_on(EACH, &with_cves(&["CVE-1", "CVE-0", "CVE-2", "CVE-1"]));
    let sinks: Vec<&str> = end.outputs.iter().map(|o| o.sink.as_str()).collect();
    assert_eq!(sinks, ["siem", "siem", "stix"], "an element once, one is left out, and the branch goes on");
    for (at, cve, other) in [(0, "CVE-1", "CVE-2"), (1, "CVE-2", "CVE-1")] {
        let text = columns(&end, at).to_string();
        assert!(text.contains(cve) && !text.contains(other), "{text}");
    }
    // What an element changes ends with it.
    let plain = run_on("[{deliver: stix}]", &with_cves(&["CVE-1", "CVE-0", "CVE-2", "CVE-1"]));
    assert_eq!(end.outputs[2].payload, plain.outputs[0].payload);
    assert_eq!((end.rejected, end.dropped), (vec![], None));
}

/// A key is of its element, whatever the order: a replay, also of a list in another order, makes the same deliveries.
#[test]
fn deliveries_of_elements_have_keys_of_their_values() {
    let one = run_on(EACH, &with_cves(&["CVE-1", "CVE-2"]));
    let other = run_on(EACH, &with_cves(&["CVE-3", "CVE-2", "CVE-1"]));
    assert_eq!(keys(&one, "siem"), keys(&run_on(EACH, &with_cves(&["CVE-1", "CVE-2"])), "siem"));
    assert_eq!(keys(&other, "siem")[1..].iter().rev().cloned().collect::<Vec<_>>(), keys(&one, "siem"));
    let all: BTreeSet<String> = other.outputs.iter().map(|o| o.idempotency_key.clone()).collect();
    assert_eq!(all.len(), 4);
    let plain = run_on("[{deliver: siem}]", &with_cves(&["CVE-1"]));
    assert!(!all.contains(&plain.outputs[0].idempotency_key));
}

#[test]
fn a_list_without_elements_delivers_nothing() {
    let alone = "[{each: .cves, do: [{deliver: siem}]}]";
    assert_eq!(run_on(alone, &with_cves(&[])).dropped, Some(Code::When));
    assert_eq!(
        run_on("[{each: .cves, do: [{when: 'false || .kev'}, {deliver: siem}]}]", &with_cves(&["a"])).dropped,
        Some(Code::When)
    );
    assert_eq!(run_on(EACH, &with_cves(&[])).outputs.len(), 1);
}

#[test]
fn elements_are_bounded_and_fail_by_themselves() {
    let many: Vec<String> = (0..101).map(|n| format!("CVE-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let end = run_on(EACH, &with_cves(&many));
    assert_eq!((end.outputs.len(), end.rejected[0].code), (0, Code::TooMany));
    assert_eq!(run_on(EACH, &with_cves(&many[..100])).outputs.len(), 100, "one is left out");
    // `importance` holds no text: two fail, one goes on; one dead letter says so.
    let steps = "[{each: .cves, do: [{set: {importance: 'if .item == \"CVE-2\" { 5 } else { mod(1, 0) ?? 0 }', labels: 'if .item == \"CVE-2\" { [] } else { [.process] }'}}, {deliver: siem}]}]";
    let end = run_on(steps, &with_cves(&["CVE-1", "CVE-2", "CVE-3"]));
    assert_eq!((end.outputs.len(), end.rejected.len()), (1, 1));
    assert_eq!(
        end.rejected[0].message,
        "w.b: set: the value does not fit column labels (element `CVE-1`), and 1 more"
    );
    // What is above a sink's clearance is so for each element.
    let end = run_on("[{each: .cves, do: [{deliver: open}, {deliver: siem}]}]", &with_cves(&["a", "b"]));
    assert_eq!((end.outputs.len(), end.rejected.len(), end.rejected[0].code), (2, 1, Code::Clearance));
}

#[test]
fn elements_are_texts_numbers_or_yes_and_no() {
    let steps = "[{each: '[1, 2, 2]', do: [{set: {count: '.item * 10'}}, {deliver: siem}]}]";
    let end = run_on(steps, &detection());
    assert_eq!(end.outputs.len(), 2);
    let split =
        "[{each: 'split(.rule.name, \" \")', do: [{set: {labels: '[downcase(.item)]'}}, {deliver: siem}]}]";
    let end = run_on(split, &detection());
    assert!(
        columns(&end, 0).to_string().contains("\"et\"") && columns(&end, 1).to_string().contains("\"test\"")
    );
}

/// What stands behind it runs for each, and gives what an `each` gives.
#[test]
fn an_event_is_split() {
    let of = with_cves(&["CVE-1", "CVE-0", "CVE-2", "CVE-1"]);
    let rest = "{when: '.item != \"CVE-0\"'}, {set: {cves: '[.item]'}}, {deliver: siem}";
    let end = run_on(&format!("[{{deliver: stix}}, {{split: .cves}}, {rest}]"), &of);
    let sinks: Vec<&str> = end.outputs.iter().map(|o| o.sink.as_str()).collect();
    assert_eq!(sinks, ["stix", "siem", "siem"]);
    assert_eq!((&end.rejected, end.dropped), (&vec![], None));
    let each = run_on(&format!("[{{deliver: stix}}, {{each: .cves, do: [{rest}]}}]"), &of);
    assert_eq!(keys(&end, "siem"), keys(&each, "siem"));
    assert!(
        columns(&end, 1).to_string().contains("CVE-1") && !columns(&end, 1).to_string().contains("CVE-2")
    );
    assert_eq!(run_on("[{split: .cves}, {deliver: siem}]", &with_cves(&[])).dropped, Some(Code::When));
    // A part that fails is a dead letter, the others go on.
    let fails = "[{split: .cves}, {set: {labels: 'if .item == \"CVE-2\" { [] } else { [.process] }'}}, {deliver: siem}]";
    let end = run_on(fails, &with_cves(&["CVE-1", "CVE-2"]));
    assert_eq!((end.outputs.len(), end.rejected.len()), (1, 1));
}

/// So a part may wait, be held and come together with others: in the workflow that it is handed to.
#[test]
fn each_part_is_a_call_of_its_own() {
    let calls = |cves: &[&str]| {
        let end =
            run_on("[{split: .cves}, {set: {cves: '[.item]'}}, {call: {workflow: other}}]", &with_cves(cves));
        let of = |call: &Called| (call.detection.cves.clone(), call.detection.event_id.clone());
        end.calls.iter().map(of).collect::<BTreeSet<_>>()
    };
    let (two, three) = (calls(&["CVE-1", "CVE-2"]), calls(&["CVE-3", "CVE-2", "CVE-1"]));
    let ids: BTreeSet<&String> = three.iter().map(|(_, id)| id).collect();
    assert_eq!((two.len(), three.len(), ids.len()), (2, 3, 3));
    assert!(two.is_subset(&three), "the same part is the same call, in whatever order");
}

/// Also where the `split` or what stands behind it comes out of a fragment.
#[test]
fn a_fragment_splits_the_rest_of_its_branch() {
    let text = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: w}\non: detection\nmatch: {kind: threat}\nfragments: {parts: [{split: .cves}, {set: {cves: '[.item]'}}]}\nbranches: {b: [{call: parts}, {deliver: siem}]}\n";
    let written = crate::spec::read("w.yaml", text).unwrap();
    let names = |steps: &[crate::spec::Step]| steps.iter().map(|s| s.name.text.clone()).collect::<Vec<_>>();
    let steps = &written.branches[0].steps;
    assert_eq!(
        (names(steps), names(&steps[0].each)),
        (vec!["split".into()], vec!["set".into(), "deliver".into()])
    );
}

/// `labels` takes no unknown element: the step fails.
const FAILS: &str = "{set: {host: '\"changed\"', labels: '[downcase(.process)]'}";

#[test]
fn a_path_takes_the_place_of_a_dead_letter() {
    let steps = format!(
        "[{FAILS}, on_error: [{{set: {{labels: '[.error.code, .error.message]'}}}}, {{deliver: siem}}]}}, {{deliver: stix}}, {{deliver: siem}}]"
    );
    let end = branch(&steps);
    assert_eq!((end.rejected.len(), end.dropped), (0, None));
    let sinks: Vec<&str> = end.outputs.iter().map(|o| o.sink.as_str()).collect();
    assert_eq!(sinks, ["siem"], "the path is instead of the rest, and may deliver to its sinks");
    let text = columns(&end, 0).to_string();
    assert!(text.contains("step_failed") && text.contains("does not fit column labels"), "{text}");
    assert!(!text.contains("changed"), "the step has left nothing: {text}");
    // The delivery has the key that the branch's has.
    let right = run_on(&steps, &Detection { process: Some("x".into()), ..detection() });
    assert_eq!(right.outputs.iter().map(|o| o.sink.as_str()).collect::<Vec<_>>(), ["stix", "siem"]);
    assert_eq!(keys(&end, "siem"), keys(&right, "siem"));
}

#[test]
fn what_a_path_does_not_deliver_is_a_dead_letter_after_all() {
    let end =
        branch(&format!("[{FAILS}, on_error: [{{when: .kev}}, {{deliver: siem}}]}}, {{deliver: stix}}]"));
    assert_eq!((end.outputs.len(), end.dropped), (0, None));
    assert_eq!(end.rejected[0].message, "w.b: set: the value does not fit column labels");
    let end = branch(&format!("[{FAILS}, on_error: [{{deliver: open}}]}}, {{deliver: stix}}]"));
    assert_eq!(end.rejected.len(), 1, "one for both: {:?}", end.rejected);
    assert!(
        end.rejected[0].message.contains("; on_error: w.b: deliver: marked tlp amber"),
        "{:?}",
        end.rejected
    );
    assert_eq!(end.rejected[0].code, Code::StepFailed);
}

/// Above the clearance of one sink: the path, and the branch goes on to the others, with the event as it was.
#[test]
fn a_sink_that_may_not_see_it_has_a_path() {
    let steps =
        "[{deliver: open, on_error: [{set: {labels: '[.error.code]'}}, {deliver: siem}]}, {deliver: stix}]";
    let end = branch(steps);
    assert_eq!(end.rejected, []);
    assert!(columns(&end, 0).to_string().contains("above_clearance"));
    assert_eq!(end.outputs[1].payload, branch("[{deliver: stix}]").outputs[0].payload);
    let inner = "[{each: '[\"a\", \"b\"]', do: [{deliver: open, on_error: [{set: {labels: '[.item, .error.code]'}}, {deliver: siem}]}, {deliver: stix}]}]";
    let end = branch(inner);
    let sinks: Vec<&str> = end.outputs.iter().map(|o| o.sink.as_str()).collect();
    assert_eq!(sinks, ["siem", "stix", "siem", "stix"]);
    assert_eq!(end.outputs.iter().map(|o| &o.idempotency_key).collect::<BTreeSet<_>>().len(), 4);
}

/// All sinks of all paths belong to the branch: its stage may write to them.
#[test]
fn sinks_of_paths_are_the_branchs() {
    let made = definition(&format!(
        "[{FAILS}, on_error: [{{deliver: siem}}]}}, {{each: .cves, do: [{{deliver: open}}]}}, {{deliver: stix}}]"
    ));
    let mut sinks = made.branches[0].sinks.clone();
    sinks.sort();
    assert_eq!(sinks, ["open", "siem", "stix"]);
}

/// A wait stands at its place among the branch's own steps: what runs aside has none.
#[test]
fn a_branch_waits_behind_what_ran_aside() {
    let path = "on_error: [{set: {labels: '[\"y\"]'}}, {deliver: open}]";
    let each = "{each: .cves, do: [{set: {cves: '[.item]'}}, {deliver: siem}]}";
    let steps = format!(
        "[{each}, {{set: {{labels: '[\"x\"]'}}, {path}}}, {{await: {{ack: analyst, within: 1h}}}}, {{deliver: stix}}]"
    );
    let definition = definition(&steps);
    let site = Site { version: 3, home_networks: &[] };
    let d = Detection { incident_id: Some("i1".into()), ..with_cves(&["CVE-1"]) };
    let end = run_here(&definition, &definition.branches[0], &d, site);
    assert_eq!((end.outputs.len(), end.waits[0].step), (1, 2));
    let rest = resume(&definition, &definition.branches[0], &end.waits[0], Heard::default(), site);
    assert_eq!(rest.outputs.iter().map(|o| o.sink.as_str()).collect::<Vec<_>>(), ["stix"]);
    assert!(String::from_utf8_lossy(&rest.outputs[0].payload).contains("\"x\""));
}
