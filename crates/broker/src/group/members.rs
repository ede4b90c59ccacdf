//! Owns the words of the classic group protocol: members, states, requests, answers. Must not know how they move.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};

/// Who waits for an answer; the shell maps it to a connection.
pub(crate) type Token = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// Kafka's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) instance: Option<String>,
    pub(crate) client: String,
    pub(crate) host: String,
    pub(crate) session_ms: i64,
    pub(crate) rebalance_ms: i64,
    /// (name, metadata), in the member's order of preference.
    pub(crate) protocols: Vec<(String, Vec<u8>)>,
    pub(crate) assignment: Vec<u8>,
    #[serde(skip)]
    pub(crate) expires: i64,
    #[serde(skip)]
    pub(crate) joining: Option<Token>,
    #[serde(skip)]
    pub(crate) syncing: Option<Token>,
}

impl Member {
    pub(crate) fn metadata(&self, protocol: &str) -> &[u8] {
        self.protocols.iter().find(|p| p.0 == protocol).map_or(&[], |p| &p.1)
    }
}

/// A join, as the request has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Join {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) client: String,
    pub(crate) host: String,
    pub(crate) session_ms: i64,
    pub(crate) rebalance_ms: i64,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<(String, Vec<u8>)>,
    /// The client can be told its id first and join with it (version 4 and later).
    pub(crate) id_required: bool,
    /// The client can be told that it is leader without having to assign (version 9).
    pub(crate) may_skip: bool,
    /// An id for a new member, never used before.
    pub(crate) fresh: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) error: Option<ResponseError>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member: String,
    pub(crate) skip_assignment: bool,
    /// (member, instance, metadata); for the leader only.
    pub(crate) members: Vec<(String, Option<String>, Vec<u8>)>,
}

impl Joined {
    pub(crate) fn refused(member: &str, error: ResponseError) -> Joined {
        Joined { error: Some(error), generation: -1, member: member.to_owned(), ..Joined::default() }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Sync {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) assignments: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) error: Option<ResponseError>,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Vec<u8>,
}

impl Synced {
    pub(crate) fn refused(error: ResponseError) -> Synced {
        Synced { error: Some(error), ..Synced::default() }
    }
}

/// An answer that the machine gives to someone who waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Joined(Token, Joined),
    Synced(Token, Synced),
}
