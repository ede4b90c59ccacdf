//! The services, alphabetical, a line each; `atio run X` and `atio up` start them by the same function. The registry is not in the table: the
//! others need it before they can be built.
use crate::system::{System, branches, declared, fair};
use atio_delivery::metrics::DeliveryMetrics;
use atio_incidents::view::View;
use atio_ingestion::{files, metrics::IngestionMetrics};
use atio_monitoring::{Facts, Room, Wanted, place, pointer_key};
use atio_runtime::{Config, clock, http::axum::Router};
use atio_schemas::{
    Code, Codec,
    command::ObjectKind,
    definition::{Definition as Stored, Placement},
};
use atio_stage::{Stage, StageError, View as _};
use atio_stream::{
    SchemaSource,
    publish::{Publisher, PublisherSpec},
};
use atio_topics::{Declarations, From, Problem, Source, WorkflowText};
use atio_workflow::{Definition, Known, compile, placement::Placement as Asked};
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError},
};

type Started<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Option<Router>>> + Send + 'a>>;

/// A service: its name, and how it starts within a system. What it answers on HTTP comes back.
pub struct Service {
    pub name: &'static str,
    pub start: for<'a> fn(&'a System) -> Started<'a>,
}

#[rustfmt::skip]
pub const SERVICES: &[Service] = &[
    Service { name: atio_delivery::SERVICE, start: |s| Box::pin(delivery(s)) },
    Service { name: atio_enrichment::SERVICE, start: |s| Box::pin(async { lanes(s, enrichment(&s.config, &s.codec)) }) },
    Service { name: atio_incidents::SERVICE, start: |s| Box::pin(incidents(s)) },
    Service { name: atio_ingestion::SERVICE, start: |s| Box::pin(ingestion(s)) },
    Service { name: atio_metrics::SERVICE, start: |s| Box::pin(async { metrics(s) }) },
    Service { name: atio_monitoring::SERVICE, start: |s| Box::pin(async { watched(s) }) },
    Service { name: atio_normalization::SERVICE, start: |s| Box::pin(async { normalizing(s) }) },
    Service { name: atio_routing::SERVICE, start: |s| Box::pin(branches::route(s)) },
];

pub const REGISTRY: &str = "registry";

fn lanes(system: &System, stages: Vec<Stage>) -> anyhow::Result<Option<Router>> {
    stages.into_iter().try_for_each(|stage| system.lanes.start(stage))?;
    Ok(None)
}

fn normalizing(system: &System) -> anyhow::Result<Option<Router>> {
    let intake = fair::intake(system)?;
    normalization(&system.config, &system.declarations, &system.codec)
        .into_iter()
        .try_for_each(|stage| system.lanes.start_shared(stage, Some(intake.clone())))?;
    Ok(None)
}

/// What enrichment is made of.
pub fn enrichment(config: &Config, codec: &Codec) -> Vec<Stage> {
    atio_enrichment::stages(&atio_enrichment::Deps { prefix: config.prefix.clone(), codec: codec.clone() })
}

/// What normalization is made of.
pub fn normalization(config: &Config, declarations: &Declarations, codec: &Codec) -> Vec<Stage> {
    let sources = declarations
        .sources
        .values()
        .map(|s| atio_normalization::config::Source::declared(s, &config.prefix));
    atio_normalization::stages(atio_normalization::Deps {
        prefix: config.prefix.clone(),
        codec: codec.clone(),
        config: atio_normalization::config::Config { home_networks: config.home_networks.clone() },
        sources: sources.collect(),
    })
}

/// No stage of ours: it follows topics and looks at the cluster, each on a thread of its own.
fn metrics(system: &System) -> anyhow::Result<Option<Router>> {
    let adopted = system.declarations.sources.values().filter(|s| matches!(s.from, From::Topic { .. }));
    let threads = atio_metrics::start(atio_metrics::Deps {
        kafka: system.kafka.clone(),
        prefix: system.config.prefix.clone(),
        adopted: adopted.map(|s| s.topic(&system.config.prefix)).collect(),
        codec: system.codec.clone(),
        schemas: system.ids.clone(),
        metrics: system.metrics.service(atio_metrics::SERVICE),
        tasks: system.tasks.clone(),
    })?;
    system.threads.lock().unwrap_or_else(PoisonError::into_inner).extend(threads);
    Ok(None)
}

/// Monitoring's stages, and the thread that watches what they alone may write.
fn watched(system: &System) -> anyhow::Result<Option<Router>> {
    lanes(system, monitoring(&system.config, &system.declarations, &system.codec))?;
    atio_monitoring::watcher::start(atio_monitoring::watcher::Deps {
        kafka: system.kafka.clone(),
        prefix: system.config.prefix.clone(),
        codec: system.codec.clone(),
        schemas: system.ids.clone(),
        metrics: system.metrics.service(atio_monitoring::SERVICE),
        tasks: system.tasks.clone(),
        data: system.config.data.clone(),
    })?;
    Ok(None)
}

fn monitoring(config: &Config, declarations: &Declarations, codec: &Codec) -> Vec<Stage> {
    let known = Known::of(declarations);
    let of_runs = known.clone();
    let workflow: atio_monitoring::check::WorkflowCheck = Arc::new(move |name, text| {
        compile(name, text, &known).map(|definition| facts(&definition)).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
            let code = problems.first().map_or(Code::InvalidDefinition, |p| p.code);
            atio_monitoring::Refused::new(code, lines.join("\n"))
        })
    });
    let run: atio_monitoring::check::RunCheck = Arc::new(move |name, text, event| {
        atio_routing::triggers::runs(name, text, event, &of_runs)
            .map_err(|(code, message)| atio_monitoring::Refused::new(code, message))
    });
    let check = Arc::new(atio_monitoring::BuiltIn { workflow, run });
    atio_monitoring::stages(&atio_monitoring::Deps {
        prefix: config.prefix.clone(),
        codec: codec.clone(),
        check,
        budget: u64::from(config.workflows.own_branches),
    })
}

/// What decides where its branches run.
fn facts(definition: &Definition) -> Facts {
    let wanted = match definition.placement() {
        Asked::Auto => Wanted::Auto,
        Asked::Own => Wanted::Own,
        Asked::Pooled => Wanted::Pooled,
    };
    Facts { branches: u32::try_from(definition.branches.len()).unwrap_or(u32::MAX), wanted }
}

/// What routing is made of.
pub fn routing(config: &Config, declarations: &Declarations, codec: &Codec) -> atio_routing::Deps {
    let known = Known::of(declarations);
    atio_routing::Deps::new(&config.prefix, codec.clone(), known, config.home_networks.clone())
}

/// Every stage but delivery's, with the branches and the pool of these workflows (by their keys on the topic of definitions): for topics and pictures; nothing
/// is opened or started. A workflow that does not compile is told to `left_out`.
pub fn wiring(
    config: &Config,
    declarations: &Declarations,
    codec: &Codec,
    workflows: &BTreeMap<String, Stored>,
    left_out: impl Fn(&str, &StageError),
) -> anyhow::Result<Vec<Stage>> {
    let mut stages = enrichment(config, codec);
    stages.extend(atio_incidents::stages(&incidents_deps(config, declarations, codec)));
    stages.extend(monitoring(config, declarations, codec));
    stages.extend(normalization(config, declarations, codec));
    let routing = routing(config, declarations, codec);
    let mut definitions = routing.definitions();
    for (key, record) in workflows {
        if let Err(error) = definitions.apply(key.as_bytes(), Some(&codec.encode(record)?)) {
            left_out(key, &error);
        }
    }
    definitions.settle();
    stages.extend(atio_routing::stages(&routing, &definitions));
    Ok(stages)
}

/// Every declared workflow, as if it were the first version in force, by their keys on the topic of definitions; placed as monitoring would place them, in the
/// order in which they are applied. `placed` says where those are that are in force already, as far as it is known.
pub fn as_declared(
    config: &Config,
    declarations: &Declarations,
    placed: &BTreeMap<String, Placement>,
) -> BTreeMap<String, Stored> {
    let known = Known::of(declarations);
    let of = |workflow: &WorkflowText| {
        compile(&workflow.name, &workflow.text, &known).map(|definition| facts(&definition))
    };
    let all_facts =
        declarations.workflows.iter().map(|(name, workflow)| (name, of(workflow).unwrap_or_default()));
    let all_facts: BTreeMap<&String, Facts> = all_facts.collect();
    let before = |name: &str| placed.get(name).copied();
    let has_lanes = |name: &str| before(name).is_some_and(Placement::has_lanes);
    let there =
        all_facts.iter().filter(|(name, _)| has_lanes(name)).map(|(_, facts)| u64::from(facts.branches));
    let mut room = Room { groups: there.sum(), budget: u64::from(config.workflows.own_branches) };
    let mut all = BTreeMap::new();
    for workflow in declarations.workflows.values() {
        let facts = all_facts.get(&workflow.name).copied().unwrap_or_default();
        let before = before(&workflow.name);
        // Whoever applies makes its topic first.
        let placement = place(before.map(|placement| (placement, true)), true, facts, room);
        if before.is_none() && placement.has_lanes() {
            room.groups += u64::from(facts.branches);
        }
        let text = Stored {
            kind: ObjectKind::Workflow,
            name: workflow.name.clone(),
            version: 1,
            pointer: false,
            paused: false,
            definition: workflow.text.clone(),
            sha256: String::new(),
            created_at: clock::now(),
            created_by: String::new(),
            command_id: String::new(),
            placement: None,
        };
        let pointer =
            Stored { pointer: true, definition: String::new(), placement: Some(placement), ..text.clone() };
        let key = pointer_key(ObjectKind::Workflow, &workflow.name);
        all.extend([(format!("{key}@1"), text), (key, pointer)]);
    }
    all
}

async fn delivery(system: &System) -> anyhow::Result<Option<Router>> {
    let deps = atio_delivery::Deps {
        prefix: system.config.prefix.clone(),
        codec: system.codec.clone(),
        sinks: system.declarations.sinks.values().cloned().collect(),
        allow_internal: system.config.allow_internal.clone(),
        metrics: DeliveryMetrics::new(&system.metrics.service(atio_delivery::SERVICE))?,
    };
    lanes(system, atio_delivery::stages(&deps)?)
}

fn incidents_deps(config: &Config, declarations: &Declarations, codec: &Codec) -> atio_incidents::Deps {
    atio_incidents::Deps::new(&config.prefix, codec.clone(), declarations, &config.home_networks)
}

async fn incidents(system: &System) -> anyhow::Result<Option<Router>> {
    let (config, kafka) = (&system.config, &system.kafka);
    lanes(system, atio_incidents::stages(&incidents_deps(config, &system.declarations, &system.codec)))?;
    let spec = PublisherSpec::new(kafka, "atio-incidents", &[&format!("{}acks", config.prefix)]);
    let publisher = tokio::task::spawn_blocking(move || Publisher::open(spec)).await??;
    let (view, stop) = (View::default(), system.tasks.token());
    let from = (kafka.clone(), format!("{}incidents", config.prefix));
    let read = (system.codec.clone(), system.ids.clone() as Arc<dyn SchemaSource>);
    let thread = atio_incidents::view::follow(view.clone(), from, read, move || stop.is_cancelled())?;
    system.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    Ok(Some(atio_incidents::http::router(atio_incidents::http::Deps {
        prefix: config.prefix.clone(),
        codec: system.codec.clone(),
        keys: system.keys.clone(),
        rate: atio_runtime::http::server::rate(&config.http),
        publisher: Arc::new(publisher),
        view,
    })))
}

async fn ingestion(system: &System) -> anyhow::Result<Option<Router>> {
    let prefix = &system.config.prefix;
    let http: Vec<&Source> =
        system.declarations.sources.values().filter(|s| matches!(s.from, From::Http)).collect();
    let topics: Vec<String> = http.iter().map(|s| s.topic(prefix)).collect();
    let spec = PublisherSpec::new(
        &system.kafka,
        "atio-ingestion",
        &topics.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let publisher = tokio::task::spawn_blocking(move || Publisher::open(spec)).await??;
    let metrics = IngestionMetrics::new(&system.metrics.service(atio_ingestion::SERVICE))?;
    let directory = declared::directory(&system.config);
    let files = files::Deps {
        ordinal: system.ordinal.unwrap_or(0),
        ..files::Deps::new(system.kafka.clone(), prefix, system.codec.clone(), metrics.clone(), directory)
    };
    let declarations = &system.declarations;
    let what = files::Files {
        sources: declarations.sources.values().cloned().collect(),
        tables: declarations.tables.values().cloned().collect(),
    };
    system.files.put(what.start(&files)?);
    let router = atio_ingestion::http::router(atio_ingestion::http::Deps {
        prefix: prefix.clone(),
        codec: system.codec.clone(),
        keys: system.keys.clone(),
        rate: atio_runtime::http::server::rate(&system.config.http),
        metrics: atio_ingestion::metrics::IngestionMetrics::new(
            &system.metrics.service(atio_ingestion::SERVICE),
        )?,
        publisher: Arc::new(publisher),
        sources: Arc::new(system.declarations.sources.clone()),
    });
    Ok(Some(router))
}
