//! `atio workflow pause`, `resume`, `delete`, `restore`: commands to monitoring. Owns what is asked for, as the audit log says what was; what comes of it is monitoring's.
use super::definitions;
use crate::{
    commands::{
        block_on,
        look::{self, Look},
    },
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
    system::{self, PATIENCE, applied, wanted::unreachable, workflows},
};
use anyhow::Context;
use atio_monitoring::{
    compare::trusted,
    object_key,
    written::{Details, digest, hex},
};
use atio_runtime::clock;
use atio_schemas::{
    audit::AuditEntry,
    command::{Action, Command, ObjectKind},
    definition::{Change, ChangeType, Definition},
};
use atio_stream::admin::Admin;
use std::collections::BTreeMap;

/// Who asks, and why.
#[derive(Clone, Debug, clap::Args)]
pub struct Ask {
    name: String,
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who asks
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
    /// For people, or one JSON object: the change
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Ask {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
    pub(super) fn format(&self) -> Format {
        self.format
    }
}

/// What the audit log has of a workflow: only what monitoring wrote there.
#[derive(Debug, Default, PartialEq)]
struct Past {
    in_force: Option<i64>,
    /// Text and hash by version, as far as entries have them.
    versions: BTreeMap<i64, (Option<String>, Option<String>)>,
}

/// The same, and what lies on `workflows`.
struct Known {
    past: Past,
    pointer: Option<i64>,
    /// Texts by version.
    lying: BTreeMap<i64, String>,
}

pub(super) fn restore(target: &Target, ask: &Ask, version: Option<i64>) -> anyhow::Result<Exit> {
    let known = known(target, &ask.name)?;
    let (version, text) = known.wanted(&ask.name, version)?;
    if known.is_untouched(version, &text) {
        let message =
            format!("workflow {}@{version} is in force and as it was written: nothing to restore", ask.name);
        return Err(Failure::with(Exit::Refused, message));
    }
    let command = command(
        ask,
        Action::Restore,
        known.past.in_force,
        Some(text),
        &format!("version {version} restored"),
    )?;
    let change = carried_out(target, command)?;
    told(&change, ask.format, &format!("restored from version {version}"))
}

pub(super) fn delete(target: &Target, ask: &Ask) -> anyhow::Result<Exit> {
    let known = known(target, &ask.name)?;
    let (action, done, reason) = match (known.past.in_force, known.pointer) {
        (Some(_), _) => (Action::Delete, "deleted", "deleted"),
        // Nobody asked for it: its pointer is taken away again.
        (None, Some(_)) => (Action::Restore, "was put there behind ATIO's back; taken away", "taken away"),
        (None, None) => return Err(stranger(&ask.name)),
    };
    let command = command(ask, action, known.past.in_force, None, reason)?;
    let change = carried_out(target, command)?;
    told(&change, ask.format, done)
}

/// True: its branches stop. False: they go on.
pub(super) fn pause(target: &Target, ask: &Ask, paused: bool) -> anyhow::Result<Exit> {
    let name = ask.name.clone();
    let all = look::find(target, definitions)?.context("stopped")?;
    let Some(pointer) = all.get(&name).filter(|d| d.pointer) else { return Err(stranger(&name)) };
    let (action, reason, done) = if paused {
        (Action::Pause, "paused", "paused; what comes for it waits on its topic until `atio workflow resume`")
    } else {
        (Action::Resume, "resumed", "resumed; its branches go on from where they were")
    };
    let command = command(ask, action, Some(pointer.version), None, reason)?;
    let change = carried_out(target, command)?;
    told(&change, ask.format, done)
}

/// Out of the pool.
pub(super) fn promote(target: &Target, ask: &Ask) -> anyhow::Result<Exit> {
    let name = ask.name.clone();
    let all = look::find(target, definitions)?.context("stopped")?;
    let Some(pointer) = all.get(&name).filter(|d| d.pointer) else { return Err(stranger(&name)) };
    let command = command(ask, Action::Promote, Some(pointer.version), None, "promoted")?;
    let change = carried_out(target, command)?;
    told(&change, ask.format, "promoted; its branches have groups of their own from now on")
}

pub(super) fn stranger(name: &str) -> anyhow::Error {
    Failure::usage(format!("no workflow `{name}` is in force; `atio workflow ls` lists them"))
}

fn known(target: &Target, name: &str) -> anyhow::Result<Known> {
    let name = name.to_owned();
    look::find(target, move |look| read(look, &name))?.context("stopped")
}

fn read(look: &Look, name: &str) -> anyhow::Result<Known> {
    // Heads before entries: what they vouch for is there.
    let heads = look.heads()?;
    let mut entries = vec![];
    look.scan(&format!("{}audit", look.config.prefix), |record| {
        let value = record.value.unwrap_or_default();
        entries.extend(look.decoder.decode::<AuditEntry>(&value).ok());
    })?;
    let past =
        past(&object_key(ObjectKind::Workflow, name), trusted(entries, &heads).into_values().flatten());
    let all = lying(look)?;
    let versions = all.values().filter(|d| !d.pointer && d.name == name);
    Ok(Known {
        past,
        pointer: all.get(name).filter(|d| d.pointer).map(|d| d.version),
        lying: versions.map(|d| (d.version, d.definition.clone())).collect(),
    })
}

/// What was put there behind ATIO's back may not even read.
fn lying(look: &Look) -> anyhow::Result<BTreeMap<String, Definition>> {
    match definitions(look) {
        Err(error) if error.downcast_ref::<Failure>().is_none() => {
            render::notice(&format!("{error:#}; taken for tampered with"));
            Ok(BTreeMap::new())
        }
        other => other,
    }
}

fn past(object: &str, entries: impl Iterator<Item = AuditEntry>) -> Past {
    let mut past = Past::default();
    for entry in entries.filter(|e| e.object == object) {
        let Some(details) = Details::read(&entry) else { continue };
        let Some(change) = details.change_type() else { continue };
        let version = match change {
            ChangeType::Refusal | ChangeType::Tampering => continue,
            ChangeType::Deletion => details.before_version,
            _ => details.after_version,
        };
        past.in_force = details.after_version;
        let Some(version) = version else { continue };
        let kept = past.versions.entry(version).or_default();
        kept.0 = details.definition.or(kept.0.take());
        // A pause says nothing of the text.
        if details.before_version != Some(version) {
            kept.1 = details.sha256.or(kept.1.take());
        }
    }
    past
}

impl Known {
    /// The version that is to come back, and its text: the one in force, else the last there was.
    fn wanted(&self, name: &str, version: Option<i64>) -> anyhow::Result<(i64, String)> {
        let versions = &self.past.versions;
        let last = self.past.in_force.or_else(|| versions.keys().max().copied());
        let Some(last) = last else {
            return Err(Failure::usage(format!(
                "the audit log knows no workflow `{name}`: nothing to restore"
            )));
        };
        let version = version.unwrap_or(last);
        let Some((text, hash)) = versions.get(&version) else {
            let there: Vec<String> = versions.keys().map(ToString::to_string).collect();
            let message =
                format!("the audit log knows no version {version} of `{name}`; it has {}", there.join(", "));
            return Err(Failure::usage(message));
        };
        // An entry of an older version has the hash alone: a text that fits is as good.
        let fits = |text: &&String| hash.as_deref() == Some(hex(&digest(text.as_bytes())).as_str());
        text.clone().or_else(|| self.lying.get(&version).filter(fits).cloned()).map(|text| (version, text)).ok_or_else(|| {
            Failure::with(Exit::Failed, format!("the text of {name}@{version} is neither in the audit log nor, unaltered, among the definitions"))
        })
    }

    fn is_untouched(&self, version: i64, text: &str) -> bool {
        self.past.in_force == Some(version)
            && self.pointer == Some(version)
            && self.lying.get(&version).is_some_and(|lying| lying == text)
    }
}

pub(super) fn command(
    ask: &Ask,
    action: Action,
    in_force: Option<i64>,
    definition: Option<String>,
    reason: &str,
) -> anyhow::Result<Command> {
    let actor = ask.actor.clone().filter(|a| !a.is_empty());
    Ok(Command {
        command_id: uuid::Uuid::new_v4().to_string(),
        action,
        kind: ObjectKind::Workflow,
        name: ask.name.clone(),
        expected_version: in_force.unwrap_or(0),
        definition,
        actor: actor.ok_or_else(|| Failure::usage("who asks? give --as NAME"))?,
        reason: Some(ask.reason.clone().unwrap_or_else(|| reason.to_owned())),
        sent_at: clock::now(),
        own_topic: None,
    })
}

/// Sends the command and waits until the routers have what came of it. Blocks.
pub(super) fn carried_out(target: &Target, mut command: Command) -> anyhow::Result<Change> {
    let config = target.configuration(serde_json::json!({}))?;
    let kafka = system::kafka(&config, &target.kafka(&config)?);
    if command.action == Action::Restore {
        let admin = Admin::connect(&kafka, "atio-workflow").map_err(unreachable)?;
        let topic = format!("{}workflow.{}", config.prefix, command.name);
        command.own_topic = Some(admin.topics().map_err(unreachable)?.contains_key(&topic));
        admin.retire();
    }
    let (codec, _ids) = block_on(system::codec(&target.registry(&config)?))?;
    let change =
        workflows::send(&kafka, &config, &codec, vec![command], PATIENCE)?.pop().context("no answer")?;
    if let Some(code) = &change.refused_code {
        let message = change.refused_message.as_deref().unwrap_or_default();
        return Err(Failure::with(Exit::Refused, format!("workflow {}: {code}: {message}", change.name)));
    }
    if !applied::wait(&kafka, &config, &codec, PATIENCE)? {
        render::notice("no router runs: it takes effect when one does");
    }
    Ok(change)
}

pub(super) fn told(change: &Change, format: Format, done: &str) -> anyhow::Result<Exit> {
    if format == Format::Json {
        render::json(change)?;
    } else {
        let version = change.after_version.map_or_else(String::new, |v| format!("@{v}"));
        render::line(&format!("~ workflow {}{version}: {done}", change.name))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_schemas::Timestamp;

    fn entry(details: serde_json::Value) -> AuditEntry {
        AuditEntry {
            chain: "commands-0".into(),
            sequence: 1,
            previous: String::new(),
            intent_id: "1".into(),
            actor: "a".into(),
            action: "apply".into(),
            object: "workflow/w".into(),
            details: details.to_string(),
            at: Timestamp(0),
            hash: String::new(),
        }
    }

    fn known(entries: Vec<serde_json::Value>, pointer: Option<i64>, lying: &[(i64, &str)]) -> Known {
        let past = past("workflow/w", entries.into_iter().map(entry));
        Known { past, pointer, lying: lying.iter().map(|(v, t)| (*v, (*t).to_owned())).collect() }
    }

    #[test]
    fn what_comes_back_is_what_the_log_has() {
        let applied = |from: Option<i64>, to: i64, text: &str| serde_json::json!({"change": "ModificationEvents", "before_version": from, "after_version": to, "definition": text});
        let life = vec![
            applied(None, 1, "a"),
            applied(Some(1), 2, "b"),
            serde_json::json!({"change": "RefusalEvents", "before_version": 2, "after_version": 2, "definition": "no"}),
            serde_json::json!({"change": "ModificationEvents", "before_version": 2, "after_version": 2}),
        ];
        let found = known(life.clone(), None, &[(2, "evil")]);
        assert_eq!(found.wanted("w", None).unwrap(), (2, "b".into()));
        assert_eq!(found.wanted("w", Some(1)).unwrap(), (1, "a".into()));
        assert!(found.wanted("w", Some(3)).unwrap_err().to_string().contains("it has 1, 2"));
        assert!(!found.is_untouched(2, "b"), "no pointer, another text");
        assert!(known(life.clone(), Some(2), &[(2, "b")]).is_untouched(2, "b"));
        let mut deleted = life;
        deleted.push(serde_json::json!({"change": "DeletionEvents", "before_version": 2, "definition": "b"}));
        let deleted = known(deleted, Some(2), &[(2, "b")]);
        assert_eq!((deleted.past.in_force, deleted.wanted("w", None).unwrap().0), (None, 2));
        assert!(!deleted.is_untouched(2, "b"), "a pointer that nobody asked for");
        assert!(
            known(vec![], Some(1), &[(1, "x")]).wanted("w", None).is_err(),
            "the topic vouches for nothing"
        );
    }

    #[test]
    fn an_entry_with_a_hash_alone_takes_the_text_that_fits() {
        let hash = hex(&digest(b"a"));
        let life = vec![serde_json::json!({"change": "CreationEvents", "after_version": 1, "sha256": hash})];
        assert_eq!(known(life.clone(), None, &[(1, "a")]).wanted("w", None).unwrap(), (1, "a".into()));
        assert!(known(life, None, &[(1, "b")]).wanted("w", None).is_err());
    }
}
