//! Counts over the shared corpus against what others expect: `judge DIR`, DIR holding `suricata/` and `openvas/`.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use atio_formats::finding::{Body, Findings, Network};
use atio_formats::{ReadCx, detect, read};
use atio_schemas::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() {
    let root = PathBuf::from(std::env::args().nth(1).expect("usage: judge DIR"));
    let mut wrong = suricata_verify(&root.join("suricata/suricata-verify"));
    others(&root.join("suricata/sekoia"));
    others(&root.join("suricata/tenzir"));
    wrong += openvas(&root.join("openvas"));
    wrong += stix(&root);
    wrong += ecs(&root.join("reference/ecs/ecs_builtin_fields.txt"));
    speed(&root.join("suricata/suricata-verify"));
    println!("wrong: {wrong}");
    std::process::exit(i32::from(wrong > 0));
}

fn cx() -> ReadCx {
    ReadCx::new(Timestamp(0))
}

fn networks<'f, 'a>(findings: &'f Findings<'a>) -> impl Iterator<Item = &'f Network<'a>> {
    findings.found.iter().filter_map(|finding| {
        if let Body::Network(network) = &finding.body { Some(network.as_ref()) } else { None }
    })
}

fn suricata_verify(dir: &Path) -> u32 {
    let (mut wrong, mut alerts, mut checks, mut rejects) = (0, 0, 0, 0);
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    let mut quality: BTreeMap<&str, u32> = BTreeMap::new();
    for test in folders(dir) {
        let raw = std::fs::read(test.join("eve.json")).unwrap();
        let format = detect(&raw, None).unwrap();
        assert_eq!(format.name, "suricata", "{}", test.display());
        let findings = read(&raw, format, &cx());
        rejects += findings.rejected.len();
        for rejected in &findings.rejected {
            println!("{}:{}: {} {}", test.display(), rejected.line, rejected.code, rejected.message);
        }
        for finding in &findings.found {
            for name in &finding.quality {
                *quality.entry(name).or_default() += 1;
            }
        }
        for network in networks(&findings) {
            *kinds.entry(network.event_type.to_string()).or_default() += 1;
        }
        let found = networks(&findings).filter(|network| network.alert.is_some()).count();
        alerts += found;
        let Ok(text) = std::fs::read(test.join("expect.json")) else { continue };
        let expect: serde_json::Value = serde_json::from_slice(&text).unwrap();
        if expect["alerts_total"].as_u64() != Some(found as u64) {
            wrong += 1;
            println!("{}: {found} alerts, {} expected", test.display(), expect["alerts_total"]);
        }
        for check in expect["checks"].as_array().into_iter().flatten() {
            checks += 1;
            let got = networks(&findings).filter(|network| matches(network, &check["match"])).count() as u64;
            if supported(&check["match"]) && check["count"].as_u64() != Some(got) {
                wrong += 1;
                println!("{}: {got} of {}", test.display(), check);
            }
        }
    }
    println!(
        "suricata-verify: alerts {alerts}, checks {checks}, rejects {rejects}, kinds {kinds:?}, quality {quality:?}"
    );
    wrong
}

/// Fields of a check that a finding carries; a check on others can't be counted here.
const KNOWN: &[&str] = &[
    "event_type",
    "alert.signature_id",
    "alert.signature",
    "alert.severity",
    "alert.category",
    "alert.gid",
    "alert.rev",
    "src_ip",
    "dest_ip",
    "src_port",
    "dest_port",
    "app_proto",
    "alert.action",
    "proto",
];
/// They hold for every event of a signature that these tests look at, so a count stands without them.
const NEUTRAL: &[&str] = &[];

fn supported(wanted: &serde_json::Value) -> bool {
    wanted
        .as_object()
        .unwrap()
        .keys()
        .all(|key| KNOWN.contains(&key.as_str()) || NEUTRAL.contains(&key.as_str()))
}

fn matches(network: &Network<'_>, wanted: &serde_json::Value) -> bool {
    wanted.as_object().unwrap().iter().all(|(key, value)| {
        let text = value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
        let alert = network.alert.as_ref();
        let got = match key.as_str() {
            "event_type" => Some(network.event_type.to_string()),
            "alert.signature_id" => alert.map(|a| a.sid.to_string()),
            "alert.signature" => alert.map(|a| a.signature.to_string()),
            "alert.severity" => alert.and_then(|a| a.priority).map(|p| p.to_string()),
            "alert.category" => alert.map(|a| a.category.as_deref().unwrap_or_default().to_owned()),
            "alert.gid" => alert.map(|a| a.gid.to_string()),
            "alert.rev" => alert.map(|a| a.rev.to_string()),
            "alert.action" => alert.and_then(|a| a.disposition).map(|d| d.to_string()),
            "src_ip" => return network.src.ip.as_deref().map(canonical) == Some(canonical(&text)),
            "dest_ip" => return network.dst.ip.as_deref().map(canonical) == Some(canonical(&text)),
            "src_port" => network.src.port.map(|p| p.to_string()),
            "dest_port" => network.dst.port.map(|p| p.to_string()),
            "app_proto" => network.app_proto.as_deref().map(str::to_owned),
            "proto" => return network.proto.as_deref() == Some(text.to_ascii_lowercase().as_str()),
            _ => return true,
        };
        got.as_deref() == Some(text.as_str())
    })
}

fn canonical(text: &str) -> String {
    text.parse::<std::net::IpAddr>().map_or_else(|_| text.to_owned(), |a| a.to_string())
}

/// Files that others' parsers read: what came out, by eye.
fn others(dir: &Path) {
    for file in files(dir) {
        let raw = std::fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy();
        if name.contains("expected") {
            continue;
        }
        // Sekoia's fixtures hold the raw event as text under input.message.
        let fixture: Option<serde_json::Value> = serde_json::from_slice(&raw).ok();
        let raw = fixture
            .as_ref()
            .and_then(|f| f["input"]["message"].as_str())
            .map_or(raw.clone(), |text| text.as_bytes().to_vec());
        match detect(&raw, None) {
            Ok(format) => {
                let findings = read(&raw, format, &cx());
                let kinds: Vec<_> = networks(&findings).map(|n| n.event_type.to_string()).collect();
                let rejects: Vec<_> =
                    findings.rejected.iter().map(|r| format!("{}: {}", r.code, r.message)).collect();
                println!("{}: {} {kinds:?} {rejects:?}", file.display(), format.name);
            }
            Err(error) => println!("{}: {error}", file.display()),
        }
    }
}

/// Valid files of STIX 2.1 are read whole; how many of the invalid ones are refused is printed (values of vocabularies are not judged).
fn stix(root: &Path) -> u32 {
    let labels = std::fs::read_to_string(root.join("stix21/STIX_VALIDATOR_labels.tsv")).unwrap();
    let (mut valid, mut wrong, mut refused, mut invalid) = (0, 0, 0, 0);
    for cells in labels.lines().map(|line| line.split('\t').collect::<Vec<_>>()) {
        let Ok(raw) = std::fs::read(root.join(cells[0])) else { continue };
        let format = match detect(&raw, None) {
            Ok(format) if format.name == "stix" => format,
            other => {
                println!("{}: {other:?}", cells[0]);
                wrong += 1;
                continue;
            }
        };
        let findings = read(&raw, format, &cx());
        let rejects: Vec<_> =
            findings.rejected.iter().map(|r| format!("{}: {}", r.code, r.message)).collect();
        if cells[1] == "valid" {
            valid += 1;
            if !rejects.is_empty() {
                wrong += 1;
                println!("{}: {:?}", cells[0], rejects.first());
            }
        } else {
            invalid += 1;
            refused += u32::from(!rejects.is_empty());
        }
    }
    println!("stix: {valid} valid files, {invalid} invalid of which {refused} are refused in part");
    wrong
}

/// Every field that the ECS writer fills, custom ones aside, is one of the schema's.
fn ecs(names: &Path) -> u32 {
    let known = std::fs::read_to_string(names).unwrap();
    let known: BTreeSet<&str> = known.lines().collect();
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/examples/atio.detection/full.json");
    let full: atio_schemas::Detection = serde_json::from_slice(&std::fs::read(example).unwrap()).unwrap();
    let (mut fields, mut wrong) = (BTreeSet::new(), 0);
    for kind in atio_schemas::detection::Kind::ALL {
        let detection = atio_schemas::Detection { kind: *kind, ..full.clone() };
        let written = atio_formats::writer("ecs")
            .unwrap()
            .writer
            .write(&detection, &atio_formats::WriteCx::default())
            .unwrap();
        leaves("", &serde_json::from_slice(&written.body).unwrap(), &mut fields);
    }
    for field in fields.iter().filter(|field| !field.starts_with("atio.")) {
        if !known.contains(field.as_str()) {
            wrong += 1;
            println!("ecs: no field {field}");
        }
    }
    println!("ecs: {} fields", fields.len());
    wrong
}

fn leaves(path: &str, value: &serde_json::Value, out: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (name, inner) in map {
                leaves(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, inner, out);
            }
        }
        _ => {
            out.insert(path.to_owned());
        }
    }
}

fn openvas(dir: &Path) -> u32 {
    let table = std::fs::read_to_string(dir.join("EXPECTED_findings.tsv")).unwrap();
    let expected: BTreeMap<&str, &str> = table
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|cells| (cells[1], cells[2]))
        .collect();
    let mut wrong = 0;
    for file in
        files(dir).iter().filter(|file| file.extension().is_some_and(|ext| ext == "xml" || ext == "csv"))
    {
        let raw = std::fs::read(file).unwrap();
        let format = match detect(&raw, None) {
            Ok(format) => format,
            Err(error) => {
                wrong += 1;
                println!("{}: {error}", file.display());
                continue;
            }
        };
        let findings = read(&raw, format, &cx());
        let results: Vec<_> = findings
            .found
            .iter()
            .filter_map(|f| if let Body::Result(r) = &f.body { Some(r) } else { None })
            .collect();
        let hosts: Vec<_> = findings
            .found
            .iter()
            .filter_map(|f| if let Body::Host(h) = &f.body { Some(h) } else { None })
            .collect();
        let cves: BTreeSet<&str> = results.iter().flat_map(|r| r.cves.iter().map(String::as_str)).collect();
        let logged: BTreeSet<&str> =
            results.iter().filter(|r| r.log_level).flat_map(|r| r.cves.iter().map(String::as_str)).collect();
        let fields = cve_fields(&String::from_utf8_lossy(&raw), format.name);
        let name = file.file_name().unwrap().to_string_lossy();
        let count = expected.get(name.as_ref());
        let log = results.iter().filter(|r| r.log_level).count();
        let ok = cves.iter().map(|c| (*c).to_owned()).collect::<BTreeSet<_>>() == fields
            && count.is_none_or(|c| c.parse() == Ok(results.len()));
        wrong += u32::from(!ok);
        println!(
            "{name}: {} results ({} expected, {log} log), {} CVEs ({} in fields, {} in log results), rejected {:?}, {} {:?} ok={ok}",
            results.len(),
            count.unwrap_or(&"?"),
            cves.len(),
            fields.len(),
            logged.len(),
            findings.rejected.iter().map(|r| format!("{} {}", r.code, r.message)).collect::<Vec<_>>(),
            format.name,
            findings.notices
        );
        for host in hosts {
            println!(
                "    host {:?} {:?} os {:?} cpes {} macs {:?} {:?}-{:?} complete {} {}/{}/{} log {} fp {}",
                host.ip,
                host.hostnames,
                host.os,
                host.cpes.len(),
                host.macs,
                host.start.map(Timestamp::rfc3339_millis),
                host.end.map(Timestamp::rfc3339_millis),
                host.complete,
                host.high,
                host.medium,
                host.low,
                host.log,
                host.false_positives
            );
        }
    }
    wrong
}

/// Distinct CVEs by plain search in the CVE fields alone.
fn cve_fields(text: &str, format: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let fields: Vec<String> = if format == "openvas-csv" {
        let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
        let at = rows.headers().unwrap().iter().position(|name| name == "CVEs");
        rows.records().filter_map(|row| row.unwrap().get(at.unwrap()).map(str::to_owned)).collect()
    } else {
        let cve = text.split("<cve>").skip(1).map(|part| part.split("</cve>").next().unwrap().to_owned());
        let refs = text
            .split("<ref ")
            .skip(1)
            .map(|part| part.split("/>").next().unwrap().to_owned())
            .filter(|part| part.contains("type=\"cve\""));
        cve.chain(refs).collect()
    };
    for field in fields {
        out.extend(
            field
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .filter(|word| word.starts_with("CVE-"))
                .map(str::to_owned),
        );
    }
    out
}

fn speed(dir: &Path) {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for test in folders(dir) {
        let raw = std::fs::read(test.join("eve.json")).unwrap();
        let alerts = raw
            .split(|byte| *byte == b'\n')
            .filter(|line| memchr::memmem::find(line, b"\"event_type\":\"alert\"").is_some());
        lines.extend(alerts.map(<[u8]>::to_vec));
    }
    let bytes: usize = lines.iter().map(Vec::len).sum();
    let format = atio_formats::format("suricata").unwrap();
    let cx = cx();
    let mut found = 0;
    let rounds = 20;
    let start = Instant::now();
    for _ in 0..rounds {
        for line in &lines {
            found += read(line, format, &cx).found.len();
        }
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / (rounds * lines.len()) as f64;
    let start = Instant::now();
    let known = lines.iter().filter(|line| detect(line, None).is_ok()).count();
    println!("detection: {:.2} µs each of {known}", start.elapsed().as_secs_f64() * 1e6 / lines.len() as f64);
    println!("speed: {found} alerts read, {each:.2} µs each, {} bytes on average", bytes / lines.len());
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let mut out: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    out.sort();
    out
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}
