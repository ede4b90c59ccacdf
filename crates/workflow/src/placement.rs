//! What a file may say of where its branches run (`metadata.placement`). Where they do is decided by who brings it into force. Owns the words.

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Groups of its own, as long as there are few of those.
    #[default]
    Auto,
    Own,
    Pooled,
}

impl Placement {
    /// As it is written, the default first.
    pub const NAMES: &'static [&'static str] = &["auto", "own", "pooled"];

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "own" => Some(Self::Own),
            "pooled" => Some(Self::Pooled),
            _ => None,
        }
    }
}
