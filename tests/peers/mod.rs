//! Other people's clients on what ATIO offers: its broker, its registry, its metrics.
mod confluent;
mod kcat;
mod promtool;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    let mut trials = kcat::trials();
    trials.extend(confluent::trials());
    trials.extend(promtool::trials());
    trials
}
