//! What a network event shows as cyber observables: addresses, traffic, names, urls, files, mail, certificate, user. Fills the columns that
//! say the same. Owns the SCOs of network events; must not know rules, assets, severity.
use super::network::{self, Side, Sides};
use super::{Refused, add_once};
use atio_formats::finding::{Dns, Email, FileSeen, Http, Network, Tls};
use atio_schemas::{Detection, Timestamp};
use atio_stix::object::{
    DomainName, EmailAddr, EmailMessage, Extension, File, Hashes, HttpRequest, Icmp, Ipv4Addr, Ipv6Addr,
    NetworkTraffic, ScoCommon, Software, Text, Url, UserAccount, X509Certificate,
};
use atio_stix::{Bundle, Id, Stamp};
use std::borrow::Cow;
use std::net::IpAddr;

/// SCOs of one event at most; more are left out, and `quality` says so.
const MAX_OBJECTS: usize = 256;
/// The longest domain name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// The objects that observed-data refers to.
pub(super) struct Observed {
    pub(super) refs: Vec<Id<'static>>,
}

impl Observed {
    /// For statistics and the like, which have no other subject than the tool: observed-data needs one SCO at least (STIX 2.1
    /// §4.14).
    pub(super) fn tool(&mut self, product: &'static str, bundle: &mut Bundle) -> Result<(), Refused> {
        let software = Software { name: product.into(), ..Software::default() }.identified();
        self.refs.push(own(software.common.id));
        bundle.push(&software)?;
        Ok(())
    }
}

pub(super) fn network(
    net: &Network<'_>,
    sides: &Sides<'_>,
    bundle: &mut Bundle,
    d: &mut Detection,
) -> Result<Observed, Refused> {
    let mut refs = Vec::with_capacity(8);
    let from = side(&sides.initiator, bundle, &mut refs)?;
    let to = side(&sides.responder, bundle, &mut refs)?;
    if from.is_some() || to.is_some() {
        let object = traffic(net, sides, from, to);
        refs.push(own(object.common.id));
        bundle.push(&object)?;
    }
    if let Some(http) = &net.http {
        web(http, sides.responder.port, bundle, &mut refs, d)?;
    }
    for entry in &net.dns {
        dns(entry, bundle, &mut refs, d)?;
    }
    if let Some(tls) = &net.tls {
        certificate(tls, bundle, &mut refs, d)?;
    }
    for seen in &net.files {
        file(seen, bundle, &mut refs, d)?;
    }
    if let Some(mail) = &net.email {
        email(mail, net.time, bundle, &mut refs, d)?;
    }
    if let Some(user) = net.user.as_deref().filter(|user| !user.is_empty()) {
        let object = UserAccount { account_login: Some(user.into()), ..UserAccount::default() }.identified();
        add(&object, own(object.common.id), bundle, &mut refs)?;
    }
    if refs.len() >= MAX_OBJECTS {
        d.quality.push("observables_cut".to_owned());
    }
    Ok(Observed { refs })
}

/// Pushes an object and refers to it, once; beyond the limit not at all.
fn add<T: atio_stix::object::StixObject>(
    object: &T,
    id: Id<'static>,
    bundle: &mut Bundle,
    refs: &mut Vec<Id<'static>>,
) -> Result<(), Refused> {
    if refs.len() < MAX_OBJECTS && !refs.contains(&id) {
        bundle.push(object)?;
        refs.push(id);
    }
    Ok(())
}

pub(super) fn own(id: Id<'_>) -> Id<'static> {
    match id {
        Id::Own(kind, uuid) => Id::Own(kind, uuid),
        // Ids of what we make are all our own.
        Id::Text(_) => Id::default(),
    }
}

fn side(
    side: &Side<'_>,
    bundle: &mut Bundle,
    refs: &mut Vec<Id<'static>>,
) -> Result<Option<Id<'static>>, Refused> {
    match (side.ip, &side.text) {
        (Some(ip), Some(text)) => address(ip, Cow::Borrowed(text), bundle, refs).map(Some),
        _ => Ok(None),
    }
}

pub(super) fn address(
    ip: IpAddr,
    text: Cow<'_, str>,
    bundle: &mut Bundle,
    refs: &mut Vec<Id<'static>>,
) -> Result<Id<'static>, Refused> {
    let id = match ip {
        IpAddr::V4(_) => {
            let object = Ipv4Addr::new(text);
            let id = own(object.common.id);
            add(&object, id, bundle, refs)?;
            id
        }
        IpAddr::V6(v6) => {
            // An IPv4-mapped address in mixed notation is refused by the standard's schema: written in groups.
            let mixed = text.contains('.');
            let [.., high, low] = v6.segments();
            let text = if mixed { Cow::Owned(format!("::ffff:{high:x}:{low:x}")) } else { text };
            let object = Ipv6Addr::new(text);
            let id = own(object.common.id);
            add(&object, id, bundle, refs)?;
            id
        }
    };
    Ok(id)
}

fn traffic<'n>(
    net: &'n Network<'_>,
    sides: &'n Sides<'_>,
    from: Option<Id<'n>>,
    to: Option<Id<'n>>,
) -> NetworkTraffic<'n> {
    let (client, server) = (&sides.initiator, &sides.responder);
    let mut object = NetworkTraffic {
        start: net.start.map(Stamp::shortest),
        end: net.end.filter(|end| net.start.is_none_or(|start| *end >= start)).map(Stamp::shortest),
        src_ref: from,
        dst_ref: to,
        src_port: client.port,
        dst_port: server.port,
        protocols: protocols(net, sides),
        src_byte_count: client.bytes,
        dst_byte_count: server.bytes,
        src_packets: client.packets,
        dst_packets: server.packets,
        ..NetworkTraffic::default()
    };
    if let Some(request) = net.http.as_ref().and_then(request) {
        object = object.with_extension(Extension::HttpRequest(request));
    }
    if let Some((kind, code)) = net.icmp {
        let icmp =
            Icmp { icmp_code_hex: format!("{code:02x}").into(), icmp_type_hex: format!("{kind:02x}").into() };
        object = object.with_extension(Extension::Icmp(icmp));
    }
    object.identified()
}

/// From the lowest layer up.
fn protocols<'n>(net: &'n Network<'_>, sides: &Sides<'_>) -> Vec<Text<'n>> {
    let mut list: Vec<Text<'n>> = Vec::with_capacity(3);
    match sides.initiator.ip.or(sides.responder.ip) {
        Some(IpAddr::V4(_)) => list.push("ipv4".into()),
        Some(IpAddr::V6(_)) => list.push("ipv6".into()),
        None => {}
    }
    for name in [net.proto.as_deref(), net.app_proto.as_deref()].into_iter().flatten() {
        if let Some(name) = protocol(name).filter(|name| !list.iter().any(|known| known == name)) {
            list.push(name.into());
        }
    }
    list
}

/// The name in IANA's registry of services and transport protocols, which the standard asks for (§6.12). What has none there (GRE, DCE/RPC,
/// QUIC …) is left out, as are Suricata's `failed` and `unknown`.
fn protocol(name: &str) -> Option<&'static str> {
    const REGISTERED: &[&str] = &[
        "bittorrent",
        "dccp",
        "esp",
        "ftp",
        "ftp-data",
        "http",
        "icmp",
        "igmp",
        "imap",
        "irc",
        "kerberos",
        "l2tp",
        "ldap",
        "mdns",
        "mqtt",
        "nfs",
        "ntp",
        "ospf",
        "pop3",
        "rdp",
        "rfb",
        "rtsp",
        "sctp",
        "sip",
        "smb",
        "smtp",
        "snmp",
        "ssh",
        "tcp",
        "telnet",
        "tftp",
        "tls",
        "udp",
    ];
    const CALLED: &[(&str, &str)] = &[
        ("dhcp", "bootps"),
        ("dns", "dns"),
        ("doh2", "https"),
        ("http2", "http"),
        ("ike", "isakmp"),
        ("ikev2", "isakmp"),
        ("ipv6-icmp", "icmp"),
        ("krb5", "kerberos"),
        ("modbus", "mbap"),
        ("pgsql", "postgresql"),
        ("rpc", "sunrpc"),
        ("ssl", "ssl"),
        ("websocket", "http"),
    ];
    let usual = match name {
        "tcp" => Some("tcp"),
        "udp" => Some("udp"),
        "http" => Some("http"),
        _ => None,
    };
    let registered = || REGISTERED.iter().find(|known| **known == name).copied();
    usual
        .or_else(registered)
        .or_else(|| CALLED.iter().find(|(ours, _)| *ours == name).map(|(_, theirs)| *theirs))
}

/// The extension needs method and value (§6.12.2); without both there is none.
fn request<'n>(http: &'n Http<'_>) -> Option<HttpRequest<'n>> {
    let text = |value: &'n Option<Cow<'_, str>>| value.as_deref().filter(|v| !v.is_empty());
    let (method, value) = (text(&http.method)?, text(&http.url)?);
    let headers = [("Host", &http.host), ("User-Agent", &http.user_agent), ("Referer", &http.referer)];
    let header =
        headers.into_iter().filter_map(|(name, value)| Some((name.into(), vec![text(value)?.into()])));
    Some(HttpRequest {
        request_header: header.collect(),
        request_method: method.into(),
        request_value: value.into(),
        request_version: text(&http.version).map(Into::into),
        ..HttpRequest::default()
    })
}

fn web(
    http: &Http<'_>,
    port: Option<u16>,
    bundle: &mut Bundle,
    refs: &mut Vec<Id<'static>>,
    d: &mut Detection,
) -> Result<(), Refused> {
    if let Some(host) = http.host.as_deref() {
        domain(host, bundle, refs, d)?;
    }
    let Some(url) = full_url(http, port) else { return Ok(()) };
    add_once(&mut d.urls, &url);
    let object = Url::new(encoded(&url));
    let id = own(object.common.id);
    add(&object, id, bundle, refs)
}

/// As RFC 3986 writes it, which `url` demands (§6.15): what it does not allow is percent-encoded.
fn encoded(url: &str) -> Cow<'_, str> {
    let bytes = url.as_bytes();
    let path = url.find("://").and_then(|at| url[at + 3..].find(['/', '?', '#']).map(|end| at + 3 + end));
    let allowed = |at: usize, byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => true,
        b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';'
        | b'=' => true,
        b':' | b'@' | b'/' | b'?' => true,
        b'#' => !bytes[..at].contains(&b'#'),
        b'[' | b']' => path.is_none_or(|start| at < start),
        b'%' => {
            matches!(bytes.get(at + 1..at + 3), Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
        }
        _ => false,
    };
    if bytes.iter().enumerate().all(|(at, byte)| allowed(at, *byte)) {
        return Cow::Borrowed(url);
    }
    let mut out = String::with_capacity(url.len() + 16);
    for (at, byte) in bytes.iter().enumerate() {
        if allowed(at, *byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(out)
}

/// The whole url, where the request says its host or is a whole url already. EVE's http events are seen in clear, so the scheme is http.
fn full_url<'n>(http: &'n Http<'_>, port: Option<u16>) -> Option<Cow<'n, str>> {
    let url = http.url.as_deref().filter(|url| !url.is_empty() && is_plain(url))?;
    if url.starts_with("http://") || url.starts_with("https://") {
        return Some(Cow::Borrowed(url));
    }
    let host = http.host.as_deref().filter(|host| !host.is_empty() && is_plain(host))?;
    if !url.starts_with('/') {
        return None;
    }
    let host: Cow<'_, str> = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("[{host}]").into(),
        _ => host.into(),
    };
    let named_port = host.rsplit_once(':').is_some_and(|(_, tail)| tail.bytes().all(|b| b.is_ascii_digit()));
    Some(Cow::Owned(match port {
        Some(port) if port != 80 && !named_port => format!("http://{host}:{port}{url}"),
        _ => ["http://", &host, url].concat(),
    }))
}

/// Nothing that ends a url or breaks a line.
fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// A domain-name where the text is one; its lower-case form.
fn domain(
    name: &str,
    bundle: &mut Bundle,
    refs: &mut Vec<Id<'static>>,
    d: &mut Detection,
) -> Result<Option<Id<'static>>, Refused> {
    let Some(name) = domain_name(name) else { return Ok(None) };
    add_once(&mut d.domains, &name);
    if !is_host(&name) {
        return Ok(None);
    }
    let object = DomainName::new(&*name);
    let id = own(object.common.id);
    add(&object, id, bundle, refs)?;
    Ok(Some(id))
}

/// Whether a name is a host's (RFC 5890), which `domain-name` asks for (§6.4): service labels like `_ldap._tcp` are not.
pub(super) fn is_host(name: &str) -> bool {
    let fits = |label: &str| {
        label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-') && !label.contains('_')
    };
    name.split('.').all(fits)
}

pub(super) fn domain_name(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim_end_matches('.');
    let text = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => text,
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_name = !text.is_empty()
        && text.len() <= MAX_NAME
        && text.bytes().all(fits)
        && !text.split('.').any(str::is_empty)
        && text.parse::<IpAddr>().is_err();
    if !is_name {
        return None;
    }
    let upper = text.bytes().any(|b| b.is_ascii_uppercase());
    Some(if upper { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) })
}

/// The name asked for, what it resolves to, and both as objects of their own.
fn dns(
    entry: &Dns<'_>,
    bundle: &mut Bundle,
    refs: &mut Vec<Id<'static>>,
    d: &mut Detection,
) -> Result<(), Refused> {
    let mut answers = Vec::new();
    for answer in &entry.answers {
        let id = match network::address(answer.trim()) {
            Some((ip, text)) => Some(address(ip, text, bundle, refs)?),
            None => domain(answer, bundle, refs, d)?,
        };
        answers.extend(id.filter(|id| refs.contains(id) && !answers.contains(id)));
    }
    let Some(name) = entry.name.as_deref().and_then(domain_name) else { return Ok(()) };
    add_once(&mut d.domains, &name);
    if !is_host(&name) {
        return Ok(());
    }
    let mut object = DomainName::new(&*name);
    let id = own(object.common.id);
    answers.retain(|answer| *answer != id);
    object.resolves_to_refs = answers;
    add(&object, id, bundle, refs)
}

fn certificate(
    tls: &Tls<'_>,
    bundle: &mut Bundle,
    refs: &mut Vec<Id<'static>>,
    d: &mut Detection,
) -> Result<(), Refused> {
    if let Some(sni) = tls.sni.as_deref() {
        domain(sni, bundle, refs, d)?;
    }
    let fingerprint = tls.fingerprint.as_deref().map(|text| text.replace(':', "").to_ascii_lowercase());
    let sha1 = fingerprint.filter(|text| is_hex(text, 40));
    if sha1.is_none() && tls.serial.is_none() {
        return Ok(());
    }
    let text = |value: &'_ Option<Cow<'_, str>>| {
        value.as_deref().filter(|v| !v.is_empty()).map(str::to_owned).map(Cow::Owned)
    };
    let object = X509Certificate {
        common: ScoCommon::default(),
        hashes: Hashes(sha1.iter().map(|hash| ("SHA-1".into(), hash.as_str().into())).collect()),
        serial_number: text(&tls.serial),
        subject: text(&tls.subject),
        issuer: text(&tls.issuer),
        ..X509Certificate::default()
    }
    .identified();
    let id = own(object.common.id);
    add(&object, id, bundle, refs)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn file(
    seen: &FileSeen<'_>,
    bundle: &mut Bundle,
    refs: &mut Vec<Id<'static>>,
    d: &mut Detection,
) -> Result<(), Refused> {
    let known = [("MD5", &seen.md5, 32), ("SHA-1", &seen.sha1, 40), ("SHA-256", &seen.sha256, 64)];
    let mut hashes = Hashes::default();
    for (name, value, length) in known {
        let Some(value) = value.as_deref().filter(|value| is_hex(value, length)) else { continue };
        let value = value.to_ascii_lowercase();
        add_once(&mut d.hashes, &value);
        hashes.0.push((name.into(), value.into()));
    }
    let name = seen.name.as_deref().and_then(file_name);
    if hashes.0.is_empty() && name.is_none() {
        return Ok(());
    }
    let object = File { hashes, size: seen.size, name: name.map(Into::into), ..File::default() }.identified();
    let id = own(object.common.id);
    add(&object, id, bundle, refs)
}

/// The last part of a path or of a url's path.
fn file_name(path: &str) -> Option<&str> {
    let path = path.split(['?', '#']).next().unwrap_or(path);
    path.rsplit(['/', '\\']).next().filter(|name| !name.is_empty())
}

fn email(
    mail: &Email<'_>,
    time: Timestamp,
    bundle: &mut Bundle,
    refs: &mut Vec<Id<'static>>,
    d: &mut Detection,
) -> Result<(), Refused> {
    let from = mail.from.as_deref().and_then(mailbox);
    d.email_from = from.map(|(address, _)| address.to_owned());
    d.email_subject = mail.subject.as_deref().map(str::to_owned);
    let from_ref = from.map(|from| mail_address(from, bundle, refs)).transpose()?.flatten();
    let mut list = |addresses: &[Cow<'_, str>], d: &mut Detection| -> Result<Vec<Id<'static>>, Refused> {
        let mut ids = vec![];
        for mailbox in addresses.iter().filter_map(|text| mailbox(text)) {
            add_once(&mut d.email_to, mailbox.0);
            let id = mail_address(mailbox, bundle, refs)?;
            ids.extend(id.filter(|id| refs.contains(id) && !ids.contains(id)));
        }
        Ok(ids)
    };
    let to_refs = list(&mail.to, d)?;
    let cc_refs = list(&mail.cc, d)?;
    let object = EmailMessage {
        is_multipart: Some(false),
        date: Some(Stamp::millis(time)),
        from_ref,
        to_refs,
        cc_refs,
        subject: mail.subject.as_deref().map(Into::into),
        ..EmailMessage::default()
    };
    if object.from_ref.is_none() && object.subject.is_none() {
        // Nothing that gives it an identity: the addresses stand for themselves.
        return Ok(());
    }
    let object = object.identified();
    let id = own(object.common.id);
    add(&object, id, bundle, refs)
}

/// An email-addr, where the address is one for the standard (RFC 5322 with a domain that has a dot).
fn mail_address(
    (address, display): (&str, Option<&str>),
    bundle: &mut Bundle,
    refs: &mut Vec<Id<'static>>,
) -> Result<Option<Id<'static>>, Refused> {
    let (local, host) = address.rsplit_once('@').unwrap_or_default();
    let atoms = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    if !host.contains('.')
        || domain_name(host).is_none_or(|host| !is_host(&host))
        || !local.bytes().all(atoms)
    {
        return Ok(None);
    }
    let mut object = EmailAddr::new(address);
    object.display_name = display.map(Into::into);
    let id = own(object.common.id);
    add(&object, id, bundle, refs)?;
    Ok(Some(id))
}

/// `Name <a@b>`, `<a@b>` or `a@b`: address and name. Null where there is no address in it.
fn mailbox(text: &str) -> Option<(&str, Option<&str>)> {
    let (name, address) = match text.rsplit_once('<') {
        Some((name, rest)) => (name.trim().trim_matches('"'), rest.split('>').next().unwrap_or(rest)),
        None => ("", text),
    };
    let address = address.trim();
    let (local, host) = address.rsplit_once('@')?;
    let is_address = !local.is_empty() && !host.is_empty() && is_plain(address);
    is_address.then_some((address, Some(name).filter(|name| !name.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes() {
        assert_eq!(mailbox("Gavin S <g@x.org>"), Some(("g@x.org", Some("Gavin S"))));
        assert_eq!(mailbox("<g@x.org>"), Some(("g@x.org", None)));
        assert_eq!(mailbox("g@x.org"), Some(("g@x.org", None)));
        assert_eq!([mailbox("<>"), mailbox("nobody"), mailbox("a b@c"), mailbox("@c")], [None; 4]);
    }

    #[test]
    fn names() {
        assert_eq!(domain_name("WWW.Example.ORG.").as_deref(), Some("www.example.org"));
        assert_eq!(domain_name("example.org:8080").as_deref(), Some("example.org"));
        assert_eq!(domain_name("_ldap._tcp.example.org").as_deref(), Some("_ldap._tcp.example.org"));
        for bad in ["", ".", "10.0.0.1", "::1", "a..b", "a b", "a/b", &"a".repeat(300)] {
            assert_eq!(domain_name(bad), None, "{bad}");
        }
        assert_eq!(file_name("/a/b.exe?x=/1"), Some("b.exe"));
        assert_eq!(file_name("C:\\a\\b.txt"), Some("b.txt"));
        assert_eq!(file_name("/"), None);
    }

    #[test]
    fn urls() {
        let url = |host: &str, path: &str, port| {
            let http = Http {
                host: Some(host.to_owned().into()),
                url: Some(path.to_owned().into()),
                ..Http::default()
            };
            full_url(&http, port).map(Cow::into_owned)
        };
        assert_eq!(url("a.org", "/x", Some(80)).as_deref(), Some("http://a.org/x"));
        assert_eq!(url("a.org", "/x", Some(8080)).as_deref(), Some("http://a.org:8080/x"));
        assert_eq!(url("a.org:81", "/x", Some(8080)).as_deref(), Some("http://a.org:81/x"));
        assert_eq!(url("::1", "/x", None).as_deref(), Some("http://[::1]/x"));
        assert_eq!(url("a.org", "http://b.org/y", Some(80)).as_deref(), Some("http://b.org/y"));
        assert_eq!(
            encoded("http://a.org/{x}?a=%zz%20[#b#é"),
            "http://a.org/%7Bx%7D?a=%25zz%20%5B#b%23%C3%A9"
        );
        assert_eq!(encoded("http://[::1]/x"), "http://[::1]/x");
        assert_eq!(url("a.org", "*", Some(80)), None);
        assert_eq!(url("a.org", "/a b", Some(80)), None);
    }
}
