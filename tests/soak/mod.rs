//! Whoever dies, under load: services and brokers are killed and frozen at random, and nothing may be lost, doubled or torn.
//!
//! `bed`: the system under test; `load`: what goes in; `look`: what is seen from outside; `chaos`: who is hit, how
//! and when; `oracle`: what judges; `mutant`: that it can say no; `hostile`: bad input under load; `session`: a broker
//! that is away. `docs/soak.md` says how to run it.
mod bed;
mod chaos;
mod hostile;
mod load;
mod look;
mod mutant;
mod oracle;
pub(crate) mod random;
mod session;

use crate::support::{On, trial};
use libtest_mimic::{Failed, Trial};
use std::sync::{Mutex, PoisonError};

/// One after the other: each wants the whole machine.
static ALONE: Mutex<()> = Mutex::new(());

pub fn trials() -> Vec<Trial> {
    let alone = |name: &str, on: On, run: fn(On) -> Result<(), Failed>| {
        trial(&format!("soak::{name}"), on.needs(), move || {
            let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
            println!("soak::{}", ran_on(on));
            run(on)
        })
    };
    vec![
        alone("embedded", On::Embedded, chaos::run),
        alone("kafka", On::Kafka, chaos::run),
        alone("mutant", On::Embedded, mutant::run),
        alone("hostile", On::Embedded, hostile::run),
        alone("outlived", On::Embedded, session::outlived),
        alone("stopped", On::Embedded, session::stopped),
    ]
}

/// Whether Apache Kafka is a cluster of three, whose nodes are killed and stopped too, and not one node that is frozen only (`ATIO_SOAK_ALONE`).
fn clustered() -> bool {
    std::env::var_os("ATIO_SOAK_ALONE").is_none()
}

fn ran_on(on: On) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "dev" } else { "release" };
    let (_, client) = rdkafka::util::get_rdkafka_version();
    format!(
        "on: {}, librdkafka {client}, {build} build, {cores} cores, {}",
        on.version(),
        std::env::consts::ARCH
    )
}
