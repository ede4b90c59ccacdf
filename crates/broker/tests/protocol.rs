//! The broker as clients see it: the door, waiting, transactions, configs.
#![allow(clippy::expect_used)] // helpers of tests are no tests to clippy

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use atio_broker::{Broker, BrokerError, Config};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::*;
use support::{Client, batch, fetch_request, s, topic, wait_until};

/// A broker in this process, and the runtime that it lives on.
struct Here {
    runtime: tokio::runtime::Runtime,
    broker: Option<Broker>,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Here {
    fn start(change: impl FnOnce(&mut Config)) -> Here {
        let dir = tempfile::tempdir().expect("dir");
        let mut config = Config::new(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut config);
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let broker = runtime.block_on(Broker::start(config)).expect("start");
        let addr = broker.addr();
        Here { runtime, broker: Some(broker), addr, _dir: dir }
    }

    fn client(&self) -> Client {
        Client::connect(self.addr)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            self.runtime.block_on(broker.shutdown());
        }
    }
}

#[test]
fn a_bad_frame_closes_its_connection_and_no_other() {
    let here = Here::start(|c| c.max_frame = 1 << 20);
    let mut neighbour = here.client();
    assert_eq!(neighbour.create("t", 1, &[]), 0);
    let mut claim = vec![0, 20, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
    claim.extend_from_slice(&i32::MAX.to_be_bytes());
    claim.extend_from_slice(&[0; 40]);
    let frame = |body: &[u8]| [&(body.len() as i32).to_be_bytes()[..], body].concat();
    let frames = [
        ("negative size", (-5i32).to_be_bytes().to_vec()),
        ("oversized", ((1i32 << 20) + 1).to_be_bytes().to_vec()),
        ("too small", frame(&[0, 3, 0])),
        ("unknown request", frame(&[0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff])),
        ("unadvertised version", frame(&[0, 1, 0, 99, 0, 0, 0, 1, 0xff, 0xff])),
        ("two billion elements", frame(&claim)),
        ("noise", frame(&[0, 0, 0, 9, 0, 0, 0, 1, 0, 3, b'x', 9, 9, 9, 9, 9, 9, 9, 9, 9])),
        ("not Kafka", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in frames {
        let mut bad = here.client();
        bad.stream.write_all(&bytes).expect(what);
        assert!(bad.is_closed(), "{what}");
        assert_eq!(neighbour.produce("t", batch(&[what], None)).0, 0, "{what}");
    }
    assert_eq!(neighbour.offset_at("t", -1).0, 8);
}

#[test]
fn a_newer_client_is_told_what_is_spoken() {
    let here = Here::start(|_| {});
    let mut client = here.client();
    let body = [0, 18, 0, 77, 0, 0, 0, 9, 0xff, 0xff, 0, 1, 2, 3];
    client.stream.write_all(&14i32.to_be_bytes()).expect("size");
    client.stream.write_all(&body).expect("body");
    let mut head = [0; 10];
    std::io::Read::read_exact(&mut client.stream, &mut head).expect("answer");
    assert_eq!(&head[4..10], &[0, 0, 0, 9, 0, 35]);
}

#[test]
fn only_so_many_connections() {
    let here = Here::start(|c| c.max_connections = 2);
    let (mut first, mut second) = (here.client(), here.client());
    assert_eq!(first.create("a", 1, &[]), 0);
    assert_eq!(second.create("b", 1, &[]), 0);
    assert!(here.client().is_closed());
    drop(first);
    wait_until("room again", || {
        let mut client = here.client();
        client.stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]).expect("send");
        !client.is_closed()
    });
}

#[test]
fn loopback_only_unless_told() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let dir = tempfile::tempdir().expect("dir");
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = runtime.block_on(Broker::start(Config::new(dir.path(), any)));
    assert!(matches!(refused, Err(BrokerError::NotLoopback(_))));
    let allowed = Config { allow_remote: true, ..Config::new(dir.path(), any) };
    let broker = runtime.block_on(Broker::start(allowed)).expect("start");
    let port = broker.addr().port();
    let mut client = Client::connect(SocketAddr::from(([127, 0, 0, 1], port)));
    let metadata = client.call(&MetadataRequest::default(), 12);
    assert_eq!(metadata.brokers[0].host.as_str(), "127.0.0.1");
    assert_eq!(metadata.brokers[0].port, i32::from(port));
    runtime.block_on(broker.shutdown());
}

#[test]
fn a_waiting_fetch_wakes_on_produce_and_on_commit() {
    let here = Here::start(|_| {});
    let (mut reader, mut committed, mut writer) = (here.client(), here.client(), here.client());
    assert_eq!(writer.create("t", 1, &[]), 0);
    let (_, pid, epoch) = writer.init(Some("id"), 60_000);
    assert_eq!(writer.add("id", pid, epoch, "t"), 0);
    let started = Instant::now();
    reader.send(&fetch_request("t", 0, false, 30_000), 12);
    committed.send(&fetch_request("t", 0, true, 30_000), 12);
    let sent = writer.produce_as(Some("id"), "t", 0, batch(&["v"], Some((pid, epoch, 0, true))));
    assert_eq!(sent, (0, 0));
    let read = reader.receive_fetch();
    assert_eq!((read.values, read.stable, read.high), (vec!["v".to_owned()], 0, 1));
    assert_eq!(writer.end("id", pid, epoch, true), 0);
    let read = committed.receive_fetch();
    assert_eq!((read.values, read.stable), (vec!["v".to_owned()], 2));
    assert!(started.elapsed() < Duration::from_secs(20), "it waited its time out");
}

#[test]
fn a_fetch_without_data_answers_after_its_wait() {
    let here = Here::start(|_| {});
    let mut client = here.client();
    client.create("t", 1, &[]);
    let started = Instant::now();
    assert!(client.fetch("t", 0, false, 150).values.is_empty());
    assert!(started.elapsed() >= Duration::from_millis(150));
    assert_eq!(client.fetch("t", 1, false, 9_000).error, E::OffsetOutOfRange.code());
    assert_eq!(client.fetch("nope", 0, false, 9_000).error, E::UnknownTopicOrPartition.code());
}

#[test]
fn a_successor_fences_and_its_predecessor_leaves_nothing() {
    let here = Here::start(|_| {});
    let mut client = here.client();
    client.create("in", 1, &[]);
    client.create("out", 1, &[]);
    let (_, pid, old) = client.init(Some("id"), 60_000);
    assert_eq!(client.add("id", pid, old, "out"), 0);
    let sent = client.produce_as(Some("id"), "out", 0, batch(&["z"], Some((pid, old, 0, true))));
    assert_eq!(sent.0, 0);
    assert_eq!(client.add_group("id", pid, old, "g"), 0);
    assert_eq!(client.send_offset("id", pid, old, "g", "in", 9), 0);
    assert_eq!(client.committed("g", "in", true).0, E::UnstableOffsetCommit.code());
    assert_eq!(client.committed("g", "in", false).1, -1);

    let (error, same, new) = client.init(Some("id"), 60_000);
    assert_eq!((error, same), (0, pid));
    assert!(new > old);
    assert_eq!(client.committed("g", "in", true), (0, -1, String::new()));
    let late = client.produce_as(Some("id"), "out", 0, batch(&["z"], Some((pid, old, 1, true))));
    assert_eq!(late.0, E::InvalidProducerEpoch.code());
    assert_eq!(client.end("id", pid, old, true), E::ProducerFenced.code());
    assert_eq!(client.add("id", pid, old, "out"), E::ProducerFenced.code());
    assert_eq!(client.send_offset("id", pid, old, "g", "in", 9), E::InvalidProducerEpoch.code());
    // Not added, so not written.
    let stray = client.produce_as(Some("id"), "out", 0, batch(&["n"], Some((pid, new, 0, true))));
    assert_eq!(stray.0, E::InvalidTxnState.code());
    assert_eq!(client.add("id", pid, new, "out"), 0);
    assert_eq!(client.produce_as(Some("id"), "out", 0, batch(&["n"], Some((pid, new, 0, true)))).0, 0);
    assert_eq!(client.end("id", pid, new, true), 0);
    assert_eq!(client.end("id", pid, new, true), 0, "a repeated commit is answered as the first");
    assert_eq!(client.end("id", pid, new, false), E::InvalidTxnState.code());
    assert_eq!(client.fetch("out", 2, true, 0).values, ["n"]);
}

#[test]
fn an_overdue_transaction_is_aborted_and_readers_go_on() {
    let here = Here::start(|_| {});
    let mut client = here.client();
    client.create("t", 1, &[]);
    let (_, pid, epoch) = client.init(Some("id"), 100);
    assert_eq!(client.add("id", pid, epoch, "t"), 0);
    client.produce_as(Some("id"), "t", 0, batch(&["lost"], Some((pid, epoch, 0, true))));
    client.produce("t", batch(&["kept"], None));
    let read = client.fetch("t", 0, true, 30_000);
    assert_eq!((read.values, read.stable), (vec!["kept".to_owned()], 3));
    assert_eq!(client.end("id", pid, epoch, true), E::ProducerFenced.code());
}

#[test]
fn sequences_are_checked_and_repeats_answered() {
    let here = Here::start(|_| {});
    let mut client = here.client();
    client.create("t", 1, &[]);
    let (_, pid, _) = client.init(None, 0);
    let mut send = |sequence| client.produce("t", batch(&["v"], Some((pid, 0, sequence, false))));
    assert_eq!(send(0), (0, 0));
    assert_eq!(send(1), (0, 1));
    assert_eq!(send(1), (0, 1));
    assert_eq!(send(3).0, E::OutOfOrderSequenceNumber.code());
    assert_eq!(send(2), (0, 2));
}

#[test]
fn offsets_for_times_and_ends() {
    let here = Here::start(|_| {});
    let mut client = here.client();
    client.create("t", 1, &[]);
    assert_eq!(client.offset_at("t", -3), (-1, -1));
    client.produce("t", batch(&["a", "b"], None));
    assert_eq!(client.offset_at("t", -2), (0, -1));
    assert_eq!(client.offset_at("t", -1), (2, -1));
    assert_eq!(client.offset_at("t", -3), (0, 1_700_000_000_000));
    assert_eq!(client.offset_at("t", 1_700_000_000_000), (0, 1_700_000_000_000));
    assert_eq!(client.offset_at("t", 1_700_000_000_001), (-1, -1));
}

#[test]
fn topics_and_their_configs() {
    let here = Here::start(|_| {});
    let mut client = here.client();
    assert_eq!(client.create("bad name", 1, &[]), E::InvalidTopicException.code());
    assert_eq!(client.create("t", 0, &[]), E::InvalidPartitions.code());
    assert_eq!(client.create("t", 1, &[("no.such", "1")]), E::InvalidConfig.code());
    assert_eq!(client.create("t", -1, &[("retention.ms", "5000")]), 0);
    assert_eq!(client.create("t", 1, &[]), E::TopicAlreadyExists.code());
    let change = |name: &str, op: i8, value: Option<&str>| {
        use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let config =
            AlterableConfig::default().with_name(s(name)).with_config_operation(op).with_value(value.map(s));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(s("t"))
            .with_configs(vec![config]);
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
    };
    let mut alter = |name, op, value| client.call(&change(name, op, value), 1).responses[0].error_code;
    assert_eq!(alter("cleanup.policy", 2, Some("compact")), 0);
    assert_eq!(alter("max.message.bytes", 0, Some("100")), 0);
    assert_eq!(alter("retention.ms", 1, None), 0);
    assert_eq!(alter("retention.ms", 0, Some("soon")), E::InvalidConfig.code());
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(s("t"))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let described = client.call(&request, 4);
    let value = |name: &str| {
        let found = described.results[0].configs.iter().find(|c| c.name.as_str() == name);
        let found = found.expect("config");
        (found.value.as_ref().expect("value").to_string(), found.config_source)
    };
    assert_eq!(value("cleanup.policy"), ("delete,compact".to_owned(), 1));
    assert_eq!(value("retention.ms"), ("604800000".to_owned(), 5));
    let refused = client.produce("t", batch(&[&"x".repeat(100)], None));
    assert_eq!(refused.0, E::MessageTooLarge.code());
    let named = metadata_request::MetadataRequestTopic::default().with_name(Some(topic("t")));
    let metadata = client.call(&MetadataRequest::default().with_topics(Some(vec![named])), 12);
    assert_eq!(metadata.topics[0].partitions.len(), 3);
}

#[test]
fn a_deleted_topic_takes_its_offsets_along() {
    let here = Here::start(|_| {});
    let mut client = here.client();
    client.create("t", 1, &[]);
    client.produce("t", batch(&["v"], None));
    assert_eq!(client.commit("g", "t", 1, ""), 0);
    assert_eq!(client.commit("g", "t", 1, &"m".repeat(4097)), E::OffsetMetadataTooLarge.code());
    let gone = DeleteTopicsRequest::default().with_topic_names(vec![topic("t")]);
    assert_eq!(client.call(&gone, 5).responses[0].error_code, 0);
    assert_eq!(client.call(&gone, 5).responses[0].error_code, E::UnknownTopicOrPartition.code());
    assert_eq!(client.produce("t", batch(&["v"], None)).0, E::UnknownTopicOrPartition.code());
    assert_eq!(client.create("t", 1, &[]), 0);
    assert_eq!(client.committed("g", "t", true).1, -1);
    assert_eq!(client.offset_at("t", -1).0, 0);
}

#[test]
fn topics_come_by_themselves_only_where_that_is_configured() {
    let ask = |client: &mut Client| {
        let named = metadata_request::MetadataRequestTopic::default().with_name(Some(topic("new")));
        let request =
            MetadataRequest::default().with_topics(Some(vec![named])).with_allow_auto_topic_creation(true);
        client.call(&request, 12).topics[0].error_code
    };
    let off = Here::start(|_| {});
    assert_eq!(ask(&mut off.client()), E::UnknownTopicOrPartition.code());
    let on = Here::start(|c| c.auto_create = true);
    assert_eq!(ask(&mut on.client()), 0);
}
