//! OpenVAS and Greenbone reports: GMP and OMP XML of every age, and CSV. Owns what both forms share: ports, levels, references, folding of
//! repeated results, the summary of each host. Must not know: findings' ids, what is new or fixed.
mod csv;
mod tree;
mod xml;

pub(crate) use csv::OpenvasCsv;
pub(crate) use xml::OpenvasXml;

use crate::finding::{Body, Finding, Findings, ScanHost, ScanResult, Text};
use crate::limits::{LIST, Limits, NAME, cap};
use crate::{ReadCx, cve};
use atio_schemas::Timestamp;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

const PRODUCT: &str = "OpenVAS";

/// Where a part stood in the input.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    raw: &'a [u8],
    offset: u64,
    line: u64,
}

/// One report while it is read: results and hosts know of each other only at its end.
#[derive(Default)]
struct Scan<'a> {
    id: Option<Text<'a>>,
    task: Option<Text<'a>>,
    /// The scanner said that it was done, and nothing was cut off.
    complete: bool,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    /// When the report was made: the last resort for the time of a result.
    made: Option<Timestamp>,
    results: Vec<(ScanResult<'a>, Vec<&'static str>, Place<'a>)>,
    hosts: Vec<(ScanHost<'a>, Place<'a>)>,
    seen: HashSet<String>,
    repeated: usize,
}

impl<'a> Scan<'a> {
    /// Keeps a result unless the same one (id, host, port, test) was kept before: reports joined by hand repeat them.
    fn add(&mut self, result: ScanResult<'a>, quality: Vec<&'static str>, place: Place<'a>) {
        if let Some(id) = &result.result_id {
            let host = result.ip.as_deref().or(result.hostname.as_deref()).unwrap_or_default();
            if !self.seen.insert(format!("{id}|{host}|{}|{}", result.port_raw, result.oid)) {
                self.repeated += 1;
                return;
            }
        }
        self.results.push((result, quality, place));
    }

    /// Ends the report: each result with its host's times, then one summary per host.
    fn finish(mut self, cx: &ReadCx, out: &mut Findings<'a>) {
        if self.repeated > 0 {
            out.notices.push(format!("{} results stood more than once and were read once", self.repeated));
        }
        let index = self.hosts_of_results();
        for (mut result, mut quality, place) in std::mem::take(&mut self.results) {
            let at = key_of(&result).and_then(|key| index.get(&key)).copied();
            if let Some((host, _)) = at.and_then(|at| self.hosts.get_mut(at)) {
                count(host, &result);
                result.host_start = result.host_start.or(host.start);
                result.host_end = result.host_end.or(host.end);
                if result.hostname.is_none() {
                    result.hostname = host.hostnames.first().cloned();
                }
            }
            result.scan_id = result.scan_id.take().or_else(|| self.id.clone());
            result.task = result.task.take().or_else(|| self.task.clone());
            let reported = result.reported_at.or(result.host_end).or(self.end).or(self.made).or(self.start);
            if reported.is_none() {
                quality.push("time_guessed");
            }
            result.reported_at = reported.or(Some(cx.received_at));
            cap_texts(&mut result, &cx.limits, &mut quality);
            let Place { raw, offset, line } = place;
            out.found.push(Finding { body: Body::Result(Box::new(result)), raw, offset, line, quality });
        }
        for (mut host, Place { raw, offset, line }) in self.hosts {
            host.scan_id = self.id.clone();
            host.task = self.task.clone();
            host.complete = self.complete;
            host.start = host.start.or(self.start);
            host.end = host.end.or(self.end);
            out.found.push(Finding {
                body: Body::Host(Box::new(host)),
                raw,
                offset,
                line,
                quality: Vec::new(),
            });
        }
    }

    /// A host that only its results name gets its summary too; inventory results tell its software. Where each host stands, by its key.
    fn hosts_of_results(&mut self) -> HashMap<String, usize> {
        let named = self.hosts.iter().enumerate();
        let mut index: HashMap<String, usize> = named
            .filter_map(|(at, (host, _))| {
                Some((host.ip.as_ref().or(host.hostnames.first())?.to_string(), at))
            })
            .collect();
        for (result, _, place) in &self.results {
            let Some(key) = key_of(result) else { continue };
            let at = *index.entry(key).or_insert(self.hosts.len());
            if at == self.hosts.len() {
                let host = ScanHost { product: PRODUCT, ip: result.ip.clone(), ..ScanHost::default() };
                self.hosts.push((host, *place));
            }
            let host = &mut self.hosts[at].0;
            if let Some(name) = &result.hostname {
                push(&mut host.hostnames, name.clone());
            }
            if result.oid == CPE_INVENTORY {
                for line in result.description.as_deref().unwrap_or_default().lines() {
                    if let Some(at) = line.find("cpe:/") {
                        push(&mut host.cpes, Cow::Owned(line[at..].trim().to_owned()));
                    }
                }
            }
        }
        index
    }
}

/// What tells a result's host from others: its address, else its name.
fn key_of(result: &ScanResult<'_>) -> Option<String> {
    result.ip.as_ref().or(result.hostname.as_ref()).map(ToString::to_string)
}

/// The test whose result lists a host's software.
const CPE_INVENTORY: &str = "1.3.6.1.4.1.25623.1.0.810002";

fn count<'a>(host: &mut ScanHost<'a>, result: &ScanResult<'a>) {
    if result.log_level {
        host.log += 1;
        for cve in &result.cves {
            if host.inventory_cves.len() < LIST && !host.inventory_cves.contains(cve) {
                host.inventory_cves.push(cve.clone());
            }
        }
        return;
    }
    host.findings.push((result.oid.clone(), result.port_raw.clone()));
    if result.false_positive {
        host.false_positives += 1;
    } else {
        match result.threat.as_deref() {
            Some("Medium") => host.medium += 1,
            Some("Low") => host.low += 1,
            _ => host.high += 1,
        }
    }
}

fn push<'a>(list: &mut Vec<Text<'a>>, text: Text<'a>) {
    if !text.is_empty() && list.len() < LIST && !list.contains(&text) {
        list.push(text);
    }
}

fn cap_texts(result: &mut ScanResult<'_>, limits: &Limits, quality: &mut Vec<&'static str>) {
    let mut cut = cap(&mut result.name, NAME) | cap(&mut result.oid, NAME) | cap(&mut result.port_raw, NAME);
    let long = [
        &mut result.summary,
        &mut result.insight,
        &mut result.impact,
        &mut result.affected,
        &mut result.solution,
        &mut result.description,
    ];
    for text in long.into_iter().flatten() {
        cut |= cap(text, limits.text);
    }
    if cut {
        quality.push("text_cut");
    }
}

/// `443/tcp`, `http (80/tcp)`, `general/tcp`, `general/CPE-T`: the number and the protocol, where there are such.
fn port(raw: &str) -> (Option<u16>, Option<String>) {
    let inner = match (raw.rfind('('), raw.rfind(')')) {
        (Some(open), Some(close)) if open < close => &raw[open + 1..close],
        _ => raw,
    };
    let (number, proto) = inner.split_once('/').unwrap_or((inner, ""));
    let proto = proto.trim().to_ascii_lowercase();
    let known = matches!(proto.as_str(), "tcp" | "udp" | "icmp" | "icmpv6" | "sctp");
    (number.trim().parse().ok(), known.then_some(proto))
}

/// A result's host: an address, or a name.
fn place_host<'a>(text: Text<'a>, result: &mut ScanResult<'a>) {
    match text.parse::<IpAddr>() {
        Ok(address) => result.ip = Some(Cow::Owned(address.to_string())),
        Err(_) if text.is_empty() => {}
        Err(_) => result.hostname = Some(text),
    }
}

/// Level and score: `-1.0` false positive, `-2.0` debug, `-3.0` error are the tool's own marks.
fn level<'a>(
    threat: Option<Text<'a>>,
    severity: Option<f64>,
    result: &mut ScanResult<'a>,
    quality: &mut Vec<&'static str>,
) {
    match severity {
        Some(score) if (0.0..=10.0).contains(&score) => result.severity = Some(score),
        Some(score) if score.is_finite() && score < 0.0 => {
            quality.push("severity_negative");
            result.false_positive = score > -1.5;
            result.log_level = score <= -1.5;
        }
        Some(_) => quality.push("invalid_severity"),
        None => {}
    }
    let derived = || match result.severity {
        Some(7.0..) => Some("High"),
        Some(4.0..) => Some("Medium"),
        Some(0.1..) => Some("Low"),
        Some(_) => Some("Log"),
        None => None,
    };
    result.threat = threat.or_else(|| derived().map(Cow::Borrowed));
    match result.threat.as_deref() {
        Some("Log" | "Debug" | "Error") => result.log_level = true,
        Some("False Positive") => result.false_positive = true,
        _ => {}
    }
}

/// `NOCVE`, `NOBID`, `NOXREF`, `NOTAG`, blanks: nothing.
fn says_nothing(text: &str) -> bool {
    matches!(text.trim(), "" | "NOCVE" | "NOBID" | "NOXREF" | "NOTAG" | "N/A")
}

fn cves(text: &str, out: &mut Vec<String>) {
    if !says_nothing(text) {
        cve::find(text, out);
    }
}

/// Comma- or blank-separated words of a cell.
fn words(text: &str, out: &mut Vec<Text<'_>>) {
    for word in text.split([',', '\n', ' ']).map(str::trim).filter(|word| !says_nothing(word)) {
        push(out, Cow::Owned(word.to_owned()));
    }
}

/// `URL:http://a, URL:http://b`, or one a line.
fn urls(text: &str, out: &mut Vec<Text<'_>>) {
    for word in text.split([',', '\n', ' ']) {
        let word = word.trim();
        let url = word.strip_prefix("URL:").unwrap_or(word);
        if url.contains("://") {
            push(out, Cow::Owned(url.to_owned()));
        }
    }
}

/// Splits the old single text into its headed parts, where the tags did not bring them.
fn sections<'a>(text: &str, result: &mut ScanResult<'a>) {
    const HEADS: [&str; 6] = [
        "Summary:",
        "Vulnerability Insight:",
        "Impact:",
        "Affected Software/OS:",
        "Solution:",
        "Information that was gathered:",
    ];
    let mut parts: [Vec<&str>; 6] = Default::default();
    let mut current = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(at) = HEADS.iter().position(|head| trimmed == *head) {
            current = Some(at);
        } else if let Some(at) = current {
            parts[at].push(line.trim_end());
        }
    }
    let [summary, insight, impact, affected, solution, _] =
        parts.map(|lines| lines.join("\n").trim().to_owned());
    for (slot, part) in [
        (&mut result.summary, summary),
        (&mut result.insight, insight),
        (&mut result.impact, impact),
        (&mut result.affected, affected),
        (&mut result.solution, solution),
    ] {
        if slot.is_none() && !part.is_empty() {
            *slot = Some(Cow::Owned(part));
        }
    }
}

#[cfg(test)]
mod tests;
