//! Normalization and enrichment in a replay: a record in, what comes out held against what was there. Owns what a stage of one input sees. Must not know:
//! where records come from, what a stage does.
use super::{
    Desk, Reader,
    bench::Lane,
    hop::{Fed, Hop},
    log::Views,
};
use crate::commands::replay::epochs::{Epochs, Told, Which};
use atio_stage::{Record, Stage, harness::Counts};
use std::rc::Rc;

pub struct Stand<'h> {
    stage: Stage,
    views: Views,
    epochs: Rc<Epochs>,
    lane: Lane,
    counts: Counts,
    out: &'h mut Hop,
}

impl<'h> Stand<'h> {
    pub fn new(
        desk: &Desk<'_>,
        stage: Stage,
        epochs: &Rc<Epochs>,
        which: Which,
        out: &'h mut Hop,
    ) -> anyhow::Result<Self> {
        let views = Views::read(desk.look, &stage.tables, which)?;
        let (epochs, lane, counts) = (Rc::clone(epochs), Lane::default(), Counts::default());
        Ok(Self { stage, views, epochs, lane, counts, out })
    }

    /// Name, how records ended, how tables were seen.
    pub fn told(self) -> (String, Counts, Vec<Told>) {
        (self.stage.name, self.counts, self.views.told())
    }
}

impl<'a> Reader<'a> for Stand<'_> {
    fn name(&self) -> &str {
        &self.stage.name
    }
    fn partition(&mut self) {
        self.lane = Lane::default();
    }
    fn record(&mut self, fed: &Fed, desk: &mut Desk<'a>) -> anyhow::Result<()> {
        let noted = self.epochs.of(&self.stage.name, &fed.topic, fed.partition);
        let tables = self.views.show(noted, fed.offset, fed.at);
        let record = as_record(fed, fed.offset.unwrap_or_default());
        for output in self.lane.record(&self.stage, &record, tables, &mut self.counts) {
            self.out.now(&output, fed.at)?;
            if self.out.topics.contains(&output.topic) {
                desk.detection(&output)?;
            }
        }
        Ok(())
    }
}

/// As a stage gets it.
pub fn as_record(fed: &Fed, offset: i64) -> Record<'_> {
    Record {
        topic: &fed.topic,
        partition: fed.partition,
        offset,
        timestamp: fed.at,
        key: fed.key.as_deref(),
        value: fed.value.as_deref(),
        headers: &fed.headers,
    }
}
