//! The real program, end to end.
mod applies;
mod crowd;
mod dead_letters;
mod fairness;
mod in_effect;
mod incidents;
mod kill;
mod metrics;
mod normalize;
mod pause;
mod people;
mod pool;
mod replay;
mod replay_pipeline;
mod replay_tables;
mod schedules;
mod silences;
mod steps;
mod system;
mod tables;
mod tamper;
mod triggers;
mod up;
mod use_cases;
mod validate;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    let mut trials = up::trials();
    trials.extend(normalize::trials());
    trials.extend(kill::trials());
    trials.extend(dead_letters::trials());
    trials.extend(fairness::trials());
    trials.extend(in_effect::trials());
    trials.extend(incidents::trials());
    trials.extend(crowd::trials());
    trials.extend(applies::trials());
    trials.extend(steps::trials());
    trials.extend(metrics::trials());
    trials.extend(pause::trials());
    trials.extend(people::trials());
    trials.extend(pool::trials());
    trials.extend(replay::trials());
    trials.extend(replay_pipeline::trials());
    trials.extend(replay_tables::trials());
    trials.extend(schedules::trials());
    trials.extend(silences::trials());
    trials.extend(tables::trials());
    trials.extend(tamper::trials());
    trials.extend(triggers::trials());
    trials.extend(use_cases::trials());
    trials.extend(validate::trials());
    trials
}
