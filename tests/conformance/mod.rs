//! The embedded broker and the stream layer against what a real Kafka does.
mod broker_check;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    broker_check::trials()
}
