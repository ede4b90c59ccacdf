//! The log on Kafka: the topic `_schemas`, made when it is not there. Owns what the topic must be like; must not know what its records mean.
use crate::api::{BoxFuture, Log, LogError, MAX_BODY};
use crate::record::Entry;
use atio_stage::{Headers, Output};
use atio_stream::{
    Kafka,
    admin::Admin,
    publish::{Publisher, PublisherSpec},
    read::{ReadSpec, TopicReader},
};
use atio_topics::{Change, Plan, derive};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

/// The name that Confluent's registry uses too.
pub const TOPIC: &str = "_schemas";
const CLIENT: &str = "atio-registry";
const POLICY: &str = "cleanup.policy";

/// One partition, compacted, with records as long as the API takes.
pub struct TopicLog {
    kafka: Kafka,
    topic: Arc<str>,
    publisher: Publisher,
}

impl TopicLog {
    /// Makes the topic where it is not there, with so many copies (none: the broker's default), and a producer for it.
    ///
    /// # Errors
    /// The broker's; a topic with several partitions (no order), or one that is not compacted (schemas would be deleted with time).
    pub async fn open(kafka: &Kafka, topic: &str, replication: Option<u16>) -> Result<Self, LogError> {
        let (kafka, topic) = (kafka.clone(), topic.to_owned());
        blocking(move || {
            ensure(&Admin::connect(&kafka, CLIENT).map_err(fault)?, &topic, replication)?;
            let publisher = Publisher::open(PublisherSpec::new(&kafka, CLIENT, &[&topic])).map_err(fault)?;
            Ok(Self { kafka, topic: topic.into(), publisher })
        })
        .await
    }
}

impl Log for TopicLog {
    fn append(&self, key: Vec<u8>, value: Option<Vec<u8>>) -> BoxFuture<'_, Result<(), LogError>> {
        let (topic, headers) = (Arc::clone(&self.topic), Headers::default());
        let output = Output { topic, partition: Some(0), key: Some(key), value, headers };
        Box::pin(async move {
            let answers = self.publisher.send(vec![output]).await;
            let answer = answers.into_iter().next().ok_or_else(|| fault("no answer"))?;
            answer.map(drop).map_err(fault)
        })
    }

    fn read(&self) -> BoxFuture<'_, Result<Vec<Entry>, LogError>> {
        let spec = ReadSpec::whole(&self.kafka, CLIENT, &self.topic);
        Box::pin(blocking(move || {
            let entries = TopicReader::open(&spec).map_err(fault)?;
            let keyed = |entry: atio_stream::read::Entry| Some((entry.key?, entry.value));
            entries.filter_map(|entry| entry.map(keyed).map_err(fault).transpose()).collect()
        }))
    }
}

fn ensure(admin: &Admin, topic: &str, replication: Option<u16>) -> Result<(), LogError> {
    let cluster = admin.cluster_state().map_err(fault)?;
    if let Some(found) = cluster.topics.get(topic) {
        let policy = found.configs.get(POLICY).map_or("", String::as_str);
        return match (found.partitions, policy.contains("compact")) {
            (1, true) => Ok(()),
            (1, false) => {
                Err(fault(format!("{topic} has {POLICY}={policy}: schemas would be lost; set it to compact")))
            }
            (n, _) => Err(fault(format!("{topic} has {n} partitions, it must have one"))),
        };
    }
    let configs = [(POLICY, "compact".to_owned()), ("max.message.bytes", MAX_BODY.to_string())];
    let configs = configs.into_iter().map(|(name, value)| (name.to_owned(), value));
    let configs: BTreeMap<String, String> = configs.chain(derive::in_sync(replication)).collect();
    let create = Change::Create { topic: topic.to_owned(), partitions: 1, replication, configs };
    let plan = Plan { changes: vec![create], ..Plan::default() };
    admin.apply(&plan).map_err(fault)?.into_iter().try_for_each(|done| done.result).map_err(fault)
}

fn fault(error: impl Display) -> LogError {
    LogError(error.to_string())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.map_err(fault)?
}
