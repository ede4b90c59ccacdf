//! The world of the machine's tests: a made-up broker, group and stage, with faults on demand. What must hold is asserted as it happens.
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

pub(super) fn timing() -> Timing {
    Timing {
        commit_interval: 20,
        pace: Some(10),
        max_bytes: 1000,
        max_polls: 8,
        back_off: 200,
        back_off_max: 5000,
    }
}

/// What the world does next.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Records(u8, u8),
    /// A timer of the lane is due.
    Due,
    Nothing,
    Wait(u16),
    Assign(u8),
    Revoke(u8, bool),
    /// The next calls fail so.
    Fail(Call, Outcome),
    /// .. and go on doing so for a while.
    FailOn(Call, FaultKind),
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Begin,
    Process,
    Seal,
    Offsets,
    Commit,
    Abort,
    Rebuild,
    Resolve,
    Seek,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The fault; and for calls with a result that is unknown, whether the broker did it.
    Fault(FaultKind, bool),
    Stage,
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let call = prop::sample::select(vec![
        Call::Begin,
        Call::Process,
        Call::Seal,
        Call::Offsets,
        Call::Commit,
        Call::Abort,
        Call::Rebuild,
        Call::Resolve,
        Call::Seek,
    ]);
    let kind = prop::sample::select(vec![
        FaultKind::Unknown,
        FaultKind::Generation,
        FaultKind::Member,
        FaultKind::Fenced,
        FaultKind::Abort,
        FaultKind::Retry,
    ]);
    prop_oneof![
        8 => (0..4u8, 1..9u8).prop_map(|(p, n)| Act::Records(p, n)),
        2 => Just(Act::Due),
        4 => Just(Act::Nothing),
        3 => (1..3000u16).prop_map(Act::Wait),
        2 => (0..16u8).prop_map(Act::Assign),
        1 => (0..16u8, any::<bool>()).prop_map(|(m, l)| Act::Revoke(m, l)),
        2 => (call, kind, any::<bool>()).prop_map(|(c, k, did)| Act::Fail(c, Outcome::Fault(k, did))),
        1 => Just(Act::Fail(Call::Process, Outcome::Stage)),
        1 => prop::sample::select(vec![Call::Seek, Call::Resolve, Call::Commit]).prop_map(|c| Act::FailOn(c, FaultKind::Retry)),
    ]
}

pub(super) fn tp(p: u8) -> Tp {
    Tp::new("in", i32::from(p))
}

/// What could make the open transaction end: counted by the world.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// Since when it has something in it.
    opened: Option<Millis>,
    bytes: usize,
    polls: u32,
    /// Since the last record a poll has returned nothing.
    dry: bool,
    stopped: bool,
}

/// Broker, consumer, and what the lane has made visible.
pub(super) struct World {
    pub(super) timing: Timing,
    pub(super) machine: Machine,
    pub(super) asked: Asked,
    /// When the last transaction with something in it was in, as far as the lane was told.
    pub(super) last_commit: Option<Millis>,
    pub(super) now: Millis,
    /// Per partition: committed offset, where the consumer stands.
    pub(super) committed: BTreeMap<Tp, i64>,
    pub(super) marks: BTreeMap<Tp, u64>,
    pub(super) position: BTreeMap<Tp, i64>,
    /// What the lane's state holds: how far it has processed, committed and open.
    pub(super) state: BTreeMap<Tp, i64>,
    pub(super) overlay: BTreeMap<Tp, i64>,
    /// Offsets processed in the open transaction, and those that are visible.
    pub(super) open: Vec<(Tp, i64)>,
    pub(super) visible: BTreeSet<(Tp, i64)>,
    pub(super) pending: Option<Positions>,
    pub(super) in_txn: bool,
    /// At hand, not yet processed.
    pub(super) hand: Vec<(Tp, i64)>,
    /// Timers that fired, as the lane's state has it, committed and open.
    pub(super) fired: u64,
    pub(super) firing: u64,
    /// What the broker shows of them.
    pub(super) fired_visible: u64,
    pub(super) fired_pending: u64,
    pub(super) timer: bool,
    pub(super) told: usize,
    pub(super) acknowledged: usize,
    pub(super) assigned: BTreeSet<Tp>,
    pub(super) faults: Vec<(Call, Outcome)>,
    pub(super) exit: Option<End>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(timing())
    }

    pub(super) fn with(timing: Timing) -> Self {
        Self {
            timing,
            machine: Machine::new(timing),
            asked: Asked::default(),
            last_commit: None,
            now: 1,
            committed: BTreeMap::new(),
            marks: BTreeMap::new(),
            fired: 0,
            firing: 0,
            fired_visible: 0,
            fired_pending: 0,
            timer: false,
            position: BTreeMap::new(),
            state: BTreeMap::new(),
            overlay: BTreeMap::new(),
            open: vec![],
            visible: BTreeSet::new(),
            pending: None,
            in_txn: false,
            hand: vec![],
            told: 0,
            acknowledged: 0,
            assigned: BTreeSet::new(),
            faults: vec![],
            exit: None,
        }
    }

    pub(super) fn feed(&mut self, event: Event) {
        self.note(&event);
        let mut events = VecDeque::from([event]);
        let mut steps = 0;
        while let Some(event) = events.pop_front() {
            let commands = self.machine.on(self.now, event);
            let asks = commands.len();
            for (index, command) in commands.into_iter().enumerate() {
                let answer = self.execute(command);
                assert!(answer.is_none() || index + 1 == asks, "only the last command asks");
                events.extend(answer);
            }
            steps += 1;
            assert!(steps < 40, "turns in circles");
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Assigned(_) | Event::Revoked { .. } => self.told += 1,
            Event::Stop => self.asked.stopped = true,
            Event::Polled { ends, .. } if ends.is_empty() => self.asked.dry = true,
            Event::Polled { bytes, .. } => self.taken(*bytes),
            Event::Due => self.taken(0),
            _ => {}
        }
    }

    fn taken(&mut self, bytes: usize) {
        let asked = &mut self.asked;
        asked.opened.get_or_insert(self.now);
        asked.bytes += bytes;
        asked.polls += 1;
        asked.dry = false;
    }

    /// A transaction ends for one of few reasons; where its input is merely dry, not too soon after the last.
    fn may_end(&self) {
        let Some(opened) = self.asked.opened else { return };
        let (asked, timing) = (self.asked, self.timing);
        let wanted = asked.stopped || self.told != self.acknowledged;
        let enough = asked.bytes >= timing.max_bytes || asked.polls >= timing.max_polls;
        let late = self.now >= opened + timing.commit_interval;
        let apart =
            timing.pace.is_some_and(|pace| self.last_commit.is_none_or(|last| self.now >= last + pace));
        assert!(wanted || enough || late || (asked.dry && apart), "ends at {}: {asked:?}", self.now);
    }

    pub(super) fn fault(&mut self, call: Call) -> Option<Outcome> {
        let index = self.faults.iter().position(|(c, _)| *c == call)?;
        Some(self.faults.remove(index).1)
    }

    /// A call that can fail; `happens` says what the broker does when it does it.
    pub(super) fn call(&mut self, call: Call, happens: impl FnOnce(&mut Self)) -> Result<(), Fault> {
        match self.fault(call) {
            None => {
                happens(self);
                Ok(())
            }
            Some(Outcome::Fault(kind, did)) => {
                // What these calls can answer: a new producer belongs to no group.
                let group = matches!(kind, FaultKind::Generation | FaultKind::Member | FaultKind::Abort);
                let kind = if group && call == Call::Rebuild { FaultKind::Retry } else { kind };
                if kind == FaultKind::Unknown && did {
                    happens(self);
                }
                Err(Fault::new(kind, format!("{call:?}")))
            }
            Some(Outcome::Stage) => Err(Fault::new(FaultKind::Retry, "")),
        }
    }

    pub(super) fn broker_aborts(&mut self) {
        self.in_txn = false;
        self.open.clear();
        self.fired_pending = 0;
        self.pending = None;
    }

    pub(super) fn broker_commits(&mut self) {
        assert!(self.in_txn, "commit without a transaction");
        let positions = self.pending.take().expect("nothing is committed without positions");
        for (tp, next) in positions {
            let before = self.committed.insert(tp.clone(), next).unwrap_or(0);
            *self.marks.entry(tp.clone()).or_default() += 1;
            assert!(next >= before, "{tp} moved back from {before} to {next}");
        }
        for (tp, offset) in std::mem::take(&mut self.open) {
            assert!(offset < self.committed[&tp], "{tp}/{offset} is visible and not committed");
            assert!(self.visible.insert((tp.clone(), offset)), "{tp}/{offset} is visible twice");
        }
        self.fired_visible += std::mem::take(&mut self.fired_pending);
        self.in_txn = false;
    }

    /// What concerns which partitions the lane has.
    pub(super) fn partitions(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Restore(partitions) => {
                if self.machine.owned().next().is_none() {
                    // All state went with the partitions; what comes back is what is visible.
                    self.fired = self.fired_visible;
                }
                let mut bases = BTreeMap::new();
                for tp in partitions {
                    let stored = self.committed.get(&tp).copied();
                    self.state.insert(tp.clone(), stored.unwrap_or(0));
                    let mark = self.marks.get(&tp).copied().unwrap_or(0);
                    bases.insert(tp, Base { next: stored.unwrap_or(0), mark, stored: stored.is_some() });
                }
                Some(Event::Restored(Ok(bases)))
            }
            Command::Release(partitions) => {
                for tp in &partitions {
                    self.state.remove(tp);
                    self.overlay.remove(tp);
                }
                None
            }
            Command::Assign(positions) => {
                self.acknowledged += 1;
                for (tp, at) in positions {
                    self.assigned.insert(tp.clone());
                    at.map(|at| self.position.insert(tp, at));
                }
                None
            }
            Command::Unassign(partitions) => {
                self.acknowledged += 1;
                for tp in &partitions {
                    assert!(!self.state.contains_key(tp), "{tp} is given back with its state");
                    let open = self.open.iter().any(|(t, _)| t == tp);
                    assert!(
                        !open || self.machine.exited(),
                        "{tp} is given back with records in a transaction"
                    );
                    self.assigned.remove(tp);
                    self.position.remove(tp);
                }
                None
            }
            _ => None,
        }
    }

    pub(super) fn execute(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Restore(_) | Command::Release(_) | Command::Assign(_) | Command::Unassign(_) => {
                self.partitions(command)
            }
            Command::Begin => {
                assert!(!self.in_txn, "begun twice");
                Some(Event::Begun(self.call(Call::Begin, |w| w.in_txn = true)))
            }
            Command::Process => Some(Event::Processed(self.process())),
            Command::Seal => {
                self.may_end();
                let positions = self.position.clone();
                Some(Event::Sealed(self.call(Call::Seal, |_| ()).map(|()| positions)))
            }
            Command::SendOffsets(positions) => {
                assert!(self.in_txn && !positions.is_empty(), "offsets outside of a transaction, or none");
                Some(Event::OffsetsSent(self.call(Call::Offsets, |w| w.pending = Some(positions))))
            }
            Command::Commit => Some(Event::Committed(self.call(Call::Commit, Self::broker_commits))),
            Command::Merge(_) => {
                if self.asked.opened.is_some() {
                    self.last_commit = Some(self.now);
                }
                self.closed();
                for (tp, at) in std::mem::take(&mut self.overlay) {
                    self.state.insert(tp, at);
                }
                self.fired += std::mem::take(&mut self.firing);
                None
            }
            Command::Discard => {
                self.closed();
                self.firing = 0;
                self.overlay.clear();
                self.hand.clear();
                None
            }
            Command::Abort => Some(Event::Aborted(self.call(Call::Abort, Self::broker_aborts))),
            Command::Rebuild => {
                let made = self.call(Call::Rebuild, |w| {
                    if w.in_txn {
                        w.broker_aborts();
                    }
                });
                Some(Event::Rebuilt(made))
            }
            Command::Resolve(partitions) => {
                let at = |tp: &Tp| Some(Committed { next: *self.committed.get(tp)?, mark: self.marks[tp] });
                let found = partitions.into_iter().map(|tp| (tp.clone(), at(&tp))).collect();
                Some(Event::Resolved(self.call(Call::Resolve, |_| ()).map(|()| found)))
            }
            Command::Seek(positions) => {
                let sought = self.call(Call::Seek, |w| w.position.extend(positions));
                Some(Event::Sought(sought))
            }
            Command::AskPositions => Some(Event::Positions(self.position.clone())),
            Command::Pause(_) | Command::Resume(_) => None,
            Command::Exit(end) => {
                assert!(self.exit.is_none(), "exits twice");
                self.exit = Some(end);
                None
            }
        }
    }

    fn closed(&mut self) {
        self.asked = Asked { stopped: self.asked.stopped, ..Asked::default() };
    }

    pub(super) fn process(&mut self) -> Result<(), Refusal> {
        assert!(self.in_txn, "processing outside of a transaction");
        let fault = self.fault(Call::Process);
        if fault == Some(Outcome::Stage) {
            self.hand.clear();
            return Err(Refusal::Stage("no".into()));
        }
        for (tp, offset) in std::mem::take(&mut self.hand) {
            let at = self.overlay.get(&tp).or_else(|| self.state.get(&tp)).copied();
            assert_eq!(at, Some(offset), "state of {tp} is not where its records are");
            self.overlay.insert(tp.clone(), offset + 1);
            self.open.push((tp, offset));
        }
        if self.timer {
            self.firing += 1;
            self.fired_pending += 1;
        }
        match fault {
            Some(Outcome::Fault(_, _)) => Err(Refusal::Producer(Fault::new(FaultKind::Unknown, "lost"))),
            _ => Ok(()),
        }
    }

    /// The consumer gives records of a partition that it has.
    pub(super) fn records(&mut self, p: u8, n: u8) {
        let tp = tp(p);
        if !self.machine.reads() || !self.machine.owns(&tp) {
            return;
        }
        let from = self.position[&tp];
        let end = from + i64::from(n);
        self.position.insert(tp.clone(), end);
        self.hand = (from..end).map(|o| (tp.clone(), o)).collect();
        self.feed(Event::Polled { ends: Positions::from([(tp, end)]), bytes: usize::from(n) * 10 });
    }

    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Records(p, n) => self.records(p, n),
            Act::Due if self.machine.reads() && self.machine.owned().next().is_some() => {
                self.hand.clear();
                self.timer = true;
                self.feed(Event::Due);
                self.timer = false;
            }
            Act::Due => {}
            Act::Nothing if self.machine.reads() => {
                self.now += self.machine.wait(self.now);
                self.feed(Event::Polled { ends: Positions::new(), bytes: 0 });
                // It waits no longer than it must: what was open is in, or something has failed.
                assert!(
                    !self.in_txn || !self.machine.reads(),
                    "still open after the wait that was asked for"
                );
            }
            Act::Nothing => self.feed(Event::Tick),
            Act::Wait(ms) => {
                self.now += u64::from(ms);
                self.feed(Event::Tick);
            }
            Act::Assign(mask) => {
                let new =
                    (0..4).filter(|p| mask & (1 << p) != 0).map(tp).filter(|t| !self.given(t)).collect();
                self.feed(Event::Assigned(new));
            }
            Act::Revoke(mask, lost) => {
                let gone =
                    (0..4).filter(|p| mask & (1 << p) != 0).map(tp).filter(|t| self.given(t)).collect();
                self.feed(Event::Revoked { partitions: gone, lost });
            }
            Act::Fail(call, outcome) => self.faults.push((call, outcome)),
            Act::FailOn(call, kind) => self.faults.extend([(call, Outcome::Fault(kind, false)); 100]),
        }
        self.check();
    }

    /// Whether the group believes that this lane has it. The group tells one thing at a time.
    pub(super) fn given(&self, tp: &Tp) -> bool {
        self.assigned.contains(tp)
    }

    pub(super) fn check(&self) {
        // With nothing in doubt, the state and the world agree on which timers have fired.
        if !self.in_txn && self.machine.reads() && self.machine.owned().next().is_some() {
            assert_eq!((self.fired, self.firing), (self.fired_visible, 0), "timers fired");
        }
        for (tp, offset) in &self.visible {
            assert!(*offset < self.committed[tp]);
        }
        // The ledger balances: what is committed is what is visible.
        let committed: i64 = self.committed.values().sum();
        assert_eq!(i64::try_from(self.visible.len()).unwrap(), committed, "committed and visible differ");
    }
}
