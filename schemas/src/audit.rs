//! The audit log: entry, chain and verification. Pure.
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// On `atio.audit-intents`, key = chain: what someone wants to have recorded. Monitoring alone turns it into an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditIntent {
    pub intent_id: String,
    pub actor: String,
    pub action: String,
    pub object: String,
    /// JSON text, free form; a deletion's holds the last full definition.
    pub details: String,
    pub at: Timestamp,
}

/// On `atio.audit`, key `<chain>/<sequence>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    pub chain: String,
    /// From 1, without gaps.
    pub sequence: i64,
    /// Hash of the entry before, hex; 64 zeros for the first.
    pub previous: String,
    pub intent_id: String,
    pub actor: String,
    pub action: String,
    pub object: String,
    pub details: String,
    pub at: Timestamp,
    /// sha256 over all of the above, length-prefixed, hex.
    pub hash: String,
}

/// Where a chain ends: rides in the offset-commit metadata of the transaction that appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    pub sequence: i64,
    pub hash: String,
}

impl Default for ChainHead {
    fn default() -> Self {
        Self { sequence: 0, hash: "0".repeat(64) }
    }
}

/// Why a chain does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("entry {sequence}: hash does not match its content")]
    Altered { sequence: i64 },
    #[error("entry {sequence} does not follow entry {after}")]
    Gap { after: i64, sequence: i64 },
    #[error("entry {sequence}: previous hash is not that of the entry before")]
    Unlinked { sequence: i64 },
}

/// The entry that follows `head`, and the new head.
#[must_use]
pub fn append(chain: &str, head: &ChainHead, intent: &AuditIntent) -> (AuditEntry, ChainHead) {
    let mut entry = AuditEntry {
        chain: chain.to_owned(),
        sequence: head.sequence + 1,
        previous: head.hash.clone(),
        intent_id: intent.intent_id.clone(),
        actor: intent.actor.clone(),
        action: intent.action.clone(),
        object: intent.object.clone(),
        details: intent.details.clone(),
        at: intent.at,
        hash: String::new(),
    };
    entry.hash = hash(&entry);
    let next = ChainHead { sequence: entry.sequence, hash: entry.hash.clone() };
    (entry, next)
}

/// Hash of an entry's content, hex. Length-prefixed fields: no two entries share an encoding.
#[must_use]
pub fn hash(e: &AuditEntry) -> String {
    let mut h = Sha256::new();
    let (sequence, at) = (e.sequence.to_be_bytes(), e.at.0.to_be_bytes());
    let fields: [&[u8]; 9] = [
        e.chain.as_bytes(),
        &sequence,
        e.previous.as_bytes(),
        e.intent_id.as_bytes(),
        e.actor.as_bytes(),
        e.action.as_bytes(),
        e.object.as_bytes(),
        e.details.as_bytes(),
        &at,
    ];
    for field in fields {
        h.update((field.len() as u64).to_be_bytes());
        h.update(field);
    }
    h.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Checks entries of one chain in order, from `head` on; returns the new head.
///
/// # Errors
/// The first entry that was altered, is missing, or does not link.
pub fn verify<'a>(
    head: ChainHead,
    entries: impl IntoIterator<Item = &'a AuditEntry>,
) -> Result<ChainHead, ChainError> {
    entries.into_iter().try_fold(head, |head, e| {
        if e.sequence != head.sequence + 1 {
            return Err(ChainError::Gap { after: head.sequence, sequence: e.sequence });
        }
        if e.previous != head.hash {
            return Err(ChainError::Unlinked { sequence: e.sequence });
        }
        if hash(e) != e.hash {
            return Err(ChainError::Altered { sequence: e.sequence });
        }
        Ok(ChainHead { sequence: e.sequence, hash: e.hash.clone() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(n: i64) -> AuditIntent {
        AuditIntent {
            intent_id: n.to_string(),
            actor: "a".into(),
            action: "apply".into(),
            object: "w".into(),
            details: "{}".into(),
            at: Timestamp(n),
        }
    }

    #[test]
    fn altered_missing_and_reordered_entries_are_seen() {
        let mut head = ChainHead::default();
        let mut chain = vec![];
        for n in 0..4 {
            let (entry, next) = append("0", &head, &intent(n));
            chain.push(entry);
            head = next;
        }
        assert_eq!(verify(ChainHead::default(), &chain), Ok(head));
        let mut altered = chain.clone();
        altered[2].actor = "b".into();
        assert_eq!(verify(ChainHead::default(), &altered), Err(ChainError::Altered { sequence: 3 }));
        let mut missing = chain.clone();
        missing.remove(1);
        assert_eq!(verify(ChainHead::default(), &missing), Err(ChainError::Gap { after: 1, sequence: 3 }));
        let mut forged = chain;
        forged[1].actor = "c".into();
        forged[1].hash = hash(&forged[1]);
        assert_eq!(verify(ChainHead::default(), &forged), Err(ChainError::Unlinked { sequence: 3 }));
    }
}
