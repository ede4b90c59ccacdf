//! Bundles as bytes: written in one pass, read into maps under limits, closed with the constants that they refer to.
//!
//! Owns the compact form `{"type":"bundle","id":"…","objects":[…]}`. Must not know: tenants' seeds, graphs, tools.
use crate::constants;
use crate::ids::Id;
use crate::object::StixObject;
use crate::scan::{self, Objects};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// A STIX object of anyone's, its members in their order.
pub type Object = Map<String, Value>;

/// Nesting that `parse` accepts.
pub const MAX_DEPTH: usize = 64;
/// Objects that a bundle may hold.
pub const MAX_OBJECTS: usize = 10_000;
/// Bytes that `parse` accepts: what a raw topic takes.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Why bytes are no bundle of ours, or no acceptable one of others.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("{0} bytes; at most {MAX_BYTES} are read")]
    TooLarge(usize),
    #[error("{0} objects; at most {MAX_OBJECTS} are read")]
    TooMany(usize),
    #[error("not a STIX bundle or object: {0}")]
    Shape(&'static str),
}

impl BundleError {
    /// The bounded reason code.
    #[must_use]
    pub const fn code(&self) -> atio_schemas::Code {
        match self {
            Self::Json(_) => atio_schemas::Code::InvalidJson,
            Self::TooDeep => atio_schemas::Code::TooDeep,
            Self::TooLarge(_) => atio_schemas::Code::TooLarge,
            Self::TooMany(_) => atio_schemas::Code::TooMany,
            Self::Shape(_) => atio_schemas::Code::InvalidStix,
        }
    }
}

/// Writes a bundle: each object is serialized when it is pushed, once per id.
#[derive(Debug)]
pub struct Bundle {
    bytes: Vec<u8>,
    seen: Seen,
    empty: bool,
}

impl Bundle {
    #[must_use]
    pub fn new(id: &Id<'_>) -> Self {
        let mut bytes = Vec::with_capacity(8 * 1024);
        bytes.extend_from_slice(br#"{"type":"bundle","id":""#);
        id.with_text(|text| bytes.extend_from_slice(text.as_bytes()));
        bytes.extend_from_slice(br#"","objects":["#);
        Self { bytes, seen: Seen::default(), empty: true }
    }

    /// Adds the object unless its id is here already. True when it was added.
    ///
    /// # Errors
    /// What serde_json says; plain data in memory gives none.
    pub fn push<T: StixObject>(&mut self, object: &T) -> Result<bool, serde_json::Error> {
        if !self.seen.insert(&object.id()) {
            return Ok(false);
        }
        let before = self.bytes.len();
        if !self.empty {
            self.bytes.push(b',');
        }
        if let Err(error) = object.write(&mut self.bytes) {
            self.bytes.truncate(before);
            return Err(error);
        }
        self.empty = false;
        Ok(true)
    }

    /// Adds an object that is JSON already (a foreign one, kept byte for byte).
    pub fn push_raw(&mut self, id: &Id<'_>, json: &[u8]) -> bool {
        if !self.seen.insert(id) {
            return false;
        }
        if !self.empty {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(json);
        self.empty = false;
        true
    }

    #[must_use]
    pub fn contains(&self, id: &Id<'_>) -> bool {
        self.seen.contains(id)
    }

    /// The bundle's bytes. A bundle without objects has no `objects` list, since STIX forbids empty lists.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if self.empty {
            self.bytes.truncate(self.bytes.len() - br#","objects":["#.len());
            self.bytes.push(b'}');
        } else {
            self.bytes.extend_from_slice(b"]}");
        }
        self.bytes
    }
}

/// Ids seen: a list while short (a detection's bundle), a set beyond.
#[derive(Debug, Default)]
struct Seen {
    few: Vec<(u64, u128)>,
    many: HashSet<(u64, u128)>,
}

impl Seen {
    const FEW: usize = 48;

    fn contains(&self, id: &Id<'_>) -> bool {
        let key = id.key();
        if self.many.is_empty() { self.few.contains(&key) } else { self.many.contains(&key) }
    }

    fn insert(&mut self, id: &Id<'_>) -> bool {
        let key = id.key();
        if !self.many.is_empty() {
            return self.many.insert(key);
        }
        if self.few.contains(&key) {
            return false;
        }
        self.few.push(key);
        if self.few.len() > Self::FEW {
            self.many.extend(self.few.drain(..));
        }
        true
    }
}

/// Reads a bundle's objects, or a single object, into maps.
///
/// # Errors
/// [`BundleError`]: too large, too deep (counted before parsing), too many, no JSON, no STIX.
pub fn parse(bytes: &[u8]) -> Result<Vec<Object>, BundleError> {
    objects_of(parse_root(bytes)?)
}

/// The objects of a bundle that is parsed already, or the object itself.
pub(crate) fn objects_of(mut root: Object) -> Result<Vec<Object>, BundleError> {
    match root.get("type").and_then(Value::as_str) {
        Some("bundle") => {}
        Some(_) => return Ok(vec![root]),
        None => return Err(BundleError::Shape("no type")),
    }
    let objects = match root.shift_remove("objects") {
        None => return Ok(vec![]),
        Some(Value::Array(objects)) => objects,
        Some(_) => return Err(BundleError::Shape("objects is not a list")),
    };
    if objects.len() > MAX_OBJECTS {
        return Err(BundleError::TooMany(objects.len()));
    }
    let maps = objects.into_iter().map(|object| match object {
        Value::Object(map) => Ok(map),
        _ => Err(BundleError::Shape("a member of objects is not an object")),
    });
    maps.collect()
}

/// The outermost JSON object, under the same limits.
///
/// # Errors
/// As [`parse`].
pub fn parse_root(bytes: &[u8]) -> Result<Object, BundleError> {
    if bytes.len() > MAX_BYTES {
        return Err(BundleError::TooLarge(bytes.len()));
    }
    if scan::deeper_than(bytes, MAX_DEPTH) {
        return Err(BundleError::TooDeep);
    }
    match serde_json::from_slice(bytes)? {
        Value::Object(root) => Ok(root),
        _ => Err(BundleError::Shape("not an object")),
    }
}

/// A bundle in our compact form: no spaces, its objects last.
///
/// # Errors
/// As [`parse_root`]; [`BundleError::Shape`] for anything but a bundle.
pub fn compact(bytes: &[u8]) -> Result<Vec<u8>, BundleError> {
    let mut root = parse_root(bytes)?;
    if root.get("type").and_then(Value::as_str) != Some("bundle") {
        return Err(BundleError::Shape("not a bundle"));
    }
    if let Some(objects) = root.shift_remove("objects") {
        root.insert("objects".to_owned(), objects);
    }
    Ok(serde_json::to_vec(&root)?)
}

/// Adds the constants that the objects refer to and that are not there: what leaves ATIO is self-contained. The bundle's
/// id stays, and closing twice changes nothing. What is no bundle with objects is returned as it is; a bundle that is not
/// in our form gets it.
#[must_use]
pub fn close(lean: &[u8]) -> Vec<u8> {
    if let Some(objects) = Objects::of(lean) {
        return close_compact(lean, &objects);
    }
    let compacted = compact(lean).unwrap_or_else(|_| lean.to_vec());
    match Objects::of(&compacted) {
        Some(objects) => close_compact(&compacted, &objects),
        None => lean.to_vec(),
    }
}

fn close_compact(lean: &[u8], objects: &Objects<'_>) -> Vec<u8> {
    let mut present: Vec<&str> = objects.iter().filter_map(|object| object.id).collect();
    let mut added: Vec<&str> = vec![];
    let marked = scan::contains(lean, b"marking-definition--");
    let candidates =
        constants::ALL.iter().rev().filter(|(id, _)| marked || !id.starts_with("marking-definition--"));
    // ATIO's extension-definition refers to ATIO's identity, which stands before it: going backwards finds it.
    for (id, json) in candidates {
        let referred = scan::mentions(lean, id) || added.iter().any(|json| json.contains(id));
        if referred && !present.contains(id) {
            present.push(id);
            added.push(json);
        }
    }
    added.reverse();
    splice(lean, objects.end(), added.iter().map(|json| json.as_bytes()))
}

/// Inserts serialized objects at `end`, the position of the list's `]`.
pub(crate) fn splice<'j>(
    bundle: &[u8],
    end: usize,
    objects: impl Iterator<Item = &'j [u8]> + Clone,
) -> Vec<u8> {
    let (body, tail) = bundle.split_at(end.min(bundle.len()));
    let more: usize = objects.clone().map(|json| json.len() + 1).sum();
    let mut out = Vec::with_capacity(bundle.len() + more);
    out.extend_from_slice(body);
    for json in objects {
        if out.iter().rfind(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
            out.push(b',');
        }
        out.extend_from_slice(json);
    }
    out.extend_from_slice(tail);
    out
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
