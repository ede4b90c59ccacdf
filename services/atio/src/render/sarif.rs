//! Problems as a SARIF 2.1.0 log (OASIS), which code hosts and editors show beside the line. Owns the shape; only what a refusal has.
//! Must not know: how files are checked.
use atio_schemas::Code;
use atio_topics::{Place, Problem};
use serde_json::{Value, json};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// Every reason that a refusal has: code and what it means.
const RULES: &[(Code, &str)] = &[
    (Code::InvalidDefinition, "A declaration that can't work as it is written"),
    (Code::NotYetSupported, "A part of the language that this version does not know"),
];

/// One run of `atio validate`; without problems its list of results is empty.
pub fn log(problems: &[Problem]) -> Value {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|(id, text)| json!({"id": id.as_str(), "shortDescription": {"text": text}}))
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "atio", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules}},
            // §3.14.17: our columns count characters.
            "columnKind": "unicodeCodePoints",
            "results": problems.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn result(problem: &Problem) -> Value {
    let Problem { code, place, message, help } = problem;
    let text = help.as_ref().map_or_else(|| message.clone(), |help| format!("{message}\nhelp: {help}"));
    let mut result = json!({
        "ruleId": code.as_str(),
        "level": "error",
        "message": {"text": text},
        "locations": [{"physicalLocation": physical(place)}],
    });
    if let Some(index) = RULES.iter().position(|(rule, _)| rule == code) {
        result["ruleIndex"] = json!(index);
    }
    result
}

fn physical(place: &Place) -> Value {
    let mut location = json!({"artifactLocation": {"uri": uri(&place.file)}});
    if place.line > 0 {
        location["region"] = json!({"startLine": place.line, "startColumn": place.column.max(1)});
    }
    location
}

/// A path as a URI reference: relative ones stay relative, to wherever the command was started.
fn uri(path: &str) -> String {
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    let path = path.strip_prefix("./").unwrap_or(path);
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(byte.into())
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log() {
        let place = Place { file: "w/täglich 1.yaml".into(), line: 5, column: 9 };
        let problems = [
            Problem::new(&place, "unknown column `kynd`").help(Some("did you mean `kind`?".into())),
            Problem::later(&Place::file("/etc/w.yaml"), "step `each`", &[]),
        ];
        let log = log(&problems);
        let results = &log["runs"][0]["results"];
        assert_eq!(results[0]["message"]["text"], "unknown column `kynd`\nhelp: did you mean `kind`?");
        assert_eq!(
            results[0]["locations"][0]["physicalLocation"],
            json!({"artifactLocation": {"uri": "w/t%C3%A4glich%201.yaml"}, "region": {"startLine": 5, "startColumn": 9}})
        );
        assert_eq!(
            results[1]["locations"][0]["physicalLocation"],
            json!({"artifactLocation": {"uri": "file:///etc/w.yaml"}})
        );
        for result in results.as_array().unwrap() {
            let rule =
                &log["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
            assert_eq!(rule["id"], result["ruleId"]);
        }
    }
}
