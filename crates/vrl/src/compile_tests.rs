//! Expressions: what compiles, what it yields, and each mistake with its message.
use super::*;
use atio_schemas::{
    Detection, Timestamp,
    column::column,
    detection::{Endpoint, Kind as DetectionKind},
};

fn detection() -> Detection {
    let mut d = Detection::new("e1".into(), DetectionKind::Threat, "default", "suricata");
    d.severity_score = Some(75.0);
    d.confidence = Some(85);
    d.host = Some("Web-1".into());
    d.src = Endpoint { ip: Some("198.51.100.3".into()), port: Some(51514) };
    d.cves = vec!["CVE-2021-44228".into(), "CVE-2014-0160".into()];
    d.kev = Some(true);
    d.occurred_at = Some(Timestamp::parse("2026-03-01T09:15:01.123456Z").unwrap());
    d
}

fn when(source: &str) -> bool {
    let expression = Expression::compile(source, Purpose::When).unwrap_or_else(|e| panic!("{source}: {e:?}"));
    expression.test(&detection()).unwrap_or_else(|e| panic!("{source}: {e}"))
}

fn set(name: &str, source: &str) -> NewCell {
    let expression = Expression::compile(source, Purpose::Set(column(name).unwrap()))
        .unwrap_or_else(|e| panic!("{source}: {e:?}"));
    expression.value(&detection()).unwrap()
}

#[test]
fn known_columns() {
    for yes in [
        ".severity_score >= 70",
        ".kind == \"threat\"",
        ".kev",
        "!(.confidence < 50)",
        "contains(.host, \"web\", case_sensitive: false)",
        "contains(downcase(.host), \"web\")",
        "ip_cidr_contains(\"198.51.100.0/24\", .src.ip) ?? false",
        "ip_cidr_contains!(\"198.51.100.0/24\", .src.ip)",
        "includes(.cves, \"CVE-2021-44228\")",
        "length(.cves) == 2 && .src.port > 1024",
        "match(.host, r'^Web-\\d+$')",
        "length(filter(.cves) -> |_i, cve| { starts_with(cve, \"CVE-2021\") }) > 0",
        ".occurred_at > t'2026-03-01T00:00:00Z'",
        "x = .severity_score + 10; x > 80",
        ".cves[0] == \"CVE-2021-44228\"",
        "exists(.host) && !exists(.importance)",
        "if .kev { .confidence > 80 } else { false }",
    ] {
        assert!(when(yes), "{yes}");
    }
}

/// The rule of the crate's head: what meets an unknown column is no, and no more than that.
#[test]
fn unknown_columns() {
    for yes in [
        ".importance >= 70 || .severity_score >= 70",
        ".severity_score >= 70 || .importance >= 70",
        "!(.importance >= 70)",
        "(.importance || 50) > 40",
        ".importance == null",
        "!(.importance == 5)",
        ".kev != null && .host != null",
        ".host != \"x\"",
        "(.process || \"none\") != \"x\"",
        // What is unknown is not this value.
        ".process != \"x\"",
        ".importance != 70",
        "is_null(.importance)",
        "!contains(downcase(.command_line), \"x\")",
        "(.command_line || \"none\") == \"none\"",
        "(upcase(.command_line) || \"none\") == \"none\"",
        "if .fix_available { false } else { true }",
        "!(.importance >= 70 && .kev)",
        ".kev || .fix_available",
        "x = .importance + 10; x > 80 || .kev",
        "x = if .fix_available { 1 } else { 2 }; x == 2",
        "if .kev { y = .importance * 2; y > 1 || .kev } else { false }",
    ] {
        assert!(when(yes), "{yes}");
    }
    for no in [
        ".importance >= 70",
        ".importance < 70",
        ".importance != null",
        ".importance == 70",
        ".importance + 10 > 5",
        ".fix_available",
        "contains(.command_line, \"x\")",
        "x = .importance + 10; x > 80",
        "match(.process, r'x')",
        "starts_with!(.process, \"x\")",
        ".kev && .importance > 1",
        ".cves[7] == \"CVE-2021-44228\"",
    ] {
        assert!(!when(no), "{no}");
    }
}

#[test]
fn new_values() {
    assert_eq!(set("policies", "[\"isolate-host\"]"), NewCell::Texts(vec!["isolate-host".into()]));
    assert_eq!(set("policies", "push(.policies, \"x\")"), NewCell::Texts(vec!["x".into()]));
    assert_eq!(set("host", "downcase(.host)"), NewCell::Text("web-1".into()));
    assert_eq!(set("process", "downcase(.process)"), NewCell::Null);
    assert_eq!(set("importance", ".severity_score + 5"), NewCell::Float(80.0));
    assert_eq!(set("importance", "42"), NewCell::Int(42));
    assert_eq!(set("importance", ".importance || 10.0"), NewCell::Float(10.0));
    assert_eq!(set("kev", "false"), NewCell::Bool(false));
    assert_eq!(set("first_seen", ".occurred_at"), NewCell::Time(detection().occurred_at.unwrap()));
}

/// Code, offset, message and suggestion of typical mistakes; a change here is a change of what users read.
#[test]
fn mistakes() {
    let cases = [
        ".importnce >= 70",
        ".src == \"10.0.0.1\"",
        ".src.adress == \"x\"",
        ". == 1",
        "%meta == 1",
        ".severity_raw >= 70",
        ".kind == \"thread\"",
        ".host",
        ".importance = 5; true",
        "now() > .occurred_at",
        "get_env_var!(\"HOME\") == \"x\"",
        ".host ?? \"x\" == \"x\"",
        "contains(.severity_score, \"7\")",
        ".importance >= ",
        "upcase(.host",
        "del(.host) == \"x\"",
        "contans(.host, \"x\")",
        "if .kev { abort } else { true }",
        "1 < .importance < 5",
        "",
        ".bundle == \"x\"",
    ];
    let mut text = String::new();
    for source in cases {
        let Err(error) = Expression::compile(source, Purpose::When) else { panic!("{source} is let in") };
        text.push_str(&format!("{source}\n  {} @{}: {error}\n", error.code(), error.offset()));
        text.push_str(&format!("  -> {}\n", error.suggestion().unwrap_or("-")));
    }
    for (name, source) in [("importance", "\"high\""), ("policies", "\"one\""), ("kev", ".importance")] {
        let compiled = Expression::compile(source, Purpose::Set(column(name).unwrap()));
        let Err(error) = compiled else { panic!("{source} is let in") };
        text.push_str(&format!("{name}: {source}\n  {} @{}: {error}\n", error.code(), error.offset()));
    }
    assert_eq!(text, include_str!("mistakes.txt"), "\n{text}");
}

#[test]
fn limits() {
    let too_long = format!(".host == \"{}\"", "x".repeat(crate::MAX_SOURCE));
    assert_eq!(
        Expression::compile(&too_long, Purpose::When).unwrap_err(),
        CompileError::TooLong { bytes: too_long.len() }
    );
    for deep in [
        format!("{}true{}", "(".repeat(crate::MAX_DEPTH + 1), ")".repeat(crate::MAX_DEPTH + 1)),
        format!("{}true", "!".repeat(crate::MAX_OPERATORS + 1)),
        vec![".kev"; crate::MAX_OPERATORS].join(" && "),
    ] {
        let error = Expression::compile(&deep, Purpose::When).unwrap_err();
        assert!(matches!(error, CompileError::TooComplex { .. }), "{error:?}");
    }
}

/// The largest that is let in does not overflow a thread's usual stack.
#[test]
fn what_is_let_in_fits_the_stack() {
    let nested = format!("{}.kev{}", "(".repeat(crate::MAX_DEPTH), ")".repeat(crate::MAX_DEPTH));
    let not = format!("{}.kev", "!".repeat(crate::MAX_OPERATORS - 8));
    let chain = vec![".kev"; crate::MAX_OPERATORS / 2].join(" || ");
    let right = format!("{}.kev{}", "(.kev && ".repeat(crate::MAX_DEPTH), ")".repeat(crate::MAX_DEPTH));
    let mut choice = "if .kev { true }".to_owned();
    for _ in 0..crate::MAX_OPERATORS / 4 - 2 {
        choice.push_str(" else if .kev { true }");
    }
    choice.push_str(" else { false }");
    for source in [nested, not, chain, right, choice] {
        let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        let done = thread.spawn(move || when(&source)).unwrap().join();
        assert!(done.is_ok());
    }
}

#[test]
fn fuel_ends() {
    let mut d = detection();
    d.cves = (0..2000).map(|i| format!("CVE-2021-{i}")).collect();
    let source = "length(filter(.cves) -> |_a, x| { length(filter(.cves) -> |_b, y| { x == y }) > 1 }) > 0";
    let expression = Expression::compile(source, Purpose::When).unwrap();
    assert_eq!(expression.test(&d), Err(RunError::OutOfFuel));
}

#[test]
fn only_touched_columns_are_named() {
    let expression = Expression::compile(".importance >= 70 && exists(.src.ip)", Purpose::When).unwrap();
    let names: Vec<&str> =
        expression.columns().into_iter().map(|i| atio_schemas::column::COLUMNS[i].name).collect();
    assert_eq!(names, ["importance", "src.ip"]);
}

/// The compiler believes every column known; a run on a detection that knows nothing must still never panic, whatever is called.
#[test]
fn nothing_known_never_panics() {
    let empty = Detection::new(String::new(), DetectionKind::Log, "", "");
    let arguments = [
        ".host",
        ".importance",
        ".confidence",
        ".kev",
        ".occurred_at",
        ".users",
        ".cves[0]",
        "\"x\"",
        "3",
        "r'x'",
    ];
    let mut compiled = 0;
    for function in crate::functions::ALLOWED {
        let mut calls = vec![];
        for a in arguments {
            calls.push(format!("{function}({a})"));
            for b in arguments {
                calls.push(format!("{function}({a}, {b})"));
                calls.push(format!("{function}({a}, {b}, .host)"));
            }
        }
        for call in calls {
            for source in
                [format!("x = {call}; x == 1"), format!("x = {call} ?? null; x == 1"), format!("{call} == 1")]
            {
                if let Ok(expression) = Expression::compile(&source, Purpose::When) {
                    compiled += 1;
                    assert!(expression.test(&empty).is_ok(), "{source}");
                    assert!(expression.test(&detection()).is_ok(), "{source}");
                }
            }
        }
    }
    for a in arguments {
        for b in arguments {
            for operator in ["==", "!=", "<", ">=", "+", "-", "*", "/", "||", "&&", "|"] {
                let source = format!("x = ({a} {operator} {b}); x == 1");
                if let Ok(expression) = Expression::compile(&source, Purpose::When) {
                    compiled += 1;
                    assert!(expression.test(&empty).is_ok(), "{source}");
                }
            }
        }
    }
    assert!(compiled > 1000, "only {compiled} expressions compiled");
}

/// What a person chose stands beside the columns: unknown where nothing was, and never what can't be chosen.
#[test]
fn what_stands_beside_the_columns() {
    let scope = Scope { choices: vec!["isolate".into(), "monitor".into()], ..Scope::default() };
    let compile = |source: &str| Expression::compile_in(source, Purpose::When, &scope);
    let isolate = compile(r#".choice == "isolate" && .confidence > 10"#).unwrap();
    let mut detection = Detection::new("e".into(), DetectionKind::Threat, "t", "s");
    detection.confidence = Some(80);
    let seen = |choice| Seen { choice, ..Seen::from(&detection) };
    for (said, holds) in [(Some("isolate"), true), (Some("monitor"), false), (None, false)] {
        assert_eq!(isolate.test(seen(said)), Ok(holds), "{said:?}");
    }
    assert_eq!(isolate.test(&detection), Ok(false));
    assert_eq!(isolate.columns(), [atio_schemas::column::position("confidence").unwrap()]);
    let named = Expression::compile_in(
        r#"push(.labels, "chose-" + .choice)"#,
        Purpose::Set(column("labels").unwrap()),
        &scope,
    );
    let labels = named.unwrap().value(seen(Some("monitor"))).unwrap();
    assert_eq!(labels, NewCell::Texts(vec!["chose-monitor".into()]));

    let error = compile(r#"exists(.choice) && "isolat" != .choice"#).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.offset()), ("`choice` is never `isolat`", 19));
    assert_eq!(error.suggestion(), Some("one of isolate, monitor"));
    assert!(matches!(compile(".choice > 3").unwrap_err(), CompileError::Refused { .. }));
    assert!(matches!(compile(".chioce == \"x\"").unwrap_err(), CompileError::UnknownColumn { .. }));
    for source in [r#".choice == "isolate""#, r#".answer == "acknowledged""#] {
        let without = Expression::compile(source, Purpose::When).unwrap_err();
        assert!(without.to_string().ends_with("is not known here"), "{without}");
    }
}
