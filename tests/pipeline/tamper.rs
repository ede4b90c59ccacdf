//! Somebody takes a workflow away, by command or behind ATIO's back, or writes to the audit log: noticed, told once, restorable. And a log whose end was
//! cut off, against a signed checkpoint.
use super::system::{System, client};
use crate::support::{Deadline, topic, trial};
use libtest_mimic::{Failed, Trial};
use rdkafka::{
    config::ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

const NAME: &str = "threat-detection-response";

pub fn trials() -> Vec<Trial> {
    vec![trial("pipeline::tamper::noticed_told_restored", &[], noticed)]
}

impl System {
    /// Changes of this type, of whatever object.
    fn changes(&self, kind: &str) -> Vec<Value> {
        let mut all = self.json(&["workflow", "changes"]);
        all.retain(|c| c["change_type"] == kind);
        all
    }
    fn told(&self, topic: &str, kind: &str) -> f64 {
        self.sample(&format!(
            "atio_monitoring_tampering_total{{kind=\"{kind}\",service=\"monitoring\",topic=\"{topic}\"}}"
        ))
    }
    fn untrusted(&self) -> f64 {
        self.sample("atio_monitoring_untrusted_definitions{service=\"monitoring\"}")
    }
    /// Alerts come in, and the workflow gets them.
    fn routes(&self, when: &str) {
        let kafka = self.running.said("kafka");
        let routed = format!("atio.workflow.{NAME}");
        let before = topic::count(&kafka, &routed);
        self.alerts();
        let more = Deadline::after(90)
            .every(Duration::from_millis(200), || (topic::count(&kafka, &routed) > before).then_some(()));
        assert!(more.is_some(), "{when}: alerts reach the workflow");
    }
    /// Writes as nobody may.
    fn write(&self, topic: &str, key: &str, value: Option<&[u8]>) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.running.said("kafka"))
            .create()
            .expect("a producer");
        let mut record = BaseRecord::<str, [u8]>::to(topic).key(key);
        record.payload = value;
        producer.send(record).expect("queued");
        producer.flush(Duration::from_secs(20)).expect("written");
    }
}

fn noticed() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let system = System::up(&data);
    system.routes("as declared");
    deleted_by_command(&system);
    deleted_behind_the_back(&system);
    let known = system.changes("TamperingEvents");
    system.running.stop("the system");
    let kept = dir.path().join("kept.ndjson");
    fs::copy(data.join("checkpoints.ndjson"), &kept)?;

    let system = System::up(&data);
    system.until("the watcher has looked", |s| {
        s.sample("atio_monitoring_watch_up{service=\"monitoring\"}") == 1.0
    });
    assert_eq!(system.changes("TamperingEvents"), known, "told once, also after a restart");
    assert_eq!(
        (system.told("workflows", "deleted"), system.untrusted()),
        (1.0, 1.0),
        "and still not restored"
    );
    system.ok(&["workflow", "restore", NAME]);
    system.until("it is trusted again", |s| s.untrusted() == 0.0);
    let live = system.json(&["workflow", "ls"]);
    let version = live.iter().find(|w| w["name"] == NAME).map(|w| w["version"].clone());
    assert_eq!(version, Some(known[0]["before_version"].clone()), "the one that was in force, not a new one");
    system.routes("restored");
    let export = dir.path().join("export.ndjson");
    system.ok(&["audit", "export", export.to_str().ok_or("text")?]);
    assert!(system.run(&["audit", "verify"]).status.success(), "the log itself is whole");
    foreign_entry(&system);
    system.running.stop("the system");
    cut_off(&data, &export, &kept)
}

fn deleted_by_command(system: &System) {
    system.ok(&["workflow", "delete", NAME, "--reason", "an insider"]);
    assert!(system.json(&["workflow", "ls"]).iter().all(|w| w["name"] != NAME), "it is out of force");
    let [change] = system.changes("DeletionEvents").try_into().expect("one deletion");
    assert_eq!(
        (&change["name"], &change["actor"], &change["reason"]),
        (&NAME.into(), &"trial".into(), &"an insider".into())
    );
    let log = system.json(&["audit", "log", "--object", &format!("workflow/{NAME}")]);
    let entry = log.last().expect("entries");
    let details: Value = serde_json::from_str(entry["details"].as_str().expect("text")).expect("JSON");
    assert_eq!((&entry["action"], &details["definition"]), (&"delete".into(), &change["before"]));
    assert!(change["before"].as_str().is_some_and(|text| text.contains(NAME)), "the full definition");
    system.ok(&["workflow", "restore", NAME]);
    let [restored] = system.changes("RestorationEvents").try_into().expect("one restoration");
    assert_eq!((&restored["after"], &restored["after_version"]), (&change["before"], &2.into()));
    system.routes("restored");
    let again = system.run(&["workflow", "restore", NAME]);
    assert_eq!(again.status.code(), Some(5), "nothing to restore: {}", again.told());
    let unknown = system.run(&["workflow", "restore", "no-such-workflow"]);
    assert_eq!(unknown.status.code(), Some(2), "nothing to restore: {}", unknown.told());
    assert!(system.changes("TamperingEvents").is_empty() && system.untrusted() == 0.0, "all of it was legal");
}

fn deleted_behind_the_back(system: &System) {
    let start = Instant::now();
    system.write("atio.workflows", NAME, None);
    system.until("the deletion is noticed", |s| s.told("workflows", "deleted") == 1.0);
    let noticed = start.elapsed();
    system.until("and told", |s| !s.changes("TamperingEvents").is_empty());
    println!("noticed after {} ms, told after {} ms", noticed.as_millis(), start.elapsed().as_millis());
    let [told] = system.changes("TamperingEvents").try_into().expect("one tampering");
    assert_eq!(
        (&told["finding"], &told["name"], &told["before_version"]),
        (&"deleted".into(), &NAME.into(), &2.into())
    );
    assert!(told["before"].as_str().is_some_and(|text| text.contains(NAME)), "the full definition");
    let log = system.json(&["audit", "log", "--object", &format!("workflow/{NAME}")]);
    assert_eq!(log.iter().filter(|e| e["action"] == "tampering").count(), 1, "one entry: {log:#?}");
    assert!(system.untrusted() == 1.0);
    assert!(system.running.child.stderr().contains("tampering"), "an error line");
}

/// What is no entry, on the audit log.
fn foreign_entry(system: &System) {
    system.write("atio.audit", "commands-0/999", Some(b"forged"));
    let verified = system.run(&["audit", "verify"]);
    assert_eq!(verified.status.code(), Some(1), "{}", verified.told());
    assert!(verified.stdout.iter().any(|l| l.contains("commands-0/999")), "{}", verified.told());
    system.until("the watcher tells", |s| s.told("audit", "unreadable") == 1.0);
    system.until("and followers of changes know", |s| {
        s.changes("TamperingEvents").iter().any(|c| c["kind"] == "audit" && c["finding"] == "unreadable")
    });
}

/// The end of an export cut off: its links do not show it, a checkpoint does.
fn cut_off(data: &Path, export: &Path, kept: &Path) -> Result<(), Failed> {
    let (export, kept) = (export.to_str().ok_or("text")?, kept.to_str().ok_or("text")?);
    let whole = client(data, &["audit", "verify", "--file", export, "--checkpoint", kept]);
    assert!(whole.status.success(), "{}", whole.told());
    let text = fs::read_to_string(export)?;
    let first: Vec<&str> = text.lines().filter(|l| l.contains("\"commands-0/1\"")).collect();
    assert_eq!(first.len(), 1);
    fs::write(export, format!("{}\n", first[0]))?;
    let alone = client(data, &["audit", "verify", "--file", export]);
    assert!(alone.status.success(), "what is left links: {}", alone.told());
    let cut = client(data, &["audit", "verify", "--file", export, "--checkpoint", kept]);
    assert_eq!(cut.status.code(), Some(1), "{}", cut.told());
    assert!(cut.stdout.iter().any(|l| l.contains("cut: a checkpoint of")), "{}", cut.told());
    // Who can write the file can't sign it.
    let forged = fs::read_to_string(kept)?.replace("\\\"sequence\\\":", "\\\"sequence\\\":1");
    fs::write(kept, forged)?;
    let forged = client(data, &["audit", "verify", "--file", export, "--checkpoint", kept]);
    assert_eq!(forged.status.code(), Some(1), "{}", forged.told());
    assert!(forged.stderr.contains("no checkpoint"), "{}", forged.told());
    Ok(())
}
