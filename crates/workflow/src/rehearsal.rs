//! A branch run over events one after the other, with a memory and a clock of its own: what is delayed goes on when the events have come so far.
//! For tests and replays. Owns that clock. Must not know: where events come from, what is made of their ends.
use crate::{
    check::{Branch, Definition},
    machine::{self, End, Site},
    outputs,
    state::{self, Delayed},
};
use atio_schemas::{Detection, Timestamp};
use atio_stage::{Headers, Overlay, StageError, State, Tables, Tx};
use std::{collections::BTreeSet, sync::Arc};

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub definition: &'a Definition,
    pub branch: &'a Branch,
    pub site: Site<'a>,
}

/// What is told of each end: the event as it came, its record's headers, the end; one that is held ends twice.
pub type Told<'t, E> = dyn FnMut(&Detection, &Headers, End) -> Result<(), E> + 't;

/// The events of one partition.
#[derive(Debug, Default)]
pub struct Rehearsal {
    tables: Arc<Tables>,
    state: State,
    due: BTreeSet<(Timestamp, String)>,
    events: i64,
}

impl Rehearsal {
    /// Steps look into these tables, as [`crate::tables::name`] names them; by default there are none.
    #[must_use]
    pub fn with(tables: Arc<Tables>) -> Self {
        Self { tables, ..Self::default() }
    }

    /// From the next event on steps look into these; what is due before it sees them, too.
    pub fn see(&mut self, tables: Arc<Tables>) {
        self.tables = tables;
    }

    /// The next event, whose record has this time and these headers. What is due by then goes on before.
    ///
    /// # Errors
    /// What is kept can't be read or written; or those of `told`.
    pub fn event<E: From<StageError>>(
        &mut self,
        subject: Subject<'_>,
        at: Timestamp,
        (detection, headers): (&Detection, &Headers),
        told: &mut Told<'_, E>,
    ) -> Result<(), E> {
        self.pass(subject, at, told)?;
        let key = state::delayed_key(self.events);
        self.events += 1;
        let Subject { definition, branch, site } = subject;
        self.step(at, &key, site.version, (detection, headers), told, |tx| {
            machine::run(definition, branch, detection, site, at, tx)
        })
    }

    /// Everything that is held goes on.
    ///
    /// # Errors
    /// As for [`Self::event`].
    pub fn finish<E: From<StageError>>(
        &mut self,
        subject: Subject<'_>,
        told: &mut Told<'_, E>,
    ) -> Result<(), E> {
        self.pass(subject, Timestamp(i64::MAX), told)
    }

    fn pass<E: From<StageError>>(
        &mut self,
        subject: Subject<'_>,
        until: Timestamp,
        told: &mut Told<'_, E>,
    ) -> Result<(), E> {
        let Subject { definition, branch, site } = subject;
        while let Some((due, key)) = self.due.first().filter(|(due, _)| *due <= until).cloned() {
            self.due.pop_first();
            let Some(delayed) = self.transaction(due, |tx| state::take(tx, &key))? else { continue };
            let headers = outputs::restored(&delayed.carried);
            self.step(due, &key, delayed.version, (&delayed.original, &headers), told, |tx| {
                machine::go_on(definition, branch, &delayed, site, tx)
            })?;
        }
        Ok(())
    }

    fn step<E: From<StageError>>(
        &mut self,
        now: Timestamp,
        key: &str,
        version: i64,
        (original, headers): (&Detection, &Headers),
        told: &mut Told<'_, E>,
        run: impl FnOnce(&mut Tx<'_>) -> Result<End, StageError>,
    ) -> Result<(), E> {
        let end = self.transaction(now, |tx| {
            let mut end = run(tx)?;
            if let Some(delay) = &end.delayed {
                let delayed = Delayed::of(delay, original, version, outputs::carried(headers));
                end.rejected.extend(state::hold(tx, key, delayed)?);
            }
            Ok(end)
        })?;
        if let Some(delay) = end.delayed.as_ref().filter(|_| end.rejected.is_empty()) {
            self.due.insert((delay.due, key.to_owned()));
        }
        told(original, headers, end)
    }

    fn transaction<T>(
        &mut self,
        now: Timestamp,
        run: impl FnOnce(&mut Tx<'_>) -> Result<T, StageError>,
    ) -> Result<T, StageError> {
        let mut overlay = Overlay::default();
        let done = run(&mut Tx::new(now, &self.state, &mut overlay, &self.tables))?;
        self.state.merge(overlay);
        Ok(done)
    }
}
