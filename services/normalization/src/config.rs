//! What normalization is told: the sources with their topics, and which networks are home. Owns defaults; must not know where it is read from.
use atio_schemas::detection::{Tlp, Zone};
use atio_topics::From;
use atio_topics::spec::{Payload, Start};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The service's own section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Networks in which assets of the organisation live. Default: RFC 1918 and fc00::/7.
    pub home_networks: Vec<IpNet>,
}

impl Default for Config {
    fn default() -> Self {
        Self { home_networks: default_home_networks() }
    }
}

/// RFC 1918 and fc00::/7 (RFC 4193).
#[must_use]
pub fn default_home_networks() -> Vec<IpNet> {
    let v4 = [([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16)];
    let nets = v4.into_iter().map(|(octets, prefix)| (IpAddr::V4(Ipv4Addr::from(octets)), prefix));
    let unique_local = (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7);
    nets.chain([unique_local]).filter_map(|(address, prefix)| IpNet::new(address, prefix).ok()).collect()
}

/// One declared source, as far as normalization needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    /// The raw topic: `<prefix>raw.<name>`, or the adopted one.
    pub topic: String,
    /// Where its dead letters go: a topic of ours, also for an adopted one.
    pub dead_letters: String,
    /// A pinned format's name; None = sniffed.
    pub format: Option<String>,
    pub tenant: String,
    pub zone: Zone,
    pub tlp: Tlp,
    /// An adopted topic whose records are the tool's own bytes, not raw events.
    pub naked: bool,
    /// An adopted topic that is read from its end on.
    pub from_end: bool,
}

impl Source {
    /// What a declaration says, on the topics of this prefix.
    #[must_use]
    pub fn declared(source: &atio_topics::Source, prefix: &str) -> Self {
        let (naked, from_end) = match &source.from {
            From::Topic { start, payload, .. } => (*payload == Payload::Naked, *start == Start::End),
            _ => (false, false),
        };
        Self {
            name: source.meta.name.clone(),
            topic: source.topic(prefix),
            dead_letters: source.dead_letters(prefix),
            format: source.format.clone(),
            tenant: source.tenant.clone(),
            zone: source.zone,
            tlp: source.tlp,
            naked,
            from_end,
        }
    }

    /// A source with the defaults: tenant `default`, zone it, amber, sniffed.
    #[must_use]
    pub fn new(name: &str, topic: &str) -> Self {
        Self {
            name: name.to_owned(),
            topic: topic.to_owned(),
            dead_letters: format!("{topic}.dlq"),
            format: None,
            tenant: atio_stix::ids::DEFAULT_TENANT.to_owned(),
            zone: Zone::It,
            tlp: Tlp::Amber,
            naked: false,
            from_end: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_what_the_standards_call_private() {
        let home = default_home_networks();
        let inside = |text: &str| home.iter().any(|net| net.contains(&text.parse::<IpAddr>().unwrap()));
        for text in ["10.1.2.3", "172.31.255.255", "192.168.0.1", "fd00::1"] {
            assert!(inside(text), "{text}");
        }
        for text in ["172.32.0.1", "8.8.8.8", "fe80::1", "2001:db8::1", "127.0.0.1"] {
            assert!(!inside(text), "{text}");
        }
    }
}
