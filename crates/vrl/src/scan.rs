//! A first look at an expression's text: which columns it names and where, and whether it is small enough to be parsed at all.
//! Owns positions of names. Must not know: VRL's types.
use crate::{
    CompileError, MAX_DEPTH, MAX_OPERATORS, MAX_SOURCE,
    beside::{self, Beside},
    target::What,
};
use atio_schemas::column;

/// A column that the text names, or what stands beside them: `.src.ip` at its byte offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) what: What,
    pub(crate) offset: usize,
}

/// Finds the names and checks the limits.
pub(crate) fn scan(source: &str, beside: &[Beside]) -> Result<Vec<Named>, CompileError> {
    if source.len() > MAX_SOURCE {
        return Err(CompileError::TooLong { bytes: source.len() });
    }
    let mut scanner =
        Scanner { source, beside, bytes: source.as_bytes(), at: 0, depth: 0, operators: 0, named: vec![] };
    while scanner.at < scanner.bytes.len() {
        scanner.step()?;
    }
    Ok(scanner.named)
}

struct Scanner<'a> {
    source: &'a str,
    beside: &'a [Beside],
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    operators: usize,
    named: Vec<Named>,
}

impl Scanner<'_> {
    fn step(&mut self) -> Result<(), CompileError> {
        let byte = self.bytes[self.at];
        let before = self.at.checked_sub(1).map(|i| self.bytes[i]);
        match byte {
            b'"' => self.skip_quoted(b'"'),
            b'\'' => self.skip_quoted(b'\''),
            b'#' => {
                let rest = &self.bytes[self.at..];
                self.at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
            }
            b'.' if before.is_none_or(|b| !follows_value(b)) => self.path()?,
            b'%' => {
                return Err(self.refuse("`%` has no meaning here", "write the column's name: `.importance`"));
            }
            b'(' | b'[' | b'{' => {
                self.depth += 1;
                self.count()?;
                if self.depth > MAX_DEPTH {
                    return Err(CompileError::TooComplex { offset: self.at });
                }
                self.at += 1;
            }
            b')' | b']' | b'}' => {
                self.depth = self.depth.saturating_sub(1);
                self.at += 1;
            }
            b'!' | b'=' | b'<' | b'>' | b'&' | b'|' | b'?' | b'+' | b'-' | b'*' | b'/' | b';' | b'\n'
            | b',' => {
                self.count()?;
                self.at += 1;
            }
            _ if is_word(byte) => {
                let rest = &self.bytes[self.at..];
                let len = rest.iter().position(|b| !is_word(*b)).unwrap_or(rest.len());
                if matches!(&rest[..len], b"if" | b"else" | b"return" | b"abort" | b"break") {
                    self.count()?;
                }
                self.at += len;
            }
            _ => self.at += 1,
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), CompileError> {
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            Err(CompileError::TooComplex { offset: self.at })
        } else {
            Ok(())
        }
    }

    fn skip_quoted(&mut self, quote: u8) {
        self.at += 1;
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += match byte {
                b'\\' => 2,
                b if *b == quote => {
                    self.at += 1;
                    return;
                }
                _ => 1,
            };
        }
    }

    /// `.name` or `.name.name`, as long as that is a column's name; what follows (`[0]`) is VRL's affair.
    fn path(&mut self) -> Result<(), CompileError> {
        let offset = self.at;
        let first = self.word_at(offset + 1);
        if first.is_empty() {
            return Err(
                self.refuse("the detection as a whole can't be used here", "name a column: `.importance`")
            );
        }
        let mut end = offset + 1 + first.len();
        let mut name = first.to_owned();
        if let Some(found) = beside::find(self.beside, first).filter(|_| column::position(first).is_none()) {
            self.named.push(Named { what: What::Beside(found.name), offset });
            self.at = end;
            return Ok(());
        }
        if column::position(&name).is_none() && self.bytes.get(end) == Some(&b'.') {
            let second = self.word_at(end + 1);
            name = format!("{name}.{second}");
            end += 1 + second.len();
        }
        let Some(column) = column::position(&name) else {
            return Err(CompileError::UnknownColumn { suggestion: suggest(&name), name, offset });
        };
        self.named.push(Named { what: What::Column(column), offset });
        self.at = end;
        Ok(())
    }

    fn word_at(&self, from: usize) -> &str {
        let rest = self.bytes.get(from..).unwrap_or_default();
        let len = rest.iter().position(|b| !is_word(*b)).unwrap_or(rest.len());
        self.source.get(from..from + len).unwrap_or_default()
    }

    fn refuse(&self, message: &str, suggestion: &str) -> CompileError {
        CompileError::Refused {
            message: message.to_owned(),
            suggestion: Some(suggestion.to_owned()),
            offset: self.at,
        }
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'@'
}

/// After one of these a `.` goes on with a value: `x.y`, `f().y`, `a[0].y`.
const fn follows_value(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b')' | b']' | b'}' | b'"')
}

/// The nearest column's name, as an expression writes it.
fn suggest(name: &str) -> Option<String> {
    let nested =
        column::COLUMNS.iter().find(|c| c.name.split_once('.').is_some_and(|(head, _)| head == name));
    if name == "bundle" || name == "reasons" {
        return Some("a step: `filter` and `remove` look at STIX objects".to_owned());
    }
    if let Some(column) = nested {
        return Some(format!("write `.{}`", column.name));
    }
    let found = nearest(name, column::COLUMNS.iter().map(|c| c.name));
    found.map(|found| format!("did you mean `.{found}`?"))
}

/// The nearest of the possible names, where it is near enough to be meant.
pub(crate) fn nearest<'n>(name: &str, possible: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if name.len() > 64 {
        return None;
    }
    let (distance, near) = possible.map(|p| (strsim::levenshtein(name, p), p)).min()?;
    (distance * 3 <= name.len().max(3)).then_some(near)
}
