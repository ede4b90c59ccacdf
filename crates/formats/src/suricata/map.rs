//! From EVE's shapes to a finding: what each field means. Owns the meaning; must not know how the bytes came.
use super::eve::{
    Eve, RawAlert, RawDns, RawEmail, RawFile, RawFlow, RawHttp, RawPeer, RawRecord, RawSmtp, RawTls,
};
use crate::ReadCx;
use crate::finding::{Alert, Dns, Email, FileSeen, Http, Network, Peer, Text, Tls};
use crate::json::{Flat, Num, Texts, Txt};
use crate::limits::cap;
use crate::{cve, time};
use atio_schemas::detection::Disposition;
use atio_schemas::{Code, Timestamp};
use std::borrow::Cow;
use std::net::IpAddr;

type Quality = Vec<&'static str>;

/// Maps one event; `envelope` is what it was shipped in.
pub(super) fn network<'a>(
    eve: &mut Eve<'a>,
    envelope: Option<&mut Eve<'a>>,
    cx: &ReadCx,
) -> Result<(Box<Network<'a>>, Quality), (Code, &'static str)> {
    let mut quality = Quality::new();
    if eve.duplicate {
        quality.push("duplicate_key");
    }
    let Some(event_type) = eve.event_type.take() else {
        return Err((Code::MissingField, "no event_type"));
    };
    let is_alert = event_type == "alert";
    if is_alert && !eve.alert.seen {
        return Err((Code::MissingField, "an alert without its alert object"));
    }
    let time = event_time(eve, envelope.as_deref(), cx, &mut quality);
    let mut out = Box::new(Network { product: "Suricata", event_type, time, ..Network::default() });
    out.sensor = sensor(eve, envelope);
    out.summary = summary(eve, &out.event_type);
    addresses(eve, &mut out, &mut quality);
    out.flow_id = eve.flow_id.take();
    out.interface = eve.in_iface.take();
    out.community_id = eve.community_id.take();
    out.app_proto = eve.app_proto.take();
    out.direction = eve.direction.take();
    out.proto = eve.proto.take().map(lower_proto);
    out.vlan = eve.vlan.0.iter().filter_map(|tag| tag.parse().ok()).collect();
    out.icmp = icmp(eve.icmp_type, eve.icmp_code);
    out.user = user(eve, &out.event_type);
    out.xff = eve.alert.xff.take().or_else(|| eve.http.xff.take()).or_else(|| eve.xff.take());
    if is_alert {
        out.alert = Some(alert(&mut eve.alert, &mut eve.verdict.action, &mut quality));
    }
    out.http = eve.http.seen.then(|| http(&mut eve.http));
    out.dns = eve.dns.take().map_or_else(Vec::new, |raw| dns(*raw));
    out.tls = eve.tls.take().or_else(|| eve.quic.take()).map(|raw| tls(*raw));
    out.email = email(eve.smtp.take(), eve.email.as_deref_mut());
    out.files =
        files(std::mem::take(&mut eve.files.0), [eve.fileinfo.take(), eve.ftp_data.take()], eve.email.take());
    Ok((out, quality))
}

fn event_time(
    eve: &mut Eve<'_>,
    envelope: Option<&Eve<'_>>,
    cx: &ReadCx,
    quality: &mut Quality,
) -> Timestamp {
    let text = eve.timestamp.0.as_deref().or(eve.at_timestamp.0.as_deref());
    if let Some(time) = text.and_then(time::parse) {
        return time;
    }
    quality.push(if text.is_some() { "invalid_time" } else { "missing_time" });
    quality.push("time_guessed");
    envelope.and_then(|outer| outer.at_timestamp.0.as_deref()).and_then(time::parse).unwrap_or(cx.received_at)
}

fn sensor<'a>(eve: &mut Eve<'a>, envelope: Option<&mut Eve<'a>>) -> Option<Text<'a>> {
    let own = eve.host.0.take().filter(|name| !name.is_empty());
    own.or_else(|| {
        let outer = envelope?;
        outer.host.0.take().or_else(|| outer.agent.0.take()).filter(|name| !name.is_empty())
    })
}

/// The address in its canonical text; what is no address is absent.
fn address<'a>(text: Option<Text<'a>>, quality: &mut Quality) -> Option<Text<'a>> {
    let text = text?;
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some(text);
    }
    match text.trim().parse::<IpAddr>() {
        Ok(address) => Some(Cow::Owned(address.to_string())),
        Err(_) => {
            note(quality, "invalid_address");
            None
        }
    }
}

fn port(number: Num, quality: &mut Quality) -> Option<u16> {
    let number = number.0?;
    let port = u16::try_from(number).ok();
    if port.is_none() {
        note(quality, "invalid_port");
    }
    port
}

fn note(quality: &mut Quality, name: &'static str) {
    if !quality.contains(&name) {
        quality.push(name);
    }
}

fn addresses<'a>(eve: &mut Eve<'a>, out: &mut Network<'a>, quality: &mut Quality) {
    out.src.ip = address(eve.src_ip.0.take(), quality);
    out.src.port = port(eve.src_port, quality);
    out.dst.ip = address(eve.dest_ip.0.take(), quality);
    out.dst.port = port(eve.dest_port, quality);
    if let Some(mut ether) = eve.ether.take() {
        out.src.mac = ether.src.take().or_else(|| ether.srcs.0.drain(..).next());
        out.dst.mac = ether.dest.take().or_else(|| ether.dests.0.drain(..).next());
    }
    if let Some(netflow) = &eve.netflow {
        out.src.packets = netflow.pkts.0;
        out.src.bytes = netflow.bytes.0;
        times(netflow, out);
    }
    if eve.flow.seen {
        times(&eve.flow, out);
        flow_peers(&mut eve.flow, eve.direction.0.as_deref(), out, quality);
    }
}

fn times(flow: &RawFlow<'_>, out: &mut Network<'_>) {
    out.start = flow.start.0.as_deref().and_then(time::parse);
    out.end = flow.end.0.as_deref().and_then(time::parse);
}

/// The flow's own two sides with their counts. Suricata 7 names them; a `flow` event's own addresses are them; else the direction tells,
/// and without one the initiator is not known.
fn flow_peers<'a>(
    flow: &mut RawFlow<'a>,
    direction: Option<&str>,
    out: &mut Network<'a>,
    quality: &mut Quality,
) {
    let same_way =
        out.event_type == "flow" || direction.is_some_and(|way| way == "to_server" || way == "toserver");
    let (mut client, mut server) = if flow.src_ip.0.is_some() {
        let client = Peer {
            ip: address(flow.src_ip.0.take(), quality),
            port: port(flow.src_port, quality),
            ..Peer::default()
        };
        (
            client,
            Peer {
                ip: address(flow.dest_ip.0.take(), quality),
                port: port(flow.dest_port, quality),
                ..Peer::default()
            },
        )
    } else if same_way {
        (out.src.clone(), out.dst.clone())
    } else if direction.is_some_and(|way| way == "to_client" || way == "toclient") {
        (out.dst.clone(), out.src.clone())
    } else {
        return;
    };
    (client.packets, client.bytes) = (flow.pkts_toserver.0, flow.bytes_toserver.0);
    (server.packets, server.bytes) = (flow.pkts_toclient.0, flow.bytes_toclient.0);
    out.flow = Some((client, server));
}

/// `TCP` → `tcp` without allocating for the usual ones.
fn lower_proto(text: Text<'_>) -> Text<'_> {
    match text.as_ref() {
        "TCP" => Cow::Borrowed("tcp"),
        "UDP" => Cow::Borrowed("udp"),
        "ICMP" => Cow::Borrowed("icmp"),
        "IPv6-ICMP" => Cow::Borrowed("ipv6-icmp"),
        "SCTP" => Cow::Borrowed("sctp"),
        _ => Cow::Owned(text.to_ascii_lowercase()),
    }
}

fn icmp(kind: Num, code: Num) -> Option<(u8, u8)> {
    Some((u8::try_from(kind.0?).ok()?, u8::try_from(code.0?).ok()?))
}

fn alert<'a>(raw: &mut RawAlert<'a>, verdict: &mut Txt<'a>, quality: &mut Quality) -> Alert<'a> {
    let mut alert = Alert {
        gid: raw.gid.0.unwrap_or(1),
        sid: raw.signature_id.0.unwrap_or(0),
        rev: raw.rev.0.unwrap_or(0),
        signature: raw.signature.0.take().unwrap_or_default(),
        category: raw.category.take(),
        priority: raw.severity.0,
        disposition: disposition(raw.action.take().as_deref(), verdict.take().as_deref()),
        rule: raw.rule.take(),
        references: std::mem::take(&mut raw.references.0),
        ..Alert::default()
    };
    if raw.signature_id.0.is_none() {
        quality.push("missing_signature_id");
    }
    cve::find(&alert.signature, &mut alert.cves);
    if raw.metadata.seen {
        metadata(&mut raw.metadata, &mut alert);
    }
    if let Some(rule) = &mut alert.rule {
        rule_references(rule, &mut alert.references, &mut alert.cves);
        if cap(rule, crate::limits::Limits::default().text) {
            quality.push("rule_cut");
        }
    }
    for reference in &alert.references {
        cve::find(reference, &mut alert.cves);
    }
    alert.source = raw.source.take().map(|raw| peer(*raw, quality));
    alert.target = raw.target.take().map(|raw| peer(*raw, quality));
    alert
}

fn peer<'a>(raw: RawPeer<'a>, quality: &mut Quality) -> Peer<'a> {
    Peer { ip: address(raw.ip.0, quality), port: port(raw.port, quality), mac: raw.mac.0, ..Peer::default() }
}

/// `blocked` is what inline Suricata did; the packet's verdict, where logged, is the last word.
fn disposition(action: Option<&str>, verdict: Option<&str>) -> Option<Disposition> {
    match (action, verdict) {
        (Some("blocked"), _) | (_, Some("drop" | "reject")) => Some(Disposition::Blocked),
        (Some("allowed"), _) | (_, Some("alert" | "pass" | "accept")) => Some(Disposition::Allowed),
        _ => None,
    }
}

fn metadata<'a>(raw: &mut super::eve::RawMetadata<'a>, alert: &mut Alert<'a>) {
    alert.severity = first(&mut raw.signature_severity);
    alert.confidence = first(&mut raw.confidence);
    alert.attack_target = std::mem::take(&mut raw.attack_target.0);
    for text in &raw.cve.0 {
        cve::find_in_field(text, &mut alert.cves);
    }
    alert.techniques = pairs(&mut raw.mitre_technique_id, &mut raw.mitre_technique_name);
    alert.tactics = pairs(&mut raw.mitre_tactic_id, &mut raw.mitre_tactic_name);
    for text in &raw.capec.0 {
        let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            alert.capecs.push(format!("CAPEC-{digits}"));
        }
    }
    alert.created_at = raw.created_at.0.first().and_then(|text| time::parse(text));
    alert.updated_at = raw.updated_at.0.first().and_then(|text| time::parse(text));
}

fn first<'a>(texts: &mut Texts<'a>) -> Option<Text<'a>> {
    texts.0.drain(..).find(|text| !text.is_empty())
}

/// ET writes ids and names as two lists of one order; a name that has no partner is left out.
fn pairs<'a>(ids: &mut Texts<'a>, names: &mut Texts<'a>) -> Vec<(Text<'a>, Option<Text<'a>>)> {
    let mut names = names
        .0
        .drain(..)
        .map(|name| if name.contains('_') { Cow::Owned(name.replace('_', " ")) } else { name });
    ids.0.drain(..).filter(|id| !id.is_empty()).map(|id| (id, names.next())).collect()
}

/// `reference:url,…;` and `reference:cve,…;` of the rule's text.
fn rule_references<'a>(rule: &Text<'a>, references: &mut Vec<Text<'a>>, cves: &mut Vec<String>) {
    for at in memchr::memmem::find_iter(rule.as_bytes(), b"reference:") {
        let value = &rule[at + 10..];
        let value = &value[..value.find(';').unwrap_or(value.len())];
        let Some((kind, target)) = value.split_once(',') else { continue };
        let target = target.trim();
        match kind.trim() {
            "cve" => cve::find_in_field(target, cves),
            "url" if references.len() < crate::limits::LIST => {
                let full =
                    if target.contains("://") { target.to_owned() } else { format!("http://{target}") };
                references.push(Cow::Owned(full));
            }
            _ => {}
        }
    }
}

fn http<'a>(raw: &mut RawHttp<'a>) -> Http<'a> {
    let mut hostname = raw.hostname.take();
    for header in &mut raw.request_headers.0 {
        if hostname.is_none()
            && header
                .name
                .0
                .as_deref()
                .is_some_and(|name| name.eq_ignore_ascii_case("host") || name == ":authority")
        {
            hostname = header.value.take();
        }
    }
    Http {
        method: raw.method.take(),
        host: hostname,
        url: raw.url.take(),
        version: raw.protocol.take().or_else(|| raw.version.take()),
        user_agent: raw.user_agent.take(),
        referer: raw.referer.take(),
        content_type: raw.content_type.take(),
        status: raw.status.0.and_then(|status| u16::try_from(status).ok()),
        length: raw.length.0,
    }
}

fn dns(raw: RawDns<'_>) -> Vec<Dns<'_>> {
    if !raw.seen {
        return Vec::new();
    }
    let RawDns { kind, rrname, rrtype, rcode, rdata, answers, grouped, query, answer, .. } = raw;
    let mut out: Vec<Dns<'_>> = query.0.into_iter().map(question).collect();
    let mut found: Vec<Text<'_>> =
        answers.0.into_iter().filter_map(|record| record.rdata.into_text()).collect();
    if found.is_empty() {
        found = grouped.0.into_iter().map(|(_, value)| value).collect();
    }
    found.extend(rdata.into_text());
    let kind = kind.into_text();
    match out.first_mut() {
        // v3: the queries, then the answers of all of them.
        Some(first) => {
            first.answers = found;
            if let Some(kind) = kind {
                first.kind = kind;
            }
            first.rcode = rcode.into_text();
        }
        None if rrname.0.is_some() || kind.is_some() || !found.is_empty() => {
            let kind = kind.unwrap_or(Cow::Borrowed("query"));
            out.push(Dns {
                kind,
                name: rrname.into_text(),
                rtype: rrtype.into_text(),
                rcode: rcode.into_text(),
                answers: found,
            });
        }
        None => {}
    }
    if let Some(answer) = answer {
        out.extend(dns(*answer));
    }
    out
}

fn question(record: RawRecord<'_>) -> Dns<'_> {
    Dns {
        kind: record.kind.into_text().unwrap_or(Cow::Borrowed("query")),
        name: record.rrname.into_text(),
        rtype: record.rrtype.into_text(),
        rcode: record.rcode.into_text(),
        answers: record.rdata.into_text().into_iter().collect(),
    }
}

fn tls(mut raw: RawTls<'_>) -> Tls<'_> {
    Tls {
        sni: raw.sni.take(),
        subject: raw.subject.take(),
        issuer: raw.issuer.take(),
        serial: raw.serial.take(),
        fingerprint: raw.fingerprint.take(),
        version: raw.version.take(),
        ja3: raw.ja3.hash.take(),
        ja4: raw.ja4.take(),
    }
}

fn email<'a>(smtp: Option<Box<RawSmtp<'a>>>, raw: Option<&mut RawEmail<'a>>) -> Option<Email<'a>> {
    let said = smtp.as_ref().is_some_and(|smtp| smtp.mail_from.0.is_some() || !smtp.rcpt_to.0.is_empty());
    if raw.is_none() && !said {
        return None;
    }
    let mut smtp = smtp.unwrap_or_default();
    let mut none = RawEmail::default();
    let raw = raw.unwrap_or(&mut none);
    let mut to = std::mem::take(&mut raw.to.0);
    if to.is_empty() {
        to = smtp.rcpt_to.0;
    }
    Some(Email {
        from: raw.from.take().or_else(|| smtp.mail_from.take()),
        to,
        cc: std::mem::take(&mut raw.cc.0),
        subject: raw.subject.take(),
    })
}

fn files<'a>(
    many: Vec<RawFile<'a>>,
    others: [Option<Box<RawFile<'a>>>; 2],
    email: Option<Box<RawEmail<'a>>>,
) -> Vec<FileSeen<'a>> {
    let others = others.into_iter().flatten().map(|raw| *raw);
    let mut out: Vec<FileSeen<'a>> = many.into_iter().chain(others).map(file).collect();
    if out.is_empty() {
        let names = email.into_iter().flat_map(|email| email.attachment.0);
        out.extend(names.map(|name| FileSeen { name: Some(name), ..FileSeen::default() }));
    }
    out
}

fn file(mut raw: RawFile<'_>) -> FileSeen<'_> {
    FileSeen {
        name: raw.filename.take(),
        size: raw.size.0,
        md5: raw.md5.take(),
        sha1: raw.sha1.take(),
        sha256: raw.sha256.take(),
        magic: raw.magic.take(),
    }
}

fn user<'a>(eve: &Eve<'a>, event_type: &str) -> Option<Text<'a>> {
    let own = |flat: &Flat<'a>, name: &str| flat.get(name).map(|value| Cow::Owned(value.to_owned()));
    let ftp_user = || {
        eve.ftp
            .get("command")
            .filter(|command| command.eq_ignore_ascii_case("user"))
            .and_then(|_| own(&eve.ftp, "command_data"))
    };
    let other = || match event_type {
        "pgsql" => own(&eve.other, "request.startup_parameters.user"),
        "mqtt" => own(&eve.other, "connect.username"),
        "snmp" => own(&eve.other, "usm"),
        _ => None,
    };
    own(&eve.smb, "ntlmssp.user")
        .or_else(|| own(&eve.krb5, "cname"))
        .or_else(ftp_user)
        .or_else(other)
        .filter(|name: &Text<'_>| !name.is_empty())
}

/// One line for people, where no other part of the finding says what happened.
fn summary<'a>(eve: &Eve<'a>, event_type: &str) -> Option<Text<'a>> {
    let flat = match event_type {
        "smb" => &eve.smb,
        "krb5" => &eve.krb5,
        "ftp" => &eve.ftp,
        "flow" | "netflow" => return flow_summary(&eve.flow),
        _ => &eve.other,
    };
    if flat.0.is_empty() {
        return None;
    }
    let mut text = event_type.to_owned();
    if event_type == "drop" && eve.alert.seen {
        // The alert itself is an event of its own: here it only says which rule dropped the packet.
        let (gid, sid) = (eve.alert.gid.0.unwrap_or(1), eve.alert.signature_id.0.unwrap_or(0));
        text.push_str(&format!(" by rule {gid}:{sid}"));
    }
    let mut separator = ": ";
    for (name, value) in flat.0.iter().filter(|(name, _)| !name.contains("payload")).take(12) {
        let short: String = value.chars().take(80).collect();
        text.push_str(&format!("{separator}{name}={short}"));
        separator = " ";
    }
    Some(Cow::Owned(text))
}

fn flow_summary<'a>(flow: &RawFlow<'a>) -> Option<Text<'a>> {
    let parts: Vec<&str> =
        [&flow.state, &flow.reason, &flow.action].into_iter().filter_map(|part| part.0.as_deref()).collect();
    (!parts.is_empty()).then(|| Cow::Owned(format!("flow: {}", parts.join(" "))))
}
