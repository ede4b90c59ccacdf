//! Dead letters of what never became a raw event. Owns their headers (design, "Topics"); must not know who rejected it.
use atio_schemas::{Code, Timestamp, header};
use atio_stage::{Headers, Output};
use atio_topics::Source;
use std::sync::Arc;

/// A path is cut to so many bytes in a header.
const NAME_MAX: usize = 4096;

/// What was rejected, where it lay and why.
pub(crate) struct Letter<'a> {
    pub source: &'a Source,
    pub prefix: &'a str,
    /// Stable identity of the file, or its sha256.
    pub file: &'a str,
    pub path: &'a str,
    pub offset: u64,
    pub code: Code,
    pub message: &'a str,
    pub now: Timestamp,
}

impl Letter<'_> {
    /// With the bytes, untouched.
    pub(crate) fn whole(&self, raw: Vec<u8>) -> Output {
        let mut headers = Headers::default();
        headers.set(header::TENANT, self.source.tenant.as_bytes());
        headers.set(header::RUN, header::LIVE);
        let mut add = |name: &str, value: &str| headers.set(&format!("{}{name}", header::ERRORS), value);
        add("topic", &self.source.topic(self.prefix));
        add("stage", crate::SERVICE);
        add("code", self.code.as_str());
        add("message", cut(self.message, header::ERROR_MESSAGE_MAX));
        add("attempt", "1");
        add("first_seen", &self.now.rfc3339_millis());
        add("file", self.file);
        add("path", cut(self.path, NAME_MAX));
        add("part_offset", &self.offset.to_string());
        Output {
            topic: Arc::from(self.source.dead_letters(self.prefix)),
            partition: None,
            key: None,
            value: Some(raw),
            headers,
        }
    }

    /// Instead of bytes that no topic takes: where they are, how many, and their hash.
    pub(crate) fn reference(&self, size: u64, sha256: &str) -> Output {
        let body =
            serde_json::json!({"path": self.path, "offset": self.offset, "size": size, "sha256": sha256});
        self.whole(body.to_string().into_bytes())
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
