//! Owns how members come to a group: new ones, known ones again, static ones after a restart. Pure: time and fresh
//! ids come in, answers go out. Must not know offsets, sockets or disks.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;

use super::machine::{Group, Replies};
use super::members::{Join, Joined, Member, Reply, State, Synced, Token};

impl Group {
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
        let common = others
            .fold(join.protocols.iter().map(|p| p.0.as_str()).collect::<BTreeSet<_>>(), |names, (_, m)| {
                names.into_iter().filter(|n| m.protocols.iter().any(|p| p.0 == *n)).collect()
            });
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

    fn add(&mut self, id: String, join: &Join, token: Token, now: i64, delay_ms: i64, replies: &mut Replies) {
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

    pub(super) fn joined(&self, id: &str) -> Joined {
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
}
