//! Judges the audit log as a whole: order, links, keys, and where each chain must end. Pure. Must not know where entries are read from.
use crate::checkpoint::Checkpoint;
use atio_schemas::{
    Timestamp,
    audit::{self, AuditEntry, ChainHead},
};
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
    /// Bounded: `null_value`, `unreadable`, `wrong_key`, `altered`, `rewritten`, `gap`, `unlinked`, `truncated`, `foreign`, `other_head`,
    /// `cut`, `other_history`, `bad_checkpoint`.
    pub what: &'static str,
    pub message: String,
}

/// Takes records in the order of the topic, then says what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Verify {
    heads: BTreeMap<String, ChainHead>,
    findings: Vec<Finding>,
    entries: u64,
    /// What signed checkpoints say of chain and sequence, and is not found yet.
    signed: BTreeMap<(String, i64), (String, Timestamp)>,
}

impl Verify {
    /// What a signed checkpoint says of where chains ended: before the first record.
    pub fn expect(&mut self, checkpoint: Checkpoint) {
        for (chain, head) in checkpoint.heads {
            self.signed.entry((chain, head.sequence)).or_insert((head.hash, checkpoint.at));
        }
    }
    /// Line of a file of checkpoints that does not count, and why.
    pub fn bad_checkpoint(&mut self, line: i64, why: &str) {
        let message = format!("line {line} {why}");
        self.findings.push(Finding {
            chain: "checkpoint".to_owned(),
            sequence: None,
            at: Some(line),
            what: "bad_checkpoint",
            message,
        });
    }
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
            let from = head.sequence + 1;
            wrong(chain, Some(from), "gap", are_missing(from, number - 1));
        } else if entry.previous != head.hash {
            wrong(
                chain,
                sequence,
                "unlinked",
                format!("entry {number} does not name the hash of the entry before"),
            );
        }
        *head = ChainHead { sequence: number, hash: entry.hash.clone() };
        let place = (entry.chain.clone(), number);
        if self.signed.get(&place).is_some_and(|(hash, _)| *hash == entry.hash) {
            self.signed.remove(&place);
        }
    }

    /// What was signed and is not there: of each chain the furthest that was cut off, and the first that is another.
    fn unmet(&self) -> Vec<Finding> {
        let (mut cut, mut other) = (BTreeMap::new(), BTreeMap::new());
        for ((chain, sequence), (_, at)) in &self.signed {
            let end = self.heads.get(chain).map_or(0, |h| h.sequence);
            if *sequence > end {
                let (at, missing) = (at.rfc3339_millis(), are_missing(end + 1, *sequence));
                let text =
                    format!("a checkpoint of {at} has entry {sequence}, the chain ends at {end}: {missing}");
                cut.insert(chain, missing_at(chain, end + 1, "cut", text));
            } else {
                let text = format!(
                    "entry {sequence} is not the one that a checkpoint of {} has",
                    at.rfc3339_millis()
                );
                other.entry(chain).or_insert_with(|| missing_at(chain, *sequence, "other_history", text));
            }
        }
        cut.into_values().chain(other.into_values()).collect()
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
        let unmet = self.unmet();
        self.findings.extend(unmet);
        for (chain, noted) in before {
            let read = self.heads.get(chain).cloned().unwrap_or_default();
            if read.sequence < noted.sequence {
                let text =
                    format!("the chain ends at entry {}, monitoring noted {}", read.sequence, noted.sequence);
                self.findings.push(missing_at(chain, read.sequence + 1, "truncated", text));
            } else if read.sequence == noted.sequence && read.hash != noted.hash {
                self.findings.push(missing_at(
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
                self.findings.push(missing_at(chain, noted.sequence + 1, "foreign", text));
            } else if read.sequence == noted.sequence
                && read.hash != noted.hash
                && before.get(chain) != Some(noted)
            {
                self.findings.push(missing_at(
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

fn missing_at(chain: &str, sequence: i64, what: &'static str, message: String) -> Finding {
    Finding { chain: chain.to_owned(), sequence: Some(sequence), at: None, what, message }
}

fn are_missing(from: i64, to: i64) -> String {
    if from == to {
        format!("entry {from} is missing")
    } else {
        format!("entries {from} to {to} are missing")
    }
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
    use atio_schemas::audit::AuditIntent;
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

    #[test]
    fn a_cut_end_and_another_history_show_against_checkpoints() {
        let (entries, heads) = chain(5);
        let signed = |n: usize| Checkpoint { at: Timestamp(1), heads: chain(n).1 };
        let judge = |rows: &[Row]| {
            let mut verify = Verify::default();
            [3, 5].map(signed).into_iter().for_each(|c| verify.expect(c));
            for (at, (key, entry)) in (0..).zip(rows) {
                verify.add(at, key, Ok(entry.as_ref()));
            }
            let found = verify.finish(&BTreeMap::new(), &BTreeMap::new());
            found.into_iter().map(|f| (f.what, f.sequence)).collect::<Vec<_>>()
        };
        assert_eq!(judge(&rows(&entries)), []);
        assert_eq!(judge(&rows(&entries[..4])), [("cut", Some(5))]);
        assert_eq!(judge(&rows(&entries[..2])), [("cut", Some(3))]);
        assert_eq!(judge(&[]), [("cut", Some(1))], "a chain that is gone altogether");
        // A whole history of its own, well linked.
        let (mut head, mut forged) = (ChainHead::default(), vec![]);
        for entry in &entries {
            let intent = AuditIntent {
                intent_id: entry.intent_id.clone(),
                actor: "evil".into(),
                action: entry.action.clone(),
                object: entry.object.clone(),
                details: entry.details.clone(),
                at: entry.at,
            };
            let (entry, next) = audit::append("c-0", &head, &intent);
            head = next;
            forged.push(entry);
        }
        assert_eq!(judge(&rows(&forged)), [("other_history", Some(3))]);
        assert_eq!(heads.len(), 1);
    }
}
