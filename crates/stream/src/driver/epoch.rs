//! Noting what tables a lane sees from which offset on (exactly-once, rule 19). Owns whether that is still to be done; must not know how tables
//! are read.
use super::*;
use atio_schemas::state::Epoch;
use atio_stage::{Headers, Output};

/// How far the noting of what is seen now has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noting {
    /// Whenever tables or partitions have changed: also while it is in doubt whether the transaction that noted what was before is in.
    Due,
    /// In a transaction that has not ended.
    Sent,
    Done,
}

impl Noting {
    pub(super) fn committed(self) -> Self {
        if self == Self::Sent { Self::Done } else { self }
    }
    pub(super) fn aborted(self) -> Self {
        if self == Self::Sent { Self::Due } else { self }
    }
}

impl Driver {
    /// What the tables were from which offset on, in the transaction that first sees them so (rule 19).
    pub(super) fn note_epoch(&mut self) -> Result<(), Refusal> {
        let Some(topic) = self.config.epochs.clone().filter(|_| self.epoch == Noting::Due) else {
            return Ok(());
        };
        let tables = self.tables.offsets();
        let Some(producer) = self.producer.as_mut().filter(|_| !tables.is_empty()) else { return Ok(()) };
        for (tp, first_offset) in &self.starts {
            let epoch = Epoch {
                stage: self.stage.name.clone(),
                topic: tp.topic.to_string(),
                partition: tp.partition,
                first_offset: *first_offset,
                tables: tables.clone(),
                at: clock::wall(),
            };
            let value =
                self.config.codec.encode(&epoch).map_err(|e| Refusal::Stage(format!("epoch: {e}")))?;
            let key = format!("{}/{tp}", self.stage.name);
            producer
                .send(&Output::new(topic.clone(), key, value, Headers::default()))
                .map_err(Refusal::Producer)?;
        }
        self.epoch = Noting::Sent;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Noting::{self, *};

    #[test]
    fn what_changes_while_a_commit_is_in_doubt_is_still_to_be_noted() {
        let after = |changed: bool, end: fn(Noting) -> Noting| end(if changed { Due } else { Sent });
        assert_eq!((after(false, Noting::committed), after(false, Noting::aborted)), (Done, Due));
        assert_eq!((after(true, Noting::committed), after(true, Noting::aborted)), (Due, Due));
        assert_eq!((Done.committed(), Done.aborted()), (Done, Done), "a transaction that noted nothing");
    }
}
