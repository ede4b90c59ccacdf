//! The embedded broker as a process: what it asks of the disk before it answers, what it costs when nothing happens.
mod durable;
mod idle;

use crate::support::{Need, trial};
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "broker::strict_syncs_before_it_answers",
            &[Need::Strace],
            durable::strict_syncs_before_it_answers,
        ),
        trial("broker::os_answers_without_a_sync", &[Need::Strace], durable::os_answers_without_a_sync),
        trial("broker::idle_consumers_cost_little", &[], idle::idle_consumers_cost_little),
    ]
}
