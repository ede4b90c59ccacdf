//! What was done with dead letters already: the topic `dlq-marks`. Owns reading it; must not know what a letter says.
use super::letter::At;
use crate::{
    commands::look::Look,
    exit::{Exit, Failure},
    render,
};
use atio_schemas::letter::LetterMark;
use std::collections::BTreeMap;

const TOPIC: &str = "dlq-marks";

pub fn topic(look: &Look) -> String {
    format!("{}{TOPIC}", look.config.prefix)
}

/// Marks by dead-letter topic and place.
#[derive(Debug, Default)]
pub struct Marks {
    by_topic: BTreeMap<String, BTreeMap<At, LetterMark>>,
    /// Where something lies that is no mark.
    unreadable: Option<String>,
}

impl Marks {
    /// As they are now; none on a system that is older than they are. What is no mark is told and left out.
    pub fn read(look: &Look) -> anyhow::Result<Self> {
        let marks = Self::read_all(look)?;
        if let Some(what) = &marks.unreadable {
            render::notice(&format!("{what}: left out"));
        }
        Ok(marks)
    }

    /// For whoever writes on the strength of them: a letter whose mark can't be read may have been replayed.
    pub fn whole(look: &Look) -> anyhow::Result<Self> {
        let marks = Self::read_all(look)?;
        match &marks.unreadable {
            None => Ok(marks),
            Some(what) => Err(Failure::with(
                Exit::Failed,
                format!("{what}; nothing is replayed before somebody has looked"),
            )),
        }
    }

    fn read_all(look: &Look) -> anyhow::Result<Self> {
        let name = topic(look);
        let mut all = Self::default();
        if !look.topics()?.contains_key(&name) {
            return Ok(all);
        }
        for entry in look.latest(&name)?.into_values() {
            match look.decoder.decode(entry.value.as_deref().unwrap_or_default()) {
                Ok(mark) => all.put(mark),
                Err(e) => {
                    all.unreadable =
                        Some(format!("{name}/{}/{} is no mark: {e}", entry.partition, entry.offset));
                }
            }
        }
        Ok(all)
    }

    pub fn put(&mut self, mark: LetterMark) {
        self.by_topic.entry(mark.topic.clone()).or_default().insert(At::from(&mark), mark);
    }
    pub fn of(&self, topic: &str, at: At) -> Option<&LetterMark> {
        self.by_topic.get(topic)?.get(&at)
    }
}

/// For whoever writes marks.
pub fn must_be_there(look: &Look) -> anyhow::Result<()> {
    let name = topic(look);
    if look.topics()?.contains_key(&name) {
        return Ok(());
    }
    Err(Failure::usage(format!("there is no topic {name} yet; `atio apply --topics-only` makes it")))
}

/// In a few words, for people.
pub fn told(mark: &LetterMark) -> String {
    let reason = mark.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
    let edited = if mark.sha256_after.is_some() { ", edited" } else { "" };
    format!("{}{edited} by {} at {}{reason}", mark.action, mark.actor, mark.at.rfc3339_millis())
}
