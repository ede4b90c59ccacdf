//! Other people's clients on what ATIO offers: its broker and its registry.
mod confluent;
mod kcat;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    let mut trials = kcat::trials();
    trials.extend(confluent::trials());
    trials
}
