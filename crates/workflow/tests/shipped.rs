//! The workflows that come with the program compile against the sinks that they are written for, and pass their own tests.
use atio_schemas::detection::Tlp;
use atio_topics::Audience;
use atio_workflow::{Known, SinkFacts, Site, compile, testing};

fn known() -> Known {
    let sink = |format: &str, audience, clearance| SinkFacts { format: format.into(), audience, clearance };
    Known {
        sinks: [
            ("siem".to_owned(), sink("ecs", Audience::Internal, Tlp::Amber)),
            ("report".to_owned(), sink("report", Audience::Internal, Tlp::Red)),
            ("share".to_owned(), sink("stix", Audience::External, Tlp::Amber)),
        ]
        .into(),
    }
}

#[test]
fn shipped_workflows_pass_their_tests() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../topics/workflows");
    let home = ["10.0.0.0/8".parse().expect("a network")];
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of shipped workflows") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let name = path.file_stem().and_then(|n| n.to_str()).expect("a name").to_owned();
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let definition = compile(&name, &text, &known()).unwrap_or_else(|problems| {
            panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        });
        assert_eq!(definition.name, name);
        assert!(definition.tests.len() >= 5, "{name} has too few tests");
        let no_files = |file: &str| Err(format!("{file}: shipped workflows are tested by columns"));
        for verdict in testing::run(&definition, Site { version: 1, home_networks: &home }, &no_files) {
            assert_eq!(verdict.failure, None, "{} {:?}", verdict.place, verdict.name);
            seen += 1;
        }
    }
    assert!(seen >= 14, "only {seen} tests ran");
}
