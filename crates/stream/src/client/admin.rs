//! The admin client and its helpers of a consumer. Owns how librdkafka is asked and how its refusals read; must not know what is planned.
use super::leaders::ask as ask_leaders;
use crate::{
    admin::{AdminError, Committed, Group, Marks},
    config::Kafka,
};
use atio_topics::{ClusterState, TopicState};
use futures::executor::block_on;
use rdkafka::{
    ClientContext,
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    config::{ClientConfig, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::{Offset, TopicPartitionList},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// A call ends within this.
pub(crate) const CALL: Duration = Duration::from_secs(10);
/// Settings of so many topics are asked for at once.
const DESCRIBE: usize = 200;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A topic's settings.
pub(crate) type Configs = BTreeMap<String, String>;

struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error_code = "kafka_admin", error = %error, reason, "kafka admin");
    }
}
impl ConsumerContext for Quiet {}

pub(crate) struct Connection {
    kafka: Kafka,
    client_id: String,
    admin: AdminClient<Quiet>,
    committed: BaseConsumer<Quiet>,
    uncommitted: BaseConsumer<Quiet>,
}

impl Connection {
    pub(crate) fn open(kafka: &Kafka, client_id: &str) -> Result<Self, AdminError> {
        let made = |e: KafkaError| refused("a client with these settings", e.to_string());
        let admin = settings(kafka, client_id).create_with_context(Quiet).map_err(made)?;
        let committed = consumer(kafka, client_id, client_id, "read_committed").map_err(made)?;
        let uncommitted = consumer(kafka, client_id, client_id, "read_uncommitted").map_err(made)?;
        Ok(Self { kafka: kafka.clone(), client_id: client_id.to_owned(), admin, committed, uncommitted })
    }

    fn error(&self, what: &str, error: &KafkaError) -> AdminError {
        match error.rdkafka_error_code() {
            Some(code) => self.coded(what, code),
            // The admin calls say so in words only.
            None if error.to_string().contains("imed out") => self.unreachable(error.to_string()),
            None => refused(what, error.to_string()),
        }
    }

    fn coded(&self, what: &str, code: RDKafkaErrorCode) -> AdminError {
        use RDKafkaErrorCode as E;
        match code {
            E::OperationTimedOut
            | E::BrokerTransportFailure
            | E::AllBrokersDown
            | E::RequestTimedOut
            | E::Resolve
            | E::NetworkException => self.unreachable(code.to_string()),
            code => refused(what, code.to_string()),
        }
    }

    fn unreachable(&self, text: String) -> AdminError {
        AdminError::Unreachable { bootstrap: self.kafka.bootstrap.clone(), text }
    }

    pub(crate) fn topics(&self) -> Result<BTreeMap<String, u32>, AdminError> {
        let metadata =
            self.committed.fetch_metadata(None, CALL).map_err(|e| self.error("the list of topics", &e))?;
        let ours = metadata.topics().iter().filter(|t| t.error().is_none() && !t.name().starts_with("__"));
        Ok(ours.map(|t| (t.name().to_owned(), u32::try_from(t.partitions().len()).unwrap_or(0))).collect())
    }

    pub(crate) fn cluster_state(&self) -> Result<ClusterState, AdminError> {
        let topics = self.topics()?;
        let names: Vec<Arc<str>> = topics.keys().map(|t| Arc::from(t.as_str())).collect();
        let mut state = ClusterState::default();
        for (name, configs) in self.configs(&names)? {
            let partitions = topics.get(&*name).copied().unwrap_or(0);
            state.topics.insert(name.to_string(), TopicState { partitions, configs });
        }
        Ok(state)
    }

    /// Every setting of those topics that exist.
    pub(crate) fn configs(&self, topics: &[Arc<str>]) -> Result<HashMap<Arc<str>, Configs>, AdminError> {
        let mut all = HashMap::with_capacity(topics.len());
        for some in topics.chunks(DESCRIBE) {
            let asked: Vec<ResourceSpecifier<'_>> =
                some.iter().map(|t| ResourceSpecifier::Topic(t)).collect();
            let answers = block_on(self.admin.describe_configs(&asked, &options()))
                .map_err(|e| self.error("settings of topics", &e))?;
            for (name, answer) in some.iter().zip(answers) {
                let resource = match answer {
                    Ok(resource) => resource,
                    // Absent, or deleted since it was listed.
                    Err(RDKafkaErrorCode::UnknownTopicOrPartition) => continue,
                    Err(code) => return Err(self.coded(&format!("settings of {name}"), code)),
                };
                let configs = resource.entries.into_iter().filter_map(|e| Some((e.name, e.value?))).collect();
                all.insert(name.clone(), configs);
            }
        }
        Ok(all)
    }

    pub(crate) fn create(
        &self,
        topic: &str,
        partitions: u32,
        replication: Option<u16>,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), AdminError> {
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let copies = replication.map_or(-1, i32::from);
        let new = NewTopic::new(topic, count, TopicReplication::Fixed(copies));
        let new = configs.iter().fold(new, |new, (name, value)| new.set(name, value));
        let what = format!("creating {topic}");
        let answers =
            block_on(self.admin.create_topics([&new], &options())).map_err(|e| self.error(&what, &e))?;
        self.of_topics(&what, answers)
    }

    pub(crate) fn delete(&self, topic: &str) -> Result<(), AdminError> {
        let what = format!("deleting {topic}");
        let answers =
            block_on(self.admin.delete_topics(&[topic], &options())).map_err(|e| self.error(&what, &e))?;
        self.of_topics(&what, answers)
    }

    pub(crate) fn raise_partitions(&self, topic: &str, to: u32) -> Result<(), AdminError> {
        let what = format!("raising the partitions of {topic}");
        let new = NewPartitions::new(topic, usize::try_from(to).unwrap_or(usize::MAX));
        let answers =
            block_on(self.admin.create_partitions([&new], &options())).map_err(|e| self.error(&what, &e))?;
        self.of_topics(&what, answers)
    }

    /// The client has no incremental form, and the plain one resets what it does not name: so the topic's own settings go along.
    pub(crate) fn set_configs(&self, topic: &str, set: &BTreeMap<String, String>) -> Result<(), AdminError> {
        let what = format!("settings of {topic}");
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers =
            block_on(self.admin.describe_configs(&asked, &options())).map_err(|e| self.error(&what, &e))?;
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for answer in answers {
            let resource = answer.map_err(|code| self.coded(&what, code))?;
            let own = resource
                .entries
                .into_iter()
                .filter(|e| e.source == ConfigSource::DynamicTopic && !e.is_sensitive);
            all.extend(own.filter_map(|e| Some((e.name, e.value?))));
        }
        all.extend(set.clone());
        let alter = all
            .iter()
            .fold(AlterConfig::new(ResourceSpecifier::Topic(topic)), |a, (name, value)| a.set(name, value));
        let answers =
            block_on(self.admin.alter_configs([&alter], &options())).map_err(|e| self.error(&what, &e))?;
        let failed = answers.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |(_, code)| Err(self.coded(&what, code)))
    }

    fn of_topics(
        &self,
        what: &str,
        answers: Vec<Result<String, (String, RDKafkaErrorCode)>>,
    ) -> Result<(), AdminError> {
        let failed = answers.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |(_, code)| Err(self.coded(what, code)))
    }

    /// Until every one of these has a leader for each partition.
    pub(crate) fn wait_for(&self, topics: &[&str]) -> Result<(), AdminError> {
        let deadline = Instant::now() + CALL;
        for topic in topics {
            while !self.has_leaders(topic)? {
                if Instant::now() > deadline {
                    return Err(self.unreachable(format!("{topic} has no leader yet")));
                }
                crate::clock::pause(LOOK_AGAIN);
            }
        }
        Ok(())
    }

    fn has_leaders(&self, topic: &str) -> Result<bool, AdminError> {
        let metadata = self.committed.fetch_metadata(Some(topic), CALL).map_err(|e| self.error(topic, &e))?;
        let ready = metadata.topics().iter().filter(|t| t.name() == topic && t.error().is_none());
        Ok(ready
            .flat_map(|t| t.partitions())
            .map(|p| p.leader() >= 0 && p.error().is_none())
            .reduce(|a, b| a && b)
            .unwrap_or(false))
    }

    fn partitions(&self, topic: &str) -> Result<i32, AdminError> {
        let metadata = self.committed.fetch_metadata(Some(topic), CALL).map_err(|e| self.error(topic, &e))?;
        let found = metadata
            .topics()
            .iter()
            .find(|t| t.name() == topic && t.error().is_none() && !t.partitions().is_empty());
        let count = found.map(|t| i32::try_from(t.partitions().len()).unwrap_or(i32::MAX));
        count.ok_or_else(|| refused(topic, "no such topic".to_owned()))
    }

    pub(crate) fn watermarks(&self, topic: &str) -> Result<Vec<Marks>, AdminError> {
        let ask = |consumer: &BaseConsumer<Quiet>, partition| {
            ask_leaders(consumer, [topic], || consumer.fetch_watermarks(topic, partition, CALL))
                .map_err(|e| self.error(&format!("watermarks of {topic}"), &e))
        };
        (0..self.partitions(topic)?)
            .map(|partition| {
                let (low, stable) = ask(&self.committed, partition)?;
                let (_, high) = ask(&self.uncommitted, partition)?;
                Ok(Marks { partition, low, high, stable })
            })
            .collect()
    }

    pub(crate) fn committed(&self, group: &str, topics: &[&str]) -> Result<Vec<Committed>, AdminError> {
        let what = format!("offsets of group {group}");
        let mut list = TopicPartitionList::new();
        for topic in topics {
            for partition in 0..self.partitions(topic)? {
                list.add_partition(topic, partition);
            }
        }
        // Only a client that is configured with the group may ask for its offsets; it does not join.
        let asking = consumer(&self.kafka, &self.client_id, group, "read_committed")
            .map_err(|e| refused(&what, e.to_string()))?;
        let answer = asking.committed_offsets(list, CALL).map_err(|e| self.error(&what, &e))?;
        answer
            .elements()
            .into_iter()
            .map(|e| {
                e.error().map_err(|e| self.error(&what, &e))?;
                let offset = if let Offset::Offset(n) = e.offset() { Some(n) } else { None };
                Ok(Committed {
                    topic: e.topic().to_owned(),
                    partition: e.partition(),
                    offset,
                    metadata: e.metadata().to_owned(),
                })
            })
            .collect()
    }

    pub(crate) fn groups(&self) -> Result<Vec<Group>, AdminError> {
        let list =
            self.committed.fetch_group_list(None, CALL).map_err(|e| self.error("the list of groups", &e))?;
        let group = |g: &rdkafka::groups::GroupInfo| Group {
            name: g.name().to_owned(),
            state: g.state().to_owned(),
            members: g.members().len(),
        };
        Ok(list.groups().iter().map(group).collect())
    }
}

fn settings(kafka: &Kafka, client_id: &str) -> ClientConfig {
    let mut config = super::base(kafka, client_id);
    super::pass_through(&mut config, kafka);
    config
}

fn consumer(
    kafka: &Kafka,
    client_id: &str,
    group: &str,
    isolation: &str,
) -> Result<BaseConsumer<Quiet>, KafkaError> {
    let mut config = settings(kafka, client_id);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .set("isolation.level", isolation);
    config.create_with_context(Quiet)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(CALL)).operation_timeout(Some(CALL))
}

fn refused(what: &str, text: String) -> AdminError {
    AdminError::Refused { what: what.to_owned(), text }
}
