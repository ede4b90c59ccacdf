//! `atio workflow diff`: two versions of a workflow, line by line. Owns which two; must not know how definitions are read.
use crate::{
    exit::Failure,
    render::{self, Format},
};
use atio_schemas::definition::Definition;
use std::collections::{BTreeMap, BTreeSet};

/// Without versions: the one in force and the one before it; with one: that and the one in force.
pub(super) fn show(
    all: &BTreeMap<String, Definition>,
    name: &str,
    versions: &[i64],
    format: Format,
) -> anyhow::Result<()> {
    let known: BTreeSet<i64> =
        all.values().filter(|d| !d.pointer && d.name == name).map(|d| d.version).collect();
    let Some(newest) = known.last().copied() else {
        return Err(Failure::usage(format!(
            "no workflow `{name}` was ever in force; `atio workflow ls` lists them"
        )));
    };
    let in_force = all.get(name).filter(|d| d.pointer).map_or(newest, |d| d.version);
    let (from, to) = match versions {
        [from, to, ..] => (*from, *to),
        [from] => (*from, in_force),
        [] => (known.range(..in_force).next_back().copied().unwrap_or(in_force), in_force),
    };
    let text = |version: i64| {
        all.get(&format!("{name}@{version}"))
            .filter(|d| !d.pointer)
            .map(|d| d.definition.as_str())
            .ok_or_else(|| {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                Failure::usage(format!(
                    "no version {version} of workflow `{name}`; there are {}",
                    known.join(", ")
                ))
            })
    };
    let (before, after) = (text(from)?, text(to)?);
    if format == Format::Json {
        return render::json(&serde_json::json!({
            "name": name, "from": from, "to": to, "before": before, "after": after, "diff": unified(name, (from, before), (to, after)),
        }));
    }
    if before == after {
        render::notice(&format!("{name}@{from} and {name}@{to} are the same"));
        return Ok(());
    }
    render::line(unified(name, (from, before), (to, after)).trim_end())
}

fn unified(name: &str, (from, before): (i64, &str), (to, after): (i64, &str)) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    let (a, b) = (format!("{name}@{from}"), format!("{name}@{to}"));
    diff.unified_diff().context_radius(3).header(&a, &b).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_are_marked() {
        let text = unified("w", (1, "a\nb\nc\n"), (2, "a\nB\nc\n"));
        assert_eq!(text, "--- w@1\n+++ w@2\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
    }
}
