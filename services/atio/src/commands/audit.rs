//! `atio audit`: the audit log listed, exported and verified. Owns reading and printing; what makes a chain good is said by monitoring.
use crate::{
    commands::look::{Look, look},
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
};
use anyhow::Context;
use atio_monitoring::{
    checkpoint::{self, Public},
    verify::{Finding, Verify},
};
use atio_schemas::audit::{AuditEntry, ChainHead};
use atio_stream::read::Entry;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

/// Look at the audit log: who did what, and whether anybody changed the record of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio audit verify || echo tampered")]
pub struct Args {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AuditCommand {
    /// Print entries, oldest first
    Log {
        /// Only what was done to this: `workflow/threat-detection-response`, or a part of it
        #[arg(long, value_name = "TEXT")]
        object: Option<String>,
        /// Only so many, the newest
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// A table, or one JSON object a line
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Write the whole log to a file, one JSON object a line
    Export { file: PathBuf },
    /// Check every chain: hashes, links, keys, gaps, and the heads that monitoring noted; exit 1 where something is wrong
    Verify {
        /// Only this chain
        #[arg(long, value_name = "NAME")]
        chain: Option<String>,
        /// An export instead of the topic; what was noted elsewhere is then not known
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        signed: Signed,
        /// Sentences, or one JSON object a line
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct Signed {
    /// Signed checkpoints that were kept elsewhere: what they have must be there
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The key that signed them; default: audit.pub in the data directory
    #[arg(long, value_name = "FILE", requires = "checkpoint")]
    public_key: Option<PathBuf>,
}

/// A line of an export: the record as it lies on the topic.
#[derive(Serialize, Deserialize)]
struct Line {
    offset: i64,
    key: String,
    entry: Option<AuditEntry>,
}

pub fn run(target: &Target, args: Args) -> anyhow::Result<Exit> {
    let mut expected = Verify::default();
    if let AuditCommand::Verify { chain, file, signed, format } = &args.command {
        expected = expecting(target, signed)?;
        if let Some(file) = file {
            let verify = read_file(file, expected)?;
            return told(verify, &BTreeMap::new(), &BTreeMap::new(), chain.as_deref(), *format);
        }
    }
    look(target, move |look: &Look| match args.command {
        AuditCommand::Log { object, limit, format } => log(look, object.as_deref(), limit, format),
        AuditCommand::Export { file } => export(look, &file),
        AuditCommand::Verify { chain, format, .. } => verify(look, expected, chain.as_deref(), format),
    })
}

fn topic(look: &Look) -> String {
    format!("{}audit", look.config.prefix)
}

fn key(entry: &Entry) -> String {
    String::from_utf8_lossy(entry.key.as_deref().unwrap_or_default()).into_owned()
}

fn decoded(look: &Look, entry: &Entry) -> Result<Option<AuditEntry>, String> {
    entry.value.as_deref().map(|value| look.decoder.decode::<AuditEntry>(value)).transpose()
}

fn log(look: &Look, object: Option<&str>, limit: usize, format: Format) -> anyhow::Result<Exit> {
    let (mut kept, mut bad) = (VecDeque::new(), 0_u64);
    look.scan(&topic(look), |record| match decoded(look, &record) {
        Ok(Some(entry)) if object.is_none_or(|o| entry.object.contains(o)) => {
            kept.push_back(entry);
            if kept.len() > limit {
                kept.pop_front();
            }
        }
        Ok(Some(_)) => {}
        Ok(None) | Err(_) => bad += 1,
    })?;
    if bad > 0 {
        render::notice(&format!("{bad} records are no entries; `atio audit verify` says which"));
    }
    if format == Format::Json {
        kept.iter().try_for_each(render::json)?;
        return Ok(Exit::Done);
    }
    let cells = |e: &AuditEntry| {
        let place = format!("{}/{}", e.chain, e.sequence);
        vec![e.at.rfc3339_millis(), place, e.actor.clone(), e.action.clone(), e.object.clone()]
    };
    let cells: Vec<Vec<String>> = kept.iter().map(cells).collect();
    render::table(&["AT", "ENTRY", "BY", "ACTION", "OBJECT"], &cells)?;
    Ok(Exit::Done)
}

fn export(look: &Look, file: &Path) -> anyhow::Result<Exit> {
    let context = || format!("writing {}", file.display());
    let mut out = std::io::BufWriter::new(std::fs::File::create(file).with_context(context)?);
    let (mut count, mut result) = (0_u64, Ok(()));
    look.scan(&topic(look), |record| {
        if result.is_ok() {
            result = write(look, &record, &mut out);
            count += 1;
        }
    })?;
    result?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all().with_context(context)?;
    render::notice(&format!("{count} records in {}", file.display()));
    Ok(Exit::Done)
}

fn write(look: &Look, record: &Entry, out: &mut impl Write) -> anyhow::Result<()> {
    let key = key(record);
    let entry = decoded(look, record)
        .map_err(|why| anyhow::anyhow!("{key}: {why}; `atio audit verify` says more"))?;
    serde_json::to_writer(&mut *out, &Line { offset: record.offset, key, entry })?;
    out.write_all(b"\n")?;
    Ok(())
}

fn read_file(file: &Path, mut verify: Verify) -> anyhow::Result<Verify> {
    let context = || format!("reading {}", file.display());
    let lines = BufReader::new(std::fs::File::open(file).with_context(context)?).lines();
    for (number, line) in (1_i64..).zip(lines) {
        match serde_json::from_str::<Line>(&line.with_context(context)?) {
            Ok(line) => verify.add(line.offset, &line.key, Ok(line.entry.as_ref())),
            Err(error) => verify.add(number, &format!("line {number}"), Err(error.to_string())),
        }
    }
    Ok(verify)
}

fn verify(look: &Look, mut verify: Verify, chain: Option<&str>, format: Format) -> anyhow::Result<Exit> {
    let before = look.heads()?.noted;
    look.scan(&topic(look), |record| match decoded(look, &record) {
        Ok(entry) => verify.add(record.offset, &key(&record), Ok(entry.as_ref())),
        Err(why) => verify.add(record.offset, &key(&record), Err(why)),
    })?;
    if look.is_stopped() {
        return Err(Failure::with(Exit::Failed, "stopped before the end: nothing is known"));
    }
    let after = look.heads()?.noted;
    told(verify, &before, &after, chain, format)
}

/// What is to be held against signed checkpoints, where there are any.
fn expecting(target: &Target, signed: &Signed) -> anyhow::Result<Verify> {
    let mut verify = Verify::default();
    let Some(file) = &signed.checkpoint else { return Ok(verify) };
    let public = match &signed.public_key {
        Some(path) => path.clone(),
        None => target.configuration(serde_json::json!({}))?.data.join(checkpoint::PUBLIC),
    };
    let public = Public::read(&public).map_err(|e| Failure::usage(format!("{e}; give --public-key FILE")))?;
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut good = 0_u64;
    for (number, line) in (1_i64..).zip(text.lines()) {
        match public.verify(line) {
            Ok(checkpoint) => {
                verify.expect(checkpoint);
                good += 1;
            }
            Err(why) => verify.bad_checkpoint(number, &why),
        }
    }
    anyhow::ensure!(
        good > 0,
        "{} has no checkpoint that key {} signed",
        file.display(),
        public.fingerprint()
    );
    render::notice(&format!("{good} checkpoints signed by key {}", public.fingerprint()));
    Ok(verify)
}

fn told(
    verify: Verify,
    before: &BTreeMap<String, ChainHead>,
    after: &BTreeMap<String, ChainHead>,
    chain: Option<&str>,
    format: Format,
) -> anyhow::Result<Exit> {
    let (heads, entries) = (verify.heads().clone(), verify.entries());
    if let Some(unknown) = chain.filter(|c| !heads.contains_key(*c) && !before.contains_key(*c)) {
        let known: Vec<&str> = heads.keys().map(String::as_str).collect();
        return Err(Failure::usage(format!("no chain `{unknown}`; there are {}", known.join(", "))));
    }
    let wanted = |name: &str| chain.is_none_or(|c| c == name);
    let mut findings = verify.finish(before, after);
    findings.retain(|f| wanted(&f.chain));
    for (name, head) in heads.iter().filter(|(name, _)| wanted(name)) {
        let wrong = findings.iter().filter(|f| f.chain == **name).count();
        if format == Format::Json {
            let line = serde_json::json!({"chain": name, "sequence": head.sequence, "hash": head.hash, "findings": wrong});
            render::json(&line)?;
        } else if wrong == 0 {
            render::line(&format!("✓ {name}: {} entries, head {}", head.sequence, head.hash))?;
        } else {
            render::line(&format!("✗ {name}: {wrong} findings, ends at {}", head.sequence))?;
        }
    }
    findings.iter().try_for_each(|f| show(f, format))?;
    if format == Format::Human && chain.is_none() {
        render::notice(&format!("{entries} entries in {} chains, {} findings", heads.len(), findings.len()));
    }
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Failed })
}

fn show(finding: &Finding, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return render::json(finding);
    }
    let number = finding.sequence.map_or_else(String::new, |n| format!("/{n}"));
    let place = finding.at.map_or_else(String::new, |at| format!(" (offset {at})"));
    render::line(&format!("{}{number}: {}: {}{place}", finding.chain, finding.what, finding.message))
}
