//! Third-party samples through the real program. What is right comes from what others wrote beside the samples, from the samples' own
//! fields, and from other people's libraries; never from what ATIO said before.
mod batch;
mod openvas;
mod patterns;
mod pipeline;
pub mod samples;
mod stix;
mod suricata;
pub mod verdict;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    let mut trials = suricata::trials();
    trials.extend(openvas::trials());
    trials.extend(stix::trials());
    trials.extend(patterns::trials());
    trials.extend(pipeline::trials());
    trials
}
