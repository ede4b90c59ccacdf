//! The turns of a lane that delivers (exactly-once, rule 22). Owns when records are taken and when a partition pauses; must not know the
//! windows' order (that is `deliver`).
use super::*;

/// A window that stays full for longer pauses its partition; a shorter wait leaves the client's queue alone (rule 15).
const FULL: Millis = 1000;
const WHILE_FLYING: Duration = Duration::from_millis(2);
const WHILE_WAITING: Duration = Duration::from_millis(20);
/// Deliveries under way when the lane is stopped have so long.
const GRACE: Millis = 10_000;

impl Driver {
    /// Whether a stop has to wait for deliveries that are under way.
    pub(super) fn delivers_still(&mut self) -> bool {
        let now = self.clock.now();
        let Some(deliveries) = &self.deliveries else { return false };
        let since = *self.stop_since.get_or_insert(now);
        deliveries.flying() > 0 && now < since + GRACE
    }

    pub(super) fn read_deliveries(&mut self, consumer: &LaneConsumer) {
        let now = self.clock.now();
        let stopping = self.stop.is_stopped();
        let Some(deliveries) = &mut self.deliveries else { return };
        deliveries.advance(now, stopping);
        for _ in 0..std::mem::take(&mut deliveries.retried) {
            self.config.metrics.retried(&self.stage.name);
        }
        // While the last transaction is in doubt what has ended outside waits: it would be a transaction before the last one is settled.
        if self.machine.takes() {
            let ends = deliveries.finished();
            self.feed(consumer, None, Event::Polled { ends, bytes: 0 });
        }
        if stopping {
            return clock::pause(WHILE_FLYING);
        }
        if self.machine.reads() {
            self.take_deliveries(consumer, now);
        }
    }

    fn take_deliveries(&mut self, consumer: &LaneConsumer, now: Millis) {
        let Some(deliveries) = &self.deliveries else { return };
        let wait = match deliveries.flying() {
            0 if deliveries.is_empty() => Duration::from_millis(self.machine.wait(now)),
            0 => WHILE_WAITING.min(Duration::from_millis(self.machine.wait(now))),
            _ => WHILE_FLYING,
        };
        let room: Vec<Tp> = self.paused.iter().filter(|tp| deliveries.has_room(tp)).cloned().collect();
        let full: Vec<Tp> = deliveries.full().filter(|tp| !self.paused.contains(*tp)).cloned().collect();
        if !room.is_empty() {
            self.tell(consumer.resume(&room));
            self.paused.retain(|tp| !room.contains(tp));
        }
        if full.is_empty() {
            self.full_since = None;
        } else if now < *self.full_since.get_or_insert(now) + FULL {
            return clock::pause(wait);
        } else {
            self.full_since = None;
            self.tell(consumer.pause(&full));
            self.paused.extend(full);
        }
        // No window is to hold more than it takes: what comes in one look can be of one partition.
        let room = self.deliveries.as_ref().map_or((0, 0), |d| d.room(&self.paused));
        let limits = &self.config.limits;
        let most = (room.0.min(limits.batch_records), room.1.min(limits.batch_bytes));
        match self.gather(consumer, wait, most) {
            Ok(batch) => {
                for (index, record) in &batch.records {
                    // An answer that is wanted before the record is decoded; where there is none now, decoding says so and the lane waits.
                    if let Err(refusal) = self.ensure(record.value()) {
                        return self.feed(consumer, None, Event::Refused(refusal));
                    }
                    if let Some(deliveries) = &mut self.deliveries {
                        deliveries.push(&batch.partitions[*index].0, record);
                    }
                }
            }
            Err(end) => self.feed(consumer, None, Event::Refused(Refusal::Final(end))),
        }
    }

    pub(super) fn process_deliveries(&mut self) -> Result<(), Refusal> {
        let Some(deliveries) = &mut self.deliveries else { return Ok(()) };
        let outputs =
            deliveries.outputs(&mut self.books, &self.limits, clock::wall()).map_err(Refusal::Stage)?;
        let Some(producer) = &mut self.producer else {
            return Err(Refusal::Producer(Fault::new(FaultKind::Unknown, "no producer")));
        };
        for output in &outputs {
            producer.send(output).map_err(Refusal::Producer)?;
        }
        producer.poll();
        self.config.metrics.outputs(&self.stage.name, outputs.len() as u64);
        self.poisoned()
    }

    /// Before what is read again: a partition that is sought while it is paused would go on at its old place.
    pub(super) fn discard_deliveries(&mut self, consumer: &LaneConsumer) {
        let Some(deliveries) = &mut self.deliveries else { return };
        deliveries.aborted();
        let paused: Vec<Tp> = std::mem::take(&mut self.paused).into_iter().collect();
        if !paused.is_empty() {
            self.tell(consumer.resume(&paused));
        }
        self.full_since = None;
    }
}
