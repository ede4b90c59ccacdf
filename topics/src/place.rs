//! Where in which file, and what is wrong there.
use atio_schemas::Code;
use std::{fmt, sync::Arc};

/// A place in a declaration file; line and column from 1, 0 where unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<str>,
    pub line: u64,
    pub column: u64,
}

impl Place {
    #[must_use]
    pub fn file(name: &str) -> Self {
        Self { file: Arc::from(name), line: 0, column: 0 }
    }
    /// The first character of a file: where what is wrong with the whole file is shown.
    #[must_use]
    pub fn start(name: &str) -> Self {
        Self { file: Arc::from(name), line: 1, column: 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// Why a declaration is refused: `invalid_definition`, or `not_yet_supported` for what a later version knows. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}{}", help.as_ref().map_or_else(String::new, |h| format!(" ({h})")))]
pub struct Problem {
    pub code: Code,
    pub place: Place,
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Problem {
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self { code: Code::InvalidDefinition, place: place.clone(), message: message.into(), help: None }
    }
    /// What a later version knows; `known` is what this one knows in its place.
    pub fn later(place: &Place, what: &str, known: &[&str]) -> Self {
        let help = match known {
            [] => "leave it out".to_owned(),
            _ => format!("this version knows: {}", known.join(", ")),
        };
        let problem = Self::new(place, format!("{what} is not supported yet")).help(Some(help));
        Self { code: Code::NotYetSupported, ..problem }
    }
    /// A file that is not read because of its length.
    #[must_use]
    pub fn too_long(place: &Place, bytes: u64, limit: u64) -> Self {
        let help = "move long lists into a table, or write several files".to_owned();
        Self::new(place, format!("{bytes} bytes, at most {limit} are read")).help(Some(help))
    }
    #[must_use]
    pub fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
    /// The bounded reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }
}
