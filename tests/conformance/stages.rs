//! The stages under test: one that counts, holds and refuses; one that joins and fails; one that hands on; a moody sink.
use super::fate::{BAD_PART, Fate, KEYS, key, number};
use atio_schemas::{Code, Codec, codec::StaticIds, delivery as wire, detection::Tlp};
use atio_stage::{
    BoxFuture, Deliver, Delivery, Headers, Input, NonEmpty, Outcome, Output, Pace, Part, Processor, Receipt,
    Record, Reject, Run, Sink, Stage, StageError, StateKey, Store, StoreSpec, TableName, TableSpec, Timer,
    Timers, Tx, Verdict, View,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Counts by key, in state; its timers and holds too.
    Count,
    /// The same, its input taken from by shares.
    Shares,
    /// Rows of a table.
    Join,
    Pass,
    Deliver,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Count, Self::Shares, Self::Join, Self::Pass, Self::Deliver];
    /// A changelog each.
    pub const STORES: [&str; 3] = [Counted::NAME, Timers::NAME, Waiting::NAME];

    pub fn counts(self) -> bool {
        matches!(self, Self::Count | Self::Shares)
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| format!("{k:?}") == text)
    }

    /// The stage of this kind in the world that is named so.
    pub fn stage(self, name: &str) -> Stage {
        self.gated(name, &Gate::default())
    }
    /// The same, where what is joined may wait at this gate.
    pub fn gated(self, name: &str, gate: &Gate) -> Stage {
        let prefix = format!("{name}.");
        let stores = [
            StoreSpec::of::<Counted>(&prefix, "demo"),
            StoreSpec::of::<Timers>(&prefix, "demo"),
            StoreSpec::of::<Waiting>(&prefix, "demo"),
        ];
        let rows = TableSpec {
            name: TableName::new("rows"),
            topic: Arc::from(format!("{name}.rows")),
            make: Arc::new(|| Box::new(Rows::default())),
        };
        let deliver = || Deliver {
            sink: Box::new(Moody::default()),
            codec: codec(),
            receipts: Arc::from(format!("{name}.out")),
        };
        Stage {
            name: "demo".into(),
            service: "demo",
            group: format!("{name}.group"),
            inputs: vec![Input::new(&format!("{name}.in"))],
            outputs: vec![Arc::from(format!("{name}.out"))],
            stores: if self.counts() { stores.to_vec() } else { vec![] },
            tables: if self == Self::Join { vec![rows] } else { vec![] },
            pace: Pace::Interactive,
            run: match self {
                Self::Count | Self::Shares => Run::Transform(Box::new(Counter)),
                Self::Join => Run::Transform(Box::new(Join(gate.clone()))),
                Self::Pass => Run::Transform(Box::new(Pass)),
                Self::Deliver => Run::Deliver(deliver()),
            },
        }
    }
}

pub struct Counted;
impl Store for Counted {
    const NAME: &'static str = "count";
    type Value = u64;
}

/// What waits for its deadline: output topic, record key, number.
pub struct Waiting;
impl Store for Waiting {
    const NAME: &'static str = "waiting";
    type Value = (String, String, u64);
}

fn out(topic: &str) -> String {
    topic.replace(".in", ".out")
}

/// Writes `number:count` and notes how often it did.
struct Counter;
impl Counter {
    fn count(record: &Record<'_>, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let n = number(record.value.unwrap_or_default()).expect("fed by us");
        let fate = Fate::of(n);
        match fate {
            Fate::Dead => return Ok(Outcome::dead_letter(Code::InvalidJson, "every 50th")),
            Fate::Dropped => return Ok(Outcome::Drop(Code::Duplicate)),
            _ => {}
        }
        let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
        let notes: u64 = tx.note().and_then(|t| t.parse().ok()).unwrap_or(0);
        tx.set_note((notes + 1).to_string())?;
        if fate == Fate::Held {
            let held = StateKey { store: Waiting::NAME, key: format!("{key}/{n}") };
            tx.store::<Waiting>().put(&held.key, &(out(record.topic), key, n))?;
            return Ok(Outcome::Hold { key: held, until: tx.now().plus_millis(1000) });
        }
        let earlier = format!("{key}/{}", n.wrapping_sub(KEYS));
        if n >= KEYS && n.is_multiple_of(2) && tx.store::<Waiting>().get(&earlier)?.is_some() {
            let end = Self::end(&earlier, tx)?;
            tx.settle(StateKey { store: Waiting::NAME, key: earlier }, end);
        }
        let output = Self::output(out(record.topic), key, n, tx, record.headers.carried())?;
        let part = Part { bytes: BAD_PART.to_vec(), offset: None, line: None };
        let rejected = if fate == Fate::EmittedInPart {
            vec![Reject { code: Code::InvalidField, message: "part".into(), part: Some(part) }]
        } else {
            vec![]
        };
        Ok(Outcome::Emit { outputs: NonEmpty::one(output), rejected })
    }
    /// What was held is counted when it ends.
    fn end(held: &str, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let (topic, key, n) = tx.store::<Waiting>().get(held)?.expect("what is held is stored");
        tx.store::<Waiting>().delete(held);
        Ok(Outcome::emit(Self::output(topic, key, n, tx, Headers::default())?))
    }
    fn output(
        topic: String,
        key: String,
        n: u64,
        tx: &mut Tx<'_>,
        headers: Headers,
    ) -> Result<Output, StageError> {
        let count = tx.store::<Counted>().get(&key)?.unwrap_or(0) + 1;
        tx.store::<Counted>().put(&key, &count)?;
        Ok(Output::new(topic, key, format!("{n}:{count}").into_bytes(), headers))
    }
}
impl Processor for Counter {
    fn on_timer(&self, timer: &Timer, tx: &mut Tx<'_>) -> Outcome {
        Self::end(&timer.key.key, tx).unwrap_or_else(Outcome::Fail)
    }
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        Self::count(record, tx).unwrap_or_else(Outcome::Fail)
    }
}

/// A table's rows as they are.
#[derive(Clone, Default)]
struct Rows(HashMap<Vec<u8>, Vec<u8>>);
impl View for Rows {
    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StageError> {
        match value {
            Some(b"bad") => return Err(StageError { code: Code::InvalidField, message: "bad row".into() }),
            Some(value) => drop(self.0.insert(key.to_vec(), value.to_vec())),
            None => drop(self.0.remove(key)),
        }
        Ok(())
    }
    fn fork(&self) -> Box<dyn View> {
        Box::new(self.clone())
    }
}

/// Where a transaction can be held open.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<Passing>, Condvar)>);

#[derive(Default)]
struct Passing {
    waits: bool,
    open: bool,
}

impl Gate {
    const PATIENCE: Duration = Duration::from_secs(60);

    fn pass(&self) {
        let (passing, told) = &*self.0;
        let mut passing = passing.lock().expect("nobody panics here");
        passing.waits = true;
        told.notify_all();
        drop(told.wait_timeout_while(passing, Self::PATIENCE, |p| !p.open).expect("nobody panics here"));
    }
    pub fn until_somebody_waits(&self) {
        let (passing, told) = &*self.0;
        let passing = passing.lock().expect("nobody panics here");
        let (passing, _) =
            told.wait_timeout_while(passing, Self::PATIENCE, |p| !p.waits).expect("nobody panics here");
        assert!(passing.waits, "somebody waits, in time");
    }
    pub fn open(&self) {
        let (passing, told) = &*self.0;
        passing.lock().expect("nobody panics here").open = true;
        told.notify_all();
    }
}

/// Answers with the row of the record's value; `wait`: that of `a`, once the gate is open. Without a row the record fails the stage, panics,
/// or is poison, as its value says.
struct Join(Gate);
impl Processor for Join {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let (key, value) = (record.key.unwrap_or_default().to_vec(), record.value.unwrap_or_default());
        let rows: &Rows = match tx.table("rows") {
            Ok(rows) => rows,
            Err(e) => return Outcome::Fail(e),
        };
        let value = if value == b"wait" {
            self.0.pass();
            b"a"
        } else {
            value
        };
        match (rows.0.get(value), value) {
            (Some(row), _) => {
                Outcome::emit(Output::new(out(record.topic), key, row.clone(), Headers::default()))
            }
            (None, b"fail") => {
                Outcome::Fail(StageError { code: Code::Internal, message: "no row yet".into() })
            }
            (None, b"panic") => panic!("on purpose"),
            (None, _) => Outcome::dead_letter(Code::NotFound, "no row"),
        }
    }
}

/// Hands on what it gets.
struct Pass;
impl Processor for Pass {
    fn process(&self, record: &Record<'_>, _: &mut Tx<'_>) -> Outcome {
        let key = record.key.unwrap_or_default().to_vec();
        let value = record.value.unwrap_or_default().to_vec();
        Outcome::emit(Output::new(out(record.topic), key, value, Headers::default()))
    }
}

/// A sink that fails, rejects and dawdles, and notices when two of a key are under way.
#[derive(Default)]
struct Moody {
    busy: Mutex<HashSet<String>>,
    last: Mutex<HashMap<String, u64>>,
}
impl Moody {
    async fn one(&self, d: &Delivery) -> Verdict {
        let key = d.record.asset.clone().expect("an asset");
        let n: u64 = d.record.idempotency_key.parse().expect("a number");
        assert!(self.busy.lock().unwrap().insert(key.clone()), "two of key {key} at once");
        tokio::time::sleep(Duration::from_millis(n * 7 % 10)).await;
        self.busy.lock().unwrap().remove(&key);
        if (n * 31 + u64::from(d.attempt) * 17).is_multiple_of(13) {
            return Verdict::Retry { after: Some(Duration::from_millis(30)), error: "busy".into() };
        }
        let before = self.last.lock().unwrap().insert(key.clone(), n);
        assert!(before.is_none_or(|b| b < n), "key {key}: {n} after {before:?}");
        if Fate::of(n) == Fate::Dead {
            return Verdict::Reject(Reject::whole(Code::SinkRejected, "every 50th"));
        }
        Verdict::Delivered(Receipt { external_id: Some(format!("x{n}")), code: Some("201".into()) })
    }
}
impl Sink for Moody {
    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Verdict>> {
        Box::pin(async move { vec![self.one(&batch[0]).await] })
    }
}

pub fn codec() -> Codec {
    Codec::new(Arc::new(StaticIds::new()))
}

/// What is fed to the sink.
pub fn delivery(n: u64) -> Vec<u8> {
    let record = wire::Delivery {
        sink: "moody".into(),
        idempotency_key: n.to_string(),
        event_id: n.to_string(),
        incident_id: None,
        asset: Some(key(n)),
        workflow: "w@1".into(),
        branch: "b".into(),
        format: "stix".into(),
        content_type: "application/json".into(),
        tlp: Tlp::Clear,
        occurred_at: None,
        received_at: None,
        payload: b"{}".to_vec(),
        residue: vec![],
    };
    codec().encode(&record).expect("encodes")
}
