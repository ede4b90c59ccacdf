//! What must stand in a text so that a condition can hold: the texts that one expression of many asks for are looked for all at once.
//! Owns which they are, and looking for them. Must not know: columns, triggers.
use super::predicate::Test;
use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex_syntax::hir::{
    Hir, HirKind,
    literal::{ExtractKind, Extractor},
};
use std::{borrow::Cow, collections::HashMap};

/// Shorter ones stand nearly everywhere.
const SHORTEST: usize = 3;
/// Of one expression at most.
const MOST: usize = 64;
/// What is longer is not worth more.
const LONG_ENOUGH: usize = 16;
/// So many finds are kept before those of the same text are put together.
const FINDS: usize = 1024;

/// Lower case (ASCII); one of them stands in whatever fulfils the condition, upper and lower case aside.
pub(crate) type Literals = Vec<Box<[u8]>>;

/// Of a condition on a text; None where nothing of use must stand there.
pub(super) fn of(test: &Test) -> Option<Cow<'_, [Box<[u8]>]>> {
    match test {
        Test::Suffixes(texts) | Test::Parts(texts) => {
            good(texts.iter().map(|text| text.as_bytes().to_ascii_lowercase().into()).collect())
                .map(Cow::Owned)
        }
        Test::Regex(pattern) => pattern.literals().map(Cow::Borrowed),
        _ => None,
    }
}

/// Of a regular expression, as `regex` reads it by default.
pub(super) fn of_regex(expression: &str) -> Option<Literals> {
    required(&regex_syntax::parse(expression).ok()?)
}

/// The best that is found: in whatever the expression as a whole fits, the parts of it fit somewhere.
fn required(hir: &Hir) -> Option<Literals> {
    match hir.kind() {
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Concat(parts) => {
            let plain = |part: &Hir| {
                matches!(part.kind(), HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_))
            };
            let runs = parts.chunk_by(|a, b| plain(a) == plain(b));
            let of_run = |run: &[Hir]| {
                if run.iter().all(plain) {
                    starts(&Hir::concat(run.to_vec()))
                } else {
                    run.iter().filter_map(required).max_by_key(worth)
                }
            };
            runs.filter_map(of_run).max_by_key(worth)
        }
        HirKind::Alternation(ways) => {
            let all: Option<Vec<Literals>> = ways.iter().map(required).collect();
            good(all?.into_iter().flatten().collect())
        }
        HirKind::Literal(_) | HirKind::Class(_) => starts(hir),
        HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// Everything that fits starts with one of these.
fn starts(hir: &Hir) -> Option<Literals> {
    let found = Extractor::new().kind(ExtractKind::Prefix).extract(hir);
    good(found.literals()?.iter().map(|l| l.as_bytes().to_ascii_lowercase().into()).collect())
}

fn good(mut literals: Literals) -> Option<Literals> {
    literals.sort_unstable();
    literals.dedup();
    let fits = (1..=MOST).contains(&literals.len()) && literals.iter().all(|l| l.len() >= SHORTEST);
    fits.then_some(literals)
}

/// Long ones before few ones.
fn worth(literals: &Literals) -> (usize, std::cmp::Reverse<usize>) {
    let shortest = literals.iter().map(|l| l.len()).min().unwrap_or(0);
    (shortest.min(LONG_ENOUGH), std::cmp::Reverse(literals.len()))
}

/// Literals, and whatever stands for each.
#[derive(Debug, Default)]
pub(super) struct Search {
    by_literal: HashMap<Box<[u8]>, Vec<usize>>,
    built: Option<(AhoCorasick, Vec<Vec<usize>>)>,
}

impl Search {
    pub(super) fn add(&mut self, literals: &[Box<[u8]>], position: usize) {
        for literal in literals {
            self.by_literal.entry(literal.clone()).or_default().push(position);
        }
    }

    /// To be called when all are there. Those that can't be looked for together, because they are too large: to be looked at always.
    #[must_use]
    pub(super) fn build(&mut self) -> Vec<usize> {
        if self.by_literal.is_empty() {
            return vec![];
        }
        let (literals, positions): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.by_literal).into_iter().unzip();
        let mut builder = AhoCorasick::builder();
        builder.ascii_case_insensitive(true).kind(Some(AhoCorasickKind::ContiguousNFA));
        match builder.build(literals) {
            Ok(search) => {
                self.built = Some((search, positions));
                vec![]
            }
            Err(_) => positions.into_iter().flatten().collect(),
        }
    }

    /// Adds whatever stands for a literal that is in the text.
    pub(super) fn look_up(&self, text: impl AsRef<[u8]>, found: &mut Vec<usize>) {
        let Some((search, positions)) = &self.built else { return };
        let mut finds = vec![];
        for one in search.find_overlapping_iter(text.as_ref()) {
            finds.push(one.pattern().as_usize());
            if finds.len() % FINDS == 0 {
                once(&mut finds);
            }
        }
        once(&mut finds);
        found.extend(finds.into_iter().filter_map(|pattern| positions.get(pattern)).flatten());
    }

    /// How many stand for the fullest one.
    #[cfg(test)]
    pub(super) fn fullest(&self) -> usize {
        self.built.iter().flat_map(|(_, positions)| positions).map(Vec::len).max().unwrap_or(0)
    }
}

fn once(finds: &mut Vec<usize>) {
    finds.sort_unstable();
    finds.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn literals(expression: &str) -> Vec<String> {
        let found = of_regex(expression).unwrap_or_default();
        found.iter().map(|l| String::from_utf8_lossy(l).into_owned()).collect()
    }

    #[test]
    fn the_longest_that_must_stand_there() {
        assert_eq!(literals("mimikatz"), ["mimikatz"]);
        let any_case = literals(r"(?i)\bmimikatz\b");
        assert!(!any_case.is_empty());
        // The Kelvin sign is a k.
        assert!(any_case.iter().all(|l| "mimikatz".starts_with(&l.replace("\u{212a}", "k"))), "{any_case:?}");
        assert!("mimikatz".starts_with(&literals(r"(?i).*\bmimikatz\b")[0]));
        assert_eq!(literals(r"^cmd\s+/c\s+powershell"), ["powershell"]);
        assert_eq!(literals("(?:wget|curl) .*ftp"), ["curl", "wget"]);
        assert_eq!(literals("(rundll32)+,.*"), ["rundll32"]);
        for nothing in ["", ".*", "a|powershell", "(?:powershell)?", "[a-z]+", "ab", r"\d{4}"] {
            assert!(literals(nothing).is_empty(), "{nothing}: {:?}", literals(nothing));
        }
    }

    #[test]
    fn a_text_of_finds_alone_is_no_burden() {
        let mut search = Search::default();
        search.add(&[b"aaa"[..].into(), b"aaaa"[..].into()], 7);
        assert!(search.build().is_empty());
        let mut found = vec![];
        search.look_up("A".repeat(100_000), &mut found);
        assert_eq!(found, [7, 7]);
    }

    proptest! {
        /// Where an expression finds something, one of its literals stands there.
        #[test]
        fn nothing_is_missed(
            expression in r"(\(\?i\))?([a-cA-C]{1,4}|\.\*|\\b|\[a-c\]|[abk]\+|\([a-c]{3,5}\|[ab]{3}\)){1,5}",
            texts in proptest::collection::vec("[a-cA-CkK\u{212a}]{0,12}", 1..20),
        ) {
            let Ok(regex) = regex::Regex::new(&expression) else { return Ok(()) };
            let Some(literals) = of_regex(&expression) else { return Ok(()) };
            let mut search = Search::default();
            search.add(&literals, 1);
            prop_assert!(search.build().is_empty());
            for text in texts.iter().filter(|text| regex.is_match(text)) {
                let mut found = vec![];
                search.look_up(text, &mut found);
                prop_assert!(!found.is_empty(), "{expression} finds something in {text}");
            }
        }
    }
}
