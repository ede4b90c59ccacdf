//! What travelled: files, mail, certificates. Owns their objects; must not know the flow.
use super::super::{Refused, add_once};
use super::add;
use super::names::{domain, domain_name, is_host};
use super::web::is_plain;
use atio_formats::finding::{Email, FileSeen, Tls};
use atio_schemas::{Detection, Timestamp};
use atio_stix::object::{EmailAddr, EmailMessage, File, Hashes, ScoCommon, X509Certificate};
use atio_stix::{Bundle, Id, Stamp};
use std::borrow::Cow;

pub(super) fn certificate(
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
    let id = object.common.id.own();
    add(&object, id, bundle, refs)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
}

pub(super) fn file(
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
    let id = object.common.id.own();
    add(&object, id, bundle, refs)
}

/// The last part of a path or of a url's path.
fn file_name(path: &str) -> Option<&str> {
    let path = path.split(['?', '#']).next().unwrap_or(path);
    path.rsplit(['/', '\\']).next().filter(|name| !name.is_empty())
}

pub(super) fn email(
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
    let id = object.common.id.own();
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
    let id = object.common.id.own();
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
    fn file_names() {
        assert_eq!(file_name("/a/b.exe?x=/1"), Some("b.exe"));
        assert_eq!(file_name("C:\\a\\b.txt"), Some("b.txt"));
        assert_eq!(file_name("/"), None);
    }
}
