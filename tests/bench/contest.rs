//! Contestants on one prefilled topic, in turn, so that a ratio compares neighbours in time: CPU of the process alone, events per second, peak
//! memory, bytes out. Owns the measuring; must not know how a contestant works.
use crate::{
    alerts,
    broker::Broker,
    figures::Figures,
    peers, process,
    support::{Child, Deadline, Running, atio, unique},
    worker::{JOB, Job, Task},
};
use serde_json::json;
use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration, time::Instant};

/// Records that each contestant's output is verified on.
const VERIFIED: u64 = 3000;
/// This share of the records warms up: 1 of so many.
const WARM: u64 = 5;

#[derive(Clone, Debug)]
pub enum Who {
    /// A worker of ours.
    Ours(Task),
    /// `atio run normalization`, of this program.
    Process(PathBuf),
    Tenzir,
    Streams,
}

/// One run of a contestant.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub cpu: f64,
    pub rate: f64,
    pub rss: f64,
    /// CPU and seconds from the process's start to the last record.
    whole: (f64, f64),
}

impl Run {
    /// What a long run took beyond a short one, where the way of the records can't be followed: an engine that works in large batches has done
    /// most of the work before its first output is seen.
    fn beyond(self, short: Self, records: u64) -> Self {
        let more = (records - VERIFIED) as f64;
        let (cpu, wall) = (self.whole.0 - short.whole.0, self.whole.1 - short.whole.1);
        Self { cpu: cpu / more, rate: more / wall, ..self }
    }
}

pub struct Input {
    pub topic: String,
    pub records: u64,
}

impl Input {
    pub fn fill(broker: &Broker, records: u64) -> Self {
        let topic = unique("bench-alerts");
        broker.create(&[(&topic, 1)]);
        broker.fill(&topic, 1, records, alerts::alert);
        Self { topic, records }
    }
}

/// A contestant at work.
struct Started {
    child: Child,
    output: String,
    /// None: it commits nothing, its output is counted.
    group: Option<String>,
    prefix: String,
    _dir: tempfile::TempDir,
}

fn start(broker: &Broker, who: &Who, input: &Input) -> Started {
    let dir = tempfile::tempdir().expect("a directory");
    let prefix = format!("{}.", unique("bench-run"));
    let task = match who {
        Who::Ours(task) => task.clone(),
        _ => Task::Passthrough,
    };
    let job =
        Job { task, bootstrap: broker.bootstrap.clone(), input: input.topic.clone(), prefix: prefix.clone() };
    let (output, group) = (job.output(), job.group());
    let started =
        |child, group| Started { child, output: output.clone(), group, prefix: prefix.clone(), _dir: dir };
    if let Who::Process(program) = who {
        let folder = tempfile::tempdir().expect("a directory");
        let child = service(broker, program, input, &prefix, folder.path());
        return Started { _dir: folder, ..started(child, Some(group)) };
    }
    let dead = format!("{}.dlq", input.topic);
    let names = ["detections", "logs", "state.normalization.seen", "reference.assets", "epochs", "warm"];
    let mut topics: Vec<String> = names.iter().map(|n| format!("{prefix}{n}")).collect();
    if matches!(who, Who::Ours(Task::ExactlyOnce { .. })) {
        topics.extend(broker.missing(&dead));
    }
    broker.create(&topics.iter().map(|t| (t.as_str(), 1)).collect::<Vec<_>>());
    match who {
        Who::Tenzir => started(Child::start(&mut peers::tenzir(&job)), None),
        Who::Streams => {
            let mut command = peers::streams(&job, input.records);
            started(Child::start(&mut command), Some(prefix.trim_end_matches('.').to_owned()))
        }
        _ => {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.env(JOB, serde_json::to_string(&job).expect("a job"));
            started(Child::start(&mut command), Some(group))
        }
    }
}

/// The service as it is deployed, reading the topic as an adopted one.
fn service(broker: &Broker, program: &PathBuf, input: &Input, prefix: &str, dir: &std::path::Path) -> Child {
    let source = json!({
        "apiVersion": "atio/v1", "kind": "Source", "metadata": {"name": "bench"}, "format": "suricata",
        "from": {"topic": {"name": input.topic, "start": "beginning", "payload": "naked"}},
    });
    let topics = dir.join("topics");
    std::fs::create_dir_all(topics.join("sources")).expect("a folder");
    std::fs::write(topics.join("sources/bench.yaml"), source.to_string()).expect("a declaration");
    let config = json!({"prefix": prefix, "partitions": 1, "topics": topics, "log": {"level": "warn"}});
    std::fs::write(dir.join("atio.yaml"), config.to_string()).expect("a configuration");
    let command = |args: &[&str]| {
        let mut command = Command::new(program);
        command.envs(atio().get_envs().filter_map(|(k, v)| Some((k, v?))));
        command.arg("--config").arg(dir.join("atio.yaml")).arg("--data").arg(dir.join("data"));
        command.args(["--kafka", &broker.bootstrap, "--registry", &broker.registry]).args(args);
        command
    };
    let made = Child::start(&mut command(&["apply", "--topics-only"])).finish(Deadline::after(120));
    assert!(made.status.success(), "topics: {}", made.told());
    let run = ["run", "normalization", "--http", "127.0.0.1:0", "--ordinal", "0"];
    Running::start("normalization", &mut command(&run)).child
}

/// Runs a contestant over all of the input; `look` sees its output at the end.
fn run(broker: &Broker, who: &Who, input: &Input, look: impl FnOnce(&str)) -> Run {
    let mut started = start(broker, who, input);
    let began = Instant::now();
    let pid = started.child.pid();
    let watch = broker.watch(started.group.as_deref().unwrap_or("ends"));
    let deadline = Deadline::after(300);
    let mut reached = |least: u64| loop {
        let now = match &started.group {
            Some(_) => watch.committed(&input.topic, 1),
            None => watch.ends(&started.output, 1),
        };
        if now >= least {
            return (now, process::cpu_us(pid), Instant::now());
        }
        if deadline.left().is_none() || started.child.exited().is_some() {
            panic!(
                "{who:?} is at {now} of {least}; it said: {}\n{}",
                started.child.stdout().join("\n"),
                started.child.stderr()
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let first = reached(input.records / WARM);
    let last = reached(input.records);
    let rss = process::peak_rss_mb(pid);
    look(&started.output);
    started.child.kill();
    broker.remove(&started.prefix);
    let events = (last.0 - first.0) as f64;
    Run {
        cpu: (last.1 - first.1) / events,
        rate: events / (last.2 - first.2).as_secs_f64(),
        rss,
        whole: (last.1, (last.2 - began).as_secs_f64()),
    }
}

/// Everybody's output, looked at before anything is timed: as many as there were alerts, no two alike, of the size that it should have.
fn verify(
    broker: &Broker,
    figures: &mut Figures,
    all: &[(&'static str, Who)],
) -> BTreeMap<&'static str, Run> {
    let input = Input::fill(broker, VERIFIED);
    let (mut sizes, mut runs) = (BTreeMap::new(), BTreeMap::new());
    for (name, who) in all {
        let short = run(broker, who, &input, |output| {
            let read = broker.read(output);
            let n = usize::try_from(VERIFIED).expect("a count");
            assert_eq!(
                (read.records, read.unique()),
                (n, n),
                "{name}: records, ids; {}",
                String::from_utf8_lossy(&read.first)
            );
            sizes.insert(*name, read.size());
        });
        runs.insert(*name, short);
    }
    for (name, size) in &sizes {
        figures.add(&format!("{}.{name}.bytes-out", broker.name()), vec![*size], "bytes/event");
    }
    let Some(ours) = sizes.get("exactly-once-100") else { return runs };
    for name in ["matched", "matched-headers", "at-least-once", "exactly-once-20", "streams"] {
        let Some(size) = sizes.get(name) else { continue };
        assert!((size / ours - 1.0).abs() < 0.1, "{name}: {size} bytes where ours has {ours}");
    }
    runs
}

/// Who takes part, neighbours as they are compared.
fn contestants(figures: &mut Figures) -> Vec<(&'static str, Who)> {
    let eos = |commit_ms| Who::Ours(Task::ExactlyOnce { commit_ms });
    let mut all = vec![
        ("passthrough", Who::Ours(Task::Passthrough)),
        ("matched-headers", Who::Ours(Task::Matched { headers: true })),
        ("matched", Who::Ours(Task::Matched { headers: false })),
        ("exactly-once-100", eos(100)),
        ("at-least-once", Who::Ours(Task::AtLeastOnce)),
        ("exactly-once-20", eos(20)),
        ("process", Who::Process(PathBuf::from(env!("CARGO_BIN_EXE_atio")))),
    ];
    for (name, who, there) in
        [("streams", Who::Streams, peers::build_streams()), ("tenzir", Who::Tenzir, peers::install_tenzir())]
    {
        match there {
            Ok(()) => all.push((name, who)),
            Err(why) => figures.skip(name, &why),
        }
    }
    all
}

pub fn part(broker: &Broker, figures: &mut Figures, records: u64, rounds: usize, who: &[String]) {
    let mut all = contestants(figures);
    all.retain(|(name, _)| who.is_empty() || who.iter().any(|w| w == name));
    let short = verify(broker, figures, &all);
    let input = Input::fill(broker, records);
    let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
    for round in 0..rounds {
        // There and back, so that drift favours nobody.
        let order: Vec<_> = if round % 2 == 0 { all.iter().collect() } else { all.iter().rev().collect() };
        for (name, who) in order {
            let mut one = run(broker, who, &input, |_| {});
            if let (Who::Tenzir, Some(short)) = (who, short.get(name)) {
                one = one.beyond(*short, records);
            }
            runs.entry(name).or_default().push(one);
        }
    }
    for (name, runs) in &runs {
        tell(figures, &format!("{}.{name}", broker.name()), runs);
    }
    let pairs = [
        ("matched", "exactly-once-100"),
        ("matched-headers", "exactly-once-100"),
        ("passthrough", "exactly-once-100"),
        ("exactly-once-100", "at-least-once"),
        ("exactly-once-20", "at-least-once"),
        ("process", "exactly-once-20"),
        ("exactly-once-100", "streams"),
        ("exactly-once-100", "tenzir"),
    ];
    for (a, b) in pairs {
        if let (Some(of_a), Some(of_b)) = (runs.get(a), runs.get(b)) {
            ratios(figures, &format!("{}.ratio.{a}-by-{b}", broker.name()), of_a, of_b);
        }
    }
    broker.remove(&input.topic);
}

fn tell(figures: &mut Figures, name: &str, runs: &[Run]) {
    figures.add(&format!("{name}.cpu"), runs.iter().map(|r| r.cpu).collect(), "us/event");
    figures.add(&format!("{name}.rate"), runs.iter().map(|r| r.rate).collect(), "events/s");
    figures.add(&format!("{name}.rss"), runs.iter().map(|r| r.rss).collect(), "MB");
}

/// Round by round.
fn ratios(figures: &mut Figures, name: &str, a: &[Run], b: &[Run]) {
    let each = |of: fn(&Run) -> f64| a.iter().zip(b).map(|(a, b)| of(a) / of(b)).collect();
    figures.add(&format!("{name}.cpu"), each(|r| r.cpu), "ratio");
    figures.add(&format!("{name}.rate"), each(|r| r.rate), "ratio");
}

/// Two programs, in pairs: this build against a baseline.
pub fn judge(broker: &Broker, figures: &mut Figures, baseline: PathBuf, records: u64, pairs: usize) {
    let input = Input::fill(broker, records);
    let (change, base) = (Who::Process(PathBuf::from(env!("CARGO_BIN_EXE_atio"))), Who::Process(baseline));
    let mut runs = (vec![], vec![]);
    for pair in 0..pairs {
        if pair % 2 == 0 {
            runs.0.push(run(broker, &change, &input, |_| {}));
        }
        runs.1.push(run(broker, &base, &input, |_| {}));
        if pair % 2 == 1 {
            runs.0.push(run(broker, &change, &input, |_| {}));
        }
    }
    tell(figures, &format!("{}.judge.change", broker.name()), &runs.0);
    tell(figures, &format!("{}.judge.baseline", broker.name()), &runs.1);
    ratios(figures, &format!("{}.ratio.judge.change-by-baseline", broker.name()), &runs.0, &runs.1);
    broker.remove(&input.topic);
}
