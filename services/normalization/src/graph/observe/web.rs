//! HTTP requests and urls. Owns RFC 3986's alphabet; must not know the rest of the event.
use super::super::{Refused, add_once};
use super::add;
use super::names::domain;
use atio_formats::finding::Http;
use atio_schemas::Detection;
use atio_stix::object::{HttpRequest, Url};
use atio_stix::{Bundle, Id};
use std::borrow::Cow;
use std::net::IpAddr;

/// The extension needs method and value (§6.12.2); without both there is none.
pub(super) fn request<'n>(http: &'n Http<'_>) -> Option<HttpRequest<'n>> {
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

pub(super) fn web(
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
    let id = object.common.id.own();
    add(&object, id, bundle, refs)
}

/// As RFC 3986 writes it, which `url` demands (§6.15): what it does not allow is percent-encoded.
fn encoded(url: &str) -> Cow<'_, str> {
    if url.bytes().all(|byte| PLAIN[usize::from(byte)]) {
        return Cow::Borrowed(url);
    }
    let bytes = url.as_bytes();
    let path = url.find("://").and_then(|at| url[at + 3..].find(['/', '?', '#']).map(|end| at + 3 + end));
    let allowed = |at: usize, byte: u8| match byte {
        b'#' => !bytes[..at].contains(&b'#'),
        b'[' | b']' => path.is_none_or(|start| at < start),
        b'%' => {
            matches!(bytes.get(at + 1..at + 3), Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
        }
        byte => PLAIN[usize::from(byte)],
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

/// Bytes that may stand anywhere in a url: unreserved ones and the delimiters of path and query (RFC 3986 §2, §3).
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let marks = b"-._~!$&'()*+,;=:@/?";
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        table[at] = byte.is_ascii_alphanumeric();
        at += 1;
    }
    at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};

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
pub(super) fn is_plain(text: &str) -> bool {
    let ascii = text.bytes().all(|b| b.is_ascii_graphic());
    ascii || !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

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
