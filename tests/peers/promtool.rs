//! promtool on what the whole system answers at /metrics, with traffic in it: names, types, units and help are as Prometheus wants them.
use crate::support::{Deadline, Need, Running, atio, http, need::promtool, root, trial};
use libtest_mimic::{Failed, Trial};
use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
};

pub fn trials() -> Vec<Trial> {
    vec![trial("peers::promtool", &[Need::Promtool], clean)]
}

/// What promtool complains about; empty = nothing.
fn complaints(text: &str) -> Result<String, Failed> {
    let mut child = Command::new(promtool())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().ok_or("stdin")?.write_all(text.as_bytes())?;
    let ended = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    if !ended.status.success() && said.trim().is_empty() {
        return Err(format!("promtool ended with {}", ended.status).into());
    }
    Ok(said.trim().to_owned())
}

fn clean() -> Result<(), Failed> {
    assert!(complaints("# TYPE bad counter\nbad 1\n")?.contains("bad"), "promtool sees what is wrong");
    let dir = tempfile::tempdir()?;
    let mut command = atio();
    command.args(["up", "--http", "127.0.0.1:0", "--data"]).arg(dir.path());
    let system = Running::start("the system", &mut command);
    let key = std::fs::read_to_string(dir.path().join("admin.key"))?;
    let lines = std::fs::read(root().join("services/atio/demo/alerts.ndjson"))?;
    let url = format!("{}/v1/sources/suricata/events", system.said("http"));
    let answer = http::post(&url, &[("authorization", &format!("Bearer {}", key.trim()))], &lines);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let get = || http::get(&format!("{}/metrics", system.said("http"))).text();
    // Everything that a stage or a sink measures is there once something went the whole way.
    let wanted = [
        "atio_stage_records_emitted_total{service=\"routing\"",
        "atio_stage_commit_seconds_count{service=\"enrichment\"",
        "atio_ledger_records_total{outcome=\"emitted\",reason=\"\",service=\"metrics\",stage=\"enrichment\"",
        "atio_stage_records_dead_lettered_total{reason=",
        "atio_metrics_up{service=\"metrics\"} 1",
        "atio_monitoring_watch_up{service=\"monitoring\"} 1",
        "atio_monitoring_tampering_total{kind=\"deleted\",service=\"monitoring\",topic=\"workflows\"} 0",
    ];
    let text = Deadline::after(90).until("traffic shows in /metrics", || {
        let text = get();
        wanted.iter().all(|w| text.contains(w)).then_some(text)
    });
    let families: BTreeSet<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
    println!("{} families", families.len());
    assert!(families.iter().all(|f| f.starts_with("atio_")), "ours: {families:?}");
    assert_eq!(complaints(&text)?, "", "of the system's metrics");
    let registry = http::get(&format!("{}/metrics", system.said("registry"))).text();
    assert_eq!(complaints(&registry)?, "", "of the registry's metrics");
    system.stop("the system");
    Ok(())
}
