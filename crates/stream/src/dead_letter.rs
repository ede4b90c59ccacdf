//! Dead letters: the original bytes, key and headers untouched, and the reason in headers of ours (design, "Topics"). Owns those headers;
//! must not know who rejected the record.
use atio_schemas::{Timestamp, header};
use atio_stage::{Headers, Output, Record, Reject, Replay};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, sync::Arc};

/// A topic or stage name is cut to so many bytes.
const NAME_MAX: usize = 256;
/// Names of outputs in one header at most; with the reasons they fit into what a dead letter may be larger than its record.
const EMITTED_MAX: usize = 2_500;
/// Instead of more names than that.
const TOO_MANY: &str = "*";

/// What a dead letter says besides the reject itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub stage: &'a str,
    /// From 1. What it was tried before it was replayed comes on top.
    pub attempt: u32,
    pub now: Timestamp,
    /// What the record gave all the same: see [`Emitted`].
    pub emitted: &'a str,
}

/// What a record has given, by names that fit into a header: a replay must not give it again.
#[derive(Debug, Default)]
pub(crate) struct Emitted {
    names: BTreeSet<String>,
    too_many: bool,
}

impl Emitted {
    /// As a header has it.
    #[must_use]
    pub(crate) fn read(text: &str) -> Self {
        let names = text.split_ascii_whitespace().filter(|n| *n != TOO_MANY).map(str::to_owned).collect();
        Self { names, too_many: text == TOO_MANY }
    }
    #[must_use]
    pub(crate) fn has(&self, output: &Output) -> bool {
        !self.names.is_empty() && self.names.contains(&name(output))
    }
    pub(crate) fn add(&mut self, outputs: &[Output]) {
        if self.names.len() + outputs.len() > EMITTED_MAX {
            self.too_many = true;
        } else {
            self.names.extend(outputs.iter().map(name));
        }
    }
    #[must_use]
    pub(crate) fn text(&self) -> String {
        if self.too_many {
            return TOO_MANY.to_owned();
        }
        self.names.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// 16 hex digits of what makes an output that one: its topic, and its idempotency key, else its id.
fn name(output: &Output) -> String {
    let id = output.headers.get(header::IDEMPOTENCY_KEY).or_else(|| output.headers.get(header::CE_ID));
    let mut hash = Sha256::new();
    hash.update(output.topic.as_bytes());
    hash.update([0]);
    hash.update(id.or(output.key.as_deref()).unwrap_or_default());
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The dead letter of a record, or of a part of it (then its value is the part's bytes).
#[must_use]
pub(crate) fn output(topic: &Arc<str>, record: &Record<'_>, reject: &Reject, context: Context<'_>) -> Output {
    let replay = Replay::of(record.headers);
    // What was emitted is told once, by the reasons: with what came to it since.
    let is_original = |name: &str| !name.starts_with(header::ERRORS) && name != header::REPLAY_EMITTED;
    let mut headers =
        Headers(record.headers.0.iter().filter(|(name, _)| is_original(name)).cloned().collect());
    let attempt = context.attempt.saturating_add(replay.map_or(0, Replay::attempts));
    let first_seen = replay
        .and_then(Replay::first_seen)
        .map_or_else(|| context.now.rfc3339_millis(), |first_seen| cut(first_seen, NAME_MAX).to_owned());
    let mut add = |name: &str, value: &str| {
        headers.0.push((Arc::from(format!("{}{name}", header::ERRORS)), value.as_bytes().to_vec()));
    };
    add("topic", cut(record.topic, NAME_MAX));
    add("partition", &record.partition.to_string());
    add("offset", &record.offset.to_string());
    add("stage", cut(context.stage, NAME_MAX));
    add("code", reject.code.as_str());
    add("message", cut(&reject.message, header::ERROR_MESSAGE_MAX));
    add("attempt", &attempt.to_string());
    add("first_seen", &first_seen);
    if !context.emitted.is_empty() {
        add("emitted", context.emitted);
    }
    if let Some(part) = &reject.part {
        if part.offset.is_none() && part.line.is_none() {
            add("anew", "true");
        }
        for (name, value) in [("part_offset", part.offset), ("part_line", part.line)] {
            if let Some(value) = value {
                add(name, &value.to_string());
            }
        }
    }
    let value = match &reject.part {
        Some(part) => Some(part.bytes.clone()),
        None => record.value.map(<[u8]>::to_vec),
    };
    // Its partitions are at least as many as its source's (rule 13): where the original lay, its dead letter lies.
    Output {
        topic: topic.clone(),
        partition: Some(record.partition),
        key: record.key.map(<[u8]>::to_vec),
        value,
        headers,
    }
}

/// At most `max` bytes, on a character's border.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_schemas::Code;
    use atio_stage::Part;

    fn letter(reject: &Reject) -> Output {
        let headers = Headers(vec![
            (Arc::from("ce_id"), b"a".to_vec()),
            (Arc::from("atio.errors.code"), b"forged".to_vec()),
            (Arc::from("bin"), vec![0xff, 0]),
        ]);
        letter_of(&headers, reject, "")
    }

    fn letter_of(headers: &Headers, reject: &Reject, emitted: &str) -> Output {
        let record = Record {
            topic: "atio.raw.x",
            partition: 3,
            offset: 17,
            timestamp: Timestamp(0),
            key: Some(b"\xff\x00key"),
            value: Some(b"\xfe\x00value"),
            headers,
        };
        output(
            &Arc::from("atio.raw.x.dlq"),
            &record,
            reject,
            Context { stage: "normalization", attempt: 2, now: Timestamp(1_000_000), emitted },
        )
    }

    #[test]
    fn the_original_is_untouched_and_forged_reasons_are_gone() {
        let out = letter(&Reject::whole(Code::InvalidJson, "line 1"));
        assert_eq!(
            (out.key.as_deref(), out.value.as_deref()),
            (Some(&b"\xff\x00key"[..]), Some(&b"\xfe\x00value"[..]))
        );
        assert_eq!((&*out.topic, out.partition), ("atio.raw.x.dlq", Some(3)));
        assert_eq!(out.headers.0.iter().filter(|(n, _)| &**n == "atio.errors.code").count(), 1);
        let text = |n: &str| out.headers.text(&format!("atio.errors.{n}")).unwrap().to_owned();
        assert_eq!(text("code"), "invalid_json");
        assert_eq!(
            [
                text("topic"),
                text("partition"),
                text("offset"),
                text("stage"),
                text("message"),
                text("attempt"),
                text("first_seen")
            ],
            ["atio.raw.x", "3", "17", "normalization", "line 1", "2", "1970-01-01T00:00:01.000Z"]
        );
        assert_eq!(out.headers.get("bin"), Some(&[0xff, 0][..]));
        assert_eq!(out.headers.get("ce_id"), Some(&b"a"[..]));
    }

    #[test]
    fn a_part_is_its_bytes_and_a_long_message_is_cut_on_a_border() {
        let part = Part { bytes: b"bad".to_vec(), offset: Some(5), line: Some(2) };
        let out = letter(&Reject { code: Code::InvalidField, message: "é".repeat(2000), part: Some(part) });
        assert_eq!(out.value.as_deref(), Some(&b"bad"[..]));
        assert_eq!(out.headers.text("atio.errors.part_line"), Some("2"));
        assert_eq!(out.headers.text("atio.errors.message").unwrap().len(), header::ERROR_MESSAGE_MAX);
    }

    #[test]
    fn what_fails_again_says_how_often_since_when_and_what_it_gave() {
        let mut headers = Headers::default();
        for (name, value) in [
            ("atio.replay.letter", "atio.raw.x.dlq/3/1"),
            ("atio.replay.attempts", "3"),
            ("atio.replay.first_seen", "1970-01-01T00:00:00.500Z"),
            ("atio.replay.place", "atio.raw.x/3/17"),
            ("atio.replay.emitted", "0011223344556677"),
        ] {
            headers.set(name, value);
        }
        let given = "0011223344556677 8899aabbccddeeff";
        let out = letter_of(&headers, &Reject::whole(Code::InvalidJson, "still"), given);
        let text = |n: &str| out.headers.text(n).map(str::to_owned);
        assert_eq!(text("atio.errors.attempt").as_deref(), Some("5"), "three before, two now");
        assert_eq!(text("atio.errors.first_seen").as_deref(), Some("1970-01-01T00:00:00.500Z"));
        assert_eq!(text("atio.errors.emitted").as_deref(), Some(given));
        assert_eq!(text("atio.replay.emitted"), None, "told once");
        assert_eq!(text("atio.replay.place").as_deref(), Some("atio.raw.x/3/17"), "where it lay first");
    }

    #[test]
    fn outputs_have_names_and_too_many_have_none() {
        let of = |topic: &str, key: &str| {
            let mut headers = Headers::default();
            headers.set("ce_id", b"e");
            headers.set("atio_idempotency_key", key.as_bytes());
            Output::new(topic, "k", vec![], headers)
        };
        let mut given = Emitted::default();
        given.add(&[of("delivery.a", "1"), of("delivery.b", "2")]);
        let read = Emitted::read(&given.text());
        assert!(read.has(&of("delivery.a", "1")) && read.has(&of("delivery.b", "2")));
        assert!(!read.has(&of("delivery.a", "2")) && !read.has(&of("delivery.c", "1")));
        given.add(&vec![of("x", "1"); EMITTED_MAX]);
        assert_eq!(given.text(), "*");
        assert!(!Emitted::read("*").has(&of("x", "1")) && Emitted::read("*").text() == "*");
        assert_eq!(Emitted::default().text(), "");
        let largest = EMITTED_MAX * 17 + 3 * NAME_MAX + header::ERROR_MESSAGE_MAX;
        assert!(largest + 4096 < 64 * 1024, "with the reasons, {largest} bytes");
    }

    #[test]
    fn what_was_written_anew_says_so() {
        let anew = |offset| {
            let part = Some(Part { bytes: b"w".to_vec(), offset, line: None });
            let out = letter(&Reject { code: Code::StepFailed, message: String::new(), part });
            out.headers.get("atio.errors.anew").is_some()
        };
        assert!(anew(None) && !anew(Some(0)));
    }
}
