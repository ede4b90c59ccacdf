//! Output: data on stdout, notices on stderr, for people or as JSON lines.
pub mod sarif;

use std::io::{self, Write};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Human,
    Json,
}

/// One line of data. A closed pipe ends the program quietly: the reader has what it wanted.
pub fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    quiet(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()))
}

/// Many lines of data, buffered. A closed pipe ends the program quietly, as with [`line()`].
pub struct Lines(io::BufWriter<io::StdoutLock<'static>>);

impl Lines {
    pub fn new() -> Self {
        Self(io::BufWriter::with_capacity(64 << 10, io::stdout().lock()))
    }
    pub fn line(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        quiet(self.0.write_all(bytes).and_then(|()| self.0.write_all(b"\n")))
    }
    pub fn json(&mut self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        self.line(&serde_json::to_vec(value)?)
    }
    pub fn flush(&mut self) -> anyhow::Result<()> {
        quiet(self.0.flush())
    }
}

fn quiet(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

/// One JSON object a line.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// A notice for people, on stderr. Nobody reading is no failure.
pub fn notice(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Why a command failed, with its causes.
pub fn error(error: &anyhow::Error) {
    notice(&format!("error: {error:#}"));
}

/// Rows under a header, aligned.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let width = |i: usize| {
        rows.iter()
            .filter_map(|r| r.get(i))
            .map(|c| c.chars().count())
            .chain([header[i].len()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let row = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    line(&row(header.to_vec()))?;
    rows.iter().try_for_each(|r| line(&row(r.iter().map(String::as_str).collect())))
}
