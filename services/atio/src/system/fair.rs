//! What normalization is told so that a flood of one source delays no other: the share of each, and who reads what all of them share. Owns which
//! stages those are; how records are taken is the stream layer's.
use super::{System, services};
use atio_stage::Stage;
use atio_stream::intake::{Branches, Downstream, Hop, Intake, Share, Watched};
use atio_topics::{Declarations, Source};
use std::sync::{Arc, PoisonError};

const CLIENT: &str = "atio-downstream";

/// Of normalization's lane in this process, with the thread that looks downstream.
pub fn intake(system: &System) -> anyhow::Result<Intake> {
    let stop = system.tasks.clone();
    let watched = watched(system);
    let (downstream, thread) = Downstream::start(&system.kafka, CLIENT, watched, move || stop.is_stopping())?;
    system.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    Ok(Intake { shares: shares(&system.declarations, &system.config.prefix), downstream })
}

fn shares(declared: &Declarations, prefix: &str) -> std::collections::BTreeMap<Arc<str>, Share> {
    let share = |source: &Source| Share {
        source: source.meta.name.clone(),
        tenant: source.tenant.clone(),
        weight: source.class.weight(),
    };
    declared.sources.values().map(|s| (Arc::from(s.topic(prefix)), share(s))).collect()
}

/// Sinks are left out: a slow one holds up no source.
fn watched(system: &System) -> Watched {
    let (config, codec) = (&system.config, &system.codec);
    let deps = services::routing(config, &system.declarations, codec);
    let hop = |stage: &Stage, first| {
        let hop = |topic: &Arc<str>| Hop { group: stage.group.clone(), topic: topic.to_string(), first };
        stage.inputs.iter().map(|input| hop(&input.topic)).collect::<Vec<_>>()
    };
    let enriching = services::enrichment(config, codec);
    let routing = atio_routing::router_stages(&deps, &deps.definitions());
    let first = enriching.iter().flat_map(|stage| hop(stage, true));
    let prefix = &config.prefix;
    Watched {
        hops: first.chain(routing.iter().flat_map(|stage| hop(stage, false))).collect(),
        branches: Branches {
            group: format!("{prefix}{}.", atio_routing::SERVICE),
            topic: format!("{prefix}workflow."),
        },
    }
}
