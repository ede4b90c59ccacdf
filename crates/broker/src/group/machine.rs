//! Owns how one classic group moves: rebalances, sync, heartbeat, leave, time-outs, fencing of static members; how
//! members come is in `joining`. Pure: time comes in, answers go out. Must not know offsets, sockets or disks.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};

use super::members::{Joined, Member, Reply, State, Sync, Synced, Token};

/// One group. What is not skipped by serde survives a restart of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) state: State,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) members: BTreeMap<String, Member>,
    /// Instance id to member id.
    pub(crate) statics: BTreeMap<String, String>,
    /// Ids that were handed out and not yet joined with, until when.
    #[serde(skip)]
    pub(super) pending: BTreeMap<String, i64>,
    /// While preparing: when to stop waiting, and before when not to finish.
    #[serde(skip)]
    deadline: i64,
    #[serde(skip)]
    not_before: i64,
    /// While completing: when who has not synced is out.
    #[serde(skip)]
    sync_by: i64,
}

impl Default for Group {
    fn default() -> Group {
        Group {
            state: State::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            deadline: 0,
            not_before: 0,
            sync_by: 0,
        }
    }
}

pub(super) type Replies = Vec<Reply>;

impl Group {
    /// After a restart: members get their whole session time again; a rebalance that was under way is lost, so
    /// those members will be told to join.
    pub(crate) fn restored(&mut self, now: i64) {
        for member in self.members.values_mut() {
            member.expires = now + member.session_ms;
        }
        if !self.members.is_empty() && self.state != State::Stable {
            self.prepare(now, 0, &mut Vec::new());
        }
    }

    /// Starts a rebalance, unless one is being prepared.
    pub(super) fn prepare(&mut self, now: i64, delay_ms: i64, replies: &mut Replies) {
        if self.state == State::PreparingRebalance {
            return;
        }
        for member in self.members.values_mut() {
            if let Some(waiting) = member.syncing.take() {
                let again = Synced::refused(ResponseError::RebalanceInProgress);
                replies.push(Reply::Synced(waiting, again));
            }
        }
        let longest = self.members.values().map(|m| m.rebalance_ms).max().unwrap_or_default();
        self.not_before = if self.state == State::Empty { now + delay_ms } else { now };
        self.deadline = now + longest;
        self.state = State::PreparingRebalance;
    }

    pub(super) fn finish_join_if_due(&mut self, now: i64, replies: &mut Replies) {
        if self.state != State::PreparingRebalance {
            return;
        }
        let all = self.members.values().all(|m| m.joining.is_some()) && self.pending.is_empty();
        if !(all && now >= self.not_before || now >= self.deadline) {
            return;
        }
        // Static members keep their place until their session ends.
        let gone: Vec<String> = self
            .members
            .iter()
            .filter(|(_, m)| m.joining.is_none() && m.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.remove(&id, replies);
        }
        if !self.members.is_empty() && self.members.values().all(|m| m.joining.is_none()) {
            let longest = self.members.values().map(|m| m.rebalance_ms).max().unwrap_or_default();
            self.deadline = now + longest;
            return;
        }
        self.next_generation(now, replies);
    }

    fn next_generation(&mut self, now: i64, replies: &mut Replies) {
        self.generation = self.generation.wrapping_add(1).max(1);
        if self.members.is_empty() {
            self.state = State::Empty;
            self.protocol.clear();
            self.leader.clear();
            return;
        }
        let leads = self.members.get(&self.leader).is_some_and(|m| m.joining.is_some());
        if !leads && let Some((id, _)) = self.members.iter().find(|(_, m)| m.joining.is_some()) {
            self.leader = id.clone();
        }
        self.protocol = self.select_protocol();
        self.state = State::CompletingRebalance;
        let longest = self.members.values().map(|m| m.rebalance_ms).max().unwrap_or_default();
        self.sync_by = now + longest;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            if let Some(member) = self.members.get_mut(&id)
                && let Some(token) = member.joining.take()
            {
                member.expires = now + member.session_ms;
                replies.push(Reply::Joined(token, joined));
            }
        }
    }

    /// The protocol that all have and most like best.
    pub(super) fn select_protocol(&self) -> String {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member
                .protocols
                .iter()
                .find(|p| self.members.values().all(|m| m.protocols.iter().any(|q| q.0 == p.0)));
            if let Some(choice) = choice {
                *votes.entry(&choice.0).or_default() += 1;
            }
        }
        let best = votes.into_iter().max_by_key(|v| v.1);
        best.map(|v| v.0.to_owned()).unwrap_or_default()
    }

    fn remove(&mut self, id: &str, replies: &mut Replies) {
        let Some(member) = self.members.remove(id) else { return };
        if let Some(instance) = &member.instance
            && self.statics.get(instance).is_some_and(|i| i == id)
        {
            self.statics.remove(instance);
        }
        if let Some(token) = member.joining {
            let unknown = Joined::refused(id, ResponseError::UnknownMemberId);
            replies.push(Reply::Joined(token, unknown));
        }
        if let Some(token) = member.syncing {
            replies.push(Reply::Synced(token, Synced::refused(ResponseError::UnknownMemberId)));
        }
    }

    /// Removes members and rebalances the rest.
    fn remove_all(&mut self, ids: Vec<String>, now: i64, replies: &mut Replies) {
        if ids.is_empty() {
            return;
        }
        for id in ids {
            self.remove(&id, replies);
        }
        self.prepare(now, 0, replies);
        self.finish_join_if_due(now, replies);
    }

    /// Whether a member may act in a generation; −1 asks for membership only.
    fn check(&self, id: &str, instance: Option<&str>, generation: i32) -> Result<(), ResponseError> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                Some(current) if current != id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
                None => return Err(ResponseError::UnknownMemberId),
            }
        }
        if !self.members.contains_key(id) {
            return Err(ResponseError::UnknownMemberId);
        }
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        Ok(())
    }

    /// A member asks for its assignment; the leader brings all of them.
    pub(crate) fn sync(&mut self, sync: Sync, token: Token, now: i64) -> Replies {
        let mut replies = Vec::new();
        if let Err(error) = self.try_sync(sync, token, now, &mut replies) {
            replies.push(Reply::Synced(token, Synced::refused(error)));
        }
        replies
    }

    fn try_sync(
        &mut self,
        sync: Sync,
        token: Token,
        now: i64,
        replies: &mut Replies,
    ) -> Result<(), ResponseError> {
        self.check(&sync.member, sync.instance.as_deref(), sync.generation)?;
        if sync.protocol_type.is_some_and(|t| t != self.protocol_type)
            || sync.protocol.is_some_and(|p| p != self.protocol)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let leads = self.leader == sync.member;
        let Some(member) = self.members.get_mut(&sync.member) else {
            return Err(ResponseError::UnknownMemberId);
        };
        member.expires = now + member.session_ms;
        match self.state {
            State::Empty => Err(ResponseError::UnknownMemberId),
            State::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            State::Stable => {
                let synced = self.synced(&sync.member);
                replies.push(Reply::Synced(token, synced));
                Ok(())
            }
            State::CompletingRebalance => {
                if let Some(earlier) = member.syncing.replace(token) {
                    let again = Synced::refused(ResponseError::RebalanceInProgress);
                    replies.push(Reply::Synced(earlier, again));
                }
                if leads {
                    self.assign(sync.assignments, now, replies);
                }
                Ok(())
            }
        }
    }

    fn assign(&mut self, mut assignments: BTreeMap<String, Vec<u8>>, now: i64, replies: &mut Replies) {
        self.state = State::Stable;
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let synced = self.synced(&id);
            if let Some(member) = self.members.get_mut(&id)
                && let Some(waiting) = member.syncing.take()
            {
                member.expires = now + member.session_ms;
                replies.push(Reply::Synced(waiting, synced));
            }
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(id).map(|m| m.assignment.clone()).unwrap_or_default(),
        }
    }

    /// # Errors
    /// What the member has to know: fenced, unknown, an old generation, a rebalance.
    pub(crate) fn heartbeat(
        &mut self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
        now: i64,
    ) -> Result<(), ResponseError> {
        self.check(id, instance, generation)?;
        if let Some(member) = self.members.get_mut(id) {
            member.expires = now + member.session_ms;
        }
        match self.state {
            State::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// Fenced or unknown.
    pub(crate) fn leave(
        &mut self,
        id: &str,
        instance: Option<&str>,
        now: i64,
        replies: &mut Replies,
    ) -> Result<String, ResponseError> {
        let id = match instance {
            None => id.to_owned(),
            Some(instance) => match self.statics.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(current) if !id.is_empty() && current != id => {
                    return Err(ResponseError::FencedInstanceId);
                }
                Some(current) => current.clone(),
            },
        };
        if self.pending.remove(&id).is_some() {
            self.finish_join_if_due(now, replies);
            return Ok(id);
        }
        if !self.members.contains_key(&id) {
            return Err(ResponseError::UnknownMemberId);
        }
        self.remove_all(vec![id.clone()], now, replies);
        Ok(id)
    }

    /// When [`Group::tick`] has something to do, at the earliest.
    pub(crate) fn due(&self) -> Option<i64> {
        let ready = self.pending.is_empty() && self.members.values().all(|m| m.joining.is_some());
        let state = match self.state {
            State::PreparingRebalance if ready => Some(self.not_before.min(self.deadline)),
            State::PreparingRebalance => Some(self.deadline),
            State::CompletingRebalance => Some(self.sync_by),
            State::Empty | State::Stable => None,
        };
        let silent = self.members.values().filter(|m| m.joining.is_none() && m.syncing.is_none());
        silent.map(|m| m.expires).chain(self.pending.values().copied()).chain(state).min()
    }

    /// Time has passed: sessions end, waits end.
    pub(crate) fn tick(&mut self, now: i64) -> Replies {
        let mut replies = Vec::new();
        self.pending.retain(|_, until| *until > now);
        let late_sync = self.state == State::CompletingRebalance && now >= self.sync_by;
        let out = |m: &Member| {
            let silent = m.expires <= now && m.joining.is_none() && m.syncing.is_none();
            silent || (late_sync && m.syncing.is_none())
        };
        let dead = self.members.iter().filter(|(_, m)| out(m)).map(|(id, _)| id.clone()).collect();
        self.remove_all(dead, now, &mut replies);
        self.finish_join_if_due(now, &mut replies);
        replies
    }

    /// Whether a commit of offsets may be taken. `transactional` commits without a member are not checked: their
    /// producer's epoch fences them.
    ///
    /// # Errors
    /// Fenced, unknown, an old generation, a rebalance that the member has joined but not synced.
    pub(crate) fn check_commit(
        &mut self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
        transactional: bool,
        now: i64,
    ) -> Result<(), ResponseError> {
        if generation < 0 && (self.state == State::Empty || transactional && id.is_empty()) {
            return Ok(());
        }
        self.check(id, instance, generation)?;
        if let Some(member) = self.members.get_mut(id) {
            member.expires = now + member.session_ms;
        }
        match self.state {
            State::CompletingRebalance => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Whether some member's subscription names the topic (consumer protocol only).
    pub(crate) fn subscribed(&self, topic: &str) -> bool {
        self.members.values().any(|m| subscription(m.metadata(&self.protocol)).contains(&topic))
    }
}

/// The topics in a consumer protocol subscription; none when it is not one.
fn subscription(metadata: &[u8]) -> Vec<&str> {
    let mut topics = Vec::new();
    let Some((count, mut rest)) = metadata.get(2..).and_then(|b| b.split_first_chunk::<4>()) else {
        return topics;
    };
    for _ in 0..u32::from_be_bytes(*count) {
        let Some((length, tail)) = rest.split_first_chunk::<2>() else { break };
        let Some((name, tail)) = tail.split_at_checked(u16::from_be_bytes(*length).into()) else { break };
        topics.extend(std::str::from_utf8(name));
        rest = tail;
    }
    topics
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
