//! The workflows that come with the program, and the one in the documentation, compile against the sinks that they are written for and pass
//! their own tests.
use atio_topics::{
    load::{Declaration, parse},
    shipped,
};
use atio_workflow::{Known, SinkFacts, Site, compile, testing};

/// The sinks that come with the program, and a table that the documentation looks into.
#[allow(clippy::panic)] // a helper of tests: the lint lets only test functions pass
fn known() -> Known {
    let mut known = Known { tables: ["owners".to_owned()].into(), ..Known::default() };
    for (name, text) in shipped::SINKS {
        match parse(name, text) {
            Ok(Declaration::Sink(sink)) => known.sinks.insert((*name).to_owned(), SinkFacts::from(&sink)),
            other => panic!("{name} is no sink: {other:?}"),
        };
    }
    known
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

#[allow(clippy::expect_used)] // a helper of tests: the lint lets only test functions pass
fn documentation() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/workflows.md");
    std::fs::read_to_string(file).expect("docs/workflows.md")
}

/// The examples of the documentation, in its order.
#[allow(clippy::expect_used)] // a helper of tests: the lint lets only test functions pass
fn examples(text: &str) -> Vec<&str> {
    let rest = text.split("```yaml\n").skip(1);
    rest.map(|t| t.split("```").next().expect("an example")).collect()
}

#[test]
fn the_documented_workflow_passes_its_tests() {
    let text = documentation();
    let [
        whole,
        scheduled,
        silent,
        patterned,
        named,
        ways,
        merged,
        called,
        handed_on,
        elements,
        split,
        failing,
        counting,
        together,
        gathering,
        tables,
        waits,
        rota,
        said,
        steps,
        test,
    ] = examples(&text)[..]
    else {
        panic!("twenty-one examples")
    };
    let passes = |name: &str, text: &str| {
        let definition = compile("docs", text, &known()).unwrap_or_else(|p| panic!("{name}: {p:?}"));
        let site = Site { version: 1, home_networks: &[] };
        for verdict in testing::run(&definition, site, &|file| Err(file.to_owned())) {
            assert_eq!(verdict.failure, None);
        }
        definition
    };
    assert_eq!(passes("whole", whole).tests.len(), 2);
    assert_eq!(passes("scheduled", scheduled).tests.len(), 2);
    assert_eq!(passes("silent", silent).tests.len(), 2);
    let head =
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: w}\non: detection\nmatch: {}\nbranches:\n";
    let steps: String = steps.lines().map(|line| format!("    {line}\n")).collect();
    passes("variables", &format!("{}{named}", head.replace("match: {}\nbranches:\n", "")));
    passes(
        "patterned",
        &format!(
            "{}branches:\n  b: [{{deliver: siem}}]\n",
            head.replace("match: {}\nbranches:\n", patterned)
        ),
    );
    assert!(passes("gathering", &format!("{head}{gathering}")).branches.iter().all(|b| b.keeps));
    passes("expressions", &format!("{head}  b:\n{steps}    - deliver: siem\n"));
    passes("ways", &format!("{head}  b:\n{ways}"));
    passes("merged", &format!("{head}  b:\n{merged}    - deliver: siem\n"));
    let calls = passes("called", &head.replace("branches:\n", called));
    assert!(calls.branches.iter().all(|b| b.steps.len() == 3));
    assert_eq!(passes("handed on", &format!("{head}  b:\n{handed_on}")).branches[0].calls.len(), 1);
    passes("elements", &format!("{head}  b:\n{elements}    - deliver: siem\n"));
    passes("split", &format!("{head}  b:\n{split}"));
    passes("failing", &format!("{head}  b:\n{failing}"));
    let head_alone = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: w}\n";
    assert!(!passes("together", &format!("{head_alone}{together}")).partition.is_default());
    assert_eq!(passes("tables", &format!("{head}{tables}")).branches[0].tables.len(), 1);
    assert!(passes("waits", &format!("{head}{waits}")).branches.iter().all(|b| b.awaits));
    assert!(passes("said", &format!("{head}  b:\n{said}")).branches[0].awaits);
    assert!(passes("rota", &format!("{head}  b:\n{rota}")).branches[0].awaits);
    let counts = passes("counting", &format!("{head}{counting}tests:\n{test}"));
    assert!(counts.tests.len() == 1 && counts.branches.iter().all(|b| b.keeps));
}

/// The documentation names every function, and every part of the language that is refused for now.
#[test]
fn the_documentation_is_complete() {
    let text = documentation();
    let words: std::collections::BTreeSet<&str> =
        text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).collect();
    for function in atio_vrl::functions::ALLOWED {
        assert!(words.contains(function), "{function} is not documented");
    }
    for (step, later) in atio_workflow::steps::names() {
        let written = format!("`{step}");
        assert!(
            text.contains(&written) || text.contains(&format!("**{written}")),
            "{step} is not documented"
        );
        let row = text.lines().find(|l| l.starts_with("| steps |")).expect("the row of later steps");
        assert_eq!(row.contains(&format!("`{step}`")), later, "{step}");
    }
}
