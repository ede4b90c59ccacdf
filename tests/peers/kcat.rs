//! kcat on the embedded broker: lists, produces with every codec, consumes by offset and by group.
use crate::support::{Child, Deadline, Need, Running, atio, process::Ended, topic, trial, unique};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::{fmt::Write as _, process::Command};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const EACH: usize = 200;

pub fn trials() -> Vec<Trial> {
    vec![trial("peers::kcat", &[Need::Kcat], kcat)]
}

fn run(kafka: &str, args: &[&str]) -> Result<Ended, Failed> {
    let ended = Child::start(Command::new("kcat").args(["-b", kafka]).args(args)).finish(Deadline::after(60));
    if ended.status.success() { Ok(ended) } else { Err(format!("kcat {args:?}: {}", ended.told()).into()) }
}

/// Keys and payloads of kcat's JSON lines, sorted.
fn pairs(ended: &Ended) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().expect("text").to_owned();
    let of = |line: &String| {
        let record: Value = serde_json::from_str(line).expect("JSON");
        (text(&record["key"]), text(&record["payload"]))
    };
    let mut all: Vec<_> = ended.stdout.iter().map(of).collect();
    all.sort();
    all
}

fn kcat() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let mut command = atio();
    command.args(["broker", "--listen", "127.0.0.1:0", "--data"]).arg(dir.path());
    let broker = Running::start("the broker", &mut command);
    let kafka = broker.said("kafka");
    let topic = unique("kcat");
    // kcat makes no topics, and the broker none by itself.
    topic::create(&kafka, &topic, 3);
    let (mut sent, input) = (vec![], dir.path().join("input"));
    for codec in CODECS {
        let mut lines = String::new();
        for n in 0..EACH {
            writeln!(lines, "{codec}-{n}\tpayload {n} by {codec}")?;
            sent.push((format!("{codec}-{n}"), format!("payload {n} by {codec}")));
        }
        std::fs::write(&input, lines)?;
        let file = input.to_str().ok_or("a path")?;
        let idempotent = "enable.idempotence=true";
        run(&kafka, &["-P", "-t", &topic, "-K", "\t", "-z", codec, "-X", idempotent, "-l", file])?;
    }
    sent.sort();
    let listed: Value = serde_json::from_str(&run(&kafka, &["-L", "-J"])?.stdout.concat())?;
    let topics = listed["topics"].as_array().ok_or("topics")?;
    let found = topics.iter().find(|t| t["topic"] == topic.as_str()).ok_or("the topic is listed")?;
    assert_eq!(listed["brokers"].as_array().map(Vec::len), Some(1), "one broker: {listed}");
    assert!(found["partitions"].as_array().is_some_and(|p| !p.is_empty()), "partitions: {found}");
    let all = pairs(&run(&kafka, &["-C", "-t", &topic, "-o", "beginning", "-e", "-q", "-J"])?);
    assert_eq!(all, sent, "everything comes back");
    let end = sent.len().to_string();
    let group = unique("kcat-group");
    let by_group = pairs(&run(&kafka, &["-G", &group, "-o", "beginning", "-c", &end, "-q", "-J", &topic])?);
    assert_eq!(by_group, sent, "a group gets everything once");
    broker.stop("the broker");
    Ok(())
}
