//! How a process comes up: the data directory's lock, the embedded broker, the registry, topics, services, HTTP; and how it goes down again.
use crate::{
    endpoints::{self, Endpoints},
    exit::Failure,
    render,
    system::{self, PATIENCE, System, applied, services, wanted, workflows},
};
use anyhow::Context;
use atio_broker::{Broker, Config as BrokerConfig};
use atio_runtime::{
    Config, Tasks,
    config::HttpConfig,
    http::{
        Server,
        auth::{Keys, Role, write_private},
        axum::Router,
        serve,
    },
};
use atio_stream::Kafka;
use atio_topics::{Declarations, Flags};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// One process a data directory: the file is locked as long as this lives.
pub struct Lock(#[expect(dead_code, reason = "the lock is the open file")] File);

/// Makes and locks the data directory.
pub fn lock(data: &Path) -> anyhow::Result<Lock> {
    std::fs::create_dir_all(data).with_context(|| format!("--data {}", data.display()))?;
    let path = data.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("{}", path.display()))?;
    file.try_lock()
        .map_err(|_| anyhow::anyhow!("--data {}: another atio runs on this directory", data.display()))?;
    Ok(Lock(file))
}

/// The embedded broker in DATA/broker. `listen` taken = an error that names `flag`.
pub async fn broker(data: &Path, listen: SocketAddr, flag: &str) -> anyhow::Result<Broker> {
    let config = BrokerConfig::new(data.join("broker"), listen);
    Broker::start(config)
        .await
        .with_context(|| format!("embedded broker on {listen}; another address: {flag}"))
}

/// The registry on its own listener; its URL.
pub async fn registry(
    kafka: &Kafka,
    config: &Config,
    tasks: &Tasks,
    metrics: &atio_metric::Metrics,
) -> anyhow::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let router = loop {
        match atio_registry::serve(kafka, atio_registry::topic::TOPIC, config.copies()).await {
            Ok(router) => break router,
            Err(error) if Instant::now() >= deadline => return Err(Failure::unreachable(error.to_string())),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    };
    let http = HttpConfig { listen: config.registry.listen, ..config.http.clone() };
    let server = Server::new(metrics.clone(), Keys::open(&config.data)?).merge(router);
    let addr = serve(server, &http, tasks).await;
    let addr = addr.with_context(|| {
        format!("registry on {}; another address: registry.listen in the configuration", http.listen)
    })?;
    Ok(format!("http://{addr}"))
}

/// Makes the topics that are missing or differ; nothing is deleted or shrunk.
pub async fn topics(system: &System, embedded: bool) -> anyhow::Result<()> {
    let (config, declarations, kafka) =
        (system.config.clone(), system.declarations.clone(), system.kafka.clone());
    let made = tokio::task::spawn_blocking(move || {
        let (admin, plan) =
            wanted::difference(&kafka, &config, &declarations, embedded, Flags::default(), None)?;
        if plan.impossible() {
            let refused: Vec<String> = plan.refused.iter().map(ToString::to_string).collect();
            return Err(Failure::with(crate::exit::Exit::Refused, refused.join("\n")));
        }
        wanted::make(&admin, &plan)
    });
    let made = made.await??;
    tracing::info!(made, "topics are as declared");
    Ok(())
}

/// Starts services by name; their routes come back.
pub async fn start(system: &System, names: &[String]) -> anyhow::Result<Vec<Router>> {
    let mut routers = vec![];
    for service in services::SERVICES.iter().filter(|s| names.iter().any(|n| n == s.name)) {
        let started = (service.start)(system).await.with_context(|| format!("service {}", service.name))?;
        routers.extend(started);
    }
    Ok(routers)
}

/// The process's one HTTP listener: services' routes, health, metrics.
pub async fn http(system: &System, routers: Vec<Router>, flag: &str) -> anyhow::Result<SocketAddr> {
    let mut server = Server::new(system.metrics.clone(), system.keys.clone());
    for router in routers {
        server = server.merge(router);
    }
    let (stages, files) = (system.clone(), system.clone());
    server.ready_when("stages", Arc::new(move || stages.lanes.waiting()));
    server.ready_when("files", Arc::new(move || files.files.waiting()));
    let listen = system.config.http.listen;
    serve(server, &system.config.http, &system.tasks)
        .await
        .with_context(|| format!("HTTP on {listen}; another address: {flag}"))
}

/// Waits until every lane runs and every file thread has had its first look.
pub async fn ready(system: &System, limit: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    while let Some(why) = system.lanes.waiting().or_else(|| system.files.waiting()) {
        if let Some(error) = system.fatal() {
            return Err(error);
        }
        anyhow::ensure!(Instant::now() < deadline, "not ready within {} s: {why}", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Applies the declared workflows but those that are left out, and waits until the routers have them.
pub async fn workflows(
    system: &System,
    left_out: &BTreeMap<String, Vec<String>>,
) -> anyhow::Result<workflows::Applied> {
    let (kafka, config, codec) = (system.kafka.clone(), system.config.clone(), system.codec.clone());
    let mut declared = Declarations::clone(&system.declarations);
    declared.workflows.retain(|name, _| !left_out.contains_key(name));
    let apply = move || {
        let applied = workflows::apply(&kafka, &config, &codec, &declared, PATIENCE)?;
        anyhow::ensure!(
            applied::wait(&kafka, &config, &codec, PATIENCE)?,
            "no router says that it has the workflows"
        );
        Ok(applied)
    };
    let applied = tokio::task::spawn_blocking(apply).await??;
    for (name, code, message) in &applied.refused {
        tracing::error!(workflow = name, error_code = code, message, "workflow was refused");
    }
    Ok(applied)
}

/// The first start makes an admin key: kept in DATA/admin.key (0600), printed once.
pub fn admin_key(system: &System) -> anyhow::Result<()> {
    if !system.keys.is_empty() {
        return Ok(());
    }
    let path = system.config.data.join("admin.key");
    let token = system.keys.create(Role::Admin, None)?;
    write_private(&path, token.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    render::notice(&format!("admin key (also in {}; shown once): {token}", path.display()));
    Ok(())
}

/// Says that it is ready: one line on stdout, the same in DATA/endpoints.json.
pub fn announce(system: &System, http: SocketAddr, registry: &str) -> anyhow::Result<Endpoints> {
    let endpoints = Endpoints {
        ready: true,
        kafka: system.kafka.bootstrap.clone(),
        http: format!("http://{http}"),
        registry: registry.to_owned(),
        data: system.config.data.clone(),
        pid: std::process::id(),
    };
    endpoints.write(&system.config.data)?;
    render::json(&endpoints)?;
    Ok(endpoints)
}

/// Runs until a signal, or until a lane fails for good.
pub async fn until_stopped(system: &System) -> anyhow::Result<()> {
    let signal = atio_runtime::lifecycle::signalled();
    tokio::pin!(signal);
    loop {
        tokio::select! {
            signalled = &mut signal => return signalled.map_err(Into::into),
            () = tokio::time::sleep(Duration::from_millis(500)) => {
                if let Some(error) = system.fatal() {
                    return Err(error.context("nothing here may go on under its name"));
                }
            }
        }
    }
}

/// Lanes, tasks, and the file that says where we are.
pub async fn down(system: &System) {
    system.shutdown().await;
    // Nobody may be sent to where nothing is; a file that is gone already is as good.
    drop(std::fs::remove_file(endpoints::file(&system.config.data)));
}

/// A Kafka that answers, waited for.
pub async fn reachable(kafka: &Kafka) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let kafka = kafka.clone();
    tokio::task::spawn_blocking(move || {
        let admin = atio_stream::admin::Admin::connect(&kafka, "atio-start").map_err(wanted::unreachable)?;
        loop {
            match admin.topics() {
                Ok(_) => {
                    admin.retire();
                    return Ok(());
                }
                Err(error) if Instant::now() >= deadline || !error.is_unreachable() => {
                    return Err(system::wanted::unreachable(error));
                }
                Err(_) => std::thread::park_timeout(Duration::from_millis(200)),
            }
        }
    })
    .await?
}
