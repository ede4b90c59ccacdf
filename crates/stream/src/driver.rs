//! The driver: a lane's thread (exactly-once, rule 1). Owns the loop that feeds the machine and carries out its commands; must not know the
//! rules themselves (those are the machine's) nor the client's types.
use crate::{
    books::Books,
    client::{
        consumer::{ConsumerSpec, Incoming, LaneConsumer, Polled, Rebalance},
        producer::{Committing, ProducerSpec, TxnProducer},
    },
    clock::{self, Clock},
    deliver::Deliveries,
    fault::{Fault, FaultKind, Tp},
    lane::{LaneConfig, LaneState, Shared, Stop, StreamError, instance_name},
    ledger::{Counts, Ledger},
    machine::{Command, Committed, End, Event, Machine, Millis, Positions, Refusal, Timing},
    store::{States, restore::Restorer},
    table::TableReader,
    timers::Deadlines,
    transform::{self, Firing, TopicLimits},
};
use atio_stage::{Pace, Run, Stage};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

mod assign;
mod deliver;
mod start;
mod timers;

const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// Schema ids that are known to be none are remembered up to here.
const IDS_MAX: usize = 10_000;

/// Runs a lane until it is stopped or can't go on.
pub(crate) fn run(
    stage: Arc<Stage>,
    config: LaneConfig,
    stop: Stop,
    shared: &Shared,
) -> Result<(), StreamError> {
    let Some((consumer, mut driver)) = start::start(stage, config, stop, shared)? else { return Ok(()) };
    while !driver.machine.exited() {
        driver.turn(&consumer);
    }
    driver.end(consumer)
}

/// The records that one poll gave.
struct Batch<'a> {
    records: Vec<(usize, Incoming<'a>)>,
    /// Their partitions, by the index in `records`.
    partitions: Vec<Tp>,
    bytes: usize,
    ends: Positions,
}

/// See the module's head.
struct Driver {
    stage: Arc<Stage>,
    config: LaneConfig,
    stop: Stop,
    shared: Shared,
    clock: Clock,
    machine: Machine,
    spec: ProducerSpec,
    producer: Option<TxnProducer>,
    restorer: Restorer,
    states: States,
    books: Books,
    tables: TableReader,
    /// The tables have changed since the last transaction that noted where they are.
    epoch_due: bool,
    /// The open transaction has noted it.
    epoch_noted: bool,
    /// Where each partition's next transaction starts.
    starts: Positions,
    limits: TopicLimits,
    /// A transaction is begun and neither committed nor aborted.
    open: bool,
    begun: Instant,
    sealing: Instant,
    told_stop: bool,
    ids: HashSet<i32>,
    /// Where the stage is a delivery.
    deliveries: Option<Deliveries>,
    deadlines: Deadlines,
    /// Per partition with a deadline that has passed: how far it must be read.
    wanted: BTreeMap<i32, Vec<(Tp, i64)>>,
    firing: Vec<Firing>,
    paused: BTreeSet<Tp>,
    full_since: Option<Millis>,
    stop_since: Option<Millis>,
    /// Since the last look: records, and those of them that were dead-lettered.
    poison: (u64, u64),
    last_sweep: Millis,
    ended: Option<End>,
}

impl Driver {
    fn turn(&mut self, consumer: &LaneConsumer) {
        while let Some(event) = consumer.next_event() {
            let event = match event {
                Rebalance::Assigned(partitions) => Event::Assigned(partitions),
                Rebalance::Revoked { partitions, lost } => {
                    Event::Revoked { partitions, lost: lost || consumer.lost() }
                }
            };
            tracing::info!(stage = self.stage.name, ?event, "rebalance");
            self.feed(consumer, None, event);
        }
        if self.stop.is_stopped() && !self.told_stop && !self.delivers_still() {
            self.told_stop = true;
            self.feed(consumer, None, Event::Stop);
        }
        if self.machine.exited() {
            return;
        }
        self.advance_tables();
        if self.deliveries.is_some() {
            self.read_deliveries(consumer);
        } else if self.machine.reads() {
            self.read(consumer);
            self.fire_timers(consumer);
        }
        if let Some(paused) = self.machine.waits() {
            let wait = Duration::from_millis(self.machine.wait(self.clock.now()).max(1));
            if paused {
                // Polling goes on, so that the group sees us; what is paused does not deliver, and is sought again afterwards.
                drop(consumer.poll(wait.min(LONGEST_PAUSE)));
            } else {
                clock::pause(wait.min(LONGEST_PAUSE));
            }
        }
        self.feed(consumer, None, Event::Tick);
    }

    fn read(&mut self, consumer: &LaneConsumer) {
        let wait = Duration::from_millis(self.machine.wait(self.clock.now()));
        match self.gather(consumer, wait) {
            Ok(batch) => {
                let event = Event::Polled { ends: batch.ends.clone(), bytes: batch.bytes };
                self.feed(consumer, Some(&batch), event);
            }
            Err(end) => self.feed(consumer, None, Event::Refused(Refusal::Final(end))),
        }
    }

    /// Between transactions only (rule 19).
    fn advance_tables(&mut self) {
        if self.open {
            return;
        }
        let schemas = self.config.schemas.clone();
        let ensure = |value: Option<&[u8]>| start::fetch_schema(&*schemas, value);
        match self.tables.advance(self.clock.now(), &ensure) {
            Ok(changed) => self.epoch_due |= changed,
            Err(fault) => {
                tracing::warn!(stage = self.stage.name, error_code = "table", error = %fault, "tables do not advance");
            }
        }
        let refused = self.tables.take_refused();
        if refused > 0 {
            self.config.metrics.rows_refused(&self.stage.name, refused);
        }
    }

    /// Waits for a record, then takes what else is at hand.
    fn gather<'a>(&mut self, consumer: &'a LaneConsumer, wait: Duration) -> Result<Batch<'a>, End> {
        let mut batch = Batch { records: vec![], partitions: vec![], bytes: 0, ends: Positions::new() };
        let mut wait = wait;
        let limits = &self.config.limits;
        while batch.records.len() < limits.batch_records && batch.bytes < limits.transaction_bytes {
            match consumer.poll(wait) {
                Polled::Record(record) => {
                    self.keep(&mut batch, record);
                    wait = Duration::ZERO;
                }
                Polled::Nothing => break,
                Polled::Trouble(text) => {
                    tracing::warn!(stage = self.stage.name, error_code = "poll", text, "poll");
                    break;
                }
                Polled::OutOfRange(text) => {
                    return Err(End::Failed(format!("a position is outside of its partition: {text}")));
                }
                Polled::Fatal(text) => return Err(End::Failed(format!("consumer: {text}"))),
            }
        }
        for (index, record) in &batch.records {
            batch.ends.insert(batch.partitions[*index].clone(), record.offset() + 1);
        }
        Ok(batch)
    }

    fn keep<'a>(&self, batch: &mut Batch<'a>, record: Incoming<'a>) {
        let same = |tp: &Tp| tp.partition == record.partition() && *tp.topic == *record.topic();
        let known = batch.partitions.iter().position(same);
        let index = known.or_else(|| {
            // Of partitions that were taken from us nothing is processed any more.
            let tp = self.machine.owned().find(|tp| same(tp))?.clone();
            batch.partitions.push(tp);
            Some(batch.partitions.len() - 1)
        });
        if let Some(index) = index {
            batch.bytes += record.value().map_or(0, <[u8]>::len) + record.key().map_or(0, <[u8]>::len);
            batch.records.push((index, record));
        }
    }

    /// An event, then whatever follows from it.
    fn feed(&mut self, consumer: &LaneConsumer, batch: Option<&Batch<'_>>, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.machine.on(self.clock.now(), event) {
                events.extend(self.execute(consumer, batch, command));
            }
        }
        let sink = self.deliveries.as_ref().and_then(Deliveries::paused);
        let stalled = self.machine.stalled().or(sink).map(str::to_owned);
        self.report(stalled);
    }

    fn report(&mut self, stalled: Option<String>) {
        let running = self.machine.owned().next().is_some();
        self.shared.update(|s| {
            let state = match stalled {
                Some(why) => LaneState::Stalled { why },
                None if running || s.commits > 0 => LaneState::Running,
                None => LaneState::Starting,
            };
            if s.state != state {
                s.state = state;
            }
        });
    }

    fn execute(
        &mut self,
        consumer: &LaneConsumer,
        batch: Option<&Batch<'_>>,
        command: Command,
    ) -> Option<Event> {
        match command {
            Command::Restore(partitions) => Some(Event::Restored(self.restore(consumer, &partitions))),
            Command::Release(partitions) => self.release(&partitions),
            Command::Assign(positions) => self.tell(consumer.assign(&positions)),
            Command::Unassign(partitions) => self.tell(consumer.unassign(&partitions)),
            Command::Begin => Some(Event::Begun(self.begin())),
            Command::Process => Some(Event::Processed(self.process(batch))),
            Command::Seal => Some(Event::Sealed(self.seal(consumer))),
            Command::SendOffsets(positions) => {
                Some(Event::OffsetsSent(self.send_offsets(consumer, &positions)))
            }
            Command::Commit => Some(Event::Committed(self.with(TxnProducer::commit))),
            Command::Merge(positions) => self.merge(&positions),
            Command::Discard => {
                self.discard_deliveries(consumer);
                self.discard()
            }
            Command::Abort => Some(Event::Aborted(self.abort())),
            Command::Rebuild => Some(Event::Rebuilt(self.rebuild())),
            Command::Resolve(partitions) => Some(Event::Resolved(self.resolve(consumer, &partitions))),
            Command::Seek(positions) => Some(Event::Sought(consumer.seek(&positions))),
            Command::AskPositions => Some(Event::Positions(self.positions(consumer))),
            Command::Pause(partitions) => self.tell(consumer.pause(&partitions)),
            Command::Resume(partitions) => self.tell(consumer.resume(&partitions)),
            Command::Exit(end) => {
                self.ended = Some(end);
                None
            }
        }
    }

    fn resolve(
        &self,
        consumer: &LaneConsumer,
        partitions: &[Tp],
    ) -> Result<BTreeMap<Tp, Option<Committed>>, Fault> {
        let mark = |metadata: &str| Ledger::from_metadata(metadata).map_or(0, |ledger| ledger.commits);
        let found = consumer.committed(partitions)?.into_iter();
        Ok(found.map(|(tp, at)| (tp, at.map(|(next, text)| Committed { next, mark: mark(&text) }))).collect())
    }

    /// What can't fail in a way that the machine could answer.
    fn tell(&self, result: Result<(), Fault>) -> Option<Event> {
        if let Err(fault) = result {
            tracing::error!(stage = self.stage.name, error_code = "consumer_call", error = %fault, "consumer call");
        }
        None
    }

    fn with(&mut self, call: impl FnOnce(&mut TxnProducer) -> Result<(), Fault>) -> Result<(), Fault> {
        let Some(producer) = &mut self.producer else {
            return Err(Fault::new(FaultKind::Unknown, "no producer"));
        };
        let before = (producer.slow, producer.troubled);
        let result = call(producer);
        for (n, sign) in [(producer.slow - before.0, "slow"), (producer.troubled - before.1, "log")] {
            if n > 0 {
                self.config.metrics.doubtful(&self.stage.name, sign);
            }
        }
        if let Err(fault) = &result {
            tracing::warn!(stage = self.stage.name, error_code = "transaction", error = %fault, "transaction call");
        }
        result
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.begun = Instant::now();
        self.with(|p| p.begin())?;
        self.open = true;
        Ok(())
    }

    fn process(&mut self, batch: Option<&Batch<'_>>) -> Result<(), Refusal> {
        self.note_epoch()?;
        if self.deliveries.is_some() {
            return self.process_deliveries();
        }
        let records = batch.map_or(&[][..], |b| &b.records);
        for (_, record) in records {
            self.ensure(record.value())?;
        }
        let stage = self.stage.clone();
        let Run::Transform(processor) = &stage.run else {
            return Err(Refusal::Final(End::Failed("not a transform".into())));
        };
        let Some(producer) = &self.producer else {
            return Err(Refusal::Producer(Fault::new(FaultKind::Unknown, "no producer")));
        };
        let mut cx = transform::Cx {
            stage: &stage,
            processor: &**processor,
            producer,
            states: &mut self.states,
            books: &mut self.books,
            tables: self.tables.tables(),
            limits: &self.limits,
            outputs_per_record: self.config.limits.outputs_per_record,
            now: clock::wall(),
            sent: 0,
        };
        for firing in std::mem::take(&mut self.firing) {
            cx.fire(&firing)?;
        }
        for (index, record) in records {
            let Some(tp) = batch.map(|b| &b.partitions[*index]) else { continue };
            let input = stage.inputs.iter().find(|i| i.topic == tp.topic);
            let Some(input) = input else { continue };
            cx.record(tp, record, &input.dead_letters)?;
        }
        let sent = cx.sent;
        producer.poll();
        self.config.metrics.outputs(&stage.name, sent);
        self.poisoned()
    }

    /// Schema ids that were not seen before are fetched before the records are processed.
    fn ensure(&mut self, value: Option<&[u8]>) -> Result<(), Refusal> {
        let Some(id) = value.and_then(atio_schemas::codec::schema_id) else { return Ok(()) };
        if self.ids.contains(&id) {
            return Ok(());
        }
        start::fetch_schema(&*self.config.schemas, value).map_err(Refusal::Stage)?;
        if self.ids.len() >= IDS_MAX {
            self.ids.clear();
        }
        self.ids.insert(id);
        Ok(())
    }

    /// Rule 14: where nearly everything is dead-lettered, it is not the records.
    fn poisoned(&mut self) -> Result<(), Refusal> {
        let open = self.books.open();
        let (records, dead) = (self.poison.0 + open.read, self.poison.1 + open.dead_lettered_total());
        let limits = &self.config.limits;
        if records >= limits.poison_window && dead * 1000 >= records * limits.poison_per_mille {
            tracing::error!(
                stage = self.stage.name,
                error_code = "poisoned",
                dead,
                records,
                "nearly everything is dead-lettered"
            );
            return Err(Refusal::Final(End::Poisoned { dead_lettered: dead, of: records }));
        }
        Ok(())
    }

    fn seal(&mut self, consumer: &LaneConsumer) -> Result<Positions, Fault> {
        self.sealing = Instant::now();
        let Some(producer) = &self.producer else {
            return Err(Fault::new(FaultKind::Unknown, "no producer"));
        };
        let fatal = |e: String| Fault::new(FaultKind::Fatal, e);
        if self.clock.now() >= self.last_sweep + 1000 {
            self.last_sweep = self.clock.now();
            self.states.sweep(&self.stage.stores, clock::wall());
        }
        for record in self.states.changelog(&self.stage.stores, &self.config.codec).map_err(fatal)? {
            if record.size() > self.limits.of(&record.topic) {
                return Err(fatal(format!(
                    "an entry of {} bytes does not fit into {}",
                    record.size(),
                    record.topic
                )));
            }
            producer.send(&record)?;
        }
        producer.drain()?;
        Ok(self.positions(consumer))
    }

    /// Where the consumer stands; what is still on its way to a sink does not count as read.
    fn positions(&self, consumer: &LaneConsumer) -> Positions {
        let positions = consumer.positions().into_iter();
        positions.filter(|(tp, _)| self.deliveries.as_ref().is_none_or(|d| d.is_idle(tp))).collect()
    }

    fn send_offsets(&mut self, consumer: &LaneConsumer, positions: &Positions) -> Result<(), Fault> {
        let mut list = Vec::with_capacity(positions.len());
        for (tp, next) in positions {
            let ledger = self.books.with_open(tp);
            if !ledger.counts.balanced() {
                tracing::error!(stage = self.stage.name, error_code = "ledger_unbalanced", partition = %tp, "ledger does not balance");
            }
            let metadata = ledger.to_metadata();
            let metadata = metadata
                .ok_or_else(|| Fault::new(FaultKind::Fatal, format!("the ledger of {tp} does not fit")))?;
            list.push(Committing { tp: tp.clone(), next: *next, metadata });
        }
        // Right before the offsets (rule 2); a batch never outlives a revocation.
        let Some(group) = consumer.group() else {
            return Err(Fault::new(FaultKind::Generation, "not in the group"));
        };
        self.with(|p| p.send_offsets(&list, &group))
    }

    fn merge(&mut self, positions: &Positions) -> Option<Event> {
        self.open = false;
        self.epoch_due &= !std::mem::take(&mut self.epoch_noted);
        self.starts.extend(positions.clone());
        for (partition, overlay) in self.states.open() {
            self.deadlines.merge(partition, overlay);
        }
        self.states.merge();
        if let Some(deliveries) = &mut self.deliveries {
            deliveries.committed();
        }
        let added = self.books.merge(positions.keys());
        self.poison.0 += added.read;
        self.poison.1 += added.dead_lettered_total();
        if self.poison.0 >= self.config.limits.poison_window {
            self.poison = (0, 0);
        }
        let (commit, batch) = (self.sealing.elapsed().as_secs_f64(), self.begun.elapsed().as_secs_f64());
        self.config.metrics.committed(&self.stage.name, &added, commit, batch);
        self.tell_commit();
        None
    }

    fn tell_commit(&mut self) {
        let total: Counts = self.books.total();
        let (lane, held) = (self.config.identity.lane, total.held);
        self.shared.update(|s| {
            s.ledger = total;
            s.last_commit = Some(clock::wall());
            s.commits += 1;
        });
        let flying = self.deliveries.as_ref().map_or(0, Deliveries::flying);
        self.config.metrics.state(&self.stage.name, lane, true, held, flying);
    }

    fn discard(&mut self) -> Option<Event> {
        self.epoch_noted = false;
        self.states.discard();
        self.books.discard();
        self.config.metrics.aborted(&self.stage.name);
        self.shared.update(|s| s.aborts += 1);
        None
    }

    fn abort(&mut self) -> Result<(), Fault> {
        if !self.open {
            return Ok(());
        }
        // An abort of what is still in flight hangs (rule 5).
        self.with(|p| p.drain().and_then(|()| p.abort()))?;
        self.open = false;
        Ok(())
    }

    fn rebuild(&mut self) -> Result<(), Fault> {
        self.producer = None;
        self.open = false;
        let started = Instant::now();
        let made = self.spec.init();
        self.config.metrics.rebuilt(&self.stage.name, if made.is_ok() { "ok" } else { "failed" });
        self.shared.update(|s| s.rebuilds += 1);
        self.producer = Some(made?);
        tracing::warn!(stage = self.stage.name, took_ms = started.elapsed().as_millis(), "producer rebuilt");
        Ok(())
    }

    fn end(mut self, consumer: LaneConsumer) -> Result<(), StreamError> {
        if self.open && !matches!(self.ended, Some(End::Fenced(_) | End::Torn(_))) {
            // So that readers don't wait for the broker to time it out.
            let aborted = self.abort_quietly();
            self.tell(aborted);
        }
        self.producer = None;
        consumer.close();
        match self.ended {
            None | Some(End::Asked) => Ok(()),
            Some(end) => Err(StreamError::Lane(end)),
        }
    }

    fn abort_quietly(&mut self) -> Result<(), Fault> {
        let Some(producer) = &mut self.producer else { return Ok(()) };
        producer.drain()?;
        producer.abort()
    }
}

/// The stage's pace, where nothing else is said (rule 4).
fn timing(stage: &Stage, config: &LaneConfig) -> Timing {
    let ms = |d: Duration| Millis::try_from(d.as_millis()).unwrap_or(Millis::MAX);
    let limits = &config.limits;
    let interval = match stage.pace {
        Pace::Interactive => 20,
        Pace::Bulk => 100,
    };
    Timing {
        commit_interval: limits.commit_interval.map_or(interval, ms),
        quiet: (stage.pace == Pace::Interactive).then(|| ms(limits.quiet)),
        max_bytes: limits.transaction_bytes,
        max_polls: 64,
        back_off: ms(limits.back_off),
        back_off_max: ms(limits.back_off_max),
    }
}
