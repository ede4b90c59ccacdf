//! Judges `Admin` against a running Kafka: `admin_check HOST:PORT`. Makes topics under a prefix of its own and deletes them.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a check on the command line")]
use atio_stream::{Kafka, admin::Admin};
use atio_topics::{Declarations, Fixed, Flags, Layout, derive::derive, plan::plan};
use std::collections::BTreeMap;

fn main() {
    let bootstrap = std::env::args().nth(1).expect("HOST:PORT");
    let prefix = format!("check{}.", std::process::id());
    let kafka = Kafka { bootstrap, ..Kafka::default() };
    let admin = Admin::connect(&kafka, "admin-check").expect("a client");
    let fixed = Fixed::shipped().expect("topics.yaml");
    let mut layout = Layout::new(&fixed, &prefix, true);
    layout.replication = Some(1);
    let mut wanted =
        derive(&fixed, &Declarations::load(&[]).expect("shipped"), &[], &layout).expect("derived");
    let careful = Flags::default();

    let first = plan(&wanted, &admin.cluster_state().expect("a state"), &prefix, careful);
    println!("{} to create", first.changes.len());
    let done = admin.apply(&first).expect("applied");
    let failed: Vec<_> = done.iter().filter(|d| d.result.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let state = admin.cluster_state().expect("a state");
    let second = plan(&wanted, &state, &prefix, careful);
    assert!(second.changes.is_empty() && second.refused.is_empty(), "{second:?}");
    println!("idempotent");

    // Another setting and more partitions for a topic without keys; the other settings stay.
    for topic in &mut wanted {
        if topic.name.ends_with("detections.dlq") {
            topic.partitions = 5;
        }
        if topic.name.ends_with(".detections") {
            topic.configs.insert("retention.ms".into(), "1209600000".into());
        }
    }
    let third = plan(&wanted, &state, &prefix, careful);
    assert_eq!(third.changes.len(), 2, "{third:?}");
    assert!(admin.apply(&third).expect("applied").iter().all(|d| d.result.is_ok()));
    let fourth = plan(&wanted, &admin.cluster_state().expect("a state"), &prefix, careful);
    assert!(fourth.changes.is_empty(), "{fourth:?}");
    println!("altered, nothing else reset");

    let marks = admin.watermarks(&format!("{prefix}detections")).expect("marks");
    assert!(
        marks.len() == 3 && marks.iter().all(|m| m.low == 0 && m.high == 0 && m.stable == 0),
        "{marks:?}"
    );
    let lag = admin.lag("nobody", &[&format!("{prefix}detections")]).expect("lag");
    assert!(lag.iter().all(|l| l.committed.is_none() && l.lag == 0), "{lag:?}");
    println!("groups {:?}", admin.groups().expect("groups").len());
    let refused = admin.watermarks("no-such-topic").expect_err("refused");
    assert_eq!(refused.code(), "refused", "{refused}");
    let twice = first.clone();
    assert!(admin.apply(&twice).expect("answered").iter().all(|d| d.result.is_err()), "topics exist");

    let all = Flags { delete: true, shrink: true };
    let last = plan(&[], &admin.cluster_state().expect("a state"), &prefix, all);
    assert_eq!(last.changes.len(), wanted.len());
    assert!(admin.apply(&last).expect("applied").iter().all(|d| d.result.is_ok()));
    let closed = Kafka { bootstrap: "127.0.0.1:1".into(), properties: BTreeMap::new() };
    let error =
        Admin::connect(&closed, "admin-check").expect("a client").cluster_state().expect_err("nobody there");
    assert!(error.is_unreachable(), "{error}");
    println!("unreachable: {error}\nok");
}
