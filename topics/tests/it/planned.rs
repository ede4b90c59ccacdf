//! The plan: idempotent, never destructive without a flag.
use crate::derived::fixed;
use atio_topics::{
    Change, ClusterState, Declarations, Flags, Layout, Topic, TopicState,
    derive::derive,
    plan::{Refusal, apply, plan},
};
use proptest::prelude::*;

fn wanted() -> Vec<Topic> {
    let fixed = fixed();
    derive(&fixed, &Declarations::load(&[]).expect("shipped"), &[], &Layout::new(&fixed, "atio.", false))
        .expect("derived")
}

const CAREFUL: Flags = Flags { delete: false, shrink: false };

#[test]
fn an_empty_cluster_gets_everything_and_then_nothing() {
    let wanted = wanted();
    let first = plan(&wanted, &ClusterState::default(), "atio.", CAREFUL);
    assert_eq!(first.changes.len(), wanted.len());
    assert!(first.changes.iter().all(|c| matches!(c, Change::Create { .. })));
    let state = apply(&first, &ClusterState::default());
    assert_eq!(plan(&wanted, &state, "atio.", CAREFUL), atio_topics::Plan::default());
}

fn with(change: impl Fn(&mut ClusterState)) -> (Vec<Topic>, ClusterState) {
    let wanted = wanted();
    let mut state =
        apply(&plan(&wanted, &ClusterState::default(), "atio.", CAREFUL), &ClusterState::default());
    change(&mut state);
    (wanted, state)
}

fn topic<'a>(state: &'a mut ClusterState, name: &str) -> &'a mut TopicState {
    state.topics.get_mut(name).expect("there")
}

#[test]
fn partitions_of_keyed_topics_stay_and_others_grow() {
    let (wanted, state) = with(|s| {
        topic(s, "atio.detections").partitions = 6;
        topic(s, "atio.logs").partitions = 24;
        topic(s, "atio.detections.dlq").partitions = 6;
        topic(s, "atio.logs.dlq").partitions = 24;
    });
    let plan = plan(&wanted, &state, "atio.", Flags { delete: true, shrink: true });
    assert_eq!(
        plan.changes,
        vec![Change::Partitions { topic: "atio.detections.dlq".into(), from: 6, to: 12 }]
    );
    assert_eq!(plan.refused.len(), 2);
    assert!(plan.impossible());
}

#[test]
fn nothing_is_lost_without_a_flag() {
    let (wanted, state) = with(|s| {
        let detections = topic(s, "atio.detections");
        detections.configs.insert("retention.ms".into(), "-1".into());
        topic(s, "atio.logs").configs.insert("retention.ms".into(), "1000".into());
        topic(s, "atio.audit").configs.insert("cleanup.policy".into(), "delete".into());
        s.topics.insert("atio.raw.gone".into(), TopicState::default());
        s.topics.insert("theirs".into(), TopicState::default());
        s.topics.insert("_schemas".into(), TopicState::default());
    });
    let careful = plan(&wanted, &state, "atio.", CAREFUL);
    assert_eq!(careful.changes.len(), 1, "longer retention is no loss: {:?}", careful.changes);
    assert_eq!(careful.refused.len(), 3);
    assert!(!careful.impossible());
    let bold = plan(&wanted, &state, "atio.", Flags { delete: true, shrink: true });
    assert!(bold.refused.is_empty());
    assert_eq!(bold.changes.last(), Some(&Change::Delete { topic: "atio.raw.gone".into() }));
    assert_eq!(bold.changes.len(), 4);
}

#[test]
fn an_adopted_topic_must_be_there_and_is_left_alone() {
    let fixed = fixed();
    let file = atio_topics::load::File {
        name: "s.yaml".into(),
        text: "apiVersion: atio/v1\nkind: Source\nmetadata: {name: n}\nfrom: {topic: {name: nids}}".into(),
    };
    let declared = Declarations::load(&[file]).expect("good");
    let wanted = derive(&fixed, &declared, &[], &Layout::new(&fixed, "atio.", false)).expect("derived");
    let absent = plan(&wanted, &ClusterState::default(), "atio.", CAREFUL);
    assert_eq!(absent.refused, vec![Refusal::Missing { topic: "nids".into() }]);
    let mut state = apply(&absent, &ClusterState::default());
    state.topics.insert("nids".into(), TopicState { partitions: 1, ..TopicState::default() });
    assert_eq!(plan(&wanted, &state, "atio.", CAREFUL), atio_topics::Plan::default());
}

#[derive(Clone, Debug)]
struct Disturbance {
    index: usize,
    partitions: u32,
    setting: Option<(String, String)>,
    remove: bool,
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    let settings = vec![
        "retention.ms",
        "cleanup.policy",
        "max.message.bytes",
        "message.timestamp.type",
        "min.compaction.lag.ms",
    ];
    let values = vec!["-1", "0", "1000", "99999999999", "compact", "delete", "CreateTime", ""];
    let setting = (prop::sample::select(settings), prop::sample::select(values))
        .prop_map(|(s, v)| (s.to_owned(), v.to_owned()));
    (0..200_usize, 1..30_u32, prop::option::of(setting), prop::bool::weighted(0.1))
        .prop_map(|(index, partitions, setting, remove)| Disturbance { index, partitions, setting, remove })
}

proptest! {
    #[test]
    fn applying_a_plan_and_planning_again_is_empty(
        disturbances in prop::collection::vec(disturbance(), 0..20), strays in prop::collection::vec("(atio\\.)?[a-z]{1,8}", 0..4),
        delete: bool, shrink: bool,
    ) {
        let (wanted, mut state) = with(|_| {});
        for d in disturbances {
            let name = wanted[d.index % wanted.len()].name.clone();
            if d.remove {
                state.topics.remove(&name);
            } else if let Some(t) = state.topics.get_mut(&name) {
                t.partitions = d.partitions;
                t.configs.extend(d.setting);
            }
        }
        for stray in &strays {
            state.topics.entry(stray.clone()).or_default();
        }
        let flags = Flags { delete, shrink };
        let first = plan(&wanted, &state, "atio.", flags);
        let after = apply(&first, &state);
        let second = plan(&wanted, &after, "atio.", flags);
        prop_assert_eq!(&second.changes, &vec![]);
        prop_assert_eq!(&second.refused, &first.refused);
        for (name, before) in &state.topics {
            let kept = after.topics.get(name);
            prop_assert!(kept.is_some() || (delete && name.starts_with("atio.")));
            prop_assert!(kept.is_none_or(|k| k.partitions >= before.partitions));
        }
    }
}
