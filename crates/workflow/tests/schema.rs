//! The JSON Schema for editors: what is committed is what the code makes, it takes what `compile` takes, and it finds the mistakes that a
//! schema can find.
use atio_topics::shipped;
use serde_json::Value;

const FILE: &str = include_str!("../../../schemas/workflow.schema.json");
const GOOD: &str = "apiVersion: atio/v1
kind: Workflow
metadata: {name: w, owner: soc, criticality: high}
on: detection
fragments: {urgent: [{set: {kev: 'true'}}]}
variables: {least: 60, hosts: [web-1, web-2]}
match: {kind: threat, code: 4625, confidence: {gte: {var: least}, lte: 90}, cvss: {between: [4.0, 9]}, pattern: \"[ipv4-addr:value ISSUBSET '10.0.0.0/8']\", process: {in: {var: hosts}}, src.ip: {in: [10.0.0.0/8]}, cves: {any: {prefix: [CVE-2021, CVE-2022]}, none: CVE-2021-1},
  host: {regex: ^web, not: {suffix: x}}, tlp: {not: [red]}, users: [root], src.port: {ne: 5}, sensor: {exists: false}}
branches:
  b:
    - when: '.importance >= 70'
    - call: urgent
    - set: {importance: 99, labels: '[\"seen\"]'}
    - remove: {type: [process, x-ours], labels: {none: [real]}, confidence: {lt: 50}, pattern: \"[ipv4-addr:value = '10.0.0.1']\"}
    - if: .kev
      then:
        - set: {importance: 100}
      else:
        - when: '.confidence > 50'
    - enrich: {table: owners, key: asset, set: {labels: 'push(.labels, .row.team)'}}
    - merge: {objects: [{type: url, id: url--d6c9c7ea-a28a-52c3-a3ac-c7c1b3f1ae73, value: \"https://example.org/\"}]}
    - rate: {limit: 10, per: 1m, key: asset}
    - dedup: {key: [asset, rule.id], within: 10m}
    - gather: {key: asset, within: 5m, count: 3, collect: {users: .users, labels: '[.src.ip]'}}
    - gather: {key: [asset, rule.id], within: 5m}
    - delay: 30s
    - sanitize: external
    - await: {ack: analyst, within: 15m, otherwise: stop}
    - each: .cves
      do:
        - set: {cves: '[.item]'}
          on_error:
            - deliver: other
        - deliver: elements
    - convert: report
    - deliver: siem
tests:
  - name: urgent
    tables: {owners: {\"host:web-1\": {team: web}}}
    given: {kind: threat, host: ~, cves: CVE-2021-44228, kev: true}
    then: {branches: [b], snapshot: snapshots/urgent.json, b: {awaiting: ack}}
  - {given: {kind: threat}, then: {branches: [], b: {answer: [rejected, {by: analyst, after: 3m, choice: isolate}]}}}
  - given: [{kind: threat}, {after: 5m}, a.json]
    then: {branches: [], b: {delivered: 0, dropped: {duplicate: 2}, rejected: {}}}
";

#[allow(clippy::expect_used)] // a helper of tests: the lint lets only test functions pass
fn complaints(yaml: &str) -> Vec<String> {
    let schema = atio_workflow::schema::schema();
    let validator = jsonschema::draft7::new(&schema).expect("a schema");
    let value: Value = serde_saphyr::from_str(yaml).expect("yaml");
    validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[test]
fn the_committed_schema_is_what_the_code_makes() {
    let made = serde_json::to_string_pretty(&atio_workflow::schema::schema()).expect("json");
    assert!(FILE.trim_end() == made, "run `atio workflow schema > schemas/workflow.schema.json`");
}

/// Triggers with a field of their own.
const SCHEDULED: &[&str] = &[
    "on: schedule\nschedule: {every: 15m}",
    "on: silence\nsilence: {after: 1h}",
    "on: silence\nsilence: {after: 1h, key: source}",
    "on: schedule\nschedule: {cron: 0 8 * * mon-fri, zone: Europe/Berlin, deadline: 1h}",
];

fn scheduled(trigger: &str) -> String {
    format!(
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: w}}\n{trigger}\nmatch: {{}}\nbranches: {{b: [{{deliver: siem}}]}}\n"
    )
}

#[test]
fn what_is_right_passes() {
    let sink = atio_workflow::SinkFacts {
        format: "stix".to_owned(),
        audience: atio_topics::Audience::Internal,
        clearance: atio_schemas::detection::Tlp::Red,
    };
    let known = atio_workflow::Known {
        sinks: ["siem", "other", "elements"].map(|name| (name.to_owned(), sink.clone())).into(),
        tables: ["owners".to_owned()].into(),
    };
    atio_workflow::compile("w.yaml", GOOD, &known).expect("what is called right here is right");
    assert_eq!(complaints(GOOD), Vec::<String>::new());
    for trigger in SCHEDULED {
        let text = scheduled(trigger);
        atio_workflow::compile("w.yaml", &text, &known).expect("what is called right here is right");
        assert_eq!(complaints(&text), Vec::<String>::new(), "{trigger}");
    }
    for wrong in
        ["schedule: {}", "schedule: {every: 15m, zone: UTC}", "schedule: {cron: 0 8 * * *}", "schedule: 5m"]
    {
        assert_ne!(
            complaints(&scheduled(&format!("on: schedule\n{wrong}"))),
            Vec::<String>::new(),
            "{wrong}"
        );
    }
    for (name, text) in shipped::WORKFLOWS {
        assert_eq!(complaints(text), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn mistakes_are_found() {
    for (right, wrong) in [
        ("atio/v1", "atio/v2"),
        ("kind: Workflow", "kind: Workflw"),
        ("name: w,", "name: My W,"),
        ("name: w, ", ""),
        ("criticality: high", "criticality: hgih"),
        ("on: detection", "on: detections"),
        ("on: detection\n", "on: detection\nbranch: {}\n"),
        ("kind: threat, code", "kind: thread, code"),
        ("kind: threat, code", "knd: threat, code"),
        ("lte: 90", "lte: high"),
        ("lte: 90", "most: 90"),
        ("{var: least}", "{var: Least}"),
        ("{var: least}", "{vra: least}"),
        ("[web-1, web-2]", "{a: b}"),
        ("{in: [10.0.0.0/8]}", "{in: []}"),
        ("none: CVE", "nnoe: CVE"),
        ("regex: ^web", "regex: [a]"),
        ("exists: false", "exists: maybe"),
        ("tlp: {not: [red]}", "tlp: {prefix: r}"),
        ("src.port: {ne: 5}", "src.port: {any: 5}"),
        ("  b:\n", "  b.1:\n"),
        ("- when: '.imp", "- whn: '.imp"),
        ("      then:\n        - set: {importance: 100}\n", ""),
        ("      else:\n", "      otherwise:\n"),
        ("- when: '.conf", "- whn: '.conf"),
        ("- sanitize: external", "- sanitize: internal"),
        ("convert: report", "convert: reprt"),
        ("within: 15m", "within: 15"),
        ("within: 15m, ", ""),
        ("ack: analyst", "ack: viewer"),
        ("otherwise: stop", "otherwise: page"),
        ("importance: 99", "tlp: '\"clear\"'"),
        ("type: [process", "type: [proces"),
        ("confidence: {lt: 50}", "confidence: {prefix: a}"),
        ("labels: {none", "label: {none"),
        ("given: {kind: threat", "given: {kind: thread"),
        ("{between: [4.0, 9]}", "{between: [4.0]}"),
        ("[ipv4-addr:value ISSUBSET '10.0.0.0/8']", ""),
        ("call: urgent", "call: [urgent]"),
        ("{urgent: [", "{My Name: ["),
        ("      do:\n", "      doo:\n"),
        ("each: .cves", "each: [a]"),
        ("          on_error:\n", "          on_eror:\n"),
        ("table: owners, ", ""),
        ("table: owners", "table: My Table"),
        ("labels: 'push", "tlp: 'push"),
        ("objects: [{type: url", "objects: [{kind: url"),
        ("{team: web}", "[web]"),
        ("limit: 10", "limit: 0"),
        ("per: 1m", "per: 60"),
        ("key: [asset, rule.id]", "key: [asset, rule]"),
        (", within: 10m", ""),
        ("delay: 30s", "delay: 30"),
        ("count: 3", "count: 1"),
        ("collect: {users: .users", "collect: {host: .host"),
        ("{after: 5m}", "{after: 5}"),
        ("{after: 5m}", "{after: 5m, kind: threat}"),
        ("delivered: 0", "delivered: none"),
        ("duplicate: 2", "duplicte: 2"),
        ("awaiting: ack", "awaits: ack"),
        ("answer: [rejected", "answer: [refused"),
        ("by: analyst, after", "by: viewer, after"),
        ("then: {branches: [b], ", "then: {"),
        ("snapshots/urgent.json", "/etc/passwd"),
    ] {
        let text = GOOD.replacen(right, wrong, 1);
        assert_ne!(text, GOOD, "{right}");
        assert!(!complaints(&text).is_empty(), "{wrong} passes");
    }
}
