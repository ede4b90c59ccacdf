//! Reading our own compact bundles without building values: where each object lies, its id and type; depth; mentions.
//!
//! Owns byte positions. Must not know: what an object means. Works on any JSON, but only finds what lies at the places
//! where [`crate::bundle::Bundle`] writes it.

/// One object of a bundle: its bytes and what its own level says.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub json: &'a [u8],
    pub id: Option<&'a str>,
    pub kind: Option<&'a str>,
}

/// The objects of a bundle, in order.
#[derive(Debug)]
pub struct Objects<'a> {
    start: usize,
    end: usize,
    found: Vec<Found<'a>>,
}

impl<'a> Objects<'a> {
    /// None when the bytes are not a bundle whose last member is its list of objects.
    #[must_use]
    pub fn of(bundle: &'a [u8]) -> Option<Self> {
        let start = objects_start(bundle)?;
        let mut found = vec![];
        let mut at = start;
        loop {
            match bundle.get(at)? {
                b'{' => {
                    let (object, end) = describe(bundle, at)?;
                    found.push(object);
                    at = end;
                }
                b',' | b' ' | b'\n' | b'\r' | b'\t' => at += 1,
                b']' => break,
                _ => return None,
            }
        }
        // Members after the list could be a second list: then it is not ours.
        let close = skip_space(bundle, at + 1);
        let closed = bundle.get(close) == Some(&b'}') && skip_space(bundle, close + 1) == bundle.len();
        if closed { Some(Self { start, end: at, found }) } else { None }
    }

    /// The position of the `]` after the last object.
    #[must_use]
    pub fn end(&self) -> usize {
        self.end
    }

    /// The position of the first object.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Found<'a>> {
        self.found.iter()
    }
}

/// The position after `[` of the top-level member `objects`.
fn objects_start(bundle: &[u8]) -> Option<usize> {
    // Ours comes last: reading up to it is enough, and reading over it would read everything twice.
    let mut start = None;
    members(bundle, 0, |key, position| {
        let found = key == b"objects" && bundle.get(position) == Some(&b'[');
        if found {
            start = Some(position + 1);
        }
        if found { Step::Stop } else { Step::Over }
    });
    start
}

/// The object that starts at `at`, and the position after it.
fn describe(bundle: &[u8], at: usize) -> Option<(Found<'_>, usize)> {
    let (mut id, mut kind) = (None, None);
    let end = members(bundle, at, |key, position| {
        let text = || plain(bundle, position);
        match key {
            b"id" => id = text(),
            b"type" => kind = text(),
            _ => {}
        }
        Step::Over
    })?;
    Some((Found { json: bundle.get(at..end)?, id, kind }, end))
}

/// The text of the string at `at`, when it has no escapes; ids and types have none.
fn plain(json: &[u8], at: usize) -> Option<&str> {
    let inner = json.get(at + 1..string_end(json, at)? - 1)?;
    if inner.contains(&b'\\') { None } else { std::str::from_utf8(inner).ok() }
}

enum Step {
    Over,
    Stop,
}

/// Calls `each` with the key and the value's position for the members of the JSON object at `start`. The position after the
/// object; None when it is malformed, or `each` stopped.
fn members<'a>(json: &'a [u8], start: usize, mut each: impl FnMut(&'a [u8], usize) -> Step) -> Option<usize> {
    let mut at = skip_space(json, start);
    if json.get(at)? != &b'{' {
        return None;
    }
    at = skip_space(json, at + 1);
    while json.get(at)? != &b'}' {
        let key_end = string_end(json, at)?;
        let key = json.get(at + 1..key_end - 1)?;
        at = skip_space(json, key_end);
        if json.get(at)? != &b':' {
            return None;
        }
        let value = skip_space(json, at + 1);
        if matches!(each(key, value), Step::Stop) {
            return None;
        }
        at = skip_space(json, value_end(json, value)?);
        match json.get(at)? {
            b',' => at = skip_space(json, at + 1),
            b'}' => {}
            _ => return None,
        }
    }
    Some(at + 1)
}

fn skip_space(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The position after the string that starts at `at`.
fn string_end(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at)? != &b'"' {
        return None;
    }
    let mut end = at + 1;
    loop {
        end += crate::json::quote(json.get(end..)?)?;
        if json.get(end)? == &b'"' {
            return Some(end + 1);
        }
        end += 2;
    }
}

/// The position after the value that starts at `at`.
fn value_end(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => string_end(json, at),
        b'{' | b'[' => {
            let (mut depth, mut end) = (0usize, at);
            loop {
                match json.get(end)? {
                    b'"' => {
                        end = string_end(json, end)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                end += 1;
                if depth == 0 {
                    return Some(end);
                }
            }
        }
        _ => {
            let tail = json.get(at..)?;
            let length =
                tail.iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))?;
            if length == 0 { None } else { Some(at + length) }
        }
    }
}

/// Whether brackets nest deeper than `limit`, counted without recursion.
#[must_use]
pub fn deeper_than(json: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Whether `needle` occurs.
pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// Whether `id` stands in the bundle as a whole string.
pub(crate) fn mentions(bundle: &[u8], id: &str) -> bool {
    let whole = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| bundle.get(before));
        before == Some(&b'"') && bundle.get(at + id.len()) == Some(&b'"')
    };
    memchr::memmem::find_iter(bundle, id.as_bytes()).any(whole)
}
