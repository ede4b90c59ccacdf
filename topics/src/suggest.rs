//! "Did you mean": the nearest of the names that would have been right.

/// `did you mean \`x\`?`, else the list of what is possible.
pub(crate) fn help<S: AsRef<str>>(word: &str, possible: &[S]) -> Option<String> {
    if let Some(near) = nearest(word, possible) {
        return Some(format!("did you mean `{near}`?"));
    }
    let names: Vec<&str> = possible.iter().map(AsRef::as_ref).collect();
    (!names.is_empty()).then(|| format!("possible here: {}", names.join(", ")))
}

fn nearest<'a, S: AsRef<str>>(word: &str, possible: &'a [S]) -> Option<&'a str> {
    let word = lower(word);
    let far_enough = |distance: usize| distance * 3 <= word.len().max(3);
    possible
        .iter()
        .map(|p| (distance(&word, &lower(p.as_ref())), p.as_ref()))
        .filter(|(d, _)| far_enough(*d))
        .min()
        .map(|(_, p)| p)
}

fn lower(word: &str) -> Vec<char> {
    word.chars().take(64).flat_map(char::to_lowercase).collect()
}

/// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut rows = vec![0_usize; (a.len() + 1) * width];
    let at = |i: usize, j: usize| i * width + j;
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[at(i, j)] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let mut best =
                    (rows[at(i - 1, j)] + 1).min(rows[at(i, j - 1)] + 1).min(rows[at(i - 1, j - 1)] + change);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[at(i - 2, j - 2)] + 1);
                }
                best
            };
        }
    }
    rows[at(a.len(), b.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_named_and_far_ones_listed() {
        assert_eq!(help("formt", &["format", "from"]).unwrap(), "did you mean `format`?");
        assert_eq!(help("form", &["from", "format"]).unwrap(), "did you mean `from`?");
        assert_eq!(help("zzz", &["format", "from"]).unwrap(), "possible here: format, from");
        assert_eq!(help::<&str>("zzz", &[]), None);
    }
}
