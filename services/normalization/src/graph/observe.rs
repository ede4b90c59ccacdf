//! What a network event shows as cyber observables: addresses, traffic, names, urls, files, mail, certificate, user. Fills the columns that
//! say the same. Owns the SCOs of network events; must not know rules, assets, severity.
mod content;
mod names;
mod web;

use super::Refused;
use super::network::{Side, Sides};
use atio_formats::finding::Network;
use atio_schemas::Detection;
use atio_stix::object::{
    Extension, Icmp, Ipv4Addr, Ipv6Addr, NetworkTraffic, Software, StixObject, Text, UserAccount,
};
use atio_stix::{Bundle, Id, Stamp};
pub(super) use names::{domain_name, is_host};
use std::borrow::Cow;
use std::net::IpAddr;

/// SCOs of one event at most; more are left out, and `quality` says so.
const MAX_OBJECTS: usize = 256;

/// The objects that observed-data refers to.
pub(super) struct Observed {
    pub(super) refs: Vec<Id<'static>>,
}

impl Observed {
    /// For statistics and the like, which have no other subject than the tool: observed-data needs one SCO at least (STIX 2.1
    /// §4.14).
    pub(super) fn tool(&mut self, product: &'static str, bundle: &mut Bundle) -> Result<(), Refused> {
        let software = Software { name: product.into(), ..Software::default() }.identified();
        self.refs.push(software.common.id.own());
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
        refs.push(object.common.id.own());
        bundle.push(&object)?;
    }
    if let Some(http) = &net.http {
        web::web(http, sides.responder.port, bundle, &mut refs, d)?;
    }
    for entry in &net.dns {
        names::dns(entry, bundle, &mut refs, d)?;
    }
    if let Some(tls) = &net.tls {
        content::certificate(tls, bundle, &mut refs, d)?;
    }
    for seen in &net.files {
        content::file(seen, bundle, &mut refs, d)?;
    }
    if let Some(mail) = &net.email {
        content::email(mail, net.time, bundle, &mut refs, d)?;
    }
    if let Some(user) = net.user.as_deref().filter(|user| !user.is_empty()) {
        let object = UserAccount { account_login: Some(user.into()), ..UserAccount::default() }.identified();
        add(&object, object.common.id.own(), bundle, &mut refs)?;
    }
    if refs.len() >= MAX_OBJECTS {
        d.quality.push("observables_cut".to_owned());
    }
    Ok(Observed { refs })
}

/// Pushes an object and refers to it, once; beyond the limit not at all.
fn add<T: StixObject>(
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
            let id = object.common.id.own();
            add(&object, id, bundle, refs)?;
            id
        }
        IpAddr::V6(v6) => {
            // An IPv4-mapped address in mixed notation is refused by the standard's schema: written in groups.
            let mixed = text.contains('.');
            let [.., high, low] = v6.segments();
            let text = if mixed { Cow::Owned(format!("::ffff:{high:x}:{low:x}")) } else { text };
            let object = Ipv6Addr::new(text);
            let id = object.common.id.own();
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
    if let Some(request) = net.http.as_ref().and_then(web::request) {
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
