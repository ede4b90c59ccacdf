//! What a record says that was replayed out of a dead letter (docs/dead-letters.md). Owns how those headers are read; must not know who
//! writes them, nor what a stage does about it.
use crate::record::Headers;
use atio_schemas::header;

/// The headers of a replayed record.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a>(&'a Headers);

impl<'a> Replay<'a> {
    /// None for a record that came by itself.
    #[must_use]
    pub fn of(headers: &'a Headers) -> Option<Self> {
        headers.get(header::REPLAY_LETTER).map(|_| Self(headers))
    }
    /// topic/partition/offset of the dead letter.
    #[must_use]
    pub fn letter(self) -> &'a str {
        self.0.text(header::REPLAY_LETTER).unwrap_or_default()
    }
    /// The one stage that is to take it, none: whoever reads the topic.
    #[must_use]
    pub fn stage(self) -> Option<&'a str> {
        self.0.text(header::REPLAY_STAGE)
    }
    /// Whether who runs these stages is to take it. The others that read the topic had the record before, and must not have it twice.
    #[must_use]
    pub fn is_for(self, runs: impl Fn(&str) -> bool) -> bool {
        self.stage().is_none_or(runs)
    }
    /// Topic, partition and offset where the record lay first.
    #[must_use]
    pub fn place(self) -> Option<(&'a str, i32, i64)> {
        let (rest, offset) = self.0.text(header::REPLAY_PLACE)?.rsplit_once('/')?;
        let (topic, partition) = rest.rsplit_once('/')?;
        Some((topic, partition.parse().ok()?, offset.parse().ok()?))
    }
    /// It is a part of that record: where it stood in it, in bytes.
    #[must_use]
    pub fn part(self) -> Option<u64> {
        self.0.text(header::REPLAY_PART)?.parse().ok()
    }
    /// How often it was tried before.
    #[must_use]
    pub fn attempts(self) -> u32 {
        self.0.text(header::REPLAY_ATTEMPTS).and_then(|n| n.parse().ok()).unwrap_or(1)
    }
    /// When it was a dead letter for the first time.
    #[must_use]
    pub fn first_seen(self) -> Option<&'a str> {
        self.0.text(header::REPLAY_FIRST_SEEN)
    }
    /// What it gave before, as the stream layer names outputs; none of it may go out again.
    #[must_use]
    pub fn emitted(self) -> &'a str {
        self.0.text(header::REPLAY_EMITTED).unwrap_or_default()
    }
    /// The stage had taken it over, and failed later: it goes on from there.
    #[must_use]
    pub fn is_anew(self) -> bool {
        self.0.get(header::REPLAY_ANEW).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::default();
        pairs.iter().for_each(|(name, value)| headers.set(name, value.as_bytes()));
        headers
    }

    #[test]
    fn a_replayed_record_says_what_it_was() {
        assert!(Replay::of(&headers(&[("ce_id", "1"), ("atio.replay.stage", "x")])).is_none());
        let all = headers(&[
            ("atio.replay.letter", "a.raw.x.dlq/1/7"),
            ("atio.replay.place", "a.raw.x/1/22"),
            ("atio.replay.part", "300"),
            ("atio.replay.attempts", "2"),
        ]);
        let replay = Replay::of(&all).unwrap();
        assert_eq!((replay.letter(), replay.place()), ("a.raw.x.dlq/1/7", Some(("a.raw.x", 1, 22))));
        assert_eq!((replay.part(), replay.attempts(), replay.emitted()), (Some(300), 2, ""));
        assert!(replay.is_for(|s| s == "normalization"), "of a topic with one reader");
    }

    #[test]
    fn one_branch_takes_it_and_the_others_do_not() {
        let all = headers(&[("atio.replay.letter", "l/0/0"), ("atio.replay.stage", "routing.w.siem")]);
        let replay = Replay::of(&all).unwrap();
        assert!(replay.is_for(|s| s == "routing.w.siem") && !replay.is_for(|s| s == "routing.w.share"));
        let wrong = headers(&[
            ("atio.replay.letter", "l"),
            ("atio.replay.place", "x"),
            ("atio.replay.attempts", "-"),
        ]);
        let replay = Replay::of(&wrong).unwrap();
        assert_eq!((replay.place(), replay.attempts(), replay.part()), (None, 1, None));
    }
}
