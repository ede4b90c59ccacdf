//! Declarations as users write them, right and wrong.
use atio_schemas::{Code, detection::Tlp};
use atio_topics::{
    Audience, Auth, Class, Declarations, From, Problem, Secret, TableFormat, Target,
    load::{Declaration, File, parse},
};
use std::time::Duration;

fn head(kind: &str, rest: &str) -> String {
    format!("apiVersion: atio/v1\nkind: {kind}\nmetadata: {{name: n}}\n{rest}\n")
}

fn good(kind: &str, rest: &str) -> Declaration {
    parse("f.yaml", &head(kind, rest)).unwrap_or_else(|p| panic!("{p}"))
}

fn bad(kind: &str, rest: &str) -> Problem {
    parse("f.yaml", &head(kind, rest)).expect_err("refused")
}

#[test]
fn sources_of_every_transport() {
    let Declaration::Source(s) = good("Source", "from: {http: {}}") else { panic!("a source") };
    assert_eq!((s.from, s.tlp, s.tenant.as_str(), s.format), (From::Http, Tlp::Amber, "default", None));
    assert_eq!(s.class, Class::Normal);
    let Declaration::Source(s) = good(
        "Source",
        "format: auto\ntlp: amber+strict\nzone: ot\nclass: critical\nfrom: {tail: {paths: [/var/log/eve.json]}}",
    ) else {
        panic!("a source")
    };
    assert_eq!(s.class, Class::Critical);
    assert_eq!((s.from, s.tlp), (From::Tail { paths: vec!["/var/log/eve.json".into()] }, Tlp::AmberStrict));
    let Declaration::Source(s) = good("Source", "from: {directory: {path: /in, glob: '*.xml'}}") else {
        panic!("a source")
    };
    assert_eq!(s.topic("atio."), "atio.raw.n");
    let Declaration::Source(s) =
        good("Source", "from: {topic: {name: Their.Topic, start: end, payload: naked}}")
    else {
        panic!("a source")
    };
    assert_eq!(
        (s.topic("atio."), s.dead_letters("atio.")),
        ("Their.Topic".to_owned(), "atio.raw.n.dlq".to_owned())
    );
}

#[test]
fn a_wrong_word_is_refused_with_its_place_and_the_right_one() {
    let p = bad("Source", "formt: suricata\nfrom: {http: {}}");
    assert_eq!(
        (p.place.line, p.message.as_str(), p.help.as_deref()),
        (4, "unknown field `formt`", Some("did you mean `format`?"))
    );
    let p = bad("Source", "zone: itt\nfrom: {http: {}}");
    assert_eq!((p.message.as_str(), p.help.as_deref()), ("unknown value `itt`", Some("did you mean `it`?")));
    let p = bad("Source", "class: criticl\nfrom: {http: {}}");
    assert_eq!((p.place.line, p.help.as_deref()), (4, Some("did you mean `critical`?")), "{p}");
    let p = bad("Source", "from: {htpt: {}}");
    assert_eq!(p.help.as_deref(), Some("did you mean `http`?"), "{p}");
    let p = bad("Source", "from: {http: {}, tail: {paths: [a]}}");
    assert_eq!(p.code, Code::InvalidDefinition, "{p}");
    let p = bad("Source", "");
    assert_eq!(p.message, "field `from` is missing");
    let p = bad("Source", "from: {tail: {paths: []}}");
    assert_eq!((p.place.line, p.place.column > 1), (4, true), "{p}");
    assert!(bad("Source", "tenant: A\nfrom: {http: {}}").to_string().starts_with("f.yaml:4:"));
    let p = bad("Sorce", "from: {http: {}}");
    assert_eq!(p.help.as_deref(), Some("did you mean `Source`?"));
    let p =
        parse("f.yaml", "apiVersion: atio/v1\nkind: Source\nmetadata: {name: Bad Name}\nfrom: {http: {}}")
            .expect_err("refused");
    assert_eq!(p.place.line, 3);
    let p = parse("f.yaml", "apiVersion: v2\nkind: Source\nmetadata: {name: n}\nfrom: {http: {}}")
        .expect_err("refused");
    assert_eq!(p.place.line, 1);
    let p =
        parse("f.yaml", "apiVersion: atio/v1\nkind: Source\nmetadata: {name: n, nmae: m}\nfrom: {http: {}}")
            .expect_err("refused");
    assert_eq!(p.message, "unknown field `nmae`");
    let p = bad("Source", "format: a\nformat: b\nfrom: {http: {}}");
    assert_eq!(p.code, Code::InvalidDefinition, "{p}");
}

#[test]
fn what_comes_later_is_refused_as_such() {
    let later = [
        bad("Mapping", ""),
        bad("Source", "from: {syslog: {udp: 514}}"),
        bad("Sink", "type: splunk\nurl: https://h"),
        bad("Sink", "type: file\npath: a\nformat: ocsf"),
        bad("Table", "file: a\nformat: mmdb\nkey: id"),
    ];
    for problem in later {
        assert_eq!(problem.code, Code::NotYetSupported, "{problem}");
    }
}

#[test]
fn sinks_of_every_type() {
    let Declaration::Sink(s) = good(
        "Sink",
        "type: opensearch\nurl: 'https://h:9200'\nindex: atio-detections\nformat: ecs\naudience: internal\nclearance: amber\nrole: siem\nauth: {basic: {user: u, password: {env: P}}}",
    ) else {
        panic!("a sink")
    };
    let Target::OpenSearch { http, index } = &s.target else { panic!("opensearch") };
    assert_eq!(http.auth, Some(Auth::Basic { user: "u".into(), password: Secret::Env("P".into()) }));
    assert_eq!(
        (index.as_str(), http.timeout, http.allow_internal),
        ("atio-detections", Duration::from_secs(10), false)
    );
    let Declaration::Sink(s) = good(
        "Sink",
        "type: webhook\nurl: http://127.0.0.1:1/x\nsecret: {file: /run/s}\nallow_internal: true\naudience: external",
    ) else {
        panic!("a sink")
    };
    assert_eq!((s.audience, s.clearance, s.format.as_str()), (Audience::External, Tlp::Green, "stix"));
    good("Sink", "type: file\npath: out.ndjson");
    good("Sink", "type: kafka\ntopic: soc.alerts\nformat: report");
}

#[test]
fn a_field_of_another_type_of_sink_is_no_mere_surplus() {
    let p = bad("Sink", "type: file\npath: a\nindex: b");
    assert_eq!((p.message.as_str(), p.place.line), ("a sink of type file has no `index`", 6));
    assert_eq!(bad("Sink", "type: webhook\nurl: https://h").message, "this type of sink needs `secret`");
    assert_eq!(bad("Sink", "type: opensearch\nurl: https://h\nindex: Upper").place.line, 6);
    assert_eq!(bad("Sink", "type: opensearch\nurl: ftp://h\nindex: a").place.line, 5);
    assert_eq!(bad("Sink", "type: opensearch\nurl: https://h\nindex: a\ntimeout: 10m").place.line, 7);
}

#[test]
fn no_error_and_no_debug_text_shows_a_secret() {
    for secret in
        ["hunter2", "12345", "true", "[hunter2]", "{env: A, file: hunter2}", "{value: hunter2}", "'hunter2'"]
    {
        let p = bad("Sink", &format!("type: webhook\nurl: https://h\nsecret: {secret}"));
        let shown = format!("{p} {p:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("12345"), "{shown}");
    }
    let p = bad("Sink", "type: webhook\nurl: https://u:hunter2@h/\nsecret: {env: A}");
    assert!(!format!("{p:?}").contains("hunter2"), "{p:?}");
    assert!(!format!("{:?}", Secret::Env("NAME".into())).contains("NAME"));
}

#[test]
fn tables_of_one_file_and_of_several() {
    let Declaration::Table(t) = good("Table", "file: assets.csv\nformat: csv\nkey: id\nrefresh: 30s") else {
        panic!("a table")
    };
    assert_eq!((t.files.len(), t.files[0].format, t.refresh), (1, TableFormat::Csv, Duration::from_secs(30)));
    let Declaration::Table(t) =
        good("Table", "files: [{file: a, format: kev}, {file: b, format: epss}]\nkey: cve")
    else {
        panic!("a table")
    };
    assert_eq!(t.files.len(), 2);
    bad("Table", "files: []\nkey: cve");
    bad("Table", "file: a\nformat: csv\nfiles: [{file: a, format: kev}]\nkey: cve");
    assert_eq!(bad("Table", "file: a\nformat: csv\nkey: id\nrefresh: 0s").place.line, 7);
}

#[test]
fn hostile_files_are_refused_in_bounds() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]";
    let long = "#".repeat(2 * 1024 * 1024);
    for text in ["", "\0", "kind: [", "- a\n- b", &deep, &head("Source", bomb), &long, "a: b\n---\nc: d"] {
        let p = parse("f.yaml", text).expect_err("refused");
        assert!(p.message.len() < 400, "{p}");
    }
    let many = format!("a: [{}]", "1,".repeat(60_000));
    for (text, told) in [
        (head("Source", bomb), "f.yaml:"),
        (head("Source", &many), "f.yaml:4:"),
        (
            head("Source", "from: {http: {}}\nfrom: {http: {}}"),
            "f.yaml:5:1: `from` stands here twice (leave one out",
        ),
        (head("Source", "from: *a"), "f.yaml:4:7: an alias (`*`) of an anchor that is not there (write out"),
        (
            head("Source", "from: {http: {}}\n---\na: b"),
            "f.yaml:5:1: a second document: one declaration a file (put",
        ),
        (
            head("Sink", "type: webhook\nurl: https://h\nsecret: x"),
            "f.yaml:6:9: a mapping is expected here (`{name: value}`; a secret is a reference",
        ),
    ] {
        let p = parse("f.yaml", &text).expect_err("refused");
        assert!(p.to_string().starts_with(told) && p.help.is_some(), "{p}");
    }
}

fn file(name: &str, text: String) -> File {
    File { name: name.into(), text }
}

#[test]
fn the_users_declaration_wins_and_twice_is_a_mistake() {
    let own = "apiVersion: atio/v1\nkind: Source\nmetadata: {name: suricata}\ntenant: mine\nfrom: {http: {}}"
        .to_owned();
    let all = Declarations::load(&[file("d/sources/suricata.yaml", own.clone())]).expect("good");
    assert_eq!(all.sources["suricata"].tenant, "mine");
    assert!(all.sources.contains_key("openvas") && all.tables.contains_key("assets"));
    let twice = [
        file("d/sources/a.yaml", own.clone()),
        file("d/sources/b.yaml", own.clone()),
        file("d/sources/c.yaml", "kind: x".into()),
    ];
    let problems = Declarations::load(&twice).expect_err("refused");
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].to_string().starts_with("d/sources/b.yaml:3:"), "{}", problems[0]);
    let problems = Declarations::load(&[file("d/sinks/suricata.yaml", own)]).expect_err("refused");
    assert!(problems[0].message.contains("lies in `sources/`"), "{}", problems[0]);
}

#[test]
fn a_folder_of_declarations() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(atio_topics::load::read_dir(dir.path()).expect("absent folders are empty"), vec![]);
    std::fs::create_dir(dir.path().join("sources")).expect("a folder");
    std::fs::write(dir.path().join("sources/b.yml"), "x").expect("written");
    std::fs::write(dir.path().join("sources/a.yaml"), "y").expect("written");
    std::fs::write(dir.path().join("sources/README.md"), "z").expect("written");
    let files = atio_topics::load::read_dir(dir.path()).expect("read");
    assert_eq!(files.iter().map(|f| f.text.as_str()).collect::<Vec<_>>(), ["y", "x"]);
    std::fs::write(dir.path().join("sources/c.yaml"), [0xff, 0xfe]).expect("written");
    let error = atio_topics::load::read_dir(dir.path()).expect_err("no UTF-8").to_string();
    assert!(error.contains("c.yaml"), "{error}");
}
