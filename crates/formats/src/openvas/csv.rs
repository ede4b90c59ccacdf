//! Greenbone's CSV of results: columns by name, whatever their order and the version. Owns columns; what a fact means is in the module
//! above.
use super::{PRODUCT, Place, Scan, cves, level, place_host, port, urls, words};
use crate::finding::{Findings, Rejected, ScanResult, Text};
use crate::sniff::{Head, Score};
use crate::split::without_bom;
use crate::{ReadCx, Reader, time};
use atio_schemas::Code;
use csv::ByteRecord;
use std::borrow::Cow;
use std::collections::HashMap;

pub(crate) struct OpenvasCsv;

impl Reader for OpenvasCsv {
    fn sniff(&self, head: &Head<'_>) -> Score {
        let line = head.first_line();
        let has = |name: &str| memchr::memmem::find(line, name.as_bytes()).is_some();
        if has("NVT OID") && (has("IP") || has("Hostname")) { Score::SURE } else { Score::NO }
    }

    fn read<'a>(&self, raw: &'a [u8], cx: &ReadCx, out: &mut Findings<'a>) {
        let base = raw.len() - without_bom(raw).len();
        let body = &raw[base..];
        let header_end = memchr::memchr(b'\n', body).unwrap_or(body.len());
        let mut rows = csv::ReaderBuilder::new()
            .flexible(true)
            .has_headers(false)
            .delimiter(delimiter(&body[..header_end]))
            .from_reader(body);
        let mut columns: Option<Columns> = None;
        let mut scan = Scan::default();
        let mut record = ByteRecord::new();
        loop {
            let start = rows.position().clone();
            match rows.read_byte_record(&mut record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    let place = placed(body, base, start.byte(), body.len() as u64, start.line());
                    out.rejected.push(rejected(Code::InvalidCsv, error.to_string(), place));
                    break;
                }
            }
            // The row's own start: the reader skips blank lines before it.
            let (byte, line) =
                record.position().map_or((start.byte(), start.line()), |at| (at.byte(), at.line()));
            let place = placed(body, base, byte, rows.position().byte(), line);
            if scan.results.len() + out.rejected.len() >= cx.limits.count {
                let rest = placed(body, base, byte, body.len() as u64, line);
                out.rejected.push(rejected(
                    Code::TooMany,
                    format!("more than {} rows", cx.limits.count),
                    rest,
                ));
                break;
            }
            if let Some(header) = Columns::of(&record) {
                columns = Some(header);
                continue;
            }
            let read = match &columns {
                Some(columns) => columns.result(&record, rows.position().byte() >= body.len() as u64),
                None => Err((Code::InvalidCsv, "the first row does not name its columns".to_owned())),
            };
            match read {
                Ok(row) => {
                    if scan.task.is_none() {
                        scan.task = row.task.clone();
                        scan.id = row.scan_id.clone();
                    }
                    scan.add(row.result, row.quality, place);
                }
                Err((code, message)) => out.rejected.push(rejected(code, message, place)),
            }
        }
        scan.finish(cx, out);
    }
}

/// The row without the line break before it, which the reader counts in after `\r\n` and blank lines.
fn placed(body: &[u8], base: usize, start: u64, end: u64, line: u64) -> Place<'_> {
    let range = usize::try_from(start).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
    let raw = body.get(range).unwrap_or_default();
    let breaks = raw.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let (before, raw) = raw.split_at(breaks);
    let line = line + memchr::memchr_iter(b'\n', before).count() as u64;
    Place { raw: raw.trim_ascii_end(), offset: base as u64 + start + breaks as u64, line }
}

fn rejected<'a>(code: Code, message: String, Place { raw, offset, line }: Place<'a>) -> Rejected<'a> {
    Rejected { code, message, raw, offset, line }
}

/// A comma, or what a spreadsheet made of it.
fn delimiter(header: &[u8]) -> u8 {
    let count = |byte: u8| memchr::memchr_iter(byte, header).count();
    [b';', b'\t'].into_iter().find(|byte| count(*byte) > count(b',')).unwrap_or(b',')
}

/// Column numbers by lower-case name.
struct Columns {
    at: HashMap<String, usize>,
    width: usize,
}

struct Row<'a> {
    result: ScanResult<'a>,
    quality: Vec<&'static str>,
    scan_id: Option<Text<'a>>,
    task: Option<Text<'a>>,
}

impl Columns {
    /// The row's columns, if it is a header; reports joined by hand have several.
    fn of(record: &ByteRecord) -> Option<Self> {
        let names = record.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_ascii_lowercase());
        let at: HashMap<String, usize> = names.enumerate().map(|(at, name)| (name, at)).collect();
        let header = at.contains_key("nvt oid") && (at.contains_key("ip") || at.contains_key("hostname"));
        header.then_some(Self { at, width: record.len() })
    }

    fn cell<'r>(&self, record: &'r ByteRecord, name: &str) -> Option<&'r str> {
        let cell = std::str::from_utf8(record.get(*self.at.get(name)?)?).ok()?.trim();
        (!cell.is_empty()).then_some(cell)
    }

    fn owned(&self, record: &ByteRecord, name: &str) -> Option<Text<'static>> {
        self.cell(record, name).map(|cell| Cow::Owned(cell.to_owned()))
    }

    fn result<'a>(&self, record: &ByteRecord, last: bool) -> Result<Row<'a>, (Code, String)> {
        if record.len() != self.width {
            let code = if last && record.len() < self.width { Code::Truncated } else { Code::InvalidCsv };
            return Err((code, format!("{} cells under {} columns", record.len(), self.width)));
        }
        if let Some(at) = record.iter().position(|cell| std::str::from_utf8(cell).is_err()) {
            return Err((Code::BadEncoding, format!("no UTF-8 in cell {}", at + 1)));
        }
        let owned = |name| self.owned(record, name);
        let text = |name| self.cell(record, name).unwrap_or_default();
        let mut quality = Vec::new();
        let mut out = ScanResult { product: PRODUCT, ..ScanResult::default() };
        out.name = owned("nvt name").unwrap_or_default();
        out.oid = match owned("nvt oid") {
            Some(oid) => oid,
            None if out.name.is_empty() => {
                return Err((Code::MissingField, "a row without a test".to_owned()));
            }
            None => {
                quality.push("missing_oid");
                out.name.clone()
            }
        };
        place_host(owned("ip").unwrap_or_default(), &mut out);
        out.hostname = owned("hostname").or(out.hostname.take());
        let proto = self.cell(record, "port protocol").unwrap_or("tcp");
        out.port_raw = Cow::Owned(format!("{}/{proto}", self.cell(record, "port").unwrap_or("general")));
        let (number, proto) = port(&out.port_raw);
        (out.port, out.proto) = (number, proto.map(Cow::Owned));
        let score = self.cell(record, "cvss").and_then(|cell| cell.replace(',', ".").parse::<f64>().ok());
        level(owned("severity"), score, &mut out, &mut quality);
        out.qod = self
            .cell(record, "qod")
            .and_then(|cell| cell.trim_end_matches('%').parse().ok())
            .filter(|qod| *qod <= 100);
        cves(text("cves"), &mut out.cves);
        words(text("bids"), &mut out.bids);
        urls(text("other references"), &mut out.urls);
        (out.summary, out.insight, out.impact) =
            (owned("summary"), owned("vulnerability insight"), owned("impact"));
        (out.affected, out.solution, out.solution_type) =
            (owned("affected software/os"), owned("solution"), owned("solution type"));
        out.description = owned("specific result");
        out.result_id = owned("result id");
        out.reported_at = self.cell(record, "timestamp").and_then(time::parse);
        out.task = owned("task name").or_else(|| owned("task id"));
        // A CSV names the task but not the scan: the task and the time of its report tell one scan from the next.
        out.scan_id =
            self.cell(record, "task id").map(|id| Cow::Owned(format!("{id}@{}", text("timestamp"))));
        Ok(Row { scan_id: out.scan_id.clone(), task: out.task.clone(), result: out, quality })
    }
}
