//! `atio broker`: the embedded broker alone.
use crate::{endpoints::Target, exit::Exit, render};
use anyhow::Context;
use atio_broker::{Broker, Config, Fsync};
use std::{net::SocketAddr, time::Duration};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "ADDR")]
    listen: SocketAddr,
    /// When an answered write is safe from power loss: `os` (left to the system; safe from a crash of the process), a number of
    /// milliseconds between syncs, or `strict` (before the answer)
    #[arg(long, default_value = "os", value_parser = fsync)]
    fsync: Fsync,
    /// Listen on an address that other machines reach: there is neither TLS nor authentication
    #[arg(long)]
    allow_remote: bool,
    /// Make a topic (3 partitions) when somebody asks for one that is not there, as Apache Kafka does by default
    #[arg(long)]
    auto_create: bool,
}

fn fsync(text: &str) -> Result<Fsync, String> {
    match text {
        "os" => Ok(Fsync::Os),
        "strict" => Ok(Fsync::Strict),
        ms => ms
            .parse()
            .map(|n| Fsync::Interval(Duration::from_millis(n)))
            .map_err(|_| "os, strict, or milliseconds".into()),
    }
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let config = target.configuration(serde_json::json!({}))?;
    atio_runtime::telemetry::init(&config.log).map_err(crate::exit::Failure::usage)?;
    let mut broker = Config::new(config.data.clone(), args.listen);
    broker.fsync = args.fsync;
    broker.allow_remote = args.allow_remote;
    broker.auto_create = args.auto_create;
    crate::commands::block_on(async move {
        let running = Broker::start(broker)
            .await
            .with_context(|| format!("--listen {} or --data {}", args.listen, config.data.display()))?;
        render::json(
            &serde_json::json!({"ready": true, "kafka": running.addr().to_string(), "data": config.data, "pid": std::process::id()}),
        )?;
        atio_runtime::lifecycle::signalled().await?;
        running.shutdown().await;
        Ok(Exit::Done)
    })
}
