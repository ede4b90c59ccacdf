//! Commands into definitions, change events and audit entries, in one transaction. Owns the records; what follows from a command is in
//! `decide`.
use crate::{
    chain,
    check::{Check, Refused},
    decide::{Decision, Room, Verdict, decide},
    object_key, pointer_key,
    stores::{Answered, CommandChains, Groups, Object, Objects},
    written::{Details, Topic, Written, digest, hex},
};
use atio_schemas::{
    Code, Codec, CodecError, Timestamp,
    audit::{AuditEntry, AuditIntent},
    codec,
    command::{Command, ObjectKind},
    definition::{Change, ChangeType, Definition, Placement},
    header,
};
use atio_stage::{Headers, NonEmpty, Outcome, Output, Processor, Record, StageError, Tx};
use atio_topics::units::is_name;
use std::sync::Arc;

pub(crate) const SOURCE: &str = "/atio/monitoring";

pub(crate) struct Topics {
    pub(crate) workflows: Arc<str>,
    pub(crate) changes: Arc<str>,
    pub(crate) audit: Arc<str>,
}

pub(crate) struct Commands {
    codec: Codec,
    check: Arc<dyn Check>,
    topics: Topics,
    /// See [`Room`].
    budget: u64,
}

impl Commands {
    pub(crate) fn new(codec: Codec, check: Arc<dyn Check>, topics: Topics, budget: u64) -> Self {
        Self { codec, check, topics, budget }
    }

    /// Groups that branches have of their own now. Counted once; what was defined before that was, is read again.
    fn groups(&self, tx: &mut Tx<'_>) -> Result<u64, StageError> {
        if let Some(groups) = tx.store::<Groups>().get(Groups::ALL)? {
            return Ok(groups);
        }
        let workflows = format!("{}/", ObjectKind::Workflow);
        let mut groups = 0;
        tx.store::<Objects>().each(&workflows, |_, object| groups += self.counted(object).groups())?;
        Ok(groups)
    }

    /// With its branches counted.
    fn counted(&self, mut object: Object) -> Object {
        if object.branches.is_none() && object.in_force {
            let name = atio_topics::load::parse("workflow", &object.definition).map(|d| d.name().to_owned());
            let facts = name
                .ok()
                .and_then(|name| self.check.check(ObjectKind::Workflow, &name, &object.definition).ok());
            object.branches = Some(facts.unwrap_or_default().branches);
        }
        object
    }

    fn carry_out(
        &self,
        command: &Command,
        record: &Record<'_>,
        tx: &mut Tx<'_>,
    ) -> Result<Outcome, StageError> {
        let key = object_key(command.kind, &command.name);
        let once = format!("{key}/{}", command.command_id);
        if tx.store::<Answered>().get(&once)?.is_some() {
            return Ok(Outcome::Drop(Code::Duplicate));
        }
        tx.store::<Answered>().put(&once, &())?;
        let now = tx.store::<Objects>().get(&key)?;
        let now = now
            .map(|object| if command.kind == ObjectKind::Workflow { self.counted(object) } else { object });
        let groups = self.groups(tx)?;
        let room = Room { groups, budget: self.budget };
        let mut placement = None;
        let (change, mut outputs) = match decide(command, now.as_ref(), &*self.check, room) {
            Verdict::Refuse(refused) => (
                refusal(command, &refused, now.filter(|o| o.in_force).map(|o| o.latest), record, tx.now()),
                vec![],
            ),
            Verdict::Change(decision) => {
                // What was never defined stays so: only its tombstone is written.
                if decision.object.latest > 0 {
                    tx.store::<Objects>().put(&key, &decision.object)?;
                }
                let before = now.as_ref().map_or(0, Object::groups);
                let groups = (groups + decision.object.groups()).saturating_sub(before);
                tx.store::<Groups>().put(Groups::ALL, &groups)?;
                placement = Some(decision.object.placement).filter(|_| command.kind == ObjectKind::Workflow);
                // A run writes none.
                let writes = decision.change != ChangeType::Run;
                let outputs =
                    if writes { self.definitions(command, &decision, record, tx.now())? } else { vec![] };
                (change(command, *decision, record, tx.now()), outputs)
            }
        };
        let mut written: Vec<Written> = outputs.iter().map(|o| Written::of(Topic::Workflows, o)).collect();
        let (topic, id) = (&self.topics.changes, &change.change_id);
        let told = output(&self.codec, topic, &key, &change, id, record, change.at)?;
        written.push(Written::of(Topic::Changes, &told));
        outputs.push(told);
        let chain = format!("commands-{}", record.partition);
        let entry =
            chain::append::<CommandChains>(&chain, &intent(command, &change, written, placement)?, tx)?;
        outputs.push(audit_output(&self.codec, &self.topics.audit, &entry, record)?);
        // Change and entry are always there.
        NonEmpty::from_vec(outputs).map(|outputs| Outcome::Emit { outputs, rejected: vec![] }).ok_or_else(
            || StageError { code: Code::Internal, message: "a command without an answer".to_owned() },
        )
    }

    /// The version, then the pointer: whoever sees the pointer has the version.
    fn definitions(
        &self,
        command: &Command,
        decision: &Decision,
        record: &Record<'_>,
        at: Timestamp,
    ) -> Result<Vec<Output>, StageError> {
        let object = &decision.object;
        let pointer = pointer_key(command.kind, &command.name);
        let topic = &self.topics.workflows;
        if !object.in_force {
            let headers = headers(record, "atio.definition", &command.command_id, at);
            return Ok(vec![Output {
                topic: topic.clone(),
                partition: None,
                key: Some(pointer.into_bytes()),
                value: None,
                headers,
            }]);
        }
        let mut definition = Definition {
            kind: command.kind,
            name: command.name.clone(),
            version: object.latest,
            pointer: false,
            paused: object.paused,
            definition: object.definition.clone(),
            sha256: hex(&digest(object.definition.as_bytes())),
            created_at: at,
            created_by: command.actor.clone(),
            command_id: command.command_id.clone(),
            // Of the pointer alone: a version never changes.
            placement: None,
        };
        let mut outputs = vec![];
        if decision.new_version {
            let key = format!("{pointer}@{}", object.latest);
            outputs.push(output(&self.codec, topic, &key, &definition, &command.command_id, record, at)?);
        }
        definition.pointer = true;
        definition.placement = (command.kind == ObjectKind::Workflow).then_some(object.placement);
        definition.definition = String::new();
        outputs.push(output(&self.codec, topic, &pointer, &definition, &command.command_id, record, at)?);
        Ok(outputs)
    }
}

impl Processor for Commands {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let command: Command = match record.decode(&self.codec, "a command") {
            Ok(command) => command,
            Err(refused) => return refused,
        };
        if let Some(wrong) = wrong_field(&command) {
            return Outcome::dead_letter(Code::InvalidField, wrong);
        }
        // State moves with the partition: under another key the command would be held against another's state.
        let key = object_key(command.kind, &command.name);
        if record.key != Some(key.as_bytes()) {
            return Outcome::dead_letter(
                Code::InvalidField,
                format!("a command on this object has the key {key}"),
            );
        }
        self.carry_out(&command, record, tx).unwrap_or_else(Outcome::Fail)
    }
}

/// Texts that are repeated in what is written have a limit, so that change and entry always fit their topics.
fn wrong_field(command: &Command) -> Option<String> {
    if command.kind == ObjectKind::Audit {
        return Some("kind: `audit` takes no command".to_owned());
    }
    if !is_name(&command.name) {
        return Some("name: 1 to 63 of a-z, 0-9 and `-`".to_owned());
    }
    let reason = command.reason.as_deref().unwrap_or_default();
    let limited = [
        ("command_id", command.command_id.as_str(), 128),
        ("actor", &command.actor, 256),
        ("reason", reason, 4096),
    ];
    let wrong = limited.into_iter().find(|(_, text, most)| text.len() > *most);
    let empty = command.command_id.is_empty() || command.actor.is_empty();
    wrong
        .map(|(field, text, most)| format!("{field}: {} bytes, at most {most} are taken", text.len()))
        .or_else(|| empty.then(|| "command_id and actor must not be empty".to_owned()))
}

fn change(command: &Command, decision: Decision, record: &Record<'_>, at: Timestamp) -> Change {
    Change {
        change_id: record.origin(),
        command_id: command.command_id.clone(),
        change_type: decision.change,
        kind: command.kind,
        name: command.name.clone(),
        before_version: decision.before_version,
        after_version: decision.after_version,
        before: decision.before,
        after: decision.after,
        actor: command.actor.clone(),
        reason: command.reason.clone(),
        refused_code: None,
        refused_message: None,
        at,
        occurred_at: Some(record.timestamp),
        finding: None,
    }
}

fn refusal(
    command: &Command,
    refused: &Refused,
    version: Option<i64>,
    record: &Record<'_>,
    at: Timestamp,
) -> Change {
    Change {
        change_id: record.origin(),
        command_id: command.command_id.clone(),
        change_type: ChangeType::Refusal,
        kind: command.kind,
        name: command.name.clone(),
        before_version: version,
        after_version: version,
        before: None,
        after: None,
        actor: command.actor.clone(),
        reason: command.reason.clone(),
        refused_code: Some(refused.code.to_string()),
        refused_message: Some(refused.message.clone()),
        at,
        occurred_at: Some(record.timestamp),
        finding: None,
    }
}

/// What the audit log says of a change: the full definition, from which it can be restored, and what was written with it.
fn intent(
    command: &Command,
    change: &Change,
    written: Vec<Written>,
    placement: Option<Placement>,
) -> Result<AuditIntent, StageError> {
    let placement = placement.filter(|_| change.after_version.is_some());
    let details = Details { placement, ..Details::of(command, change, written) };
    let details = serde_json::to_string(&details)
        .map_err(|e| StageError { code: Code::Internal, message: format!("audit details: {e}") })?;
    Ok(AuditIntent {
        intent_id: command.command_id.clone(),
        actor: command.actor.clone(),
        action: command.action.to_string(),
        object: object_key(command.kind, &command.name),
        details,
        at: change.at,
    })
}

pub(crate) fn audit_output(
    codec: &Codec,
    topic: &Arc<str>,
    entry: &AuditEntry,
    record: &Record<'_>,
) -> Result<Output, StageError> {
    let key = format!("{}/{}", entry.chain, entry.sequence);
    output(codec, topic, &key, entry, &key, record, entry.at)
}

pub(crate) fn output<R: codec::Record>(
    codec: &Codec,
    topic: &Arc<str>,
    key: &str,
    value: &R,
    id: &str,
    record: &Record<'_>,
    at: Timestamp,
) -> Result<Output, StageError> {
    let bytes =
        codec.encode(value).map_err(|e: CodecError| StageError { code: e.code(), message: e.to_string() })?;
    Ok(Output::new(topic.clone(), key, bytes, headers(record, R::SUBJECT, id, at)))
}

fn headers(record: &Record<'_>, kind: &str, id: &str, at: Timestamp) -> Headers {
    let mut headers = record.headers.carried();
    headers.describe(kind, id, SOURCE, Some(at));
    headers.set(header::ORIGIN, record.origin());
    headers
}
