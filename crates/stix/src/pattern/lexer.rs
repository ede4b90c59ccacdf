//! The words of a pattern. Owns how constants, names and comments are written. Must not know: what follows what.
use super::{PatternError, constant::Constant};
use atio_schemas::Timestamp;
use base64::{Engine, engine::general_purpose::STANDARD};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word(Box<str>),
    Constant(Constant),
    /// `[`, `]`, `(`, `)`, `:`, `.`, `,`, `*`, and operators.
    Sign(&'static str),
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

/// Longer ones first.
const SIGNS: &[(&str, &str)] = &[
    ("!=", "!="),
    ("<>", "!="),
    ("<=", "<="),
    (">=", ">="),
    ("==", "="),
    ("=", "="),
    ("<", "<"),
    (">", ">"),
    ("[", "["),
    ("]", "]"),
    ("(", "("),
    (")", ")"),
    (":", ":"),
    (".", "."),
    (",", ","),
    ("*", "*"),
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, PatternError> {
    let mut tokens = vec![];
    let mut at = 0;
    loop {
        at = skip(text, at)?;
        let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) else { return Ok(tokens) };
        let (kind, length) = token(rest, at)?;
        tokens.push(Token { at, kind });
        at += length;
    }
}

/// Behind white space and comments.
fn skip(text: &str, mut at: usize) -> Result<usize, PatternError> {
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let bare = rest.trim_start();
        at += rest.len() - bare.len();
        if bare.starts_with("//") {
            at += bare.find(['\n', '\r']).unwrap_or(bare.len());
        } else if bare.starts_with("/*") {
            let Some(end) = bare.find("*/") else {
                return Err(PatternError::new(at, "this comment does not end", "`*/` at its end"));
            };
            at += end + 2;
        } else {
            return Ok(at);
        }
    }
}

fn token(rest: &str, at: usize) -> Result<(Kind, usize), PatternError> {
    let mut chars = rest.chars();
    let (first, second) = (chars.next().unwrap_or_default(), chars.next());
    if first == '\'' {
        let (text, length) = quoted(rest, at)?;
        return Ok((Kind::Constant(Constant::Text(text.into())), length));
    }
    if matches!(first, 't' | 'h' | 'b') && second == Some('\'') {
        let (text, length) = quoted(rest.get(1..).unwrap_or_default(), at + 1)?;
        return Ok((Kind::Constant(prefixed(first, &text, at)?), length + 1));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')));
        let word = rest.get(..length.unwrap_or(rest.len())).unwrap_or_default();
        let kind = match word {
            "true" => Kind::Constant(Constant::Bool(true)),
            "false" => Kind::Constant(Constant::Bool(false)),
            _ => Kind::Word(word.into()),
        };
        return Ok((kind, word.len()));
    }
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let signed = matches!(first, '+' | '-') && (digit(second) || second == Some('.'));
    if first.is_ascii_digit() || signed || first == '.' && digit(second) {
        return number(rest, at);
    }
    if first == '"' {
        let help = "single quotes: `'a text'`";
        return Err(PatternError::new(at, "texts stand in single quotes", help));
    }
    match SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
        Some((written, sign)) => Ok((Kind::Sign(sign), written.len())),
        None => {
            let message = format!("`{first}` has no meaning here");
            Err(PatternError::new(at, message, "like `[ipv4-addr:value = '198.51.100.3']`"))
        }
    }
}

/// A text in single quotes, in which `\'` is a quote and `\\` a backslash, and its length as it is written.
fn quoted(rest: &str, at: usize) -> Result<(String, usize), PatternError> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((position, c)) = chars.next() {
        match c {
            '\'' => return Ok((text, position + 1)),
            '\\' => match chars.next() {
                Some((_, c @ ('\'' | '\\'))) => text.push(c),
                _ => {
                    let message = "a backslash stands only before `'` and `\\`";
                    return Err(PatternError::new(at + position, message, "two of them: `\\\\`"));
                }
            },
            c => text.push(c),
        }
    }
    Err(PatternError::new(at, "this text does not end", "`'` at its end; a quote within is `\\'`"))
}

fn prefixed(prefix: char, text: &str, at: usize) -> Result<Constant, PatternError> {
    match prefix {
        't' => {
            let time = Some(text).filter(|t| t.ends_with('Z') && t.contains('T'));
            let time = time.and_then(|t| Timestamp::parse(t).ok());
            let error = || PatternError::new(at, "this is no time", "like `t'2026-01-02T03:04:05Z'`");
            time.map(Constant::Time).ok_or_else(error)
        }
        'h' => {
            let error = || PatternError::new(at, "these are no bytes in hexadecimal", "like `h'4d5a'`");
            unhex(text).map(Constant::Bytes).ok_or_else(error)
        }
        _ => {
            let error = |_| PatternError::new(at, "these are no bytes in Base64", "like `b'TVo='`");
            STANDARD.decode(text).map(Constant::Bytes).map_err(error)
        }
    }
}

/// Two digits a byte.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? * 16 + digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

fn number(rest: &str, at: usize) -> Result<(Kind, usize), PatternError> {
    let sign = usize::from(rest.starts_with(['+', '-']));
    let body = rest.get(sign..).unwrap_or_default();
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let whole = digits(body);
    let behind = body.get(whole..).unwrap_or_default();
    let fraction = behind.strip_prefix('.').map(digits).filter(|n| *n > 0);
    let length = sign + whole + fraction.map_or(0, |n| n + 1);
    let text = rest.get(..length).unwrap_or_default();
    let follows = rest.get(length..).and_then(|r| r.chars().next());
    let runs_on = follows.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let number = match fraction {
        Some(_) => text.parse().ok().filter(|n: &f64| n.is_finite()).map(Constant::Float),
        None => text.parse().ok().map(Constant::Int),
    };
    match number.filter(|_| !runs_on) {
        Some(number) => Ok((Kind::Constant(number), length)),
        None => Err(PatternError::new(at, "this is no number", "like `443`, `-1` or `0.5`")),
    }
}
