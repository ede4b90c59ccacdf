//! The machine's other half: what follows from a fault (exactly-once, rules 6 to 8).
use super::{
    Ask, Command, Committed, End, FENCE_WINDOW, Fault, FaultKind, Machine, Millis, PAUSE_ABOVE, Pending,
    Phase, Positions, RETRIES, STOP_LIMIT,
};
use crate::fault::Tp;
use std::collections::BTreeMap;

impl Machine {
    pub(super) fn fault(&mut self, now: Millis, at: Ask, fault: Fault, out: &mut Vec<Command>) {
        match fault.kind {
            FaultKind::Unknown => self.ask(Ask::Rebuild, Command::Rebuild, out),
            FaultKind::Torn => self.exit(End::Torn(fault.text), out),
            FaultKind::Generation => self.ask(Ask::Abort, Command::Abort, out),
            FaultKind::Member => {
                self.orphan(now, out);
                self.ask(Ask::Abort, Command::Abort, out);
            }
            FaultKind::Fenced | FaultKind::Fatal => self.fenced(now, fault, out),
            // An abort that asks to be aborted can't be helped by another.
            FaultKind::Abort if at == Ask::Abort => self.ask(Ask::Rebuild, Command::Rebuild, out),
            FaultKind::Abort => self.ask(Ask::Abort, Command::Abort, out),
            // What is at hand does not outlive the driver's turn: it is read again.
            FaultKind::Retry if at == Ask::Begin => self.resolve(out),
            FaultKind::Retry => self.retry(now, at, fault, out),
        }
    }

    /// Rebuild once with back-off; fenced again within a minute: exit. No fencing wars.
    fn fenced(&mut self, now: Millis, fault: Fault, out: &mut Vec<Command>) {
        if self.last_fence.is_some_and(|last| now < last + FENCE_WINDOW) {
            let stop = if fault.kind == FaultKind::Fenced {
                End::Fenced(fault.text)
            } else {
                End::Failed(fault.text)
            };
            return self.exit(stop, out);
        }
        self.last_fence = Some(now);
        self.why = Some(fault.text);
        self.hold(now, PAUSE_ABOVE, Ask::Rebuild, false, out);
    }

    fn retry(&mut self, now: Millis, at: Ask, fault: Fault, out: &mut Vec<Command>) {
        self.retries += 1;
        if self.retries > RETRIES {
            return self.exit(End::Failed(format!("tried {RETRIES} times: {}", fault.text)), out);
        }
        if self.stopping && now >= self.stop_asked + STOP_LIMIT {
            return self.exit(End::Left(fault.text), out);
        }
        self.why = Some(fault.text);
        self.hold(now, self.timing.back_off.min(PAUSE_ABOVE), at, false, out);
    }

    /// Waits, then asks. Only waits above a second pause the partitions; what waits shorter leaves the queue alone.
    fn hold(&mut self, now: Millis, wait: Millis, then: Ask, patient: bool, out: &mut Vec<Command>) {
        let paused = wait > PAUSE_ABOVE && !self.owned.is_empty();
        if paused {
            out.push(Command::Pause(self.owned.keys().cloned().collect()));
        }
        self.phase = Phase::Waiting { until: now + wait, paused, then, patient };
    }

    pub(super) fn resume_waiting(&mut self, paused: bool, then: Ask, out: &mut Vec<Command>) {
        if paused {
            out.push(Command::Resume(self.owned.keys().cloned().collect()));
        }
        let command = match then {
            Ask::Begin => Command::Begin,
            Ask::Process => Command::Process,
            Ask::Seal => Command::Seal,
            Ask::Offsets => Command::SendOffsets(self.sent.clone().unwrap_or_default()),
            Ask::Commit => Command::Commit,
            Ask::Abort => Command::Abort,
            Ask::Rebuild => Command::Rebuild,
            Ask::Resolve => return self.resolve(out),
            Ask::Seek => return self.seek(out),
            Ask::Positions => Command::AskPositions,
            // A restoration is not retried here: its own calls are.
            Ask::Restore => return self.exit(End::Failed("restoration".into()), out),
        };
        self.ask(then, command, out);
    }

    pub(super) fn next_back_off(&mut self) -> Millis {
        let wait = self.timing.back_off.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        wait.min(self.timing.back_off_max)
    }

    /// The member is gone, or others have moved our partitions on: nothing of ours counts any more.
    fn orphan(&mut self, now: Millis, out: &mut Vec<Command>) {
        let all: Vec<Tp> = self.owned.keys().cloned().collect();
        self.forget(&all, out);
        self.orphaned = Some(now);
    }

    pub(super) fn rebuilt(&mut self, now: Millis, result: Result<(), Fault>, out: &mut Vec<Command>) {
        match result {
            Ok(()) => self.resolve(out),
            Err(fault) if matches!(fault.kind, FaultKind::Unknown | FaultKind::Retry | FaultKind::Abort) => {
                self.retry(now, Ask::Rebuild, fault, out);
            }
            Err(fault) => self.fenced(now, fault, out),
        }
    }

    /// Asks the broker how far we are; for what will not be taken from us in the next moment.
    pub(super) fn resolve(&mut self, out: &mut Vec<Command>) {
        self.forget_lost(out);
        let mine: Vec<Tp> = self.owned.keys().cloned().collect();
        if mine.is_empty() {
            out.push(Command::Discard);
            self.closed();
            self.stall = None;
            return;
        }
        self.ask(Ask::Resolve, Command::Resolve(mine), out);
    }

    /// What will be taken from us in the next moment: nobody asks or seeks it any more.
    fn forget_lost(&mut self, out: &mut Vec<Command>) {
        let revoked = |p: &Pending| {
            if let Pending::Revoked { partitions, .. } = p { Some(partitions.clone()) } else { None }
        };
        let lost: Vec<Tp> = self.pending.iter().filter_map(revoked).flatten().collect();
        self.forget(&lost, out);
    }

    pub(super) fn resolved(
        &mut self,
        now: Millis,
        result: Result<BTreeMap<Tp, Option<Committed>>, Fault>,
        out: &mut Vec<Command>,
    ) {
        let committed = match result {
            Ok(committed) => committed,
            Err(fault) => return self.retry(now, Ask::Resolve, fault, out),
        };
        let sent = self.sent.clone().unwrap_or_default();
        let mut all_at_start = true;
        let mut all_at_end = !sent.is_empty();
        let mut strange = None;
        for (tp, owned) in &self.owned {
            let found = committed.get(tp).copied().flatten();
            let base = owned.base;
            let at_start = match found {
                Some(found) => base.stored && found == Committed { next: base.next, mark: base.mark },
                None => !base.stored,
            };
            let end = sent.get(tp).map(|next| Committed { next: *next, mark: base.mark + 1 });
            let at_end = found.is_some() && found == end;
            all_at_start &= at_start;
            all_at_end &= at_end;
            if !at_start && !at_end {
                strange = Some((tp.clone(), found.map_or(-1, |f| f.next)));
            }
        }
        match (all_at_end, all_at_start, strange) {
            (true, _, _) => {
                self.stall = None;
                self.merge(now, out);
            }
            (_, true, _) => {
                out.push(Command::Discard);
                match self.stall.take() {
                    Some(wait) => self.hold(now, wait, Ask::Seek, true, out),
                    None => self.seek(out),
                }
            }
            // Moved on by whoever has the partition now: the group will tell, or this ends (see `idle`).
            (_, _, Some((tp, n))) if self.owned.get(&tp).is_some_and(|o| n >= o.base.next) => {
                out.push(Command::Discard);
                self.orphan(now, out);
                self.closed();
            }
            (_, _, Some((partition, committed))) => self.exit(End::Moved { partition, committed }, out),
            (_, _, None) => self
                .exit(End::Torn("some partitions are at the batch's start, others at its end".into()), out),
        }
    }

    pub(super) fn seek(&mut self, out: &mut Vec<Command>) {
        self.forget_lost(out);
        let mut targets = Positions::new();
        for (tp, owned) in &mut self.owned {
            owned.next = owned.base.next;
            targets.insert(tp.clone(), owned.next);
        }
        if targets.is_empty() {
            return self.closed();
        }
        self.ask(Ask::Seek, Command::Seek(targets), out);
    }

    pub(super) fn sought(&mut self, now: Millis, result: Result<(), Fault>, out: &mut Vec<Command>) {
        match result {
            Ok(()) => self.closed(),
            Err(fault) => self.retry(now, Ask::Seek, fault, out),
        }
    }
}
