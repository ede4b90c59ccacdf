//! Mistakes in what looks into tables, brings objects, runs aside and names values: cases of `mistakes`. And what variables stand for.
use super::*;

const MATCHES: &[&str] = &[
    "{kind: {var: a}}",
    "{kind: {var: [a]}}",
    "{confidence: {between: [90, 10]}}",
    "{confidence: {between: [10]}}",
    "{confidence: {between: 10}}",
    "{confidence: {between: [1, high]}}",
    "{confidence: {between: [1, 5], gt: 2}}",
    "{host: {between: [a, b]}}",
    "{cvss: {betwen: [1, 5]}}",
    "{pattern: [a]}",
    "{pattern: ''}",
    "{pattern: 'ipv4-addr:value = 5'}",
    "{pattern: \"[ipv4-addr:value = '198.51.100.3'\"}",
    "{pattern: \"[ipv4-adr:value = '198.51.100.3']\"}",
    "{pattern: \"[network-traffic:dst_port = '443']\"}",
    "{pattern: \"[url:value = 'a' AND file:size > 5]\"}",
    "{pattern: \"[url:value MATCHES '(?=a)']\"}",
    "{patern: \"[url:value = 'a']\"}",
];

/// Steps of a branch, each list with something wrong.
const STEPS: &[&str] = &[
    "[{each: cves, do: [{deliver: siem}]}]",
    "[{each: .host, do: [{deliver: siem}]}]",
    "[{each: '[1, \"a\"]', do: [{deliver: siem}]}]",
    "[{each: .cves, do: [{set: {host: .item}}]}, {deliver: siem}]",
    "[{each: .cves, do: [{deliver: siem}, {set: {host: .item}}]}]",
    "[{each: .cves, do: [{deliver: siem}]}, {set: {host: .item}}, {deliver: report}]",
    "[{each: .cves, do: [{deliver: siem}]}, {deliver: siem}]",
    "[{each: .cves, do: [{each: .urls, do: [{deliver: siem}]}]}]",
    "[{each: .cves, do: [{await: {ack: analyst, within: 1h}}, {deliver: siem}]}]",
    "[{each: .cves, do: [{delay: 1h}, {deliver: siem}]}]",
    "[{each: .cves, do: [{set: {importance: .item}}, {deliver: siem}]}]",
    "[{each: .cves, do: [{deliver: share}]}]",
    "[{each: .users, do: [{sanitize: external}, {set: {labels: '[.item]'}}, {deliver: share}]}]",
    "[{each: .users, do: [{if: .kev, then: [{sanitize: external}], else: [{sanitize: external}]}, {set: {labels: '[.item]'}}, {deliver: share}]}]",
    "[{each: .cves, do: []}]",
    "[{each: .cves, do: [{deliver: siem}], on_error: [{deliver: report}]}]",
    "[{each: .cves, then: [{deliver: siem}]}]",
    "[{do: [{deliver: siem}]}, {deliver: siem}]",
    "[{set: {host: .item}}, {deliver: siem}]",
    "[{set: {host: .error.code}}, {deliver: siem}]",
    "[{on_error: [{deliver: siem}]}, {deliver: siem}]",
    "[{convert: ecs, on_error: []}, {deliver: siem}]",
    "[{convert: ecs, on_error: deliver}, {deliver: siem}]",
    "[{convert: ecs, on_error: [{set: {host: .error.code}}]}, {deliver: siem}]",
    "[{convert: ecs, on_error: [{set: {host: .error.cod}}, {deliver: siem}]}, {deliver: siem}]",
    "[{convert: ecs, on_error: [{deliver: seim}]}, {deliver: siem}]",
    "[{convert: ecs, on_error: [{await: {ack: analyst, within: 1h}}, {deliver: siem}]}, {deliver: siem}]",
    "[{deliver: report, on_error: [{deliver: siem}]}, {deliver: siem}]",
    "[{deliver: siem}, {convert: report, on_error: [{deliver: siem}]}, {deliver: report}]",
    "[{sanitize: external, on_error: [{deliver: share}]}, {deliver: share}]",
    "[{dedup: {key: asset, within: 1h}, on_error: [{deliver: report}]}, {deliver: siem}]",
    "[{if: .kev, then: [{deliver: siem}], on_error: [{deliver: report}]}]",
    "[{deliver: siem, retry: {attempts: 3}}]",
    "[{deliver: siem, timeout: 5s}]",
    "[{deliver: siem, convert: ecs, on_error: [{deliver: report}]}]",
    "[{convert: ecs, on_error: [{deliver: report}]}]",
    "[{remove: {pattern: \"[url:valu = 'a']\"}}, {deliver: siem}]",
    "[{filter: {where: .kev}}, {deliver: siem}]",
    "[{gather: {within: 10m}}, {deliver: siem}]",
    "[{gather: {key: asset}}, {deliver: siem}]",
    "[{gather: {key: asset, within: 10m, cuont: 5}}, {deliver: siem}]",
    "[{gather: {key: asset, within: 10m, count: 1}}, {deliver: siem}]",
    "[{gather: {key: source, within: 10m}}, {deliver: siem}]",
    "[{gather: {key: asset, within: 31d}}, {deliver: siem}]",
    "[{gather: {key: asset, within: 10m, collect: {}}}, {deliver: siem}]",
    "[{gather: {key: asset, within: 10m, collect: {host: .host}}}, {deliver: siem}]",
    "[{gather: {key: asset, within: 10m, collect: {users: .host}}}, {deliver: siem}]",
    "[{gather: {key: asset, within: 10m, collect: {usrs: .users}}}, {deliver: siem}]",
    "[{dedup: {key: asset, within: 1h}}, {gather: {key: [asset, rule.id], within: 10m, count: 3}}, {deliver: siem}]",
    "[{rate: {key: asset, limit: 2, per: 1m}}, {gather: {key: asset, within: 5m, count: 20}}, {deliver: siem}]",
    "[{deliver: siem}, {gather: {key: asset, within: 10m}}, {deliver: report}]",
    "[{await: {ack: analyst, within: 1h}}, {gather: {key: asset, within: 10m}}, {deliver: siem}]",
    "[{each: .cves, do: [{gather: {key: asset, within: 10m}}, {deliver: siem}]}]",
    "[{convert: ecs}, {gather: {key: asset, within: 10m}}, {deliver: siem}]",
    "[{deliver: siem}, {split: .cves}]",
    "[{split: .host}, {deliver: siem}]",
    "[{split: .cves}, {set: {cves: '[.item]'}}]",
    "[{split: .cves}, {split: .labels}, {deliver: siem}]",
    "[{split: .cves}, {gather: {key: asset, within: 10m}}, {deliver: siem}]",
    "[{split: .cves}, {each: .labels, do: [{deliver: siem}]}]",
    "[{each: .cves, do: [{split: .labels}, {deliver: siem}]}]",
    "[{if: .kev, then: [{split: .cves}, {deliver: report}]}, {deliver: siem}]",
    "[{merge: {}}, {deliver: siem}]",
    "[{merge: {objects: {type: url}}}, {deliver: siem}]",
    "[{merge: {objects: []}}, {deliver: siem}]",
    "[{merge: {objects: [a]}}, {deliver: siem}]",
    "[{merge: {object: []}}, {deliver: siem}]",
    "[{merge: {objects: [{id: x}]}}, {deliver: siem}]",
    "[{merge: {objects: [{type: ipv4-addr, value: 198.51.100.3}]}}, {deliver: siem}]",
    "[{merge: {objects: [{type: tool, name: 7}]}}, {deliver: siem}]",
    "[{merge: {objects: [{type: tool, id: tool--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f, created: 2024-01-01, modified: 2024-01-01T00:00:00Z, name: a}]}}, {deliver: siem}]",
    "[{merge: {objects: [{type: bundle, id: bundle--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f}]}}, {deliver: siem}]",
    "[{merge: {objects: [{type: url, id: url--8e2e2d2b-17d4-5cbf-938f-98ee46b3cd3f, value: a}, {type: url, id: url--8e2e2d2b-17d4-5cbf-938f-98ee46b3cd3f, value: b}]}}, {deliver: siem}]",
    "[{merge: {objects: [{type: url, id: url--8e2e2d2b-17d4-5cbf-938f-98ee46b3cd3f, value: ~}]}}, {deliver: siem}]",
    "[{filter: {type: [process]}}, {merge: {objects: [{type: url, id: url--8e2e2d2b-17d4-5cbf-938f-98ee46b3cd3f, value: a}]}}, {filter: {type: [tool]}}, {deliver: siem}]",
    "[{enrich: {table: ownrs, key: asset, set: {host: .row.name}}}, {deliver: siem}]",
    "[{enrich: {table: [owners], key: asset, set: {host: .row.name}}}, {deliver: siem}]",
    "[{enrich: {table: owners, set: {host: .row.name}}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: asset}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: asset, set: {}}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: assets, set: {host: .row.name}}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: .assets, set: {host: .row.name}}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: cves, set: {host: .row.name}}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: .row.name, set: {host: .row.name}}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: asset, set: {tlp: .row.name}}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: asset, set: {hots: .row.name}}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: asset, set: {host: .row}}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: asset, set: {importance: .row.weight}}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: asset, set: {host: .row.name}, within: 1s}}, {deliver: siem}]",
    "[{enrich: {table: owners, key: asset, sett: {host: .row.name}}}, {deliver: siem}]",
    "[{enrich: owners}, {deliver: siem}]",
    "[{await: {ack: analyst, within: 15m}}, {enrich: {table: owners, key: asset, set: {host: .row.name}}}, {deliver: siem}]",
    "[{sanitize: external}, {enrich: {table: owners, key: asset, set: {host: .row.name}}}, {deliver: share}]",
    "[{when: .row.name == \"x\"}, {deliver: siem}]",
    "[{call: {workflow: A b}}]",
    "[{call: {workflw: b}}]",
    "[{call: {}}]",
    "[{call: [b]}]",
    "[{call: {workflow: b}}, {call: {workflow: b}}]",
    "[{call: {workflow: b}}, {delay: 1h}, {deliver: siem}]",
    "[{call: {workflow: b}}, {gather: {key: asset, within: 1h}}, {deliver: siem}]",
    "[{call: {workflow: b}}, {set: {host: '\"x\"'}}]",
    "[{convert: ecs}, {call: {workflow: b}}]",
    "[{call: {workflow: b}, on_error: [{deliver: siem}]}]",
];
/// In the place of `on: detection`.
const VARIABLES: &[&str] = &[
    "variables: [a]",
    "variables: {a: 1}",
    "variables: {A-b: 1}",
    "variables: {a: {env: TOKEN}}",
    "variables: {a: {b: c}}",
    "variables: {a: ~}",
    "variables: {a: []}",
    "variables: {a: [1, b]}",
    "variables: {a: 18446744073709551615}",
];
/// What events come together by, and the steps that count.
const PARTITIONS: &[(&str, &str)] = &[
    ("rule.idd", "[{dedup: {key: rule.id, within: 1h}}, {deliver: siem}]"),
    ("[rule.id, rule.id]", "[{dedup: {key: rule.id, within: 1h}}, {deliver: siem}]"),
    ("[]", "[{dedup: {key: rule.id, within: 1h}}, {deliver: siem}]"),
    ("{a: b}", "[{dedup: {key: rule.id, within: 1h}}, {deliver: siem}]"),
    ("asset", "[{dedup: {key: asset, within: 1h}}, {deliver: siem}]"),
    ("rule.id", "[{deliver: siem}]"),
    ("rule.id", "[{dedup: {key: [asset, src.ip], within: 1h}}, {deliver: siem}]"),
    ("[rule.id, src.ip]", "[{rate: {key: src.ip, limit: 1, per: 1h}}, {deliver: siem}]"),
    ("rule.id", "[{set: {rule.id: '\"x\"'}}, {dedup: {key: rule.id, within: 1h}}, {deliver: siem}]"),
];
/// Fragments, and the steps that call them.
const FRAGMENTS: &[(&str, &str)] = &[
    ("[a]", "[{deliver: siem}]"),
    ("{a: []}", "[{call: a}, {deliver: siem}]"),
    ("{a: [{when: .kev}]}", "[{deliver: siem}]"),
    ("{a: [{when: .kev}]}", "[{call: aa}, {deliver: siem}]"),
    ("{}", "[{call: a}, {deliver: siem}]"),
    ("{a: [{when: .kev}]}", "[{call: [a]}, {deliver: siem}]"),
    ("{a: [{when: .kev}]}", "[{call: a, on_error: [{deliver: report}]}, {deliver: siem}]"),
    ("{A b: [{when: .kev}]}", "[{call: A b}, {deliver: siem}]"),
    ("{a: [{call: b}], b: [{if: .kev, then: [{call: c}]}], c: [{call: a}]}", "[{call: a}, {deliver: siem}]"),
    ("{a: [{call: a}]}", "[{call: a}, {deliver: siem}]"),
    ("{a: [{deliver: siem}]}", "[{call: a}, {call: a}]"),
    ("{a: [{when: .kevv}]}", "[{call: a}, {deliver: siem}]"),
    (
        "{a: [{call: b}, {call: b}, {call: b}, {call: b}], b: [{call: c}, {call: c}, {call: c}, {call: c}], c: [{call: d}, {call: d}, {call: d}, {call: d}], d: [{call: e}, {call: e}, {call: e}], e: [{set: {kev: 'true'}}]}",
        "[{call: a}, {deliver: siem}]",
    ),
    (
        "{a: [{call: b}, {call: b}], b: [{call: c}, {call: c}], c: [{call: d}, {call: d}], d: [{call: e}, {call: e}], e: [{call: f}, {call: f}], f: [{call: g}, {call: g}], g: [{call: h}, {call: h}], h: [{call: i}, {call: i}], i: [{call: j}, {call: j}], j: []}",
        "[{call: a}, {deliver: siem}]",
    ),
];
const TESTS: &[&str] = &[
    "[{given: {kind: threat}, then: {branches: [b], snapshot: ../a.json}}]",
    "[{given: {kind: threat}, then: {branches: [b], snapshot: a.yaml}}]",
    "[{given: {kind: threat}, then: {branches: [b], snapshot: [a.json]}}]",
    "[{given: {kind: threat}, then: {branches: [b], snapshot: a.json}}, {given: {kind: threat}, then: {branches: [b], snapshot: a.json}}]",
    "[{tables: {owners: {a: {b: c}}}, given: {kind: threat}, then: {branches: [b]}}]",
    "[{tables: {owners: {a: b}}, given: {kind: threat}, then: {branches: [b]}}]",
    "[{tables: owners, given: {kind: threat}, then: {branches: [b]}}]",
    "[{tables: {owners: {a: {b: [c]}}}, given: {kind: threat}, then: {branches: [b]}}]",
];

pub(super) fn cases() -> Vec<(String, String)> {
    let (good, deliver) = ("{kind: threat}", "[{deliver: siem}]");
    let base = with(good, deliver);
    let mut cases: Vec<(String, String)> =
        STEPS.iter().map(|steps| (format!("steps: {steps}"), with(good, steps))).collect();
    for variables in VARIABLES {
        cases.push((
            (*variables).to_owned(),
            base.replace("on: detection", &format!("on: detection\n{variables}")),
        ));
    }
    for matches in MATCHES {
        cases.push((format!("match: {matches}"), with(matches, deliver)));
    }
    for (variables, matches, steps) in [
        ("{kinds: [thread]}", "{kind: {in: {var: kinds}}}", deliver),
        ("{kinds: [threat]}", "{kind: {in: {var: kind}}}", deliver),
        ("{kinds: [threat]}", "{kind: {not: {var: kinds, in: [log]}}}", deliver),
        ("{least: high}", "{confidence: {gte: {var: least}}}", deliver),
        ("{least: high}", good, "[{when: '.importance >= .vars.least'}, {deliver: siem}]"),
        ("{least: 7}", good, "[{when: '.importance >= .vars.lest'}, {deliver: siem}]"),
        ("{least: 7}", good, "[{when: '.importance >= .vars'}, {deliver: siem}]"),
        ("{team: soc}", good, "[{set: {importance: .vars.team}}, {deliver: siem}]"),
        ("{least: 7, other: 8}", good, "[{when: '.importance >= .vars.least'}, {deliver: siem}]"),
    ] {
        let text = with(matches, steps).replace("match:", &format!("variables: {variables}\nmatch:"));
        cases.push((format!("variables: {variables} {matches} {steps}"), text));
    }
    for (by, steps) in PARTITIONS {
        let text = with(good, steps).replace("match:", &format!("partition_by: {by}\nmatch:"));
        cases.push((format!("partition_by: {by} {steps}"), text));
    }
    for (fragments, steps) in FRAGMENTS {
        let text = with(good, steps).replace("match:", &format!("fragments: {fragments}\nmatch:"));
        cases.push((format!("fragments: {fragments} {steps}"), text));
    }
    let of_changes = with("{}", "[{gather: {key: [asset, src.ip], within: 10m}}, {deliver: siem}]");
    cases.push(("gather on: change".to_owned(), of_changes.replace("on: detection", "on: change")));
    for style in ["|", ">"] {
        let pattern = format!("{style}\n    [url:value = 'a']\n    OR [url:valu = 'b']");
        let text = base.replace("match: {kind: threat}", &format!("match:\n  pattern: {pattern}"));
        cases.push((format!("pattern {style}"), text));
    }
    let tests = TESTS.iter().map(|test| (format!("tests: {test}"), format!("{base}tests: {test}\n")));
    cases.extend(tests);
    cases
}

/// What is bounded elsewhere, or may be, is no reason to refuse a gather.
#[test]
fn gathers_that_may_complete() {
    for steps in [
        "[{dedup: {key: [asset, host], within: 1h}}, {gather: {key: asset, within: 10m, count: 3}}, {deliver: siem}]",
        "[{dedup: {key: [asset, host], within: 1h}}, {set: {host: '\"x\"'}}, {gather: {key: [asset, host], within: 10m, count: 3}}, {deliver: siem}]",
        "[{dedup: {key: asset, within: 1m}}, {gather: {key: asset, within: 10m, count: 10}}, {deliver: siem}]",
        "[{dedup: {key: asset, within: 1h}}, {gather: {key: asset, within: 10m}}, {deliver: siem}]",
        "[{if: .kev, then: [{dedup: {key: asset, within: 1h}}]}, {gather: {key: asset, within: 10m, count: 10}}, {deliver: siem}]",
    ] {
        let definition = compile("w.yaml", &with("{kind: threat}", steps), &known());
        let definition = definition.unwrap_or_else(|p| panic!("{steps}: {p:?}"));
        let branch = &definition.branches[0];
        assert_eq!((branch.keeps, branch.delays), (true, !steps.contains("count")), "{steps}");
    }
}

/// A variable is typed where it is used; the same definition with the values in their places does the same.
#[test]
fn variables_stand_for_their_values() {
    let text = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: w}\non: detection\n\
        variables: {kinds: [threat, vulnerability], home: [10.0.0.0/8, 192.168.1.7], least: 70, share: 0.5, host: web-, tags: [seen, real]}\n\
        match: {kind: {in: {var: kinds}}, dst.ip: {var: home}, confidence: {gte: {var: least}}, host: {prefix: [{var: host}, db-]}}\n\
        branches:\n  b: [{when: '.importance * .vars.share >= 35 && includes(.vars.tags, .labels[0])'}, {deliver: siem}]\n\
        tests:\n  - given: {kind: threat, dst.ip: 10.1.2.3, confidence: 70, host: web-1, importance: 70, labels: real}\n    then: {branches: [b]}\n\
        \x20 - given: {kind: threat, dst.ip: 10.1.2.3, confidence: 70, host: db-1, importance: 69, labels: real}\n    then: {branches: []}\n\
        \x20 - given: {kind: threat, dst.ip: 10.1.2.3, confidence: 69, host: db-1, importance: 70, labels: real}\n    then: {branches: []}\n\
        \x20 - given: {kind: log, dst.ip: 192.168.1.7, confidence: 80, host: web-1, importance: 70, labels: real}\n    then: {branches: []}\n";
    let definition = compile("w.yaml", text, &known()).unwrap_or_else(|p| panic!("{p:?}"));
    let site = crate::Site { version: 1, home_networks: &[] };
    let none = |_: &str| Err("no such file".to_owned());
    for verdict in crate::testing::run(&definition, site, &none) {
        assert_eq!(verdict.failure, None, "{}", verdict.place);
    }
    assert_eq!(definition.trigger.len(), 4);
}

/// A branch that calls does what one does in which the steps stand; fragments may call fragments, also within ways.
#[test]
fn fragments_stand_for_their_steps() {
    let fragments = "fragments: {urgent: [{when: '.importance >= 70'}, {call: named}], named: [{set: {labels: '[\"urgent\"]'}}]}";
    let calls = "[{if: .kev, then: [{call: urgent}, {deliver: report}]}, {call: urgent}, {deliver: siem}]";
    let text = with("{kind: threat}", calls).replace("match:", &format!("{fragments}\nmatch:"));
    let definition = compile("w.yaml", &text, &known()).unwrap_or_else(|p| panic!("{text} {p:?}"));
    let steps: Vec<&str> = definition.branches[0].steps.iter().map(|s| s.name()).collect();
    assert_eq!(steps, ["if", "when", "set", "deliver", "when", "set", "deliver"]);
}

/// A whole definition with all of it.
const WHOLE: &str = r#"apiVersion: atio/v1
kind: Workflow
metadata: {name: w}
on: detection
variables: {least: 70, hosts: [web-1, web-2]}
match: {kind: threat, host: {in: {var: hosts}}}
branches:
  b:
    - enrich: {table: owners, key: asset, set: {labels: 'push(.labels, .row.team)', host: '.row."due date"'}}
      on_error: [{set: {labels: '[.error.code, .error.message]'}}, {deliver: siem}]
    - merge: {objects: [{type: url, id: url--d6c9c7ea-a28a-52c3-a3ac-c7c1b3f1ae73, value: "https://example.org/"}]}
    - each: 'filter(.cves) -> |_i, cve| { starts_with(cve, "CVE-2024-") }'
      do:
        - when: '.importance >= .vars.least && .item != ""'
        - set: {cves: '[.item]'}
        - deliver: report
    - deliver: siem
tests:
  - tables: {owners: {a: {team: web}}}
    given: {kind: threat, host: web-1, asset: a, cves: [CVE-2024-1, CVE-2024-2, CVE-2023-1], importance: 80}
    then: {branches: [b], snapshot: s/a.json, b: {delivered: 1, rejected: {}}}
"#;

#[test]
fn a_whole_definition_with_all_of_it_does_what_it_says() {
    let definition = compile("w.yaml", WHOLE, &known()).unwrap_or_else(|p| panic!("{p:?}"));
    let footprint = definition.footprint();
    assert_eq!(footprint.tables, ["owners".to_owned()].into());
    assert!(footprint.topics.contains("reference.owners"));
    assert_eq!(definition.branches[0].sinks, ["report", "siem"]);
    let site = crate::Site { version: 1, home_networks: &[] };
    let verdicts = crate::testing::run(&definition, site, &|_| Err("no such file".to_owned()));
    assert_eq!(verdicts[0].failure, None);
    let made: serde_json::Value = serde_json::from_str(&verdicts[0].snapshot.as_ref().unwrap().text).unwrap();
    let sinks: Vec<&str> =
        made[0]["delivered"].as_array().unwrap().iter().map(|d| d["sink"].as_str().unwrap()).collect();
    assert_eq!(sinks, ["report", "report", "siem"]);
    assert!(made.to_string().contains("\"web\""), "{made}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]
    #[test]
    fn damaged_ones_never_panic(
        cuts in proptest::collection::vec((0_usize..WHOLE.len(), 0_usize..12, "[ -~\n]{0,6}"), 1..5),
    ) {
        let mut text = WHOLE.to_owned();
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
