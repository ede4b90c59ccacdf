//! The two sides of a flow: who opened it, who acts and who is the target, which side is ours. Owns these rules (docs/normalization.md, "Suricata
//! alert", "Asset and incident"); must not know STIX.
use super::{Cx, is_home};
use crate::asset::{self, Asset};
use atio_formats::finding::{Alert, Network, Peer};
use atio_schemas::{Detection, detection::Endpoint};
use std::borrow::Cow;
use std::net::IpAddr;

/// One side, its address in canonical form.
#[derive(Debug, Default)]
pub(crate) struct Side<'n> {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) text: Option<Cow<'n, str>>,
    pub(crate) port: Option<u16>,
    pub(crate) bytes: Option<u64>,
    pub(crate) packets: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

impl Role {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Sides<'n> {
    pub(crate) initiator: Side<'n>,
    pub(crate) responder: Side<'n>,
    /// Whether the event says who opened the flow; else its src is taken for it.
    pub(crate) known: bool,
    /// Whether the event's src is the initiator.
    pub(crate) src_opened: bool,
}

/// Reads an address; IPv4 text is canonical if it parses, IPv6 is written anew (RFC 5952).
pub(crate) fn address<'n>(text: &'n str) -> Option<(IpAddr, Cow<'n, str>)> {
    let ip: IpAddr = text.parse().ok()?;
    let canonical = match ip {
        IpAddr::V4(_) => Cow::Borrowed(text),
        IpAddr::V6(_) => Cow::Owned(ip.to_string()),
    };
    Some((ip, canonical))
}

fn side<'n>(peer: &'n Peer<'_>, portless: bool) -> Side<'n> {
    let read = peer.ip.as_deref().and_then(address);
    let (ip, text) = read.map_or((None, None), |(ip, text)| (Some(ip), Some(text)));
    let port = peer.port.filter(|_| !portless);
    Side { ip, text, port, bytes: peer.bytes, packets: peer.packets }
}

/// Protocols whose ports are none, whatever a tool prints there.
fn is_portless(proto: Option<&str>) -> bool {
    !matches!(proto, None | Some("tcp" | "udp" | "sctp" | "udplite" | "dccp"))
}

impl<'n> Sides<'n> {
    pub(crate) fn of(net: &'n Network<'_>) -> Self {
        let portless = is_portless(net.proto.as_deref());
        let (mut src, mut dst) = (side(&net.src, portless), side(&net.dst, portless));
        let opener = net.flow.as_ref().and_then(|(opener, _)| {
            let same = |peer: &Peer<'_>| peer.ip.is_some() && opener.ip == peer.ip;
            match (same(&net.src), same(&net.dst)) {
                (true, true) => Some(opener.port == net.src.port),
                (true, false) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            }
        });
        let by_direction = || match net.direction.as_deref() {
            Some("to_client") => Some(false),
            Some("to_server") => Some(true),
            _ => None,
        };
        let told = opener.or_else(by_direction);
        let src_opened = told.unwrap_or(true);
        if let (Some(_), Some((from, to))) = (opener, net.flow.as_ref()) {
            let (first, second) = if src_opened { (from, to) } else { (to, from) };
            (src.bytes, src.packets) = (src.bytes.or(first.bytes), src.packets.or(first.packets));
            (dst.bytes, dst.packets) = (dst.bytes.or(second.bytes), dst.packets.or(second.packets));
        }
        let (initiator, responder) = if src_opened { (src, dst) } else { (dst, src) };
        Self { initiator, responder, known: told.is_some(), src_opened }
    }

    pub(crate) const fn get(&self, role: Role) -> &Side<'n> {
        match role {
            Role::Initiator => &self.initiator,
            Role::Responder => &self.responder,
        }
    }

    /// The only side inside the home networks.
    fn only_home(&self, cx: &Cx<'_>) -> Option<Role> {
        let home = |side: &Side<'_>| side.ip.as_ref().is_some_and(|ip| is_home(cx, ip));
        match (home(&self.initiator), home(&self.responder)) {
            (true, false) => Some(Role::Initiator),
            (false, true) => Some(Role::Responder),
            _ => None,
        }
    }

    /// Which role an address has.
    fn role_of(&self, peer: Option<&Peer<'_>>) -> Option<Role> {
        let ip: IpAddr = peer?.ip.as_deref()?.parse().ok()?;
        match (self.initiator.ip == Some(ip), self.responder.ip == Some(ip)) {
            (true, false) => Some(Role::Initiator),
            (false, true) => Some(Role::Responder),
            _ => None,
        }
    }

    /// Who is the target: `alert.source` and `alert.target`, else the role that ET's attack_target names, checked against the home
    /// networks where the role is unknown or names nobody, else who did not open the flow.
    pub(crate) fn target(&self, alert: Option<&Alert<'_>>, cx: &Cx<'_>) -> Role {
        let Some(alert) = alert else { return Role::Responder };
        let stated = self
            .role_of(alert.target.as_ref())
            .or_else(|| self.role_of(alert.source.as_ref()).map(Role::other));
        if let Some(role) = stated {
            return role;
        }
        if alert.attack_target.is_empty() {
            return Role::Responder;
        }
        let named = role_of_attack_target(alert);
        match named {
            Some(role) if self.known => role,
            _ => self.only_home(cx).or(named).unwrap_or(Role::Responder),
        }
    }

    /// The side inside the home networks; both or neither: the target; no address: the sensor.
    pub(crate) fn asset(&self, target: Role, sensor: &str, cx: &Cx<'_>) -> Asset {
        let ours = self.only_home(cx).unwrap_or(target);
        let address = self.get(ours).ip.or(self.get(ours.other()).ip);
        address
            .and_then(|ip| asset::of_host(cx.assets, cx.zone, Some(&ip), None))
            .unwrap_or_else(|| asset::of_sensor(cx.assets, cx.zone, sensor))
    }

    /// What our side sent.
    pub(crate) fn bytes_out(&self, target: Role, cx: &Cx<'_>) -> Option<i64> {
        let ours = self.only_home(cx).unwrap_or(target);
        self.get(ours).bytes.and_then(|bytes| i64::try_from(bytes).ok())
    }

    /// The event's own src and dst columns.
    pub(crate) fn columns(&self, d: &mut Detection) {
        let endpoint = |side: &Side<'_>| Endpoint {
            ip: side.text.as_deref().map(str::to_owned),
            port: side.port.map(i32::from),
        };
        let (first, second) = (endpoint(&self.initiator), endpoint(&self.responder));
        (d.src, d.dst) = if self.src_opened { (first, second) } else { (second, first) };
    }
}

/// `Client_Endpoint`, `Mobile_Client` … opened the flow; `Web_Server`, `SQL_Server` … did not. `Client_and_Server`, `Any` and what is not
/// an end of a flow name nobody.
fn role_of_attack_target(alert: &Alert<'_>) -> Option<Role> {
    let has = |part: &str| {
        alert
            .attack_target
            .iter()
            .any(|t| t.as_bytes().windows(part.len()).any(|w| w.eq_ignore_ascii_case(part.as_bytes())))
    };
    match (has("client"), has("server")) {
        (true, false) => Some(Role::Initiator),
        (false, true) => Some(Role::Responder),
        _ => None,
    }
}

/// The original client behind a proxy, where the actor is who opened the flow: `X-Forwarded-For` lists it first.
pub(crate) fn client_behind<'n>(net: &'n Network<'_>, actor: Role) -> Option<(IpAddr, Cow<'n, str>)> {
    if actor != Role::Initiator {
        return None;
    }
    address(net.xff.as_deref()?.split(',').next()?.trim())
}
