//! Appending to an audit chain. Owns where its head is kept: in the note of the input partition, which commits with the batch, and in a
//! store, against loss. Must not know what is recorded.
use atio_schemas::{
    Code,
    audit::{self, AuditEntry, AuditIntent, ChainHead},
};
use atio_stage::{StageError, Store, Tx};

/// The next entry of `chain`, its head moved on in this transaction.
///
/// # Errors
/// `internal`: note and store do not agree, so somebody wrote to one of them; nothing is appended until a person has looked.
pub(crate) fn append<S: Store<Value = ChainHead>>(
    chain: &str,
    intent: &AuditIntent,
    tx: &mut Tx<'_>,
) -> Result<AuditEntry, StageError> {
    let head = head::<S>(chain, tx)?;
    let (entry, next) = audit::append(chain, &head, intent);
    let note = serde_json::to_string(&next).map_err(|e| internal(format!("chain {chain}: {e}")))?;
    tx.set_note(note)?;
    tx.store::<S>().put(chain, &next)?;
    Ok(entry)
}

fn head<S: Store<Value = ChainHead>>(chain: &str, tx: &mut Tx<'_>) -> Result<ChainHead, StageError> {
    let stored = tx.store::<S>().get(chain)?;
    let noted = tx.note().map(serde_json::from_str::<ChainHead>).transpose();
    let noted = noted
        .map_err(|e| internal(format!("chain {chain}: its head in the offset commit does not read: {e}")))?;
    match (noted, stored) {
        (Some(noted), Some(stored)) if noted != stored => {
            let text = format!(
                "chain {chain}: the offset commit says it ends at {}, the store at {}; somebody else wrote there",
                noted.sequence, stored.sequence
            );
            Err(internal(text))
        }
        // The committed offsets expire or are reset; the chain goes on all the same.
        (None, stored) => Ok(stored.unwrap_or_default()),
        (Some(noted), None) => Err(internal(format!(
            "chain {chain}: the offset commit says it ends at {}, the store has nothing; its changelog is gone",
            noted.sequence
        ))),
        (Some(noted), Some(_)) => Ok(noted),
    }
}

fn internal(message: String) -> StageError {
    StageError { code: Code::Internal, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::IntentChains;
    use atio_schemas::Timestamp;
    use atio_stage::{Overlay, State, Tables};

    fn intent() -> AuditIntent {
        AuditIntent {
            intent_id: "1".into(),
            actor: "a".into(),
            action: "b".into(),
            object: "c".into(),
            details: "{}".into(),
            at: Timestamp(1),
        }
    }

    /// Appends with this much committed before: state and note.
    fn after(state: &State, note: Option<&str>) -> (Result<AuditEntry, StageError>, Overlay, Option<String>) {
        let (mut overlay, tables) = (Overlay::default(), Tables::default());
        let mut tx = Tx::new(Timestamp(1), state, &mut overlay, &tables).with_note(note.map(str::to_owned));
        let appended = append::<IntentChains>("x", &intent(), &mut tx);
        let note = tx.take_note();
        (appended, overlay, note)
    }

    #[test]
    fn a_lost_note_is_made_up_for_and_a_forged_one_stops_the_chain() {
        let mut state = State::default();
        let (first, overlay, note) = after(&state, None);
        assert_eq!(first.unwrap().sequence, 1);
        state.merge(overlay);
        let note = note.unwrap();
        assert_eq!(after(&state, Some(&note)).0.unwrap().sequence, 2);
        assert_eq!(after(&state, None).0.unwrap().sequence, 2, "the committed offsets were lost");
        let forged = note.replace("\"sequence\":1", "\"sequence\":7");
        assert_ne!(forged, note);
        for wrong in [forged.as_str(), "rubbish"] {
            let (refused, overlay, left) = after(&state, Some(wrong));
            assert_eq!(refused.unwrap_err().code, Code::Internal);
            assert!(overlay.0.is_empty() && left.is_none());
        }
        assert!(after(&State::default(), Some(&note)).0.is_err(), "the changelog was lost");
    }
}
