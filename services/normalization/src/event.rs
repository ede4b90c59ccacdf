//! Which id an event gets (docs/normalization.md): by its place on a topic, in a file, or by the id that its sender gave.
use atio_stix::ids;
use std::collections::HashMap;

/// Where the events of one payload come from. The same input gives the same ids for ever.
#[derive(Clone, Debug)]
pub enum Origin<'a> {
    Topic {
        topic: &'a str,
        partition: i32,
        offset: i64,
    },
    /// `offset`: of the payload within the file.
    File {
        sha256: &'a str,
        offset: u64,
    },
    /// `index`: of the record within its request.
    Cloud {
        ce_source: &'a str,
        ce_id: &'a str,
        index: u32,
    },
}

/// Hands out the ids of one payload's events, in order.
#[derive(Clone, Debug)]
pub struct EventIds<'a> {
    tenant: &'a str,
    source: &'a str,
    origin: Origin<'a>,
    /// The payload was a part of a larger one, and is read again by itself: where it stood. Its events have ids of their own.
    part: Option<u64>,
    next: u32,
    /// Files: how many events lay at an offset; they are told apart by an index.
    at: HashMap<u64, u32>,
}

impl<'a> EventIds<'a> {
    #[must_use]
    pub fn new(tenant: &'a str, source: &'a str, origin: Origin<'a>) -> Self {
        Self { tenant, source, origin, part: None, next: 0, at: HashMap::new() }
    }

    /// The payload is a part of the record that the origin tells, from this byte on. In a file the origin's offset says so already.
    #[must_use]
    pub fn of_part(self, part: Option<u64>) -> Self {
        Self { part, ..self }
    }

    /// The id of the next event, which lies at `offset` of the payload.
    pub fn next(&mut self, offset: u64) -> String {
        let index = self.next;
        self.next += 1;
        let (tenant, source) = (self.tenant, self.source);
        let id = match self.origin {
            // No topic's name has a `#`.
            Origin::Topic { topic, partition, offset } if let Some(part) = self.part => {
                ids::event_id(tenant, source, &format!("{topic}#{part}"), partition, offset, index)
            }
            Origin::Cloud { ce_source, ce_id, index: record } if let Some(part) = self.part => {
                ids::cloud_event_id(tenant, source, ce_source, &format!("{ce_id}/{record}#{part}"), index)
            }
            Origin::Topic { topic, partition, offset } => {
                ids::event_id(tenant, source, topic, partition, offset, index)
            }
            Origin::File { sha256, offset: start } => {
                let place = start.saturating_add(offset);
                let here = self.at.entry(place).and_modify(|index| *index += 1).or_default();
                ids::file_event_id(tenant, source, sha256, place, *here)
            }
            Origin::Cloud { ce_source, ce_id, index: record } if index == 0 => {
                ids::cloud_event_id(tenant, source, ce_source, ce_id, record)
            }
            Origin::Cloud { ce_source, ce_id, index: record } => {
                ids::cloud_event_id(tenant, source, ce_source, &format!("{ce_id}/{record}"), index)
            }
        };
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_has_the_plain_seed() {
        let mut topic = EventIds::new("t", "s", Origin::Topic { topic: "r", partition: 1, offset: 7 });
        assert_eq!(topic.next(99), ids::event_id("t", "s", "r", 1, 7, 0).to_string());
        assert_eq!(topic.next(0), ids::event_id("t", "s", "r", 1, 7, 1).to_string());
        let mut cloud = EventIds::new("t", "s", Origin::Cloud { ce_source: "a", ce_id: "b", index: 3 });
        assert_eq!(cloud.next(0), ids::cloud_event_id("t", "s", "a", "b", 3).to_string());
    }

    #[test]
    fn a_file_counts_within_one_offset() {
        let mut file = EventIds::new("t", "s", Origin::File { sha256: "f", offset: 100 });
        let expected = [(110, 0), (110, 1), (120, 0), (110, 2)];
        let expected = expected.map(|(o, i)| ids::file_event_id("t", "s", "f", o, i).to_string());
        assert_eq!([file.next(10), file.next(10), file.next(20), file.next(10)], expected);
    }
}
