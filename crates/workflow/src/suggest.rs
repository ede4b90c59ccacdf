//! What to write instead of a name that is none: as declarations suggest it, and columns.
use atio_schemas::column::COLUMNS;
pub(crate) use atio_topics::suggest::help;
pub(crate) use atio_topics::suggest::nearest as near;
use atio_topics::suggest::nearest;

/// For the name of a column: there are too many to list.
pub(crate) fn column(word: &str) -> String {
    nearest(word, COLUMNS.iter().map(|c| c.name)).map_or_else(
        || "a column as `atio normalize --to detection` prints it: `kind`, `src.ip`, `rule.id` …".to_owned(),
        |near| format!("did you mean `{near}`?"),
    )
}
