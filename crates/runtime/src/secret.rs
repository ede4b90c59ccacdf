//! Secrets as references: the configuration names where a secret lies, never the secret. Read when used; never shown.
use atio_topics::Secret;
use std::path::PathBuf;

pub use secrecy::{ExposeSecret, SecretString};

/// The reference leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("environment variable {0} is not set")]
    Env(String),
    #[error("secret file {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
}

/// The secret behind a reference; a file's trailing line end is not part of it.
///
/// # Errors
/// The variable is not set or the file can't be read as text.
#[allow(
    clippy::disallowed_methods,
    reason = "references to the environment are resolved here and nowhere else"
)]
pub fn read(reference: &Secret) -> Result<SecretString, SecretError> {
    match reference {
        Secret::Env(name) => {
            std::env::var(name).map(SecretString::from).map_err(|_| SecretError::Env(name.clone()))
        }
        Secret::File(path) => std::fs::read_to_string(path)
            .map(|text| SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
            .map_err(|source| SecretError::File { path: path.clone(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_without_its_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        assert_eq!(read(&Secret::File(file.path().to_owned())).unwrap().expose_secret(), "s3cret");
        assert!(read(&Secret::Env("ATIO_NO_SUCH_VARIABLE".into())).is_err());
    }
}
