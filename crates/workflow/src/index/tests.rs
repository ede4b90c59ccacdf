//! The index finds what naive matching finds.
use super::*;
use atio_schemas::{Timestamp, column, detection::Kind};
use proptest::prelude::*;

const TEXTS: &[&str] = &["a", "b", "c", "10.0.0.1", "10.1.2.3", "192.168.0.9", "fd00::1", "threat", "log"];

const EXPRESSIONS: &[&str] = &["(?i)THREAT", "^10[.]", "a|b", "0[.](0[.]1|9)", "[a-c]?log"];

fn position(name: &str) -> usize {
    column::position(name).unwrap()
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let text = || proptest::sample::subsequence(TEXTS, 1..4);
    let texts = |t: Vec<&str>| Test::Texts(t.into_iter().map(Box::from).collect());
    let bound = || proptest::option::of((0_i64..4, any::<bool>()));
    let on = |name: &'static str| move |test| Predicate { column: position(name), test };
    prop_oneof![
        text().prop_map(move |t| on("kind")(texts(t))),
        text().prop_map(move |t| on("rule.id")(texts(t))),
        text().prop_map(move |t| on("source")(texts(t))),
        text().prop_map(move |t| on("cves")(texts(t))),
        text().prop_map(move |t| on("users")(texts(t))),
        proptest::sample::subsequence(vec!["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "0.0.0.0/0"], 1..3)
            .prop_map(move |n| on("src.ip")(Test::Networks(
                n.into_iter().map(|n| n.parse().unwrap()).collect()
            ))),
        proptest::sample::subsequence(EXPRESSIONS, 1..2)
            .prop_map(move |e| on("users")(Test::Regex(Pattern::new(regex::Regex::new(e[0]).unwrap())))),
        text().prop_map(move |t| on("users")(Test::Parts(t.into_iter().map(Box::from).collect()))),
        text().prop_map(move |t| on("src.ip")(Test::Suffixes(t.into_iter().map(Box::from).collect()))),
        any::<bool>().prop_map(move |b| on("kev")(Test::Bool(b))),
        proptest::collection::btree_set(0_i64..4, 1..3).prop_map(move |n| on("confidence")(Test::Ints(n))),
        (bound(), bound()).prop_map(move |(low, high)| on("confidence")(Test::IntRange { low, high })),
        (bound(), bound()).prop_map(move |(low, high)| on("occurred_at")(Test::IntRange { low, high })),
        (bound(), bound()).prop_map(move |(low, high)| {
            let float = |b: Option<(i64, bool)>| b.map(|(n, i)| (n as f64, i));
            on("cvss")(Test::FloatRange { low: float(low), high: float(high) })
        }),
    ]
}

fn detection() -> impl Strategy<Value = Detection> {
    let text = || proptest::option::of(proptest::sample::select(TEXTS).prop_map(str::to_owned));
    let list = || {
        proptest::sample::subsequence(TEXTS, 0..4).prop_map(|t| t.into_iter().map(str::to_owned).collect())
    };
    let number = || proptest::option::of(0_i32..4);
    (
        proptest::sample::select(Kind::ALL),
        text(),
        list(),
        list(),
        text(),
        any::<Option<bool>>(),
        number(),
        number(),
    )
        .prop_map(|(kind, rule, cves, users, ip, kev, confidence, other)| {
            let mut d = Detection::new("e".into(), kind, "default", "a");
            d.rule.id = rule;
            d.cves = cves;
            d.users = users;
            d.src.ip = ip;
            d.kev = kev;
            d.confidence = confidence;
            d.cvss = other.map(f64::from);
            d.occurred_at = other.map(|n| Timestamp(n.into()));
            d
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// What the index finds is what testing every trigger finds.
    #[test]
    fn finds_what_naive_testing_finds(
        triggers in proptest::collection::vec(proptest::collection::vec(predicate(), 0..4), 0..12),
        detections in proptest::collection::vec(detection(), 1..6),
    ) {
        let index = Index::new(triggers.iter().cloned().map(in_order).collect());
        for detection in &detections {
            let naive: Vec<usize> = (0..triggers.len())
                .filter(|i| triggers[*i].iter().all(|p| p.holds(detection)))
                .collect();
            prop_assert_eq!(index.matches(detection), naive);
        }
    }
}

/// A thousand triggers on different rules: one of them is looked at.
#[test]
fn equality_looks_at_few() {
    let equal = |column: &str, text: &str| Predicate {
        column: position(column),
        test: Test::Texts([Box::from(text)].into()),
    };
    let triggers = (0..1000).map(|i| vec![equal("kind", "threat"), equal("rule.id", &format!("1:{i}"))]);
    let index = Index::new(triggers.map(in_order).collect());
    assert!(index.rest.is_empty());
    assert_eq!(index.filed.len(), 1);
    assert_eq!(index.filed[0].1.fullest(), 1);
    let mut d = Detection::new("e".into(), Kind::Threat, "default", "a");
    d.rule.id = Some("1:7".into());
    assert_eq!(index.matches(&d), [7]);
}

/// The same of networks, and of starts of texts.
#[test]
fn networks_and_prefixes_look_at_few() {
    let network = |i: usize| format!("10.{}.{}.0/24", i / 250, i % 250).parse().unwrap();
    let both = (0..1000).map(|i| {
        let start = Test::Prefixes([Box::from(format!("web-{i:04}"))].into());
        let end = Test::Suffixes(vec![Box::from(".corp.example")]);
        let host = Predicate { column: position("host"), test: Test::Both(vec![end, start]) };
        let ip = Predicate { column: position("src.ip"), test: Test::Networks(vec![network(i)]) };
        if i % 2 == 0 { vec![host] } else { vec![ip] }
    });
    let index = Index::new(both.map(in_order).collect());
    assert!(index.rest.is_empty());
    assert!(index.filed.iter().all(|(_, filed)| filed.fullest() == 1));
    let mut d = Detection::new("e".into(), Kind::Threat, "default", "a");
    d.host = Some("web-0042.corp.example".into());
    d.src.ip = Some("10.3.1.77".into());
    assert_eq!(index.matches(&d), [42, 751]);
}

/// The same of what stands in a text.
#[test]
fn parts_and_expressions_look_at_few() {
    let expression =
        |i: usize| Pattern::new(regex::Regex::new(&format!(r"(?i)\btool{i:04}\.exe\b")).unwrap());
    let triggers = (0..1000).map(|i| {
        let test = match i % 3 {
            0 => Test::Regex(expression(i)),
            1 => Test::Parts(vec![Box::from(format!("tool{i:04}"))]),
            _ => Test::Suffixes(vec![Box::from(format!("tool{i:04}.exe"))]),
        };
        vec![Predicate { column: position("command_line"), test }]
    });
    let index = Index::new(triggers.map(in_order).collect());
    assert!(index.rest.is_empty());
    assert!(index.filed.iter().all(|(_, filed)| filed.fullest() == 1));
    let mut d = Detection::new("e".into(), Kind::Threat, "default", "a");
    d.command_line = Some(r"c:\TOOL0042.EXE /x tool0043.exe tool0044.exe".into());
    assert_eq!(index.matches(&d), [42, 43, 44]);
}

#[test]
fn mapped_addresses_are_plain_ones() {
    let network =
        |n: &str| Predicate { column: position("src.ip"), test: Test::Networks(vec![n.parse().unwrap()]) };
    let mut d = Detection::new("e".into(), Kind::Threat, "default", "a");
    d.src.ip = Some("::ffff:10.0.0.1".into());
    assert!(network("10.0.0.0/8").holds(&d));
    d.src.ip = Some("not an address".into());
    assert!(!network("0.0.0.0/0").holds(&d));
}

fn of_pattern(text: &str) -> Conditions {
    let pattern = atio_stix::pattern::Pattern::parse(text).unwrap();
    in_order(vec![]).and(Some(std::sync::Arc::new(pattern)))
}

fn with_address(address: &str) -> Detection {
    let object = format!(
        r#"{{"type":"ipv4-addr","id":"ipv4-addr--00000000-0000-5000-8000-000000000001","value":"{address}"}}"#
    );
    let bundle = format!(r#"{{"type":"bundle","id":"bundle--1","objects":[{object}]}}"#);
    let mut d = Detection::new("e".into(), Kind::Threat, "default", "a");
    d.bundle = bundle.into_bytes().into();
    d
}

/// The same of patterns: a bundle is looked through once, and read only where one of them may hold.
#[test]
fn patterns_look_at_few() {
    let triggers =
        (0..1000).map(|i| of_pattern(&format!("[ipv4-addr:value = '10.0.{}.{}']", i / 250, i % 250)));
    let index = Index::new(triggers.collect());
    assert!(index.rest.is_empty());
    assert_eq!(index.matches(&with_address("10.0.2.7")), [507]);
    assert_eq!(index.matches(&with_address("192.0.2.1")), [] as [usize; 0]);
    // However JSON writes it.
    assert_eq!(index.matches(&with_address(r"10.0.2.\u0037")), [507]);
    // What stands in the bytes may stand elsewhere.
    assert_eq!(index.matches(&with_address("10.0.2.70")), [570]);
    let mut odd = with_address("10.0.2.7");
    odd.bundle = std::sync::Arc::from(&b"10.0.2.7 in no bundle"[..]);
    assert_eq!(index.matches(&odd), [] as [usize; 0]);
}

#[test]
fn patterns_and_columns_go_together() {
    let rule = Predicate { column: position("rule.id"), test: Test::Texts([Box::from("1:7")].into()) };
    let both = |text: &str| {
        let pattern = atio_stix::pattern::Pattern::parse(text).unwrap();
        in_order(vec![rule.clone()]).and(Some(std::sync::Arc::new(pattern)))
    };
    let nothing_to_look_for = of_pattern("[ipv4-addr:value NOT ISSUBSET '192.0.2.0/24']");
    let index =
        Index::new(vec![both("[ipv4-addr:value LIKE '10.%']"), nothing_to_look_for, in_order(vec![])]);
    assert_eq!(index.rest, [1, 2]);
    let mut d = with_address("10.0.0.1");
    assert_eq!(index.matches(&d), [1, 2]);
    d.rule.id = Some("1:7".into());
    assert_eq!(index.matches(&d), [0, 1, 2]);
    let mut other = with_address("192.0.2.1");
    other.rule.id = Some("1:7".into());
    assert_eq!(index.matches(&other), [2]);
}
