//! "Did you mean": the nearest of the names that would have been right.
use atio_schemas::column::COLUMNS;

/// `did you mean \`x\`?`, else the list of what is possible.
pub(crate) fn help<'n>(word: &str, possible: impl IntoIterator<Item = &'n str>) -> Option<String> {
    let possible: Vec<&str> = possible.into_iter().collect();
    if let Some(near) = nearest(word, &possible) {
        return Some(format!("did you mean `{near}`?"));
    }
    (!possible.is_empty()).then(|| format!("possible here: {}", possible.join(", ")))
}

/// For the name of a column: there are too many to list.
pub(crate) fn column(word: &str) -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|c| c.name).collect();
    nearest(word, &names).map_or_else(
        || "a column as `atio normalize --to detection` prints it: `kind`, `src.ip`, `rule.id` …".to_owned(),
        |near| format!("did you mean `{near}`?"),
    )
}

fn nearest<'n>(word: &str, possible: &[&'n str]) -> Option<&'n str> {
    let word: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let far = |p: &str| distance(&word, &p.chars().collect::<Vec<_>>());
    let best = possible.iter().map(|p| (far(p), *p)).min()?;
    (best.0 * 3 <= word.len().max(3)).then_some(best.1)
}

/// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut rows = vec![0_usize; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let drop = rows[(i - 1) * width + j] + 1;
                let add = rows[i * width + j - 1] + 1;
                let mut best = drop.min(add).min(rows[(i - 1) * width + j - 1] + change);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[(i - 2) * width + j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len() * width + b.len()]
}
