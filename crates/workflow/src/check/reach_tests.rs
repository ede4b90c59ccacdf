//! "Never" is said where it is certain, and only there.
use super::*;
use proptest::prelude::*;

fn equal(name: &str, texts: &[&str]) -> Predicate {
    let test = Test::Texts(texts.iter().map(|t| Box::from(*t)).collect());
    Predicate { column: column::position(name).unwrap(), test }
}

fn between(name: &str, low: i64, high: i64) -> Predicate {
    let test = Test::IntRange { low: Some((low, true)), high: Some((high, false)) };
    Predicate { column: column::position(name).unwrap(), test }
}

fn after(trigger: &[Predicate], conditions: &[&str]) -> Result<(), String> {
    let mut reach = Reach::new(trigger, Trigger::Detection);
    conditions.iter().try_for_each(|c| reach.narrow(c))
}

#[test]
fn never() {
    let threat = [equal("kind", &["threat"])];
    for (trigger, conditions) in [
        (&threat[..], &[".kind == \"log\""][..]),
        (&threat, &[".importance > 5 && .kind != \"threat\""]),
        (&threat, &["false"]),
        (&[], &[".kev", "!.kev"]),
        (&[], &[".importance > 5", ".importance < 5"]),
        (&[], &[".importance > 5 && .importance <= 5"]),
        (&[between("confidence", 60, 80)], &[".confidence >= 80"]),
        (&[equal("rule.id", &["1:1", "1:2"])], &["starts_with(.rule.id, \"2:\")"]),
        (&[], &[".status == \"new\" || .status == \"reopened\"", ".status == \"fixed\""]),
        (&[], &[".disposition == \"blocked\"", "is_null(.disposition)"]),
    ] {
        assert!(after(trigger, conditions).is_err(), "{conditions:?}");
    }
}

#[test]
fn perhaps() {
    let threat = [equal("kind", &["threat", "log"])];
    for (trigger, conditions) in [
        (&threat[..], &[".kind == \"log\""][..]),
        (&threat, &[".kind == \"log\" || .kind == \"vulnerability\""]),
        (&[], &["!(.importance >= 70)", ".kev || .importance >= 5"]),
        (&[], &[".importance >= 5", ".importance <= 5"]),
        (&[between("confidence", 60, 80)], &[".confidence >= 79"]),
        (&[], &[".host == \"a\"", ".host != \"a\""]),
        (&[], &["x = .kev && .fix_available; !x"]),
        (&[], &["contains(.host, \" && false && \")"]),
        (&[], &["if .kev { true } else { .importance > 3 }"]),
    ] {
        assert_eq!(after(trigger, conditions), Ok(()), "{conditions:?}");
    }
}

#[test]
fn what_was_set_is_not_known() {
    let mut reach =
        Reach::new(&[equal("kind", &["threat"]), between("confidence", 60, 80)], Trigger::Detection);
    reach.forget("confidence");
    assert_eq!(reach.narrow(".confidence < 5"), Ok(()));
    reach.sanitized();
    assert!(reach.narrow(".kind == \"log\"").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Where an event fulfils all conditions, nothing is refused.
    #[test]
    fn whatever_gets_past_is_not_refused(
        kev in any::<Option<bool>>(), confidence in proptest::option::of(0_i32..6), kind in proptest::sample::select(Kind::ALL),
        conditions in proptest::collection::vec(proptest::collection::vec(prop_oneof![
            Just(".kev".to_owned()), Just("!.kev".to_owned()), Just(".kev == false".to_owned()), Just("exists(.kev)".to_owned()),
            (0..6, proptest::sample::select(vec![">", ">=", "<", "<=", "==", "!="])).prop_map(|(n, op)| format!(".confidence {op} {n}")),
            (0..6).prop_map(|n| format!("!(.confidence < {n})")),
            proptest::sample::select(Kind::NAMES.to_vec()).prop_map(|k| format!(".kind == \"{k}\"")),
            proptest::sample::select(Kind::NAMES.to_vec()).prop_map(|k| format!("(.kind != \"{k}\" || .kev)")),
        ], 1..4), 1..4),
    ) {
        let mut event = Detection::new("e".into(), kind, "default", "a");
        event.kev = kev;
        event.confidence = confidence;
        let whole: Vec<String> = conditions.iter().map(|parts| parts.join(" && ")).collect();
        let gets_past = whole.iter().all(|text| Expression::compile(text, Purpose::When).unwrap().test(&event).unwrap());
        let refused = after(&[], &whole.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert!(!gets_past || refused.is_ok(), "{:?} {:?}", whole, refused);
        // What the other way of an `if` is judged by.
        for text in &whole {
            let yes = |text: &str| Expression::compile(text, Purpose::When).unwrap().test(&event).unwrap();
            prop_assert_eq!(yes(text), !yes(&format!("!({text})")), "{}", text);
        }
    }
}
