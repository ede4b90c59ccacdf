//! That the faults of the proxy hurt: a client that believes what librdkafka says loses what the trials of the stage keep. It repeats a request
//! whose connection was cut by itself and says Ok; the first copy then acts on the next transaction (exactly-once, rule 7).
use super::{
    proxy::{Act, END_TXN, OFFSET_COMMIT, Proxy},
    stages::Kind,
    world::{World, client},
};
use crate::support::{Broker, Deadline, On};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata},
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use std::time::Duration;

const CALL: Duration = Duration::from_secs(20);

struct Naive {
    world: World,
    proxy: Proxy,
    producer: BaseProducer<DefaultProducerContext>,
    group: ConsumerGroupMetadata,
}

impl Naive {
    fn start(broker: &Broker) -> Self {
        let world = World::new(&broker.bootstrap, Kind::Pass, 1);
        let proxy = Proxy::start(&broker.bootstrap);
        let name = format!("{}.naive", world.name);
        let producer: BaseProducer<DefaultProducerContext> = client(&proxy.bootstrap)
            .set("client.id", &name)
            .set("transactional.id", &name)
            .set("linger.ms", "1")
            .create()
            .expect("a client");
        producer.init_transactions(CALL).expect("an epoch");
        let group: BaseConsumer = client(&broker.bootstrap)
            .set("group.id", format!("{}.group", world.name))
            .create()
            .expect("a client");
        let group = group.group_metadata().expect("a group");
        Self { world, proxy, producer, group }
    }
    /// Writes this, and offsets, in an open transaction.
    fn write(&self, text: &str, offset: i64) {
        self.producer.begin_transaction().expect("begun");
        self.send(text);
        self.offsets(offset);
    }
    fn send(&self, text: &str) {
        let topic = self.world.topic("out");
        self.producer.send(BaseRecord::to(&topic).key("k").payload(text)).expect("queued");
        self.producer.flush(CALL).expect("produced");
    }
    fn offsets(&self, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.world.topic("in"), 0, Offset::Offset(offset)).expect("an offset");
        self.producer.send_offsets_to_transaction(&list, &self.group, CALL).expect("Ok, it says");
    }
    fn commit(&self) {
        self.producer.commit_transaction(CALL).expect("Ok, it says");
    }
    fn committed(&self) -> Option<i64> {
        self.world.positions().expect("the broker answers")[0].next
    }
}

/// Something that nobody committed is visible.
pub fn torn(on: On) {
    let broker = Broker::shared(on);
    let naive = Naive::start(&broker);
    naive.write("committed", 1);
    let first = naive.proxy.arm(&naive.world.clients(), END_TXN, Act::CutThenHold);
    naive.commit();
    first.met(Deadline::after(20));
    naive.producer.begin_transaction().expect("begun");
    naive.send("not committed");
    first.deliver();
    first.over(Deadline::after(20));
    let seen = Deadline::after(20).every(Duration::from_millis(50), || {
        let out = naive.world.read("out");
        out.iter().any(|s| s.value() == b"not committed").then_some(())
    });
    assert!(seen.is_some(), "a commit that comes late takes the next transaction with it");
}

/// Positions go back.
pub fn moved_back(on: On) {
    let broker = Broker::shared(on);
    let naive = Naive::start(&broker);
    naive.producer.begin_transaction().expect("begun");
    naive.send("one");
    let first = naive.proxy.arm(&naive.world.clients(), OFFSET_COMMIT, Act::CutThenHold);
    naive.offsets(1);
    first.met(Deadline::after(20));
    naive.commit();
    assert_eq!(naive.committed(), Some(1));
    naive.write("two", 2);
    first.deliver();
    first.over(Deadline::after(20));
    naive.commit();
    assert_eq!(naive.committed(), Some(1), "offsets that come late overwrite the next transaction's");
}
