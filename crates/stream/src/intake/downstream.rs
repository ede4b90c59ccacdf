//! What waits downstream of a lane: asked of the broker several times a second while the lane is busy, and not at all otherwise. Owns the thread
//! that asks, and who counts; must not know what follows from it.
use super::Look;
use crate::{
    admin::{AdminError, Committed},
    client::survey::{Asker, Connection, Offsets},
    config::Kafka,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{JoinHandle, Thread},
    time::{Duration, Instant},
};

/// Between two looks, where the lane does not want one sooner.
const APART: Duration = Duration::from_millis(100);
/// Who is not asked looks so often whether he is to end.
const NOTICE: Duration = Duration::from_millis(200);
/// Clients are kept so long after the last question.
const CALM: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(500);
const QUESTION: Duration = Duration::from_secs(2);
/// Groups come and go: looked for so often.
const GROUPS_EVERY: Duration = Duration::from_secs(5);
/// Branches at most; each costs a client while it is looked.
const BRANCHES_MAX: usize = 16;
/// A branch that is behind is judged by these last seconds; one that does less a second is slow by itself, or paused: nobody waits for it.
const BRANCH: Judge = Judge { seconds: 10.0, least: 20.0 };
/// A group of the way that does nothing at all stands still. It may be about to come back, and what was let through meanwhile would be before
/// everything else then.
const GROUP: Judge = Judge { seconds: 30.0, least: 1.0 };
/// The pace is the mean of about so many seconds; a higher one before is forgotten in about so many.
const SMOOTH: f64 = 1.0;
const FORGET: f64 = 3.0;
/// Before it has been seen for so long it is not known.
const SEEN_MIN: f64 = 0.5;

/// A group that reads a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub group: String,
    pub topic: String,
    /// The lane itself writes that topic.
    pub first: bool,
}

/// Groups `<group><workflow>.<branch>`, each on the topic `<topic><workflow>`, side by side: what waits is that of the one furthest behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branches {
    pub group: String,
    pub topic: String,
}

/// Whom to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub hops: Vec<Hop>,
    pub branches: Branches,
}

#[derive(Default)]
struct Shared {
    wanted: AtomicBool,
    committed: AtomicU64,
    look: Mutex<Option<Look>>,
    thread: OnceLock<Thread>,
}

/// Of one lane. Clones are one.
#[derive(Clone, Default)]
pub struct Downstream(Arc<Shared>);

impl Downstream {
    /// Starts the thread that looks; it ends soon after `stop` says so.
    ///
    /// # Errors
    /// The thread can't be made.
    pub fn start(
        kafka: &Kafka,
        client_id: &str,
        watched: Watched,
        stop: impl Fn() -> bool + Send + 'static,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let downstream = Self::default();
        let inside = downstream.clone();
        let (kafka, client_id) = (kafka.clone(), client_id.to_owned());
        let run = move || {
            let mut looking = None;
            let (mut wanted, mut told) = (Instant::now(), false);
            while !stop() {
                if inside.0.wanted.swap(false, SeqCst) {
                    wanted = Instant::now();
                    let committed = inside.0.committed.load(SeqCst);
                    match look(&mut looking, (&kafka, &client_id), &watched) {
                        Ok(look) => {
                            let look = Look { committed, ..look };
                            *inside.0.look.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
                            told = false;
                        }
                        // Clients are kept: making them takes longest where answers are slow.
                        Err(error) => {
                            if !std::mem::replace(&mut told, true) {
                                tracing::warn!(error_code = error.code(), %error, "what waits downstream is not known: if it stays so, nobody is held back");
                            }
                            std::thread::park_timeout(AGAIN);
                        }
                    }
                } else if wanted.elapsed() >= CALM {
                    looking = None;
                }
                std::thread::park_timeout(if looking.is_some() { APART } else { NOTICE });
            }
        };
        let thread = std::thread::Builder::new().name("downstream".to_owned()).spawn(run)?;
        // Set once, here.
        drop(downstream.0.thread.set(thread.thread().clone()));
        Ok((downstream, thread))
    }

    /// The lane is busy: it wants to know.
    pub(crate) fn want(&self, committed: u64) {
        self.0.committed.store(committed, SeqCst);
        if !self.0.wanted.swap(true, SeqCst)
            && let Some(thread) = self.0.thread.get()
        {
            thread.unpark();
        }
    }

    /// The newest, once.
    pub(crate) fn look(&self) -> Option<Look> {
        self.0.look.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// With the clients of the last time, where there are some.
fn look<'w>(
    looking: &mut Option<Looking<'w>>,
    (kafka, client_id): (&Kafka, &str),
    watched: &'w Watched,
) -> Result<Look, AdminError> {
    match looking {
        Some(known) => known.look(),
        None => looking.insert(Looking::open(kafka, client_id, watched)?).look(),
    }
}

struct Group {
    hop: Hop,
    branch: bool,
    asker: Asker,
    progress: Progress,
    /// As it answered last.
    committed: Vec<Committed>,
}

struct Looking<'a> {
    connection: Connection,
    watched: &'a Watched,
    groups: Vec<Group>,
    topics: BTreeMap<String, i32>,
    listed: Option<Instant>,
    began: Instant,
    pace: Pace,
}

impl<'a> Looking<'a> {
    fn open(kafka: &Kafka, client_id: &str, watched: &'a Watched) -> Result<Self, AdminError> {
        let connection = Connection::open(kafka, client_id)?;
        let began = Instant::now();
        let (groups, topics) = (vec![], BTreeMap::new());
        Ok(Self { connection, watched, groups, topics, listed: None, began, pace: Pace::default() })
    }

    /// But for what the lane has committed.
    fn look(&mut self) -> Result<Look, AdminError> {
        if self.listed.is_none_or(|at| at.elapsed() >= GROUPS_EVERY) {
            self.list()?;
            self.listed = Some(Instant::now());
        }
        for group in &mut self.groups {
            let topic = self.topics.get_key_value(&group.hop.topic);
            let topic = topic.map(|(name, n)| (name.clone(), *n)).into_iter().collect();
            // One that does not answer now is where it was; before long it counts as one that stands still.
            match group.asker.committed(&topic, QUESTION) {
                Ok(committed) => group.committed = committed,
                Err(error) => tracing::debug!(error_code = error.code(), %error, "where a group is"),
            }
        }
        let ends = self.connection.ends(&self.topics, false, QUESTION)?;
        let now = self.began.elapsed().as_secs_f64();
        let (mut waiting, mut largest, mut branches) = (0, 0, 0);
        let mut counted = vec![];
        for group in &mut self.groups {
            let (done, lag) = standing(&group.committed, &ends);
            if !group.progress.counts(now, done, lag) {
                continue;
            }
            counted.push(group.hop.group.clone());
            largest = lag.max(largest);
            if group.branch {
                branches = lag.max(branches);
            } else {
                waiting += lag;
            }
        }
        waiting += branches;
        let first: BTreeSet<&str> =
            self.watched.hops.iter().filter(|h| h.first).map(|h| h.topic.as_str()).collect();
        let written: i64 =
            ends.iter().filter(|((topic, _), _)| first.contains(topic.as_str())).map(|(_, end)| *end).sum();
        let pace = self.pace.seen(now, written - i64::try_from(waiting).unwrap_or(i64::MAX), counted);
        Ok(Look { waiting, largest, pace, committed: 0 })
    }

    /// Topics and groups that are there now; those that are known keep their clients.
    fn list(&mut self) -> Result<(), AdminError> {
        let mut wanted: Vec<(Hop, bool)> = self.watched.hops.iter().map(|h| (h.clone(), false)).collect();
        let mut branches: Vec<Hop> =
            self.connection.groups(QUESTION)?.iter().filter_map(|g| self.watched.branches.hop(g)).collect();
        branches.sort_by(|a, b| a.group.cmp(&b.group));
        wanted.extend(branches.into_iter().take(BRANCHES_MAX).map(|hop| (hop, true)));
        self.topics = self.connection.topics(QUESTION)?;
        self.topics.retain(|name, _| wanted.iter().any(|(hop, _)| hop.topic == *name));
        wanted.retain(|(hop, _)| self.topics.contains_key(&hop.topic));
        self.groups.retain(|g| wanted.iter().any(|(hop, _)| *hop == g.hop));
        for (hop, branch) in wanted {
            if !self.groups.iter().any(|g| g.hop == hop) {
                let asker = self.connection.asker(&hop.group)?;
                let progress = Progress::new(if branch { BRANCH } else { GROUP });
                self.groups.push(Group { hop, branch, asker, progress, committed: vec![] });
            }
        }
        Ok(())
    }
}

impl Branches {
    fn hop(&self, group: &str) -> Option<Hop> {
        let (workflow, _) = group.strip_prefix(&self.group)?.split_once('.')?;
        Some(Hop { group: group.to_owned(), topic: format!("{}{workflow}", self.topic), first: false })
    }
}

/// How far a group is, none where it has not begun, and how many records are before it.
fn standing(committed: &[Committed], ends: &Offsets) -> (Option<i64>, u64) {
    let (mut done, mut lag) = (None, 0);
    for c in committed {
        let Some(at) = c.offset else { continue };
        done = Some(done.unwrap_or(0) + at);
        let end = ends.get(&(c.topic.clone(), c.partition)).copied().unwrap_or(at);
        lag += u64::try_from(end - at).unwrap_or(0);
    }
    (done, lag)
}

/// By what a group that is behind is judged.
#[derive(Clone, Copy, Debug)]
struct Judge {
    seconds: f64,
    /// Records a second.
    least: f64,
}

/// Whether a group is waited for: not one that has never begun, stands still, is paused, or is slow by itself.
#[derive(Debug)]
struct Progress {
    by: Judge,
    /// Since when it is judged, and how far it was.
    mark: Option<(f64, i64)>,
    slow: bool,
}

impl Progress {
    const fn new(by: Judge) -> Self {
        Self { by, mark: None, slow: false }
    }

    fn counts(&mut self, now: f64, done: Option<i64>, lag: u64) -> bool {
        let Some(done) = done else { return false };
        let (since, before) = *self.mark.get_or_insert((now, done));
        if lag == 0 {
            (self.mark, self.slow) = (Some((now, done)), false);
        } else if now - since >= self.by.seconds {
            self.slow = ((done - before) as f64) < self.by.least * (now - since);
            self.mark = Some((now, done));
        }
        !self.slow
    }
}

/// Records a second that get through: the mean of about the last second, and slowly forgotten where fewer come. 0: not known yet.
#[derive(Debug, Default)]
struct Pace {
    /// When, how many so far, and of whom.
    last: Option<(f64, i64, Vec<String>)>,
    seen: f64,
    mean: f64,
    pace: f64,
}

impl Pace {
    fn seen(&mut self, now: f64, through: i64, counted: Vec<String>) -> f64 {
        if let Some((at, before, who)) = &self.last
            && *who == counted
            && now > *at
        {
            let seconds = now - at;
            let rate = (through - before) as f64 / seconds;
            self.seen += seconds;
            self.mean += (rate - self.mean) * (1.0 - (-seconds / SMOOTH).exp());
            // It began at nothing, which is in the mean as long as little was seen.
            let mean = self.mean / (1.0 - (-self.seen / SMOOTH).exp());
            if self.seen >= SEEN_MIN {
                self.pace = mean.max(self.pace * (-seconds / FORGET).exp());
            }
        }
        self.last = Some((now, through, counted));
        self.pace
    }
}

#[cfg(test)]
#[path = "downstream_tests.rs"]
mod tests;
