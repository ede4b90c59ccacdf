//! `atio workflow changes`, `history`: what happened to workflows, as `workflow-changes` has it. Owns the table; changes nothing.
use crate::{
    commands::look::Look,
    exit::Failure,
    render::{self, Format},
};
use atio_schemas::{
    command::ObjectKind,
    definition::{Change, ChangeType},
};

/// Every change of one workflow, or of everything, oldest first.
pub(super) fn show(look: &Look, name: Option<&str>, format: Format) -> anyhow::Result<()> {
    let topic = format!("{}workflow-changes", look.config.prefix);
    let (mut changes, mut bad) = (vec![], 0_u64);
    let wanted = |c: &Change| name.is_none_or(|n| c.kind == ObjectKind::Workflow && c.name == n);
    look.scan(&topic, |entry| match look.decoder.decode::<Change>(&entry.value.unwrap_or_default()) {
        Ok(change) if wanted(&change) => changes.push(change),
        Ok(_) => {}
        Err(_) => bad += 1,
    })?;
    if bad > 0 {
        render::notice(&format!("{bad} records of {topic} can't be read and are left out"));
    }
    changes.sort_by_key(|c| c.at);
    if format == Format::Json {
        return changes.iter().try_for_each(render::json);
    }
    match name {
        Some(name) if changes.is_empty() => Err(Failure::usage(format!(
            "nothing ever changed a workflow `{name}`; `atio workflow ls` lists them"
        ))),
        Some(_) => {
            let rows: Vec<Vec<String>> = changes.iter().map(cells).collect();
            render::table(&["AT", "CHANGE", "FROM", "TO", "BY", "WHY"], &rows)
        }
        None => {
            let row = |c: &Change| {
                let mut row = cells(c);
                row.insert(
                    1,
                    if c.kind == ObjectKind::Workflow {
                        c.name.clone()
                    } else {
                        format!("{}/{}", c.kind, c.name)
                    },
                );
                row
            };
            let rows: Vec<Vec<String>> = changes.iter().map(row).collect();
            render::table(&["AT", "NAME", "CHANGE", "FROM", "TO", "BY", "WHY"], &rows)
        }
    }
}

fn cells(c: &Change) -> Vec<String> {
    let version = |v: Option<i64>| v.map_or_else(|| "-".to_owned(), |v| v.to_string());
    let reason = c.reason.as_deref().unwrap_or_default();
    let why = match (&c.refused_code, &c.refused_message, &c.finding) {
        (Some(code), message, _) => format!("{code}: {}", message.as_deref().unwrap_or_default()),
        (_, _, Some(finding)) => format!("{finding}: {reason}"),
        _ => reason.to_owned(),
    };
    let kind = match c.change_type {
        ChangeType::Creation => "created",
        ChangeType::Modification => "modified",
        ChangeType::Deletion => "deleted",
        ChangeType::Refusal => "refused",
        ChangeType::Restoration => "restored",
        ChangeType::Tampering => "TAMPERING",
        ChangeType::Run => "run",
    };
    vec![
        c.at.rfc3339_millis(),
        kind.to_owned(),
        version(c.before_version),
        version(c.after_version),
        c.actor.clone(),
        why.replace('\n', "; "),
    ]
}
