//! What the events of a test come to, as text that people read and compare. Owns its form. Must not know: files.
use crate::machine::End;
use atio_schemas::incident::Answer;
use serde_json::{Map, Value, json};

/// A snapshot has at most so many bytes.
const MAX_BYTES: usize = 4 << 20;

/// The ends of all events, branch by branch.
#[derive(Debug, Default)]
pub(crate) struct Snapshot(Vec<Value>);

impl Snapshot {
    /// One event's end in a branch; what is held ends later. `answer`: to which wait, where it is what followed one.
    pub(crate) fn add(&mut self, branch: &str, event: &str, answer: Option<(i32, Answer)>, end: &End) {
        if end.delayed.is_some() && end.rejected.is_empty() {
            return;
        }
        let mut entry =
            Map::from_iter([("branch".to_owned(), json!(branch)), ("event".to_owned(), json!(event))]);
        if let Some((step, answer)) = answer {
            entry.insert("answer".to_owned(), json!({"step": step, "as": answer.as_str()}));
        }
        let mut put = |name: &str, all: Vec<Value>| {
            if !all.is_empty() {
                entry.insert(name.to_owned(), Value::from(all));
            }
        };
        let delivered = |d: &crate::Delivered| json!({"sink": d.sink, "format": d.format, "payload": payload(&d.payload)});
        put("delivered", end.outputs.iter().map(delivered).collect());
        let waits = end.waits.iter().map(
            |w| json!({"step": w.step, "role": w.role, "within_ms": w.within_ms, "otherwise": w.otherwise}),
        );
        put("waits", waits.collect());
        let told = |c: &atio_schemas::incident::Ack| json!({"action": c.action, "assignee": c.assignee, "severity": c.severity, "comment": c.comment, "verdict": c.verdict});
        put("incident", end.commands.iter().map(told).collect());
        let called =
            |c: &crate::machine::Called| json!({"workflow": c.workflow, "event": c.detection.event_id});
        put("called", end.calls.iter().map(called).collect());
        put("rejected", end.rejected.iter().map(|r| json!({"code": r.code, "message": r.message})).collect());
        if let Some(code) = end.dropped {
            entry.insert("dropped".to_owned(), json!(code));
        }
        self.0.push(Value::Object(entry));
    }

    /// # Errors
    /// It is too long to be read by anybody.
    pub(crate) fn text(self) -> Result<String, String> {
        let text = serde_json::to_string_pretty(&self.0).map_err(|e| e.to_string())? + "\n";
        if text.len() > MAX_BYTES {
            return Err(format!(
                "its snapshot has {} bytes, at most {MAX_BYTES} are kept: give it fewer events",
                text.len()
            ));
        }
        Ok(text)
    }
}

/// What is JSON stands there as such.
fn payload(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(bytes)))
}

/// Where two snapshots differ first; none where they are the same.
#[must_use]
pub fn difference(kept: &str, made: &str) -> Option<String> {
    if kept == made {
        return None;
    }
    let (mut one, mut other) = (kept.lines(), made.lines());
    for number in 1_u64.. {
        let (was, is) = (one.next(), other.next());
        if was != is || is.is_none() {
            let quote = |line: Option<&str>| {
                line.map_or("the end".to_owned(), |l| format!("`{}`", crate::yaml::short(l.trim())))
            };
            return Some(format!("line {number} is {}, was {}", quote(is), quote(was)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_told() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\n  c\n").unwrap(), "line 2 is `c`, was `b`");
        assert_eq!(difference("a\n", "a\nb\n").unwrap(), "line 2 is `b`, was the end");
        assert_eq!(difference("a", "a\n").unwrap(), "line 2 is the end, was the end");
    }
}
