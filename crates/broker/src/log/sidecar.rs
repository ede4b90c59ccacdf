//! Owns the file beside a segment that says what is in it and how the producers stood at that point, so that a start need
//! not read the segment. Never vouches for what may be lost: the segment is synced first. Must not know recovery's verdicts.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::LogError;
use super::producers::Producers;
use super::segment::Summary;

#[derive(Serialize, Deserialize)]
struct Sidecar {
    summary: Summary,
    /// The producers as they were at the end of what the summary covers.
    producers: Producers,
}

/// What a sidecar says of the file that it lies beside.
#[derive(Debug)]
pub(crate) enum Known {
    /// It covers all of it.
    Whole(Summary, Producers),
    /// It covers what there was at the time; the rest has to be read.
    UpTo(Summary, Producers),
    /// The file had this many more bytes, and they were on the disk.
    Shorter(u64),
    /// There is none, or it is of another file.
    Nothing,
    /// There is one, and it can't be read.
    Broken,
}

pub(crate) fn sidecar_of(log: &Path) -> PathBuf {
    log.with_extension("idx")
}

/// Where a sidecar is written before it takes its name; a start removes what was left there.
pub(crate) fn part_of(sidecar: &Path) -> PathBuf {
    sidecar.with_extension("idx.part")
}

/// Writes a sidecar without its name: what needs room on the disk is done after this.
pub(crate) fn write_part(path: &Path, summary: &Summary, producers: &Producers) -> Result<PathBuf, LogError> {
    let sidecar = Sidecar { summary: summary.clone(), producers: producers.clone() };
    let body = serde_json::to_vec(&sidecar).map_err(std::io::Error::other)?;
    let mut out = crc32c::crc32c(&body).to_be_bytes().to_vec();
    out.extend_from_slice(&body);
    let part = part_of(path);
    if let Err(error) = std::fs::write(&part, &out) {
        // On a full disk even what is left of it is missed.
        std::fs::remove_file(&part).ok();
        return Err(error.into());
    }
    Ok(part)
}

pub(crate) fn save(path: &Path, summary: &Summary, producers: &Producers) -> Result<(), LogError> {
    let part = write_part(path, summary, producers)?;
    std::fs::rename(&part, path)?;
    Ok(())
}

/// What the sidecar says.
///
/// # Errors
/// The disk's, where that is more than a missing sidecar.
pub(crate) fn load(log: &Path) -> Result<Known, LogError> {
    let bytes = match std::fs::read(sidecar_of(log)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Known::Nothing),
        Err(_) => return Ok(Known::Broken),
    };
    let Some(Sidecar { summary, producers }) = parse(&bytes) else { return Ok(Known::Broken) };
    let size = std::fs::metadata(log)?.len();
    Ok(match summary.size {
        said if said == size => Known::Whole(summary, producers),
        said if said > size => Known::Shorter(said - size),
        _ if summary.cleaned => Known::Nothing,
        _ => Known::UpTo(summary, producers),
    })
}

fn parse(bytes: &[u8]) -> Option<Sidecar> {
    let (crc, body) = bytes.split_first_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    serde_json::from_slice(body).ok()
}
