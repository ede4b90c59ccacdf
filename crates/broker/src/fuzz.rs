//! Owns the way in for fuzzers: what the server does with a frame, without a socket, on a small broker that has
//! something to say. No part of the interface; must not know what requests mean.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::api::{Answer, Call, Malformed, Now, api_versions, fetch, join_group, sync_group};
use crate::config::Config;
use crate::error::BrokerError;
use crate::group::members::{Join, Sync};
use crate::node::Node;
use crate::server::frame;

const MAX_FRAME: usize = 1 << 20;
/// Upkeep runs after so many frames, as it does after a second.
const UPKEEP_EVERY: i64 = 500;

/// What came of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Handled {
    /// The connection would be closed, with these words.
    Refused(String),
    /// A whole response frame.
    Answered(Vec<u8>),
    /// The client wants no answer, or gets it when others have done their part.
    Nothing,
    /// What must never be: the broker's own answer is broken.
    Wrong(String),
}

/// A broker without sockets.
pub struct Target {
    node: Node,
    now: Now,
    frames: i64,
}

impl Target {
    /// Topic `t`, group `g` with a member, transactional id `tx`, on an empty directory.
    ///
    /// # Errors
    /// The directory's.
    pub fn new(data: &Path) -> Result<Target, BrokerError> {
        let mut config = Config::new(data, SocketAddr::from(([127, 0, 0, 1], 0)));
        (config.max_partitions, config.max_groups, config.max_transactional_ids) = (16, 16, 16);
        config.metadata_retention = Duration::from_secs(10);
        config.producer_retention = Duration::from_secs(10);
        let now = Now { wall: 1_800_000_000_000, mono: 1_000, steady: 1_800_000_000_000 };
        let node = Node::open(&config, now)?;
        let refused = |e: &dyn std::fmt::Display| BrokerError::Data(e.to_string());
        if node.topics.get("t").is_none() {
            node.topics.create("t", 2, BTreeMap::new(), false).map_err(|e| refused(&e.1))?;
        }
        let join = Join {
            session_ms: 1_800_000,
            rebalance_ms: 1_800_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("p".to_owned(), vec![1])],
            fresh: "member".to_owned(),
            ..Join::default()
        };
        drop(node.groups.join("g", join, now.mono));
        node.groups.tick(now.mono + 200);
        let sync = Sync { member: "member".to_owned(), generation: 1, ..Sync::default() };
        drop(node.groups.sync("g", sync, now.mono));
        let (pid, epoch) = node.txns.init("tx", 60_000, (-1, -1), now.wall).map_err(|e| refused(&e))?;
        let added = node.txns.add_partitions("tx", pid, epoch, vec![("t".to_owned(), 1)], now.wall);
        added.map_err(|e| refused(&e))?;
        Ok(Target { node, now, frames: 0 })
    }

    /// Handles one frame, its length not included, as a connection does.
    pub fn frame(&mut self, bytes: &[u8]) -> Handled {
        self.frames += 1;
        let Now { wall, mono, steady } = self.now;
        self.now = Now { wall: wall + 2, mono: mono + 2, steady: steady + 2 };
        if self.frames % UPKEEP_EVERY == 0 {
            self.node.tick_transactions(self.now);
            self.node.groups.tick(self.now.mono);
            self.node.maintain(self.now);
            self.node.expire(self.now);
        }
        match self.handle(bytes) {
            Ok(Some((correlation, answer))) => whole(correlation, &answer),
            Ok(None) => Handled::Nothing,
            // What a handler read is whole: if its answer has no encoding, the handler is wrong.
            Err(error) if error.starts_with("malformed request: response") => Handled::Wrong(error),
            Err(error) => Handled::Refused(error),
        }
    }

    fn handle(&self, bytes: &[u8]) -> Result<Option<(i32, BytesMut)>, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let claimed = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        let length = frame::length(claimed, MAX_FRAME).map_err(|e| text(&e))?;
        let head = bytes.first_chunk::<{ frame::HEAD }>().ok_or("short")?;
        let door = frame::door(head, length).map_err(|e| text(&e))?;
        let (client, body) = door.open(Bytes::copy_from_slice(bytes)).map_err(|e| text(&e))?;
        let call = Call {
            node: &self.node,
            now: self.now,
            version: if door.unsupported { 0 } else { door.version },
            correlation: door.correlation,
            client: &client,
            peer: "/127.0.0.1",
            host: "127.0.0.1",
            port: 9092,
        };
        let answer = match door.unsupported {
            true => api_versions::unsupported(&call),
            false => (door.api.run)(&call, body),
        };
        let answer = answer.and_then(|a| finish(&call, a)).map_err(|e| text(&e))?;
        Ok(answer.map(|a| (door.correlation, a)))
    }
}

fn finish(call: &Call<'_>, answer: Answer) -> Result<Option<BytesMut>, Malformed> {
    match answer {
        Answer::Ready(frame) => Ok(Some(frame)),
        Answer::Silent => Ok(None),
        Answer::Join(mut wait) => match wait.try_recv() {
            Ok(joined) => call.frame(&join_group::response(joined, call.version)).map(Some),
            Err(_) => Ok(None),
        },
        Answer::Sync(mut wait) => match wait.try_recv() {
            Ok(synced) => call.frame(&sync_group::response(synced)).map(Some),
            Err(_) => Ok(None),
        },
        Answer::Fetch(request) => match fetch::plan(call, &request) {
            Ok(plan) => call.frame(&plan.read(1).0).map(Some),
            Err(_) => Ok(None),
        },
    }
}

fn whole(correlation: i32, answer: &[u8]) -> Handled {
    let length = answer.first_chunk::<4>().map(|b| i32::from_be_bytes(*b));
    let echoed = answer.get(4..8).and_then(|b| b.first_chunk::<4>()).map(|b| i32::from_be_bytes(*b));
    if length == i32::try_from(answer.len() - 4).ok() && echoed == Some(correlation) {
        return Handled::Answered(answer.to_vec());
    }
    Handled::Wrong(format!("length {length:?} of {}, correlation {echoed:?}", answer.len()))
}

#[cfg(test)]
#[path = "fuzz_tests.rs"]
mod tests;
