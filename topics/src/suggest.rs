//! "Did you mean": the nearest of the names that would have been right. Must not know: what the names are of.

/// ``did you mean `x`?``, else the list of what is possible; None where nothing is.
pub fn help<S: AsRef<str>>(word: &str, possible: impl IntoIterator<Item = S>) -> Option<String> {
    let possible: Vec<S> = possible.into_iter().collect();
    let names: Vec<&str> = possible.iter().map(AsRef::as_ref).collect();
    if let Some(near) = nearest(word, names.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    (!names.is_empty()).then(|| format!("possible here: {}", names.join(", ")))
}

/// The nearest of the possible names, where it is near enough to be meant.
pub fn nearest<'n>(word: &str, possible: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let word = lower(word);
    let all = possible.into_iter().map(|name| (strsim::osa_distance(&word, &lower(name)), name));
    let (distance, name) = all.min()?;
    (distance * 3 <= word.chars().count().max(3)).then_some(name)
}

/// As much of it as is compared.
fn lower(word: &str) -> String {
    word.chars().take(64).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_named_and_far_ones_listed() {
        assert_eq!(help("formt", ["format", "from"]).unwrap(), "did you mean `format`?");
        assert_eq!(help("form", ["from", "format"]).unwrap(), "did you mean `from`?");
        assert_eq!(help("zzz", ["format", "from"]).unwrap(), "possible here: format, from");
        assert_eq!(help::<&str>("zzz", []), None);
    }
}
