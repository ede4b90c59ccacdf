//! Tables that the lanes of a process share: one client, one copy of the rows. Whichever lane is between transactions and finds that it is
//! time reads for all; each goes over to what was read when it is between transactions itself. Owns the client and the newest snapshot; must
//! not know transactions.
use super::{Ensure, Snapshot, snapshot::Touched};
use crate::{
    catchup::read_to,
    client::{
        assigned::{Assigned, Isolation},
        consumer::Incoming,
    },
    clock::{self, Clock},
    config::Kafka,
    fault::{Fault, FaultKind, Tp},
    machine::Millis,
};
use atio_stage::TableSpec;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Tables advance at most so often: each advance is a copy of what others see, and is noted.
const EVERY: Millis = 1000;
/// While nothing comes it is looked so often, so that a single change, of a workflow say, does not wait for a whole `EVERY`.
const LOOK: Millis = 100;
/// Rows that one advance applies at most; the rest comes with the next.
const ROWS_AT_ONCE: usize = 20_000;
/// A lane that finds another one loading looks again after this.
const AGAIN: Duration = Duration::from_millis(10);

/// The tables of a process's lanes. Clones are one.
#[derive(Clone, Default)]
pub struct SharedTables(Arc<Mutex<Vec<Weak<Source>>>>);

impl SharedTables {
    /// What these are read by, as long as a lane has it.
    pub(super) fn source(&self, specs: &[TableSpec]) -> Arc<Source> {
        let mut sources = lock(&self.0);
        sources.retain(|source| source.strong_count() > 0);
        let known = sources.iter().filter_map(Weak::upgrade).find(|source| source.is_of(specs));
        known.unwrap_or_else(|| {
            let made = Arc::new(Source::new(specs));
            sources.push(Arc::downgrade(&made));
            made
        })
    }
}

/// One list of tables.
pub(super) struct Source {
    pub(super) specs: Vec<TableSpec>,
    /// None: not loaded yet.
    reader: Mutex<Option<Assigned>>,
    newest: Mutex<Arc<Snapshot>>,
    /// Of the newest.
    version: AtomicU64,
    clock: Clock,
    /// Not before this does the next advance come.
    due: AtomicU64,
}

impl Source {
    fn new(specs: &[TableSpec]) -> Self {
        Self {
            specs: specs.to_vec(),
            reader: Mutex::default(),
            newest: Mutex::default(),
            version: AtomicU64::new(0),
            clock: Clock::start(),
            due: AtomicU64::new(0),
        }
    }

    fn is_of(&self, specs: &[TableSpec]) -> bool {
        self.specs.len() == specs.len() && self.specs.iter().zip(specs).all(|(a, b)| a.is_same(b))
    }

    /// Reads the tables to their ends, where no lane has done it yet.
    ///
    /// # Errors
    /// `Retry`: the broker does not answer, a table's topic is not there, or it is no longer wanted.
    pub(super) fn load(
        &self,
        client: (&Kafka, &str),
        ensure: Ensure<'_>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Arc<Snapshot>, Fault> {
        loop {
            if let Some(mut reader) = try_lock(&self.reader) {
                if reader.is_none() {
                    *reader = Some(self.read_all(client, ensure, wanted)?);
                }
                return Ok(Arc::clone(&lock(&self.newest)));
            }
            if !wanted() {
                return Err(Fault::new(FaultKind::Retry, "stopped while another lane reads the tables"));
            }
            clock::pause(AGAIN);
        }
    }

    fn read_all(
        &self,
        (kafka, client_id): (&Kafka, &str),
        ensure: Ensure<'_>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Assigned, Fault> {
        let reader = Assigned::new(kafka, &format!("{client_id}-tables"), Isolation::Committed)?;
        // Tables may share a topic.
        let mut all = BTreeSet::new();
        for spec in &self.specs {
            let partitions = reader.partitions(&spec.topic)?;
            if partitions == 0 {
                let text = format!("table {} has no topic {}", spec.name.0, spec.topic);
                return Err(Fault::new(FaultKind::Retry, text));
            }
            all.extend((0..partitions).map(|partition| Tp::new(spec.topic.clone(), partition)));
        }
        let spans = reader.spans(&Vec::from_iter(all))?;
        let from: BTreeMap<Tp, i64> = spans.iter().map(|(tp, log)| (tp.clone(), log.low)).collect();
        let ends: BTreeMap<Tp, i64> =
            spans.into_iter().filter(|(_, log)| log.low < log.end).map(|(tp, log)| (tp, log.end)).collect();
        reader.assign(&from)?;
        let mut made = Snapshot::empty(&self.specs, from);
        let mut touched = Touched::new();
        if !ends.is_empty() {
            read_to(&reader, &ends, wanted, |record| made.apply(&self.specs, record, ensure, &mut touched))?;
        }
        made.settle(&self.specs, touched);
        made.applied.extend(reader.positions());
        self.due.store(self.clock.now() + EVERY, Ordering::Relaxed);
        self.version.store(made.version, Ordering::Release);
        *lock(&self.newest) = Arc::new(made);
        Ok(reader)
    }

    /// Reads for all where it is time and no other lane does. `seen`, of a lane between transactions, is then the newest.
    ///
    /// # Errors
    /// `Retry`: the client's, or a schema that can't be fetched now.
    pub(super) fn advance(&self, seen: &mut Arc<Snapshot>, ensure: Ensure<'_>) -> Result<(), Fault> {
        let is_due = || self.clock.now() >= self.due.load(Ordering::Relaxed);
        if !is_due() {
            return Ok(());
        }
        let Some(reader) = try_lock(&self.reader).filter(|_| is_due()) else { return Ok(()) };
        self.due.store(self.clock.now() + LOOK, Ordering::Relaxed);
        let Some(reader) = &*reader else { return Ok(()) };
        match reader.poll(Duration::ZERO)? {
            Some(first) => {
                self.due.store(self.clock.now() + EVERY, Ordering::Relaxed);
                self.take(reader, first, seen, ensure)
            }
            None => Ok(()),
        }
    }

    fn take(
        &self,
        reader: &Assigned,
        first: Incoming<'_>,
        seen: &mut Arc<Snapshot>,
        ensure: Ensure<'_>,
    ) -> Result<(), Fault> {
        let mut newest = lock(&self.newest);
        // What nobody else sees is changed where it is; what others still see stays as it is, and a copy goes on.
        *seen = Arc::default();
        let next = Arc::make_mut(&mut newest);
        let mut touched = Touched::new();
        let taken = rows(&self.specs, reader, first, next, &mut touched, ensure);
        next.settle(&self.specs, touched);
        self.version.store(next.version, Ordering::Release);
        *seen = Arc::clone(&newest);
        taken
    }

    /// Goes over to the newest; later, where another lane is making it: that one may wait for a schema.
    pub(super) fn follow(&self, seen: &mut Arc<Snapshot>) {
        let is_behind = self.version.load(Ordering::Acquire) != seen.version;
        if let Some(newest) = is_behind.then(|| try_lock(&self.newest)).flatten() {
            *seen = Arc::clone(&newest);
        }
    }
}

/// Applies what is at hand, from the first row on.
fn rows(
    specs: &[TableSpec],
    reader: &Assigned,
    first: Incoming<'_>,
    next: &mut Snapshot,
    touched: &mut Touched,
    ensure: Ensure<'_>,
) -> Result<(), Fault> {
    let mut record = first;
    for left in (0..ROWS_AT_ONCE).rev() {
        if let Err(e) = next.apply(specs, &record, ensure, touched) {
            // Read again with the next advance. What is applied is a place in every partition; the client knows none where nothing has come.
            drop(record);
            reader.assign(&next.applied)?;
            return Err(Fault::new(FaultKind::Retry, e));
        }
        if left == 0 {
            break;
        }
        match reader.poll(Duration::ZERO)? {
            Some(another) => record = another,
            None => break,
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// None: another lane has it.
fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
