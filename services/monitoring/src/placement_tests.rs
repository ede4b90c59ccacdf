//! Where branches run: what is decided in the transaction of the command, and never taken back.
use super::*;
use atio_schemas::definition::Placement::{self, Own, Pooled, Promoted};

/// Room for four groups, see [`commands`].
const BUDGET: usize = 4;

fn placement(h: &Harness<Commands>, name: &str) -> Placement {
    definitions(&h.outputs)[name].placed()
}

/// Applies with so many branches, what is asked for, and whether the topic is there.
fn put(h: &mut Harness<Commands>, name: &str, version: i64, more: &str, own_topic: bool) -> Placement {
    let id = format!("{name}-{version}-{}", h.outputs.len());
    send(h, &[Command { own_topic: Some(own_topic), ..apply(&id, name, version, more) }]);
    placement(h, name)
}

#[test]
fn own_as_long_as_there_is_room() {
    let mut h = commands();
    assert_eq!(put(&mut h, "a", 0, "branches=3", true), Own);
    assert_eq!(put(&mut h, "b", 0, "branches=2", true), Pooled, "five are too many");
    assert_eq!(put(&mut h, "c", 0, "branches=1", true), Own, "four are not");
    assert_eq!(put(&mut h, "d", 0, "branches=1", true), Pooled);
    assert_eq!(put(&mut h, "e", 0, "own branches=2", true), Own, "it was asked for");
    assert_eq!(put(&mut h, "f", 0, "pooled branches=1", true), Pooled);
    send(&mut h, &[command("x", Action::Delete, "a", 1, None), command("y", Action::Delete, "e", 1, None)]);
    assert_eq!(put(&mut h, "g", 0, "branches=3", true), Own, "there is room again");
    assert_eq!(put(&mut h, "d", 1, "branches=2", true), Pooled, "what is placed stays so");
    assert_eq!(put(&mut h, "c", 1, "branches=9", true), Own, "also where it grows");
    assert_eq!(put(&mut h, "h", 0, "branches=1", true), Pooled, "which counts");
    assert!(h.counts.balanced() && h.failures.is_empty());
}

/// Many applies in one transaction, and in many: nobody sees room that another one has taken.
#[test]
fn concurrent_applies_share_the_room() {
    let names: Vec<String> = (0..20).map(|n| format!("w{n}")).collect();
    let all: Vec<Command> = names.iter().map(|n| apply(n, n, 0, "branches=1")).collect();
    let mut h = commands();
    send(&mut h, &all[..7]);
    h.abort(&all[7..12].iter().map(given).collect::<Vec<_>>());
    for command in &all[7..] {
        send(&mut h, std::slice::from_ref(command));
    }
    let own = names.iter().filter(|name| placement(&h, name) == Own).count();
    assert_eq!((own, names.len() - own), (BUDGET, 16));
}

/// Routers write only topics that are known to be there.
#[test]
fn without_a_topic_it_gets_its_events_from_the_pool() {
    let mut h = commands();
    assert_eq!(put(&mut h, "a", 0, "branches=1", false), Promoted);
    assert_eq!(put(&mut h, "a", 1, "branches=1 ", true), Promoted, "for good: so the order is kept");
    assert_eq!(put(&mut h, "b", 0, "own branches=9", false), Promoted);
    assert_eq!(put(&mut h, "c", 0, "branches=1", true), Pooled);
    assert_eq!(put(&mut h, "c", 1, "own branches=1", true), Promoted, "some of it may be on its way still");
}

#[test]
fn pause_and_promotion_take_it_out_for_good() {
    let mut h = commands();
    for name in ["a", "b"] {
        assert_eq!(put(&mut h, name, 0, "pooled", true), Pooled);
    }
    send(&mut h, &[command("1", Action::Pause, "a", 1, None), command("2", Action::Promote, "b", 1, None)]);
    let all = definitions(&h.outputs);
    assert_eq!((all["a"].placed(), all["a"].paused), (Promoted, true));
    assert_eq!((all["b"].placed(), all["b"].paused), (Promoted, false));
    assert_eq!(all["a@1"].placement, None, "a version says nothing of it, and never changes");
    let told = &changes(&h.outputs)[3];
    let texts = (told.before.as_deref(), told.after.as_deref());
    assert_eq!(texts, (Some("placement: pooled"), Some("placement: promoted")));
    let log = entries(&h.outputs);
    let details: Vec<serde_json::Value> =
        log.iter().map(|e| serde_json::from_str(&e.details).unwrap()).collect();
    let placements: Vec<&str> = details.iter().filter_map(|d| d["placement"].as_str()).collect();
    assert_eq!(placements, ["pooled", "pooled", "promoted", "promoted"], "audited");
    send(&mut h, &[command("3", Action::Resume, "a", 1, None), command("4", Action::Promote, "b", 1, None)]);
    assert_eq!(placement(&h, "a"), Promoted);
    let refused = changes(&h.outputs).pop().unwrap();
    assert_eq!(refused.refused_code.as_deref(), Some("duplicate"), "it is out already");
    send(&mut h, &[command("5", Action::Delete, "a", 1, None)]);
    assert_eq!(put(&mut h, "a", 0, "pooled ", true), Promoted, "also in its next life");
}

/// What was pooled, deleted and is defined anew may still have events on the way; what had its own topic may have lost it.
#[test]
fn a_second_life() {
    let mut h = commands();
    assert_eq!(put(&mut h, "a", 0, "pooled", true), Pooled);
    assert_eq!(put(&mut h, "b", 0, "own", true), Own);
    send(&mut h, &[command("1", Action::Delete, "a", 1, None), command("2", Action::Delete, "b", 1, None)]);
    let again = |id: &str, name: &str, own_topic| Command {
        own_topic: Some(own_topic),
        ..apply(id, name, 0, "again")
    };
    send(&mut h, &[again("3", "a", true), again("4", "b", false)]);
    assert_eq!((placement(&h, "a"), placement(&h, "b")), (Promoted, Promoted));
}

/// State of a version that knew no pool: all of it has groups of its own, and is counted.
#[test]
fn what_is_older_than_the_pool() {
    let old = serde_json::json!({"latest": 1, "in_force": true, "paused": false, "definition": text("old", "branches=4")});
    let object: crate::stores::Object = serde_json::from_value(old).unwrap();
    assert_eq!((object.placement, object.branches, object.groups()), (Own, None, 0));
}
