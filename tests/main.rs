//! The integration tests: one binary, one named trial a sample or scenario.
//!
//! What lacks something on this machine is listed as ignored, with the reason in brackets; with `ATIO_REQUIRE=all` it fails instead.
//! Layers: `broker` (the embedded broker's process), `repo` (architecture, tidiness, drift), `corpus` (third-party data), `conformance` (exactly-once on both brokers),
//! `pipeline` (the real program, end to end), `peers` (other people's clients), `soak` (whoever dies, under load).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub
)]

mod broker;
mod conformance;
mod corpus;
mod peers;
mod pipeline;
mod repo;
mod soak;
mod support;

use libtest_mimic::{Arguments, run};

fn main() {
    conformance::run_if_asked();
    let arguments = Arguments::from_args();
    let mut trials = vec![];
    trials.extend(broker::trials());
    trials.extend(conformance::trials());
    trials.extend(corpus::trials());
    trials.extend(peers::trials());
    trials.extend(pipeline::trials());
    trials.extend(repo::trials());
    trials.extend(soak::trials());
    trials.extend(support::port::trials());
    let conclusion = run(&arguments, trials);
    support::cleanup();
    conclusion.exit();
}
