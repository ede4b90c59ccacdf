//! What consumers cost the broker that wait for records that don't come.
use crate::support::{Broker, Deadline, On, topic};
use libtest_mimic::Failed;
use rdkafka::{
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use std::time::{Duration, Instant};

const CONSUMERS: usize = 200;

/// CPU time of a process, in clock ticks of a hundredth of a second.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    // The name may hold spaces; it ends with the last parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let number = |at: usize| fields[at].parse::<u64>().expect("a number");
    number(11) + number(12)
}

/// How often its threads have gone to sleep.
fn sleeps(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("tasks").flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
        .filter_map(|text| {
            let line = text.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        })
        .sum()
}

struct Spent {
    /// Of one core.
    percent: f64,
    sleeps: f64,
    seconds: f64,
}

fn spent(pid: u32, seconds: u64) -> Spent {
    let (from, used, slept) = (Instant::now(), ticks(pid), sleeps(pid));
    // What is measured is time passing.
    std::thread::sleep(Duration::from_secs(seconds));
    let took = from.elapsed().as_secs_f64();
    Spent { percent: (ticks(pid) - used) as f64 / took, sleeps: (sleeps(pid) - slept) as f64, seconds: took }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(otherwise)
}

/// The bounds are for an unoptimized build on a machine that does other things at once; docs/broker.md has the figure.
pub fn idle_consumers_cost_little() -> Result<(), Failed> {
    let (seconds, wait) = (number("ATIO_IDLE_SECONDS", 8), number("ATIO_IDLE_WAIT_MS", 500));
    let broker = Broker::start(On::Embedded);
    topic::create(&broker.bootstrap, "idle", 3);
    let alone = spent(broker.pid(), 2);
    let consumer = |n: usize| {
        let mut config = ClientConfig::new();
        for (name, value) in [
            ("bootstrap.servers", broker.bootstrap.as_str()),
            ("group.id", &format!("idle-{n}")),
            ("fetch.wait.max.ms", &wait.to_string()),
            ("queued.max.messages.kbytes", "1024"),
        ] {
            config.set(name, value);
        }
        let consumer: BaseConsumer = config.create().expect("a consumer");
        consumer.subscribe(&["idle"]).expect("a subscription");
        consumer
    };
    let consumers: Vec<BaseConsumer> = (0..CONSUMERS).map(consumer).collect();
    let mut joining: Vec<&BaseConsumer> = consumers.iter().collect();
    Deadline::after(180).until("every consumer has its partitions", || {
        joining.retain(|consumer| {
            let polled = consumer.poll(Duration::ZERO);
            assert!(!matches!(polled, Some(Ok(_))), "there is nothing to read");
            consumer.assignment().expect("an assignment").count() < 3
        });
        joining.is_empty().then_some(())
    });
    let idle = spent(broker.pid(), seconds);
    let fetches = CONSUMERS as f64 * idle.seconds * 1_000.0 / wait as f64;
    println!(
        "{CONSUMERS} idle consumers, fetch.wait.max.ms {wait}: {:.2} % of a core over {:.1} s, {:.2} sleeps a fetch; alone {:.2} %, {:.0} sleeps a second",
        idle.percent,
        idle.seconds,
        idle.sleeps / fetches,
        alone.percent,
        alone.sleeps / alone.seconds,
    );
    // Nobody there: a look at what is due each second, no more.
    assert!(alone.sleeps / alone.seconds <= 50.0 && alone.percent <= 5.0, "alone");
    // A fetch that waits costs one timer, its request and its answer; who asks again and again would cost thousands.
    assert!(idle.sleeps <= 8.0 * fetches, "{} sleeps, {fetches} fetches", idle.sleeps);
    if wait >= 500 {
        assert!(idle.percent <= 15.0, "{} % of a core", idle.percent);
    }
    Ok(())
}
