//! Looks at many partitions and groups with few questions: ends by one request a broker, a group's offsets by one. Owns how librdkafka is asked;
//! must not know what the numbers mean.
use super::assigned::Quiet;
use crate::{
    admin::{AdminError, Committed},
    config::Kafka,
};
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::{Offset, TopicPartitionList},
};
use std::{collections::BTreeMap, time::Duration};

/// Partitions by topic and number.
pub(crate) type Offsets = BTreeMap<(String, i32), i64>;

pub(crate) struct Connection {
    kafka: Kafka,
    client_id: String,
    consumer: BaseConsumer<Quiet>,
}

impl Connection {
    pub(crate) fn open(kafka: &Kafka, client_id: &str) -> Result<Self, AdminError> {
        let consumer = consumer(kafka, client_id, client_id)?;
        Ok(Self { kafka: kafka.clone(), client_id: client_id.to_owned(), consumer })
    }

    pub(crate) fn topics(&self, limit: Duration) -> Result<BTreeMap<String, i32>, AdminError> {
        let metadata = self.consumer.fetch_metadata(None, limit).map_err(|e| self.error("topics", &e))?;
        let known = metadata.topics().iter().filter(|t| t.error().is_none());
        Ok(known
            .map(|t| (t.name().to_owned(), i32::try_from(t.partitions().len()).unwrap_or(i32::MAX)))
            .collect())
    }

    pub(crate) fn groups(&self, limit: Duration) -> Result<Vec<String>, AdminError> {
        let list = self.consumer.fetch_group_list(None, limit).map_err(|e| self.error("groups", &e))?;
        Ok(list.groups().iter().map(|g| g.name().to_owned()).collect())
    }

    /// The client ids of a group's members.
    pub(crate) fn members(&self, group: &str, limit: Duration) -> Result<Vec<String>, AdminError> {
        let found = self.consumer.fetch_group_list(Some(group), limit).map_err(|e| self.error(group, &e))?;
        let members = found.groups().iter().filter(|g| g.name() == group).flat_map(|g| g.members());
        Ok(members.map(|m| m.client_id().to_owned()).collect())
    }

    /// First offsets, or last stable ones. A partition without an answer is left out.
    pub(crate) fn ends(
        &self,
        topics: &BTreeMap<String, i32>,
        first: bool,
        limit: Duration,
    ) -> Result<Offsets, AdminError> {
        if topics.is_empty() {
            return Ok(Offsets::new());
        }
        let mut list = TopicPartitionList::new();
        // Kafka's ListOffsets takes these two in the place of a time.
        let which = if first { Offset::Beginning } else { Offset::End };
        for (topic, partition) in all(topics) {
            list.add_partition_offset(topic, partition, which).map_err(|e| self.error(topic, &e))?;
        }
        let found = self.consumer.offsets_for_times(list, limit).map_err(|e| self.error("ends", &e))?;
        let known = found.elements().into_iter().filter_map(|e| match (e.error(), e.offset()) {
            (Ok(()), Offset::Offset(n)) => Some(((e.topic().to_owned(), e.partition()), n)),
            _ => None,
        });
        Ok(known.collect())
    }

    pub(crate) fn committed(
        &self,
        group: &str,
        topics: &BTreeMap<String, i32>,
        limit: Duration,
    ) -> Result<Vec<Committed>, AdminError> {
        self.asker(group)?.committed(topics, limit)
    }

    /// Who asks for a group's offsets again and again.
    pub(crate) fn asker(&self, group: &str) -> Result<Asker, AdminError> {
        // Only a client that is configured with the group may ask for its offsets; it does not join.
        let consumer = consumer(&self.kafka, &self.client_id, group)?;
        Ok(Asker { group: group.to_owned(), bootstrap: self.kafka.bootstrap.clone(), consumer })
    }

    fn error(&self, what: &str, error: &KafkaError) -> AdminError {
        told(&self.kafka.bootstrap, what, error)
    }
}

/// A client in the name of a group.
pub(crate) struct Asker {
    group: String,
    bootstrap: String,
    consumer: BaseConsumer<Quiet>,
}

impl Asker {
    /// Partitions without a committed offset are left out.
    pub(crate) fn committed(
        &self,
        topics: &BTreeMap<String, i32>,
        limit: Duration,
    ) -> Result<Vec<Committed>, AdminError> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in all(topics) {
            list.add_partition(topic, partition);
        }
        let found = self.consumer.committed_offsets(list, limit);
        let found = found.map_err(|e| told(&self.bootstrap, &self.group, &e))?;
        let known = found.elements().into_iter().filter_map(|e| match (e.error(), e.offset()) {
            (Ok(()), Offset::Offset(n)) => Some(Committed {
                topic: e.topic().to_owned(),
                partition: e.partition(),
                offset: Some(n),
                metadata: e.metadata().to_owned(),
            }),
            _ => None,
        });
        Ok(known.collect())
    }
}

fn told(bootstrap: &str, what: &str, error: &KafkaError) -> AdminError {
    use RDKafkaErrorCode as E;
    match error.rdkafka_error_code() {
        Some(
            code @ (E::OperationTimedOut
            | E::BrokerTransportFailure
            | E::AllBrokersDown
            | E::RequestTimedOut
            | E::Resolve
            | E::NetworkException),
        ) => AdminError::Unreachable { bootstrap: bootstrap.to_owned(), text: code.to_string() },
        _ => AdminError::Refused { what: what.to_owned(), text: error.to_string() },
    }
}

fn all(topics: &BTreeMap<String, i32>) -> impl Iterator<Item = (&str, i32)> {
    topics.iter().flat_map(|(topic, count)| (0..*count).map(move |p| (topic.as_str(), p)))
}

fn consumer(kafka: &Kafka, client_id: &str, group: &str) -> Result<BaseConsumer<Quiet>, AdminError> {
    let mut config = super::base(kafka, client_id);
    super::pass_through(&mut config, kafka);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .set("isolation.level", "read_committed");
    config.create_with_context(Quiet).map_err(|e| AdminError::Refused {
        what: "a client with these settings".to_owned(),
        text: e.to_string(),
    })
}
