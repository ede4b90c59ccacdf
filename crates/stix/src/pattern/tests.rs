//! Patterns against bundles (`samples/patterns.json`, whose verdicts a trial holds against OASIS's matcher, too), what is refused, and bounds.
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Instant};

fn observed(objects: &Value) -> Observed {
    let bundle =
        json!({"type": "bundle", "id": "bundle--6f2bf8b4-5b62-5c41-9f59-2f1f8b1f3f00", "objects": objects});
    Observed::of(bundle.to_string().as_bytes())
}

fn table() -> Value {
    serde_json::from_str(include_str!("../../samples/patterns.json")).unwrap()
}

/// Whether the bytes hold one of the texts by which a pattern is found.
fn is_found_by_literals(pattern: &Pattern, bundle: &str) -> bool {
    pattern.literals().is_none_or(|all| all.iter().any(|l| crate::scan::contains(bundle.as_bytes(), l)))
}

#[test]
fn every_pattern_of_the_table() {
    let table = table();
    let bundles: BTreeMap<&str, Observed> =
        table["bundles"].as_object().unwrap().iter().map(|(n, o)| (&**n, observed(o))).collect();
    let cases = table["cases"].as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let (text, bundle) = (case["pattern"].as_str().unwrap(), case["bundle"].as_str().unwrap());
        let pattern = Pattern::parse(text).unwrap_or_else(|e| panic!("{text}: {e} at {}", e.offset));
        let holds = pattern.holds(&bundles[bundle]);
        assert_eq!(Some(holds), case["holds"].as_bool(), "{text} on {bundle}");
        if let Some(about) = case["about"].as_array() {
            let about: HashSet<&str> = about.iter().map(|id| id.as_str().unwrap()).collect();
            assert_eq!(pattern.about(&bundles[bundle]), about, "{text} on {bundle}");
        }
        if holds {
            assert!(is_found_by_literals(&pattern, &table["bundles"][bundle].to_string()), "{text}");
        }
    }
}

fn refused(text: &str) -> String {
    let error = Pattern::parse(text).map(|p| p.text).unwrap_err();
    assert!(error.offset <= text.len(), "{text}");
    assert!(!error.help.is_empty(), "{text}");
    format!("{}: {error}", error.offset)
}

#[test]
fn what_is_no_pattern() {
    let cases = [
        ("", "0: `[` is expected here, not the end"),
        ("[]", "1: an object's type is expected here, not `]`"),
        ("[ipv4-addr:value = '1'", "22: `]` is expected here, not the end"),
        ("ipv4-addr:value = '1'", "0: `[` is expected here, not `ipv4-addr`"),
        ("[ipv4-addr:value = '1'] and [url:value = '2']", "24: `and` has no meaning here"),
        ("[ipv4-addr:value = \"1\"]", "19: texts stand in single quotes"),
        ("[ipv4-addr:value = '1]", "19: this text does not end"),
        ("[url:value = 'a\\b']", "15: a backslash stands only before `'` and `\\`"),
        ("[ipv4-addr.value = '1']", "10: `:` is expected here, not `.`"),
        ("[ipv4-addr:value LIKE 1]", "22: `LIKE` takes a text"),
        ("[ipv4-addr:value IS '1']", "17: an operator is expected here, not `IS`"),
        ("[file:size IN ()]", "15: a constant is expected here, not `)`"),
        ("[file:size IN (1, 'a')]", "18: the members of a set are all of one type"),
        ("[file:size = 1x]", "13: this is no number"),
        ("[file:size = 99999999999999999999]", "13: this is no number"),
        ("[file:ctime = t'yesterday']", "14: this is no time"),
        ("[file:name = h'4d5']", "13: these are no bytes in hexadecimal"),
        ("[file:name = b'TV']", "13: these are no bytes in Base64"),
        (
            "[url:value MATCHES '(?=a)']",
            "19: no regular expression: look-around, including look-ahead and look-behind, is not supported",
        ),
        ("[ipv4-addr:value ISSUBSET 'office']", "26: this is neither an address nor a network"),
        (
            "[ipv4-addr:value = '1' AND url:value = '2']",
            "27: no object is `ipv4-addr` and `url`: AND asks for one that is both",
        ),
        ("[network-traffic:protocols[-1] = 'a']", "27: this is no index"),
        ("[url:value = '1'] WITHIN 0 SECONDS", "25: this is no time to wait"),
        ("[url:value = '1'] REPEATS 0 TIMES", "26: a whole number above 0 is expected here"),
        (
            "[url:value = '1'] REPEATS 2 TIMES REPEATS 2 TIMES",
            "34: a second `REPEATS` for the same observation",
        ),
        (
            "[url:value = '1'] START t'2026-01-02T00:00:00Z' STOP t'2026-01-01T00:00:00Z'",
            "53: the end does not lie behind the start",
        ),
        ("[url:value = '1'] /* ", "18: this comment does not end"),
        (
            "([url:value = '1'] AND [url:value = '2']) REPEATS 65 TIMES",
            "0: what consists of several observations is repeated at most 64 times",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(text), expected, "{text}");
    }
}

#[test]
fn what_could_never_hold() {
    let cases = [
        ("[ipv4-adr:value = '1']", "1: unknown type `ipv4-adr` of cyber observable"),
        (
            "[indicator:name = '1']",
            "1: `indicator` is no cyber observable: patterns are about what was observed",
        ),
        ("[ipv4-addr:vlaue = '1']", "11: `ipv4-addr` has no property `vlaue`"),
        ("[network-traffic:dst_port = '443']", "26: `network-traffic:dst_port` is a number, not a text"),
        (
            "[network-traffic:dst_port LIKE '4%']",
            "26: `network-traffic:dst_port` is a number: this operator is for texts",
        ),
        ("[ipv4-addr:value = 5]", "17: `ipv4-addr:value` is a text, not a number"),
        (
            "[network-traffic:is_active = 'true']",
            "27: `network-traffic:is_active` is `true` or `false`, not a text",
        ),
        ("[file:ctime > 5]", "12: `file:ctime` is a time, not a number"),
        ("[network-traffic:protocols = 'tcp']", "27: `network-traffic:protocols` is a list"),
        ("[network-traffic:protocols.tcp = 'tcp']", "26: `network-traffic:protocols` is a list"),
        ("[url:value[0] = 'a']", "10: `url:value` is no list"),
        ("[url:value.host = 'a']", "10: `url:value` has no properties"),
        ("[file:hashes = 'a']", "13: `file:hashes` is no single value"),
        (
            "[network-traffic:src_ref.port = 1]",
            "24: `ipv4-addr` or `ipv6-addr` or `mac-addr` or `domain-name` has no property `port`",
        ),
        ("[domain-name:resolves_to_refs.value = 'a']", "29: `domain-name:resolves_to_refs` is a list"),
    ];
    for (text, expected) in cases {
        assert!(refused(text).starts_with(expected), "{text}: {}", refused(text));
    }
    for text in [
        "[x-any:thing[3].'b c' = true]",
        "[ipv4-addr:x_own > 3]",
        "[EXISTS file:hashes]",
        "[network-traffic:src_ref.resolves_to_refs[*].value = 'a']",
    ] {
        assert!(Pattern::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn limits() {
    let deep = format!("{}[url:value = 'a']{}", "(".repeat(40), ")".repeat(40));
    assert_eq!(refused(&deep), "33: brackets nest deeper than 32");
    let deep = format!("[{}url:value = 'a'{}]", "(".repeat(4000), ")".repeat(4000));
    assert!(refused(&deep).ends_with("brackets nest deeper than 32"));
    let many = format!("[{}]", ["url:value='a'"; 257].join(" OR "));
    assert!(refused(&many).ends_with("more than 256 comparisons"));
    assert!(refused(&"[".repeat(9000)).ends_with("at most 8192 are allowed"));
    let path = format!("[url:{} = 'a']", ["a"; 17].join("."));
    assert!(refused(&path).ends_with("an object path has at most 16 steps"));
    assert!(
        refused("[url:value MATCHES '(((a{100}){100}){100})']")
            .ends_with("exceeds size limit of 262144 bytes.")
    );
}

#[test]
fn observables_that_nobody_lists_are_one_observation() {
    let address = |id: u8, value: &str| json!({"type": "ipv4-addr", "id": format!("ipv4-addr--00000000-0000-5000-8000-0000000000{id:02}"), "value": value});
    let seen = observed(
        &json!([address(1, "192.0.2.1"), address(2, "192.0.2.2"), {"type": "identity", "id": "identity--1"}]),
    );
    let holds = |text: &str| Pattern::parse(text).unwrap().holds(&seen);
    assert!(holds("[ipv4-addr:value = '192.0.2.1']"));
    assert!(!holds("[ipv4-addr:value = '192.0.2.1'] AND [ipv4-addr:value = '192.0.2.2']"));
    assert!(
        !holds("[ipv4-addr:value = '192.0.2.1'] START t'2020-01-01T00:00:00Z' STOP t'2030-01-01T00:00:00Z'"),
        "no time is known"
    );
    assert!(!Pattern::parse("[url:value = 'a']").unwrap().holds(&Observed::of(b"no bundle")));
}

#[test]
fn literals_are_what_must_stand_there() {
    let literals = |text: &str| -> Vec<String> {
        let pattern = Pattern::parse(text).unwrap();
        pattern
            .literals()
            .unwrap_or_default()
            .iter()
            .map(|l| String::from_utf8_lossy(l).into_owned())
            .collect()
    };
    assert_eq!(literals("[ipv4-addr:value = '198.51.100.3']"), ["198.51.100.3"]);
    assert_eq!(literals("[ipv4-addr:value IN ('192.0.2.1', '192.0.2.2')]"), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(literals("[url:value = 'https://www.example.com/a']"), ["www.example.com"]);
    assert_eq!(literals("[url:value = 'a.example'] AND [network-traffic:dst_port = 1]"), ["a.example"]);
    assert_eq!(
        literals("[url:value = 'a.example'] OR [url:value = 'b.example'] WITHIN 5 SECONDS"),
        ["a.example", "b.example"]
    );
    for nothing in [
        "[url:value != 'a.example']",
        "[url:value NOT = 'a.example']",
        "[url:value = 'é']",
        "[artifact:payload_bin = 'abcdef']",
        "[url:value = 'a.example'] OR [url:value LIKE 'b%']",
        "[network-traffic:dst_port = 4711]",
    ] {
        assert!(literals(nothing).is_empty(), "{nothing}");
    }
}

/// What nobody finishes counts as fulfilled, and soon.
#[test]
fn what_takes_too_long_is_bounded() {
    let address = json!({"type": "ipv4-addr", "id": "ipv4-addr--00000000-0000-5000-8000-000000000001", "value": "192.0.2.1"});
    let data = |n: u32| {
        let time = format!("2026-01-01T{:02}:{:02}:00Z", n / 60, n % 60);
        json!({"type": "observed-data", "id": format!("observed-data--00000000-0000-4000-8000-{n:012}"), "first_observed": time, "last_observed": time,
            "number_observed": 1, "object_refs": ["ipv4-addr--00000000-0000-5000-8000-000000000001"]})
    };
    let objects: Vec<Value> = std::iter::once(address).chain((0..200).map(data)).collect();
    let seen = observed(&json!(objects));
    let begun = Instant::now();
    let one = "[ipv4-addr:value = '192.0.2.1']";
    // Seven a minute apart are there, not eight within three minutes.
    let hard = format!("({one} REPEATS 8 TIMES) AND ({one} REPEATS 200 TIMES)");
    assert!(Pattern::parse(&hard).unwrap().holds(&seen), "undecided");
    let close = format!("{one} REPEATS 4 TIMES WITHIN 120 SECONDS");
    assert!(!Pattern::parse(&close).unwrap().holds(&seen), "decided: a choice ends where it can't be near");
    assert!(begun.elapsed().as_secs() < 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// Whatever is written, it is read or refused with a place in it.
    #[test]
    fn nothing_panics(text in r"[\[\]()':.,=<>!*/ a-zA-Z0-9é\\-]{0,60}") {
        if let Err(error) = Pattern::parse(&text) {
            prop_assert!(text.is_char_boundary(error.offset.min(text.len())), "{} in {text}", error.offset);
        }
    }

    /// A part of a good pattern, and one with a piece cut out, too.
    #[test]
    fn nothing_panics_near_a_pattern(which in 0_usize..150, from in 0_usize..200, length in 0_usize..40) {
        let table = table();
        let cases = table["cases"].as_array().unwrap();
        let text: Vec<char> = cases[which % cases.len()]["pattern"].as_str().unwrap().chars().collect();
        let from = from.min(text.len());
        let cut: String = text.iter().take(from).chain(text.iter().skip(from + length)).collect();
        if let Ok(pattern) = Pattern::parse(&cut) {
            let seen = observed(&table["bundles"]["traffic"]);
            prop_assert!(!pattern.holds(&seen) || is_found_by_literals(&pattern, &table["bundles"]["traffic"].to_string()));
        }
    }
}
