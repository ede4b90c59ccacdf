//! Taking records and processing them. Owns what is taken at once, the schemas that it needs, and the stop where nearly everything is
//! dead-lettered (exactly-once, rules 13, 14); must not know transactions.
use super::*;

const TROUBLE_EVERY: Millis = 5000;

/// The records that one poll gave.
pub(super) struct Batch<'a> {
    pub(super) records: Vec<(usize, Incoming<'a>)>,
    /// Their partitions, by the index in `records`, and the positions after them.
    pub(super) partitions: Vec<(Tp, i64)>,
    pub(super) bytes: usize,
}

impl Batch<'_> {
    pub(super) fn ends(&self) -> Positions {
        self.partitions.iter().cloned().collect()
    }
}

impl Driver {
    /// Waits for a record, then takes what else is at hand, up to so many records and bytes. One record can be larger.
    pub(super) fn gather<'a>(
        &mut self,
        consumer: &'a LaneConsumer,
        wait: Duration,
        (records, bytes): (usize, usize),
    ) -> Result<Batch<'a>, End> {
        let mut batch = Batch { records: vec![], partitions: vec![], bytes: 0 };
        let filled = self.fill(&mut batch, (records, bytes), wait, |wait| consumer.poll(wait));
        filled.map(|_| batch).map_err(|end| consumer.ended().unwrap_or(end))
    }

    /// Polls until the batch has so many records or bytes. True: before it had, there was nothing more.
    pub(super) fn fill<'a>(
        &mut self,
        batch: &mut Batch<'a>,
        (records, bytes): (usize, usize),
        wait: Duration,
        poll: impl Fn(Duration) -> Polled<'a>,
    ) -> Result<bool, End> {
        let mut wait = wait;
        while batch.records.len() < records && batch.bytes < bytes {
            match poll(wait) {
                Polled::Record(record) => {
                    self.keep(batch, record);
                    wait = Duration::ZERO;
                }
                Polled::Nothing => return Ok(true),
                Polled::Trouble(text) => {
                    self.trouble(&text);
                    return Ok(true);
                }
                Polled::OutOfRange(text) => {
                    return Err(End::Failed(format!("a position is outside of its partition: {text}")));
                }
                Polled::Fatal(text) => return Err(End::Failed(format!("consumer: {text}"))),
            }
        }
        Ok(false)
    }

    /// The client's complaints, while it tries again by itself: one in a while, with how many there were.
    fn trouble(&mut self, text: &str) {
        self.troubles += 1;
        let now = self.clock.now();
        if self.troubles == 1 || now >= self.last_trouble + TROUBLE_EVERY {
            tracing::warn!(
                stage = self.stage.name,
                error_code = "poll",
                text,
                times = self.troubles,
                "consumer"
            );
            self.last_trouble = now;
            self.troubles = 1;
        }
    }

    pub(super) fn keep<'a>(&self, batch: &mut Batch<'a>, record: Incoming<'a>) {
        let same = |tp: &Tp| tp.partition == record.partition() && *tp.topic == *record.topic();
        let known = batch.partitions.iter().position(|(tp, _)| same(tp));
        let index = known.or_else(|| {
            // Of partitions that were taken from us nothing is processed any more.
            let tp = self.machine.owned().find(|tp| same(tp))?.clone();
            batch.partitions.push((tp, 0));
            Some(batch.partitions.len() - 1)
        });
        if let Some(index) = index {
            batch.bytes += record.value().map_or(0, <[u8]>::len) + record.key().map_or(0, <[u8]>::len);
            batch.partitions[index].1 = record.offset() + 1;
            batch.records.push((index, record));
        }
    }

    pub(super) fn process(&mut self, batch: Option<&Batch<'_>>) -> Result<(), Refusal> {
        self.note_epoch()?;
        if self.deliveries.is_some() {
            return self.process_deliveries();
        }
        let records = batch.map_or(&[][..], |b| &b.records);
        for (_, record) in records {
            self.ensure(record.value())?;
        }
        let stage = self.stage.clone();
        let Run::Transform(processor) = &stage.run else {
            return Err(Refusal::Final(End::Failed("not a transform".into())));
        };
        let Some(producer) = &mut self.producer else {
            return Err(Refusal::Producer(Fault::new(FaultKind::Unknown, "no producer")));
        };
        let mut cx = transform::Cx {
            stage: &stage,
            processor: &**processor,
            producer,
            states: &mut self.states,
            books: &mut self.books,
            tables: self.tables.tables(),
            limits: &self.limits,
            outputs_per_record: self.config.limits.outputs_per_record,
            now: clock::wall(),
            sent: 0,
        };
        for firing in std::mem::take(&mut self.firing) {
            cx.fire(&firing)?;
        }
        for (index, record) in records {
            let Some((tp, _)) = batch.map(|b| &b.partitions[*index]) else { continue };
            let input = stage.inputs.iter().enumerate().find(|(_, i)| i.topic == tp.topic);
            let Some((index, input)) = input else { continue };
            let before = cx.sent;
            cx.record(tp, record, &input.dead_letters)?;
            if let Some(taking) = &mut self.taking {
                taking.count(index, cx.sent - before);
            }
        }
        let sent = cx.sent;
        if let Some(taking) = &mut self.taking {
            taking.settle();
        }
        producer.poll();
        self.config.metrics.outputs(&stage.name, sent);
        self.poisoned()
    }

    /// Schema ids that were not seen before are fetched before the records are processed.
    pub(super) fn ensure(&mut self, value: Option<&[u8]>) -> Result<(), Refusal> {
        let Some(id) = value.and_then(atio_schemas::codec::schema_id) else { return Ok(()) };
        if self.ids.contains(&id) {
            return Ok(());
        }
        start::fetch_schema(&*self.config.schemas, value).map_err(Refusal::Stage)?;
        if self.ids.len() >= IDS_MAX {
            self.ids.clear();
        }
        self.ids.insert(id);
        Ok(())
    }

    /// Rule 14: where nearly everything is dead-lettered, it is not the records.
    pub(super) fn poisoned(&mut self) -> Result<(), Refusal> {
        let open = self.books.open();
        let dead = open.dead_lettered_total().saturating_sub(self.books.of_legs());
        let (records, dead) = (self.poison.0 + open.read, self.poison.1 + dead);
        let limits = &self.config.limits;
        if records >= limits.poison_window && dead * 1000 >= records * limits.poison_per_mille {
            tracing::error!(
                stage = self.stage.name,
                error_code = "poisoned",
                dead,
                records,
                "nearly everything is dead-lettered"
            );
            return Err(Refusal::Final(End::Poisoned { dead_lettered: dead, of: records }));
        }
        Ok(())
    }
}
