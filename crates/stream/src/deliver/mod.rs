//! Delivery (exactly-once, rule 22): HTTP and the like outside of any transaction; receipts, dead letters and offsets of the finished prefix
//! in one. Owns the windows of a lane and the calls under way; must not know when a transaction begins or ends.
use crate::{
    books::Books,
    client::consumer::Incoming,
    dead_letter,
    fault::Tp,
    machine::{Millis, Positions},
    transform::TopicLimits,
};
use atio_schemas::{Code, Codec, Timestamp, delivery as wire, header};
use atio_stage::{Deliver, Delivery, Headers, Input, Output, Receipt, Record, Reject, Run, Stage, Verdict};
use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    time::Duration,
};
use window::{Breaker, Window};

mod window;

/// A sink that does not answer by then is tried again; its own deadline should be far below.
const CALL_MAX: Duration = Duration::from_secs(120);
const BACK_OFF: Millis = 500;
const BACK_OFF_MAX: Millis = 300_000;
/// The longest wait that a sink can ask for.
const AFTER_MAX: Duration = Duration::from_secs(3600);
/// Records that a partition's window holds, as a multiple of what may be under way.
const WINDOW_FACTOR: usize = 4;
const WINDOW_BYTES: usize = 32 * 1024 * 1024;

/// A record on its way: as it came, what it says, how it ended.
struct Item {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
    timestamp: Timestamp,
    delivery: Option<wire::Delivery>,
    end: Option<End>,
    attempts: u32,
}

enum End {
    Delivered(Receipt),
    Rejected(Reject),
    Dropped(Code),
}

struct Lot {
    window: Window<Item>,
    /// Everything below has been taken in: what is read again after an abort is here already.
    next: i64,
    bytes: usize,
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
        let headers = record.headers();
        let mut item = Item {
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            timestamp: Timestamp::from_millis(record.timestamp_ms()),
            delivery: None,
            end: None,
            attempts: 0,
            headers,
        };
        let live = item.headers.text(header::RUN).is_none_or(|run| run == header::LIVE);
        match record.value() {
            _ if !live => item.end = Some(End::Dropped(Code::Replay)),
            None => item.end = Some(End::Rejected(Reject::whole(Code::NullValue, "nothing to deliver"))),
            Some(bytes) => match self.codec.decode::<wire::Delivery>(bytes) {
                Ok(delivery) => item.delivery = Some(delivery),
                Err(e) => item.end = Some(End::Rejected(Reject::whole(e.code(), e.to_string()))),
            },
        }
        self.generation += 1;
        let (generation, limit) = (self.generation, self.limit);
        let lot = self.lots.entry(tp.clone()).or_insert_with(|| Lot {
            window: Window::new(limit),
            next: 0,
            bytes: 0,
            generation,
            calls: vec![],
        });
        lot.bytes += size(&item);
        lot.next = record.offset() + 1;
        let (key, done) = (item.key.as_deref().map(Arc::from), item.end.is_some());
        lot.window.push(record.offset(), key, item, done);
    }

    /// Partitions whose window takes no more.
    pub(crate) fn full(&self) -> impl Iterator<Item = &Tp> {
        let most = self.limit * WINDOW_FACTOR;
        self.lots
            .iter()
            .filter(move |(_, lot)| lot.window.len() >= most || lot.bytes >= WINDOW_BYTES)
            .map(|(tp, _)| tp)
    }
    /// Whether a partition's window is half empty again.
    #[must_use]
    pub(crate) fn has_room(&self, tp: &Tp) -> bool {
        let most = self.limit * WINDOW_FACTOR / 2;
        self.lots.get(tp).is_none_or(|lot| lot.window.len() < most && lot.bytes < WINDOW_BYTES / 2)
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
        let taken = lot.window.take(now, most, |offset, attempt, item| {
            let record = item.delivery.clone();
            record.map(|record| (offset, Delivery { record, attempt }))
        });
        let (offsets, batch): (Vec<i64>, Vec<Delivery>) = taken.into_iter().flatten().unzip();
        let count = offsets.len();
        if count == 0 {
            return 0;
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
                    lot.window.finish(offset, |item, attempts| {
                        (item.end, item.attempts) = (Some(End::Delivered(receipt)), attempts)
                    });
                }
                Verdict::Reject(reject) => {
                    self.breaker.good();
                    lot.window.finish(offset, |item, attempts| {
                        (item.end, item.attempts) = (Some(End::Rejected(reject)), attempts)
                    });
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
                lot.bytes -= items.iter().map(|(_, item)| size(item)).sum::<usize>().min(lot.bytes);
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
                let before = outputs.len();
                let page = books.page(&finished.tp);
                page.counts.read += 1;
                match &item.end {
                    Some(End::Delivered(_)) => page.counts.emitted += 1,
                    Some(End::Rejected(reject)) => page.counts.count_dead_lettered(reject.code, 1),
                    Some(End::Dropped(code)) => page.counts.count_dropped(*code, 1),
                    None => return Err(format!("{}/{offset} has no end", finished.tp)),
                }
                ended(&stage, deliver, input, &finished.tp, *offset, item, now, &mut outputs)?;
                for output in &outputs[before..] {
                    if output.size() > limits.of(&output.topic) {
                        return Err(format!("{} bytes do not fit into {}", output.size(), output.topic));
                    }
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
                lot.bytes += finished.items.iter().map(|(_, item)| size(item)).sum::<usize>();
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

fn size(item: &Item) -> usize {
    2 * item.value.as_ref().map_or(0, Vec::len) + item.key.as_ref().map_or(0, Vec::len)
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

/// The outputs of one record that has ended.
fn ended(
    stage: &Stage,
    deliver: &Deliver,
    input: &Input,
    tp: &Tp,
    offset: i64,
    item: &Item,
    now: Timestamp,
    outputs: &mut Vec<Output>,
) -> Result<(), String> {
    let (status, receipt) = match &item.end {
        Some(End::Delivered(receipt)) => ("delivered", receipt.clone()),
        Some(End::Rejected(reject)) => {
            let record = Record {
                topic: &tp.topic,
                partition: tp.partition,
                offset,
                timestamp: item.timestamp,
                key: item.key.as_deref(),
                value: item.value.as_deref(),
                headers: &item.headers,
            };
            let context = dead_letter::Context { stage: &stage.name, attempt: item.attempts.max(1), now };
            outputs.push(dead_letter::output(&input.dead_letters, &record, reject, context));
            ("rejected", Receipt { external_id: None, code: Some(reject.code.as_str().to_owned()) })
        }
        Some(End::Dropped(_)) | None => return Ok(()),
    };
    let Some(delivery) = &item.delivery else { return Ok(()) };
    let record = wire::ReceiptRecord {
        sink: delivery.sink.clone(),
        idempotency_key: delivery.idempotency_key.clone(),
        event_id: delivery.event_id.clone(),
        incident_id: delivery.incident_id.clone(),
        workflow: delivery.workflow.clone(),
        branch: delivery.branch.clone(),
        status: status.to_owned(),
        code: receipt.code,
        external_id: receipt.external_id,
        attempts: i32::try_from(item.attempts).unwrap_or(i32::MAX),
        delivered_at: now,
    };
    let value = deliver.codec.encode(&record).map_err(|e| format!("receipt: {e}"))?;
    let key = delivery
        .incident_id
        .clone()
        .or_else(|| delivery.asset.clone())
        .unwrap_or_else(|| delivery.event_id.clone());
    outputs.push(Output::new(deliver.receipts.clone(), key, value, item.headers.carried()));
    Ok(())
}
