//! Texts that an expression sees beside the detection's columns, such as what a person chose on the way: each has a fixed list of what it can be.
//! Owns their lookup. Must not know: who says them.

/// A name, written with a dot before it as columns are, and all that it can be. It may be unknown in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    pub name: &'static str,
    pub values: Vec<String>,
}

/// What they are in a run, by name; what is missing is unknown.
pub type Said<'a> = [(&'static str, Option<&'a str>)];

pub(crate) fn find<'b>(beside: &'b [Beside], name: &str) -> Option<&'b Beside> {
    beside.iter().find(|b| b.name == name)
}

pub(crate) fn value<'a>(said: &Said<'a>, name: &str) -> Option<&'a str> {
    said.iter().find(|(n, _)| *n == name)?.1
}
