//! The lists of samples: committed, so that every trial has its name where the samples are absent, and a changed sample shows.
use crate::support::shared_data;
use libtest_mimic::Failed;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// One file below the shared data.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub sha256: &'static str,
    pub path: &'static str,
}

pub fn suricata() -> Vec<Sample> {
    parse(include_str!("suricata.list"))
}

pub fn openvas() -> Vec<Sample> {
    parse(include_str!("openvas.list"))
}

/// Lines of `sha256sum`, run where the shared data lies.
fn parse(text: &'static str) -> Vec<Sample> {
    let of = |line: &'static str| line.split_once("  ").map(|(sha256, path)| Sample { sha256, path });
    text.lines().map(|line| of(line).expect("`<sha256>  <path>`")).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Sample {
    pub fn file(&self) -> PathBuf {
        shared_data().join(self.path)
    }

    /// The folder's name, or the file's where several share a folder.
    pub fn name(&self) -> &'static str {
        self.path.strip_suffix("/eve.json").and_then(|p| p.rsplit('/').next()).unwrap_or(self.path)
    }

    /// Its bytes, which must be those that the list was made from.
    pub fn read(&self) -> Result<Vec<u8>, Failed> {
        let bytes = std::fs::read(self.file()).map_err(|e| format!("{}: {e}", self.file().display()))?;
        if hex(&Sha256::digest(&bytes)) != self.sha256 {
            return Err(format!("{} is not the sample of the list", self.path).into());
        }
        Ok(bytes)
    }
}
