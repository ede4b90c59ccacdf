//! Incidents: detections, waits, acknowledgements and receipts joined by incident. Owns the state and the times of each incident, and runs the
//! remaining steps of what waited. Must not know: how a step works, how a sink is spoken to, Kafka.
//!
//! One stage reads the four topics, keyed by incident, and shows each incident on `incidents` whenever it changes. [`http`] answers from that
//! topic and takes people's answers to `acks`.

mod answer;
pub mod http;
mod incident;
pub mod meant;
mod stage;
mod stores;
pub mod view;

use atio_schemas::Codec;
use atio_stage::{Input, Pace, Run, Stage, StoreSpec, TableSpec, Timers};
use atio_topics::{Declarations, sink::Role};
use atio_workflow::{Definitions, Known, compile};
use ipnet::IpNet;
use std::{collections::BTreeSet, sync::Arc};

pub const SERVICE: &str = "incidents";

/// What the stage is made of.
#[derive(Clone)]
pub struct Deps {
    /// Of topics and groups, e.g. `atio.`.
    pub prefix: String,
    pub codec: Codec,
    /// Sinks that branches may deliver to.
    pub known: Known,
    /// Sinks whose receipt ends the hand-over: those with `role: response`.
    pub response: BTreeSet<String>,
    /// Addresses that are ours.
    pub home_networks: Vec<IpNet>,
    /// Workflows that branches may call.
    pub called: BTreeSet<String>,
}

impl Deps {
    #[must_use]
    pub fn new(prefix: &str, codec: Codec, declared: &Declarations, home_networks: &[IpNet]) -> Self {
        let known = Known::of(declared);
        let compiled =
            declared.workflows.values().filter_map(|w| compile(&w.place.file, &w.text, &known).ok());
        let called = compiled.flat_map(|definition| definition.branches).flat_map(|branch| branch.calls);
        let called = called.map(|call| call.text).collect();
        let response = declared.sinks.iter().filter(|(_, sink)| sink.role == Some(Role::Response));
        Self {
            prefix: prefix.to_owned(),
            codec,
            known,
            called,
            response: response.map(|(name, _)| name.clone()).collect(),
            home_networks: home_networks.to_vec(),
        }
    }

    fn topic(&self, name: &str) -> Arc<str> {
        Arc::from(format!("{}{name}", self.prefix))
    }

    fn table(&self) -> TableSpec {
        Definitions::table(&self.prefix, &self.codec, &self.known)
    }
}

/// The topics that meet here, by what they hold.
pub(crate) const INPUTS: [&str; 4] = ["incident-events", "waits", "acks", "receipts"];

/// The stage.
#[must_use]
pub fn stages(deps: &Deps) -> Vec<Stage> {
    let sinks = deps.known.sinks.keys().map(|sink| deps.topic(&format!("delivery.{sink}")));
    vec![Stage {
        name: SERVICE.to_owned(),
        service: SERVICE,
        group: format!("{}{SERVICE}", deps.prefix),
        inputs: INPUTS.iter().map(|name| Input::new(&deps.topic(name))).collect(),
        // A branch that goes on may come to wait again, or tell the incident something.
        outputs: ["incidents", "waits", "acks"]
            .map(|name| deps.topic(name))
            .into_iter()
            .chain(sinks)
            .chain(deps.called.iter().map(|name| deps.topic(&format!("workflow.{name}"))))
            .chain((!deps.called.is_empty()).then(|| deps.topic("routed")))
            .collect(),
        stores: vec![
            StoreSpec::of::<stores::Early>(&deps.prefix, SERVICE),
            StoreSpec::of::<stores::Incidents>(&deps.prefix, SERVICE),
            StoreSpec::of::<stores::Waits>(&deps.prefix, SERVICE),
            StoreSpec::of::<Timers>(&deps.prefix, SERVICE),
        ],
        tables: vec![deps.table()],
        pace: Pace::Interactive,
        run: Run::Transform(Box::new(stage::Joiner::new(deps))),
    }]
}

#[cfg(test)]
mod tests;
