//! System calls of the broker, by strace: for each write of records, when it is synced and when it is answered.
use crate::support::{Deadline, Running, topic};
use libtest_mimic::Failed;
use rdkafka::{
    config::ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

/// Records that are sent one after the other, each answered before the next.
const SENT: usize = 12;
/// A segment holds a few of them.
const SEGMENT_BYTES: &str = "3000";

/// One system call that has begun or ended.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    call: String,
    /// The file or connection, as strace names it.
    on: String,
    done: bool,
}

/// Reads strace's lines: calls of several threads are split into a beginning and an end.
fn events(trace: &str) -> Vec<Event> {
    let mut open: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut all = vec![];
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let call = resumed.split_whitespace().next().unwrap_or_default();
            if let Some((begun, on)) = open.remove(thread) {
                assert_eq!(begun, call, "a thread is in one call at a time");
                all.push(Event { call: begun, on, done: true });
            }
            continue;
        }
        let Some((call, arguments)) = rest.split_once('(') else { continue };
        let on = arguments
            .split_once('<')
            .and_then(|(_, path)| path.split_once(">,").or(path.split_once(">)")).or(path.split_once("> ")));
        let on = on.map_or_else(String::new, |(path, _)| path.to_owned());
        all.push(Event { call: call.to_owned(), on: on.clone(), done: false });
        if rest.contains("<unfinished ...>") {
            open.insert(thread.to_owned(), (call.to_owned(), on));
        } else {
            all.push(Event { call: call.to_owned(), on, done: true });
        }
    }
    all
}

impl Event {
    fn is_sync(&self) -> bool {
        matches!(&*self.call, "fsync" | "fdatasync")
    }
    fn is_append(&self) -> bool {
        !self.done && !self.is_sync() && self.on.ends_with(".log")
    }
    fn is_answer(&self) -> bool {
        !self.done && self.on.starts_with("TCP")
    }
}

/// A traced broker with these arguments, a topic, records sent one by one; what it asked of the system meanwhile.
fn traced(fsync: &str) -> Result<Vec<Event>, Failed> {
    let dir = tempfile::tempdir()?;
    let (data, trace) = (dir.path().join("data"), dir.path().join("trace"));
    let mut command = Command::new("strace");
    // The broker stays the child of this process, strace looks on from aside.
    command.args(["-D", "-f", "-yy", "-s", "0", "-o"]).arg(&trace);
    command.args(["-e", "trace=fsync,fdatasync,write,writev,pwrite64,pwritev,sendto,sendmsg"]);
    command.arg(env!("CARGO_BIN_EXE_atio")).args([
        "broker",
        "--listen",
        "127.0.0.1:0",
        "--fsync",
        fsync,
        "--data",
    ]);
    let broker = Running::start("the traced broker", command.arg(&data));
    let kafka = broker.said("kafka");
    topic::create_with(&kafka, "traced", 1, &[("segment.bytes", SEGMENT_BYTES)]);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka).set("linger.ms", "0").set("acks", "all");
    let producer: BaseProducer = config.create()?;
    let value = "x".repeat(500);
    for n in 0..SENT {
        let key = n.to_string();
        let record = BaseRecord::to("traced").partition(0).key(&key).payload(&value);
        producer.send(record).map_err(|(e, _)| e.to_string())?;
        Deadline::after(60).until("an answer", || {
            producer.poll(Duration::ZERO);
            (producer.in_flight_count() == 0).then_some(())
        });
    }
    // SIGTERM: strace ends with the broker, its file is whole.
    broker.stop("the traced broker");
    let text = Deadline::after(60).until("the trace's end", || {
        let text = std::fs::read_to_string(&trace).ok()?;
        text.lines().any(|l| l.contains("+++ exited")).then_some(text)
    });
    let logs = logs(&data);
    assert!(logs >= 3, "segments rolled: {logs}");
    Ok(events(&text))
}

fn logs(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    entries
        .map(|p| if p.is_dir() { logs(&p) } else { usize::from(p.extension().is_some_and(|e| e == "log")) })
        .sum()
}

/// Where the appends are, and for each the first answer that begins after it. Nothing else is asked meanwhile.
fn appends(events: &[Event]) -> Vec<(usize, usize)> {
    let at = events.iter().enumerate().filter(|(_, e)| e.is_append()).map(|(at, _)| at);
    at.map(|at| {
        let answer = events[at..].iter().position(Event::is_answer).expect("an answer follows");
        (at, at + answer)
    })
    .collect()
}

pub fn strict_syncs_before_it_answers() -> Result<(), Failed> {
    let events = traced("strict")?;
    let appends = appends(&events);
    assert_eq!(appends.len(), SENT, "one write each");
    for (append, answer) in &appends {
        let between = &events[*append..*answer];
        let synced = between.iter().any(|e| e.done && e.is_sync() && e.on == events[*append].on);
        assert!(synced, "{:?} is synced before it is answered: {between:?}", events[*append]);
    }
    // A segment's name is on the disk before records in it are answered, a topic's directory before its first.
    let dir = |event: &Event| {
        Path::new(&event.on).parent().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let mut before = 0;
    let mut last = "";
    for (append, answer) in &appends {
        let event = &events[*append];
        if event.on != last {
            let listed = events[before..*answer].iter().any(|e| e.done && e.is_sync() && e.on == dir(event));
            assert!(listed, "the directory of {} is synced", event.on);
        }
        (before, last) = (*append, &event.on);
    }
    let first = &events[..appends[0].0];
    let partition = dir(&events[appends[0].0]);
    for up in Path::new(&partition).ancestors().take(3) {
        let synced = first.iter().any(|e| e.done && e.is_sync() && Path::new(&e.on) == up);
        assert!(synced, "{} is synced before the topic is there", up.display());
    }
    Ok(())
}

pub fn os_answers_without_a_sync() -> Result<(), Failed> {
    let events = traced("os")?;
    let appends = appends(&events);
    assert_eq!(appends.len(), SENT, "one write each");
    // Handed to the system before the answer; synced later, in the background, only when a segment is closed.
    for (append, answer) in &appends {
        let done =
            events[*append..*answer].iter().any(|e| e.done && !e.is_sync() && e.on == events[*append].on);
        assert!(done, "{:?} is written before it is answered", events[*append]);
    }
    let syncs = events.iter().filter(|e| e.done && e.is_sync() && e.on.ends_with(".log")).count();
    assert!(syncs < SENT, "{syncs} syncs of {SENT} writes");
    Ok(())
}
