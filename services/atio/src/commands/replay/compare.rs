//! What a replay made against what was made then. Owns what counts as the same; must not know topics.
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Payloads that are kept for examples, in all.
const KEPT_BYTES: usize = 64 << 20;

/// One delivery, then or now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub event: String,
    pub branch: String,
    pub sink: String,
    pub format: String,
    pub payload: Vec<u8>,
}

/// A leg of a workflow: branch and sink.
pub type Leg = (String, String);

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub same: u64,
    pub changed: u64,
    /// Not delivered then.
    pub new: u64,
    /// Delivered then.
    pub missing: u64,
    /// Behind a wait that nobody has answered: whether it is delivered is open.
    pub waiting: u64,
}

impl Counts {
    pub fn differs(&self) -> bool {
        self.changed + self.new + self.missing > 0
    }
}

/// How one delivery differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub what: &'static str,
    pub event: String,
    pub leg: Leg,
    pub idempotency_key: String,
    /// JSON pointers that differ, or what can be said besides.
    pub places: Vec<String>,
}

struct Now {
    made: Made,
    behind_wait: bool,
    digest: [u8; 32],
    /// Its payload was let go of.
    bare: bool,
}

/// Collects what is made now, then takes what was made then.
#[derive(Default)]
pub struct Comparison {
    now: BTreeMap<String, Now>,
    kept: usize,
    /// Events that were replayed.
    events: HashSet<String>,
    seen: HashSet<String>,
    counts: BTreeMap<Leg, Counts>,
    examples: Vec<Difference>,
    most: usize,
}

impl Comparison {
    /// Tells of so many differences at most.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }
    pub fn event(&mut self, event: &str) {
        self.events.insert(event.to_owned());
    }

    /// What the replay delivers.
    pub fn now(&mut self, key: String, mut made: Made, behind_wait: bool) {
        let digest = digest(&made.payload);
        let bare = self.kept + made.payload.len() > KEPT_BYTES;
        if bare {
            made.payload = vec![];
        } else {
            self.kept += made.payload.len();
        }
        // The steps behind a wait may be run for each event that joins it; the first one's count.
        self.now.entry(key).or_insert(Now { made, behind_wait, digest, bare });
    }

    /// What was delivered then; a repeated delivery is the same one.
    pub fn then(&mut self, key: &str, made: Made) {
        if !self.events.contains(&made.event) || !self.seen.insert(key.to_owned()) {
            return;
        }
        let leg = (made.branch.clone(), made.sink.clone());
        let Some(now) = self.now.get(key) else {
            self.counts.entry(leg.clone()).or_default().missing += 1;
            return self.example("missing", made.event, leg, key, vec![]);
        };
        if now.digest == digest(&made.payload) && now.made.format == made.format {
            self.counts.entry(leg).or_default().same += 1;
            return;
        }
        let places = if now.made.format != made.format {
            vec![format!("format {} instead of {}", now.made.format, made.format)]
        } else if now.bare {
            vec![]
        } else {
            differences(&made.payload, &now.made.payload)
        };
        self.counts.entry(leg.clone()).or_default().changed += 1;
        self.example("changed", made.event, leg, key, places);
    }

    /// When all is told.
    pub fn end(mut self) -> (BTreeMap<Leg, Counts>, Vec<Difference>) {
        let rest: Vec<(String, Now)> =
            std::mem::take(&mut self.now).into_iter().filter(|(key, _)| !self.seen.contains(key)).collect();
        for (key, now) in rest {
            let leg = (now.made.branch, now.made.sink);
            let counts = self.counts.entry(leg.clone()).or_default();
            if now.behind_wait {
                counts.waiting += 1;
            } else {
                counts.new += 1;
                self.example("new", now.made.event, leg, &key, vec![]);
            }
        }
        (self.counts, self.examples)
    }

    fn example(&mut self, what: &'static str, event: String, leg: Leg, key: &str, places: Vec<String>) {
        if self.examples.len() < self.most {
            self.examples.push(Difference { what, event, leg, idempotency_key: key.to_owned(), places });
        }
    }
}

fn digest(payload: &[u8]) -> [u8; 32] {
    <sha2::Sha256 as sha2::Digest>::digest(payload).into()
}

/// Where two payloads differ: JSON pointers, sorted; of what is no JSON, that it does.
fn differences(then: &[u8], now: &[u8]) -> Vec<String> {
    let (Ok(then), Ok(now)) = (serde_json::from_slice(then), serde_json::from_slice(now)) else {
        return vec!["the bytes".to_owned()];
    };
    let mut places = BTreeSet::new();
    walk(&then, &now, "", &mut places);
    places.into_iter().collect()
}

fn walk(then: &Value, now: &Value, at: &str, places: &mut BTreeSet<String>) {
    let below = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match (then, now) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys()) {
                let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                if a.get(name) != b.get(name) {
                    walk(&of(a), &of(b), &below(name), places);
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b);
            pairs.for_each(|(n, (a, b))| walk(a, b, &below(&n.to_string()), places));
        }
        _ => drop(places.insert(if at.is_empty() { "/".to_owned() } else { at.to_owned() })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(event: &str, sink: &str, payload: &str) -> Made {
        Made {
            event: event.into(),
            branch: "b".into(),
            sink: sink.into(),
            format: "ecs".into(),
            payload: payload.into(),
        }
    }

    #[test]
    fn each_delivery_counts_once_and_as_what_it_is() {
        let mut all = Comparison::new(10);
        ["1", "2", "3", "4", "5"].iter().for_each(|event| all.event(event));
        all.now("k1".into(), made("1", "s", r#"{"a":1}"#), false);
        all.now("k2".into(), made("2", "s", r#"{"a":{"b":[1,2]},"c":3}"#), false);
        all.now("k3".into(), made("3", "s", "{}"), false);
        all.now("k4".into(), made("4", "s", "{}"), true);
        all.now("k4".into(), made("5", "s", "[]"), true);
        all.then("k1", made("1", "s", r#"{"a":1}"#));
        all.then("k1", made("1", "s", r#"{"a":1}"#));
        all.then("k2", made("2", "s", r#"{"a":{"b":[1,5]}}"#));
        all.then("k5", made("5", "t", "{}"));
        all.then("k6", made("of another time", "s", "{}"));
        let (counts, examples) = all.end();
        let of = |sink: &str| counts[&("b".to_owned(), sink.to_owned())].clone();
        assert_eq!(of("s"), Counts { same: 1, changed: 1, new: 1, missing: 0, waiting: 1 });
        assert_eq!(of("t"), Counts { missing: 1, ..Counts::default() });
        let told: Vec<(&str, &str, &[String])> =
            examples.iter().map(|e| (e.what, &*e.idempotency_key, &*e.places)).collect();
        let places = ["/a/b/1".to_owned(), "/c".to_owned()];
        assert_eq!(told, [("changed", "k2", &places[..]), ("missing", "k5", &[]), ("new", "k3", &[])]);
    }

    #[test]
    fn what_is_no_json_differs_as_a_whole() {
        assert_eq!(differences(b"a", b"b"), ["the bytes"]);
        assert_eq!(differences(b"1", b"2"), ["/"]);
        assert_eq!(differences(br#"{"a/b~":1}"#, br#"{"a/b~":2}"#), ["/a~1b~0"]);
    }
}
