//! SCOs (STIX 2.1 §6). `identified` computes the id that §2.9 prescribes from the contributing properties: call it last.
use super::{Extension, Hashes, ScoCommon, Text, objects};
use crate::canon::Canonical;
use crate::ids::{self, Id};
use crate::stamp::Stamp;
use serde::Serialize;

objects! {
    /// §6.1
    Artifact = "artifact", ScoCommon {
        mime_type: Option<Text<'a>>, payload_bin: Option<Text<'a>>, url: Option<Text<'a>>, hashes: Hashes<'a>,
        encryption_algorithm: Option<Text<'a>>, decryption_key: Option<Text<'a>>,
    }
    /// §6.2
    AutonomousSystem = "autonomous-system", ScoCommon {
        number: u32, name: Option<Text<'a>>, rir: Option<Text<'a>>,
    }
    /// §6.3
    Directory = "directory", ScoCommon {
        path: Text<'a>, path_enc: Option<Text<'a>>, ctime: Option<Stamp>, mtime: Option<Stamp>, atime: Option<Stamp>,
        contains_refs: Vec<Id<'a>>,
    }
    /// §6.4
    DomainName = "domain-name", ScoCommon { value: Text<'a>, resolves_to_refs: Vec<Id<'a>> }
    /// §6.5
    EmailAddr = "email-addr", ScoCommon {
        value: Text<'a>, display_name: Option<Text<'a>>, belongs_to_ref: Option<Id<'a>>,
    }
    /// §6.6; `is_multipart` is required: always Some; a multipart message has no body here.
    EmailMessage = "email-message", ScoCommon {
        is_multipart: Option<bool>, date: Option<Stamp>, content_type: Option<Text<'a>>, from_ref: Option<Id<'a>>,
        sender_ref: Option<Id<'a>>, to_refs: Vec<Id<'a>>, cc_refs: Vec<Id<'a>>, bcc_refs: Vec<Id<'a>>,
        message_id: Option<Text<'a>>, subject: Option<Text<'a>>, received_lines: Vec<Text<'a>>, body: Option<Text<'a>>,
        raw_email_ref: Option<Id<'a>>,
    }
    /// §6.7; at least one of hashes and name.
    File = "file", ScoCommon {
        hashes: Hashes<'a>, size: Option<u64>, name: Option<Text<'a>>, mime_type: Option<Text<'a>>,
        ctime: Option<Stamp>, mtime: Option<Stamp>, atime: Option<Stamp>, parent_directory_ref: Option<Id<'a>>,
        contains_refs: Vec<Id<'a>>, content_ref: Option<Id<'a>>,
    }
    /// §6.8
    Ipv4Addr = "ipv4-addr", ScoCommon { value: Text<'a>, resolves_to_refs: Vec<Id<'a>>, belongs_to_refs: Vec<Id<'a>> }
    /// §6.9
    Ipv6Addr = "ipv6-addr", ScoCommon { value: Text<'a>, resolves_to_refs: Vec<Id<'a>>, belongs_to_refs: Vec<Id<'a>> }
    /// §6.10; lower case, with colons.
    MacAddr = "mac-addr", ScoCommon { value: Text<'a> }
    /// §6.11
    Mutex = "mutex", ScoCommon { name: Text<'a> }
    /// §6.12; one of src_ref and dst_ref at least; protocols from the lowest layer up; start and end are
    /// [`Stamp::shortest`], since their text is hashed.
    NetworkTraffic = "network-traffic", ScoCommon {
        start: Option<Stamp>, end: Option<Stamp>, is_active: Option<bool>, src_ref: Option<Id<'a>>,
        dst_ref: Option<Id<'a>>, src_port: Option<u16>, dst_port: Option<u16>, protocols: Vec<Text<'a>>,
        src_byte_count: Option<u64>, dst_byte_count: Option<u64>, src_packets: Option<u64>, dst_packets: Option<u64>,
        src_payload_ref: Option<Id<'a>>, dst_payload_ref: Option<Id<'a>>, encapsulates_refs: Vec<Id<'a>>,
        encapsulated_by_ref: Option<Id<'a>>,
    }
    /// §6.13; its id is [`ids::process`].
    Process = "process", ScoCommon {
        is_hidden: Option<bool>, pid: Option<i64>, created_time: Option<Stamp>, cwd: Option<Text<'a>>,
        command_line: Option<Text<'a>>, opened_connection_refs: Vec<Id<'a>>, creator_user_ref: Option<Id<'a>>,
        image_ref: Option<Id<'a>>, parent_ref: Option<Id<'a>>, child_refs: Vec<Id<'a>>,
    }
    /// §6.14
    Software = "software", ScoCommon {
        name: Text<'a>, cpe: Option<Text<'a>>, swid: Option<Text<'a>>, languages: Vec<Text<'a>>,
        vendor: Option<Text<'a>>, version: Option<Text<'a>>,
    }
    /// §6.15
    Url = "url", ScoCommon { value: Text<'a> }
    /// §6.16
    UserAccount = "user-account", ScoCommon {
        user_id: Option<Text<'a>>, account_login: Option<Text<'a>>, account_type: Option<Text<'a>>,
        display_name: Option<Text<'a>>, is_service_account: Option<bool>, is_privileged: Option<bool>,
        can_escalate_privs: Option<bool>, is_disabled: Option<bool>, account_created: Option<Stamp>,
        account_expires: Option<Stamp>, credential_last_changed: Option<Stamp>, account_first_login: Option<Stamp>,
        account_last_login: Option<Stamp>,
    }
    /// §6.17
    WindowsRegistryKey = "windows-registry-key", ScoCommon {
        key: Option<Text<'a>>, values: Vec<RegistryValue<'a>>, modified_time: Option<Stamp>,
        creator_user_ref: Option<Id<'a>>, number_of_subkeys: Option<u32>,
    }
    /// §6.18
    X509Certificate = "x509-certificate", ScoCommon {
        is_self_signed: Option<bool>, hashes: Hashes<'a>, version: Option<Text<'a>>, serial_number: Option<Text<'a>>,
        signature_algorithm: Option<Text<'a>>, issuer: Option<Text<'a>>, validity_not_before: Option<Stamp>,
        validity_not_after: Option<Stamp>, subject: Option<Text<'a>>, subject_public_key_algorithm: Option<Text<'a>>,
        subject_public_key_modulus: Option<Text<'a>>, subject_public_key_exponent: Option<u64>,
    }
}

/// §6.17.2. Fields stand in canonical order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RegistryValue<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_type: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text<'a>>,
}

/// `new` for SCOs that are one text.
macro_rules! of_one_text {
    ($($name:ident { $property:ident $(, $rest:ident)* })*) => {$(
        impl<'a> $name<'a> {
            #[must_use]
            pub fn new($property: impl Into<Text<'a>>) -> Self {
                let $property = $property.into();
                let id = ids::sco_text(Self::TYPE, stringify!($property), &$property);
                Self { common: ScoCommon::new(id), $property, $($rest: Default::default()),* }
            }
        }
    )*};
}
of_one_text! {
    Directory { path, path_enc, ctime, mtime, atime, contains_refs }
    DomainName { value, resolves_to_refs }
    EmailAddr { value, display_name, belongs_to_ref }
    Ipv4Addr { value, resolves_to_refs, belongs_to_refs }
    Ipv6Addr { value, resolves_to_refs, belongs_to_refs }
    MacAddr { value }
    Mutex { name }
    Url { value }
}

impl AutonomousSystem<'_> {
    #[must_use]
    pub fn new(number: u32) -> Self {
        let id = Canonical::new().field("number", &number).id(Self::TYPE);
        Self { common: ScoCommon::new(id), number, name: None, rir: None }
    }
}

/// `identified`, over the contributing properties in canonical order.
macro_rules! identified {
    ($($name:ident { $($property:ident),* })*) => {$(
        impl $name<'_> {
            /// With the id that §2.9 prescribes for what it holds now.
            #[must_use]
            pub fn identified(mut self) -> Self {
                self.common.id = Canonical::new()$(.optional(stringify!($property), &self.$property))*.id(Self::TYPE);
                self
            }
        }
    )*};
}
identified! {
    EmailMessage { body, from_ref, subject }
    UserAccount { account_login, account_type, user_id }
    WindowsRegistryKey { key, values }
}

impl Artifact<'_> {
    /// With the prescribed id; an artifact with a url only has none, and gets v4-shaped bits of the url's SHA-256.
    #[must_use]
    pub fn identified(mut self) -> Self {
        let canonical = Canonical::new().hashes(&self.hashes).optional("payload_bin", &self.payload_bin);
        self.common.id = match &self.url {
            Some(url) if canonical.is_empty() => canonical.unprescribed(Self::TYPE, url),
            _ => canonical.id(Self::TYPE),
        };
        self
    }
}

impl File<'_> {
    #[must_use]
    pub fn identified(mut self) -> Self {
        self.common.id = Canonical::new()
            .extensions(&self.common.extensions)
            .hashes(&self.hashes)
            .optional("name", &self.name)
            .optional("parent_directory_ref", &self.parent_directory_ref)
            .id(Self::TYPE);
        self
    }
}

impl<'a> NetworkTraffic<'a> {
    /// With the prescribed id. `end` demands is_active = false (§6.12.1), which is set.
    #[must_use]
    pub fn identified(mut self) -> Self {
        if self.end.is_some() {
            self.is_active = Some(false);
        }
        self.common.id = Canonical::new()
            .optional("dst_port", &self.dst_port)
            .optional("dst_ref", &self.dst_ref)
            .optional("end", &self.end)
            .extensions(&self.common.extensions)
            .optional("protocols", &self.protocols)
            .optional("src_port", &self.src_port)
            .optional("src_ref", &self.src_ref)
            .optional("start", &self.start)
            .id(Self::TYPE);
        self
    }

    #[must_use]
    pub fn with_extension(mut self, extension: Extension<'a>) -> Self {
        self.common.extensions.0.push(extension);
        self
    }
}

impl Software<'_> {
    #[must_use]
    pub fn identified(mut self) -> Self {
        self.common.id = Canonical::new()
            .optional("cpe", &self.cpe)
            .field("name", &self.name)
            .optional("swid", &self.swid)
            .optional("vendor", &self.vendor)
            .optional("version", &self.version)
            .id(Self::TYPE);
        self
    }
}

impl X509Certificate<'_> {
    #[must_use]
    pub fn identified(mut self) -> Self {
        self.common.id = Canonical::new()
            .hashes(&self.hashes)
            .optional("serial_number", &self.serial_number)
            .id(Self::TYPE);
        self
    }
}
