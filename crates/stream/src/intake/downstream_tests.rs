//! Who is waited for, and how fast it goes.
use super::*;

#[test]
fn branches_are_known_by_their_groups() {
    let branches = Branches { group: "atio.routing.".into(), topic: "atio.workflow.".into() };
    let hop = branches.hop("atio.routing.web-attacks.siem").unwrap();
    assert_eq!((&*hop.group, &*hop.topic), ("atio.routing.web-attacks.siem", "atio.workflow.web-attacks"));
    for other in ["atio.routing", "atio.routing-logs", "atio.enrichment", "atio.routing.x"] {
        assert_eq!(branches.hop(other), None, "{other}");
    }
}

#[test]
fn a_group_that_stands_still_is_not_waited_for_until_it_goes_on() {
    let mut group = Progress::new(Judge { seconds: 3.0, least: 100.0 });
    assert!(!group.counts(0.0, None, 50), "it has never begun");
    assert!(group.counts(1.0, Some(10), 50) && group.counts(3.9, Some(10), 5000), "not judged yet");
    assert!(!group.counts(4.0, Some(10), 5000), "three seconds without anything");
    assert!(!group.counts(6.0, Some(1000), 5000), "not judged yet");
    assert!(group.counts(7.0, Some(1500), 5000), "it goes on");
    assert!(!group.counts(10.0, Some(1700), 5000), "slow by itself");
    assert!(group.counts(10.1, Some(6700), 0), "it has caught up");
    assert!(group.counts(13.0, Some(6700), 10) && !group.counts(13.2, Some(6710), 10));
}

#[test]
fn lag_is_that_of_partitions_that_were_begun() {
    let of = |partition, offset| Committed { topic: "t".into(), partition, offset, metadata: String::new() };
    let ends: Offsets = [(0, 8), (1, 6), (2, 40)].map(|(p, n)| (("t".to_owned(), p), n)).into();
    assert_eq!(standing(&[of(0, Some(5)), of(1, Some(7)), of(2, None)], &ends), (Some(12), 3));
    assert_eq!(standing(&[], &ends), (None, 0));
}

#[test]
fn the_pace_is_soon_known_and_slowly_forgotten() {
    let mut pace = Pace::default();
    let who = || vec!["g".to_owned()];
    let mut last = 0.0;
    for look in 0..40 {
        last = pace.seen(f64::from(look) / 10.0, i64::from(look) * 300, who());
        assert!(look > 3 || last == 0.0, "not known before half a second");
    }
    assert!((2900.0..=3000.1).contains(&last), "{last}");
    let other = pace.seen(4.1, 1_000_000, vec![]);
    assert!((other - last).abs() < 1.0, "somebody is not counted any more: {other}");
    let rest = pace.seen(6.1, 1_000_000, vec![]);
    assert!((1500.0..1700.0).contains(&rest), "nothing comes for two seconds: {rest}");
}
