//! Names beside the columns: their types, their values, and what is refused.
use super::*;
use crate::{Expression, Purpose, RunError};
use atio_schemas::{
    column::{NewCell, column},
    detection::Kind as DetectionKind,
};

fn detection() -> Detection {
    let mut d = Detection::new("e1".into(), DetectionKind::Threat, "default", "s");
    d.importance = Some(75.0);
    d.host = Some("web-1".into());
    d.cves = vec!["CVE-1".into(), "CVE-2".into(), "CVE-1".into()];
    d
}

fn scope() -> Scope {
    let text = |t: &str| Scalar::Text(t.into());
    let vars = [
        ("least", Constant::One(Scalar::Int(70))),
        ("share", Constant::One(Scalar::Float(0.5))),
        ("on", Constant::One(Scalar::Bool(true))),
        ("team", Constant::One(text("soc"))),
        ("hosts", Constant::List(vec![text("web-1"), text("web-2")])),
    ];
    let vars = vars.map(|(name, value)| (name.to_owned(), value));
    Scope {
        row: true,
        item: Some(ScalarType::Text),
        error: true,
        vars: Arc::new(vars.into()),
        ..Scope::default()
    }
}

fn when(source: &str) -> bool {
    let row: Row =
        [("owner", "alice"), ("due date", "soon")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let (d, item) = (detection(), Scalar::Text("CVE-2".into()));
    let seen = Seen {
        row: Some(&row),
        item: Some(&item),
        error: Some(Failure { code: "step_failed", message: "why" }),
        ..Seen::from(&d)
    };
    let expression =
        Expression::compile_in(source, Purpose::When, &scope()).unwrap_or_else(|e| panic!("{source}: {e:?}"));
    expression.test(seen).unwrap()
}

#[test]
fn names_have_values_and_types() {
    for yes in [
        ".row.owner == \"alice\"",
        ".row.\"due date\" == \"soon\" && .importance > 1",
        "contains(.row.owner, \"lic\")",
        "(.row.nothing || \"none\") == \"none\"",
        "!exists(.row.nothing) && exists(.row.owner)",
        ".item == \"CVE-2\" && includes(.cves, .item)",
        "upcase(.item) == .item",
        ".error.code == \"step_failed\" && .error.message == \"why\"",
        ".importance >= .vars.least",
        ".importance * .vars.share < 40",
        ".vars.on && .vars.team == \"soc\"",
        "includes(.vars.hosts, .host)",
        ".vars.hosts[0] == .host",
    ] {
        assert!(when(yes), "{yes}");
    }
    for no in [".row.nothing == \"x\"", "contains(.row.nothing, \"x\")", ".importance < .vars.least"] {
        assert!(!when(no), "{no}");
    }
}

#[test]
fn what_is_not_given_is_unknown() {
    let expression =
        Expression::compile_in(".item == \"x\" || .kind == \"threat\"", Purpose::When, &scope()).unwrap();
    assert_eq!(expression.test(&detection()), Ok(true));
}

#[test]
fn keys_are_texts_or_whole_numbers() {
    let key = |source: &str| Expression::compile(source, Purpose::Key).unwrap().key(&detection());
    assert_eq!(key(".host"), Ok(Some("web-1".into())));
    assert_eq!(key("length(.cves)"), Ok(Some("3".into())));
    assert_eq!(key(".process"), Ok(None));
    for (source, part) in
        [(".cves", "not a text or a whole number"), (".kev", "boolean"), (".importance", "float")]
    {
        let error = Expression::compile(source, Purpose::Key).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn lists_have_elements_of_one_type() {
    let items = |source: &str| {
        let expression =
            Expression::compile(source, Purpose::Items).unwrap_or_else(|e| panic!("{source} {e:?}"));
        (expression.element().unwrap(), expression.items(&detection()))
    };
    let texts = |all: &[&str]| Ok(all.iter().map(|t| Scalar::Text((*t).to_owned())).collect::<Vec<_>>());
    assert_eq!(items(".cves"), (ScalarType::Text, texts(&["CVE-1", "CVE-2", "CVE-1"])));
    assert_eq!(items("unique(.cves)").1, texts(&["CVE-1", "CVE-2"]));
    assert_eq!(items("split(.host, \"-\")").1, texts(&["web", "1"]));
    assert_eq!(items("[1, 2]"), (ScalarType::Int, Ok(vec![Scalar::Int(1), Scalar::Int(2)])));
    assert_eq!(items("[.src.port]").1, Err(RunError::Type), "an element that is unknown is none");
    assert_eq!(items("[downcase(.process)]").1, Ok(vec![]), "what can't be computed is unknown");
    assert_eq!(items("split(.process, \"-\")").1, Ok(vec![]), "an unknown list has no elements");
    for source in [".host", "[1, \"a\"]", "[[1]]", ".importance"] {
        assert!(Expression::compile(source, Purpose::Items).is_err(), "{source}");
    }
}

#[test]
fn variables_are_told() {
    let expression =
        Expression::compile_in(".importance >= .vars.least && .vars.on", Purpose::When, &scope()).unwrap();
    assert_eq!(expression.variables(), ["least", "on"]);
    assert_eq!(expression.columns().len(), 1);
}

/// What is refused, where, and what to write instead.
#[test]
fn mistakes() {
    let none = Scope::default();
    let all = scope();
    for (scope, source, offset, message, help) in [
        (&none, ".row.a == \"x\"", 0, "`.row` is not known here", "`set` of an `enrich`"),
        (&none, ".kev && .item == \"x\"", 8, "`.item` is not known here", "`do` of an `each`"),
        (&none, ".error.code == \"x\"", 0, "`.error` is not known here", "`on_error`"),
        (&none, ".vars.a == \"x\"", 0, "unknown variable `a`", "declare it"),
        (&all, ".vars.lest == 1", 0, "unknown variable `lest`", "`.vars.least`"),
        (&all, ".vars == 1", 0, "the variables as a whole", "`.vars.least`"),
        (&all, ".row == 1", 0, "a row as a whole", "`.row.owner`"),
        (&all, ".error.text == \"x\"", 0, "a code and a message", "`.error.code`"),
        (&all, ".row.owner >= 1", 0, "the types do not fit", "compare like with like"),
        (&all, ".vars.team >= 1", 0, "the types do not fit", "compare like with like"),
        (&all, ".item - 2 == 4", 0, "the types do not fit", "compare like with like"),
    ] {
        let error = Expression::compile_in(source, Purpose::When, scope).unwrap_err();
        assert_eq!(error.offset(), offset, "{source}");
        assert!(error.to_string().contains(message), "{source}: {error}");
        assert!(error.suggestion().unwrap_or_default().contains(help), "{source}: {error:?}");
    }
    // Read only, as columns are.
    assert!(Expression::compile_in(".item = \"x\"; true", Purpose::When, &all).is_err());
    let set = Purpose::Set(column("host").unwrap());
    let value = Expression::compile_in(".vars.team", set, &all).unwrap().value(&detection());
    assert_eq!(value, Ok(NewCell::Text("soc".into())));
}
