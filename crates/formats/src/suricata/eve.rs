//! The shapes of EVE's JSON that matter, borrowed from the input. Owns names of keys; decides nothing.
use crate::json::{Field, Flat, Many, Num, Texts, Txt, drain_seq, record, small};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

record! {
    /// One line. `other` holds the object named like the event type, where that has no shape of its own.
    Eve<'a> {
        timestamp: Txt<'a> = "timestamp",
        event_type: Txt<'a> = "event_type",
        src_ip: Txt<'a> = "src_ip",
        src_port: Num = "src_port",
        dest_ip: Txt<'a> = "dest_ip",
        dest_port: Num = "dest_port",
        proto: Txt<'a> = "proto",
        flow_id: Txt<'a> = "flow_id",
        in_iface: Txt<'a> = "in_iface",
        app_proto: Txt<'a> = "app_proto",
        direction: Txt<'a> = "direction",
        community_id: Txt<'a> = "community_id",
        alert: RawAlert<'a> = "alert",
        flow: RawFlow<'a> = "flow",
        netflow: Option<Box<RawFlow<'a>>> = "netflow",
        http: RawHttp<'a> = "http",
        dns: Option<Box<RawDns<'a>>> = "dns",
        tls: Option<Box<RawTls<'a>>> = "tls",
        quic: Option<Box<RawTls<'a>>> = "quic",
        files: Many<RawFile<'a>> = "files",
        fileinfo: Option<Box<RawFile<'a>>> = "fileinfo",
        ftp_data: Option<Box<RawFile<'a>>> = "ftp_data",
        smtp: Option<Box<RawSmtp<'a>>> = "smtp",
        email: Option<Box<RawEmail<'a>>> = "email",
        verdict: RawVerdict<'a> = "verdict",
        ether: Option<Box<RawEther<'a>>> = "ether",
        vlan: Texts<'a> = "vlan",
        icmp_type: Num = "icmp_type",
        icmp_code: Num = "icmp_code",
        xff: Txt<'a> = "xff",
        smb: Flat<'a> = "smb",
        krb5: Flat<'a> = "krb5",
        ftp: Flat<'a> = "ftp",
        host: Named<'a> = "host",
        // What shippers wrap a line in.
        message: Txt<'a> = "message",
        at_timestamp: Txt<'a> = "@timestamp",
        event: RawEcsEvent<'a> = "event",
        event_original: Txt<'a> = "event.original",
        agent: Named<'a> = "agent" | "beat",
        suricata: RawModule<'a> = "suricata",
    } else other if |eve: &Eve<'_>, name| eve.event_type.0.as_deref() == Some(name)
}

record! { RawEcsEvent<'a> { original: Txt<'a> = "original" } }
record! { /// filebeat's Suricata module keeps the decoded line here.
RawModule<'a> { eve: Option<Box<Eve<'a>>> = "eve" } }

record! {
    RawAlert<'a> {
        action: Txt<'a> = "action",
        gid: Num = "gid",
        signature_id: Num = "signature_id",
        rev: Num = "rev",
        signature: Txt<'a> = "signature",
        category: Txt<'a> = "category",
        severity: Num = "severity",
        rule: Txt<'a> = "rule",
        metadata: RawMetadata<'a> = "metadata",
        source: Option<Box<RawPeer<'a>>> = "source",
        target: Option<Box<RawPeer<'a>>> = "target",
        references: Texts<'a> = "references",
        xff: Txt<'a> = "xff",
    }
}

record! {
    RawMetadata<'a> {
        signature_severity: Texts<'a> = "signature_severity",
        confidence: Texts<'a> = "confidence",
        cve: Texts<'a> = "cve",
        mitre_technique_id: Texts<'a> = "mitre_technique_id",
        mitre_technique_name: Texts<'a> = "mitre_technique_name",
        mitre_tactic_id: Texts<'a> = "mitre_tactic_id",
        mitre_tactic_name: Texts<'a> = "mitre_tactic_name",
        attack_target: Texts<'a> = "attack_target",
        created_at: Texts<'a> = "created_at",
        updated_at: Texts<'a> = "updated_at",
        capec: Texts<'a> = "capec" | "capec_id",
    }
}

record! { RawPeer<'a> { ip: Txt<'a> = "ip", port: Num = "port", mac: Txt<'a> = "mac" } }

record! {
    RawFlow<'a> {
        pkts_toserver: Num = "pkts_toserver",
        pkts_toclient: Num = "pkts_toclient",
        bytes_toserver: Num = "bytes_toserver",
        bytes_toclient: Num = "bytes_toclient",
        pkts: Num = "pkts",
        bytes: Num = "bytes",
        start: Txt<'a> = "start",
        end: Txt<'a> = "end",
        src_ip: Txt<'a> = "src_ip",
        dest_ip: Txt<'a> = "dest_ip",
        src_port: Num = "src_port",
        dest_port: Num = "dest_port",
        state: Txt<'a> = "state",
        reason: Txt<'a> = "reason",
        action: Txt<'a> = "action",
    }
}

record! {
    RawHttp<'a> {
        hostname: Txt<'a> = "hostname",
        url: Txt<'a> = "url",
        method: Txt<'a> = "http_method",
        user_agent: Txt<'a> = "http_user_agent",
        referer: Txt<'a> = "http_refer",
        content_type: Txt<'a> = "http_content_type",
        protocol: Txt<'a> = "protocol",
        version: Txt<'a> = "version",
        status: Num = "status",
        length: Num = "length",
        xff: Txt<'a> = "xff",
        request_headers: Many<RawHeader<'a>> = "request_headers",
    }
}
record! { RawHeader<'a> { name: Txt<'a> = "name", value: Txt<'a> = "value" } }

record! {
    /// All layouts: v1 (one record flat), v2 (`answers`, `grouped`; inside alerts `query` and `answer`), v3 (`queries`).
    RawDns<'a> {
        kind: Txt<'a> = "type",
        rrname: Txt<'a> = "rrname",
        rrtype: Txt<'a> = "rrtype",
        rcode: Txt<'a> = "rcode",
        rdata: Txt<'a> = "rdata",
        answers: Many<RawRecord<'a>> = "answers",
        grouped: Flat<'a> = "grouped",
        query: Many<RawRecord<'a>> = "query" | "queries",
        answer: Option<Box<RawDns<'a>>> = "answer",
    }
}
record! {
    RawRecord<'a> { kind: Txt<'a> = "type", rrname: Txt<'a> = "rrname", rrtype: Txt<'a> = "rrtype", rcode: Txt<'a> = "rcode", rdata: Txt<'a> = "rdata" }
}

record! {
    RawTls<'a> {
        sni: Txt<'a> = "sni",
        subject: Txt<'a> = "subject",
        issuer: Txt<'a> = "issuerdn",
        serial: Txt<'a> = "serial",
        fingerprint: Txt<'a> = "fingerprint",
        version: Txt<'a> = "version",
        ja3: RawHash<'a> = "ja3",
        ja4: Txt<'a> = "ja4",
    }
}
record! { RawHash<'a> { hash: Txt<'a> = "hash" } }

record! {
    RawFile<'a> {
        filename: Txt<'a> = "filename",
        size: Num = "size",
        md5: Txt<'a> = "md5",
        sha1: Txt<'a> = "sha1",
        sha256: Txt<'a> = "sha256",
        magic: Txt<'a> = "magic",
    }
}

record! { RawSmtp<'a> { mail_from: Txt<'a> = "mail_from", rcpt_to: Texts<'a> = "rcpt_to" } }
record! {
    RawEmail<'a> { from: Txt<'a> = "from", to: Texts<'a> = "to", cc: Texts<'a> = "cc", subject: Txt<'a> = "subject", attachment: Texts<'a> = "attachment" }
}
record! { RawVerdict<'a> { action: Txt<'a> = "action" } }
record! {
    RawEther<'a> { src: Txt<'a> = "src_mac", dest: Txt<'a> = "dest_mac", srcs: Texts<'a> = "src_macs", dests: Texts<'a> = "dest_macs" }
}

/// A name, or an object that has one.
#[derive(Debug, Default)]
pub(crate) struct Named<'a>(pub(crate) Option<Cow<'a, str>>);

small! { Named<'a> }

impl Field for Named<'_> {
    fn present(&self) -> bool {
        self.0.is_some()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct NamedVisitor;
        impl<'de> Visitor<'de> for NamedVisitor {
            type Value = Named<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Named<'de>, E> {
                Ok(Named(Some(Cow::Borrowed(v))))
            }
            fn visit_str<E>(self, v: &str) -> Result<Named<'de>, E> {
                Ok(Named(Some(Cow::Owned(v.to_owned()))))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<'de>, A::Error> {
                let mut named = Named(None);
                while let Some(crate::json::Key(key)) = map.next_key()? {
                    let value = map.next_value::<Txt<'de>>()?.0;
                    if matches!(key.as_ref(), "name" | "hostname") && named.0.is_none() {
                        named.0 = value;
                    }
                }
                Ok(named)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Named<'de>, A::Error> {
                drain_seq(seq).map(|()| Named(None))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Named<'de>, E> {
                Ok(Named(None))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Named<'de>, E> {
                Ok(Named(None))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Named<'de>, E> {
                Ok(Named(None))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Named<'de>, E> {
                Ok(Named(None))
            }
            fn visit_unit<E>(self) -> Result<Named<'de>, E> {
                Ok(Named(None))
            }
        }
        d.deserialize_any(NamedVisitor)
    }
}
