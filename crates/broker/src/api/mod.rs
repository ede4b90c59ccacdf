//! Owns what the broker answers: one file a request, one alphabetical table of what is advertised. Handlers are
//! synchronous and take the time from their call; what has to wait is handed back to the server.
//! Must not know sockets or clocks.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, FetchRequest, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::sync::oneshot;

use crate::group::members::{Joined, Synced};
use crate::node::Node;
use shape::Shape;

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod alter_configs;
pub(crate) mod api_versions;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod describe_producers;
pub(crate) mod describe_transactions;
pub(crate) mod end_txn;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod list_transactions;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod shape;
pub(crate) mod sync_group;
pub(crate) mod txn_offset_commit;

/// The only node there is.
pub(crate) const NODE_ID: i32 = 1;

/// The time of a call, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// What the machine's clock says: for records.
    pub(crate) wall: i64,
    /// Since the start: for waits.
    pub(crate) mono: i64,
    /// Wall time that does not leap: for what ages, and for what is deleted or aborted by its age.
    pub(crate) steady: i64,
}

/// One request and where it comes from.
pub(crate) struct Call<'a> {
    pub(crate) node: &'a Node,
    pub(crate) now: Now,
    pub(crate) version: i16,
    pub(crate) correlation: i32,
    pub(crate) client: &'a str,
    /// The peer's address, as group descriptions show it.
    pub(crate) peer: &'a str,
    /// What the client is told to connect to.
    pub(crate) host: &'a str,
    pub(crate) port: i32,
}

/// What a handler comes to.
pub(crate) enum Answer {
    /// A whole response frame.
    Ready(BytesMut),
    /// The client wants none.
    Silent,
    Join(oneshot::Receiver<Joined>),
    Sync(oneshot::Receiver<Synced>),
    Fetch(FetchRequest),
}

/// A frame that is not what its header says; its connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("malformed request: {0}")]
pub(crate) struct Malformed(pub(crate) String);

type Run = fn(&Call<'_>, Bytes) -> Result<Answer, Malformed>;

/// Where a handler may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Memory, or one write to the page cache.
    Small,
    /// Files are made or deleted, or much is read.
    Disk,
}

/// One advertised API.
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) min: i16,
    pub(crate) max: i16,
    pub(crate) shape: Shape,
    pub(crate) cost: Cost,
    pub(crate) run: Run,
}

/// Everything that is advertised; nothing that is not implemented. Alphabetical.
pub(crate) const APIS: &[Api] = &[
    add_offsets_to_txn::API,
    add_partitions_to_txn::API,
    alter_configs::API,
    api_versions::API,
    create_partitions::API,
    create_topics::API,
    delete_groups::API,
    delete_records::API,
    delete_topics::API,
    describe_cluster::API,
    describe_configs::API,
    describe_groups::API,
    describe_producers::API,
    describe_transactions::API,
    end_txn::API,
    fetch::API,
    find_coordinator::API,
    heartbeat::API,
    incremental_alter_configs::API,
    init_producer_id::API,
    join_group::API,
    leave_group::API,
    list_groups::API,
    list_offsets::API,
    list_transactions::API,
    metadata::API,
    offset_commit::API,
    offset_delete::API,
    offset_fetch::API,
    offset_for_leader_epoch::API,
    produce::API,
    sync_group::API,
    txn_offset_commit::API,
];

pub(crate) fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key as i16 == key)
}

impl Call<'_> {
    fn read<T: Decodable>(&self, mut body: Bytes) -> Result<T, Malformed> {
        T::decode(&mut body, self.version).map_err(|e| Malformed(e.to_string()))
    }

    /// A response frame: length, header, body.
    pub(crate) fn frame<T: Encodable + HeaderVersion>(&self, response: &T) -> Result<BytesMut, Malformed> {
        let fail = |e: &dyn std::fmt::Display| Malformed(format!("response: {e}"));
        let size = response.compute_size(self.version).map_err(|e| fail(&e))?;
        let mut out = BytesMut::with_capacity(size + 16);
        out.put_i32(0);
        let header = ResponseHeader::default().with_correlation_id(self.correlation);
        header.encode(&mut out, T::header_version(self.version)).map_err(|e| fail(&e))?;
        response.encode(&mut out, self.version).map_err(|e| fail(&e))?;
        let length = i32::try_from(out.len() - 4).map_err(|e| fail(&e))?;
        out[0..4].copy_from_slice(&length.to_be_bytes());
        Ok(out)
    }

    fn ready<T: Encodable + HeaderVersion>(&self, response: &T) -> Result<Answer, Malformed> {
        self.frame(response).map(Answer::Ready)
    }
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// The protocol's number for a result; 0 is success.
fn code<T>(result: &Result<T, ResponseError>) -> i16 {
    match result {
        Ok(_) => 0,
        Err(error) => error.code(),
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
