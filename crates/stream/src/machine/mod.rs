//! The driver's state machine (exactly-once, rules 1 to 8, 11): events in, commands out. Pure: no client, no clock, no thread, so that its
//! interleavings can be tested. Owns when a transaction begins, commits, aborts; which positions are sent; when a rebalance is
//! acknowledged. Must not know records, state or how a command is carried out.
use crate::fault::{Fault, FaultKind, Tp};
use std::collections::{BTreeMap, VecDeque};

mod recover;
#[cfg(test)]
mod tests;
mod words;
#[cfg(test)]
mod world;

pub use words::{Base, Command, Committed, End, Event, Millis, Positions, Refusal, Timing};

const IDLE: Millis = 1000;
/// How long the input must be dry for an early commit: what one transaction upstream has given comes together.
const DRY: Millis = 1;
const FENCE_WINDOW: Millis = 60_000;
const ORPHAN_LIMIT: Millis = 60_000;
const RETRIES: u32 = 600;
/// Who is stopped while the broker is away tries for so long, then leaves things as they are: a crash would do no harm either.
const STOP_LIMIT: Millis = 4000;
/// Longer waits pause the partitions (rule 15).
const PAUSE_ABOVE: Millis = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// A transaction with something in it.
    Open,
    /// The driver was asked and has not answered.
    Asked(Ask),
    /// Nothing before `until`; then `then`.
    Waiting {
        until: Millis,
        paused: bool,
        then: Ask,
        /// The stage's own back-off, which the group's wishes and our end cut short; not a call that is tried again.
        patient: bool,
    },
    Exited,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Restore,
    Begin,
    Process,
    Seal,
    Offsets,
    Commit,
    Abort,
    Rebuild,
    Resolve,
    Seek,
    Positions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owned {
    base: Base,
    next: i64,
}

enum Pending {
    Assigned(Vec<Tp>),
    Revoked { partitions: Vec<Tp>, lost: bool },
}

/// See the module's head.
pub struct Machine {
    timing: Timing,
    phase: Phase,
    owned: BTreeMap<Tp, Owned>,
    pending: VecDeque<Pending>,
    /// The assignment that is being restored.
    restoring: Vec<Tp>,
    ends: Positions,
    /// What the open transaction has sent as offsets.
    sent: Option<Positions>,
    /// Begun without records, to move the positions only.
    bare: bool,
    stopping: bool,
    /// Since when it is stopping.
    stop_asked: Millis,
    opened: Millis,
    /// When the last one with something in it was.
    last_commit: Option<Millis>,
    /// The last poll returned nothing. Time alone does not say so: processing what was at hand can take longer than the usual wait.
    dry: bool,
    last_record: Millis,
    last_idle: Millis,
    bytes: usize,
    polls: u32,
    retries: u32,
    failures: u32,
    /// How long to wait when the abort is done; the stage's failure, not the client's.
    stall: Option<Millis>,
    why: Option<String>,
    last_fence: Option<Millis>,
    /// Everything was forgotten; the group is to tell.
    orphaned: Option<Millis>,
}

impl Machine {
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            phase: Phase::Idle,
            owned: BTreeMap::new(),
            pending: VecDeque::new(),
            restoring: vec![],
            ends: BTreeMap::new(),
            sent: None,
            bare: false,
            stopping: false,
            stop_asked: 0,
            opened: 0,
            last_commit: None,
            dry: false,
            last_record: 0,
            last_idle: 0,
            bytes: 0,
            polls: 0,
            retries: 0,
            failures: 0,
            stall: None,
            why: None,
            last_fence: None,
            orphaned: None,
        }
    }

    #[must_use]
    pub fn exited(&self) -> bool {
        self.phase == Phase::Exited
    }
    /// Whether it can be told of records: nothing is asked, waited for or in doubt.
    #[must_use]
    pub fn takes(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Open)
    }
    /// Whether records may be taken from the consumer.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.takes() && !self.stopping
    }
    #[must_use]
    pub fn owns(&self, tp: &Tp) -> bool {
        self.owned.contains_key(tp)
    }
    pub fn owned(&self) -> impl Iterator<Item = &Tp> {
        self.owned.keys()
    }
    /// Whether it waits, and whether the consumer may be polled meanwhile: everything is sought again then, so that nothing is missed.
    #[must_use]
    pub fn waits(&self) -> Option<bool> {
        if let Phase::Waiting { then, .. } = self.phase { Some(then == Ask::Seek) } else { None }
    }
    /// Why it stands still, where it does.
    #[must_use]
    pub fn stalled(&self) -> Option<&str> {
        self.why.as_deref()
    }
    /// How long the driver may wait for records now.
    #[must_use]
    pub fn wait(&self, now: Millis) -> Millis {
        match self.phase {
            Phase::Open => {
                let late = self.opened + self.timing.commit_interval;
                self.early().map_or(late, |early| early.min(late)).saturating_sub(now)
            }
            Phase::Waiting { until, .. } => until.saturating_sub(now).min(100),
            Phase::Exited | Phase::Asked(_) => 0,
            Phase::Idle => 100,
        }
    }

    /// The one entry: what happened, and what is to be done, in order. At most the last command asks for an answer, and no other event than
    /// the answer, `Assigned`, `Revoked`, `Tick` or `Stop` comes before it. `Polled` and `Due` come only where [`Self::takes`] says so: a
    /// transaction that began while another is in doubt would take its place.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Command> {
        let mut out = vec![];
        match event {
            Event::Assigned(partitions) => self.pending.push_back(Pending::Assigned(partitions)),
            Event::Revoked { partitions, lost } => {
                self.pending.push_back(Pending::Revoked { partitions, lost })
            }
            Event::Stop if self.stopping => {}
            Event::Stop => (self.stopping, self.stop_asked) = (true, now),
            Event::Tick => {}
            answer => self.answer(now, answer, &mut out),
        }
        self.settle(now, &mut out);
        out
    }

    fn ask(&mut self, ask: Ask, command: Command, out: &mut Vec<Command>) {
        self.phase = Phase::Asked(ask);
        out.push(command);
    }

    fn exit(&mut self, why: End, out: &mut Vec<Command>) {
        self.phase = Phase::Exited;
        // A stored event that nobody acknowledged makes the client's drop hang (rule 15).
        while let Some(pending) = self.pending.pop_front() {
            match pending {
                Pending::Assigned(p) => {
                    out.push(Command::Assign(p.into_iter().map(|tp| (tp, None)).collect()))
                }
                Pending::Revoked { partitions, .. } => {
                    self.forget(&partitions, out);
                    out.push(Command::Unassign(partitions));
                }
            }
        }
        out.push(Command::Exit(why));
    }

    fn answer(&mut self, now: Millis, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Polled { ends, .. } if ends.is_empty() => self.dry = true,
            Event::Polled { ends, bytes } => self.polled(now, ends, bytes, out),
            Event::Due => self.polled(now, Positions::new(), 0, out),
            Event::Restored(result) => self.restored(result, out),
            Event::Begun(result) => match result {
                Ok(()) if self.bare => self.ask(Ask::Seal, Command::Seal, out),
                Ok(()) => self.ask(Ask::Process, Command::Process, out),
                Err(fault) => self.fault(now, Ask::Begin, fault, out),
            },
            Event::Processed(result) => self.processed(result, out),
            Event::Sealed(result) => match result {
                Ok(positions) => self.send_offsets(positions, out),
                Err(fault) => self.fault(now, Ask::Seal, fault, out),
            },
            Event::OffsetsSent(result) => match result {
                Ok(()) => self.ask(Ask::Commit, Command::Commit, out),
                Err(fault) => self.fault(now, Ask::Offsets, fault, out),
            },
            Event::Committed(result) => match result {
                Ok(()) => self.merge(now, out),
                Err(fault) => self.fault(now, Ask::Commit, fault, out),
            },
            Event::Aborted(result) => match result {
                Ok(()) => self.resolve(out),
                Err(fault) => self.fault(now, Ask::Abort, fault, out),
            },
            Event::Rebuilt(result) => self.rebuilt(now, result, out),
            Event::Resolved(result) => self.resolved(now, result, out),
            Event::Sought(result) => self.sought(now, result, out),
            Event::Refused(refusal) => self.processed(Err(refusal), out),
            Event::Positions(positions) => self.idle_positions(positions, out),
            Event::Assigned(_) | Event::Revoked { .. } | Event::Tick | Event::Stop => {}
        }
    }

    fn polled(&mut self, now: Millis, ends: Positions, bytes: usize, out: &mut Vec<Command>) {
        debug_assert!(self.takes(), "records while {:?}", self.phase);
        self.dry = false;
        self.last_record = now;
        self.bytes += bytes;
        self.polls += 1;
        self.ends = ends;
        if self.phase == Phase::Open {
            self.ask(Ask::Process, Command::Process, out);
        } else {
            self.opened = now;
            self.bare = false;
            self.ask(Ask::Begin, Command::Begin, out);
        }
    }

    fn processed(&mut self, result: Result<(), Refusal>, out: &mut Vec<Command>) {
        match result {
            Ok(()) => {
                for (tp, end) in std::mem::take(&mut self.ends) {
                    if let Some(owned) = self.owned.get_mut(&tp) {
                        owned.next = owned.next.max(end);
                    }
                }
                self.phase = Phase::Open;
            }
            Err(Refusal::Stage(why)) => {
                self.why = Some(why);
                self.stall = Some(self.next_back_off());
                self.ask(Ask::Abort, Command::Abort, out);
            }
            Err(Refusal::Producer(fault)) => {
                self.why = Some(fault.text);
                self.stall = Some(self.next_back_off());
                self.ask(Ask::Rebuild, Command::Rebuild, out);
            }
            Err(Refusal::Final(stop)) => self.exit(stop, out),
        }
    }

    /// The positions of all owned partitions (rule 3), never one without a number, never one that goes back.
    fn send_offsets(&mut self, positions: Positions, out: &mut Vec<Command>) {
        for (tp, position) in positions {
            if let Some(owned) = self.owned.get_mut(&tp) {
                owned.next = owned.next.max(position);
            }
        }
        let positions: Positions = self.owned.iter().map(|(tp, o)| (tp.clone(), o.next)).collect();
        if positions.is_empty() {
            // Nothing is owned any more: without offsets nothing would fence this transaction.
            self.ask(Ask::Abort, Command::Abort, out);
            return;
        }
        self.sent = Some(positions.clone());
        self.ask(Ask::Offsets, Command::SendOffsets(positions), out);
    }

    fn merge(&mut self, now: Millis, out: &mut Vec<Command>) {
        let sent = self.sent.take().unwrap_or_default();
        for (tp, next) in &sent {
            if let Some(owned) = self.owned.get_mut(tp) {
                owned.base = Base { next: *next, mark: owned.base.mark + 1, stored: true };
            }
        }
        out.push(Command::Merge(sent));
        if !self.bare {
            self.last_commit = Some(now);
        }
        self.closed();
        self.failures = 0;
        self.why = None;
    }

    /// No transaction is open any more.
    fn closed(&mut self) {
        self.phase = Phase::Idle;
        self.ends.clear();
        self.sent = None;
        self.bytes = 0;
        self.polls = 0;
        self.retries = 0;
        self.bare = false;
    }

    fn restored(&mut self, result: Result<BTreeMap<Tp, Base>, End>, out: &mut Vec<Command>) {
        match result {
            Ok(bases) => {
                let positions = bases.iter().map(|(tp, base)| (tp.clone(), Some(base.next))).collect();
                for (tp, base) in bases {
                    self.owned.insert(tp, Owned { base, next: base.next });
                }
                self.orphaned = None;
                self.phase = Phase::Idle;
                out.push(Command::Assign(positions));
            }
            Err(stop) => {
                self.pending.push_front(Pending::Assigned(std::mem::take(&mut self.restoring)));
                self.exit(stop, out);
            }
        }
    }

    fn idle_positions(&mut self, positions: Positions, out: &mut Vec<Command>) {
        self.phase = Phase::Idle;
        let moved = positions
            .iter()
            .any(|(tp, at)| self.owned.get(tp).is_some_and(|o| *at > o.base.next || !o.base.stored));
        if moved {
            self.bare = true;
            self.ask(Ask::Begin, Command::Begin, out);
        }
    }

    /// What the time and what is pending ask for, once the driver is not busy.
    fn settle(&mut self, now: Millis, out: &mut Vec<Command>) {
        if let Phase::Waiting { until, paused, then, patient } = self.phase {
            // Nothing is open then: what the group wants, or our end, need not wait for the stage's back-off.
            let free = patient && then == Ask::Seek && (self.stopping || !self.pending.is_empty());
            if now >= until || free {
                self.resume_waiting(paused, then, out);
            }
            return;
        }
        loop {
            match self.phase {
                // The partitions have other owners already: nothing of this may be committed.
                Phase::Open if self.lost() => return self.ask(Ask::Abort, Command::Abort, out),
                Phase::Open if self.due(now) => return self.ask(Ask::Seal, Command::Seal, out),
                Phase::Idle if !self.pending.is_empty() => self.acknowledge(out),
                Phase::Idle if self.stopping => return self.exit(End::Asked, out),
                Phase::Idle => return self.idle(now, out),
                _ => return,
            }
        }
    }

    fn idle(&mut self, now: Millis, out: &mut Vec<Command>) {
        if self.orphaned.is_some_and(|since| now >= since + ORPHAN_LIMIT) {
            return self.exit(End::Failed("the group took the partitions and never said so".into()), out);
        }
        if !self.owned.is_empty() && now >= self.last_record + IDLE && now >= self.last_idle + IDLE {
            self.last_idle = now;
            self.ask(Ask::Positions, Command::AskPositions, out);
        }
    }

    fn due(&self, now: Millis) -> bool {
        self.stopping
            || !self.pending.is_empty()
            || now >= self.opened + self.timing.commit_interval
            || (self.dry && self.early().is_some_and(|early| now >= early))
            || self.bytes >= self.timing.max_bytes
            || self.polls >= self.timing.max_polls
    }

    /// When a transaction may end before its interval is over, once the input is dry. What comes after a rest goes on at once; while a
    /// trickle goes on, commits keep their distance: one costs the same for a record as for a hundred.
    fn early(&self) -> Option<Millis> {
        let pace = self.timing.pace?;
        let apart = self.last_commit.map_or(0, |last| last + pace);
        Some(apart.max(self.last_record + DRY))
    }

    fn lost(&self) -> bool {
        self.pending.iter().any(|p| matches!(p, Pending::Revoked { lost: true, .. }))
    }

    fn acknowledge(&mut self, out: &mut Vec<Command>) {
        match self.pending.pop_front() {
            Some(Pending::Revoked { partitions, .. }) => {
                self.forget(&partitions, out);
                self.orphaned = None;
                out.push(Command::Unassign(partitions));
            }
            Some(Pending::Assigned(partitions)) if partitions.is_empty() || self.stopping => {
                out.push(Command::Assign(partitions.into_iter().map(|tp| (tp, None)).collect()));
            }
            Some(Pending::Assigned(partitions)) => {
                self.restoring.clone_from(&partitions);
                self.ask(Ask::Restore, Command::Restore(partitions), out);
            }
            None => {}
        }
    }

    fn forget(&mut self, partitions: &[Tp], out: &mut Vec<Command>) {
        let gone: Vec<Tp> = partitions.iter().filter(|tp| self.owned.remove(tp).is_some()).cloned().collect();
        if !gone.is_empty() {
            out.push(Command::Release(gone));
        }
    }
}
