//! What is written in `match` means what the documentation says: random conditions, compiled and looked up in the index, against an evaluation
//! that shares no code with them.
use super::matches::trigger;
use crate::{
    index::{Index, in_order},
    spec,
    trigger::Trigger,
    yaml,
};
use atio_schemas::{
    Detection, Timestamp,
    detection::{Criticality, Kind},
};
use proptest::prelude::*;

/// A value as it is written, and as events have it.
#[derive(Clone, Debug, PartialEq)]
enum V {
    T(&'static str),
    N(i32),
    B(bool),
}

/// A condition on one value.
#[derive(Clone, Debug)]
enum Ask {
    Eq(V),
    In(Vec<V>),
    Range(&'static str, i32),
    Between(i32, i32),
    Prefix(&'static str),
    Suffix(Vec<&'static str>),
    Contains(&'static str),
    Regex(usize),
    Net(usize),
    Not(Box<Ask>),
    Both(Box<Ask>, Box<Ask>),
}

/// A condition on a column.
#[derive(Clone, Debug)]
enum On {
    Exists(bool),
    Each(Ask),
    Any(Ask),
    All(Ask),
    None(Ask),
}

const TEXTS: &[&str] = &["web-1", "web-2", "db-1", "WEB-1", "a.b", "axb", "é-1", "10.0.0.1"];
const IPS: &[&str] =
    &["10.0.0.1", "10.1.2.3", "192.168.0.9", "::ffff:10.9.0.1", "fd00::1", "fe80::1", "no address"];
/// A network, and the addresses of [`IPS`] that lie in it.
const NETS: &[(&str, &[&str])] = &[
    ("10.0.0.0/8", &["10.0.0.1", "10.1.2.3", "::ffff:10.9.0.1"]),
    ("10.1.0.0/16", &["10.1.2.3"]),
    ("192.168.0.9", &["192.168.0.9"]),
    ("0.0.0.0/0", &["10.0.0.1", "10.1.2.3", "192.168.0.9", "::ffff:10.9.0.1"]),
    ("::ffff:10.9.0.0/112", &["::ffff:10.9.0.1"]),
    ("fd00::/8", &["fd00::1"]),
    ("::/0", &["fd00::1", "fe80::1"]),
];
type Hand = fn(&str) -> bool;
/// An expression, and the same by hand.
const REGEXES: &[(&str, Hand)] = &[
    ("^web-", |t| t.starts_with("web-")),
    ("1$", |t| t.ends_with('1')),
    (r"a\.b", |t| t.contains("a.b")),
    ("(?i)web", |t| t.to_lowercase().contains("web")),
    ("^.{3}$", |t| t.chars().count() == 3),
];

fn fulfils(ask: &Ask, value: &V) -> bool {
    let text = if let V::T(text) = value { text } else { "" };
    match ask {
        Ask::Eq(wanted) => wanted == value,
        Ask::In(wanted) => wanted.contains(value),
        Ask::Between(low, high) => matches!(value, V::N(n) if (low..=high).contains(&n)),
        Ask::Range(operator, bound) => {
            let V::N(number) = value else { return false };
            match *operator {
                "gt" => number > bound,
                "gte" => number >= bound,
                "lt" => number < bound,
                _ => number <= bound,
            }
        }
        Ask::Prefix(part) => text.starts_with(part),
        Ask::Suffix(parts) => parts.iter().any(|part| text.ends_with(part)),
        Ask::Contains(part) => text.contains(part),
        Ask::Regex(at) => REGEXES[*at].1(text),
        Ask::Net(at) => NETS[*at].1.contains(&text),
        Ask::Not(ask) => !fulfils(ask, value),
        Ask::Both(a, b) => fulfils(a, value) && fulfils(b, value),
    }
}

fn holds(on: &On, values: &[V]) -> bool {
    match on {
        On::Exists(yes) => values.is_empty() != *yes,
        On::Each(ask) | On::Any(ask) => values.iter().any(|v| fulfils(ask, v)),
        On::All(ask) => !values.is_empty() && values.iter().all(|v| fulfils(ask, v)),
        On::None(ask) => !values.iter().any(|v| fulfils(ask, v)),
    }
}

fn written(value: &V) -> String {
    match value {
        V::T(text) => format!("{text:?}"),
        V::N(number) => number.to_string(),
        V::B(yes) => yes.to_string(),
    }
}

fn operator(ask: &Ask) -> String {
    let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
    match ask {
        Ask::Eq(value) => format!("eq: {}", written(value)),
        Ask::In(values) => format!("in: {}", list(values.iter().map(written).collect())),
        Ask::Range(operator, bound) => format!("{operator}: {bound}"),
        Ask::Between(low, high) => format!("between: [{low}, {high}]"),
        Ask::Prefix(part) => format!("prefix: {part:?}"),
        Ask::Suffix(parts) => format!("suffix: {}", list(parts.iter().map(|p| format!("{p:?}")).collect())),
        Ask::Contains(part) => format!("contains: {part:?}"),
        Ask::Regex(at) => format!("regex: '{}'", REGEXES[*at].0),
        Ask::Net(at) => format!("in: [\"{}\"]", NETS[*at].0),
        Ask::Not(ask) => format!("not: {{{}}}", operator(ask)),
        Ask::Both(a, b) => format!("{}, {}", operator(a), operator(b)),
    }
}

fn condition(on: &On) -> String {
    match on {
        On::Exists(yes) => format!("{{exists: {yes}}}"),
        On::Each(Ask::Eq(value)) => written(value),
        On::Each(ask) => format!("{{{}}}", operator(ask)),
        On::Any(ask) => format!("{{any: {{{}}}}}", operator(ask)),
        On::All(ask) => format!("{{all: {{{}}}}}", operator(ask)),
        On::None(ask) => format!("{{none: {{{}}}}}", operator(ask)),
    }
}

fn of_text() -> impl Strategy<Value = Ask> {
    let text = || proptest::sample::select(TEXTS);
    prop_oneof![
        text().prop_map(|t| Ask::Eq(V::T(t))),
        proptest::sample::subsequence(TEXTS, 1..4).prop_map(|t| Ask::In(t.into_iter().map(V::T).collect())),
        proptest::sample::select(vec!["web", "web-1", "é", "1", "W"]).prop_map(Ask::Prefix),
        proptest::sample::subsequence(vec!["-1", "b", "2"], 1..3).prop_map(Ask::Suffix),
        proptest::sample::select(vec!["e", "-", "x", "0.0"]).prop_map(Ask::Contains),
        (0..REGEXES.len()).prop_map(Ask::Regex),
    ]
}

/// At most one of each operator, so that they can stand beside each other.
fn pair() -> impl Strategy<Value = Ask> {
    let start = proptest::sample::select(vec!["web", "é", "1"]).prop_map(Ask::Prefix);
    let end = proptest::sample::select(vec!["-1", "b"]).prop_map(|t| Ask::Suffix(vec![t]));
    (start, end).prop_map(|(a, b)| Ask::Both(Box::new(a), Box::new(b)))
}

fn negatable(ask: impl Strategy<Value = Ask>) -> impl Strategy<Value = Ask> {
    (ask, any::<bool>()).prop_map(|(ask, not)| if not { Ask::Not(Box::new(ask)) } else { ask })
}

fn scalar(ask: impl Strategy<Value = Ask>) -> impl Strategy<Value = On> {
    (negatable(ask), 0..6_u8).prop_map(|(ask, n)| match n {
        0 => On::Exists(false),
        1 => On::Exists(true),
        _ => On::Each(ask),
    })
}

fn list() -> impl Strategy<Value = On> {
    let ask = prop_oneof![of_text(), pair()];
    (ask, any::<bool>(), 0..6_u8).prop_map(|(ask, not, n)| {
        let inner = if not { Ask::Not(Box::new(ask.clone())) } else { ask.clone() };
        match n {
            0 => On::Exists(not),
            1 => On::Any(inner),
            2 => On::All(inner),
            3 => On::None(inner),
            _ => On::Each(ask),
        }
    })
}

fn number() -> impl Strategy<Value = Ask> {
    prop_oneof![
        (0..5).prop_map(|n| Ask::Eq(V::N(n))),
        proptest::sample::subsequence(vec![0, 1, 2, 3, 4], 1..4)
            .prop_map(|n| Ask::In(n.into_iter().map(V::N).collect())),
        (proptest::sample::select(vec!["gt", "gte", "lt", "lte"]), 0..5).prop_map(|(o, n)| Ask::Range(o, n)),
        (0..3, 2..5).prop_map(|(low, high)| Ask::Between(low, high)),
        (0..3, 3..5).prop_map(|(low, high)| {
            Ask::Both(Box::new(Ask::Range("gte", low)), Box::new(Ask::Range("lt", high)))
        }),
    ]
}

/// Column and condition, a column at most once.
fn conditions() -> impl Strategy<Value = Vec<(&'static str, On)>> {
    let kind = proptest::sample::subsequence(Kind::NAMES, 1..4)
        .prop_map(|k| On::Each(Ask::In(k.into_iter().map(V::T).collect())));
    let criticality = proptest::sample::select(Criticality::NAMES).prop_map(|c| Ask::Eq(V::T(c)));
    let net = (0..NETS.len()).prop_map(Ask::Net);
    (
        proptest::option::of(kind),
        proptest::option::weighted(0.3, scalar(criticality)),
        proptest::option::of(scalar(prop_oneof![of_text(), pair()])),
        proptest::option::of(list()),
        proptest::option::of(scalar(net)),
        proptest::option::weighted(0.3, scalar(number())),
        proptest::option::weighted(0.3, scalar(number())),
        proptest::option::weighted(0.2, scalar(any::<bool>().prop_map(|b| Ask::Eq(V::B(b))))),
    )
        .prop_map(|(kind, criticality, host, users, ip, confidence, cvss, kev)| {
            let all = [
                ("kind", kind),
                ("criticality", criticality),
                ("host", host),
                ("users", users),
                ("src.ip", ip),
                ("confidence", confidence),
                ("cvss", cvss),
                ("kev", kev),
            ];
            all.into_iter().filter_map(|(column, on)| Some((column, on?))).collect()
        })
}

/// An event: the values of each column, none where it is unknown.
type Event = (
    Kind,
    Option<Criticality>,
    Option<&'static str>,
    Vec<&'static str>,
    Option<&'static str>,
    Option<i32>,
    Option<i32>,
    Option<bool>,
);

fn event() -> impl Strategy<Value = Event> {
    (
        proptest::sample::select(Kind::ALL),
        proptest::option::of(proptest::sample::select(Criticality::ALL)),
        proptest::option::of(proptest::sample::select(TEXTS)),
        proptest::sample::subsequence(TEXTS, 0..4),
        proptest::option::of(proptest::sample::select(IPS)),
        proptest::option::of(0..5),
        proptest::option::of(0..5),
        any::<Option<bool>>(),
    )
}

fn values(event: &Event, column: &str) -> Vec<V> {
    let (kind, criticality, host, users, ip, confidence, cvss, kev) = event;
    let text = |t: &Option<&'static str>| t.iter().map(|t| V::T(t)).collect();
    match column {
        "kind" => vec![V::T(kind.as_str())],
        "criticality" => criticality.iter().map(|c| V::T(c.as_str())).collect(),
        "host" => text(host),
        "users" => users.iter().map(|t| V::T(t)).collect(),
        "src.ip" => text(ip),
        "confidence" => confidence.iter().map(|n| V::N(*n)).collect(),
        "cvss" => cvss.iter().map(|n| V::N(*n)).collect(),
        _ => kev.iter().map(|b| V::B(*b)).collect(),
    }
}

fn detection(event: &Event) -> Detection {
    let (kind, criticality, host, users, ip, confidence, cvss, kev) = event;
    let mut d = Detection::new("e".into(), *kind, "default", "s");
    d.criticality = *criticality;
    d.host = host.map(str::to_owned);
    d.users = users.iter().map(|u| (*u).to_owned()).collect();
    d.src.ip = ip.map(str::to_owned);
    d.confidence = *confidence;
    d.cvss = cvss.map(f64::from);
    d.kev = *kev;
    d.occurred_at = Some(Timestamp(1));
    d
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn conditions_mean_what_they_say(
        written in proptest::collection::vec(conditions(), 1..12), events in proptest::collection::vec(event(), 1..6),
    ) {
        let mut triggers = vec![];
        for conditions in &written {
            let lines: Vec<String> = conditions.iter().map(|(c, on)| format!("{c}: {}", condition(on))).collect();
            let text = format!("{{{}}}", lines.join(", "));
            let node = yaml::read("f", &text).unwrap();
            let mut problems = vec![];
            let found = trigger(spec::mapping(&node, "match", &mut problems).unwrap(), Trigger::Detection, &mut problems);
            prop_assert!(problems.is_empty(), "{} {:?}", text, problems);
            triggers.push(in_order(found));
        }
        let index = Index::new(triggers);
        for event in &events {
            let naive: Vec<usize> = (0..written.len())
                .filter(|at| written[*at].iter().all(|(column, on)| holds(on, &values(event, column))))
                .collect();
            prop_assert_eq!(index.matches(&detection(event)), naive, "{:?} {:?}", event, written);
        }
    }
}
