//! Signed checkpoints of the audit log: where its chains ended at a time, to be kept outside of the cluster. Owns the keys, the file and what is
//! signed; must not know how heads are found. The signed text stands in the line as it is, so that others can verify it (Ed25519, RFC 8032).
use crate::written::{digest, hex};
use atio_runtime::http::auth::write_private;
use atio_schemas::{Timestamp, audit::ChainHead};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// In the data directory.
pub const FILE: &str = "checkpoints.ndjson";
const KEY: &str = "audit.key";
pub const PUBLIC: &str = "audit.pub";

/// DER of an Ed25519 public key before its 32 bytes (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {reason}", path.display())]
    Key { path: PathBuf, reason: &'static str },
}

impl CheckpointError {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "checkpoint_file",
            Self::Key { .. } => "checkpoint_key",
        }
    }
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub at: Timestamp,
    /// By chain.
    pub heads: BTreeMap<String, ChainHead>,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    /// The text that is signed: a [`Checkpoint`] as JSON.
    signed: String,
    /// Base64 of its 64 bytes.
    signature: String,
    /// Which key: the first half of the sha256 of its 32 bytes, hex.
    key: String,
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public([u8; 32]);

impl Public {
    /// A PEM file, as `audit.pub` is.
    ///
    /// # Errors
    /// It can't be read, or holds no Ed25519 public key.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let der =
            unpem(&read(path)?).ok_or(CheckpointError::Key { path: path.into(), reason: "is no PEM" })?;
        let bytes = der.strip_prefix(SPKI.as_slice()).and_then(|b| b.try_into().ok());
        bytes.map(Self).ok_or(CheckpointError::Key { path: path.into(), reason: "is no Ed25519 public key" })
    }

    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(&digest(&self.0))[..32].to_owned()
    }

    /// What a line says, where this key signed it.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn verify(&self, line: &str) -> Result<Checkpoint, String> {
        let line: Line = serde_json::from_str(line).map_err(|e| format!("is no checkpoint: {e}"))?;
        let signature = STANDARD.decode(&line.signature).map_err(|e| format!("its signature: {e}"))?;
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(line.signed.as_bytes(), &signature)
            .map_err(|_| format!("was not signed by key {}, it says {}", self.fingerprint(), line.key))?;
        serde_json::from_str(&line.signed).map_err(|e| format!("is no checkpoint: {e}"))
    }
}

/// Signs and keeps checkpoints in a data directory.
pub struct Checkpoints {
    key: Ed25519KeyPair,
    public: Public,
    file: PathBuf,
    /// Of the last line, so that nothing is written twice.
    last: BTreeMap<String, ChainHead>,
}

impl Checkpoints {
    /// The key pair of a data directory, made where there is none yet: `audit.key` (0600) and `audit.pub`.
    ///
    /// # Errors
    /// A file can't be read or written, or one half of the pair does not belong to the other, or is gone.
    pub fn open(data: &Path) -> Result<Self, CheckpointError> {
        let (private, public) = (data.join(KEY), data.join(PUBLIC));
        if !private.exists() {
            if public.exists() {
                let reason = "is there, and audit.key is not; move it away to begin with a new key";
                return Err(CheckpointError::Key { path: public, reason });
            }
            make(&private)?;
        }
        let wrong = |reason| CheckpointError::Key { path: private.clone(), reason };
        let der = unpem(&read(&private)?).ok_or_else(|| wrong("is no PEM"))?;
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map_err(|_| wrong("is no Ed25519 key in PKCS#8"))?;
        let own: [u8; 32] =
            key.public_key().as_ref().try_into().map_err(|_| wrong("is no Ed25519 key in PKCS#8"))?;
        let own = Public(own);
        if public.exists() {
            if Public::read(&public)? != own {
                return Err(wrong("does not belong to audit.pub beside it"));
            }
        } else {
            let text = pem("PUBLIC KEY", &[SPKI.as_slice(), &own.0].concat());
            fs::write(&public, text).map_err(|source| CheckpointError::File { path: public, source })?;
        }
        let file = data.join(FILE);
        let last = newest(&file, &own)?;
        Ok(Self { key, public: own, file, last })
    }

    /// What the newest line says, where this key signed it.
    #[must_use]
    pub const fn last(&self) -> &BTreeMap<String, ChainHead> {
        &self.last
    }

    /// Appends a line and has it on disk, where a chain has moved since the last one; true where it has.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn append(
        &mut self,
        at: Timestamp,
        heads: &BTreeMap<String, ChainHead>,
    ) -> Result<bool, CheckpointError> {
        if heads.is_empty() || *heads == self.last {
            return Ok(false);
        }
        let failed = |source| CheckpointError::File { path: self.file.clone(), source };
        let checkpoint = Checkpoint { at, heads: heads.clone() };
        let signed = serde_json::to_string(&checkpoint).map_err(|e| failed(e.into()))?;
        let signature = STANDARD.encode(self.key.sign(signed.as_bytes()));
        let line = Line { signed, signature, key: self.public.fingerprint() };
        let mut text = serde_json::to_vec(&line).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.file).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(failed)?;
        self.last = heads.clone();
        Ok(true)
    }
}

fn make(private: &Path) -> Result<(), CheckpointError> {
    let failed = CheckpointError::Key { path: private.into(), reason: "no key can be made" };
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| failed)?;
    write_private(private, pem("PRIVATE KEY", pkcs8.as_ref()).as_bytes())
        .map_err(|source| CheckpointError::File { path: private.into(), source })
}

/// The heads of the last line; a line that was cut in half by a crash is left alone.
fn newest(file: &Path, key: &Public) -> Result<BTreeMap<String, ChainHead>, CheckpointError> {
    if !file.exists() {
        return Ok(BTreeMap::new());
    }
    let text = read(file)?;
    let last = text.lines().rev().find_map(|line| key.verify(line).ok());
    Ok(last.map(|c| c.heads).unwrap_or_default())
}

fn read(path: &Path) -> Result<String, CheckpointError> {
    fs::read_to_string(path).map_err(|source| CheckpointError::File { path: path.into(), source })
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

fn unpem(text: &str) -> Option<Vec<u8>> {
    let body: String = text.lines().filter(|l| !l.starts_with("-----")).map(str::trim).collect();
    text.contains("-----BEGIN ").then(|| STANDARD.decode(body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn heads(sequence: i64) -> BTreeMap<String, ChainHead> {
        [("c-0".to_owned(), ChainHead { sequence, hash: hex(&digest(&[sequence as u8])) })].into()
    }

    #[test]
    fn what_is_signed_is_read_back_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut made = Checkpoints::open(dir.path()).unwrap();
        assert!(made.append(Timestamp(5), &heads(1)).unwrap());
        assert!(!made.append(Timestamp(6), &heads(1)).unwrap(), "nothing has moved");
        let mut again = Checkpoints::open(dir.path()).unwrap();
        assert_eq!(*again.last(), heads(1), "the same key and file after a restart");
        assert!(!again.append(Timestamp(7), &heads(1)).unwrap());
        assert!(again.append(Timestamp(8), &heads(2)).unwrap());
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(KEY), 0o600);
        let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
        let public = Public::read(&dir.path().join(PUBLIC)).unwrap();
        let read: Vec<Checkpoint> = text.lines().map(|l| public.verify(l).unwrap()).collect();
        assert_eq!(read[1], Checkpoint { at: Timestamp(8), heads: heads(2) });
        assert_eq!(read.len(), 2);
        for (from, to) in [("sequence\\\":2", "sequence\\\":3"), ("c-0", "c-1")] {
            let forged = text.lines().nth(1).unwrap().replace(from, to);
            assert_ne!(forged, text.lines().nth(1).unwrap());
            assert!(public.verify(&forged).is_err(), "{from}");
        }
        let other = tempfile::tempdir().unwrap();
        drop(Checkpoints::open(other.path()).unwrap());
        let stranger = Public::read(&other.path().join(PUBLIC)).unwrap();
        assert!(stranger.verify(text.lines().next().unwrap()).unwrap_err().contains(&public.fingerprint()));
    }

    #[test]
    fn half_a_pair_is_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&one, &other] {
            drop(Checkpoints::open(dir.path()).unwrap());
        }
        fs::copy(other.path().join(PUBLIC), one.path().join(PUBLIC)).unwrap();
        assert!(Checkpoints::open(one.path()).is_err(), "not its own");
        fs::remove_file(other.path().join(KEY)).unwrap();
        assert!(Checkpoints::open(other.path()).is_err(), "no key is made beside an old public one");
        fs::write(one.path().join(KEY), "x").unwrap();
        assert!(Checkpoints::open(one.path()).is_err());
        assert!(Public::read(&one.path().join(KEY)).is_err());
    }
}
