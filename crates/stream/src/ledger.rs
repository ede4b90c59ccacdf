//! The ledger of a partition: how every record that came in has ended, cumulative. It rides in the offset-commit metadata, so that it commits
//! with the batch and survives a crash (exactly-once, rule 14). What the changelogs must hold rides along. Owns the counts and their text
//! layout; must not know Kafka.
use atio_schemas::Code;
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

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
        self.imbalance() == 0
    }
    /// Records in less those that ended and those that are held: 0 where none is missing and none counted twice.
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let ended = self.emitted + self.dropped_total() + self.dead_lettered_total();
        number(self.read).saturating_sub(number(ended)).saturating_sub(self.held)
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

/// What there is of a changelog's partition: from its first offset to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub low: i64,
    /// Of the log, or where a transaction begins: at least so far it goes.
    pub end: i64,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.end)
    }
}

/// Spans by store.
pub type Spans = BTreeMap<String, Span>;

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
    /// The changelogs of this partition number, so that one that was cut is noticed. Empty: nothing is known of them.
    pub stores: Spans,
}

impl Ledger {
    #[must_use]
    pub fn new(epoch: i64) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// The metadata text: ASCII, at most [`METADATA_MAX`]; none where it does not fit (a note that is too long). Spans are left out before that.
    #[must_use]
    pub fn to_metadata(&self) -> Option<String> {
        let c = &self.counts;
        let mut text = format!(
            "{LAYOUT};e={};c={};r={};m={};h={};p={}",
            self.epoch, self.commits, c.read, c.emitted, c.held, c.parts
        );
        write_reasons(&mut text, "d", &c.dropped);
        write_reasons(&mut text, "x", &c.dead_lettered);
        let note = self.note.as_ref().map_or_else(String::new, |note| format!(";n={note}"));
        let spans = write_spans(&self.stores);
        if text.len() + spans.len() + note.len() <= METADATA_MAX {
            text.push_str(&spans);
        }
        text.push_str(&note);
        (text.len() <= METADATA_MAX && text.bytes().all(|b| (0x20..0x7f).contains(&b))).then_some(text)
    }

    /// None where the text is not one of ours. Fields in capitals are hints: one that this version does not know is passed over.
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
                "S" => ledger.stores = read_spans(value)?,
                hint if hint.bytes().all(|b| b.is_ascii_uppercase()) && !hint.is_empty() => {}
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

fn write_spans(spans: &Spans) -> String {
    let mut text = String::new();
    for (index, (store, span)) in spans.iter().enumerate() {
        let lead = if index == 0 { ";S=" } else { "," };
        // Writing to a String can't fail.
        write!(text, "{lead}{store}:{span}").unwrap_or_default();
    }
    text
}

fn read_spans(text: &str) -> Option<Spans> {
    let each = text.split(',').map(|one| {
        let (store, span) = one.split_once(':')?;
        let (low, end) = span.split_once('-')?;
        Some((store.to_owned(), Span { low: low.parse().ok()?, end: end.parse().ok()? }))
    });
    each.collect()
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
        fn text_and_back(
            counts in counts(),
            epoch in any::<i64>(),
            commits in any::<u64>(),
            note in proptest::option::of("[ -~]{0,1024}"),
            stores in proptest::collection::btree_map("[a-z0-9-]{1,24}", (0..i64::MAX, 0..i64::MAX), 0..10),
        ) {
            let stores = stores.into_iter().map(|(name, (low, end))| (name, Span { low, end })).collect();
            let ledger = Ledger { epoch, commits, counts, note, stores };
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
        for text in [
            "",
            "x",
            "2;e=1",
            "1;e=a",
            "1;z=1",
            "1;=1",
            "1;d=",
            "1;d=duplicate",
            "1;e",
            "1;S=seen:3",
            "1;S=seen:a-3",
        ] {
            assert_eq!(Ledger::from_metadata(text), None, "{text}");
        }
    }

    #[test]
    fn older_text_is_read_and_newer_hints_are_passed_over() {
        let older = Ledger::from_metadata("1;e=5;c=2;r=3;m=3;h=0;p=0;n=head;S=x").expect("ours");
        assert_eq!((older.commits, older.stores.len(), older.note.as_deref()), (2, 0, Some("head;S=x")));
        let newer =
            Ledger::from_metadata("1;e=5;c=2;S=seen:0-17,first-seen:4-9;T=what;n=head").expect("ours");
        assert_eq!(newer.stores["seen"], Span { low: 0, end: 17 });
        assert_eq!(newer.stores["first-seen"], Span { low: 4, end: 9 });
        assert_eq!((newer.commits, newer.note.as_deref()), (2, Some("head")));
    }

    #[test]
    fn spans_that_do_not_fit_are_left_out_and_the_rest_stays() {
        let stores = (0..100).map(|n| (format!("{n}{}", "x".repeat(60)), Span { low: 0, end: 1 })).collect();
        let ledger = Ledger { commits: 7, note: Some("head".into()), stores, ..Ledger::default() };
        let read = Ledger::from_metadata(&ledger.to_metadata().expect("fits")).expect("ours");
        assert_eq!(read, Ledger { stores: Spans::new(), ..ledger });
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
