//! Dead letters: the original bytes, key and headers untouched, and the reason in headers of ours (design, "Topics"). Owns those headers;
//! must not know who rejected the record.
use atio_schemas::{Timestamp, header};
use atio_stage::{Headers, Output, Record, Reject};
use std::sync::Arc;

/// A topic or stage name is cut to so many bytes.
const NAME_MAX: usize = 256;

/// What a dead letter says besides the reject itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub stage: &'a str,
    /// From 1.
    pub attempt: u32,
    pub now: Timestamp,
}

/// The dead letter of a record, or of a part of it (then its value is the part's bytes).
#[must_use]
pub(crate) fn output(topic: &Arc<str>, record: &Record<'_>, reject: &Reject, context: Context<'_>) -> Output {
    let mut headers = Headers(
        record.headers.0.iter().filter(|(name, _)| !name.starts_with(header::ERRORS)).cloned().collect(),
    );
    let mut add = |name: &str, value: &str| {
        headers.0.push((Arc::from(format!("{}{name}", header::ERRORS)), value.as_bytes().to_vec()));
    };
    add("topic", cut(record.topic, NAME_MAX));
    add("partition", &record.partition.to_string());
    add("offset", &record.offset.to_string());
    add("stage", cut(context.stage, NAME_MAX));
    add("code", reject.code.as_str());
    add("message", cut(&reject.message, header::ERROR_MESSAGE_MAX));
    add("attempt", &context.attempt.to_string());
    add("first_seen", &context.now.rfc3339_millis());
    if let Some(part) = &reject.part {
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
        let record = Record {
            topic: "atio.raw.x",
            partition: 3,
            offset: 17,
            timestamp: Timestamp(0),
            key: Some(b"\xff\x00key"),
            value: Some(b"\xfe\x00value"),
            headers: &headers,
        };
        output(
            &Arc::from("atio.raw.x.dlq"),
            &record,
            reject,
            Context { stage: "normalization", attempt: 2, now: Timestamp(1_000_000) },
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
}
