//! Workflows of a running system: what is in force, and changing it by commands to monitoring.
use crate::{
    exit::{Exit, Failure},
    system::wanted,
};
use anyhow::Context;
use atio_monitoring::{object_key, pointer_key};
use atio_runtime::{Config, clock};
use atio_schemas::{
    Codec,
    command::{Action, Command, ObjectKind},
    definition::{Change, ChangeType, Definition},
    header,
};
use atio_stage::{Headers, Output};
use atio_stream::{
    Kafka,
    admin::Admin,
    publish::{Publisher, PublisherSpec},
    read::{self, From, ReadSpec, TopicReader, Until},
};
use atio_topics::{Declarations, WorkflowText};
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    time::{Duration, Instant},
};

/// Keys of the topic of definitions at most.
pub const MAX_DEFINITIONS: usize = 1_000_000;
const CLIENT: &str = "atio-workflows";

/// The workflows in force, by name, with where they run.
pub fn in_force(
    kafka: &Kafka,
    config: &Config,
    codec: &Codec,
) -> anyhow::Result<BTreeMap<String, Definition>> {
    let topic = format!("{}workflows", config.prefix);
    let all = read::latest_by_key(kafka, CLIENT, &topic, MAX_DEFINITIONS)
        .map_err(|e| Failure::unreachable(e.to_string()))?;
    let mut decoded = BTreeMap::new();
    for (key, entry) in all {
        let (Ok(key), Some(value)) = (String::from_utf8(key), entry.value) else { continue };
        decoded.insert(key, codec.decode::<Definition>(&value)?);
    }
    let pointers = decoded.values().filter(|d| d.pointer && d.kind == ObjectKind::Workflow);
    let live = pointers.filter_map(|p| {
        let definition = decoded.get(&format!("{}@{}", pointer_key(p.kind, &p.name), p.version))?;
        Some((p.name.clone(), Definition { placement: Some(p.placed()), ..definition.clone() }))
    });
    Ok(live.collect())
}

/// What applying the declared workflows came to.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// `name@version`.
    pub changed: Vec<String>,
    pub unchanged: Vec<String>,
    /// Name, code and sentences.
    pub refused: Vec<(String, String, String)>,
}

/// Sends a command for each declared workflow that is not in force as declared, and waits for what monitoring says. Blocks.
pub fn apply(
    kafka: &Kafka,
    config: &Config,
    codec: &Codec,
    declared: &Declarations,
    limit: Duration,
) -> anyhow::Result<Applied> {
    let live = in_force(kafka, config, codec)?;
    let admin = Admin::connect(kafka, CLIENT).map_err(wanted::unreachable)?;
    let topics = admin.topics().map_err(wanted::unreachable)?;
    admin.retire();
    let mut applied = Applied::default();
    let mut commands = vec![];
    for workflow in declared.workflows.values() {
        match live.get(&workflow.name) {
            Some(l) if l.definition == workflow.text => {
                applied.unchanged.push(format!("{}@{}", workflow.name, l.version))
            }
            known => {
                let own_topic = topics.contains_key(&format!("{}workflow.{}", config.prefix, workflow.name));
                commands.push(command(workflow, known.map_or(0, |l| l.version), own_topic));
            }
        }
    }
    for change in send(kafka, config, codec, commands, limit)? {
        match change.change_type {
            ChangeType::Refusal => {
                let code = change.refused_code.unwrap_or_default();
                applied.refused.push((change.name, code, change.refused_message.unwrap_or_default()));
            }
            _ => {
                applied.changed.push(format!("{}@{}", change.name, change.after_version.unwrap_or_default()))
            }
        }
    }
    Ok(applied)
}

fn command(workflow: &WorkflowText, expected_version: i64, own_topic: bool) -> Command {
    Command {
        command_id: uuid::Uuid::new_v4().to_string(),
        action: Action::Apply,
        kind: ObjectKind::Workflow,
        name: workflow.name.clone(),
        expected_version,
        definition: Some(workflow.text.clone()),
        actor: "atio".into(),
        reason: Some("declared".into()),
        sent_at: clock::now(),
        own_topic: Some(own_topic),
    }
}

/// Publishes commands and waits for the change event of each. Blocks.
pub fn send(
    kafka: &Kafka,
    config: &Config,
    codec: &Codec,
    commands: Vec<Command>,
    limit: Duration,
) -> anyhow::Result<Vec<Change>> {
    if commands.is_empty() {
        return Ok(vec![]);
    }
    let unreachable = |e: &dyn std::fmt::Display| Failure::unreachable(e.to_string());
    let (topic, changes) =
        (format!("{}commands", config.prefix), format!("{}workflow-changes", config.prefix));
    // Answers are read from where the topic ends now: opened before the commands go out.
    let spec = ReadSpec { from: From::End, until: Until::Never, ..ReadSpec::whole(kafka, CLIENT, &changes) };
    let reader = TopicReader::open(&spec).map_err(|e| unreachable(&e))?;
    let publisher =
        Publisher::open(PublisherSpec::new(kafka, CLIENT, &[&topic])).map_err(|e| unreachable(&e))?;
    let mut waiting = BTreeMap::new();
    let mut outputs = vec![];
    for command in commands {
        let mut headers = Headers::default();
        headers.set(header::CE_TYPE, "atio.command");
        headers.set(header::CE_ID, command.command_id.as_bytes());
        headers.set(header::CONTENT_TYPE, header::CONTENT_TYPE_AVRO);
        outputs.push(Output::new(
            topic.as_str(),
            object_key(command.kind, &command.name),
            codec.encode(&command)?,
            headers,
        ));
        waiting.insert(command.command_id, command.name);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for answer in runtime.block_on(publisher.send(outputs)) {
        answer.map_err(|e| unreachable(&e)).context("commands can't be sent")?;
    }
    let (start, mut found) = (Instant::now(), vec![]);
    reader.for_each(
        || start.elapsed() > limit,
        |entry| {
            let change = entry.value.as_deref().and_then(|v| codec.decode::<Change>(v).ok());
            if let Some(change) = change.filter(|c| waiting.remove(&c.command_id).is_some()) {
                found.push(change);
            }
            if waiting.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    )?;
    if waiting.is_empty() {
        return Ok(found);
    }
    let names: Vec<String> = waiting.into_values().collect();
    let hint = "is monitoring running? the commands stay on their topic and take effect when it does";
    Err(Failure::with(
        Exit::Failed,
        format!("no answer for {} within {} s; {hint}", names.join(", "), limit.as_secs()),
    ))
}
