//! `atio run SERVICE…`: microservices as they are deployed.
use crate::{
    endpoints::Target,
    exit::{Exit, Failure},
    render,
    system::{self, System, boot, services},
};
use atio_runtime::{Config, Tasks};
use std::net::SocketAddr;

/// Run services, each its own process and pod: `atio run normalization --kafka k:9092 --registry http://r:8081`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// delivery, enrichment, incidents, ingestion, metrics, monitoring, normalization, registry, routing
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
    /// Health, metrics and the services' own HTTP
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// StatefulSet ordinal: fixed names, so that a restart takes over at once; without it members are dynamic
    #[arg(long, value_name = "N")]
    ordinal: Option<u32>,
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let known: Vec<&str> = services::SERVICES.iter().map(|s| s.name).chain([services::REGISTRY]).collect();
    if let Some(unknown) = args.services.iter().find(|s| !known.contains(&s.as_str())) {
        return Err(Failure::usage(format!("unknown service `{unknown}`; one of {}", known.join(", "))));
    }
    let mut config = target.configuration(serde_json::json!({}))?;
    if let Some(http) = args.http {
        config.http.listen = http;
    }
    atio_runtime::telemetry::init(&config.log).map_err(Failure::usage)?;
    let registry_alone = args.services.iter().all(|s| s == services::REGISTRY);
    crate::commands::block_on(async move {
        let kafka = system::kafka(&config, &target.kafka(&config)?);
        if registry_alone {
            boot::reachable(&kafka).await?;
            registry(&config, &kafka, args.http).await
        } else {
            all(config, &kafka, target, args).await
        }
    })
}

/// The registry alone needs no registry. Its HTTP is what `--http` says.
async fn registry(
    config: &Config,
    kafka: &atio_stream::Kafka,
    http: Option<SocketAddr>,
) -> anyhow::Result<Exit> {
    let mut config = config.clone();
    if let Some(http) = http {
        config.registry.listen = http;
    }
    let tasks = Tasks::default();
    let url = boot::registry(kafka, &config, &tasks, &atio_metric::Metrics::default()).await?;
    render::json(
        &serde_json::json!({"ready": true, "services": [services::REGISTRY], "http": url, "registry": url, "kafka": kafka.bootstrap, "pid": std::process::id()}),
    )?;
    atio_runtime::lifecycle::signalled().await?;
    tasks.shutdown(std::time::Duration::from_secs(10)).await;
    Ok(Exit::Done)
}

async fn all(
    config: Config,
    kafka: &atio_stream::Kafka,
    target: &Target,
    args: &Args,
) -> anyhow::Result<Exit> {
    let tasks = Tasks::default();
    let url = if args.services.iter().any(|s| s == services::REGISTRY) {
        boot::registry(kafka, &config, &tasks, &atio_metric::Metrics::default()).await?
    } else {
        target.registry(&config)?
    };
    // A restart is waited for by everybody: both at once.
    let making = System::new(config, kafka.clone(), &url, args.ordinal);
    let (mut system, ()) = tokio::try_join!(making, boot::reachable(kafka))?;
    system.tasks = tasks;
    let result = serve(&system, &url, args).await;
    boot::down(&system).await;
    result.map(|()| Exit::Done)
}

async fn serve(system: &System, registry: &str, args: &Args) -> anyhow::Result<()> {
    let routers = boot::start(system, &args.services).await?;
    let http = boot::http(system, routers, "--http ADDR").await?;
    boot::ready(system, system::PATIENCE).await?;
    let http = format!("http://{http}");
    let kafka = &system.kafka.bootstrap;
    render::json(
        &serde_json::json!({"ready": true, "services": args.services, "http": http, "registry": registry, "kafka": kafka, "pid": std::process::id()}),
    )?;
    boot::until_stopped(system).await
}
