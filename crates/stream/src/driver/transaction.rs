//! The commands of a transaction (exactly-once, rules 3 to 7, 14, 16). Owns what goes into one and what follows from its end; must not know
//! when it begins or ends.
use super::*;

impl Driver {
    pub(super) fn with(
        &mut self,
        call: impl FnOnce(&mut TxnProducer) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Some(producer) = &mut self.producer else {
            return Err(Fault::new(FaultKind::Unknown, "no producer"));
        };
        let before = (producer.slow, producer.troubled);
        let result = call(producer);
        for (n, sign) in [(producer.slow - before.0, "slow"), (producer.troubled - before.1, "log")] {
            if n > 0 {
                self.config.metrics.doubtful(&self.stage.name, sign);
            }
        }
        if let Err(fault) = &result {
            tracing::warn!(stage = self.stage.name, error_code = "transaction", error = %fault, "transaction call");
        }
        result
    }

    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        self.begun = Instant::now();
        self.with(|p| p.begin())?;
        self.open = true;
        Ok(())
    }

    pub(super) fn seal(&mut self, consumer: &LaneConsumer) -> Result<Positions, Fault> {
        self.sealing = Instant::now();
        let Some(producer) = &mut self.producer else {
            return Err(Fault::new(FaultKind::Unknown, "no producer"));
        };
        let fatal = |e: String| Fault::new(FaultKind::Fatal, e);
        if self.clock.now() >= self.last_sweep + 1000 {
            self.last_sweep = self.clock.now();
            self.states.sweep(&self.stage.stores, clock::wall());
        }
        for record in self.states.changelog(&self.stage.stores, &self.config.codec).map_err(fatal)? {
            if record.size() > self.limits.of(&record.topic) {
                return Err(fatal(format!(
                    "an entry of {} bytes does not fit into {}",
                    record.size(),
                    record.topic
                )));
            }
            producer.send(&record)?;
        }
        producer.drain()?;
        Ok(self.positions(consumer))
    }

    /// Where the consumer stands; what is still on its way to a sink does not count as read.
    pub(super) fn positions(&self, consumer: &LaneConsumer) -> Positions {
        let positions = consumer.positions().into_iter();
        positions.filter(|(tp, _)| self.deliveries.as_ref().is_none_or(|d| d.is_idle(tp))).collect()
    }

    pub(super) fn send_offsets(
        &mut self,
        consumer: &LaneConsumer,
        positions: &Positions,
    ) -> Result<(), Fault> {
        let mut list = Vec::with_capacity(positions.len());
        for (tp, next) in positions {
            let mut ledger = self.books.with_open(tp);
            ledger.stores = self.states.spans(tp.partition);
            if !ledger.counts.balanced() {
                tracing::error!(stage = self.stage.name, error_code = "ledger_unbalanced", partition = %tp, "ledger does not balance");
            }
            let metadata = ledger.to_metadata();
            let metadata = metadata
                .ok_or_else(|| Fault::new(FaultKind::Fatal, format!("the ledger of {tp} does not fit")))?;
            list.push(Committing { tp: tp.clone(), next: *next, metadata });
        }
        // Right before the offsets (rule 2); a batch never outlives a revocation.
        let Some(group) = consumer.group() else {
            return Err(Fault::new(FaultKind::Generation, "not in the group"));
        };
        self.with(|p| p.send_offsets(&list, group))
    }

    pub(super) fn merge(&mut self, positions: &Positions) -> Option<Event> {
        self.open = false;
        self.epoch = self.epoch.committed();
        self.starts.extend(positions.clone());
        for (partition, overlay) in self.states.open() {
            self.deadlines.merge(partition, overlay);
        }
        self.states.merge();
        if let Some(deliveries) = &mut self.deliveries {
            deliveries.committed();
        }
        if let Some(taking) = &mut self.taking {
            taking.shares.merged();
        }
        let of_legs = self.books.of_legs();
        self.config.metrics.legs(&self.stage.name, &self.books.legs());
        let added = self.books.merge(positions.keys());
        self.poison.0 += added.read;
        self.poison.1 += added.dead_lettered_total().saturating_sub(of_legs);
        if self.poison.0 >= self.config.limits.poison_window {
            self.poison = (0, 0);
        }
        let (commit, batch) = (self.sealing.elapsed().as_secs_f64(), self.begun.elapsed().as_secs_f64());
        self.config.metrics.committed(&self.stage.name, &added, commit, batch);
        self.tell_commit();
        None
    }

    pub(super) fn tell_commit(&mut self) {
        let total: Counts = self.books.total();
        self.shared.update(|s| {
            s.ledger = total;
            s.last_commit = Some(clock::wall());
            s.commits += 1;
        });
        self.gauges(true);
    }

    pub(super) fn discard(&mut self) -> Option<Event> {
        self.epoch = self.epoch.aborted();
        self.states.discard();
        self.books.discard();
        if let Some(taking) = &mut self.taking {
            taking.forget();
        }
        self.config.metrics.aborted(&self.stage.name);
        self.shared.update(|s| s.aborts += 1);
        None
    }

    pub(super) fn abort(&mut self) -> Result<(), Fault> {
        if !self.open {
            return Ok(());
        }
        // An abort of what is still in flight hangs (rule 5).
        self.with(|p| p.drain().and_then(|()| p.abort()))?;
        self.open = false;
        Ok(())
    }

    pub(super) fn rebuild(&mut self) -> Result<(), Fault> {
        self.producer = None;
        self.open = false;
        let started = Instant::now();
        let made = self.spec.init(&|| !self.stop.is_stopped());
        self.config.metrics.rebuilt(&self.stage.name, if made.is_ok() { "ok" } else { "failed" });
        self.shared.update(|s| s.rebuilds += 1);
        self.producer = Some(made?);
        tracing::warn!(stage = self.stage.name, took_ms = started.elapsed().as_millis(), "producer rebuilt");
        Ok(())
    }

    pub(super) fn resolve(
        &self,
        consumer: &LaneConsumer,
        partitions: &[Tp],
    ) -> Result<BTreeMap<Tp, Option<Committed>>, Fault> {
        let mark = |metadata: &str| Ledger::from_metadata(metadata).map_or(0, |ledger| ledger.commits);
        let found = consumer.committed(partitions)?.into_iter();
        Ok(found.map(|(tp, at)| (tp, at.map(|(next, text)| Committed { next, mark: mark(&text) }))).collect())
    }

    pub(super) fn abort_quietly(&mut self) -> Result<(), Fault> {
        let Some(producer) = &mut self.producer else { return Ok(()) };
        producer.drain()?;
        producer.abort()
    }
}
