//! Owns how one classic group moves: join, sync, heartbeat, leave, time-outs, fencing of static members. Pure: time and
//! fresh ids come in, answers go out. Must not know offsets, sockets or disks.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};

use super::members::{Join, Joined, Member, Reply, State, Sync, Synced, Token};

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
    pending: BTreeMap<String, i64>,
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

type Replies = Vec<Reply>;

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

    /// A member joins, or joins again. The answer comes at once or with a later event.
    pub(crate) fn join(&mut self, join: Join, token: Token, now: i64, delay_ms: i64) -> Replies {
        let mut replies = Vec::new();
        if let Err(error) = self.try_join(&join, token, now, delay_ms, &mut replies) {
            replies.push(Reply::Joined(token, Joined::refused(&join.member, error)));
        }
        self.finish_join_if_due(now, &mut replies);
        replies
    }

    fn try_join(
        &mut self,
        join: &Join,
        token: Token,
        now: i64,
        delay_ms: i64,
        replies: &mut Replies,
    ) -> Result<(), ResponseError> {
        self.check_protocols(join)?;
        if join.member.is_empty() {
            return self.join_unknown(join, token, now, delay_ms, replies);
        }
        if let Some(instance) = &join.instance {
            match self.statics.get(instance) {
                Some(id) if *id != join.member => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
                None => return Err(ResponseError::UnknownMemberId),
            }
        } else if self.pending.remove(&join.member).is_some() {
            self.add(join.member.clone(), join, token, now, delay_ms, replies);
            return Ok(());
        }
        self.rejoin(join, token, now, delay_ms, replies)
    }

    fn check_protocols(&self, join: &Join) -> Result<(), ResponseError> {
        if join.protocols.is_empty() || join.protocol_type.is_empty() {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        if self.state == State::Empty {
            return Ok(());
        }
        let others = self.members.iter().filter(|(id, m)| {
            **id != join.member && (join.instance.is_none() || m.instance != join.instance)
        });
        let common = others.fold(
            join.protocols.iter().map(|p| p.0.as_str()).collect::<BTreeSet<_>>(),
            |names, (_, m)| {
                names.into_iter().filter(|n| m.protocols.iter().any(|p| p.0 == *n)).collect()
            },
        );
        if self.protocol_type != join.protocol_type || common.is_empty() {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn join_unknown(
        &mut self,
        join: &Join,
        token: Token,
        now: i64,
        delay_ms: i64,
        replies: &mut Replies,
    ) -> Result<(), ResponseError> {
        let id = join.fresh.clone();
        if let Some(old) = join.instance.as_ref().and_then(|i| self.statics.get(i).cloned()) {
            self.replace_static(&old, id, join, token, now, delay_ms, replies);
            return Ok(());
        }
        if join.instance.is_none() && join.id_required {
            self.pending.insert(id.clone(), now + join.session_ms);
            let refused = Joined::refused(&id, ResponseError::MemberIdRequired);
            replies.push(Reply::Joined(token, refused));
            return Ok(());
        }
        self.add(id, join, token, now, delay_ms, replies);
        Ok(())
    }

    fn add(
        &mut self,
        id: String,
        join: &Join,
        token: Token,
        now: i64,
        delay_ms: i64,
        replies: &mut Replies,
    ) {
        if self.members.is_empty() {
            self.protocol_type = join.protocol_type.clone();
        }
        if let Some(instance) = &join.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        let member = Member {
            instance: join.instance.clone(),
            client: join.client.clone(),
            host: join.host.clone(),
            session_ms: join.session_ms,
            rebalance_ms: join.rebalance_ms,
            protocols: join.protocols.clone(),
            assignment: Vec::new(),
            expires: now + join.session_ms,
            joining: Some(token),
            syncing: None,
        };
        self.members.insert(id, member);
        let delay = if self.state == State::Empty { delay_ms } else { 0 };
        self.prepare(now, delay, replies);
    }

    /// A static member came back without its id: it gets a new one, the old one is fenced.
    fn replace_static(
        &mut self,
        old: &str,
        id: String,
        join: &Join,
        token: Token,
        now: i64,
        delay_ms: i64,
        replies: &mut Replies,
    ) {
        let Some(mut member) = self.members.remove(old) else { return };
        if let Some(waiting) = member.joining.take() {
            let fenced = Joined::refused(old, ResponseError::FencedInstanceId);
            replies.push(Reply::Joined(waiting, fenced));
        }
        if let Some(waiting) = member.syncing.take() {
            replies.push(Reply::Synced(waiting, Synced::refused(ResponseError::FencedInstanceId)));
        }
        member.protocols = join.protocols.clone();
        member.client = join.client.clone();
        member.host = join.host.clone();
        member.session_ms = join.session_ms;
        member.rebalance_ms = join.rebalance_ms;
        member.expires = now + join.session_ms;
        self.members.insert(id.clone(), member);
        if let Some(instance) = &join.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        let was_leader = self.leader == old;
        if was_leader {
            self.leader = id.clone();
        }
        if self.state == State::Stable && self.select_protocol() == self.protocol {
            let mut joined = self.joined(&id);
            if was_leader && join.may_skip {
                joined.skip_assignment = true;
            } else if was_leader {
                // It must not assign anew: older clients take another's id as "not me".
                joined.leader = old.to_owned();
                joined.members.clear();
            }
            replies.push(Reply::Joined(token, joined));
            return;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.joining = Some(token);
        }
        self.prepare(now, delay_ms, replies);
    }

    fn rejoin(
        &mut self,
        join: &Join,
        token: Token,
        now: i64,
        delay_ms: i64,
        replies: &mut Replies,
    ) -> Result<(), ResponseError> {
        let Some(member) = self.members.get_mut(&join.member) else {
            return Err(ResponseError::UnknownMemberId);
        };
        member.expires = now + member.session_ms;
        let same = member.protocols == join.protocols;
        let leads = self.leader == join.member;
        let answer_now = match self.state {
            State::CompletingRebalance => same,
            State::Stable => same && !leads,
            State::PreparingRebalance | State::Empty => false,
        };
        if answer_now {
            replies.push(Reply::Joined(token, self.joined(&join.member)));
            return Ok(());
        }
        member.protocols = join.protocols.clone();
        member.rebalance_ms = join.rebalance_ms;
        member.session_ms = join.session_ms;
        if let Some(earlier) = member.joining.replace(token) {
            // Its connection asked twice; the first one will not be read any more.
            let again = Joined::refused(&join.member, ResponseError::RebalanceInProgress);
            replies.push(Reply::Joined(earlier, again));
        }
        self.prepare(now, delay_ms, replies);
        Ok(())
    }

    fn joined(&self, id: &str) -> Joined {
        let members = if self.leader == id {
            let describe = |(id, m): (&String, &Member)| {
                (id.clone(), m.instance.clone(), m.metadata(&self.protocol).to_vec())
            };
            self.members.iter().map(describe).collect()
        } else {
            Vec::new()
        };
        Joined {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member: id.to_owned(),
            skip_assignment: false,
            members,
        }
    }

    /// Starts a rebalance, unless one is being prepared.
    fn prepare(&mut self, now: i64, delay_ms: i64, replies: &mut Replies) {
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

    fn finish_join_if_due(&mut self, now: i64, replies: &mut Replies) {
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
    fn select_protocol(&self) -> String {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(|p| {
                self.members.values().all(|m| m.protocols.iter().any(|q| q.0 == p.0))
            });
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
