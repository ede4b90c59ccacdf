//! Knowledge objects as they were written before: a sensor's identity or a technique's attack-pattern has the same bytes in every bundle, and
//! making them anew (id, text) costs more than looking them up.
//!
//! Owns a bounded memory of objects by what they are made of. It changes no result: what is not there is made. Must not know: which objects
//! are worth it.
use crate::bundle::Bundle;
use crate::ids::Id;
use crate::object::StixObject;
use std::collections::HashMap;
use std::sync::Mutex;

/// Objects of one generation; two are kept: some 2 MB of usual objects, 20 MB of the longest.
const MOST: usize = 2048;
/// Longer objects, and what is made of more, are made anew each time.
const LONGEST: usize = 2048;

/// The memory. A lane that finds another one using it makes its objects itself.
#[derive(Debug, Default)]
pub struct Known(Mutex<Generations>);

/// What has not been asked for while a whole generation came is forgotten.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Vec<u8>, Written>,
    old: HashMap<Vec<u8>, Written>,
    key: Vec<u8>,
}

#[derive(Debug)]
struct Written {
    id: Id<'static>,
    json: Box<[u8]>,
}

impl Known {
    /// Puts the object that is made of `parts` into the bundle, unless it is there: its id, and whether it was put. Equal parts must make
    /// equal objects, with an id of ours; `make` is only called where the object is not known.
    ///
    /// # Errors
    /// As [`Bundle::push`].
    pub fn push<T: StixObject>(
        &self,
        bundle: &mut Bundle,
        parts: &[&str],
        make: impl FnOnce() -> T,
    ) -> Result<(Id<'static>, bool), serde_json::Error> {
        let short = parts.iter().map(|part| part.len()).sum::<usize>() <= LONGEST;
        let Some(mut memory) = short.then(|| self.0.try_lock().ok()).flatten() else {
            let object = make();
            let added = bundle.push(&object)?;
            return Ok((object.id().own(), added));
        };
        memory.find(parts);
        if let Some(put) = memory.known(|known| (known.id, bundle.push_raw(&known.id, &known.json))) {
            return Ok(put);
        }
        let object = make();
        let json = object.json()?;
        let id = object.id().own();
        let added = bundle.push_raw(&id, &json);
        memory.keep(Written { id, json: json.into() });
        Ok((id, added))
    }
}

impl Generations {
    /// Writes the key; each part with its length before it, so that no two lists have one key.
    fn find(&mut self, parts: &[&str]) {
        self.key.clear();
        for part in parts {
            self.key.extend_from_slice(&part.len().to_le_bytes());
            self.key.extend_from_slice(part.as_bytes());
        }
    }

    fn known<R>(&mut self, put: impl FnOnce(&Written) -> R) -> Option<R> {
        if let Some(written) = self.young.get(&self.key) {
            return Some(put(written));
        }
        let (key, written) = self.old.remove_entry(&self.key)?;
        let done = put(&written);
        self.add(key, written);
        Some(done)
    }

    fn keep(&mut self, written: Written) {
        if written.json.len() <= LONGEST {
            self.add(self.key.clone(), written);
        }
    }

    fn add(&mut self, key: Vec<u8>, written: Written) {
        if self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids;
    use crate::object::{Common, Identity};
    use std::cell::Cell;

    fn identity(name: &str) -> Identity<'_> {
        Identity {
            common: Common::fixed(ids::sensor_identity("t", name)),
            name: name.into(),
            ..Identity::default()
        }
    }

    #[test]
    fn the_bundle_is_as_if_each_had_been_made() {
        let (known, made) = (Known::default(), Cell::new(0));
        let id = ids::bundle("t", &["b"]);
        for _ in 0..3 {
            let (mut by_memory, mut plain) = (Bundle::new(&id), Bundle::new(&id));
            for name in ["a", "b\"", "a"] {
                let object = identity(name);
                let make = || {
                    made.set(made.get() + 1);
                    identity(name)
                };
                let put = known.push(&mut by_memory, &["identity", name], make).unwrap();
                assert_eq!(put, (object.common.id, plain.push(&object).unwrap()));
            }
            assert_eq!(by_memory.finish(), plain.finish());
        }
        assert_eq!(made.get(), 2);
    }

    #[test]
    fn parts_are_told_apart() {
        let known = Known::default();
        for parts in [&["ab", "c"][..], &["a", "bc"], &["abc"], &["abc", ""]] {
            let name = parts.join("|");
            let mut bundle = Bundle::new(&ids::bundle("t", &[]));
            let (id, _) = known.push(&mut bundle, parts, || identity(&name)).unwrap();
            assert_eq!(id, ids::sensor_identity("t", &name));
        }
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_is_asked_for() {
        let (known, made) = (Known::default(), Cell::new(0));
        let ask = |name: &str| {
            let mut bundle = Bundle::new(&ids::bundle("t", &[]));
            let make = || {
                made.set(made.get() + 1);
                identity(name)
            };
            known.push(&mut bundle, &[name], make).unwrap();
        };
        for n in 0..3 * MOST {
            ask(&n.to_string());
            ask("always");
        }
        assert_eq!(made.get(), 3 * MOST + 1);
        ask(&"long".repeat(LONGEST));
        ask(&"long".repeat(LONGEST));
        assert_eq!(made.get(), 3 * MOST + 3);
        let memory = known.0.lock().unwrap();
        assert!(memory.young.len() <= MOST && memory.old.len() <= MOST);
        assert!(memory.key.capacity() < 2 * LONGEST, "a long key isn't kept either");
    }
}
