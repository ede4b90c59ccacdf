//! Secrets that stand in a definition in clear: definitions are stored, shown and audited. Owns what a secret looks like: only forms that
//! nothing else has. Must not know: fields. No message quotes what it found.
use crate::yaml::{Node, Value};
use atio_topics::{Place, Problem};
use regex::RegexSet;
use std::sync::LazyLock;

/// What it is, and its form.
const FORMS: &[(&str, &str)] = &[
    ("a private key", r"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----"),
    ("an age secret key", r"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    ("an AWS access key", r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    ("a GitHub token", r"\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"),
    ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("a Google API key", r"\bAIza[A-Za-z0-9_-]{35}"),
    ("a Slack token", r"\bxox[abeprs]-[A-Za-z0-9-]{10,}"),
    ("a JSON Web Token", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    ("an authorization header", r"(?i)\b(bearer|basic) [a-z0-9+/_.~-]{24,}={0,2}"),
];

static SET: LazyLock<Option<RegexSet>> =
    LazyLock::new(|| RegexSet::new(FORMS.iter().map(|(_, form)| *form)).ok());

/// A problem for each place where one stands.
pub(crate) fn in_clear(root: &Node) -> Vec<Problem> {
    let mut problems = vec![];
    walk(root, &mut problems);
    problems
}

fn walk(node: &Node, problems: &mut Vec<Problem>) {
    match &node.value {
        Value::Null => {}
        Value::Scalar(scalar) => look(&scalar.text, &node.place, problems),
        Value::List(items) => items.iter().for_each(|item| walk(item, problems)),
        Value::Map(entries) => {
            for (key, value) in entries {
                look(&key.text, &key.place, problems);
                walk(value, problems);
            }
        }
    }
}

fn look(text: &str, place: &Place, problems: &mut Vec<Problem>) {
    let found = SET.as_ref().and_then(|set| set.matches(text).iter().next());
    let Some((what, _)) = found.and_then(|at| FORMS.get(at)) else { return };
    let help = "withdraw it, and keep the new one where the sink's `auth` refers to it: `{env: NAME}` or `{file: PATH}`";
    let message = format!("{what} in clear: definitions are stored, shown and audited");
    problems.push(Problem::new(place, message).help(Some(help.to_owned())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_found_and_nothing_else() {
        assert!(SET.is_some(), "the forms are regular expressions");
        let found =
            |text: &str| SET.as_ref().unwrap().matches(text).iter().map(|i| FORMS[i].0).collect::<Vec<_>>();
        // In halves, so that no scanner takes this file for a leak.
        for (what, halves) in [
            ("a private key", ["-----BEGIN RSA PRIV", "ATE KEY-----"]),
            ("an age secret key", ["AGE-SECRET-", "KEY-1QQQQQQQQQQQQQQQQQQQQQQQQ"]),
            ("an AWS access key", ["AKIA", "IOSFODNN7EXAMPLE"]),
            ("a GitHub token", ["token=ghp", "_0123456789abcdefghijABCDEFGHIJ012345"]),
            ("a GitLab token", ["glpat", "-0123456789abcdefghij"]),
            ("a Google API key", ["AIza", "SyA1234567890abcdefghijklmnopqrstuv"]),
            ("a Slack token", ["xox", "b-1234567890-abcdef"]),
            ("a JSON Web Token", ["eyJhbGciOiJIUzI1NiJ9.eyJ", "zdWIiOiIxMjM0In0.c2lnbmF0dXJl"]),
            ("an authorization header", ["Authorization: Bea", "rer 0123456789abcdef01234567"]),
        ] {
            assert_eq!(found(&halves.concat()), [what]);
        }
        for text in [
            "basic authentication failed",
            "Bearer token",
            "CVE-2021-44228",
            "AKIA",
            "eyJ",
            "ghp_short",
            "deploy key",
        ] {
            assert_eq!(found(text), Vec::<&str>::new(), "{text}");
        }
    }
}
