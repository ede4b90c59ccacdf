//! `atio normalize` as people and scripts run it: outputs, places of what could not be read, exit codes. No broker.
use crate::support::{atio, root, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What a run came to.
struct Run {
    code: i32,
    /// stdout, each line as JSON.
    out: Vec<Value>,
    raw: String,
    /// stderr, each line as JSON.
    err: Vec<Value>,
}

impl Run {
    fn codes(&self) -> Vec<&str> {
        self.err.iter().filter_map(|e| e["code"].as_str()).collect()
    }
}

/// Runs the program on files; everything on stderr must be JSON lines.
fn normalize(arguments: &[&str], files: &[&Path]) -> Run {
    normalize_with(arguments, files, b"")
}

fn normalize_with(arguments: &[&str], files: &[&Path], stdin: &[u8]) -> Run {
    let mut child = program(arguments, files).spawn().expect("the program starts");
    let mut pipe = child.stdin.take().expect("stdin");
    let bytes = stdin.to_vec();
    let feed = std::thread::spawn(move || drop(pipe.write_all(&bytes)));
    let output = child.wait_with_output().expect("the program ends");
    feed.join().expect("fed");
    let lines = |bytes: &[u8]| -> Vec<Value> {
        let text = std::str::from_utf8(bytes).expect("UTF-8");
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("no JSON ({e}): {l}")))
            .collect()
    };
    Run {
        code: output.status.code().expect("no signal"),
        out: lines(&output.stdout),
        raw: String::from_utf8(output.stdout.clone()).expect("UTF-8"),
        err: lines(&output.stderr),
    }
}

fn program(arguments: &[&str], files: &[&Path]) -> Command {
    let mut command = atio();
    command.arg("normalize").args(arguments).args(files).current_dir(std::env::temp_dir());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn samples() -> PathBuf {
    root().join("crates/formats/samples")
}

/// A file with this content, in a directory that the caller keeps.
fn file(dir: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("written");
    path
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// One good alert, without its line break.
fn alert() -> String {
    let text = std::fs::read_to_string(samples().join("suricata/alert-cve.ndjson")).expect("a sample");
    text.lines().next().expect("a line").to_owned()
}

type Check = fn() -> Result<(), Failed>;

const TRIALS: &[(&str, Check)] = &[
    ("columns", columns),
    ("closed_bundles", closed_bundles),
    ("places_and_codes", places_and_codes),
    ("byte_order_mark_and_crlf", byte_order_mark_and_crlf),
    ("well_formed_and_empty", well_formed_and_empty),
    ("blank_and_unknown", blank_and_unknown),
    ("entities_are_refused", entities_are_refused),
    ("depth", depth),
    ("a_line_of_5_mb", a_line_of_5_mb),
    ("duplicate_keys", duplicate_keys),
    ("unreadable_beside_dead_letters", unreadable_beside_dead_letters),
    ("usage", usage),
    ("compressed", compressed),
    ("long_sequences_are_not_held", long_sequences_are_not_held),
    ("whole_documents_have_a_limit", whole_documents_have_a_limit),
    ("standard_input", standard_input),
    ("same_input_same_ids", same_input_same_ids),
    ("a_closed_pipe_is_quiet", a_closed_pipe_is_quiet),
];

pub fn trials() -> Vec<Trial> {
    TRIALS.iter().map(|(name, check)| trial(&format!("pipeline::normalize::{name}"), &[], *check)).collect()
}

/// Every column by its name, in the shapes that are promised.
fn columns() -> Result<(), Failed> {
    let run = normalize(&["--to", "detection"], &[&samples().join("suricata/alert-cve.ndjson")]);
    assert_eq!((run.code, run.out.len(), run.err.len()), (0, 2, 0));
    let d = &run.out[0];
    let names: BTreeSet<&str> = d.as_object().expect("an object").keys().map(String::as_str).collect();
    let wanted = "event_id finding_uid kind category tenant zone source product sensor rule code provider channel severity_id \
        severity_score severity_raw confidence importance asset_risk reasons decision disposition outcome status count asset \
        asset_resolved_by criticality exposure policies host users process parent command_line hashes domains urls email_from \
        email_to email_subject src dst proto direction actor target community_id flow_id bytes_out cloud_account resource cves \
        cpes cvss epss kev fix_available capecs tactics techniques matched_indicators recommended_actions occurred_at reported_at \
        received_at first_seen last_seen tlp labels quality incident_id iris_id misp_id external_ids analysts tools raw_ref \
        raw_sha256 tool_url suppressed_by bundle";
    assert_eq!(names, wanted.split_whitespace().collect());
    assert_eq!(d["rule"]["id"], "1:9000001");
    assert_eq!(d["occurred_at"], "2026-03-02T09:15:27.300114Z");
    assert!(d["flow_id"].is_string() && d["severity_score"].is_f64() && d["src"]["port"].is_u64());
    assert!(d["confidence"].as_i64().is_some_and(|c| (0..=100).contains(&c)));
    for unknown in ["importance", "incident_id", "iris_id", "epss", "kev", "first_seen", "criticality"] {
        assert_eq!(d[unknown], Value::Null, "{unknown}");
    }
    for list in ["users", "policies", "reasons", "email_to", "analysts"] {
        assert_eq!(d[list], Value::Array(vec![]), "{list}");
    }
    assert_eq!(d["bundle"]["type"], "bundle");
    Ok(())
}

/// Every sample: bundles that hold all that they refer to; a log has no report, what someone must see has one.
fn closed_bundles() -> Result<(), Failed> {
    let mut bundles = 0;
    for (format, name) in [
        ("suricata", "alert-cve.ndjson"),
        ("suricata", "dns.ndjson"),
        ("openvas-xml", "report.xml"),
        ("openvas-csv", "results.csv"),
    ] {
        let path = samples().join(format).join(name);
        let (stix, rows) = (normalize(&[], &[&path]), normalize(&["--to", "detection"], &[&path]));
        assert_eq!((stix.code, rows.code, stix.out.len()), (0, 0, rows.out.len()), "{name}");
        for (bundle, row) in stix.out.iter().zip(&rows.out) {
            // Without a time of its own, when it was read stands in.
            let guessed = row["quality"].as_array().is_some_and(|q| q.contains(&"time_guessed".into()));
            assert!(
                guessed || *bundle == row["bundle"],
                "{name}: the same bundle either way, whenever it is made"
            );
            let objects = bundle["objects"].as_array().expect("objects");
            let ids: BTreeSet<&str> = objects.iter().filter_map(|o| o["id"].as_str()).collect();
            assert_eq!(ids.len(), objects.len(), "{name}: each id once");
            for object in objects {
                dangling(object, &ids, name);
            }
            let reported = objects.iter().any(|o| o["type"] == "report");
            assert_eq!(reported, row["kind"] != "log", "{name}: {}", row["kind"]);
            bundles += 1;
        }
    }
    assert!(bundles >= 10, "{bundles}");
    Ok(())
}

/// References of an object, at any depth, must be to what is in the bundle.
fn dangling(value: &Value, ids: &BTreeSet<&str>, name: &str) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, inner)| {
            let refs: Vec<&Value> = match inner {
                Value::Array(list) if key.ends_with("_refs") => list.iter().collect(),
                one if key.ends_with("_ref") => vec![one],
                _ => vec![],
            };
            // What is no id, such as `raw_ref`, refers to no object.
            for id in refs.iter().filter_map(|r| r.as_str()).filter(|id| id.contains("--")) {
                assert!(ids.contains(id), "{name}: {key} {id}");
            }
            dangling(inner, ids, name);
        }),
        Value::Array(list) => list.iter().for_each(|inner| dangling(inner, ids, name)),
        _ => {}
    }
}

/// What can't be read is told with its place, and leaves its neighbours alone.
fn places_and_codes() -> Result<(), Failed> {
    let path = samples().join("suricata/broken.ndjson");
    let run = normalize(&[], &[&path]);
    assert_eq!((run.code, run.out.len()), (3, 3));
    assert_eq!(run.codes(), ["truncated", "invalid_json", "missing_field", "missing_field"]);
    let content = std::fs::read(&path).expect("the sample");
    for (letter, line) in run.err.iter().zip([1, 2, 4, 5]) {
        assert_eq!(letter["line"], line);
        assert_eq!(letter["stage"], "normalization");
        assert_eq!(letter["file"], path.to_str().expect("UTF-8"));
        assert!(letter["message"].as_str().is_some_and(|m| !m.is_empty()));
        let offset = usize::try_from(letter["offset"].as_u64().expect("a number")).expect("small");
        let before = content[..offset].iter().filter(|b| **b == b'\n').count();
        assert_eq!(before + 1, line, "offset {offset}");
    }
    let cut = normalize(&[], &[&samples().join("openvas-xml/truncated.xml")]);
    assert_eq!((cut.code, cut.codes()), (3, vec!["truncated"]));
    let bad = normalize(&[], &[&samples().join("suricata/not-utf8.ndjson")]);
    assert_eq!((bad.code, bad.codes(), bad.out.len()), (3, vec!["bad_encoding"], 1));
    Ok(())
}

fn byte_order_mark_and_crlf() -> Result<(), Failed> {
    let dir = directory();
    let text = format!("\u{feff}{}\r\n{}\r\n", alert(), alert());
    let run = normalize(&["--to", "detection"], &[&file(&dir, "crlf", text)]);
    assert_eq!((run.code, run.out.len(), run.err.len()), (0, 2, 0));
    Ok(())
}

fn well_formed_and_empty() -> Result<(), Failed> {
    let dir = directory();
    let xml = r#"<report id="a" format_id="b" content_type="text/xml"><report id="a"><results start="1" max="0"/></report></report>"#;
    let empty = [
        file(&dir, "report.xml", xml),
        file(&dir, "bundle.json", r#"{"type":"bundle","id":"bundle--6f1f7d2a-3f0e-4a6e-8e58-0c4f1f7a9e02"}"#),
    ];
    for path in &empty {
        let run = normalize(&[], &[path]);
        assert_eq!((run.code, run.out.len()), (0, 0), "{}: {:?}", path.display(), run.err);
        assert!(run.codes().is_empty());
    }
    let run = normalize(&["--format", "suricata"], &[&file(&dir, "array.json", "[]")]);
    assert_eq!((run.code, run.out.len()), (0, 0), "{:?}", run.err);
    Ok(())
}

fn blank_and_unknown() -> Result<(), Failed> {
    let dir = directory();
    for (content, code) in [("", "empty"), (" \n\n", "empty"), ("hello\n", "unknown_format")] {
        let run = normalize(&[], &[&file(&dir, "it", content)]);
        assert_eq!((run.code, run.codes(), run.out.len()), (3, vec![code], 0), "{content:?}");
        assert_eq!((&run.err[0]["offset"], &run.err[0]["line"]), (&Value::from(0), &Value::from(1)));
    }
    let wide: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(normalize(&[], &[&file(&dir, "wide", wide)]).codes(), ["bad_encoding"]);
    Ok(())
}

fn entities_are_refused() -> Result<(), Failed> {
    let run = normalize(&[], &[&samples().join("openvas-xml/entity.xml")]);
    assert_eq!((run.code, run.codes(), run.out.len()), (3, vec!["xml_entity"], 0));
    Ok(())
}

fn depth() -> Result<(), Failed> {
    let dir = directory();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let text = format!(
        "{}\n{}\n{{\"event_type\":{}}}\n{}\n",
        alert(),
        deep("[", "]"),
        deep("{\"a\":", "1}"),
        alert()
    );
    let run = normalize(&[], &[&file(&dir, "deep.ndjson", text)]);
    assert_eq!((run.code, run.out.len()), (3, 2));
    assert_eq!(run.codes().first(), Some(&"too_deep"));
    let xml = format!("<report id=\"a\">{}</report>", deep("<a>", "</a>"));
    let run = normalize(&["--format", "openvas-xml"], &[&file(&dir, "deep.xml", xml)]);
    assert_eq!((run.code, run.codes()), (3, vec!["too_deep"]));
    Ok(())
}

fn a_line_of_5_mb() -> Result<(), Failed> {
    let dir = directory();
    let mut event: Value = serde_json::from_str(&alert())?;
    event["payload_printable"] = "x".repeat(5_000_000).into();
    let run =
        normalize(&["--to", "detection"], &[&file(&dir, "wide.ndjson", format!("{event}\n{}\n", alert()))]);
    assert_eq!((run.code, run.out.len(), run.err.len()), (0, 2, 0));
    Ok(())
}

/// Two values under one name: the last counts, as in every parser, and it is said.
fn duplicate_keys() -> Result<(), Failed> {
    let dir = directory();
    let text = format!("{},\"src_ip\":\"198.51.100.9\"}}\n", alert().strip_suffix('}').expect("an object"));
    let run = normalize(&["--to", "detection"], &[&file(&dir, "twice.ndjson", text)]);
    assert_eq!((run.code, run.out.len()), (0, 1));
    assert_eq!(
        (&run.out[0]["quality"][0], &run.out[0]["src"]["ip"]),
        (&"duplicate_key".into(), &"198.51.100.9".into())
    );
    Ok(())
}

fn unreadable_beside_dead_letters() -> Result<(), Failed> {
    let dir = directory();
    let (missing, broken) = (dir.path().join("missing"), samples().join("suricata/broken.ndjson"));
    let run = normalize(&[], &[&missing, &broken, dir.path()]);
    assert_eq!((run.code, run.out.len(), run.codes().len()), (1, 3, 4));
    let errors: Vec<&Value> = run.err.iter().filter(|e| e["level"] == "error").collect();
    assert_eq!(errors.len(), 2, "the missing file and the directory");
    assert_eq!(errors[0]["file"], missing.to_str().expect("UTF-8"));
    Ok(())
}

fn usage() -> Result<(), Failed> {
    let sample = samples().join("suricata/dns.ndjson");
    for arguments in [&["--format", "nessus"][..], &["--to", "misp"], &["--no-such-flag"]] {
        let output = program(arguments, &[&sample]).output()?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(program(&[], &[]).output()?.status.code(), Some(2), "no file");
    Ok(())
}

fn compressed() -> Result<(), Failed> {
    let dir = directory();
    for head in [&b"\x1f\x8b\x08\0\0\0\0\0"[..], b"\x28\xb5\x2f\xfd\0\0"] {
        let run = normalize(&["--format", "suricata"], &[&file(&dir, "packed", head)]);
        assert_eq!((run.code, run.codes()), (3, vec!["unsupported_content_type"]));
        assert!(run.err[0]["message"].as_str().is_some_and(|m| m.contains("decompress")));
    }
    Ok(())
}

/// Over the limit of a document: records one by one, the one that is too large told apart, places those of the whole file.
fn long_sequences_are_not_held() -> Result<(), Failed> {
    let dir = directory();
    let good = format!("{}\n", alert());
    let count = (17 << 20) / good.len() + 1;
    let huge = format!("{{\"event_type\":\"alert\",\"x\":\"{}\"}}\n", "y".repeat(22 << 20));
    let text = format!("{}bad\n{huge}{good}", good.repeat(count));
    let run = normalize(&["--to", "detection"], &[&file(&dir, "long.ndjson", &text)]);
    assert_eq!((run.code, run.out.len()), (3, count + 1));
    assert_eq!(run.codes(), ["invalid_json", "too_large"]);
    let offset = good.len() * count;
    assert_eq!((&run.err[0]["offset"], &run.err[0]["line"]), (&Value::from(offset), &Value::from(count + 1)));
    assert_eq!(
        (&run.err[1]["offset"], &run.err[1]["line"]),
        (&Value::from(offset + 4), &Value::from(count + 2))
    );
    let ids: BTreeSet<&str> = run.out.iter().filter_map(|d| d["event_id"].as_str()).collect();
    assert_eq!(ids.len(), count + 1, "each event an id of its own");
    Ok(())
}

fn whole_documents_have_a_limit() -> Result<(), Failed> {
    let dir = directory();
    let array = format!("[{}]", vec![alert(); (17 << 20) / alert().len() + 1].join(",\n"));
    let path = file(&dir, "array.json", &array);
    let run = normalize(&[], &[&path]);
    assert_eq!((run.code, run.codes(), run.out.len()), (3, vec!["too_large"], 0));
    let message = run.err[0]["message"].as_str().unwrap_or_default();
    let sha256 = run.err[0]["sha256"].as_str().unwrap_or_default();
    assert_eq!(run.err[0]["size"], array.len());
    assert_eq!(sha256.len(), 64);
    assert!(message.contains(path.to_str().expect("UTF-8")) && message.contains(sha256), "{message}");
    Ok(())
}

fn standard_input() -> Result<(), Failed> {
    let text = format!("{}\n{{\n", alert());
    let run = normalize_with(&[], &[Path::new("-")], text.as_bytes());
    assert_eq!((run.code, run.out.len(), run.codes()), (3, 1, vec!["truncated"]));
    assert_eq!(run.err[0]["file"], "-");
    Ok(())
}

/// Ids come of what a file holds, not of its name, nor of how it was read.
fn same_input_same_ids() -> Result<(), Failed> {
    let dir = directory();
    let path = samples().join("suricata/alert-cve.ndjson");
    let bytes = std::fs::read(&path)?;
    let copy = file(&dir, "other-name", &bytes);
    let runs = [
        normalize(&[], &[&path]),
        normalize(&[], &[&copy]),
        normalize_with(&["--format", "suricata"], &[Path::new("-")], &bytes),
    ];
    assert!(runs[0].out.len() == 2 && runs[0].code == 0);
    assert!(runs[0].raw == runs[1].raw, "another name");
    assert!(runs[0].raw == runs[2].raw, "standard input");
    Ok(())
}

fn a_closed_pipe_is_quiet() -> Result<(), Failed> {
    let dir = directory();
    let path = file(&dir, "many.ndjson", format!("{}\n", alert()).repeat(500));
    let mut child = program(&[], &[&path]).spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    Ok(())
}
