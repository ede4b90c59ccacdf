//! Delivery (exactly-once, rule 22): HTTP and the like outside of any transaction; receipts, dead letters and offsets of the finished prefix
//! in one. Owns the windows of a lane and the calls under way; must not know when a transaction begins or ends.
use crate::{
    books::Books,
    client::consumer::Incoming,
    fault::Tp,
    machine::{Millis, Positions},
    transform::TopicLimits,
};
use atio_schemas::{Code, Codec, Timestamp};
use atio_stage::{Deliver, Delivery, Output, Replay, Run, Stage, Verdict};
use item::{End, Item};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    time::Duration,
};
use window::{Breaker, Window};

mod item;
#[cfg(test)]
mod tests;
mod window;

/// A sink that does not answer by then is tried again; its own deadline should be far below.
const CALL_MAX: Duration = Duration::from_secs(120);
const BACK_OFF: Millis = 500;
const BACK_OFF_MAX: Millis = 300_000;
/// The longest wait that a sink can ask for.
const AFTER_MAX: Duration = Duration::from_secs(3600);
/// Records that a partition's window holds, as a multiple of what may be under way.
const WINDOW_FACTOR: usize = 4;
/// What the windows of a lane hold together, each its share; a record above it comes alone.
const WINDOWS_BYTES: usize = 8 * 1024 * 1024;

struct Lot {
    window: Window<Item>,
    /// Everything below has been taken in: what is read again after an abort is here already.
    next: i64,
    /// Tells the answers of a former assignment from those of this one.
    generation: u64,
    calls: Vec<tokio::task::AbortHandle>,
}

/// What a sink answered to one call.
struct Answer {
    tp: Tp,
    generation: u64,
    offsets: Vec<i64>,
    verdicts: Vec<Verdict>,
}

/// The finished prefix of a partition, waiting for its transaction.
struct Finished {
    tp: Tp,
    items: Vec<(i64, Item)>,
    written: bool,
}

/// All windows of a lane.
pub(crate) struct Deliveries {
    stage: Arc<Stage>,
    codec: Codec,
    io: tokio::runtime::Handle,
    limit: usize,
    lots: BTreeMap<Tp, Lot>,
    breaker: Breaker,
    answers: mpsc::Receiver<Answer>,
    answer: mpsc::Sender<Answer>,
    finished: Vec<Finished>,
    /// In the open transaction.
    committing: Vec<Finished>,
    generation: u64,
    /// Since the last look.
    pub(crate) retried: u64,
    pub(crate) last_error: Option<String>,
}

impl Deliveries {
    /// None where the stage is no delivery.
    #[must_use]
    pub(crate) fn new(stage: &Arc<Stage>, io: &tokio::runtime::Handle, limit: usize) -> Option<Self> {
        let Run::Deliver(deliver) = &stage.run else { return None };
        let (answer, answers) = mpsc::channel();
        Some(Self {
            stage: stage.clone(),
            codec: deliver.codec.clone(),
            io: io.clone(),
            limit,
            lots: BTreeMap::new(),
            breaker: Breaker::new(),
            answers,
            answer,
            finished: vec![],
            committing: vec![],
            generation: 0,
            retried: 0,
            last_error: None,
        })
    }

    fn deliver(stage: &Stage) -> Option<&Deliver> {
        if let Run::Deliver(deliver) = &stage.run { Some(deliver) } else { None }
    }

    /// A record into its window, where it is not there yet.
    pub(crate) fn push(&mut self, tp: &Tp, record: &Incoming<'_>) {
        if self.lots.get(tp).is_some_and(|lot| record.offset() < lot.next) {
            return;
        }
        let at = Timestamp::from_millis(record.timestamp_ms());
        let headers = record.headers();
        let elsewhere =
            Replay::of(&headers).is_some_and(|replay| !replay.is_for(|stage| stage == self.stage.name));
        let mut item = Item::read(&self.codec, (record.key(), record.value()), at, headers);
        if elsewhere {
            item.dropped(Code::OtherStage);
        }
        self.hold(tp, record.offset(), item);
    }

    fn hold(&mut self, tp: &Tp, offset: i64, item: Item) {
        self.generation += 1;
        let (generation, limit) = (self.generation, self.limit);
        let lot = self.lots.entry(tp.clone()).or_insert_with(|| Lot {
            window: Window::new(limit),
            next: 0,
            generation,
            calls: vec![],
        });
        lot.next = offset + 1;
        let (key, done) = (item.key().map(Arc::from), item.end().is_some());
        lot.window.push(offset, key, item, done);
    }

    /// Records and bytes that a partition's window holds.
    fn most(&self) -> (usize, usize) {
        (self.limit * WINDOW_FACTOR, WINDOWS_BYTES / self.lots.len().max(1))
    }
    /// How many records and bytes may be taken at once: whichever of these partitions they are of, its window has room for them.
    #[must_use]
    pub(crate) fn room(&self, paused: &BTreeSet<Tp>) -> (usize, usize) {
        let most = self.most();
        let lots = self.lots.iter().filter(|(tp, _)| !paused.contains(*tp)).map(|(_, lot)| &lot.window);
        lots.fold(most, |(records, bytes), window| {
            let (len, held) = (window.len(), window.bytes());
            (records.min(most.0.saturating_sub(len)), bytes.min(most.1.saturating_sub(held)))
        })
    }
    /// Partitions whose window takes no more.
    pub(crate) fn full(&self) -> impl Iterator<Item = &Tp> {
        let (records, bytes) = self.most();
        self.lots
            .iter()
            .filter(move |(_, lot)| lot.window.len() >= records || lot.window.bytes() >= bytes)
            .map(|(tp, _)| tp)
    }
    /// Whether a partition's window is half empty again.
    #[must_use]
    pub(crate) fn has_room(&self, tp: &Tp) -> bool {
        let (records, bytes) = self.most();
        let half = |window: &Window<Item>| window.len() < records / 2 && window.bytes() < bytes / 2;
        self.lots.get(tp).is_none_or(|lot| half(&lot.window))
    }
    #[must_use]
    pub(crate) fn flying(&self) -> usize {
        self.lots.values().map(|lot| lot.window.flying()).sum()
    }
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.lots.values().all(|lot| lot.window.is_empty())
    }
    /// Whether nothing of a partition is on its way, so that the consumer's position may be committed.
    #[must_use]
    pub(crate) fn is_idle(&self, tp: &Tp) -> bool {
        self.lots.get(tp).is_none_or(|lot| lot.window.is_empty())
            && !self.finished.iter().any(|f| f.tp == *tp)
    }
    /// Why the sink is left alone, where it is.
    #[must_use]
    pub(crate) fn paused(&self) -> Option<&str> {
        if self.breaker.is_open() {
            Some(self.last_error.as_deref().unwrap_or("the sink fails"))
        } else {
            None
        }
    }

    /// Takes in answers and starts what may go now; nothing new when stopping.
    pub(crate) fn advance(&mut self, now: Millis, stopping: bool) {
        while let Ok(answer) = self.answers.try_recv() {
            self.take_in(now, answer);
        }
        if stopping {
            return;
        }
        let Some(batch_size) = Self::deliver(&self.stage).map(|d| d.sink.batch_size().max(1)) else { return };
        let mut room = self.breaker.room(now, self.flying());
        let partitions: Vec<Tp> = self.lots.keys().cloned().collect();
        for tp in partitions {
            while room > 0 {
                let started = self.start(now, &tp, batch_size.min(room));
                if started == 0 {
                    break;
                }
                room -= started.min(room);
            }
        }
    }

    fn start(&mut self, now: Millis, tp: &Tp, most: usize) -> usize {
        let Some(lot) = self.lots.get_mut(tp) else { return 0 };
        let (codec, mut refused) = (&self.codec, vec![]);
        let taken = lot.window.take(now, most, |offset, attempt, item| match item.decode(codec) {
            Ok(record) => Some((offset, Delivery { record, attempt })),
            Err(reject) => {
                refused.push((offset, reject));
                None
            }
        });
        let count = taken.len();
        for (offset, reject) in refused {
            lot.window.finish(offset, |item, attempts| item.rejected(reject, attempts));
        }
        let (offsets, batch): (Vec<i64>, Vec<Delivery>) = taken.into_iter().flatten().unzip();
        if batch.is_empty() {
            return count;
        }
        let guard = Guard {
            answer: self.answer.clone(),
            tp: tp.clone(),
            generation: lot.generation,
            offsets,
            verdicts: None,
        };
        let task = self.io.spawn(call(self.stage.clone(), batch, guard));
        lot.calls.retain(|c| !c.is_finished());
        lot.calls.push(task.abort_handle());
        count
    }

    fn take_in(&mut self, now: Millis, answer: Answer) {
        let Some(lot) = self.lots.get_mut(&answer.tp).filter(|lot| lot.generation == answer.generation)
        else {
            return;
        };
        for (offset, verdict) in answer.offsets.into_iter().zip(answer.verdicts) {
            match verdict {
                Verdict::Delivered(receipt) => {
                    self.breaker.good();
                    lot.window.finish(offset, |item, attempts| item.delivered(receipt, attempts));
                }
                Verdict::Reject(reject) => {
                    self.breaker.good();
                    lot.window.finish(offset, |item, attempts| item.rejected(reject, attempts));
                }
                Verdict::Retry { after, error } => {
                    self.breaker.bad(now);
                    self.retried += 1;
                    tracing::warn!(stage = self.stage.name, error_code = "delivery_retry", partition = %answer.tp, offset, error, "delivery is tried again");
                    self.last_error = Some(error);
                    lot.window.again(offset, |attempt| now + back_off(after, attempt, offset));
                }
            }
        }
    }

    /// The finished prefixes since the last call, by the positions after them. They wait for [`Self::outputs`].
    pub(crate) fn finished(&mut self) -> Positions {
        let mut ends = Positions::new();
        for (tp, lot) in &mut self.lots {
            let items = lot.window.finished();
            if let Some((last, _)) = items.last() {
                ends.insert(tp.clone(), last + 1);
                self.finished.push(Finished { tp: tp.clone(), items, written: false });
            }
        }
        ends
    }

    /// Receipts and dead letters of what [`Self::finished`] told, with their counts.
    ///
    /// # Errors
    /// Text for people: a receipt or dead letter that can't be written.
    pub(crate) fn outputs(
        &mut self,
        books: &mut Books,
        limits: &TopicLimits,
        now: Timestamp,
    ) -> Result<Vec<Output>, String> {
        let stage = self.stage.clone();
        let Some(deliver) = Self::deliver(&stage) else { return Ok(vec![]) };
        let mut outputs = vec![];
        self.committing.append(&mut self.finished);
        // A transaction takes in more than once what finished: only what is new.
        for finished in self.committing.iter_mut().filter(|f| !f.written) {
            finished.written = true;
            let Some(input) = stage.inputs.iter().find(|i| i.topic == finished.tp.topic) else { continue };
            for (offset, item) in &finished.items {
                let page = books.page(&finished.tp);
                page.counts.read += 1;
                match item.end() {
                    Some(End::Delivered(_)) => page.counts.emitted += 1,
                    Some(End::Rejected(reject)) => page.counts.count_dead_lettered(reject.code, 1),
                    Some(End::Dropped(code)) => page.counts.count_dropped(*code, 1),
                    None => return Err(format!("{}/{offset} has no end", finished.tp)),
                }
                for output in item.outputs(&stage, deliver, input, (&finished.tp, *offset), now)? {
                    if output.size() > limits.of(&output.topic) {
                        return Err(format!("{} bytes do not fit into {}", output.size(), output.topic));
                    }
                    outputs.push(output);
                }
            }
        }
        Ok(outputs)
    }

    /// The transaction is in: its records have ended.
    pub(crate) fn committed(&mut self) {
        self.committing.clear();
    }
    /// It is not: what has ended outside stays ended, and waits for the next one.
    pub(crate) fn aborted(&mut self) {
        self.committing.append(&mut self.finished);
        while let Some(finished) = self.committing.pop() {
            if let Some(lot) = self.lots.get_mut(&finished.tp) {
                lot.window.put_back(finished.items);
            }
        }
    }
    /// Forgets a partition; calls under way are cut off. Whoever has it next reads from the committed position.
    pub(crate) fn release(&mut self, tp: &Tp) {
        if let Some(lot) = self.lots.remove(tp) {
            lot.calls.iter().for_each(tokio::task::AbortHandle::abort);
        }
        self.finished.retain(|f| f.tp != *tp);
        self.committing.retain(|f| f.tp != *tp);
    }
}

/// Doubling, with up to a fifth on top by the offset, so that what failed together does not come back together.
fn back_off(after: Option<Duration>, attempt: u32, offset: i64) -> Millis {
    if let Some(after) = after {
        return Millis::try_from(after.min(AFTER_MAX).as_millis()).unwrap_or(BACK_OFF_MAX);
    }
    let base = BACK_OFF.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(BACK_OFF_MAX);
    base + base / 5 * (offset.unsigned_abs() % 8) / 8
}

async fn call(stage: Arc<Stage>, batch: Vec<Delivery>, mut guard: Guard) {
    if let Some(deliver) = Deliveries::deliver(&stage) {
        guard.verdicts = tokio::time::timeout(CALL_MAX, deliver.sink.deliver(&batch)).await.ok();
    }
}

/// Sends the answer when it is dropped: also where the sink panicked, ran out of time, or answered for another number of deliveries.
struct Guard {
    answer: mpsc::Sender<Answer>,
    tp: Tp,
    generation: u64,
    offsets: Vec<i64>,
    verdicts: Option<Vec<Verdict>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let offsets = std::mem::take(&mut self.offsets);
        let none = || {
            offsets
                .iter()
                .map(|_| Verdict::Retry { after: None, error: "the sink gave no answer".to_owned() })
                .collect()
        };
        let verdicts = self.verdicts.take().filter(|v| v.len() == offsets.len()).unwrap_or_else(none);
        let answer = Answer { tp: self.tp.clone(), generation: self.generation, offsets, verdicts };
        // Nobody listens any more: the lane has ended.
        drop(self.answer.send(answer));
    }
}
