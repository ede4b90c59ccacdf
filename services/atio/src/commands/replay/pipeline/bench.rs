//! A stage in memory, one partition at a time: state, holds and deadlines as the driver has them, the record's time as its clock. Owns what an outcome
//! means. Must not know: topics' ends, what is compared.
use atio_schemas::{Code, Timestamp};
use atio_stage::{
    Outcome, Output, Overlay, Processor, Record, Replay, Run, Stage, StageError, State, StateKey, Tables,
    Timer, Tx, harness::Counts,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What a stage keeps of a partition.
#[derive(Default)]
pub struct Lane {
    state: State,
    held: BTreeMap<StateKey, Timestamp>,
    due: BTreeSet<(Timestamp, StateKey)>,
}

/// A stage that can be run here: one that transforms.
fn processor(stage: &Stage) -> Option<&dyn Processor> {
    match &stage.run {
        Run::Transform(processor) => Some(&**processor),
        Run::Deliver(_) => None,
    }
}

impl Lane {
    /// One record; what comes out of it.
    pub fn record(
        &mut self,
        stage: &Stage,
        record: &Record<'_>,
        tables: &Tables,
        counts: &mut Counts,
    ) -> Vec<Output> {
        counts.read += 1;
        // It was replayed for another stage: this one had it before.
        if Replay::of(record.headers).is_some_and(|replay| !replay.is_for(|name| name == stage.name)) {
            *counts.dropped.entry(Code::OtherStage).or_default() += 1;
            return vec![];
        }
        self.call(stage, record.timestamp, tables, counts, None, |processor, tx| {
            processor.process(record, tx)
        })
    }

    /// What is held and due by then goes on, in its order.
    pub fn fire(
        &mut self,
        stage: &Stage,
        until: Timestamp,
        tables: &Tables,
        counts: &mut Counts,
    ) -> Vec<Output> {
        let mut outputs = vec![];
        while let Some((at, key)) = self.due.first().filter(|(at, _)| *at <= until).cloned() {
            self.due.pop_first();
            let timer = Timer { key: key.clone(), at };
            let made = self
                .call(stage, at, tables, counts, Some(&key), |processor, tx| processor.on_timer(&timer, tx));
            outputs.extend(made);
        }
        outputs
    }

    fn call(
        &mut self,
        stage: &Stage,
        now: Timestamp,
        tables: &Tables,
        counts: &mut Counts,
        held: Option<&StateKey>,
        call: impl FnOnce(&dyn Processor, &mut Tx<'_>) -> Outcome,
    ) -> Vec<Output> {
        let mut overlay = Overlay::default();
        let mut tx = Tx::new(now, &self.state, &mut overlay, tables);
        let outcome = match processor(stage) {
            // A library that panics on a record does not end the replay, as it does not end the stage.
            Some(processor) => catch_unwind(AssertUnwindSafe(|| call(processor, &mut tx)))
                .unwrap_or_else(|_| Outcome::dead_letter(Code::Internal, "the stage panicked")),
            None => Outcome::Fail(StageError { code: Code::Internal, message: "it delivers".to_owned() }),
        };
        let (settled, mut outputs) = (tx.take_settled(), tx.take_shown());
        if let Outcome::Fail(_) = outcome {
            // Nothing of it is kept: live the stage would have tried again, or stopped.
            counts.failed += 1;
            return vec![];
        }
        self.state.merge(overlay);
        for (key, end) in settled {
            self.end(Some(&key), end, counts, &mut outputs);
        }
        self.end(held, outcome, counts, &mut outputs);
        outputs
    }

    fn end(
        &mut self,
        held: Option<&StateKey>,
        outcome: Outcome,
        counts: &mut Counts,
        outputs: &mut Vec<Output>,
    ) {
        if let Some(at) = held.and_then(|key| self.held.remove(key).map(|at| (at, key.clone()))) {
            self.due.remove(&at);
            counts.held = counts.held.saturating_sub(1);
        }
        match outcome {
            Outcome::Emit { outputs: made, rejected } => {
                counts.emitted += 1;
                outputs.extend(made.into_vec());
                // Parts of what was emitted are dead letters of their own.
                rejected.iter().for_each(|r| *counts.dead_lettered.entry(r.code).or_default() += 1);
            }
            Outcome::Legs { outputs: made, legs } => {
                self.end(None, Outcome::together(made, legs), counts, outputs);
            }
            Outcome::Hold { key, until } => {
                counts.held += 1;
                if let Some(before) = self.held.insert(key.clone(), until) {
                    self.due.remove(&(before, key.clone()));
                }
                self.due.insert((until, key));
            }
            Outcome::Drop(code) => *counts.dropped.entry(code).or_default() += 1,
            Outcome::DeadLetter(rejects) => {
                rejects.as_slice().iter().for_each(|r| *counts.dead_lettered.entry(r.code).or_default() += 1);
            }
            Outcome::Fail(_) => counts.failed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_stage::{Headers, Pace, Store};

    struct Kept;
    impl Store for Kept {
        const NAME: &'static str = "kept";
        type Value = i64;
    }
    /// Holds each value for a second; what is held twice is due later. `panic` panics, `fail` fails.
    struct Hold;
    impl Processor for Hold {
        fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
            let key = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
            let before = tx.store::<Kept>().get(&key).unwrap().unwrap_or_default();
            tx.store::<Kept>().put(&key, &(before + 1)).unwrap();
            match key.as_str() {
                "panic" => panic!("as told"),
                "fail" => Outcome::Fail(StageError { code: Code::Internal, message: String::new() }),
                _ => Outcome::Hold {
                    key: StateKey { store: Kept::NAME, key },
                    until: tx.now().plus_millis(1000),
                },
            }
        }
        fn on_timer(&self, timer: &Timer, tx: &mut Tx<'_>) -> Outcome {
            let count = tx.store::<Kept>().get(&timer.key.key).unwrap().unwrap_or_default();
            let value = format!("{}={count}@{}", timer.key.key, tx.now().0);
            Outcome::emit(Output::new("out", "k", value.into_bytes(), Headers::default()))
        }
    }

    #[test]
    fn what_is_held_goes_on_at_its_time() {
        let stage = Stage {
            name: "hold".into(),
            service: "trial",
            group: "g".into(),
            inputs: vec![],
            outputs: vec![],
            stores: vec![],
            tables: vec![],
            pace: Pace::Bulk,
            run: Run::Transform(Box::new(Hold)),
        };
        let (mut lane, mut counts, headers) = (Lane::default(), Counts::default(), Headers::default());
        let tables = Tables::default();
        for (at, value) in [(1, "a"), (2, "b"), (3, "a"), (4, "panic"), (5, "fail")] {
            let record = Record {
                topic: "t",
                partition: 0,
                offset: at,
                timestamp: Timestamp(at),
                key: None,
                value: Some(value.as_bytes()),
                headers: &headers,
            };
            assert!(lane.record(&stage, &record, &tables, &mut counts).is_empty());
        }
        assert_eq!((counts.held, counts.failed, counts.dead_lettered.len()), (3, 1, 1));
        assert!(lane.fire(&stage, Timestamp(1_000_001), &tables, &mut counts).is_empty(), "it is due later");
        let made = lane.fire(&stage, Timestamp(i64::MAX), &tables, &mut counts);
        let texts: Vec<String> =
            made.into_iter().map(|o| String::from_utf8(o.value.unwrap()).unwrap()).collect();
        assert_eq!(texts, ["b=1@1000002", "a=2@1000003"]);
        assert_eq!((counts.read, counts.emitted), (5, 2));
    }
}
