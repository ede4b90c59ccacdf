//! From the bytes of a table's file to rows. Pure. Owns the table formats and their limits; must not know who reads a table, or where it is kept.
use atio_formats::{limits::json_too_deep, split::without_bom};
use atio_topics::TableFormat;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    io::Read,
};

pub(crate) const MAX_ROWS: usize = 1_000_000;
pub(crate) const MAX_COLUMNS: usize = 256;
pub(crate) const MAX_CELL: usize = 64 << 10;
/// A whole row: a record of it must fit its topic.
pub(crate) const MAX_ROW: usize = 900 << 10;
/// A file, also when it is no longer compressed.
pub(crate) const MAX_FILE: usize = 512 << 20;
const MAX_DEPTH: usize = 64;
const MAX_ID: usize = 1024;

/// Rows by key; columns by name, empty cells left out.
pub(crate) type Rows = HashMap<String, BTreeMap<String, String>>;

/// Why a file gives no rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TableError {
    #[error("{0}")]
    Unreadable(String),
    #[error("not {format}: {reason}")]
    Malformed { format: &'static str, reason: String },
    #[error("{what}: more than {limit}")]
    TooMuch { what: String, limit: usize },
    #[error("row {row}: {reason}")]
    Row { row: usize, reason: String },
}

impl TableError {
    /// Bounded.
    #[must_use]
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "file_unreadable",
            Self::Malformed { .. } => "malformed",
            Self::TooMuch { .. } => "too_large",
            Self::Row { .. } => "invalid_row",
        }
    }
}

/// Undoes gzip, told by its magic bytes.
///
/// # Errors
/// It is broken, or expands too far.
pub(crate) fn plain(raw: &[u8]) -> Result<Cow<'_, [u8]>, TableError> {
    if !raw.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = vec![];
    let decoder = flate2::read::MultiGzDecoder::new(raw);
    let done = decoder.take(MAX_FILE as u64 + 1).read_to_end(&mut out);
    done.map_err(|e| TableError::Malformed { format: "gzip", reason: e.to_string() })?;
    if out.len() > MAX_FILE {
        return Err(TableError::TooMuch { what: "bytes, expanded".to_owned(), limit: MAX_FILE });
    }
    Ok(Cow::Owned(out))
}

/// Adds a file's rows to those of other files: cells of a key that comes again replace those of the same name.
///
/// # Errors
/// The whole file is refused: half of a table is worse than an old one. `rows` is as it was.
pub(crate) fn add(rows: &mut Rows, raw: &[u8], format: TableFormat, key: &str) -> Result<(), TableError> {
    let raw = plain(raw)?;
    let text = without_bom(&raw);
    let read = match format {
        TableFormat::Csv => csv(text, key)?,
        TableFormat::Json => json(text, key)?,
        TableFormat::Kev => kev(text)?,
        TableFormat::Epss => epss(text)?,
    };
    let new = read.keys().filter(|id| !rows.contains_key(*id)).count();
    if rows.len() + new > MAX_ROWS {
        return Err(TableError::TooMuch { what: "rows".to_owned(), limit: MAX_ROWS });
    }
    for (id, columns) in read {
        rows.entry(id).or_default().extend(columns);
    }
    Ok(())
}

/// A row within its limits.
fn row(number: usize, id: &str, columns: &BTreeMap<String, String>) -> Result<(), TableError> {
    let wrong = |reason: &str| TableError::Row { row: number, reason: reason.to_owned() };
    if id.is_empty() {
        return Err(wrong("its key is empty"));
    }
    if id.len() > MAX_ID || id.chars().any(char::is_control) {
        return Err(wrong("its key is longer than 1 KiB, or has control characters"));
    }
    if columns.len() > MAX_COLUMNS {
        return Err(wrong("more than 256 columns"));
    }
    if columns.iter().any(|(name, cell)| cell.len() > MAX_CELL || name.len() > MAX_ID) {
        return Err(wrong("a cell is longer than 64 KiB"));
    }
    if columns.iter().map(|(name, cell)| name.len() + cell.len()).sum::<usize>() > MAX_ROW {
        return Err(wrong("longer than 900 KiB"));
    }
    Ok(())
}

fn put(
    rows: &mut Rows,
    number: usize,
    id: &str,
    columns: BTreeMap<String, String>,
) -> Result<(), TableError> {
    row(number, id, &columns)?;
    if rows.len() >= MAX_ROWS && !rows.contains_key(id) {
        return Err(TableError::TooMuch { what: "rows".to_owned(), limit: MAX_ROWS });
    }
    rows.insert(id.to_owned(), columns);
    Ok(())
}

/// RFC 4180, with a header; a key that comes twice: the later row counts.
fn csv(text: &[u8], key: &str) -> Result<Rows, TableError> {
    let wrong = |reason: String| TableError::Malformed { format: "CSV", reason };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let header = reader.headers().map_err(|e| wrong(e.to_string()))?.clone();
    if header.len() > MAX_COLUMNS {
        return Err(TableError::TooMuch { what: "columns".to_owned(), limit: MAX_COLUMNS });
    }
    let at = header.iter().position(|name| name == key);
    let at = at.ok_or_else(|| wrong(format!("no column `{key}`")))?;
    let mut rows = Rows::new();
    for (number, record) in (2..).zip(reader.records()) {
        let record = record.map_err(|e| wrong(e.to_string()))?;
        let cells = header.iter().zip(record.iter()).enumerate();
        let columns = cells.filter(|(i, (name, cell))| *i != at && !cell.is_empty() && !name.is_empty());
        let columns = columns.map(|(_, (name, cell))| (name.to_owned(), cell.to_owned())).collect();
        put(&mut rows, number, record.get(at).unwrap_or_default(), columns)?;
    }
    Ok(rows)
}

/// A list of objects. Lists of scalars become one cell, `;` between; other nested values their JSON.
fn json(text: &[u8], key: &str) -> Result<Rows, TableError> {
    let list: Vec<Map<String, Value>> = parse(text)?;
    let mut rows = Rows::new();
    for (number, object) in (1..).zip(list) {
        let mut id = None;
        let mut columns = BTreeMap::new();
        for (name, value) in object {
            let cell = cell(&value);
            if name == key {
                id = Some(cell);
            } else if !cell.is_empty() {
                columns.insert(name, cell);
            }
        }
        put(&mut rows, number, id.as_deref().unwrap_or_default(), columns)?;
    }
    Ok(rows)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.trim().to_owned(),
        Value::Array(items) if items.iter().all(|i| !i.is_array() && !i.is_object()) => {
            items.iter().map(cell).filter(|c| !c.is_empty()).collect::<Vec<_>>().join(";")
        }
        other => other.to_string(),
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, TableError> {
    let wrong = |reason: String| TableError::Malformed { format: "JSON", reason };
    if json_too_deep(text, MAX_DEPTH) {
        return Err(wrong(format!("nested deeper than {MAX_DEPTH}")));
    }
    serde_json::from_slice(text).map_err(|e| wrong(e.to_string()))
}

/// CISA's catalogue; of the rest of an entry nothing is kept.
#[derive(Deserialize)]
struct Catalogue {
    count: Option<usize>,
    vulnerabilities: Vec<Exploited>,
}
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exploited {
    #[serde(rename = "cveID")]
    cve_id: String,
    date_added: Option<String>,
    due_date: Option<String>,
    known_ransomware_campaign_use: Option<String>,
}

/// `kev`, `kev_due`, `kev_added`, `kev_ransomware` by CVE (schema: cisa.gov, known exploited vulnerabilities).
fn kev(text: &[u8]) -> Result<Rows, TableError> {
    let catalogue: Catalogue = parse(text)?;
    let found = catalogue.vulnerabilities.len();
    if let Some(count) = catalogue.count.filter(|count| *count != found) {
        let reason = format!("it says {count} entries and has {found}");
        return Err(TableError::Malformed { format: "KEV", reason });
    }
    let mut rows = Rows::new();
    for (number, entry) in (1..).zip(catalogue.vulnerabilities) {
        let mut columns = BTreeMap::from([("kev".to_owned(), "true".to_owned())]);
        let ransomware = entry.known_ransomware_campaign_use.map(|use_| (use_ == "Known").to_string());
        let more =
            [("kev_due", entry.due_date), ("kev_added", entry.date_added), ("kev_ransomware", ransomware)];
        columns.extend(more.into_iter().filter_map(|(name, cell)| Some((name.to_owned(), cell?))));
        put(&mut rows, number, &cve(number, &entry.cve_id)?, columns)?;
    }
    Ok(rows)
}

/// `epss`, `epss_percentile` by CVE (FIRST: a comment line with the model's version and date, then `cve,epss,percentile`).
fn epss(text: &[u8]) -> Result<Rows, TableError> {
    let wrong = |reason: String| TableError::Malformed { format: "EPSS", reason };
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text);
    let header = reader.headers().map_err(|e| wrong(e.to_string()))?.clone();
    let at = |name: &str| {
        header.iter().position(|h| h == name).ok_or_else(|| wrong(format!("no column `{name}`")))
    };
    let (id, score, percentile) = (at("cve")?, at("epss")?, at("percentile")?);
    let mut rows = Rows::new();
    for (number, record) in (1..).zip(reader.records()) {
        let record = record.map_err(|e| wrong(e.to_string()))?;
        let fraction = |at: usize| {
            let cell = record.get(at).unwrap_or_default();
            let good = cell.parse::<f64>().is_ok_and(|n| (0.0..=1.0).contains(&n));
            let reason = || format!("{cell:?} is no number from 0 to 1");
            if good { Ok(cell.to_owned()) } else { Err(TableError::Row { row: number, reason: reason() }) }
        };
        let columns = BTreeMap::from([
            ("epss".to_owned(), fraction(score)?),
            ("epss_percentile".to_owned(), fraction(percentile)?),
        ]);
        put(&mut rows, number, &cve(number, record.get(id).unwrap_or_default())?, columns)?;
    }
    Ok(rows)
}

/// `CVE-YYYY-NNNN…`, in upper case.
fn cve(row: usize, text: &str) -> Result<String, TableError> {
    let upper = text.trim().to_ascii_uppercase();
    let digits = |part: &str, least: usize| part.len() >= least && part.bytes().all(|b| b.is_ascii_digit());
    let parts = upper.strip_prefix("CVE-").and_then(|rest| rest.split_once('-'));
    if parts.is_some_and(|(year, number)| year.len() == 4 && digits(year, 4) && digits(number, 4)) {
        Ok(upper)
    } else {
        Err(TableError::Row { row, reason: format!("{text:?} is no CVE id") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(text: &[u8], format: TableFormat, key: &str) -> Result<Vec<String>, TableError> {
        let mut rows = Rows::new();
        add(&mut rows, text, format, key)?;
        let mut shown: Vec<String> = rows.iter().map(|(id, columns)| format!("{id} {columns:?}")).collect();
        shown.sort();
        Ok(shown)
    }

    #[test]
    fn csv_and_json_give_the_same_rows() {
        let csv = b"\xef\xbb\xbfid,addresses,owner\r\nsrv-1, 10.0.0.1;10.0.0.2 ,ops\r\nsrv-2,,\"a, b\"\r\n";
        let json = br#"[{"id":"srv-1","addresses":["10.0.0.1","10.0.0.2"],"owner":"ops"},{"id":"srv-2","addresses":null,"owner":"a, b"}]"#;
        let rows = read(csv, TableFormat::Csv, "id").unwrap();
        assert_eq!(rows[0], r#"srv-1 {"addresses": "10.0.0.1;10.0.0.2", "owner": "ops"}"#);
        assert_eq!(rows[1], r#"srv-2 {"owner": "a, b"}"#);
        assert_eq!(read(json, TableFormat::Json, "id").unwrap(), rows);
        assert_eq!(
            read(br#"[{"n":1,"x":{"a":[1]}}]"#, TableFormat::Json, "n").unwrap(),
            [r#"1 {"x": "{\"a\":[1]}"}"#]
        );
    }

    #[test]
    fn kev_and_epss_are_joined_by_cve() {
        let kev = br#"{"catalogVersion":"2026.01.01","count":1,"vulnerabilities":[{"cveID":"CVE-2024-0001","vendorProject":"v","dateAdded":"2026-01-01","dueDate":"2026-01-22","knownRansomwareCampaignUse":"Known"}]}"#;
        let epss = b"#model_version:v2025.03.14,score_date:2026-01-01T00:00:00+0000\ncve,epss,percentile\nCVE-2024-0001,0.97,0.999\nCVE-2024-0002,0.00043,0.1\n";
        let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        gzip.write_all(epss).unwrap();
        let mut rows = Rows::new();
        add(&mut rows, kev, TableFormat::Kev, "cve").unwrap();
        add(&mut rows, &gzip.finish().unwrap(), TableFormat::Epss, "cve").unwrap();
        assert_eq!(rows.len(), 2);
        let both = format!("{:?}", rows["CVE-2024-0001"]);
        assert_eq!(
            both,
            r#"{"epss": "0.97", "epss_percentile": "0.999", "kev": "true", "kev_added": "2026-01-01", "kev_due": "2026-01-22", "kev_ransomware": "true"}"#
        );
        assert_eq!(rows["CVE-2024-0002"].get("kev"), None);
    }

    #[test]
    fn a_broken_file_gives_nothing() {
        let code = |text: &[u8], format, key| read(text, format, key).unwrap_err().code();
        assert_eq!(code(b"name\nx\n", TableFormat::Csv, "id"), "malformed");
        assert_eq!(code(b"id,a\nx\n", TableFormat::Csv, "id"), "malformed");
        assert_eq!(code(b"id,a\n,1\n", TableFormat::Csv, "id"), "invalid_row");
        assert_eq!(code(b"id,a\n\xff,1\n", TableFormat::Csv, "id"), "malformed");
        assert_eq!(code(b"[{\"a\":1}]", TableFormat::Json, "id"), "invalid_row");
        assert_eq!(code(b"[{\"id\":1}", TableFormat::Json, "id"), "malformed");
        assert_eq!(code("[".repeat(100_000).as_bytes(), TableFormat::Json, "id"), "malformed");
        assert_eq!(code(br#"{"count":2,"vulnerabilities":[]}"#, TableFormat::Kev, "cve"), "malformed");
        assert_eq!(code(br#"{"vulnerabilities":[{"cveID":"x"}]}"#, TableFormat::Kev, "cve"), "invalid_row");
        assert_eq!(
            code(b"cve,epss,percentile\nCVE-2024-0001,2,0\n", TableFormat::Epss, "cve"),
            "invalid_row"
        );
        assert_eq!(code(&[0x1f, 0x8b, 0, 0], TableFormat::Csv, "id"), "malformed");
        let cell = format!("id,a\nx,{}\n", "y".repeat(MAX_CELL + 1));
        assert_eq!(code(cell.as_bytes(), TableFormat::Csv, "id"), "invalid_row");
        let wide = (0..MAX_COLUMNS).map(|n| format!(",c{n}")).collect::<String>();
        assert_eq!(code(format!("id{wide}\n").as_bytes(), TableFormat::Csv, "id"), "too_large");
        let mut rows = Rows::from([("old".to_owned(), BTreeMap::new())]);
        add(&mut rows, b"id,a\ngood,1\n,2\n", TableFormat::Csv, "id").unwrap_err();
        assert_eq!(rows.len(), 1, "nothing of it was added");
    }

    #[test]
    fn rows_are_limited() {
        let many = (0..=MAX_ROWS).fold("id\n".to_owned(), |mut text, n| {
            text.push_str(&format!("{n}\n"));
            text
        });
        assert_eq!(read(many.as_bytes(), TableFormat::Csv, "id").unwrap_err().code(), "too_large");
    }
}
