//! GMP and OMP XML: reports, nested reports, responses with several, bare results. Owns where each fact stands in the versions of the
//! protocol; what a fact means is in the module above.
use super::tree::{Broken, Node, Visit, walk};
use super::{PRODUCT, Place, Scan, cves, level, place_host, port, push, says_nothing, sections, urls, words};
use crate::finding::{Findings, Rejected, ScanHost, ScanResult, Text};
use crate::sniff::{Head, Score};
use crate::split::without_bom;
use crate::{ReadCx, Reader, time};
use atio_schemas::{Code, Timestamp};
use std::borrow::Cow;

pub(crate) struct OpenvasXml;

impl Reader for OpenvasXml {
    fn sniff(&self, head: &Head<'_>) -> Score {
        if !head.starts_with(b'<') {
            return Score::NO;
        }
        let response = head.has("<get_reports_response") || head.has("<get_results_response");
        let report = head.has("<report ")
            && (head.has("format_id=")
                || head.has("<gmp>")
                || head.has("<omp>")
                || head.has("<scan_run_status>"));
        if response || report || head.has("<nvt oid=") { Score::SURE } else { Score::NO }
    }

    fn read<'a>(&self, raw: &'a [u8], cx: &ReadCx, out: &mut Findings<'a>) {
        let base = raw.len() - without_bom(raw).len();
        let text = match std::str::from_utf8(&raw[base..]) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("no UTF-8 after {} bytes", error.valid_up_to());
                out.rejected.push(Rejected { code: Code::BadEncoding, message, raw, offset: 0, line: 1 });
                return;
            }
        };
        let mut read = Read {
            raw: &raw[base..],
            base,
            cx,
            out,
            scan: Scan::default(),
            status: None,
            counted: (0, 1),
            full: None,
        };
        let walked = walk(text, cx.limits.depth, &mut read);
        read.end(walked.err());
    }
}

struct Read<'r, 'a> {
    raw: &'a [u8],
    /// Bytes before `raw` in the input.
    base: usize,
    cx: &'r ReadCx,
    out: &'r mut Findings<'a>,
    scan: Scan<'a>,
    status: Option<Text<'a>>,
    /// Offset up to which lines are counted, and the line there.
    counted: (usize, u64),
    /// Where the limit of findings was reached.
    full: Option<usize>,
}

impl<'a> Visit<'a> for Read<'_, 'a> {
    fn enter(&mut self, node: &Node<'a>, parents: &[&str]) -> bool {
        let in_report = parents.last() == Some(&"report");
        match node.name.as_str() {
            "result" => true,
            "host" | "task" | "host_start" | "host_end" => in_report,
            "report" => {
                // The inner report is the scan's; the outer one is the form in which it was fetched.
                if let Some(id) = node.attribute("id") {
                    self.scan.id = Some(Cow::Owned(id.to_owned()));
                }
                false
            }
            _ => false,
        }
    }

    fn leave(&mut self, node: Node<'a>, parents: &[&str], start: usize, end: usize) {
        if node.name == "report" {
            if !parents.contains(&"report") {
                self.finish(true);
            }
            return;
        }
        if node.name == "result" {
            return self.result(&node, start, end);
        }
        if parents.last() != Some(&"report") {
            return;
        }
        match node.name.as_str() {
            "host" => self.host(&node, start, end),
            "task" => {
                self.scan.task = node
                    .text_at(&["name"])
                    .or_else(|| node.attribute("id").map(|id| Cow::Owned(id.to_owned())))
                    .or(self.scan.task.take())
            }
            "host_start" | "host_end" => self.host_time(&node),
            "scan_run_status" => self.status = node.text(),
            "scan_start" => self.scan.start = when(node.text()),
            "scan_end" => self.scan.end = when(node.text()),
            "timestamp" | "creation_time" => self.scan.made = when(node.text()).or(self.scan.made),
            _ => {}
        }
    }
}

fn when(text: Option<Text<'_>>) -> Option<Timestamp> {
    text.as_deref().and_then(time::parse)
}

impl<'a> Read<'_, 'a> {
    fn place(&mut self, start: usize, end: usize) -> Place<'a> {
        let (from, line) = self.counted;
        let passed = self.raw.get(from..start).unwrap_or_default();
        self.counted = (start.max(from), line + memchr::memchr_iter(b'\n', passed).count() as u64);
        Place {
            raw: self.raw.get(start..end).unwrap_or_default(),
            offset: (self.base + start) as u64,
            line: self.counted.1,
        }
    }

    fn reject(&mut self, code: Code, message: String, start: usize, end: usize) {
        let Place { raw, offset, line } = self.place(start, end);
        self.out.rejected.push(Rejected { code, message, raw, offset, line });
    }

    fn result(&mut self, node: &Node<'a>, start: usize, end: usize) {
        if self.scan.results.len() + self.out.found.len() >= self.cx.limits.count {
            self.full.get_or_insert(start);
            return;
        }
        match result(node) {
            Ok((result, quality)) => {
                let place = self.place(start, end);
                self.scan.add(result, quality, place);
            }
            Err(message) => self.reject(Code::MissingField, message.to_owned(), start, end),
        }
    }

    fn host(&mut self, node: &Node<'a>, start: usize, end: usize) {
        let Some(address) = node.text_at(&["ip"]).or_else(|| node.text()) else { return };
        if self.scan.hosts.len() >= self.cx.limits.count {
            self.full.get_or_insert(start);
            return;
        }
        let place = self.place(start, end);
        let host = host(node, address);
        self.scan.hosts.push((host, place));
    }

    /// `<host_start>time<host>address</host></host_start>`, before hosts had elements of their own.
    fn host_time(&mut self, node: &Node<'a>) {
        let (Some(address), Some(at)) = (node.text_at(&["host"]), when(node.text())) else { return };
        for (host, _) in self.scan.hosts.iter_mut().filter(|(host, _)| host.ip.as_ref() == Some(&address)) {
            if node.name == "host_start" {
                host.start = host.start.or(Some(at));
            } else {
                host.end = host.end.or(Some(at));
            }
        }
    }

    fn finish(&mut self, whole: bool) {
        let mut scan = std::mem::take(&mut self.scan);
        let done = self.status.take().is_some_and(|status| status.eq_ignore_ascii_case("done"));
        scan.complete = whole && done && self.full.is_none();
        scan.finish(self.cx, self.out);
    }

    fn end(&mut self, broken: Option<Broken>) {
        self.finish(false);
        if let Some(start) = self.full {
            self.counted = (0, 1);
            self.reject(
                Code::TooMany,
                format!("more than {} results", self.cx.limits.count),
                start,
                self.raw.len(),
            );
        }
        if let Some(Broken { code, message, from }) = broken {
            self.counted = (0, 1);
            self.reject(code, message, from, self.raw.len());
        }
    }
}

fn result<'a>(node: &Node<'a>) -> Result<(ScanResult<'a>, Vec<&'static str>), &'static str> {
    let mut quality = Vec::new();
    let mut out = ScanResult { product: PRODUCT, ..ScanResult::default() };
    let blank = Node::default();
    let nvt = node.child("nvt").unwrap_or(&blank);
    out.result_id = node.attribute("id").map(|id| Cow::Owned(id.to_owned()));
    out.scan_id =
        node.child("report").and_then(|report| report.attribute("id")).map(|id| Cow::Owned(id.to_owned()));
    out.task = node.text_at(&["task", "name"]);
    out.name = nvt.text_at(&["name"]).or_else(|| node.text_at(&["name"])).unwrap_or_default();
    out.oid = match nvt.attribute("oid").or_else(|| nvt.attribute("id")) {
        Some(oid) => Cow::Owned(oid.to_owned()),
        None if out.name.is_empty() => return Err("a result without a test"),
        None => {
            quality.push("missing_oid");
            out.name.clone()
        }
    };
    if let Some(host) = node.child("host") {
        place_host(host.text().unwrap_or_default(), &mut out);
        out.hostname = host.text_at(&["hostname"]).or(out.hostname.take());
    }
    if out.ip.is_none() && out.hostname.is_none() {
        place_host(node.text_at(&["subnet"]).unwrap_or_default(), &mut out);
    }
    out.port_raw = node.text_at(&["port"]).unwrap_or(Cow::Borrowed("general/tcp"));
    let (number, proto) = port(&out.port_raw);
    (out.port, out.proto) = (number, proto.map(Cow::Owned));
    out.family = nvt.text_at(&["family"]);
    let structured = nvt.at(&["severities", "severity"]);
    let base = nvt.text_at(&["cvss_base"]).or_else(|| structured?.text_at(&["score"]));
    let score = node.text_at(&["severity"]).or(base).and_then(|text| text.parse::<f64>().ok());
    level(node.text_at(&["threat"]), score, &mut out, &mut quality);
    out.cvss_vector = structured.and_then(|severity| severity.text_at(&["value"]));
    out.qod = node
        .text_at(&["qod", "value"])
        .or_else(|| node.text_at(&["qod"]))
        .and_then(|text| text.parse().ok())
        .filter(|qod| *qod <= 100);
    out.reported_at =
        when(node.text_at(&["modification_time"])).or_else(|| when(node.text_at(&["creation_time"])));
    references(nvt, &mut out);
    texts(node, nvt, &mut out);
    products(node, &mut out);
    Ok((out, quality))
}

fn references<'a>(nvt: &Node<'a>, out: &mut ScanResult<'a>) {
    cves(&nvt.text_at(&["cve"]).unwrap_or_default(), &mut out.cves);
    words(&nvt.text_at(&["bid"]).unwrap_or_default(), &mut out.bids);
    urls(&nvt.text_at(&["xref"]).unwrap_or_default(), &mut out.urls);
    for reference in nvt.child("refs").into_iter().flat_map(|refs| refs.children("ref")) {
        let Some(id) = reference.attribute("id") else { continue };
        match reference.attribute("type").map(str::to_ascii_lowercase).as_deref() {
            Some("cve" | "cve_id") => cves(id, &mut out.cves),
            Some("bid" | "bugtraq_id") => words(id, &mut out.bids),
            Some("url") => urls(id, &mut out.urls),
            _ => {}
        }
    }
    // The CVE scanner's tests are named by the CVE itself.
    if out.oid.starts_with("CVE-") {
        cves(&out.oid, &mut out.cves);
    }
}

fn texts<'a>(node: &Node<'a>, nvt: &Node<'a>, out: &mut ScanResult<'a>) {
    if let Some(tags) = nvt.child("tags") {
        if let Some(text) = tags.text() {
            tagged(&text, out);
        }
        for tag in tags.children("tag") {
            if let (Some(name), Some(value)) = (tag.text_at(&["name"]), tag.text_at(&["value"])) {
                set_tag(&name, &value, out);
            }
        }
    }
    for (name, slot) in [
        ("summary", &mut out.summary),
        ("insight", &mut out.insight),
        ("impact", &mut out.impact),
        ("affected", &mut out.affected),
        ("solution", &mut out.solution),
    ] {
        *slot = slot.take().or_else(|| nvt.text_at(&[name]));
    }
    if let Some(kind) = nvt.child("solution").and_then(|solution| solution.attribute("type")) {
        out.solution_type = Some(Cow::Owned(kind.to_owned()));
    }
    out.description = node.text_at(&["description"]);
    if out.summary.is_none() {
        let text = out.description.clone().unwrap_or_default();
        sections(&text, out);
    }
}

/// `a=b|c=d`; a bar that no known name follows belongs to the value.
fn tagged<'a>(text: &str, out: &mut ScanResult<'a>) {
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let end = after
            .match_indices('|')
            .map(|(at, _)| at)
            .find(|at| starts_tag(&after[at + 1..]))
            .unwrap_or(after.len());
        set_tag(name.trim(), after[..end].trim(), out);
        rest = after.get(end + 1..).unwrap_or_default();
    }
}

fn starts_tag(text: &str) -> bool {
    let name = text.split('=').next().unwrap_or_default();
    name.len() < text.len()
        && (1..=40).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn set_tag(name: &str, value: &str, out: &mut ScanResult<'_>) {
    if says_nothing(value) {
        return;
    }
    let slot = match name {
        "cvss_base_vector" => &mut out.cvss_vector,
        "summary" => &mut out.summary,
        "insight" => &mut out.insight,
        "impact" => &mut out.impact,
        "affected" => &mut out.affected,
        "solution" => &mut out.solution,
        "solution_type" => &mut out.solution_type,
        _ => return,
    };
    if slot.is_none() {
        *slot = Some(Cow::Owned(value.to_owned()));
    }
}

/// The product in which the result was detected.
fn products<'a>(node: &Node<'a>, out: &mut ScanResult<'a>) {
    let Some(details) = node.at(&["detection", "result", "details"]) else { return };
    for value in details.children("detail").filter_map(|detail| detail.text_at(&["value"])) {
        if value.starts_with("cpe:") {
            push(&mut out.cpes, value);
        }
    }
}

fn host<'a>(node: &Node<'a>, address: Text<'a>) -> ScanHost<'a> {
    let mut out = ScanHost { product: PRODUCT, ..ScanHost::default() };
    match address.parse::<std::net::IpAddr>() {
        Ok(ip) => out.ip = Some(Cow::Owned(ip.to_string())),
        Err(_) => push(&mut out.hostnames, address),
    }
    if let Some(name) = node.text_at(&["hostname"]) {
        push(&mut out.hostnames, name);
    }
    (out.start, out.end) = (when(node.text_at(&["start"])), when(node.text_at(&["end"])));
    let mut system = None;
    for detail in node.children("detail") {
        let (Some(name), Some(value)) = (detail.text_at(&["name"]), detail.text_at(&["value"])) else {
            continue;
        };
        match name.as_ref() {
            "best_os_txt" => out.os = Some(value),
            "OS" if !value.starts_with("cpe:") => system = system.or(Some(value)),
            "OS" | "App" | "best_os_cpe" if value.starts_with("cpe:") => push(&mut out.cpes, value),
            "MAC" => push(&mut out.macs, value),
            "hostname" | "DNS-via-TargetDefinition" => push(&mut out.hostnames, value),
            _ => {}
        }
    }
    out.os = out.os.or(system);
    out
}
