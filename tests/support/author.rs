//! Writes records of ours as a service or a person would: without one.
use atio_runtime::RegistryIds;
use atio_schemas::{Codec, codec::Record};
use atio_stage::{Headers, Output};
use atio_stream::{
    Kafka,
    publish::{Publisher, PublisherSpec},
};
use std::collections::BTreeMap;

pub struct Author {
    codec: Codec,
    publisher: Publisher,
    prefix: String,
    runtime: tokio::runtime::Runtime,
}

impl Author {
    /// `topics`: what it will write, without the prefix.
    pub fn open(kafka: &str, registry: &str, prefix: &str, topics: &[&str]) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let ids = runtime.block_on(RegistryIds::register(registry)).expect("our schemas");
        let kafka = Kafka { bootstrap: kafka.to_owned(), properties: BTreeMap::new() };
        let topics: Vec<String> = topics.iter().map(|name| format!("{prefix}{name}")).collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let publisher = Publisher::open(PublisherSpec::new(&kafka, "author", &names)).expect("a publisher");
        Self { codec: Codec::new(ids), publisher, prefix: prefix.to_owned(), runtime }
    }

    /// Records with their keys; all are there when it returns.
    pub fn send<R: Record>(&self, topic: &str, records: &[(String, R)]) {
        let output = |(key, record): &(String, R)| {
            let value = self.codec.encode(record).expect("a record");
            Output::new(format!("{}{topic}", self.prefix), key.as_bytes(), value, Headers::default())
        };
        for answer in self.runtime.block_on(self.publisher.send(records.iter().map(output).collect())) {
            answer.expect("published");
        }
    }
}
