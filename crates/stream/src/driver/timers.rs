//! When what is held fires (exactly-once, rule 20). Owns how far a partition must be read before; must not know what firing does.
use super::*;
use crate::transform::Firing;

impl Driver {
    /// Looks for deadlines that have passed, and fires those whose partition is read.
    pub(super) fn fire_timers(&mut self, consumer: &LaneConsumer) {
        self.serve_idle();
        if !self.machine.reads() {
            return;
        }
        for partition in self.deadlines.passed(clock::wall()) {
            let now = clock::wall();
            let inputs: Vec<Tp> =
                self.books.partitions().filter(|tp| tp.partition == partition).cloned().collect();
            // Also above the last stable offset: an open transaction may hold what was in time.
            let ends = self.ends(&inputs);
            match ends {
                Ok(ends) => {
                    self.deadlines.look(partition, now);
                    self.wanted.insert(partition, ends);
                }
                Err(fault) => {
                    tracing::warn!(stage = self.stage.name, error_code = "timers", error = %fault, "deadlines wait for the broker");
                    return;
                }
            }
        }
        let looking = self.deadlines.looking();
        if looking.is_empty() {
            return;
        }
        let positions: Positions = consumer.positions().into_iter().collect();
        for partition in looking {
            let ends = self.wanted.get(&partition);
            let at = |tp: &Tp| positions.get(tp).or_else(|| self.starts.get(tp)).copied().unwrap_or(0);
            if ends.is_some_and(|ends| ends.iter().all(|(tp, end)| at(tp) >= *end)) {
                self.wanted.remove(&partition);
                let fired = self.deadlines.fire(partition);
                self.firing.extend(fired.into_iter().map(|(at, key)| Firing { partition, at, key }));
            }
        }
        if !self.firing.is_empty() {
            self.feed(consumer, None, Event::Due);
            self.firing.clear();
        }
    }

    /// The clients for restoring say little while they do nothing: a look at each costs as much as a turn.
    fn serve_idle(&mut self) {
        let now = self.clock.now();
        if let Some(restorer) = self.restorer.as_ref().filter(|_| now >= self.last_served + 1000) {
            self.last_served = now;
            restorer.serve();
        }
    }

    fn ends(&mut self, inputs: &[Tp]) -> Result<Vec<(Tp, i64)>, Fault> {
        let found = self.restorer()?.ends(inputs)?;
        Ok(found.into_iter().map(|(tp, log)| (tp, log.end)).collect())
    }
}
