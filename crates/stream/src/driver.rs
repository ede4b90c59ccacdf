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

mod again;
mod assign;
mod batch;
mod deliver;
mod epoch;
mod start;
mod take;
mod timers;
mod transaction;

use again::Ended;
use batch::Batch;
use epoch::Noting;
use take::Taking;

const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// A lane that its group has not answered says so this often.
const WAITING_EVERY: Millis = 10_000;
/// Schema ids that are known to be none are remembered up to here.
const IDS_MAX: usize = 10_000;

/// Runs a lane until it is stopped or can't go on.
pub(crate) fn run(
    stage: Arc<Stage>,
    config: LaneConfig,
    stop: Stop,
    shared: &Shared,
) -> Result<(), StreamError> {
    let mut last = None;
    loop {
        let started = start::start(stage.clone(), config.clone(), stop.clone(), shared)?;
        let Some((consumer, mut driver)) = started else { return Ok(()) };
        driver.tell_tables();
        while !driver.machine.exited() {
            driver.turn(&consumer);
        }
        let ended = Ended {
            name: driver.spec.client_id.clone(),
            member: consumer.member().to_owned(),
            overdue: consumer.overdue(),
        };
        match driver.end(consumer) {
            Err(StreamError::Lane(End::Fenced(why))) if again::may(&ended, &stage, &config, &stop, last) => {
                tracing::warn!(
                    stage = stage.name,
                    why,
                    "its session ran out and nobody has its name: begins anew"
                );
                shared.update(|s| s.state = LaneState::Stalled { why });
                last = Some(Instant::now());
            }
            other => return other,
        }
    }
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
    /// Two clients that only restoring and timers need: made when needed.
    restorer: Option<Restorer>,
    states: States,
    books: Books,
    tables: TableReader,
    epoch: Noting,
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
    /// Where its inputs have shares.
    taking: Option<Taking>,
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
    last_served: Millis,
    troubles: u64,
    last_trouble: Millis,
    /// Until the group has told what is ours, be it nothing.
    waits: Option<start::Waits>,
    /// When it was last said that the group is waited for.
    told_waiting: Millis,
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
            let waits = if matches!(event, Event::Assigned(_)) { self.waits.take() } else { None };
            self.feed(consumer, None, event);
            if let Some(waits) = waits.filter(|_| !self.machine.exited()) {
                waits.tell(&self.stage.name);
            }
        }
        self.tell_waiting();
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
        if let Some(polls) = self.machine.waits() {
            self.wait(consumer, polls);
        }
        self.feed(consumer, None, Event::Tick);
    }

    /// A short part of the machine's wait.
    fn wait(&mut self, consumer: &LaneConsumer, polls: bool) {
        let wait = Duration::from_millis(self.machine.wait(self.clock.now()).max(1)).min(LONGEST_PAUSE);
        if let Some(end) = consumer.ended() {
            return self.feed(consumer, None, Event::Refused(Refusal::Final(end)));
        }
        if polls {
            // The group sees us and we hear it; what is delivered is sought again afterwards.
            drop(consumer.poll(wait));
        } else {
            clock::pause(wait);
        }
    }

    fn read(&mut self, consumer: &LaneConsumer) {
        let wait = Duration::from_millis(self.machine.wait(self.clock.now()));
        let most = (self.config.limits.batch_records, self.config.limits.batch_bytes);
        let gathered = match self.taking.take() {
            None => self.gather(consumer, wait, most),
            Some(mut taking) => {
                let gathered = self.gather_shared(&mut taking, consumer, wait, most);
                self.taking = Some(taking);
                gathered
            }
        };
        match gathered {
            Ok(batch) => {
                let event = Event::Polled { ends: batch.ends(), bytes: batch.bytes };
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
        if let Err(fault) = self.tables.advance(&ensure) {
            tracing::warn!(stage = self.stage.name, error_code = "table", error = %fault, "tables do not advance");
        }
        if self.tables.take_changed() {
            self.epoch = Noting::Due;
            self.tell_tables();
        }
        let refused = self.tables.take_refused();
        if refused > 0 {
            self.config.metrics.rows_refused(&self.stage.name, refused);
        }
    }

    fn tell_tables(&self) {
        let tables = self.tables.offsets();
        self.shared.update(|s| s.tables = tables);
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

    /// The client does not say that it is not in its group yet, nor why.
    fn tell_waiting(&mut self) {
        let now = self.clock.now();
        if self.waits.is_none() || now < self.told_waiting + WAITING_EVERY {
            return;
        }
        self.told_waiting = now;
        tracing::warn!(
            stage = self.stage.name,
            error_code = "not_in_group",
            group = self.stage.group,
            since_ms = now,
            "the group has not answered yet"
        );
    }

    fn report(&mut self, stalled: Option<String>) {
        let mut changed = None;
        self.shared.update(|s| {
            let state = match stalled {
                Some(why) => LaneState::Stalled { why },
                None if self.waits.is_none() => LaneState::Running,
                None => LaneState::Starting,
            };
            if s.state != state {
                changed = Some(state == LaneState::Running);
                s.state = state;
            }
        });
        if let Some(up) = changed {
            self.gauges(up);
        }
    }

    fn gauges(&self, up: bool) {
        let flying = self.deliveries.as_ref().map_or(0, Deliveries::flying);
        let held = self.books.total().held;
        self.config.metrics.state(&self.stage.name, self.config.identity.lane, up, held, flying);
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

    /// What can't fail in a way that the machine could answer.
    fn tell(&self, result: Result<(), Fault>) -> Option<Event> {
        if let Err(fault) = result {
            tracing::error!(stage = self.stage.name, error_code = "consumer_call", error = %fault, "consumer call");
        }
        None
    }

    fn end(mut self, consumer: LaneConsumer) -> Result<(), StreamError> {
        if self.open && !matches!(self.ended, Some(End::Fenced(_) | End::Torn(_) | End::Left(_))) {
            // So that readers don't wait for the broker to time it out.
            let aborted = self.abort_quietly();
            self.tell(aborted);
        }
        self.producer = None;
        consumer.close();
        match self.ended {
            None | Some(End::Asked) => Ok(()),
            Some(End::Left(why)) => {
                tracing::warn!(
                    stage = self.stage.name,
                    error_code = "stopped_unanswered",
                    why,
                    "stopped; what was under way is left"
                );
                Ok(())
            }
            Some(end) => Err(StreamError::Lane(end)),
        }
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
        pace: (stage.pace == Pace::Interactive).then(|| ms(limits.pace)),
        max_bytes: limits.transaction_bytes,
        max_polls: 64,
        back_off: ms(limits.back_off),
        back_off_max: ms(limits.back_off_max),
    }
}
