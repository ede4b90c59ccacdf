//! What stages noted of the tables that they saw (`epochs`), and what a replay makes of it. Owns which rows of a table are shown, and how that is told.
//! Must not know: what a row is, who looks into it.
use crate::{commands::look::Look, render, system::wanted::unreachable};
use atio_runtime::clock;
use atio_schemas::{Timestamp, state::Epoch};
use atio_workflow::tables::Seen;
use std::{collections::BTreeMap, sync::Arc};

/// What a broker keeps where a topic says nothing else: no time at all.
const LAG: &str = "min.compaction.lag.ms";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// As each event saw them, as far as that is known
    #[default]
    Then,
    /// As they are now
    Now,
}

/// How a table was seen: a run is one event in one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Told {
    pub table: String,
    /// Exactly as the stage saw it then.
    pub noted: u64,
    /// As it was when the event came; for the reason in `why`.
    pub by_time: u64,
    /// As it is now; for the reason in `why`.
    pub now: u64,
    pub why: BTreeMap<&'static str, u64>,
}

impl Told {
    #[must_use]
    pub fn of(table: &str) -> Self {
        Self { table: table.to_owned(), ..Self::default() }
    }

    /// Counts what is shown: what is wanted, or the rows of now where that may not be whole.
    pub fn choose(&mut self, (wanted, why): (Seen, Why), is_whole: bool) -> Seen {
        let (seen, why) = if is_whole { (wanted, why) } else { (Seen::Now, Some("compacted")) };
        match seen {
            Seen::Now => self.now += 1,
            Seen::By(_) => self.by_time += 1,
            Seen::UpTo(_) => self.noted += 1,
        }
        why.into_iter().for_each(|why| *self.why.entry(why).or_default() += 1);
        seen
    }

    /// In all.
    #[must_use]
    pub const fn runs(&self) -> u64 {
        self.noted + self.by_time + self.now
    }

    /// For people.
    pub fn sentence(&self) -> String {
        let why: Vec<String> = self.why.iter().map(|(why, n)| format!("{n} {why}")).collect();
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
        format!(
            "table {}: {} runs with its rows as they were noted then, {} as they were by time, {} as they are now{why}",
            self.table, self.noted, self.by_time, self.now
        )
    }
}

/// Why it is not what was noted.
pub type Why = Option<&'static str>;
/// By table, where its partitions were.
type Offsets = BTreeMap<String, Seen>;
/// From which offset of a partition on which tables were seen how.
pub type Noted = BTreeMap<i64, Offsets>;

/// By stage, topic and partition.
pub struct Epochs(BTreeMap<(String, String, i32), Noted>);

impl Epochs {
    /// What these stages noted.
    pub fn read(look: &Look, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Self> {
        let (mut all, mut broken): (BTreeMap<_, Noted>, u64) = (BTreeMap::new(), 0);
        look.scan(&format!("{}epochs", look.config.prefix), |entry| {
            let key = String::from_utf8_lossy(entry.key.as_deref().unwrap_or_default()).into_owned();
            if !key.split_once('/').is_some_and(|(stage, _)| wanted(stage)) {
                return;
            }
            match look.decoder.decode::<Epoch>(&entry.value.unwrap_or_default()) {
                // The same offset again: nothing was processed in between.
                Ok(epoch) => {
                    let offsets = offsets(&epoch);
                    let of = all.entry((epoch.stage, epoch.topic, epoch.partition)).or_default();
                    of.insert(epoch.first_offset, offsets);
                }
                Err(_) => broken += 1,
            }
        })?;
        if broken > 0 {
            render::notice(&format!("{broken} records of epochs can't be read; they are left out"));
        }
        Ok(Self(all))
    }

    #[must_use]
    pub fn of(&self, stage: &str, topic: &str, partition: i32) -> Option<&Noted> {
        self.0.get(&(stage.to_owned(), topic.to_owned(), partition))
    }
}

/// How much of a table is to be shown to what lay at this offset, or lay nowhere (`absent` says why), and came at this time.
pub fn wanted(
    which: Which,
    noted: Option<&Noted>,
    table: &str,
    (place, absent): (Option<i64>, &'static str),
    at: Timestamp,
) -> (Seen, Why) {
    if which == Which::Now {
        return (Seen::Now, Some("asked"));
    }
    let Some(offset) = place else { return (Seen::By(at), Some(absent)) };
    let last = noted.and_then(|noted| noted.range(..=offset).next_back());
    match last.and_then(|(_, offsets)| offsets.get(table)) {
        Some(seen) => (seen.clone(), None),
        None => (Seen::By(at), Some("not_noted")),
    }
}

fn offsets(epoch: &Epoch) -> Offsets {
    let mut all: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for at in &epoch.tables {
        all.entry(at.table.clone()).or_default().insert(at.partition, at.offset);
    }
    all.into_iter().map(|(table, offsets)| (table, Seen::UpTo(Arc::new(offsets)))).collect()
}

/// Records of a topic from before this time may be compacted.
pub fn foldable(look: &Look, topic: &str) -> anyhow::Result<Timestamp> {
    let topic: Arc<str> = Arc::from(topic);
    let admin = look.admin()?;
    let settings = admin.numbers(std::slice::from_ref(&topic), LAG);
    admin.retire();
    let lag = settings.map_err(unreachable)?.remove(&topic).unwrap_or(0);
    Ok(clock::now().plus_millis(lag.saturating_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_schemas::state::TableOffset;

    fn noted() -> Noted {
        let at = |table: &str, partition, offset| TableOffset { table: table.into(), partition, offset };
        let epoch = Epoch {
            stage: "routing.w.b".into(),
            topic: "atio.workflow.w".into(),
            partition: 0,
            first_offset: 7,
            tables: vec![at("reference.a", 0, 3), at("reference.a", 1, 0), at("workflows", 0, 9)],
            at: Timestamp(0),
        };
        [(epoch.first_offset, offsets(&epoch))].into()
    }

    #[test]
    fn what_was_noted_is_shown_from_there_on() {
        let noted = noted();
        let of = |table: &str, place| wanted(Which::Then, Some(&noted), table, (place, "new"), Timestamp(5));
        let up_to = Seen::UpTo(Arc::new([(0, 3), (1, 0)].into()));
        assert_eq!(of("reference.a", Some(7)), (up_to.clone(), None));
        assert_eq!(of("reference.a", Some(1000)), (up_to, None));
        let by_time = Seen::By(Timestamp(5));
        assert_eq!(of("reference.a", Some(6)), (by_time.clone(), Some("not_noted")), "before");
        assert_eq!(of("reference.b", Some(7)), (by_time.clone(), Some("not_noted")));
        assert_eq!(of("reference.a", None), (by_time, Some("new")));
        let now = wanted(Which::Now, Some(&noted), "reference.a", (Some(7), ""), Timestamp(5));
        assert_eq!(now, (Seen::Now, Some("asked")));
    }

    #[test]
    fn why_is_told() {
        let mut told = Told::of("owners");
        assert_eq!(told.choose((Seen::By(Timestamp(1)), Some("new")), true), Seen::By(Timestamp(1)));
        assert_eq!(told.choose((Seen::By(Timestamp(1)), Some("new")), false), Seen::Now);
        assert_eq!(
            told.sentence(),
            "table owners: 0 runs with its rows as they were noted then, 1 as they were by time, 1 as they are now (1 compacted, 1 new)"
        );
    }
}
