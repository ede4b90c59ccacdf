//! What a definition must pass before it goes live. Owns the seam; what a workflow must be is said by whoever passes its check in.
use atio_schemas::{Code, command::ObjectKind};
use atio_topics::load::{Declaration, parse};
use std::sync::Arc;

/// A definition of this length fits all the topics that it goes to, also quoted in an audit entry.
pub const MAX_DEFINITION: usize = 512 * 1024;

/// A refusal's sentences are cut to so many bytes.
pub const MAX_MESSAGE: usize = 8 * 1024;

/// Why a command is refused: a code (`invalid_definition`, `not_yet_supported`, `version_conflict`, `not_found`, `duplicate`) and sentences.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refused {
    pub code: Code,
    pub message: String,
}

impl Refused {
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        Self { code, message }
    }
}

/// Where a workflow's branches are to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// In groups of its own, while there are few of those.
    #[default]
    Auto,
    Own,
    Pooled,
}

/// What a definition needs, as far as that is decided here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub branches: u32,
    pub wanted: Wanted,
}

pub trait Check: Send + Sync {
    /// Whether this definition may go live under this name, and what it needs then. Pure: the same answer for the same text.
    ///
    /// # Errors
    /// What is wrong, with places, for people.
    fn check(&self, kind: ObjectKind, name: &str, definition: &str) -> Result<Facts, Refused>;

    /// Whether a workflow may be run by hand on this event (a detection as JSON). Pure.
    ///
    /// # Errors
    /// Why not, for people.
    fn runs(&self, name: &str, definition: &str, event: &str) -> Result<(), Refused>;
}

/// A workflow's own check: name and YAML text.
pub type WorkflowCheck = Arc<dyn Fn(&str, &str) -> Result<Facts, Refused> + Send + Sync>;

/// A workflow's own answer to whether it runs on an event: name, YAML text, the event.
pub type RunCheck = Arc<dyn Fn(&str, &str, &str) -> Result<(), Refused> + Send + Sync>;

/// Reads declarations as `atio-topics` does, and asks `workflow` about workflows.
#[derive(Clone)]
pub struct BuiltIn {
    pub workflow: WorkflowCheck,
    pub run: RunCheck,
}

impl Check for BuiltIn {
    fn check(&self, kind: ObjectKind, name: &str, definition: &str) -> Result<Facts, Refused> {
        let read = parse(name, definition).map_err(|p| Refused::new(p.code, p.to_string()))?;
        let expected = match read {
            Declaration::Workflow(_) => ObjectKind::Workflow,
            Declaration::Source(_) => ObjectKind::Source,
            Declaration::Sink(_) => ObjectKind::Sink,
            Declaration::Table(_) => ObjectKind::Table,
        };
        if expected != kind || read.name() != name {
            let text =
                format!("the definition is of {expected} `{}`, the command of {kind} `{name}`", read.name());
            return Err(Refused::new(Code::InvalidDefinition, text));
        }
        if kind == ObjectKind::Workflow { (self.workflow)(name, definition) } else { Ok(Facts::default()) }
    }

    fn runs(&self, name: &str, definition: &str, event: &str) -> Result<(), Refused> {
        (self.run)(name, definition, event)
    }
}
