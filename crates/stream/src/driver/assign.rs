//! Taking and giving back partitions (exactly-once, rules 2, 12, 16). Owns the order: committed offsets, then the log's ends, then the state.
use super::*;
use crate::{
    ledger::{Ledger, Spans},
    machine::Base,
    store::is_stale,
};
use atio_stage::{Start, Store as _, Timers};
use std::collections::BTreeMap;

const AGAIN: Duration = Duration::from_millis(200);
/// So long the broker may be away while partitions are restored.
const PATIENCE: Duration = Duration::from_secs(300);

impl Driver {
    pub(super) fn restore(
        &mut self,
        consumer: &LaneConsumer,
        partitions: &[Tp],
    ) -> Result<BTreeMap<Tp, Base>, End> {
        let started = Instant::now();
        loop {
            match self.restore_once(consumer, partitions) {
                Ok(bases) => {
                    self.spare_restorer();
                    self.config.metrics.restored(&self.stage.name, started.elapsed().as_secs_f64());
                    self.assigned();
                    return Ok(bases);
                }
                Err(Trouble::End(end)) => return Err(end),
                Err(Trouble::Fault(fault))
                    if fault.kind == FaultKind::Retry && started.elapsed() < PATIENCE =>
                {
                    if self.stop.is_stopped() {
                        return Err(End::Asked);
                    }
                    tracing::warn!(stage = self.stage.name, error_code = "restore", error = %fault, "restoration is tried again");
                    self.report(Some(fault.text));
                    clock::pause(AGAIN);
                }
                Err(Trouble::Fault(fault)) => return Err(End::Failed(format!("restoring: {}", fault.text))),
            }
        }
    }

    /// The clients that read changelogs and watermarks.
    pub(super) fn restorer(&mut self) -> Result<&Restorer, Fault> {
        let made = match self.restorer.take() {
            Some(restorer) => restorer,
            None => {
                let state = !self.stage.stores.is_empty();
                Restorer::new(&self.config.kafka, &self.spec.client_id, state)?
            }
        };
        Ok(self.restorer.insert(made))
    }
    /// They have threads, connections and queues: only what has timers keeps them.
    fn spare_restorer(&mut self) {
        if !self.stage.stores.iter().any(|s| s.name == Timers::NAME) {
            self.restorer.take().into_iter().for_each(crate::client::retire);
        }
    }

    fn restore_once(
        &mut self,
        consumer: &LaneConsumer,
        partitions: &[Tp],
    ) -> Result<BTreeMap<Tp, Base>, Trouble> {
        let committed = consumer.committed(partitions)?;
        let ends = self.restorer()?.ends(partitions)?;
        let mut bases = BTreeMap::new();
        let mut ledgers = vec![];
        for tp in partitions {
            let found = committed.get(tp).cloned().flatten();
            let log = ends.get(tp).copied();
            let log = log.ok_or_else(|| Fault::new(FaultKind::Retry, format!("{tp}: no ends")))?;
            let mut base = self.base(tp, found.as_ref().map(|(n, _)| *n), log.low, log.end)?;
            let ledger = self.ledger(tp, found.map(|(_, metadata)| metadata));
            base.mark = ledger.commits;
            ledgers.push((tp.clone(), ledger));
            bases.insert(tp.clone(), base);
        }
        self.restore_states(consumer, &ledgers)?;
        for (tp, ledger) in ledgers {
            self.books.restored(tp, ledger);
        }
        self.starts.extend(bases.iter().map(|(tp, base)| (tp.clone(), base.next)));
        self.epoch = Noting::Due;
        Ok(bases)
    }

    /// Never a silent jump (rule 12).
    fn base(&self, tp: &Tp, committed: Option<i64>, low: i64, high: i64) -> Result<Base, Trouble> {
        match committed {
            Some(next) if (low..=high).contains(&next) => Ok(Base { next, mark: 0, stored: true }),
            Some(committed) => {
                Err(Trouble::End(End::OutOfRange { partition: tp.clone(), committed, low, high }))
            }
            None => {
                let input = self.stage.inputs.iter().find(|i| i.topic == tp.topic);
                let start = input.map_or(Start::Beginning, |i| i.start);
                Ok(Base { next: if start == Start::End { high } else { low }, mark: 0, stored: false })
            }
        }
    }

    fn ledger(&self, tp: &Tp, metadata: Option<String>) -> Ledger {
        let new = Ledger::new(clock::wall().millis());
        let Some(text) = metadata else { return new };
        Ledger::from_metadata(&text).unwrap_or_else(|| {
            tracing::error!(stage = self.stage.name, error_code = "ledger_lost", partition = %tp, epoch = new.epoch, "a new ledger epoch begins");
            new
        })
    }

    fn restore_states(&mut self, consumer: &LaneConsumer, ledgers: &[(Tp, Ledger)]) -> Result<(), Trouble> {
        let mut wanted: Vec<i32> =
            ledgers.iter().map(|(tp, _)| tp.partition).filter(|p| !self.states.has(*p)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if self.stage.stores.is_empty() || wanted.is_empty() {
            return Ok(());
        }
        let schemas = self.config.schemas.clone();
        let ensure = |bytes: &[u8]| start::fetch_schema(&*schemas, Some(bytes));
        // Nothing is delivered while an event waits to be acknowledged (rule 2), so this poll only shows that we live.
        let stop = self.stop.clone();
        let go_on = || {
            drop(consumer.poll(Duration::ZERO));
            !stop.is_stopped()
        };
        let (specs, codec) = (self.stage.stores.clone(), self.config.codec.clone());
        let mut spans = self.restorer()?.spans(&wanted, &specs)?;
        self.whole(ledgers, &spans)?;
        let states = self.restorer()?.restore(&spans, &specs, &codec, &ensure, &go_on)?;
        for (partition, state) in states {
            self.deadlines.restored(partition, &state);
            self.states.restored(partition, state, spans.remove(&partition).unwrap_or_default());
        }
        Ok(())
    }

    /// A changelog must go as far as it did when the offsets were committed, and begin where it did: never a silent loss of state.
    fn whole(&self, ledgers: &[(Tp, Ledger)], found: &BTreeMap<i32, Spans>) -> Result<(), Trouble> {
        for (tp, ledger) in ledgers {
            let Some(found) = found.get(&tp.partition) else { continue };
            for spec in &self.stage.stores {
                let pair = ledger.stores.get(spec.name).zip(found.get(spec.name));
                let Some((noted, found)) = pair.filter(|(noted, found)| is_stale(**noted, **found)) else {
                    continue;
                };
                return Err(Trouble::End(End::StaleState {
                    changelog: Tp::new(spec.changelog.clone(), tp.partition),
                    noted: *noted,
                    found: *found,
                    input: tp.clone(),
                    group: self.stage.group.clone(),
                }));
            }
        }
        Ok(())
    }

    pub(super) fn release(&mut self, partitions: &[Tp]) -> Option<Event> {
        for tp in partitions {
            self.books.release(tp);
            self.starts.remove(tp);
            self.paused.remove(tp);
            if let Some(deliveries) = &mut self.deliveries {
                deliveries.release(tp);
            }
        }
        for tp in partitions {
            // State is by partition number, for all inputs together.
            if !self.books.holds(tp.partition) {
                self.states.release(tp.partition);
                self.deadlines.release(tp.partition);
                self.wanted.remove(&tp.partition);
            }
        }
        self.assigned();
        None
    }

    fn assigned(&mut self) {
        if let Some(taking) = &mut self.taking {
            taking.moved();
        }
        let (assigned, total) = (self.books.partitions().cloned().collect(), self.books.total());
        self.shared.update(|s| {
            s.assigned = assigned;
            s.ledger = total;
        });
    }
}

enum Trouble {
    Fault(Fault),
    End(End),
}
impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
