//! API keys: stored hashed, with a role and, for ingest keys, the sources that they may feed. Owns the key file and the check.
use axum::{
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};
use subtle::ConstantTimeEq;

use super::limits::refuse;

/// What a key may do; each includes what stands before it, `Ingest` aside, which may only send events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Ingest,
    Viewer,
    Analyst,
    Engineer,
    Admin,
}

impl Role {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
    }
    /// True where a key of this role may do what `needed` may. Only admin keys and ingest keys send events.
    #[must_use]
    pub fn may(self, needed: Self) -> bool {
        if needed == Self::Ingest { matches!(self, Self::Ingest | Self::Admin) } else { self >= needed }
    }
}

/// A key as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub id: String,
    pub role: Role,
    /// For ingest keys: the one source that it may feed; none = all.
    pub source: Option<String>,
    /// sha256 of the secret, hex. The secret has 256 random bits: a slow hash adds nothing.
    pub sha256: String,
}

#[derive(Debug, thiserror::Error)]
#[error("key file {path}: {reason}")]
pub struct KeyError {
    pub path: PathBuf,
    pub reason: String,
}

/// The keys of a data directory (`keys.json`, 0600), read again when the file changes.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    path: PathBuf,
    loaded: RwLock<(Option<SystemTime>, Vec<Key>)>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys in {}", self.0.path.display())
    }
}

fn digest(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

impl Keys {
    /// The keys of a data directory; no file = no keys.
    ///
    /// # Errors
    /// The file is there and can't be read.
    pub fn open(data: &Path) -> Result<Self, KeyError> {
        let keys =
            Self(Arc::new(Inner { path: data.join("keys.json"), loaded: RwLock::new((None, vec![])) }));
        keys.refresh()?;
        Ok(keys)
    }

    fn fail(&self, reason: impl fmt::Display) -> KeyError {
        KeyError { path: self.0.path.clone(), reason: reason.to_string() }
    }

    fn refresh(&self) -> Result<(), KeyError> {
        let changed = std::fs::metadata(&self.0.path).and_then(|m| m.modified()).ok();
        if changed.is_none() || self.0.loaded.read().unwrap_or_else(PoisonError::into_inner).0 == changed {
            return Ok(());
        }
        let text = std::fs::read(&self.0.path).map_err(|e| self.fail(e))?;
        let read: Vec<Key> = serde_json::from_slice(&text).map_err(|e| self.fail(e))?;
        *self.0.loaded.write().unwrap_or_else(PoisonError::into_inner) = (changed, read);
        Ok(())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.loaded.read().unwrap_or_else(PoisonError::into_inner).1.is_empty()
    }

    /// Makes a key and stores its hash; the token is returned once and is nowhere afterwards.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn create(&self, role: Role, source: Option<String>) -> Result<String, KeyError> {
        self.refresh()?;
        let id = uuid::Uuid::new_v4().simple().to_string().get(..12).unwrap_or_default().to_owned();
        let secret = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let mut loaded = self.0.loaded.write().unwrap_or_else(PoisonError::into_inner);
        loaded.1.push(Key { id: id.clone(), role, source, sha256: digest(&secret) });
        let text = serde_json::to_vec_pretty(&loaded.1).map_err(|e| self.fail(e))?;
        write_private(&self.0.path, &text).map_err(|e| self.fail(e))?;
        loaded.0 = std::fs::metadata(&self.0.path).and_then(|m| m.modified()).ok();
        Ok(format!("atio_{id}_{secret}"))
    }

    /// The key that a token belongs to.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<Key> {
        // An unreadable file keeps the keys that were read before: an editor's half-written file locks nobody out.
        let _kept = self.refresh();
        let (id, secret) = token.strip_prefix("atio_")?.split_once('_')?;
        let hash = digest(secret);
        let loaded = self.0.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded
            .1
            .iter()
            .find(|k| k.id == id && bool::from(k.sha256.as_bytes().ct_eq(hash.as_bytes())))
            .cloned()
    }

    /// Checks the `Authorization: Bearer` header.
    ///
    /// # Errors
    /// The 401 or 403 to answer.
    pub fn check(
        &self,
        headers: &HeaderMap,
        needed: Role,
        source: Option<&str>,
    ) -> Result<Key, Box<Response>> {
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.strip_prefix("Bearer "));
        let Some(key) = bearer.and_then(|token| self.find(token.trim())) else {
            return Err(Box::new(refuse(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "an API key is needed: Authorization: Bearer …",
            )));
        };
        let elsewhere = matches!((&key.source, source), (Some(own), Some(asked)) if own != asked);
        if !key.role.may(needed) || elsewhere {
            return Err(Box::new(refuse(StatusCode::FORBIDDEN, "forbidden", "this key may not do that")));
        }
        Ok(key)
    }
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// What the file system says.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let part = path.with_extension("part");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(part, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_found_by_its_token_alone_and_stored_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::open(dir.path()).unwrap();
        let token = keys.create(Role::Ingest, Some("suricata".into())).unwrap();
        let stored = std::fs::read_to_string(dir.path().join("keys.json")).unwrap();
        assert!(!stored.contains(token.rsplit('_').next().unwrap()));
        assert_eq!(
            std::fs::metadata(dir.path().join("keys.json")).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(keys.find(&token).unwrap().role, Role::Ingest);
        assert!(
            keys.find(&format!("{token}0")).is_none()
                && keys.find("atio_x_y").is_none()
                && keys.find("").is_none()
        );
        let elsewhere = Keys::open(dir.path()).unwrap();
        assert!(elsewhere.find(&token).is_some());
    }

    #[test]
    fn roles_and_sources_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::open(dir.path()).unwrap();
        let token = keys.create(Role::Ingest, Some("suricata".into())).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(keys.check(&headers, Role::Ingest, None).unwrap_err().status(), StatusCode::UNAUTHORIZED);
        headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        assert!(keys.check(&headers, Role::Ingest, Some("suricata")).is_ok());
        assert_eq!(
            keys.check(&headers, Role::Ingest, Some("openvas")).unwrap_err().status(),
            StatusCode::FORBIDDEN
        );
        assert_eq!(keys.check(&headers, Role::Viewer, None).unwrap_err().status(), StatusCode::FORBIDDEN);
        assert!(
            Role::Admin.may(Role::Ingest)
                && !Role::Engineer.may(Role::Ingest)
                && Role::Engineer.may(Role::Analyst)
        );
    }
}
