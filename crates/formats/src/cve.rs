//! CVE ids out of tools' texts. Owns the spelling: upper case, `CVE-year-number`; distinct, in order.
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Made once, since making a searcher costs more than searching a rule's name.
static SPELLINGS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| ["CVE", "cve", "Cve"].map(Finder::new));

/// Adds every CVE id in `text`: `CVE-2017-5638`, `CVE_2017_5638`, `cve,2017-5638`, `cve:2017-5638`.
pub(crate) fn find(text: &str, out: &mut Vec<String>) {
    let bytes = text.as_bytes();
    for at in SPELLINGS.iter().flat_map(|spelling| spelling.find_iter(bytes)) {
        let rest = &bytes[at + 3..];
        if rest.first().is_some_and(|byte| matches!(byte, b'-' | b'_' | b',' | b':' | b' ')) {
            keep(&rest[1..], out);
        }
    }
}

/// Adds the ids of a field that holds nothing else: also `2017-5638` and `2017_5638` without the prefix.
pub(crate) fn find_in_field(text: &str, out: &mut Vec<String>) {
    let before = out.len();
    find(text, out);
    if out.len() == before {
        for word in text.split([' ', ',', ';']) {
            keep(word.as_bytes(), out);
        }
    }
}

/// `2017-5638…` at the start of `rest`.
fn keep(rest: &[u8], out: &mut Vec<String>) {
    let digits = |b: &[u8]| b.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits(rest) != 4 || !matches!(rest.get(4), Some(b'-' | b'_')) {
        return;
    }
    let number = &rest[5..];
    let length = digits(number);
    if !(1..=19).contains(&length) || !matches!(rest[0], b'1' | b'2') {
        return;
    }
    let mut id = String::with_capacity(9 + length);
    id.push_str("CVE-");
    id.push_str(str::from_utf8(&rest[..4]).unwrap_or_default());
    id.push('-');
    id.push_str(str::from_utf8(&number[..length]).unwrap_or_default());
    if out.len() < crate::limits::LIST && !out.contains(&id) {
        out.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let mut out = Vec::new();
        find(
            "ET WEB CVE-2017-5638 (CVE_2021_44228, cve,2014-0160;) CVE-20, CVE-2017-5638, NOCVE, cve-abcd",
            &mut out,
        );
        assert_eq!(out, ["CVE-2017-5638", "CVE-2021-44228", "CVE-2014-0160"]);
        let mut out = Vec::new();
        find_in_field("2017_5638 2020-1234", &mut out);
        assert_eq!(out, ["CVE-2017-5638", "CVE-2020-1234"]);
    }
}
