//! A client of one request at a time on the protocol's codec; `process` is a broker in a process of its own.
#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::print_stdout)] // the child names its address

mod process;

#[allow(unused_imports)] // as above
pub(crate) use process::{Process, Trial, run};

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

pub(crate) fn s(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName(s(name))
}

/// Waits until `check` holds; the deadline is generous, reaching it is a failure.
pub(crate) fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    correlation: i32,
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
        stream.set_nodelay(true).expect("nodelay");
        Client { stream, correlation: 0 }
    }

    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) {
        self.try_send(request, version).expect("send");
    }

    pub(crate) fn try_send<R: Request>(&mut self, request: &R, version: i16) -> std::io::Result<()> {
        self.correlation += 1;
        let mut out = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(s("test")));
        header.encode(&mut out, R::header_version(version)).expect("header");
        request.encode(&mut out, version).expect("request");
        let mut frame = (out.len() as i32).to_be_bytes().to_vec();
        frame.extend_from_slice(&out);
        self.stream.write_all(&frame)
    }

    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        self.try_receive::<R>(version).expect("response")
    }

    /// An error when the connection is gone.
    pub(crate) fn try_receive<R: Request>(&mut self, version: i16) -> std::io::Result<R::Response> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let mut body = vec![0; i32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut body)?;
        let mut body = Bytes::from(body);
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut body, header_version).expect("header");
        assert_eq!(header.correlation_id, self.correlation);
        Ok(R::Response::decode(&mut body, version).expect("body"))
    }

    pub(crate) fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version);
        self.receive::<R>(version)
    }

    /// Whether the broker closes the connection instead of answering.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut byte = [0; 1];
        match self.stream.read(&mut byte) {
            Ok(n) => n == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    pub(crate) fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> i16 {
        use create_topics_request::{CreatableTopic, CreatableTopicConfig};
        let configs = configs
            .iter()
            .map(|(k, v)| CreatableTopicConfig::default().with_name(s(k)).with_value(Some(s(v))));
        let wanted = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1000);
        self.call(&request, 7).topics[0].error_code
    }

    /// (error, base offset)
    pub(crate) fn produce(&mut self, name: &str, batch: Bytes) -> (i16, i64) {
        self.produce_as(None, name, 0, batch)
    }

    pub(crate) fn produce_as(
        &mut self,
        id: Option<&str>,
        name: &str,
        index: i32,
        batch: Bytes,
    ) -> (i16, i64) {
        let response = self.call(&produce_request(id, name, index, batch), 9);
        let one = &response.responses[0].partition_responses[0];
        (one.error_code, one.base_offset)
    }

    pub(crate) fn fetch(&mut self, name: &str, offset: i64, committed: bool, wait_ms: i32) -> Fetched {
        self.send(&fetch_request(name, offset, committed, wait_ms), 12);
        self.receive_fetch()
    }

    /// What clients make of a fetch: markers are not shown, and of aborted transactions nothing.
    pub(crate) fn receive_fetch(&mut self) -> Fetched {
        let response = self.receive::<FetchRequest>(12);
        let one = &response.responses[0].partitions[0];
        let mut records = one.records.clone().unwrap_or_default();
        let next = end_of(&records).unwrap_or_else(|| offset_of(one.error_code));
        let sets = kafka_protocol::records::RecordBatchDecoder::decode_all(&mut records).expect("records");
        let mut begin: Vec<(i64, i64)> =
            one.aborted_transactions.iter().flatten().map(|a| (a.first_offset, a.producer_id.0)).collect();
        begin.sort_unstable();
        let mut begin = begin.into_iter().peekable();
        let mut aborted = std::collections::BTreeSet::new();
        let mut rows = Vec::new();
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        for record in sets.into_iter().flat_map(|set| set.records) {
            while let Some((_, pid)) = begin.next_if(|(first, _)| *first <= record.offset) {
                aborted.insert(pid);
            }
            if record.control {
                aborted.remove(&record.producer_id);
            } else if !record.transactional || !aborted.contains(&record.producer_id) {
                rows.push((record.offset, record.key.map(text).unwrap_or_default(), record.value.map(text)));
            }
        }
        Fetched {
            error: one.error_code,
            values: rows.iter().map(|(_, _, value)| value.clone().unwrap_or_default()).collect(),
            rows,
            next,
            high: one.high_watermark,
            stable: one.last_stable_offset,
            start: one.log_start_offset,
        }
    }

    /// Everything from `offset` on to the end as it is now.
    pub(crate) fn read_all(&mut self, name: &str, offset: i64, committed: bool) -> Vec<Row> {
        self.try_read_all(name, offset, committed).expect("read")
    }

    /// Or the error that a fetch on the way was answered with.
    pub(crate) fn try_read_all(
        &mut self,
        name: &str,
        mut offset: i64,
        committed: bool,
    ) -> Result<Vec<Row>, i16> {
        let mut all = Vec::new();
        loop {
            let read = self.fetch(name, offset, committed, 0);
            if read.error != 0 {
                return Err(read.error);
            }
            let end = if committed { read.stable } else { read.high };
            // Of a batch, what lies before the offset comes along.
            all.extend(read.rows.into_iter().filter(|row| row.0 >= offset));
            if offset >= end {
                return Ok(all);
            }
            assert!(read.next > offset, "{name}: nothing at {offset} of {end}");
            offset = read.next;
        }
    }

    /// (offset, timestamp) for a special or real timestamp.
    pub(crate) fn offset_at(&mut self, name: &str, timestamp: i64) -> (i64, i64) {
        use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
        let partition =
            ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
        let wanted = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_topics(vec![wanted]);
        let response = self.call(&request, 7);
        let one = &response.topics[0].partitions[0];
        (one.offset, one.timestamp)
    }

    /// (error, producer id, epoch)
    pub(crate) fn init(&mut self, id: Option<&str>, timeout_ms: i32) -> (i16, i64, i16) {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(id.map(|i| TransactionalId(s(i))))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let response = self.call(&request, 4);
        (response.error_code, response.producer_id.0, response.producer_epoch)
    }

    pub(crate) fn add(&mut self, id: &str, pid: i64, epoch: i16, name: &str) -> i16 {
        use add_partitions_to_txn_request::AddPartitionsToTxnTopic;
        let added = AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(vec![0]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(s(id)))
            .with_v3_and_below_producer_id(ProducerId(pid))
            .with_v3_and_below_producer_epoch(epoch)
            .with_v3_and_below_topics(vec![added]);
        let response = self.call(&request, 3);
        response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    pub(crate) fn add_group(&mut self, id: &str, pid: i64, epoch: i16, group: &str) -> i16 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(TransactionalId(s(id)))
            .with_producer_id(ProducerId(pid))
            .with_producer_epoch(epoch)
            .with_group_id(GroupId(s(group)));
        self.call(&request, 3).error_code
    }

    pub(crate) fn send_offset(
        &mut self,
        id: &str,
        pid: i64,
        epoch: i16,
        group: &str,
        name: &str,
        at: i64,
    ) -> i16 {
        use txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_committed_offset(at)
            .with_committed_metadata(Some(s("ledger")));
        let sent =
            TxnOffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(s(id)))
            .with_group_id(GroupId(s(group)))
            .with_producer_id(ProducerId(pid))
            .with_producer_epoch(epoch)
            .with_generation_id(-1)
            .with_topics(vec![sent]);
        self.call(&request, 3).topics[0].partitions[0].error_code
    }

    pub(crate) fn end(&mut self, id: &str, pid: i64, epoch: i16, commit: bool) -> i16 {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(s(id)))
            .with_producer_id(ProducerId(pid))
            .with_producer_epoch(epoch)
            .with_committed(commit);
        self.call(&request, 3).error_code
    }

    pub(crate) fn commit(&mut self, group: &str, name: &str, at: i64, metadata: &str) -> i16 {
        use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(at)
            .with_committed_metadata(Some(s(metadata)));
        let sent =
            OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(s(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![sent]);
        self.call(&request, 8).topics[0].partitions[0].error_code
    }

    /// (error, offset, metadata)
    pub(crate) fn committed(&mut self, group: &str, name: &str, stable: bool) -> (i16, i64, String) {
        use offset_fetch_request::OffsetFetchRequestTopic;
        let wanted =
            OffsetFetchRequestTopic::default().with_name(topic(name)).with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(s(group)))
            .with_topics(Some(vec![wanted]))
            .with_require_stable(stable);
        let response = self.call(&request, 7);
        let one = &response.topics[0].partitions[0];
        (one.error_code, one.committed_offset, one.metadata.as_ref().expect("metadata").to_string())
    }
}

/// Where the last whole batch ends: a cleaning may have taken its last records, and its end says so.
fn end_of(records: &[u8]) -> Option<i64> {
    let (mut rest, mut end) = (records, None);
    while let (Some(base), Some(length), Some(delta)) = (rest.get(0..8), rest.get(8..12), rest.get(23..27)) {
        let base = i64::from_be_bytes(base.try_into().ok()?);
        let length = i32::from_be_bytes(length.try_into().ok()?) as usize;
        end = Some(base + i64::from(i32::from_be_bytes(delta.try_into().ok()?)) + 1);
        rest = rest.get(12 + length..).unwrap_or_default();
    }
    end
}

fn offset_of(error: i16) -> i64 {
    if error == 0 { 0 } else { -1 }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) error: i16,
    pub(crate) values: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) next: i64,
    pub(crate) high: i64,
    pub(crate) stable: i64,
    pub(crate) start: i64,
}

/// Offset, key, value.
pub(crate) type Row = (i64, String, Option<String>);

pub(crate) fn produce_request(id: Option<&str>, name: &str, index: i32, batch: Bytes) -> ProduceRequest {
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    let data = PartitionProduceData::default().with_index(index).with_records(Some(batch));
    let sent = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(id.map(|i| TransactionalId(s(i))))
        .with_acks(-1)
        .with_timeout_ms(1000)
        .with_topic_data(vec![sent])
}

pub(crate) fn fetch_request(name: &str, offset: i64, committed: bool, wait_ms: i32) -> FetchRequest {
    use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let wanted = FetchTopic::default().with_topic(topic(name)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(10 << 20)
        .with_isolation_level(committed.into())
        .with_topics(vec![wanted])
}

/// A batch of values; with a producer (id, epoch, sequence, transactional).
pub(crate) fn batch(values: &[&str], producer: Option<(i64, i16, i32, bool)>) -> Bytes {
    let rows: Vec<_> = values.iter().map(|value| ("k", Some(*value))).collect();
    keyed(&rows, producer)
}

/// A batch of keys and values.
pub(crate) fn keyed(rows: &[(&str, Option<&str>)], producer: Option<(i64, i16, i32, bool)>) -> Bytes {
    let (pid, epoch, sequence, transactional) = producer.unwrap_or((-1, -1, -1, false));
    let records: Vec<Record> = rows
        .iter()
        .enumerate()
        .map(|(n, (key, value))| Record {
            transactional,
            delete_horizon: false,
            control: false,
            partition_leader_epoch: -1,
            producer_id: pid,
            producer_epoch: epoch,
            timestamp_type: TimestampType::Creation,
            offset: n as i64,
            // Without a producer too: the encoder takes a break in the sequence for a new batch.
            sequence: sequence + n as i32,
            timestamp: 1_700_000_000_000,
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
            headers: IndexMap::new(),
        })
        .collect();
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut out, &records, &options).expect("batch");
    out.freeze()
}
