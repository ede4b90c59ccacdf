//! Judges the audit log as a whole: order, links, keys, and where each chain must end. Pure. Must not know where entries are read from.
use atio_schemas::audit::{self, AuditEntry, ChainHead};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is wrong at one place of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The chain's name; the record's key where it names none.
    pub chain: String,
    pub sequence: Option<i64>,
    /// Offset on the topic, or line of a file from 1; none for what is missing.
    pub at: Option<i64>,
    /// Bounded: `null_value`, `unreadable`, `wrong_key`, `altered`, `rewritten`, `gap`, `unlinked`, `truncated`, `foreign`, `other_head`.
    pub what: &'static str,
    pub message: String,
}

/// Takes records in the order of the topic, then says what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Verify {
    heads: BTreeMap<String, ChainHead>,
    findings: Vec<Finding>,
    entries: u64,
}

impl Verify {
    /// The next record. `entry`: None = a null; Err = why it does not read.
    pub fn add(&mut self, at: i64, key: &str, entry: Result<Option<&AuditEntry>, String>) {
        let (chain, sequence) = split(key);
        let mut wrong = |chain: &str, sequence, what, message| {
            let finding = Finding { chain: chain.to_owned(), sequence, at: Some(at), what, message };
            self.findings.push(finding);
        };
        let entry = match entry {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                return wrong(chain, sequence, "null_value", format!("{key} was overwritten with nothing"));
            }
            Err(why) => return wrong(chain, sequence, "unreadable", format!("{key}: {why}")),
        };
        self.entries += 1;
        let number = entry.sequence;
        if key != format!("{}/{number}", entry.chain) {
            let text = format!("under the key {key} lies entry {number} of {}", entry.chain);
            return wrong(chain, sequence, "wrong_key", text);
        }
        if audit::hash(entry) != entry.hash {
            wrong(chain, sequence, "altered", format!("entry {number}: its hash is not that of its content"));
        }
        let head = self.heads.entry(entry.chain.clone()).or_default();
        if number <= head.sequence {
            // What stood there first is what the chain goes on from.
            return wrong(chain, sequence, "rewritten", format!("entry {number} was written again"));
        }
        if number > head.sequence + 1 {
            let (from, to) = (head.sequence + 1, number - 1);
            let text = if from == to {
                format!("entry {from} is missing")
            } else {
                format!("entries {from} to {to} are missing")
            };
            wrong(chain, Some(from), "gap", text);
        } else if entry.previous != head.hash {
            wrong(
                chain,
                sequence,
                "unlinked",
                format!("entry {number} does not name the hash of the entry before"),
            );
        }
        *head = ChainHead { sequence: number, hash: entry.hash.clone() };
    }

    /// Where the chains end, as they were read.
    #[must_use]
    pub const fn heads(&self) -> &BTreeMap<String, ChainHead> {
        &self.heads
    }
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Everything that is wrong. `before` and `after` are the heads that monitoring had noted before the reading began and after it ended:
    /// what was noted before must be there, what is above the later note was not written by monitoring. Empty = nothing is known.
    #[must_use]
    pub fn finish(
        mut self,
        before: &BTreeMap<String, ChainHead>,
        after: &BTreeMap<String, ChainHead>,
    ) -> Vec<Finding> {
        for (chain, noted) in before {
            let read = self.heads.get(chain).cloned().unwrap_or_default();
            if read.sequence < noted.sequence {
                let text =
                    format!("the chain ends at entry {}, monitoring noted {}", read.sequence, noted.sequence);
                self.findings.push(missing(chain, read.sequence + 1, "truncated", text));
            } else if read.sequence == noted.sequence && read.hash != noted.hash {
                self.findings.push(missing(
                    chain,
                    read.sequence,
                    "other_head",
                    "its hash is not the one that monitoring noted".into(),
                ));
            }
        }
        for (chain, noted) in after {
            let read = self.heads.get(chain).cloned().unwrap_or_default();
            if read.sequence > noted.sequence {
                let text = format!(
                    "entries {} to {} were not written by monitoring",
                    noted.sequence + 1,
                    read.sequence
                );
                self.findings.push(missing(chain, noted.sequence + 1, "foreign", text));
            } else if read.sequence == noted.sequence
                && read.hash != noted.hash
                && before.get(chain) != Some(noted)
            {
                self.findings.push(missing(
                    chain,
                    read.sequence,
                    "other_head",
                    "its hash is not the one that monitoring noted".into(),
                ));
            }
        }
        self.findings
    }
}

fn missing(chain: &str, sequence: i64, what: &'static str, message: String) -> Finding {
    Finding { chain: chain.to_owned(), sequence: Some(sequence), at: None, what, message }
}

/// `<chain>/<sequence>`; the whole key where it is not of this form.
fn split(key: &str) -> (&str, Option<i64>) {
    match key.rsplit_once('/').map(|(chain, n)| (chain, n.parse().ok())) {
        Some((chain, Some(n))) => (chain, Some(n)),
        _ => (key, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_schemas::{Timestamp, audit::AuditIntent};
    use proptest::prelude::*;

    /// A chain of so many entries, and its head.
    fn chain(n: usize) -> (Vec<AuditEntry>, BTreeMap<String, ChainHead>) {
        let (mut head, mut all) = (ChainHead::default(), vec![]);
        for i in 0..n {
            let intent = AuditIntent {
                intent_id: i.to_string(),
                actor: "a".into(),
                action: "apply".into(),
                object: "workflow/w".into(),
                details: "{}".into(),
                at: Timestamp(1),
            };
            let (entry, next) = audit::append("c-0", &head, &intent);
            all.push(entry);
            head = next;
        }
        (all, [("c-0".to_owned(), head)].into())
    }

    type Row = (String, Option<AuditEntry>);

    fn rows(entries: &[AuditEntry]) -> Vec<Row> {
        entries.iter().map(|e| (format!("{}/{}", e.chain, e.sequence), Some(e.clone()))).collect()
    }

    fn judge(rows: &[Row], heads: &BTreeMap<String, ChainHead>) -> Vec<(&'static str, Option<i64>)> {
        let mut verify = Verify::default();
        for (at, (key, entry)) in (0..).zip(rows) {
            verify.add(at, key, Ok(entry.as_ref()));
        }
        verify.finish(heads, heads).into_iter().map(|f| (f.what, f.sequence)).collect()
    }

    proptest! {
        #[test]
        fn whatever_is_done_to_a_chain_is_found(n in 2_usize..12, pick in any::<prop::sample::Index>(), how in 0..6) {
            let (entries, heads) = chain(n);
            let at = pick.index(n);
            let sequence = entries[at].sequence;
            let mut rows = rows(&entries);
            prop_assert!(judge(&rows, &heads).is_empty(), "a legal chain never alarms");
            match how {
                0 => { rows.remove(at); }
                1 => rows.push((rows[at].0.clone(), None)),
                2 => rows.push(rows[at].clone()),
                3 => if let Some(entry) = &mut rows[at].1 { entry.actor = "b".into() },
                4 => rows.truncate(at),
                _ => if let Some(entry) = &mut rows[at].1 { entry.actor = "b".into(); entry.hash = audit::hash(entry) },
            }
            let found = judge(&rows, &heads);
            prop_assert!(!found.is_empty());
            // A well-made forgery shows at the entry after it, or at the head.
            let near = found.iter().any(|(_, s)| s.is_some_and(|s| s == sequence || s == sequence + 1));
            prop_assert!(near, "{found:?} for entry {sequence}");
        }
    }

    #[test]
    fn what_monitoring_did_not_write_is_found_though_it_links() {
        let (entries, _) = chain(4);
        let (_, noted) = chain(3);
        assert_eq!(judge(&rows(&entries), &noted), [("foreign", Some(4))]);
        let mut verify = Verify::default();
        for (at, (key, entry)) in (0..).zip(&rows(&entries)) {
            verify.add(at, key, Ok(entry.as_ref()));
        }
        let (_, later) = chain(4);
        assert!(verify.finish(&noted, &later).is_empty(), "written while it was read");
    }
}
