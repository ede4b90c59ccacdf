//! The demo: our own samples through the whole system, counted from topics and receipts, and shown.
//!
//! Owns the samples, a webhook receiver and the count. Must not know: how anything in between works.
mod count;
mod receiver;

pub use receiver::Receiver;

use crate::{
    endpoints::Endpoints,
    exit::Exit,
    render,
    system::{System, declared},
};
use anyhow::Context;
use atio_runtime::{Config, http::auth::Role};
use count::Counted;
use std::time::{Duration, Instant};

const ALERTS: &str = include_str!("../../demo/alerts.ndjson");
const ASSETS: &str = include_str!("../../demo/assets.csv");
const SCAN: &str = include_str!("../../demo/scan.xml");

/// What the samples come to: in, detections, logs, dead letters, delivered to file, kafka, webhook.
const EXPECTED: (u64, u64, u64, u64, [u64; 3]) = (4, 6, 0, 1, [4, 1, 5]);
/// All of it must be through by then.
const LIMIT: Duration = Duration::from_secs(120);
/// Where the demo's partners would read.
pub const SHARED_TOPIC: &str = "atio-demo-share";

/// Declares the demo's sinks and inventory in the data directory, and starts the receiver of its webhook.
pub async fn prepare(config: &mut Config) -> anyhow::Result<Receiver> {
    let receiver = Receiver::start().await?;
    let topics = config.data.join("topics");
    config.topics = Some(topics.clone());
    let secret = config.data.join("webhook.secret");
    atio_runtime::http::auth::write_private(&secret, receiver.secret().as_bytes())
        .context("writing the webhook's secret")?;
    let siem = serde_json::json!({
        "apiVersion": "atio/v1", "kind": "Sink", "metadata": {"name": "siem", "description": "The demo's own receiver, in place of a SIEM"},
        "type": "webhook", "url": receiver.url(), "secret": {"file": secret}, "format": "ecs", "role": "siem", "allow_internal": true,
    });
    let share = serde_json::json!({
        "apiVersion": "atio/v1", "kind": "Sink", "metadata": {"name": "share", "description": "A topic, in place of a partner"},
        "type": "kafka", "topic": SHARED_TOPIC, "format": "stix", "audience": "external", "clearance": "amber", "role": "tip",
    });
    // JSON is YAML.
    let files = [
        ("sinks/siem.yaml", siem.to_string()),
        ("sinks/share.yaml", share.to_string()),
        ("tables/assets.csv", ASSETS.to_owned()),
    ];
    for (name, text) in files {
        let path = declared::directory(config).join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(receiver)
}

/// Feeds the samples, waits until they are through, prints what became of them.
pub async fn run(
    system: &System,
    endpoints: &Endpoints,
    receiver: &Receiver,
    stays: bool,
) -> anyhow::Result<Exit> {
    let start = Instant::now();
    let key = system.keys.create(Role::Ingest, None)?;
    render::notice(&format!("\nATIO runs: {}\n", endpoints.http));
    // The scan first: an alert on what it found weighs more.
    feed(endpoints, &key, "openvas", "application/xml", SCAN).await?;
    render::notice("  sent  an OpenVAS report: one host, three results");
    let scanned = settled(system, 1, start).await?;
    render::notice(&format!(
        "  done  {} detections of it enriched ({} ms)",
        scanned.detections,
        start.elapsed().as_millis()
    ));
    feed(endpoints, &key, "suricata", "application/x-ndjson", ALERTS).await?;
    render::notice("  sent  two Suricata alerts and a broken line");
    let counted = settled(system, 4, start).await?;
    show(system, endpoints, receiver, &counted, stays)
}

async fn feed(
    endpoints: &Endpoints,
    key: &str,
    source: &str,
    content_type: &str,
    body: &'static str,
) -> anyhow::Result<()> {
    let url = format!("{}/v1/sources/{source}/events?sensor=demo", endpoints.http);
    let client = atio_runtime::http::outbound::loopback()?;
    let request = client.post(&url).bearer_auth(key).header("content-type", content_type).body(body);
    let response = request.send().await.with_context(|| url.clone())?;
    let (status, text) = (response.status(), response.text().await?);
    anyhow::ensure!(status.as_u16() == 202, "{url} answered {status}: {text}");
    Ok(())
}

/// Counts again and again until `events` raw events are through every stage.
async fn settled(system: &System, events: u64, start: Instant) -> anyhow::Result<Counted> {
    loop {
        let (kafka, config, declarations, codec) =
            (system.kafka.clone(), system.config.clone(), system.declarations.clone(), system.codec.clone());
        let counted =
            tokio::task::spawn_blocking(move || count::count(&kafka, &config, &declarations, &codec))
                .await??;
        if counted.events >= events && counted.waiting == 0 {
            return Ok(counted);
        }
        if start.elapsed() > LIMIT {
            let why = system.lanes.waiting().unwrap_or_else(|| "every stage runs".into());
            anyhow::bail!(
                "the demo's events were not through within {} s: {counted:?}; {why}",
                LIMIT.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn show(
    system: &System,
    endpoints: &Endpoints,
    receiver: &Receiver,
    counted: &Counted,
    stays: bool,
) -> anyhow::Result<Exit> {
    for line in &counted.story {
        render::notice(&format!("  {line}"));
    }
    let mut wrong = counted.wrong.clone();
    if receiver.received() != counted.delivered("webhook") {
        wrong.push(format!(
            "the webhook's receiver got {}, receipts say {}",
            receiver.received(),
            counted.delivered("webhook")
        ));
    }
    if receiver.forged() > 0 {
        wrong.push(format!("{} webhooks had a wrong signature", receiver.forged()));
    }
    for stage in system.lanes.status() {
        if !stage.status.ledger.balanced() {
            wrong.push(format!("ledger of {} is not balanced: {:?}", stage.name, stage.status.ledger));
        }
    }
    let delivered = ["file", "kafka", "webhook"].map(|kind| counted.delivered(kind));
    let found = (counted.events, counted.detections, counted.logs, counted.dead_letters, delivered);
    if found != EXPECTED {
        wrong.push(format!("expected in, detections, logs, dead letters, delivered {EXPECTED:?}"));
    }
    if stays {
        next_steps(system, endpoints);
    }
    let [file, kafka, webhook] = delivered;
    let delivered = format!("{{file:{file},kafka:{kafka},webhook:{webhook}}}");
    let Counted { events, detections, logs, dead_letters, p50_ms, .. } = counted;
    render::line(&format!(
        "demo: in={events} detections={detections} logs={logs} dead_letters={dead_letters} delivered={delivered} p50_ms={p50_ms}"
    ))?;
    wrong.iter().for_each(|w| render::notice(&format!("wrong: {w}")));
    Ok(if wrong.is_empty() { Exit::Done } else { Exit::Failed })
}

/// What a newcomer does next, while it runs.
fn next_steps(system: &System, endpoints: &Endpoints) {
    let (data, http, atio) = (system.config.data.display(), &endpoints.http, program());
    let lines = [
        format!("\nlook:  {http}/         status page        {http}/metrics"),
        "try, in another terminal:".to_owned(),
        format!("       {atio} tap enriched --from beginning --until end --data {data}"),
        format!("       {atio} dlq ls --data {data}"),
        format!("       {atio} lag --data {data}"),
        format!("       cat {data}/deliveries/report.ndjson"),
        "stop:  Ctrl-C\n".to_owned(),
    ];
    lines.iter().for_each(|line| render::notice(line));
}

/// How this very program is called from here: a newcomer has it nowhere on the path.
fn program() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_else(|_| "atio".into());
    program.strip_prefix(&here).unwrap_or(&program).display().to_string()
}
