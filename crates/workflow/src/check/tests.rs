//! Definitions: each mistake with its place and message.
use super::*;

pub(crate) fn known() -> Known {
    let sink =
        |format: &str, audience, clearance| SinkFacts { format: format.to_owned(), audience, clearance };
    Known {
        sinks: BTreeMap::from([
            ("siem".to_owned(), sink("ecs", Audience::Internal, Tlp::Amber)),
            ("report".to_owned(), sink("report", Audience::Internal, Tlp::Red)),
            ("share".to_owned(), sink("stix", Audience::External, Tlp::Green)),
        ]),
        tables: ["owners".to_owned()].into(),
    }
}

const GOOD: &str = r#"apiVersion: atio/v1
kind: Workflow
metadata: {name: threats, owner: soc, criticality: high}
on: detection
match:
  kind: threat
  confidence: {gte: 60}
  dst.ip: {in: [10.0.0.0/8, 192.168.1.7]}
  cves: [CVE-2021-44228, CVE-2014-0160]
  kev: true
  occurred_at: {gt: 2024-01-01T00:00:00Z}
branches:
  share:
    - remove: {type: [process, user-account]}
    - sanitize: external
    - deliver: share
  siem:
    - deliver: siem
  respond:
    - when: '.importance >= 70'
    - set: {policies: '["isolate-host"]', importance: 99}
    - convert: report
    - deliver: report
tests:
  - name: urgent
    given: {kind: threat, tlp: green, confidence: 80, dst.ip: 10.0.0.5, cves: [CVE-2014-0160], kev: true, occurred_at: 2025-01-01T00:00:00Z}
    then: {branches: [share, siem]}
  - given: fixtures/a.json
    then: {branches: []}
"#;

#[test]
fn a_whole_definition() {
    let definition = compile("a.yaml", GOOD, &known()).unwrap();
    assert_eq!(definition.name, "threats");
    assert_eq!(definition.trigger.len(), 6);
    let steps: Vec<Vec<&str>> =
        definition.branches.iter().map(|b| b.steps.iter().map(|s| s.name()).collect()).collect();
    assert_eq!(
        steps,
        [vec!["remove", "sanitize", "deliver"], vec!["deliver"], vec!["when", "set", "convert", "deliver"]]
    );
    let footprint = definition.footprint();
    let texts = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(texts(&footprint.topics), "delivery.report delivery.share delivery.siem workflow.threats");
    assert_eq!(
        texts(&footprint.groups),
        "routing.threats.respond routing.threats.share routing.threats.siem"
    );
    assert_eq!(texts(&footprint.sinks), "report share siem");
    assert_eq!(footprint.tables.len(), 0);
}

/// A definition with `match`, one branch and nothing else.
pub(super) fn with(matches: &str, steps: &str) -> String {
    format!(
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: w}}\non: detection\nmatch: {matches}\nbranches:\n  b: {steps}\n"
    )
}

/// Every mistake with its place, message and help: what users read.
#[test]
fn mistakes() {
    let good = "{kind: threat}";
    let deliver = "[{deliver: siem}]";
    let mut cases: Vec<(String, String)> = vec![];
    for matches in [
        "{kind: thread}",
        "{knd: threat}",
        "{src: 10.0.0.1}",
        "{src.ip: {in: [10.0.0.1/8]}}",
        "{src.ip: nowhere}",
        "{confidence: {gte: high}}",
        "{confidence: {gt: 1, gte: 2}}",
        "{confidence: {gte: 90, lt: 10}}",
        "{host: {gte: a}}",
        "{host: {pattern: web}}",
        "{host: {prefix: ''}}",
        "{host: {prefix: []}}",
        "{host: {contains: {a: b}}}",
        "{host: {regex: 'web-('}}",
        "{host: {regex: '(?=a)b'}}",
        "{host: {regex: [a, b]}}",
        "{host: {regex: '(\\w{100}){50}'}}",
        "{host: {eq: [a, b]}}",
        "{host: {eq: a, in: [b]}}",
        "{host: {any: [a]}}",
        "{host: {none: [a]}}",
        "{host: {not: {exists: true}}}",
        "{host: {exists: maybe}}",
        "{host: {exists: false, not: a}}",
        "{host: {prefx: a}}",
        "{kind: {exists: true}}",
        "{kind: {prefix: thr}}",
        "{kind: {not: [threat, vulnerability, log, intelligence, playbook, operational]}}",
        "{kind: {in: [threat], not: threat}}",
        "{src.ip: {prefix: '10.'}}",
        "{src.ip: {not: 10.0.0.1/8}}",
        "{confidence: {regex: '^6'}}",
        "{kev: {contains: t}}",
        "{cves: {not: CVE-2021-44228}}",
        "{cves: {any: {none: [a]}}}",
        "{cves: {all: }}",
        "{cves: {gt: a}}",
        "{host: {isnt: web}}",
        "{host: }",
        "{cves: []}",
        "{cves: {in: CVE-2021-44228}}",
        "{cves: {in: [a], gt: 1}}",
        "{kev: yes}",
        "{occurred_at: {gt: yesterday}}",
        "{host: {}}",
        "{confidence: {gt: 5, lt: 6}}",
        "{cvss: {gt: 5, lte: 5}}",
        "{zzz: 1}",
        "[kind]",
    ] {
        cases.push((format!("match: {matches}"), with(matches, deliver)));
    }
    for steps in [
        "[{deliver: seim}]",
        "[{deliver: siem}, {deliver: siem}]",
        "[{delivr: siem}]",
        "[{await: {ack: analyst}}, {deliver: siem}]",
        "[{await: {within: 15m}}, {deliver: siem}]",
        "[{await: {ack: viewer, within: 15m}}, {deliver: siem}]",
        "[{await: {ack: analysts, within: 15m}}, {deliver: siem}]",
        "[{await: {ack: carol, within: 15m}}, {deliver: siem}]",
        "[{await: {ack: [analyst], within: 15m}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 999ms}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 31d}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, otherwise: escalte}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, otherwise: page}}, {deliver: siem}]",
        "[{await: {ack: analyst, withn: 15m}}, {deliver: siem}]",
        "[{await: {choices: [isolate, leave], within: 15m}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, choices: isolate}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, choices: [isolate]}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, choices: [isolate, Isolate!, isolate]}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, choices: [isolate, leave]}}, {when: '.choice == \"isolat\"'}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m}}, {when: '.choice == \"isolate\"'}, {deliver: siem}]",
        "[{when: '.answer == \"acknowledged\"'}, {await: {ack: analyst, within: 15m}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m}}, {when: '.answer == \"unanswered\"'}, {deliver: siem}]",
        "[{incident: close}]",
        "[{incident: {}}]",
        "[{incident: {asign: soc, severity: hgih, comment: '', close: {}}}]",
        "[{incident: {close: {verdict: done, comment: x}}}, {deliver: siem}]",
        "[{incident: {assign: soc}}, {delay: 1m}, {deliver: siem}]",
        "[{incident: {assign: soc}}, {set: {importance: 1}}]",
        "[{await: {ack: analyst, within: 15m, hours: office}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, hours: {days: [mon-fri], from: '08:00'}}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, hours: {days: [mo, mon-wed, tue], from: '25:00', to: '18:60', zone: Europe/Berlim}}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, hours: {days: [], from: 8am, to: '24:01', zone: Mars}}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, hours: {days: fri-mon, from: '08:00', to: '08:00', zone: UTC}}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 1h, hours: {days: sun, from: '08:00', to: '08:01', zone: UTC}}}, {deliver: siem}]",
        "[{await: {ack: engineer, within: 15m, escalate: [{role: analyst, within: 1h}]}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, escalate: [{role: boss, within: 1h, untill: x}, {role: admin}, {within: 1h, role: viewer}]}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, escalate: engineer}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m, escalate: []}}, {deliver: siem}]",
        "[{await: {ack: analyst, approvers: 6, within: 15m}}, {deliver: siem}]",
        "[{await: {ack: analyst, approvers: two, within: 15m}}, {deliver: siem}]",
        "[{await: {ack: analyst, rejected: escalate, within: 15m}}, {deliver: siem}]",
        "[{await: {ack: analyst, approvers: 2, within: 15m}}, {when: '.answer == \"rejected\"'}, {deliver: siem}]",
        "[{await: analyst}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m}}]",
        "[{deliver: siem}, {await: {ack: analyst, within: 15m}}]",
        "[{deliver: siem}, {await: {ack: analyst, within: 15m}}, {when: '.kev'}]",
        "[{convert: ecs}, {await: {ack: analyst, within: 15m}}, {deliver: siem}]",
        "[{deliver: siem}, {await: {ack: analyst, within: 15m}}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m}}, {deliver: share}]",
        "[{dedup: {key: [src.ip, rule.id], within: 10m}}, {deliver: siem}]",
        "[{dedup: {key: [asset, src.port, asset], within: 10m}}, {deliver: siem}]",
        "[{dedup: {key: [asset, rule], within: 10m}}, {deliver: siem}]",
        "[{dedup: {key: [], within: 10m}}, {deliver: siem}]",
        "[{dedup: {key: {asset: a}, within: 10m}}, {deliver: siem}]",
        "[{dedup: {key: asset}}, {deliver: siem}]",
        "[{dedup: {within: 10m}}, {deliver: siem}]",
        "[{dedup: {key: asset, withn: 10m}}, {deliver: siem}]",
        "[{dedup: {key: asset, within: 31d}}, {deliver: siem}]",
        "[{dedup: [asset]}, {deliver: siem}]",
        "[{dedupe: {key: asset, within: 10m}}, {deliver: siem}]",
        "[{dedup: {key: asset, within: 10m}}]",
        "[{deliver: siem}, {dedup: {key: asset, within: 10m}}]",
        "[{set: {asset: '\"a\"'}}, {dedup: {key: asset, within: 10m}}, {deliver: siem}]",
        "[{sanitize: external}, {rate: {limit: 5, per: 1m, key: asset}}, {deliver: share}]",
        "[{await: {ack: analyst, within: 15m}}, {dedup: {key: asset, within: 10m}}, {deliver: siem}]",
        "[{if: '.kev', then: [{await: {ack: analyst, within: 15m}}]}, {rate: {limit: 5, per: 1m, key: asset}}, {deliver: siem}]",
        "[{convert: ecs}, {dedup: {key: asset, within: 10m}}, {deliver: siem}]",
        "[{rate: {limit: 10, per: 1m}}, {deliver: siem}]",
        "[{rate: {limit: 10, per: 1m, key: source}}, {deliver: siem}]",
        "[{rate: {per: 1m, key: asset}}, {deliver: siem}]",
        "[{rate: {limit: 0, per: 1m, key: asset}}, {deliver: siem}]",
        "[{rate: {limit: many, per: 1m, key: asset}}, {deliver: siem}]",
        "[{rate: {limit: 10, per: minute, key: asset}}, {deliver: siem}]",
        "[{rate: {limit: 10, per: 1m, key: asset, otherwise: delay}}, {deliver: siem}]",
        "[{delay: 30}, {deliver: siem}]",
        "[{delay: 500ms}, {deliver: siem}]",
        "[{delay: {for: 30s}}, {deliver: siem}]",
        "[{delay: 30s}]",
        "[{deliver: siem}, {delay: 30s}, {deliver: report}]",
        "[{if: '.kev', then: [{deliver: siem}]}, {delay: 30s}, {deliver: report}]",
        "[{convert: ecs}, {delay: 30s}, {deliver: siem}]",
        "[{await: {ack: analyst, within: 15m}}, {delay: 30s}, {deliver: siem}]",
        "[{each: cves}, {deliver: siem}]",
        "[{convert: misp}, {deliver: siem}]",
        "[{convert: ecss}, {deliver: siem}]",
        "[{convert: ecs}, {when: '.kev'}, {deliver: siem}]",
        "[{convert: ecs}]",
        "[{when: '.kev'}]",
        "[{deliver: siem}, {when: '.kev'}]",
        "[{when: '.importnce >= 70'}, {deliver: siem}]",
        "[{when: '.importance >= \"high\"'}, {deliver: siem}]",
        "[{when: .host}, {deliver: siem}]",
        "[{when: [a]}, {deliver: siem}]",
        "[{set: {importance: '\"high\"'}}, {deliver: siem}]",
        "[{set: {tlp: '\"clear\"'}}, {deliver: siem}]",
        "[{set: {hots: '\"x\"'}}, {deliver: siem}]",
        "[{set: {}}, {deliver: siem}]",
        "[{remove: {type: [proces]}}, {deliver: siem}]",
        "[{remove: {pattern: x}}, {deliver: siem}]",
        "[{filter: process}, {deliver: siem}]",
        "[{remove: {}}, {deliver: siem}]",
        "[{remove: {type: []}}, {deliver: siem}]",
        "[{remove: {id: process}}, {deliver: siem}]",
        "[{remove: {label: x}}, {deliver: siem}]",
        "[{remove: {confidence: {lt: low}}}, {deliver: siem}]",
        "[{remove: {labels: {not: x}}}, {deliver: siem}]",
        "[{filter: {type: [url], labels: x}}, {filter: {type: [process]}}, {deliver: siem}]",
        "[{deliver: share}]",
        "[{sanitize: internal}, {deliver: share}]",
        "[{sanitize: extrenal}, {deliver: share}]",
        "[{when: '.kev', deliver: siem}]",
        "[{if: '.kev'}, {deliver: siem}]",
        "[{if: '.kev', then: []}, {deliver: siem}]",
        "[{if: '.kev', then: [{deliver: seim}]}]",
        "[{if: '.importnce > 1', then: [{deliver: siem}]}]",
        "[{if: '.kev', then: [{deliver: siem}], els: [{deliver: report}]}]",
        "[{if: '.kev', then: [{deliver: siem}], deliver: report}]",
        "[{if: '.kev', then: [{deliver: siem}]}, {else: [{deliver: report}]}]",
        "[{if: '.kev', then: [{deliver: siem}]}, {deliver: siem}]",
        "[{if: '.kev', then: [{deliver: siem}], else: [{when: '.kev'}]}]",
        "[{if: '.kev', then: [{deliver: siem}, {when: '.fix_available'}], else: [{deliver: report}]}]",
        "[{if: '.kev', then: [{deliver: siem}, {await: {ack: analyst, within: 1h}}], else: [{deliver: report}]}]",
        "[{if: '.kev', then: [{set: {importance: 1}}]}]",
        "[{deliver: siem}, {if: '.kev', then: [{set: {importance: 1}}]}]",
        "[{if: '.kev', then: [{sanitize: external}]}, {deliver: share}]",
        "[{if: '.kev', then: [{sanitize: external}, {deliver: share}], else: [{deliver: share}]}]",
        "[{if: '.kev', then: [{convert: ecs}, {set: {importance: 1}}]}, {deliver: siem}]",
        "[{convert: ecs}, {if: '.kev', then: [{deliver: siem}]}]",
        "[{if: '.kind == \"log\"', then: [{deliver: siem}], else: [{deliver: report}]}]",
        "[{if: '.kind == \"threat\"', then: [{deliver: siem}], else: [{deliver: report}]}]",
        "[{if: '.kev', then: [{when: '!.kev'}, {deliver: siem}]}]",
        "[deliver]",
        "[]",
        "deliver",
    ] {
        cases.push((format!("steps: {steps}"), with(good, steps)));
    }
    cases.push(("tlp".into(), with("{tlp: {not: [clear, green, amber]}}", deliver)));
    cases.push((
        "tlp".into(),
        with(good, "[{when: '.tlp == \"red\"'}, {sanitize: external}, {deliver: share}]"),
    ));
    for steps in [
        "[{when: '.kind == \"log\"'}, {deliver: siem}]",
        "[{when: '.importance >= 70'}, {when: '.importance < 70 && .kev'}, {deliver: siem}]",
        "[{when: 'false'}, {deliver: siem}]",
        "[{filter: {type: [process]}}, {remove: {type: [process]}}, {deliver: siem}]",
        "[{filter: {type: [process]}}, {filter: {type: [url]}}, {deliver: siem}]",
    ] {
        cases.push((format!("unreachable: {steps}"), with(good, steps)));
    }
    let token = format!("ghp_{}", "0123456789abcdefghijABCDEFGHIJ012345");
    for (name, from, to) in [
        ("in a match", "kind: threat", format!("kind: threat, host: {token}")),
        ("in a step", "deliver: siem", format!("set: {{labels: '[\"{token}\"]'}}")),
        ("as a key", "deliver: siem", format!("{token}: siem")),
    ] {
        cases.push((format!("secret {name}"), with(good, deliver).replace(from, &to)));
    }
    cases.push(("tlp".into(), with("{tlp: [red]}", deliver)));
    cases.push((
        "block".into(),
        with(good, "\n    - when: |\n        .kev &&\n          .importnce > 1\n    - deliver: siem"),
    ));
    let base = with(good, deliver);
    for (name, from, to) in [
        ("version", "atio/v1", "atio/v2"),
        ("kind", "kind: Workflow", "kind: Workflw"),
        ("no kind", "kind: Workflow\n", ""),
        ("trigger", "on: detection", "on: silence"),
        ("trigger", "on: detection", "on: detections"),
        ("no trigger", "on: detection\n", ""),
        ("field", "on: detection", "on: detection\nbranch: {}"),
        ("later field", "on: detection", "on: detection\nsecrets: {}"),
        ("name", "{name: w}", "{name: My Workflow}"),
        ("no name", "{name: w}", "{owner: soc}"),
        ("criticality", "{name: w}", "{name: w, criticality: hgih}"),
        ("duplicate", "on: detection", "on: detection\non: detection"),
        ("anchor", "on: detection", "on: &a detection"),
        ("alias", "on: detection", "on: *a"),
        ("tag", "on: detection", "on: !x detection"),
        ("merge", "on: detection", "<<: {on: detection}"),
        ("second", "on: detection", "on: detection\n---\na: b"),
        ("open", "on: detection", "on: [detection"),
        ("key", "on: detection", "[on]: detection"),
        ("branch name", "  b:", "  b.1:"),
        ("empty", "", ""),
    ] {
        let text = if name == "empty" { String::new() } else { base.replacen(from, to, 1) };
        cases.push((format!("{name}: {to}").replace('\n', " / "), text));
    }
    cases.extend(timing_tests::cases().into_iter().chain(language::cases()));
    for test in [
        "[{given: {kind: threat}, then: {branches: [c]}}]",
        "[{given: {kind: x}, then: {branches: [b]}}]",
        "[{given: {kind: threat}, then: {b: {awaiting: ack}}}]",
        "[{given: {kind: threat}, then: {branches: [], b: {awaiting: ack}}}]",
        "[{given: {kind: threat}, then: {branches: [], bb: {awaiting: ack}}}]",
        "[{given: {kind: threat}, then: {branches: [], b: {answer: acknowledged}}}]",
        "[{given: {kind: threat}, then: {branches: [], b: {answer: yes}}}]",
        "[{given: {kind: threat}, then: {branches: [], b: {answer: []}}}]",
        "[{given: {kind: threat}, then: {branches: [], b: {answer: {by: viewer, after: 5, choise: a}}}}]",
        "[{given: {kind: threat}, then: {branches: [], b: {answer: {as: unanswered, after: 5m}}}}]",
        "[{given: {kind: threat}, then: {branches: [], b: {awaiting: choices}}}]",
        "[{given: {kind: threat}, then: {branches: [], b: {awaits: ack}}}]",
        "[{given: {kind: threat}, then: {branches: [], b: {}}}]",
        "[{given: {kind: threat}, then: {branches: [], b: ack}}]",
        "[{given: [], then: {branches: [b]}}]",
        "[{given: [{kind: threat}, {after: 5}], then: {branches: [b]}}]",
        "[{given: [{after: 5m, kind: threat}], then: {branches: [b]}}]",
        "[{given: [{kind: threat}, {knd: threat}], then: {branches: [b]}}]",
        "[{given: [{kind: threat}, [a]], then: {branches: [b]}}]",
        "[{given: {kind: threat}, then: {branches: [b], b: {delivered: many}}}]",
        "[{given: {kind: threat}, then: {branches: [b], c: {delivered: 1}}}]",
        "[{given: {kind: threat}, then: {branches: [b], b: {dropped: {duplicte: 1}}}}]",
        "[{given: {kind: threat}, then: {branches: [b], b: {dropped: 1}}}]",
        "[{given: {kind: threat}, then: {branches: [b], b: {rejected: {too_many: -1}}}}]",
        "[{then: {branches: [b]}}]",
        "[{given: a.json}]",
        "{}",
        "[{name: a, given: {kind: threat}, then: {branches: [b]}}, {name: a, given: {kind: log}, then: {branches: []}}]",
        "[{given: {src.ip: here, cves: x}, then: {branches: b}}]",
    ] {
        cases.push((format!("tests: {test}"), format!("{base}tests: {test}\n")));
    }
    let changes = base.replace("on: detection", "on: change");
    for (matches, rest) in [
        ("{dst.ip: 10.0.0.1}", ""),
        ("{kind: threat}", ""),
        ("{category: result}", ""),
        ("{code: [delete, tamper]}", ""),
        ("{code: deleted}", "tests: [{given: {cves: x}, then: {branches: [b]}}]"),
    ] {
        let text = changes.replace("match: {kind: threat}", &format!("match: {matches}"));
        cases.push((format!("on: change {matches} {rest}"), format!("{text}{rest}\n")));
    }
    for condition in [".kind == \"threat\"", ".cvss >= 7", ".src.ip == \"10.0.0.1\""] {
        let text = with("{}", &format!("[{{when: '{condition}'}}, {{deliver: siem}}]"));
        cases.push((format!("on: change {condition}"), text.replace("on: detection", "on: change")));
    }
    let (mut text, mut bare) = (String::new(), vec![]);
    for (name, yaml) in cases {
        text.push_str(&name);
        text.push('\n');
        match compile("w.yaml", &yaml, &known()) {
            Ok(_) => text.push_str("  accepted\n"),
            Err(problems) => problems.iter().for_each(|p| {
                if p.place.line == 0 || p.place.column == 0 || p.help.is_none() {
                    bare.push(p.to_string());
                }
                assert!(!p.to_string().contains(&token), "a message quotes a secret");
                text.push_str(&format!("  {} {p}\n", p.code()));
            }),
        }
    }
    assert!(!text.contains("  accepted"), "\n{text}");
    assert!(bare.is_empty(), "without place or help: {bare:#?}");
    assert_eq!(text, include_str!("mistakes.txt"), "\n{text}");
}

#[test]
fn large_files_are_refused() {
    let text = format!("{GOOD}# {}", "x".repeat(crate::yaml::MAX_FILE));
    assert!(compile("w.yaml", &text, &known()).unwrap_err()[0].to_string().contains("at most"));
}

#[test]
fn its_tests_run() {
    let definition = compile("a.yaml", GOOD, &known()).unwrap();
    let site = crate::Site { version: 1, home_networks: &[] };
    let missing = |_: &str| Err("no such file".to_owned());
    let verdicts = crate::testing::run(&definition, site, &missing);
    assert_eq!(verdicts[0].failure, None);
    assert_eq!(verdicts[1].failure.as_deref(), Some("no such file"));
    let other = |_: &str| {
        Ok(vec![atio_schemas::Detection::new("e".into(), atio_schemas::detection::Kind::Log, "t", "s")])
    };
    assert_eq!(crate::testing::run(&definition, site, &other)[1].failure, None);
    let wrong = GOOD.replace("then: {branches: [share, siem]}", "then: {branches: [siem, respond]}");
    let definition = compile("a.yaml", &wrong, &known()).unwrap();
    assert_eq!(
        crate::testing::run(&definition, site, &missing)[0].failure.as_deref(),
        Some("delivered by [share, siem], expected [respond, siem]; respond: when_false")
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(600))]
    /// Whatever is typed, there is a definition or a problem with a place in the file.
    #[test]
    fn damaged_definitions_never_panic(
        cuts in proptest::collection::vec((0_usize..GOOD.len(), 0_usize..12, "[ -~\n]{0,6}"), 1..5),
    ) {
        let mut text = GOOD.to_owned();
        for (at, len, new) in cuts {
            let at = at.min(text.len());
            let end = (at + len).min(text.len());
            text.replace_range(at..end, &new);
        }
        if let Err(problems) = compile("w.yaml", &text, &known()) {
            proptest::prop_assert!(!problems.is_empty());
            for problem in problems {
                proptest::prop_assert!(problem.place.line as usize <= text.lines().count() + 1, "{}", problem);
            }
        }
    }
}

#[path = "language_tests.rs"]
mod language;
