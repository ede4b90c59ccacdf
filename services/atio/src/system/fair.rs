//! What normalization is told so that a flood of one source delays no other: the share of each, and who reads what all of them share. Owns which
//! stages those are; how records are taken is the stream layer's.
use super::{System, services};
use atio_runtime::Config;
use atio_schemas::Codec;
use atio_stage::Stage;
use atio_stream::intake::{Branches, Downstream, Hop, Intake, Share, Watched};
use atio_topics::{Declarations, Source};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

const CLIENT: &str = "atio-downstream";

/// Of normalization's lane in this process, with the thread that looks downstream.
pub fn intake(system: &System) -> anyhow::Result<Intake> {
    let stop = system.tasks.clone();
    let watched = watched(&system.config, &system.declarations, &system.codec);
    let (downstream, thread) = Downstream::start(&system.kafka, CLIENT, watched, move || stop.is_stopping())?;
    system.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    Ok(Intake { shares: shares(&system.declarations, &system.config.prefix), downstream })
}

fn shares(declared: &Declarations, prefix: &str) -> BTreeMap<Arc<str>, Share> {
    let share = |source: &Source| Share {
        source: source.meta.name.clone(),
        tenant: source.tenant.clone(),
        weight: source.class.weight(),
    };
    declared.sources.values().map(|s| (Arc::from(s.topic(prefix)), share(s))).collect()
}

/// Sinks are left out: a slow one holds up no source.
fn watched(config: &Config, declarations: &Declarations, codec: &Codec) -> Watched {
    let deps = services::routing(config, declarations, codec);
    let hop = |stage: &Stage, first| {
        let hop = |topic: &Arc<str>| Hop { group: stage.group.clone(), topic: topic.to_string(), first };
        stage.inputs.iter().map(|input| hop(&input.topic)).collect::<Vec<_>>()
    };
    let enriching = services::enrichment(config, codec);
    let routing = atio_routing::router_stages(&deps, &deps.definitions());
    let first = enriching.iter().flat_map(|stage| hop(stage, true));
    let prefix = &config.prefix;
    let pool = Hop {
        group: format!("{prefix}{}", atio_routing::POOL),
        topic: format!("{prefix}routed"),
        first: false,
    };
    Watched {
        hops: first.chain(routing.iter().flat_map(|stage| hop(stage, false))).chain([pool]).collect(),
        branches: Branches {
            group: format!("{prefix}{}.", atio_routing::SERVICE),
            topic: format!("{prefix}workflow."),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_schemas::codec::StaticIds;
    use atio_topics::load::File;

    #[test]
    fn every_source_has_its_share_and_every_shared_topic_is_looked_at() {
        let text = "apiVersion: atio/v1\nkind: Source\nmetadata: {name: s}\ntenant: plant\nclass: bulk\nfrom: {topic: {name: theirs}}\n";
        let files = [File { name: "sources/s.yaml".into(), text: text.into() }];
        let (config, declared) = (Config::default(), Declarations::load(&files).unwrap());
        let shares = shares(&declared, &config.prefix);
        let share = |source: &str, tenant: &str, weight| Share {
            source: source.into(),
            tenant: tenant.into(),
            weight,
        };
        assert_eq!(shares["theirs"], share("s", "plant", 1));
        assert_eq!(shares["atio.raw.suricata"], share("suricata", "default", 4));
        let watched = watched(&config, &declared, &Codec::new(Arc::new(StaticIds::new())));
        let hops: Vec<_> = watched.hops.iter().map(|h| (&*h.group, &*h.topic, h.first)).collect();
        assert_eq!(
            hops,
            [
                ("atio.enrichment", "atio.detections", true),
                ("atio.enrichment-logs", "atio.logs", true),
                ("atio.routing", "atio.enriched", false),
                ("atio.routing-logs", "atio.enriched-logs", false),
                ("atio.routing-pool", "atio.routed", false),
            ]
        );
        assert_eq!((&*watched.branches.group, &*watched.branches.topic), ("atio.routing.", "atio.workflow."));
    }
}
