//! The ledger of a partition: how every record that came in has ended, cumulative. It rides in the offset-commit metadata, so that it commits
//! with the batch and survives a crash (exactly-once, rule 14). Owns the counts and their text layout; must not know Kafka.
use atio_schemas::Code;
use std::{collections::BTreeMap, fmt::Write as _};

/// Kafka's limit, in UTF-16 units; the text is ASCII.
pub const METADATA_MAX: usize = 4096;
/// So many different reasons are told apart, dropped and dead-lettered together; then `other`.
pub const REASONS_MAX: usize = 32;
/// The longest note that rides along.
pub const NOTE_MAX: usize = atio_stage::tx::NOTE_MAX;
const LAYOUT: &str = "1";

/// How records ended. In = emitted + dropped + dead-lettered + held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub read: u64,
    pub emitted: u64,
    /// Held now: a settled hold leaves here and arrives in one of the others.
    pub held: i64,
    /// Bad parts of records that were otherwise good; not part of the balance.
    pub parts: u64,
    pub dropped: BTreeMap<Code, u64>,
    pub dead_lettered: BTreeMap<Code, u64>,
}

impl Counts {
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }
    #[must_use]
    pub fn dead_lettered_total(&self) -> u64 {
        self.dead_lettered.values().sum()
    }
    #[must_use]
    pub fn balanced(&self) -> bool {
        let ended = self.emitted + self.dropped_total() + self.dead_lettered_total();
        i64::try_from(self.read).ok() == i64::try_from(ended).ok().map(|n| n + self.held)
    }
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.emitted += other.emitted;
        self.held += other.held;
        self.parts += other.parts;
        for (code, n) in &other.dropped {
            self.count_dropped(*code, *n);
        }
        for (code, n) in &other.dead_lettered {
            self.count_dead_lettered(*code, *n);
        }
    }
    pub fn count_dropped(&mut self, code: Code, n: u64) {
        let code = self.bounded(code, self.dropped.contains_key(&code));
        *self.dropped.entry(code).or_default() += n;
    }
    pub fn count_dead_lettered(&mut self, code: Code, n: u64) {
        let code = self.bounded(code, self.dead_lettered.contains_key(&code));
        *self.dead_lettered.entry(code).or_default() += n;
    }
    /// Two places are kept for `other`, one on each side.
    fn bounded(&self, code: Code, known: bool) -> Code {
        let full = self.dropped.len() + self.dead_lettered.len() >= REASONS_MAX - 2;
        if full && !known { Code::Other } else { code }
    }
}

/// A partition's ledger since its epoch began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// When the counting began (milliseconds since the Unix epoch): lost metadata starts a new one.
    pub epoch: i64,
    /// Transactions that moved this partition.
    pub commits: u64,
    pub counts: Counts,
    /// Opaque to the stream layer: the audit chain's head, for whoever keeps one.
    pub note: Option<String>,
}

impl Ledger {
    #[must_use]
    pub fn new(epoch: i64) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// The metadata text: ASCII, at most [`METADATA_MAX`]; none where it does not fit (a note that is too long).
    #[must_use]
    pub fn to_metadata(&self) -> Option<String> {
        let c = &self.counts;
        let mut text = format!(
            "{LAYOUT};e={};c={};r={};m={};h={};p={}",
            self.epoch, self.commits, c.read, c.emitted, c.held, c.parts
        );
        write_reasons(&mut text, "d", &c.dropped);
        write_reasons(&mut text, "x", &c.dead_lettered);
        if let Some(note) = &self.note {
            text.push_str(";n=");
            text.push_str(note);
        }
        (text.len() <= METADATA_MAX && text.bytes().all(|b| (0x20..0x7f).contains(&b))).then_some(text)
    }

    /// None where the text is not one of ours.
    #[must_use]
    pub fn from_metadata(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(LAYOUT)?.strip_prefix(';')?;
        // The note comes last and may hold anything, so it is cut off first.
        let (fields, note) = match rest.split_once(";n=") {
            Some((fields, note)) => (fields, Some(note.to_owned())),
            None => (rest, None),
        };
        let mut ledger = Self { note, ..Self::default() };
        for field in fields.split(';') {
            let (name, value) = field.split_once('=')?;
            match name {
                "e" => ledger.epoch = value.parse().ok()?,
                "c" => ledger.commits = value.parse().ok()?,
                "r" => ledger.counts.read = value.parse().ok()?,
                "m" => ledger.counts.emitted = value.parse().ok()?,
                "h" => ledger.counts.held = value.parse().ok()?,
                "p" => ledger.counts.parts = value.parse().ok()?,
                "d" => ledger.counts.dropped = read_reasons(value)?,
                "x" => ledger.counts.dead_lettered = read_reasons(value)?,
                _ => return None,
            }
        }
        Some(ledger)
    }
}

fn write_reasons(text: &mut String, name: &str, reasons: &BTreeMap<Code, u64>) {
    for (index, (code, n)) in reasons.iter().enumerate() {
        let lead = if index == 0 { format!(";{name}=") } else { ",".to_owned() };
        // Writing to a String can't fail.
        write!(text, "{lead}{code}:{n}").unwrap_or_default();
    }
}

fn read_reasons(text: &str) -> Option<BTreeMap<Code, u64>> {
    let mut reasons = BTreeMap::new();
    for pair in text.split(',') {
        let (code, n) = pair.split_once(':')?;
        // A reason that a newer version knows and this one does not.
        *reasons.entry(Code::parse(code).unwrap_or(Code::Other)).or_default() += n.parse::<u64>().ok()?;
    }
    Some(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts() -> impl Strategy<Value = Counts> {
        let reasons =
            || proptest::collection::vec((0..Code::ALL.len(), any::<u64>().prop_map(|n| n >> 8)), 0..60);
        (any::<u32>(), any::<u32>(), any::<u16>(), any::<u32>(), reasons(), reasons()).prop_map(
            |(read, emitted, held, parts, d, x)| {
                let mut counts = Counts {
                    read: read.into(),
                    emitted: emitted.into(),
                    held: held.into(),
                    parts: parts.into(),
                    ..Counts::default()
                };
                d.into_iter().for_each(|(i, n)| counts.count_dropped(Code::ALL[i], n));
                x.into_iter().for_each(|(i, n)| counts.count_dead_lettered(Code::ALL[i], n));
                counts
            },
        )
    }

    proptest! {
        #[test]
        fn text_and_back(counts in counts(), epoch in any::<i64>(), commits in any::<u64>(), note in proptest::option::of("[ -~]{0,1024}")) {
            let ledger = Ledger { epoch, commits, counts, note };
            let text = ledger.to_metadata().expect("fits");
            prop_assert!(text.len() <= METADATA_MAX && text.is_ascii());
            prop_assert_eq!(Ledger::from_metadata(&text), Some(ledger));
        }
        #[test]
        fn reasons_are_bounded(counts in counts()) {
            prop_assert!(counts.dropped.len() + counts.dead_lettered.len() <= REASONS_MAX);
        }
        #[test]
        fn foreign_text_never_panics(text in ".{0,200}") {
            let _read = Ledger::from_metadata(&text);
        }
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        for text in ["", "x", "2;e=1", "1;e=a", "1;z=1", "1;d=", "1;d=duplicate", "1;e"] {
            assert_eq!(Ledger::from_metadata(text), None, "{text}");
        }
    }

    #[test]
    fn a_note_that_does_not_fit_is_refused() {
        let ledger = Ledger { note: Some("x".repeat(METADATA_MAX)), ..Ledger::default() };
        assert_eq!(ledger.to_metadata(), None);
        let ledger = Ledger { note: Some("é".into()), ..Ledger::default() };
        assert_eq!(ledger.to_metadata(), None);
    }

    #[test]
    fn balance() {
        let mut c = Counts { read: 4, emitted: 1, held: 1, ..Counts::default() };
        c.count_dropped(Code::Duplicate, 1);
        assert!(!c.balanced());
        c.count_dead_lettered(Code::InvalidJson, 1);
        assert!(c.balanced());
    }
}
