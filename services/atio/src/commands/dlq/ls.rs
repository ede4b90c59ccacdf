//! `atio dlq ls`: dead letters counted by topic, stage and reason, and how many of them nobody has dealt with. Owns the table.
use super::{is_dlq, letter::Letter, marks::Marks};
use crate::{
    commands::look::Look,
    render::{self, Format},
};
use atio_schemas::{Timestamp, letter::LetterAction};
use atio_stream::read::Entry;
use serde::Serialize;
use std::collections::BTreeMap;

/// Dead letters that are alike.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    topic: String,
    stage: String,
    code: String,
    count: u64,
    /// Neither replayed nor dropped.
    open: u64,
    replayed: u64,
    dropped: u64,
    first: Timestamp,
    last: Timestamp,
}

#[derive(Default)]
struct Counted(BTreeMap<(String, String, String), Row>);

impl Counted {
    fn add(&mut self, entry: &Entry, done: Option<LetterAction>) {
        let letter = Letter(entry);
        let key = (entry.topic.to_string(), letter.stage().to_owned(), letter.code().to_owned());
        let at = entry.timestamp;
        let (topic, stage, code) = key.clone();
        let fresh =
            Row { topic, stage, code, count: 0, open: 0, replayed: 0, dropped: 0, first: at, last: at };
        let row = self.0.entry(key).or_insert(fresh);
        row.count += 1;
        *match done {
            None => &mut row.open,
            Some(LetterAction::Replayed) => &mut row.replayed,
            Some(LetterAction::Dropped) => &mut row.dropped,
        } += 1;
        (row.first, row.last) = (row.first.min(at), row.last.max(at));
    }
}

pub fn list(look: &Look, format: Format) -> anyhow::Result<()> {
    let mut counted = Counted::default();
    let marks = Marks::read(look)?;
    for topic in look.topics()?.keys().filter(|t| t.starts_with(&look.config.prefix) && is_dlq(t)) {
        look.scan(topic, |entry| {
            let done = marks.of(topic, Letter(&entry).at()).map(|mark| mark.action);
            counted.add(&entry, done);
        })?;
    }
    let rows: Vec<Row> = counted.0.into_values().collect();
    if format == Format::Json {
        return rows.iter().try_for_each(render::json);
    }
    if rows.is_empty() {
        render::notice("no dead letters");
        return Ok(());
    }
    let cells = |r: &Row| {
        let numbers = [r.count, r.open, r.replayed, r.dropped].map(|n| n.to_string());
        let mut cells = vec![r.topic.clone(), r.stage.clone(), r.code.clone()];
        cells.extend(numbers);
        cells.extend([r.first.rfc3339_millis(), r.last.rfc3339_millis()]);
        cells
    };
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let header = ["TOPIC", "STAGE", "CODE", "COUNT", "OPEN", "REPLAYED", "DROPPED", "FIRST", "LAST"];
    render::table(&header, &cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::dlq::letter::tests::entry;

    #[test]
    fn letters_are_counted_by_reason_and_by_what_was_done() {
        let mut counted = Counted::default();
        let at =
            |time: i64, code: &str| Entry { timestamp: Timestamp(time), ..entry(&[("code", code)], b"") };
        counted.add(&at(5, "empty"), Some(LetterAction::Replayed));
        counted.add(&at(3, "empty"), None);
        counted.add(&at(4, "empty"), Some(LetterAction::Dropped));
        counted.add(&at(4, "too_deep"), None);
        let rows: Vec<Row> = counted.0.into_values().collect();
        assert_eq!(rows.len(), 2);
        let row = &rows[0];
        assert_eq!((&*row.code, row.count, row.open, row.replayed, row.dropped), ("empty", 3, 1, 1, 1));
        assert_eq!((row.first.0, row.last.0, &*row.stage), (3, 5, "normalization"));
    }
}
