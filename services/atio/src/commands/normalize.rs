//! `atio normalize`: any supported input to detections or STIX, without a broker. Owns files, lines and exit codes; must not know how a format
//! is read.
mod input;

use crate::{endpoints::Target, exit::Exit, render};
use atio_formats::{
    Format,
    split::{Shape, split, without_bom},
};
use atio_normalization::offline::{FileRef, Options, Start, closed_bundle, normalize_part};
use atio_runtime::clock;
use atio_schemas::{Code, Detection};
use atio_stage::Reject;
use clap::builder::PossibleValuesParser;
use input::{Chunk, Chunks, Content, Input, WHOLE};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Read files of any supported tool, print STIX 2.1 or detections; no broker
///
/// One bundle or JSON object a line. Notices and dead letters go to stderr, one JSON object a line. Exit code 0: all was read; 3: something
/// was dead-lettered; 1: a file can't be read. JSON records may come in files of any length; other documents up to 16 MiB. Compressed files
/// are not opened: `zcat FILE | atio normalize -`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: atio normalize --to detection eve.json | jq -r '[.asset, .rule.name] | @tsv'"
)]
pub struct Args {
    /// The format; auto looks at the first bytes of each file
    #[arg(long, default_value = "auto", value_name = "NAME", value_parser = formats())]
    format: String,
    /// What to print
    #[arg(long, default_value = "stix", value_enum)]
    to: To,
    /// Files to read; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// A self-contained bundle a line
    Stix,
    /// A JSON object with every column a line
    Detection,
}

fn formats() -> PossibleValuesParser {
    let names = atio_formats::FORMATS.iter().map(|format| format.name);
    PossibleValuesParser::new(std::iter::once("auto").chain(names))
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let config = match target.configuration(json!({})) {
        Ok(config) => config,
        Err(error) => {
            notice(&json!({"level": "error", "message": format!("{error:#}")}));
            return Ok(crate::exit::of(&error));
        }
    };
    let mut options = Options::new(clock::now());
    options.home_networks = config.home_networks;
    options.format = (args.format != "auto").then(|| args.format.clone());
    let mut work = Work { to: args.to, options, out: render::Lines::new(), dead: 0, unreadable: 0 };
    for path in &args.files {
        let name = path.to_string_lossy();
        if let Err(error) = work.file(path, &name) {
            work.unreadable += 1;
            notice(&json!({"level": "error", "message": format!("can't be read: {error:#}"), "file": name}));
        }
    }
    work.out.flush()?;
    Ok(match (work.unreadable, work.dead) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::DeadLettered,
        _ => Exit::Failed,
    })
}

fn notice(value: &Value) {
    render::notice(&value.to_string());
}

struct Work {
    to: To,
    options: Options,
    out: render::Lines,
    dead: u64,
    unreadable: u64,
}

impl Work {
    fn file(&mut self, path: &std::path::Path, name: &str) -> anyhow::Result<()> {
        let Input { content, size, sha256 } = input::open(path)?;
        let file = FileRef { name, sha256: &sha256 };
        match content {
            Content::Small(bytes) => {
                let Some(format) = self.format(&bytes, file) else { return Ok(()) };
                match format.shape {
                    Shape::Json => self.records(&bytes, format, Start::FILE, file),
                    Shape::Whole => self.part(&bytes, format, Start::FILE, file),
                }
            }
            Content::Large(from) => self.large(from, size, file),
        }
    }

    fn large(&mut self, from: std::fs::File, size: u64, file: FileRef<'_>) -> anyhow::Result<()> {
        let mut chunks = Chunks::new(from, size);
        let mut format = None;
        while let Some(chunk) = chunks.next()? {
            let (bytes, start) = match chunk {
                Chunk::Records { bytes, start } => (bytes, start),
                // Nothing can be said of a format before a record was read.
                Chunk::TooLarge { start, .. } if format.is_none() && start == Start::FILE => {
                    self.too_large(size, file);
                    return Ok(());
                }
                Chunk::TooLarge { start, size } => {
                    let message = format!("a record of {size} bytes; at most {WHOLE}");
                    self.reject(&Reject::whole(Code::TooLarge, message), start, file);
                    continue;
                }
            };
            if format.is_none() {
                let Some(found) = self.format(&bytes, file) else { return Ok(()) };
                if found.shape == Shape::Whole || starts_array(&bytes) {
                    self.too_large(size, file);
                    return Ok(());
                }
                format = Some(found);
            }
            if let Some(format) = format {
                self.records(&bytes, format, start, file)?;
            }
        }
        Ok(())
    }

    /// The file's format; without one the file is a dead letter.
    fn format(&mut self, head: &[u8], file: FileRef<'_>) -> Option<&'static Format> {
        if let Some(kind) = compressed(head) {
            let message = format!("{kind}: decompress it first, for example into `atio normalize -`");
            self.reject(&Reject::whole(Code::ContentType, message), Start::FILE, file);
            return None;
        }
        match atio_formats::detect(head, self.options.format.as_deref()) {
            Ok(format) => Some(format),
            Err(error) => {
                self.reject(&Reject::whole(error.code(), error.to_string()), Start::FILE, file);
                None
            }
        }
    }

    /// A sequence of records, each by itself.
    fn records(
        &mut self,
        bytes: &[u8],
        format: &Format,
        base: Start,
        file: FileRef<'_>,
    ) -> anyhow::Result<()> {
        if without_bom(bytes).trim_ascii().is_empty() {
            // A blank file under a pinned format; blank ends of long ones are nothing.
            return if base == Start::FILE { self.part(bytes, format, base, file) } else { Ok(()) };
        }
        let limits = atio_formats::limits::Limits::default();
        for piece in split(bytes, format.shape, &limits) {
            let place =
                |offset, line: u64| Start { offset: base.offset + offset, line: base.line + line - 1 };
            match piece {
                Ok(piece) => self.part(piece.raw, format, place(piece.offset, piece.line), file)?,
                Err(bad) => {
                    self.reject(&Reject::whole(bad.code, bad.message), place(bad.offset, bad.line), file);
                }
            }
        }
        Ok(())
    }

    fn part(&mut self, bytes: &[u8], format: &Format, start: Start, file: FileRef<'_>) -> anyhow::Result<()> {
        let normalized = normalize_part(bytes, format, start, &file, &self.options);
        for text in normalized.notices {
            notice(&json!({"level": "warn", "message": text, "file": file.name}));
        }
        for result in normalized.results {
            match result.and_then(|detection| printed(detection, self.to)) {
                Ok(line) => self.out.line(&line)?,
                Err(reject) => self.reject(&reject, start, file),
            }
        }
        Ok(())
    }

    fn too_large(&mut self, size: u64, file: FileRef<'_>) {
        self.dead += 1;
        let message = format!(
            "{}: {size} bytes, sha256 {}; a whole document may have {WHOLE}, JSON records one a line any number",
            file.name, file.sha256
        );
        notice(&json!({
            "code": Code::TooLarge, "stage": atio_normalization::SERVICE, "message": message, "file": file.name, "offset": 0, "line": 1,
            "size": size, "sha256": file.sha256
        }));
    }

    /// `start`: of the part that it is about, where it does not say itself.
    fn reject(&mut self, reject: &Reject, start: Start, file: FileRef<'_>) {
        self.dead += 1;
        let part = reject.part.as_ref();
        let offset = part.and_then(|p| p.offset).unwrap_or(start.offset);
        let line = part.and_then(|p| p.line).or_else(|| (offset == start.offset).then_some(start.line));
        notice(&json!({
            "code": reject.code, "stage": atio_normalization::SERVICE, "message": reject.message, "file": file.name, "offset": offset,
            "line": line
        }));
    }
}

/// A detection as a line. Its bundle is closed either way: what leaves is self-contained.
fn printed(mut detection: Detection, to: To) -> Result<Vec<u8>, Reject> {
    let bundle = closed_bundle(&detection)?;
    if to == To::Stix {
        return Ok(bundle);
    }
    detection.bundle = bundle.into();
    serde_json::to_vec(&detection).map_err(|e| Reject::whole(Code::EncodeFailed, e.to_string()))
}

fn compressed(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
        [b'P', b'K', 3, 4, ..] => Some("zip"),
        _ => None,
    }
}

/// An array of records is one document.
fn starts_array(head: &[u8]) -> bool {
    without_bom(head).trim_ascii_start().first() == Some(&b'[')
}
