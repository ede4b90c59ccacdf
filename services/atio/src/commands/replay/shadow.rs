//! Topics for what a replay makes and delivers: nobody's sink reads them. Owns their names and settings; must not know what is compared.
use crate::{commands::look::Look, exit::Failure, system::wanted::unreachable};
use atio_schemas::{Codec, Detection, codec::Record, header};
use atio_stage::{Headers, Output};
use atio_stream::publish::{Publisher, PublisherSpec};
use atio_topics::plan::{Change, Plan};
use atio_workflow::{Delivered, End, outputs};
use std::{collections::BTreeSet, sync::Arc};

const CLIENT: &str = "atio-replay";
const WEEK_MS: &str = "604800000";
/// So many records are on their way at once.
const BATCH: usize = 1_000;

/// The part of a topic's name that is the replay's.
pub fn id(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (1..=63).contains(&text.len()) && text.chars().all(fits) && text != header::LIVE;
    if good { Ok(text.to_owned()) } else { Err("1 to 63 of a-z, 0-9 and `-`, and not `live`".to_owned()) }
}

pub struct Shadow<'a> {
    look: &'a Look,
    codec: Codec,
    id: String,
    runtime: tokio::runtime::Runtime,
    publisher: Option<(BTreeSet<String>, Publisher)>,
    waiting: Vec<Output>,
    written: u64,
}

impl<'a> Shadow<'a> {
    pub fn new(look: &'a Look, id: &str, codec: Codec) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { look, codec, id: id.to_owned(), runtime, publisher: None, waiting: vec![], written: 0 })
    }

    /// Deliveries, under the replay's names.
    pub fn write(
        &mut self,
        headers: &Headers,
        detection: &Detection,
        made: Vec<Delivered>,
    ) -> anyhow::Result<()> {
        let deliveries = End { outputs: made, ..End::default() };
        let mut headers = headers.clone();
        headers.set(header::RUN, self.id.as_bytes());
        self.waiting.extend(outputs(&self.codec, &self.start(), &headers, detection, &deliveries)?);
        if self.waiting.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// A record of a topic of this name (without the prefix), under the replay's names.
    pub fn record<R: Record>(&mut self, name: &str, output: &Output, value: &R) -> anyhow::Result<()> {
        let mut headers = output.headers.clone();
        headers.set(header::RUN, self.id.as_bytes());
        let (topic, value) = (Arc::from(format!("{}{name}", self.start())), Some(self.codec.encode(value)?));
        self.waiting.push(Output { topic, partition: None, key: output.key.clone(), value, headers });
        if self.waiting.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// How many were written.
    pub fn end(mut self) -> anyhow::Result<u64> {
        self.flush()?;
        Ok(self.written)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let all = std::mem::take(&mut self.waiting);
        if all.is_empty() {
            return Ok(());
        }
        let topics: BTreeSet<String> = all.iter().map(|o| o.topic.to_string()).collect();
        let known = self.publisher.as_ref().is_some_and(|(known, _)| topics.is_subset(known));
        if !known {
            let mut wanted = self.publisher.take().map(|(known, _)| known).unwrap_or_default();
            wanted.extend(topics);
            self.create(&wanted)?;
            let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let publisher = Publisher::open(PublisherSpec::new(&self.look.kafka, CLIENT, &names))
                .map_err(|e| Failure::unreachable(e.to_string()))?;
            self.publisher = Some((wanted, publisher));
        }
        let Some((_, publisher)) = &self.publisher else { return Ok(()) };
        for answer in self.runtime.block_on(publisher.send(all)) {
            answer?;
            self.written += 1;
        }
        Ok(())
    }

    /// Of the names of its topics.
    fn start(&self) -> String {
        format!("{}replay.{}.", self.look.config.prefix, self.id)
    }

    /// Those that are not there yet, as wide as what they stand for.
    fn create(&self, wanted: &BTreeSet<String>) -> anyhow::Result<()> {
        let (admin, there) = (self.look.admin()?, self.look.topics()?);
        let mut changes = vec![];
        for topic in wanted.iter().filter(|topic| !there.contains_key(*topic)) {
            let real = topic.replacen(&self.start(), &self.look.config.prefix, 1);
            let limit = admin.max_message_bytes(&[Arc::from(real.as_str())]).map_err(unreachable)?;
            let limit = limit.into_values().next().map(|bytes| ("max.message.bytes", bytes.to_string()));
            let fixed = [
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", WEEK_MS.to_owned()),
                ("message.timestamp.type", "LogAppendTime".to_owned()),
            ];
            let configs =
                fixed.into_iter().chain(limit).map(|(name, value)| (name.to_owned(), value)).collect();
            let replication = self.look.config.copies();
            let partitions = there.get(&real).copied().unwrap_or(1);
            changes.push(Change::Create { topic: topic.clone(), partitions, replication, configs });
        }
        for done in admin.apply(&Plan { changes, refused: vec![] }).map_err(unreachable)? {
            done.result?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_fits_into_a_topic_and_is_not_live() {
        assert_eq!(id("after-the-fix-2"), Ok("after-the-fix-2".to_owned()));
        assert!(id("live").is_err() && id("A").is_err() && id("").is_err() && id(&"a".repeat(64)).is_err());
    }
}
