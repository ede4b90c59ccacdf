//! How far each router has applied the definitions (`atio.applied`): told by routing, waited for by whoever applies (exactly-once, rule 19).
use crate::{exit::Failure, system::System};
use atio_runtime::{Config, clock};
use atio_schemas::{Codec, header, state::Applied};
use atio_stage::{Headers, Output};
use atio_stream::{
    Kafka,
    publish::{Publisher, PublisherSpec},
    read,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

const CLIENT: &str = "atio-applied";
/// How often a router looks at itself.
const LOOK: Duration = Duration::from_millis(100);
/// It tells again after so long, to be known as alive.
const TELL: Duration = Duration::from_secs(5);
/// Who has said nothing for so long is gone.
const GONE_MS: i64 = 15_000;
const MAX_INSTANCES: usize = 10_000;

fn topic(config: &Config) -> String {
    format!("{}applied", config.prefix)
}

/// The offset up to which (exclusive) every router of this process has the definitions, and branches run as they say; none before the
/// routers have any.
fn here(system: &System, followed: &AtomicI64) -> Option<i64> {
    let routers = system
        .lanes
        .status()
        .into_iter()
        .filter(|s| s.service == atio_routing::SERVICE && !s.name.starts_with("routing."));
    let mut least = None;
    let branches = followed.load(Ordering::Relaxed);
    for router in routers {
        let at = router
            .status
            .tables
            .iter()
            .find(|t| t.table == atio_workflow::Definitions::TABLE)
            .map(|t| t.offset)?;
        least = Some(least.unwrap_or(branches).min(at));
    }
    least
}

/// Tells how far this process's routers are, and its branches (`followed`), as long as it runs.
pub async fn tell(system: &System, followed: Arc<AtomicI64>) -> anyhow::Result<()> {
    let topic = topic(&system.config);
    let spec = PublisherSpec::new(&system.kafka, CLIENT, &[&topic]);
    let publisher = tokio::task::spawn_blocking(move || Publisher::open(spec)).await??;
    let instance = system.ordinal.map_or_else(|| uuid::Uuid::new_v4().to_string(), |n| n.to_string());
    let instance = format!("{}.{instance}", atio_routing::SERVICE);
    let (system, tasks) = (system.clone(), system.tasks.clone());
    tasks.spawn(async move {
        let mut told: Option<(i64, Instant)> = None;
        while !system.tasks.is_stopping() {
            let due = here(&system, &followed).filter(|at| told.is_none_or(|(last, when)| last != *at || when.elapsed() >= TELL));
            if let Some(offset) = due {
                let applied = Applied { instance: instance.clone(), service: atio_routing::SERVICE.into(), offset, at: clock::now() };
                match system.codec.encode(&applied) {
                    Ok(value) => {
                        let answers = publisher.send(vec![record(&topic, &instance, Some(value))]).await;
                        // What was not told now is told with the next look.
                        told = answers.iter().all(Result::is_ok).then(|| (offset, Instant::now()));
                    }
                    Err(error) => tracing::error!(error_code = error.code().as_str(), %error, "applied offset can't be written"),
                }
            }
            tokio::select! { () = system.tasks.stopped() => break, () = tokio::time::sleep(LOOK) => {} }
        }
        let goodbye = publisher.send(vec![record(&topic, &instance, None)]).await;
        if goodbye.iter().any(Result::is_err) {
            tracing::warn!("could not say that this router is gone; it is forgotten after {GONE_MS} ms");
        }
    });
    Ok(())
}

fn record(topic: &str, instance: &str, value: Option<Vec<u8>>) -> Output {
    let mut headers = Headers::default();
    headers.set(header::CE_TYPE, "atio.applied");
    headers.set(header::CONTENT_TYPE, header::CONTENT_TYPE_AVRO);
    Output {
        topic: Arc::from(topic),
        partition: None,
        key: Some(instance.as_bytes().to_vec()),
        value,
        headers,
    }
}

/// Waits until every router that is alive has all definitions that are on their topic now. True where there is one at all. Blocks.
pub fn wait(kafka: &Kafka, config: &Config, codec: &Codec, limit: Duration) -> anyhow::Result<bool> {
    let unreachable = |e: read::ReadError| Failure::unreachable(e.to_string());
    let definitions = format!("{}workflows", config.prefix);
    let all = read::latest_by_key(kafka, CLIENT, &definitions, super::workflows::MAX_DEFINITIONS)
        .map_err(unreachable)?;
    let Some(wanted) = all.values().map(|e| e.offset + 1).max() else { return Ok(true) };
    let start = Instant::now();
    loop {
        let told = read::latest_by_key(kafka, CLIENT, &topic(config), MAX_INSTANCES).map_err(unreachable)?;
        let told = told.into_values().filter_map(|e| e.value).map(|v| codec.decode::<Applied>(&v));
        let told: Vec<Applied> = told.collect::<Result<_, _>>()?;
        let now = clock::now();
        let alive: Vec<&Applied> = told.iter().filter(|a| a.at.plus_millis(GONE_MS) >= now).collect();
        let behind = alive.iter().find(|a| a.offset < wanted);
        match behind {
            None if !alive.is_empty() => return Ok(true),
            None if start.elapsed() >= Duration::from_millis(GONE_MS.unsigned_abs()) => return Ok(false),
            Some(b) if start.elapsed() >= limit => anyhow::bail!(
                "{} is at {} of {wanted} definitions after {} s",
                b.instance,
                b.offset,
                limit.as_secs()
            ),
            _ => std::thread::park_timeout(LOOK),
        }
    }
}
