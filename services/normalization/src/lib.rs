//! Raw events to detections in STIX 2.1: the stage between the raw topics and `atio.detections`, `atio.logs`.
//!
//! Owns what the service is made of. Must not know: Kafka, threads, how a format is read (`atio-formats`), how STIX is written
//! (`atio-stix`).

pub mod asset;
pub mod config;
pub mod event;
mod graph;
pub mod offline;
mod score;
pub mod stage;

use crate::asset::Assets;
use crate::config::{Config, Source};
use atio_schemas::Codec;
use atio_stage::{Input, Pace, Run, Stage, Start, StoreSpec, TableName, TableSpec};
use std::sync::Arc;

/// Outputs of one record at most (design, "Topics").
pub const MAX_OUTPUTS: usize = 10_000;
/// The service's name, and its stage's.
pub const SERVICE: &str = "normalization";

/// What the stage is made with.
#[derive(Clone)]
pub struct Deps {
    /// Of topics and groups, e.g. `atio.`.
    pub prefix: String,
    pub codec: Codec,
    pub config: Config,
    /// Every declared source; the raw topics of all of them are the inputs.
    pub sources: Vec<Source>,
}

/// The service's stages: one.
#[must_use]
pub fn stages(deps: Deps) -> Vec<Stage> {
    vec![stage_of(deps)]
}

fn stage_of(deps: Deps) -> Stage {
    let prefix = deps.prefix.clone();
    let inputs = deps.sources.iter().map(|source| Input {
        start: if source.from_end { Start::End } else { Start::Beginning },
        dead_letters: Arc::from(source.dead_letters.as_str()),
        ..Input::new(&source.topic)
    });
    let inputs = inputs.collect();
    let tables = vec![assets_table(&prefix, &deps.codec)];
    let processor = processor(deps);
    Stage {
        name: SERVICE.to_owned(),
        service: SERVICE,
        group: format!("{prefix}{SERVICE}"),
        inputs,
        outputs: vec![Arc::clone(&processor.detections), Arc::clone(&processor.logs)],
        stores: vec![StoreSpec::of::<stage::Seen>(&prefix, SERVICE)],
        tables,
        pace: Pace::Interactive,
        run: Run::Transform(Box::new(processor)),
    }
}

/// The inventory, as the stage and its tests read it.
#[must_use]
pub fn assets_table(prefix: &str, codec: &Codec) -> TableSpec {
    let codec = codec.clone();
    TableSpec {
        name: TableName::new(asset::TABLE),
        topic: Arc::from(format!("{prefix}reference.{}", asset::TABLE)),
        make: Arc::new(move || Box::new(Assets::new(codec.clone()))),
    }
}

/// The processor alone, for the harness.
#[must_use]
pub fn processor(deps: Deps) -> stage::Normalizer {
    let topic = |name: &str| Arc::from(format!("{}{name}", deps.prefix));
    stage::Normalizer {
        detections: topic("detections"),
        logs: topic("logs"),
        home: deps.config.home_networks,
        sources: deps.sources.into_iter().map(|source| (source.topic.clone(), source)).collect(),
        codec: deps.codec,
        names: stage::Names::default(),
        known: atio_stix::Known::default(),
    }
}
