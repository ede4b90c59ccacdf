//! What a workflow that is `on: silence` listens for. Owns what is listened for under one name, and how long it may be quiet. Pure.
//! Must not know: where it is listened, YAML.
use crate::index::Predicate;
use atio_schemas::{
    Detection, Timestamp,
    column::{COLUMNS, Cell, Column},
};
use atio_stix::{ids, pattern::Pattern};
use atio_topics::units::Span;
use std::fmt;

/// Columns that may be the key.
pub const KEYS: &[&str] = &["asset", "channel", "host", "product", "provider", "sensor", "source", "tenant"];
/// A key's value is cut to so many bytes.
const KEY_MAX: usize = 256;
/// What is heard is noted again after so much of the time, and not each time.
const PART: i64 = 8;

#[derive(Clone, Debug)]
pub struct Silence {
    after: Span,
    key: Option<&'static Column>,
    mark: String,
}

impl Silence {
    /// `heard`: the conditions of `match`, and its pattern.
    #[must_use]
    pub fn new(
        after: Span,
        key: Option<&'static Column>,
        (heard, pattern): (&[Predicate], Option<&Pattern>),
    ) -> Self {
        let name = key.map_or("", |column| column.name);
        // By their names: the place of a column is another one in the next program.
        let named = |p: &Predicate| (COLUMNS.get(p.column).map_or("", |column| column.name), p.test.clone());
        let heard: Vec<_> = heard.iter().map(named).collect();
        let heard = format!("{heard:?}");
        let parts: Vec<&str> =
            ["silence", name, &heard].into_iter().chain(pattern.map(Pattern::as_str)).collect();
        let mark = ids::joined(&parts).to_string();
        Self { after, key, mark }
    }

    /// The same in each version as long as it listens for the same.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.mark
    }

    #[must_use]
    pub const fn column(&self) -> Option<&'static Column> {
        self.key
    }

    /// Whose silence it would be; empty where there is no key, none where the event does not know it.
    #[must_use]
    pub fn key(&self, detection: &Detection) -> Option<String> {
        let Some(column) = self.key else { return Some(String::new()) };
        match (column.get)(detection) {
            Cell::Text(text) => Some(text.chars().scan(0, within).collect()),
            _ => None,
        }
    }

    /// From when on it is noted again.
    #[must_use]
    pub fn again(&self, noted: Timestamp) -> Timestamp {
        noted.plus_millis(self.after.millis() / PART)
    }

    /// From when on it is a silence, where it was heard last then.
    #[must_use]
    pub fn since(&self, last: Timestamp) -> Timestamp {
        last.plus_millis(self.after.millis())
    }

    /// When it has been quiet for long enough, whatever came since it was noted.
    #[must_use]
    pub fn over(&self, noted: Timestamp) -> Timestamp {
        self.again(noted).plus_millis(self.after.millis())
    }
}

/// Whole characters, up to so many bytes.
fn within(bytes: &mut usize, c: char) -> Option<char> {
    *bytes += c.len_utf8();
    (*bytes <= KEY_MAX).then_some(c)
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.after)
    }
}
