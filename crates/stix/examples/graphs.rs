//! Graphs beside the alert's, closed, one bundle a line: a vulnerability, a Windows log, and an alert cut for outsiders. For the
//! OASIS validator: `graphs | while read -r l; do echo "$l" > f.json; stix2_validator --strict --version 2.1 -d 103,301 f.json; done`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for the terminal, not part of the library"
)]
use atio_schemas::Timestamp;
use atio_schemas::detection::{Detection, Kind, Status};
use atio_stix::extension::AtioObservation;
use atio_stix::object::*;
use atio_stix::{Bundle, Stamp, bundle, constants, graph, ids};
use std::sync::Arc;

const T: &str = "default";
const ASSET: &str = "host:db-1.example";

fn ours(id: ids::Id<'_>, at: Stamp) -> Common<'_> {
    Common::new(id, at).by_atio()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn asset() -> Identity<'static> {
    Identity {
        common: ours(ids::asset_identity(T, ASSET), Stamp::FIXED),
        name: ASSET.into(),
        identity_class: Some("system".into()),
        ..Identity::default()
    }
}

fn observed<'a>(key: &[&str], from: Timestamp, to: Timestamp, refs: Vec<ids::Id<'a>>) -> ObservedData<'a> {
    ObservedData {
        common: ours(ids::observed_data(T, key), Stamp::millis(to)),
        first_observed: Stamp::millis(from),
        last_observed: Stamp::millis(to),
        number_observed: 1,
        object_refs: refs,
    }
}

fn vulnerability() -> Detection {
    let (start, end) = (at("2026-01-02T03:00:00Z"), at("2026-01-02T03:20:00Z"));
    let mut d =
        Detection::new("00000000-0000-5000-8000-000000000002".into(), Kind::Vulnerability, T, "openvas");
    let uid = ids::finding_uid(T, ASSET, "443/tcp", "1.3.6.1.4.1.25623.1.0.117702");
    let mut flaw = Vulnerability::of_cve(T, "CVE-2021-41773");
    flaw.common.created_by_ref = Some(constants::atio_identity_id());
    flaw.description = Some("Path traversal in Apache HTTP Server 2.4.49".into());
    let cure = CourseOfAction {
        common: ours(
            ids::course_of_action_nvt(T, "1.3.6.1.4.1.25623.1.0.117702", "Update to 2.4.51."),
            Stamp::FIXED,
        ),
        name: "Update to 2.4.51.".into(),
        description: Some("Vendor fix".into()),
    };
    let place = Infrastructure {
        common: ours(ids::asset_infrastructure(T, ASSET), Stamp::FIXED),
        name: ASSET.into(),
        description: Some("An asset of the inventory".into()),
        infrastructure_types: vec!["unknown".into()],
        ..Infrastructure::default()
    };
    let address = Ipv4Addr::new("10.1.2.4");
    let software = Software {
        name: "Apache HTTP Server".into(),
        cpe: Some("cpe:2.3:a:apache:http_server:2.4.49:*:*:*:*:*:*:*".into()),
        ..Software::default()
    }
    .identified();
    let mut has = Relationship::between(T, "has", place.common.id, flaw.common.id);
    has.common = ours(ids::finding_has(T, &uid, "CVE-2021-41773"), Stamp::millis(end));
    has.common.confidence = Some(97);
    has.start_time = Some(Stamp::millis(end));
    let link = |kind, from, to| {
        let mut link = Relationship::between(T, kind, from, to);
        link.common.created_by_ref = Some(constants::atio_identity_id());
        link
    };
    let seen = observed(&[&d.event_id], start, end, vec![address.common.id, software.common.id]);
    let mut out = Bundle::new(&ids::bundle(T, &[&d.event_id]));
    out.push(&asset()).unwrap();
    out.push(&place).unwrap();
    out.push(&flaw).unwrap();
    out.push(&cure).unwrap();
    out.push(&link("remediates", cure.common.id, flaw.common.id)).unwrap();
    out.push(&link("consists-of", place.common.id, address.common.id)).unwrap();
    out.push(&link("consists-of", place.common.id, software.common.id)).unwrap();
    out.push(&has).unwrap();
    out.push(&address).unwrap();
    out.push(&software).unwrap();
    out.push(&seen).unwrap();
    d.bundle = Arc::from(out.finish());
    d.finding_uid = Some(uid);
    d.status = Some(Status::New);
    d.rule.name = Some("Apache HTTP Server path traversal".into());
    d.confidence = Some(97);
    d.reported_at = Some(end);
    d
}

fn log() -> Detection {
    let when = at("2026-01-02T03:04:05.1234567Z");
    let mut d = Detection::new("00000000-0000-5000-8000-000000000003".into(), Kind::Log, T, "windows");
    let user = UserAccount {
        user_id: Some("S-1-5-21-1-2-3-1001".into()),
        account_login: Some("alice".into()),
        account_type: Some("windows-domain".into()),
        ..UserAccount::default()
    }
    .identified();
    let folder = Directory::new("C:\\Windows\\System32");
    let image = File {
        name: Some("cmd.exe".into()),
        parent_directory_ref: Some(folder.common.id),
        ..File::default()
    }
    .identified();
    let process = Process {
        common: ScoCommon::new(ids::process(ASSET, 4242, "2026-01-02T03:04:05.123Z", &d.event_id)),
        pid: Some(4242),
        command_line: Some("cmd.exe /c whoami".into()),
        creator_user_ref: Some(user.common.id),
        image_ref: Some(image.common.id),
        ..Process::default()
    };
    let key = [ASSET, "Security", "12345", "2026-01-02T03:04:05.123456Z"];
    let refs = vec![user.common.id, folder.common.id, image.common.id, process.common.id];
    let mut seen = observed(&key, when, when, refs);
    seen.common.extensions.0.push(Extension::Observation(AtioObservation {
        provider: Some("Microsoft-Windows-Security-Auditing".into()),
        channel: Some("Security".into()),
        code: Some("4688".into()),
        record_id: Some("12345".into()),
        ..AtioObservation::default()
    }));
    let mut out = Bundle::new(&ids::bundle(T, &[&d.event_id]));
    out.push(&asset()).unwrap();
    out.push(&user).unwrap();
    out.push(&folder).unwrap();
    out.push(&image).unwrap();
    out.push(&process).unwrap();
    out.push(&seen).unwrap();
    d.bundle = Arc::from(out.finish());
    d
}

fn main() {
    let show = |bytes: &[u8]| println!("{}", String::from_utf8(bundle::close(bytes)).unwrap());
    let mut found = vulnerability();
    let whole = graph::normalized(&found).unwrap();
    show(&whole);
    show(&graph::normalized(&log()).unwrap());
    found.asset = None;
    found.host = None;
    let branch = graph::Branch { tenant: T, workflow: "share", branch: "external", columns: Some(&found) };
    let inside = |object: &bundle::Object| {
        matches!(object["type"].as_str(), Some("ipv4-addr" | "infrastructure"))
            || object["id"] == ids::asset_identity(T, ASSET).to_text()
    };
    show(&graph::remove(&whole, &branch, inside).unwrap());
}
