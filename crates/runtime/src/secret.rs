//! Secrets as references: the configuration names where a secret lies, never the secret. Read when used; never shown.
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `{env: NAME}` or `{file: PATH}`. Showing it shows the reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretRef {
    Env(String),
    File(PathBuf),
}

/// The reference leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("environment variable {0} is not set")]
    Env(String),
    #[error("secret file {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
}

impl SecretRef {
    /// The secret; a file's trailing line end is not part of it.
    ///
    /// # Errors
    /// The variable is not set or the file can't be read as text.
    #[allow(
        clippy::disallowed_methods,
        reason = "references to the environment are resolved here and nowhere else"
    )]
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Env(name) => {
                std::env::var(name).map(SecretString::from).map_err(|_| SecretError::Env(name.clone()))
            }
            Self::File(path) => std::fs::read_to_string(path)
                .map(|text| SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
                .map_err(|source| SecretError::File { path: path.clone(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_file_is_read_without_its_line_end_and_the_reference_shows_no_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let reference = SecretRef::File(file.path().to_owned());
        assert_eq!(reference.read().unwrap().expose_secret(), "s3cret");
        assert!(!format!("{reference:?}").contains("s3cret"));
        assert!(SecretRef::Env("ATIO_NO_SUCH_VARIABLE".into()).read().is_err());
    }
}
