//! What follows from a command: pure. Owns versions and refusals; must not know records, topics or the audit log.
use crate::{
    check::{Check, Facts, MAX_DEFINITION, Refused, Wanted},
    stores::Object,
};
use atio_schemas::{
    Code,
    command::{Action, Command, ObjectKind},
    definition::{ChangeType, Placement},
};

/// A change that is to be written. `object` is what is kept from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) change: ChangeType,
    pub(crate) object: Object,
    /// The version is to be written under `<name>@<n>`.
    pub(crate) new_version: bool,
    pub(crate) before_version: Option<i64>,
    pub(crate) after_version: Option<i64>,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// How a command ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Change(Box<Decision>),
    Refuse(Refused),
}

/// Groups that branches of workflows have of their own: those in force, and how many there may be before `auto` means pooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub groups: u64,
    pub budget: u64,
}

/// `now` is what is kept of the object; None = never defined.
pub(crate) fn decide(command: &Command, now: Option<&Object>, check: &dyn Check, room: Room) -> Verdict {
    let version = now.filter(|o| o.in_force).map_or(0, |o| o.latest);
    if version != command.expected_version {
        return Verdict::Refuse(conflict(command, version));
    }
    let decided = match (command.action, now.filter(|o| o.in_force)) {
        (Action::Apply, _) => apply(command, now, check, room),
        (Action::Restore, _) => restore(command, now, check, room),
        (_, None) => {
            Err(Refused::new(Code::NotFound, format!("{} `{}` is not defined", command.kind, command.name)))
        }
        (Action::Delete, Some(object)) => Ok(delete(object)),
        (Action::Pause, Some(object)) => pause(object, true),
        (Action::Resume, Some(object)) => pause(object, false),
        (Action::Promote, Some(object)) => promote(command, object),
        (Action::Run, Some(object)) => run(command, object, check),
    };
    decided.map_or_else(Verdict::Refuse, |d| Verdict::Change(Box::new(d)))
}

fn conflict(command: &Command, version: i64) -> Refused {
    let (kind, name, expected) = (command.kind, &command.name, command.expected_version);
    let code = if version == 0 && !matches!(command.action, Action::Apply | Action::Restore) {
        Code::NotFound
    } else {
        Code::VersionConflict
    };
    let is = if version == 0 { "is not defined".to_owned() } else { format!("is at version {version}") };
    Refused::new(
        code,
        format!("{kind} `{name}` {is}, the command expects {expected}: look at it again, then send it anew"),
    )
}

fn apply(
    command: &Command,
    now: Option<&Object>,
    check: &dyn Check,
    room: Room,
) -> Result<Decision, Refused> {
    let Some(definition) = &command.definition else {
        return Err(Refused::new(Code::InvalidDefinition, "apply without a definition"));
    };
    let live = now.filter(|o| o.in_force);
    let facts = accepted(command, definition, check)?;
    if let Some(same) = live.filter(|o| o.definition == *definition) {
        return Err(Refused::new(
            Code::Duplicate,
            format!("version {} is this definition already", same.latest),
        ));
    }
    let change = if live.is_some() { ChangeType::Modification } else { ChangeType::Creation };
    Ok(new_version(change, definition, now, (facts, placed(command, now, facts, room))))
}

fn accepted(command: &Command, definition: &str, check: &dyn Check) -> Result<Facts, Refused> {
    if definition.len() > MAX_DEFINITION {
        let text = format!("{} bytes, at most {MAX_DEFINITION} are taken", definition.len());
        return Err(Refused::new(Code::TooLarge, text));
    }
    check.check(command.kind, &command.name, definition)
}

/// Brings a definition back: a new version where it is not the one in force, else the one in force is written once more, for somebody may have
/// taken it away behind ATIO's back. Without a definition: whatever monitoring has is written once more.
fn restore(
    command: &Command,
    now: Option<&Object>,
    check: &dyn Check,
    room: Room,
) -> Result<Decision, Refused> {
    let live = now.filter(|o| o.in_force);
    let change = ChangeType::Restoration;
    let other = command.definition.as_ref().filter(|d| live.is_none_or(|o| o.definition != **d));
    match (other, live) {
        (Some(definition), _) => {
            let facts = accepted(command, definition, check)?;
            Ok(new_version(change, definition, now, (facts, placed(command, now, facts, room))))
        }
        (None, None) => Ok(Decision {
            change,
            object: now.cloned().unwrap_or_else(Object::never),
            new_version: false,
            before_version: None,
            after_version: None,
            before: None,
            after: None,
        }),
        (None, Some(object)) => Ok(Decision {
            change,
            object: object.clone(),
            new_version: true,
            before_version: Some(object.latest),
            after_version: Some(object.latest),
            before: Some(object.definition.clone()),
            after: Some(object.definition.clone()),
        }),
    }
}

/// By hand, on the event that the command brings: nothing changes.
fn run(command: &Command, object: &Object, check: &dyn Check) -> Result<Decision, Refused> {
    let Some(event) = command.definition.as_ref().filter(|_| command.kind == ObjectKind::Workflow) else {
        return Err(Refused::new(Code::InvalidField, "what is run is a workflow, on an event"));
    };
    if event.len() > MAX_DEFINITION {
        let text = format!("an event of {} bytes, at most {MAX_DEFINITION} are taken", event.len());
        return Err(Refused::new(Code::TooLarge, text));
    }
    check.runs(&command.name, &object.definition, event)?;
    Ok(Decision {
        change: ChangeType::Run,
        object: object.clone(),
        new_version: false,
        before_version: Some(object.latest),
        after_version: Some(object.latest),
        before: None,
        after: Some(event.clone()),
    })
}

fn placed(command: &Command, now: Option<&Object>, facts: Facts, room: Room) -> Placement {
    if command.kind != ObjectKind::Workflow {
        return Placement::Own;
    }
    let before = now.filter(|object| object.latest > 0);
    let before = before.map(|object| (object.placement, object.in_force));
    place(before, command.own_topic == Some(true), facts, room)
}

/// Where the branches of a workflow run that is brought into force. Nothing goes back into the pool; and routers write a topic only where it is known
/// to be there, and where nothing of the workflow can still be on its way through the pool. `before`: where it ran, and whether it is in force;
/// `own_topic`: its own topic is there.
#[must_use]
pub fn place(before: Option<(Placement, bool)>, own_topic: bool, facts: Facts, room: Room) -> Placement {
    let fits = room.groups + u64::from(facts.branches) <= room.budget;
    let wants_own = facts.wanted == Wanted::Own || facts.wanted == Wanted::Auto && fits;
    match before {
        Some((Placement::Own, in_force)) if in_force || own_topic => Placement::Own,
        Some((Placement::Own | Placement::Promoted, _)) => Placement::Promoted,
        Some((Placement::Pooled, true)) if facts.wanted != Wanted::Own => Placement::Pooled,
        Some((Placement::Pooled, _)) | None if !wants_own => Placement::Pooled,
        None if own_topic => Placement::Own,
        Some((Placement::Pooled, _)) | None => Placement::Promoted,
    }
}

/// One above all that were ever given. What is paused stays so.
fn new_version(
    change: ChangeType,
    definition: &str,
    now: Option<&Object>,
    (facts, placement): (Facts, Placement),
) -> Decision {
    let live = now.filter(|o| o.in_force);
    let latest = now.map_or(0, |o| o.latest) + 1;
    let object = Object {
        latest,
        in_force: true,
        paused: live.is_some_and(|o| o.paused),
        definition: definition.to_owned(),
        placement,
        branches: Some(facts.branches),
    };
    Decision {
        change,
        object,
        new_version: true,
        before_version: live.map(|o| o.latest),
        after_version: Some(latest),
        before: live.map(|o| o.definition.clone()),
        after: Some(definition.to_owned()),
    }
}

fn delete(object: &Object) -> Decision {
    Decision {
        change: ChangeType::Deletion,
        object: Object { in_force: false, paused: false, ..object.clone() },
        new_version: false,
        before_version: Some(object.latest),
        after_version: None,
        before: Some(object.definition.clone()),
        after: None,
    }
}

/// Out of the pool: from now on its branches have groups of their own.
fn promote(command: &Command, object: &Object) -> Result<Decision, Refused> {
    if command.kind != ObjectKind::Workflow {
        return Err(Refused::new(Code::InvalidField, "what is promoted is a workflow"));
    }
    if object.placement.has_lanes() {
        return Err(Refused::new(Code::Duplicate, "its branches have groups of their own already"));
    }
    let after = Object { placement: Placement::Promoted, ..object.clone() };
    Ok(Decision {
        change: ChangeType::Modification,
        new_version: false,
        before_version: Some(object.latest),
        after_version: Some(object.latest),
        before: Some(format!("placement: {}", object.placement)),
        after: Some(format!("placement: {}", after.placement)),
        object: after,
    })
}

/// What is paused needs a topic where it can wait.
fn pause(object: &Object, paused: bool) -> Result<Decision, Refused> {
    if object.paused == paused {
        let text = if paused { "it is paused already" } else { "it is not paused" };
        return Err(Refused::new(Code::Duplicate, text));
    }
    let placement = match object.placement {
        Placement::Pooled if paused => Placement::Promoted,
        placement => placement,
    };
    Ok(Decision {
        change: ChangeType::Modification,
        object: Object { paused, placement, ..object.clone() },
        new_version: false,
        before_version: Some(object.latest),
        after_version: Some(object.latest),
        before: Some(format!("paused: {}", object.paused)),
        after: Some(format!("paused: {paused}")),
    })
}
