//! CPE names as scanners print them, as STIX wants them: `cpe:/a:…` (2.2, URI binding) to `cpe:2.3:a:…` (formatted string; NIST IR 7695 §6).
use std::fmt::Write as _;

/// A CPE of version 2.3, with the parts that a `software` object names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cpe {
    pub(super) name: String,
    pub(super) vendor: Option<String>,
    pub(super) product: String,
    pub(super) version: Option<String>,
}

/// Null where the text is no CPE, or names no product.
pub(super) fn read(text: &str) -> Option<Cpe> {
    let text = text.trim();
    let parts = match text.strip_prefix("cpe:2.3:") {
        Some(rest) => formatted(rest)?,
        None => uri(text.strip_prefix("cpe:/")?)?,
    };
    let [part, vendor, product, version, ..] = &parts;
    if !matches!(part.as_str(), "a" | "o" | "h") || is_any(product) {
        return None;
    }
    let mut name = "cpe:2.3".to_owned();
    for value in &parts {
        name.push(':');
        name.push_str(value);
    }
    let plain = |value: &String| (!is_any(value)).then(|| value.replace('\\', ""));
    Some(Cpe { name, vendor: plain(vendor), product: product.replace('\\', ""), version: plain(version) })
}

fn is_any(value: &str) -> bool {
    matches!(value, "*" | "-" | "")
}

type Parts = [String; 11];

/// Eleven components between colons that no backslash protects.
fn formatted(rest: &str) -> Option<Parts> {
    let mut parts: Vec<String> = vec![String::new()];
    let mut escaped = false;
    for c in rest.chars() {
        if !c.is_ascii_graphic() {
            return None;
        }
        if c == ':' && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        parts.last_mut()?.push(c);
    }
    if parts.iter().any(String::is_empty) { None } else { parts.try_into().ok() }
}

/// part:vendor:product:version:update:edition:language, percent-encoded; an edition of the form `~a~b~c~d~e` is packed.
fn uri(rest: &str) -> Option<Parts> {
    let mut parts: Parts = std::array::from_fn(|_| "*".to_owned());
    for (index, component) in rest.split(':').enumerate() {
        if index > 6 {
            return None;
        }
        match component.strip_prefix('~').filter(|_| index == 5) {
            Some(packed) => {
                for (place, value) in [5, 7, 8, 9, 10].into_iter().zip(packed.split('~')) {
                    parts[place] = escape(value)?;
                }
            }
            None => parts[index] = escape(component)?,
        }
    }
    Some(parts)
}

/// Decodes a component and escapes what a formatted string must have escaped.
fn escape(component: &str) -> Option<String> {
    if component.is_empty() {
        return Some("*".to_owned());
    }
    if component == "-" {
        return Some("-".to_owned());
    }
    let mut out = String::with_capacity(component.len());
    let mut chars = component.chars();
    while let Some(c) = chars.next() {
        let c = if c == '%' {
            let hex: String = chars.by_ref().take(2).collect();
            match u8::from_str_radix(&hex, 16).ok()? {
                1 => '?',
                2 => '*',
                byte => {
                    let decoded = char::from(byte);
                    if !decoded.is_ascii_graphic() {
                        return None;
                    }
                    decoded
                }
            }
        } else {
            c.to_ascii_lowercase()
        };
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' | '-' => out.push(c),
            c if c.is_ascii_graphic() => write!(out, "\\{c}").ok()?,
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_uris() {
        let cpe = read("cpe:/a:apache:http_server:2.4.7").unwrap();
        assert_eq!(cpe.name, "cpe:2.3:a:apache:http_server:2.4.7:*:*:*:*:*:*:*");
        assert_eq!(
            (cpe.vendor.as_deref(), cpe.product.as_str(), cpe.version.as_deref()),
            (Some("apache"), "http_server", Some("2.4.7"))
        );
        assert_eq!(read("cpe:/o:linux:kernel").unwrap().name, "cpe:2.3:o:linux:kernel:*:*:*:*:*:*:*:*");
        assert_eq!(
            read("cpe:/a:a:b%2b%2b:1:-:~~pro~~x86~").unwrap().name,
            "cpe:2.3:a:a:b\\+\\+:1:-:*:*:pro:*:x86:*"
        );
        assert_eq!(read("cpe:/a:a:b%2b%2b").unwrap().product, "b++");
    }

    #[test]
    fn formatted_strings_stay() {
        let text = "cpe:2.3:a:a\\:b:c:1:*:*:*:*:*:*:*";
        assert_eq!(read(text).unwrap().name, text);
        for bad in [
            "",
            "cpe:/",
            "cpe:/a",
            "cpe:/x:a:b",
            "cpe:2.3:a:b",
            "cpe:/a:v:p:1:2:3:4:5",
            "cpe:/a:v:p%zz",
            "nothing",
            "cpe:/a:v:p é",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
