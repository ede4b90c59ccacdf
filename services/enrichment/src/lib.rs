//! Enrichment: what ATIO knows beside the event. Assets and policies, KEV and EPSS, repeats and the life of findings, incident ids, risk with
//! its reasons, the sighting and the report.
//!
//! Owns state by asset and the order of the enrichers. Must not know: tool formats, workflows, Kafka. A missing or slow enricher marks the
//! event (`enrichment_missing:<name>`) and never blocks it.

pub mod enrichers;
mod findings;
pub mod risk;
mod stage;
mod stores;
mod threats;

use atio_schemas::Codec;
use atio_stage::{Input, Pace, Run, Stage, StoreSpec, TableSpec};
use std::sync::Arc;

pub const SERVICE: &str = "enrichment";

/// What enrichment is built from.
#[derive(Clone)]
pub struct Deps {
    pub prefix: String,
    pub codec: Codec,
}

/// Two stages: logs apart, so that bulk never delays an alert.
#[must_use]
pub fn stages(deps: &Deps) -> Vec<Stage> {
    // Clones: both stages see one view.
    let tables = tables(deps);
    vec![
        stage(deps, &tables, "enrichment", ("detections", "enriched"), Pace::Interactive),
        stage(deps, &tables, "enrichment-logs", ("logs", "enriched-logs"), Pace::Bulk),
    ]
}

fn stage(deps: &Deps, tables: &[TableSpec], name: &str, (input, output): (&str, &str), pace: Pace) -> Stage {
    let topic = |name: &str| Arc::<str>::from(format!("{}{name}", deps.prefix));
    let enricher = stage::Enrichment::new(deps.codec.clone(), topic(output), topic("incident-events"));
    let alerts = pace == Pace::Interactive;
    let incident_events = alerts.then(|| topic("incident-events"));
    Stage {
        name: name.to_owned(),
        service: SERVICE,
        group: format!("{}{name}", deps.prefix),
        inputs: vec![Input::new(&topic(input))],
        outputs: [Some(topic(output)), incident_events].into_iter().flatten().collect(),
        stores: if alerts { stores(&deps.prefix) } else { vec![] },
        tables: tables.to_vec(),
        pace,
        run: Run::Transform(Box::new(enricher)),
    }
}

fn stores(prefix: &str) -> Vec<StoreSpec> {
    vec![
        StoreSpec::of::<stores::Exposed>(prefix, SERVICE),
        StoreSpec::of::<stores::Findings>(prefix, SERVICE),
        StoreSpec::of::<stores::Incidents>(prefix, SERVICE),
        StoreSpec::of::<stores::Repeats>(prefix, SERVICE),
        StoreSpec::of::<stores::Risk>(prefix, SERVICE),
    ]
}

/// The tables that both stages read.
#[must_use]
pub fn tables(deps: &Deps) -> Vec<TableSpec> {
    let spec = |name: &str, make: Arc<dyn Fn() -> Box<dyn atio_stage::View> + Send + Sync>| TableSpec {
        name: atio_stage::TableName::new(name),
        topic: Arc::from(format!("{}reference.{name}", deps.prefix)),
        make,
    };
    let (assets, vulnerabilities) = (deps.codec.clone(), deps.codec.clone());
    vec![
        spec(
            enrichers::asset::TABLE,
            Arc::new(move || Box::new(enrichers::asset::Assets::new(assets.clone()))),
        ),
        spec(
            enrichers::cve::TABLE,
            Arc::new(move || Box::new(enrichers::cve::Vulnerabilities::new(vulnerabilities.clone()))),
        ),
    ]
}
