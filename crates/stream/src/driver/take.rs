//! Taking records where inputs have shares: each partition has a queue of its own, and who comes next is asked (`intake`). Owns the way from
//! queues to a batch; must not know how shares are made up.
use super::*;
use crate::intake::{Intake, Share, shares::Shares};

/// While somebody is held back it is looked so often whether he still is.
const HELD_REST: Duration = Duration::from_millis(5);
const SECOND: Millis = 1000;
/// Records of a partition before the input's next one has its turn.
const PARTITION_TURN: usize = 8;

/// What a driver knows of its inputs' shares.
pub(super) struct Taking {
    intake: Intake,
    pub(super) shares: Shares,
    /// In the order of the stage's inputs.
    of: Vec<Share>,
    /// Of each input the queues of the partitions that are ours, and which of them comes next.
    queues: Vec<(Vec<usize>, usize)>,
    stale: bool,
    last: Millis,
    /// How long each input was held back, up to a second.
    held: Vec<Millis>,
    /// Records and outputs of each input, in the batch that is processed.
    made: Vec<(u64, u64)>,
}

impl Taking {
    pub(super) fn new(stage: &Stage, config: &LaneConfig) -> Option<Self> {
        let intake = config.intake.clone()?;
        let of: Vec<Share> = stage.inputs.iter().map(|i| intake.share(&i.topic)).collect();
        let (queues, made) = (vec![(vec![], 0); of.len()], vec![(0, 0); of.len()]);
        let held = vec![0; of.len()];
        Some(Self { shares: Shares::new(&of), intake, of, queues, stale: true, last: 0, held, made })
    }

    /// Partitions have come or gone.
    pub(super) fn moved(&mut self) {
        self.stale = true;
    }

    /// A record of an input has become so much.
    pub(super) fn count(&mut self, input: usize, outputs: u64) {
        if let Some((records, sum)) = self.made.get_mut(input) {
            *records += 1;
            *sum += outputs;
        }
    }

    /// The batch is processed.
    pub(super) fn settle(&mut self) {
        for (input, (records, outputs)) in self.made.iter_mut().enumerate() {
            self.shares.made(input, std::mem::take(records), std::mem::take(outputs));
        }
    }

    /// What is left of a batch that was not processed.
    pub(super) fn forget(&mut self) {
        self.made.fill((0, 0));
    }

    fn begin(&mut self, now: Millis, config: &LaneConfig, stage: &Stage) {
        let passed = now.saturating_sub(std::mem::replace(&mut self.last, now));
        let look = self.intake.downstream.look();
        for input in self.shares.held() {
            let held = &mut self.held[input];
            *held += passed;
            if *held >= SECOND {
                config.metrics.held_back(&stage.name, &self.of[input].source, *held / SECOND);
                *held %= SECOND;
            }
        }
        if look.is_some() || !self.shares.is_busy() {
            let waiting = look.map(|l| l.waiting);
            config.metrics.downstream(&stage.name, waiting, self.shares.limit());
        }
        self.shares.begin(now, look);
        if self.shares.is_busy() {
            self.intake.downstream.want(self.shares.committed());
        }
    }

    fn find_queues(&mut self, consumer: &LaneConsumer, machine: &Machine, stage: &Stage) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        for (input, (queues, next)) in stage.inputs.iter().zip(&mut self.queues) {
            let ours = machine.owned().filter(|tp| tp.topic == input.topic);
            (*queues, *next) = (ours.filter_map(|tp| consumer.queue(tp)).collect(), 0);
        }
    }
}

impl Driver {
    /// As [`Driver::gather`]: waits for a record, then takes what else is at hand and may be taken.
    pub(super) fn gather_shared<'a>(
        &mut self,
        taking: &mut Taking,
        consumer: &'a LaneConsumer,
        wait: Duration,
        most: (usize, usize),
    ) -> Result<Batch<'a>, End> {
        let until = Instant::now() + wait;
        taking.find_queues(consumer, &self.machine, &self.stage);
        loop {
            // What concerns the group, and records of what has no queue of its own.
            let mut batch = self.gather(consumer, Duration::ZERO, most)?;
            taking.begin(self.clock.now(), &self.config, &self.stage);
            while batch.records.len() < most.0 && batch.bytes < most.1 {
                let Some((input, records)) = taking.shares.next() else { break };
                let before = batch.records.len();
                let records = records.min(most.0 - before);
                let (queues, next) = &mut taking.queues[input];
                let dry = self.take_from(consumer, (queues, next), &mut batch, (records, most.1))?;
                taking.shares.took(input, batch.records.len() - before, dry);
            }
            let left = until.saturating_duration_since(Instant::now());
            if !batch.records.is_empty() || left.is_zero() || consumer.has_event() {
                return Ok(batch);
            }
            let held = taking.shares.held().next().is_some();
            consumer.rest(if held { left.min(HELD_REST) } else { left });
        }
    }

    /// From an input's partitions in turn. True: there is no more.
    fn take_from<'a>(
        &mut self,
        consumer: &'a LaneConsumer,
        (queues, next): (&[usize], &mut usize),
        batch: &mut Batch<'a>,
        (records, bytes): (usize, usize),
    ) -> Result<bool, End> {
        let enough = batch.records.len() + records;
        let mut dry = 0;
        while dry < queues.len() {
            if batch.records.len() >= enough || batch.bytes >= bytes {
                return Ok(false);
            }
            let queue = queues[*next % queues.len()];
            *next = next.wrapping_add(1);
            let room = enough.min(batch.records.len() + PARTITION_TURN);
            let was_dry = self.fill(batch, (room, bytes), Duration::ZERO, |_| consumer.take(queue))?;
            dry = if was_dry { dry + 1 } else { 0 };
        }
        Ok(true)
    }
}
