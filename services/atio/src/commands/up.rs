//! `atio up`: everything in one process, on the embedded broker unless `--kafka` names another.
use crate::{
    commands::test,
    endpoints::Target,
    exit::{Exit, Failure},
    render,
    system::{self, System, boot, disk, page, services},
};
use atio_runtime::{Config, Tasks};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

/// Run the whole system: `atio up --data ./atio-data`, or `atio up --demo` to see it work
#[derive(Debug, clap::Args)]
pub struct Args {
    /// HTTP of ingestion, status page, health and metrics
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Feed samples of our own and show what becomes of them; free ports and a temporary directory unless told otherwise
    #[arg(long)]
    demo: bool,
    /// With --demo: end when it is done
    #[arg(long, requires = "demo")]
    exit: bool,
}

/// The embedded broker's address where no flag names another.
const BROKER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9092);

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let mut config = target.configuration(serde_json::json!({}))?;
    let mut listen = BROKER;
    let temporary = if args.demo && target.data.is_none() {
        Some(tempfile::Builder::new().prefix("atio-demo-").tempdir()?)
    } else {
        None
    };
    if let Some(dir) = &temporary {
        config.data = dir.path().to_owned();
    }
    if args.demo {
        listen.set_port(0);
        config.http.listen.set_port(0);
        config.registry.listen.set_port(0);
        // The samples' deliveries go to a receiver in this very process.
        config.log.level = if config.log.level == "info" { "warn".into() } else { config.log.level };
    }
    if let Some(http) = args.http {
        config.http.listen = http;
        if http.port() == 0 {
            // One free port was asked for: nothing of a second system may be in the way either.
            listen.set_port(0);
            config.registry.listen.set_port(0);
        }
    }
    atio_runtime::telemetry::init(&config.log).map_err(Failure::usage)?;
    let bootstrap = target.kafka.clone().or_else(|| config.kafka.bootstrap.clone());
    let result = crate::commands::block_on(up(config, bootstrap, target.registry.clone(), listen, args));
    drop(temporary);
    result
}

async fn up(
    mut config: Config,
    bootstrap: Option<String>,
    registry: Option<String>,
    listen: SocketAddr,
    args: &Args,
) -> anyhow::Result<Exit> {
    config.data = absolute(&config.data)?;
    let _lock = boot::lock(&config.data)?;
    let receiver = if args.demo { Some(crate::demo::prepare(&mut config).await?) } else { None };
    let broker = match &bootstrap {
        None => Some(
            boot::broker(
                &config.data,
                listen,
                "--kafka HOST:PORT of a Kafka that runs, or --http with port 0 for free ports",
            )
            .await?,
        ),
        Some(_) => None,
    };
    let bootstrap = bootstrap.or_else(|| broker.as_ref().map(|b| b.addr().to_string())).unwrap_or_default();
    let kafka = system::kafka(&config, &bootstrap);
    boot::reachable(&kafka).await?;
    let result = on_broker(config, kafka, registry, broker.as_ref(), receiver, args).await;
    if let Some(broker) = broker {
        broker.shutdown().await;
    }
    result
}

async fn on_broker(
    config: Config,
    kafka: atio_stream::Kafka,
    registry: Option<String>,
    broker: Option<&atio_broker::Broker>,
    receiver: Option<crate::demo::Receiver>,
    args: &Args,
) -> anyhow::Result<Exit> {
    let tasks = Tasks::default();
    let url = match registry.or_else(|| config.registry.url.clone()) {
        Some(url) => url,
        None => boot::registry(&kafka, &config, &tasks, &atio_metric::Metrics::default()).await?,
    };
    let mut system = System::new(config, kafka, &url, Some(0)).await?;
    system.tasks = tasks;
    if let Some(broker) = broker {
        disk::watch(&system, broker.watch())?;
    }
    let result = whole(&system, &url, broker.is_some(), receiver, args).await;
    // Clients first, also after a failure: a broker that goes before them is a storm of log lines.
    boot::down(&system).await;
    result
}

async fn whole(
    system: &System,
    registry: &str,
    embedded: bool,
    receiver: Option<crate::demo::Receiver>,
    args: &Args,
) -> anyhow::Result<Exit> {
    boot::admin_key(system)?;
    boot::topics(system, embedded).await?;
    // Tables first: the stages read them to their end before their first event.
    let names = services::SERVICES.iter().map(|s| s.name.to_owned());
    let (door, others): (Vec<String>, Vec<String>) = names.partition(|s| s == atio_ingestion::SERVICE);
    let mut routers = boot::start(system, &door).await?;
    boot::ready(system, system::PATIENCE).await?;
    routers.extend(boot::start(system, &others).await?);
    routers.push(page::router(system));
    let http = boot::http(system, routers, "--http ADDR").await?;
    boot::ready(system, system::PATIENCE).await?;
    boot::workflows(system, &failing(system).await?).await?;
    boot::ready(system, system::PATIENCE).await?;
    let endpoints = boot::announce(system, http, registry)?;
    let exit = match &receiver {
        Some(receiver) => crate::demo::run(system, &endpoints, receiver, !args.exit).await?,
        None => Exit::Done,
    };
    if !args.exit {
        boot::until_stopped(system).await?;
    }
    Ok(exit)
}

/// Workflows whose tests fail, and how: they are not applied, the others are. What is in force of them stays so: whoever restarts a system must not lose
/// the rest of it by a test.
async fn failing(system: &System) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let (declared, config) = (system.declarations.clone(), system.config.clone());
    let failing = tokio::task::spawn_blocking(move || test::failing(&declared, &config)).await??;
    for (name, told) in &failing {
        told.iter().for_each(|failure| render::notice(failure));
        render::notice(&format!(
            "workflow {name} is not applied: what was in force of it stays so; mend it, then `atio apply`"
        ));
    }
    Ok(failing)
}

fn absolute(path: &std::path::Path) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}
