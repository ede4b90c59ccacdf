//! `*` and `?` in a file's name. Pure.

/// A pattern of one part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(String);

impl Glob {
    #[must_use]
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
    #[must_use]
    pub(crate) fn is_glob(text: &str) -> bool {
        text.contains(['*', '?'])
    }
    /// The name itself, where nothing in it stands for something else.
    #[must_use]
    pub(crate) fn literal(&self) -> Option<&str> {
        (!Self::is_glob(&self.0)).then_some(&self.0)
    }
    /// `*` = any text, `?` = one character. A hidden file only where the pattern starts with a dot.
    #[must_use]
    pub(crate) fn matches(&self, name: &str) -> bool {
        if name.starts_with('.') && !self.0.starts_with('.') {
            return false;
        }
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut p, mut n) = (0, 0);
        // Where the last `*` was, and the name's place that it has swallowed up to.
        let mut star = None;
        while n < name.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(c) if *c == '?' || Some(c) == name.get(n) => {
                    p += 1;
                    n += 1;
                }
                _ => match star {
                    Some((at, from)) => {
                        star = Some((at, from + 1));
                        p = at + 1;
                        n = from + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn stars_and_questions() {
        let is = |pattern: &str, name: &str| Glob::new(pattern).matches(name);
        assert!(
            is("*", "a")
                && is("*.json", "eve.json")
                && is("e?e*.json*", "eve.x.json.1")
                && is("a*b*c", "aXbYbZc")
        );
        assert!(!is("*", ".hidden") && !is("*.json", "eve.jsonl") && !is("?", "") && !is("a*b", "a"));
        assert!(is(".*", ".hidden") && is("é?", "éü"));
        assert_eq!(Glob::new("eve.json").literal(), Some("eve.json"));
    }
}
