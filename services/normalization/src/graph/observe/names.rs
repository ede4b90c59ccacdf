//! Domain names and what they resolve to. Owns what counts as a name; must not know protocols.
use super::super::network;
use super::super::{Refused, add_once};
use super::{add, address};
use atio_formats::finding::Dns;
use atio_schemas::Detection;
use atio_stix::object::DomainName;
use atio_stix::{Bundle, Id};
use std::borrow::Cow;
use std::net::IpAddr;

/// A domain-name where the text is one; its lower-case form.
pub(super) fn domain(
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
    let id = object.common.id.own();
    add(&object, id, bundle, refs)?;
    Ok(Some(id))
}

/// Whether a name is a host's (RFC 5890), which `domain-name` asks for (§6.4): service labels like `_ldap._tcp` are not.
pub(in super::super) fn is_host(name: &str) -> bool {
    let fits = |label: &str| {
        label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-') && !label.contains('_')
    };
    name.split('.').all(fits)
}

pub(in super::super) fn domain_name(text: &str) -> Option<Cow<'_, str>> {
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
pub(super) fn dns(
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
    let id = object.common.id.own();
    answers.retain(|answer| *answer != id);
    object.resolves_to_refs = answers;
    add(&object, id, bundle, refs)
}

/// The longest domain name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(domain_name("WWW.Example.ORG.").as_deref(), Some("www.example.org"));
        assert_eq!(domain_name("example.org:8080").as_deref(), Some("example.org"));
        assert_eq!(domain_name("_ldap._tcp.example.org").as_deref(), Some("_ldap._tcp.example.org"));
        for bad in ["", ".", "10.0.0.1", "::1", "a..b", "a b", "a/b", &"a".repeat(300)] {
            assert_eq!(domain_name(bad), None, "{bad}");
        }
    }
}
