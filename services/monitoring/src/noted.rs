//! The heads that ride in monitoring's offset commits, asked of the cluster. Owns which groups and inputs have which chains; must not know what
//! follows from a head.
use crate::{compare::Heads, trail::Head};
use atio_schemas::audit::ChainHead;
use atio_stream::{
    Ledger,
    admin::{Admin, AdminError},
};

/// Group, input and chain of each stage that appends.
const CHAINS: [(&str, &str, &str); 2] =
    [("monitoring", "commands", "commands"), ("monitoring-audit", "audit-intents", "intents")];

#[derive(Debug, thiserror::Error)]
pub enum NotedError {
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Somebody else committed for monitoring.
    #[error("the noted head of chain {chain} does not read: {note}")]
    Unreadable { chain: String, note: String },
}

impl NotedError {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Admin(e) => e.code(),
            Self::Unreadable { .. } => "note_unreadable",
        }
    }
}

/// Every chain's head, as it is noted now. A partition that was committed to and has no note has no entry yet. Blocks.
///
/// # Errors
/// See [`NotedError`].
pub fn heads(admin: &Admin, prefix: &str) -> Result<Heads, NotedError> {
    let mut heads = Heads::default();
    for (group, input, chain) in CHAINS {
        let committed = admin.committed(&format!("{prefix}{group}"), &[&format!("{prefix}{input}")])?;
        for partition in committed {
            let name = format!("{chain}-{}", partition.partition);
            match Ledger::from_metadata(&partition.metadata).map(|ledger| ledger.note) {
                None => drop(heads.unnoted.insert(name)),
                Some(None) => drop(heads.noted.insert(name, ChainHead::default())),
                Some(Some(note)) => {
                    let head =
                        serde_json::from_str::<ChainHead>(&note).ok().filter(|h| Head::of(h).is_some());
                    let head = head.ok_or_else(|| NotedError::Unreadable { chain: name.clone(), note })?;
                    heads.noted.insert(name, head);
                }
            }
        }
    }
    Ok(heads)
}
