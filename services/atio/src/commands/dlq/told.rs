//! What a replay or drop says of itself: a line a letter, then how many went where and why some did not. Owns the output of both commands.
use super::{
    restore::{Refused, Restored, Warning},
    select::Unit,
};
use crate::{
    exit::Exit,
    render::{self, Format},
};
use atio_schemas::codec::bytes;
use serde::Serialize;
use std::collections::BTreeMap;

/// Letters that people see one by one; JSON has them all.
const SHOWN: usize = 20;

#[derive(Debug, Serialize)]
pub struct Line {
    /// topic/partition/offset.
    letter: String,
    /// Letters of the same record, dealt with in the same stroke.
    others: Vec<String>,
    stage: String,
    code: String,
    attempt: u32,
    to: Option<String>,
    partition: Option<i32>,
    /// As text; base64 where it is none.
    key: Option<String>,
    bytes: Option<usize>,
    edited: bool,
    warnings: Vec<&'static str>,
    refused: Option<&'static str>,
    message: Option<String>,
    /// It was written.
    done: bool,
}

impl Line {
    pub fn new(topic: &str, unit: &Unit, stage: &str, code: &str, attempt: u32) -> Self {
        Self {
            letter: format!("{topic}/{}", unit.at),
            others: unit.others.iter().map(|at| format!("{topic}/{at}")).collect(),
            stage: stage.to_owned(),
            code: code.to_owned(),
            attempt,
            to: None,
            partition: None,
            key: None,
            bytes: None,
            edited: false,
            warnings: vec![],
            refused: None,
            message: None,
            done: false,
        }
    }
    pub fn restored(&mut self, restored: &Restored) {
        let output = &restored.output;
        self.to = Some(output.topic.to_string());
        self.partition = output.partition;
        self.key = output.key.as_deref().map(|key| match std::str::from_utf8(key) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes::encode(key),
        });
        self.bytes = output.value.as_ref().map(Vec::len);
        self.edited = restored.edited.is_some();
        self.warnings = restored.warnings.iter().map(|w| w.code()).collect();
    }
    pub fn refused(&mut self, refused: &Refused) {
        self.refused = Some(refused.code());
        self.message = Some(refused.to_string());
    }
}

/// Written, or what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Dry,
    Written,
}

pub struct Told {
    format: Format,
    mode: Mode,
    /// `replayed`, `dropped`.
    verb: &'static str,
    rows: Vec<Vec<String>>,
    left_out: usize,
    groups: BTreeMap<[String; 3], u64>,
    refused: BTreeMap<&'static str, (u64, String)>,
    warned: BTreeMap<&'static str, (u64, &'static str)>,
    pub records: u64,
}

impl Told {
    pub fn new(format: Format, mode: Mode, verb: &'static str) -> Self {
        Self {
            format,
            mode,
            verb,
            rows: vec![],
            left_out: 0,
            groups: BTreeMap::new(),
            refused: BTreeMap::new(),
            warned: BTreeMap::new(),
            records: 0,
        }
    }

    /// One letter: refused, or what is done with it.
    pub fn letter(&mut self, mut line: Line, warnings: &[Warning]) -> anyhow::Result<()> {
        line.done = self.mode == Mode::Written && line.refused.is_none();
        if let (Some(code), Some(message)) = (line.refused, &line.message) {
            self.refused.entry(code).or_insert_with(|| (0, message.clone())).0 += 1;
        } else {
            let to = line.to.clone().unwrap_or_else(|| "-".to_owned());
            *self.groups.entry([to, line.stage.clone(), line.code.clone()]).or_default() += 1;
            self.records += 1;
            for warning in warnings {
                self.warned.entry(warning.code()).or_insert((0, warning.text())).0 += 1;
            }
        }
        if self.format == Format::Json {
            return render::json(&line);
        }
        if self.rows.len() == SHOWN {
            self.left_out += 1;
            return Ok(());
        }
        let to = line.to.unwrap_or_else(|| "-".to_owned());
        let key = line.key.unwrap_or_else(|| "-".to_owned());
        let note = match (line.refused, line.edited, line.others.len()) {
            (Some(code), ..) => format!("refused: {code}"),
            (None, true, 0) => "edited".to_owned(),
            (None, true, n) => format!("edited; {n} more of its record"),
            (None, false, 0) => String::new(),
            (None, false, n) => format!("{n} more of its record"),
        };
        self.rows.push(vec![line.letter, to, key, line.stage, line.code, line.attempt.to_string(), note]);
        Ok(())
    }

    /// The end; the exit code says whether some were refused.
    pub fn end(self, before: usize, run_id: &str) -> anyhow::Result<Exit> {
        if self.format == Format::Human && !self.rows.is_empty() {
            render::table(&["LETTER", "TO", "KEY", "STAGE", "CODE", "ATTEMPT", ""], &self.rows)?;
            if self.left_out > 0 {
                render::line(&format!("… and {} more; --format json shows them", self.left_out))?;
            }
            let group = |(key, count): (&[String; 3], &u64)| {
                key.iter().cloned().chain([count.to_string()]).collect::<Vec<_>>()
            };
            let groups: Vec<Vec<String>> = self.groups.iter().map(group).collect();
            if !groups.is_empty() {
                render::line("")?;
                render::table(&["TO", "STAGE", "CODE", "RECORDS"], &groups)?;
            }
        }
        for (code, (count, text)) in &self.warned {
            render::notice(&format!("warning: {code}, {count} ×: {text}"));
        }
        for (code, (count, message)) in &self.refused {
            render::notice(&format!("refused: {code}, {count} ×: {message}"));
        }
        if before > 0 {
            render::notice(&format!("{before} letters were dealt with before; --again takes them too"));
        }
        render::notice(&match self.mode {
            Mode::Dry => {
                format!("dry run: nothing was written; with --yes {} records are {}", self.records, self.verb)
            }
            Mode::Written => format!("{} records {}, run {run_id}", self.records, self.verb),
        });
        Ok(if self.refused.is_empty() { Exit::Done } else { Exit::Refused })
    }
}
