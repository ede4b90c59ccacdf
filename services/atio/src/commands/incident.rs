//! `atio incident`: incidents as their topic shows them now. Owns the table and the page; answering them is `atio ack`.
use crate::{
    commands::look::{Look, look},
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
};
use atio_incidents::view::State;
use atio_schemas::{
    Timestamp,
    incident::{Answered, Approval, Incident, OpenWait},
};

/// Look at incidents: what waits for an answer, who answered, and how long it took
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio incident ls --state waiting")]
pub struct Args {
    #[command(subcommand)]
    command: IncidentCommand,
}

#[derive(Debug, clap::Subcommand)]
enum IncidentCommand {
    /// List incidents, those that changed last first
    Ls {
        /// Only these: open (nobody has answered), waiting (a branch waits), acknowledged, closed
        #[arg(long, value_parser = State::NAMES)]
        state: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// A table, or one JSON object a line
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print one incident with its times and what waits
    Show {
        #[arg(value_name = "INCIDENT")]
        id: String,
        /// For people, or one JSON object
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub fn run(target: &Target, args: Args) -> anyhow::Result<Exit> {
    look(target, move |look: &Look| {
        match args.command {
            IncidentCommand::Ls { state, limit, format } => {
                list(look, state.as_deref().and_then(State::parse), limit, format)?;
            }
            IncidentCommand::Show { id, format } => show(&find(look, &id)?, format)?,
        }
        Ok(Exit::Done)
    })
}

/// Every incident, as its topic says.
fn all(look: &Look) -> anyhow::Result<Vec<Incident>> {
    let topic = format!("{}incidents", look.config.prefix);
    let mut found = vec![];
    for (key, entry) in look.latest(&topic)? {
        let value = entry.value.unwrap_or_default();
        let key = String::from_utf8_lossy(&key).into_owned();
        found.push(look.decoder.decode(&value).map_err(|e| anyhow::anyhow!("{topic}, key {key}: {e}"))?);
    }
    Ok(found)
}

/// The incident of this id, or of the only one that starts so.
pub fn find(look: &Look, id: &str) -> anyhow::Result<Incident> {
    let mut found = all(look)?;
    if let Some(at) = found.iter().position(|i| i.incident_id == id) {
        return Ok(found.swap_remove(at));
    }
    found.retain(|i| !id.is_empty() && i.incident_id.starts_with(id));
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => Err(Failure::usage(format!("no incident `{id}`; `atio incident ls` lists them"))),
        n => Err(Failure::usage(format!("{n} incidents start with `{id}`: write more of it"))),
    }
}

fn list(look: &Look, state: Option<State>, limit: usize, format: Format) -> anyhow::Result<()> {
    let mut found = all(look)?;
    found.retain(|i| state.is_none_or(|s| s == State::of(i)));
    found.sort_by(|a, b| (b.updated_at, &b.incident_id).cmp(&(a.updated_at, &a.incident_id)));
    found.truncate(limit);
    if format == Format::Json {
        return found.iter().try_for_each(render::json);
    }
    if found.is_empty() {
        render::notice("no such incident");
        return Ok(());
    }
    let cells = |i: &Incident| {
        let score = i.importance.map_or_else(|| "-".to_owned(), |score| format!("{score:.0}"));
        vec![
            i.incident_id.clone(),
            State::of(i).as_str().to_owned(),
            i.kind.to_string(),
            score,
            i.events.to_string(),
            time(i.detected_at),
            i.waits.len().to_string(),
            i.assignee.clone().unwrap_or_else(|| "-".to_owned()),
            claimed(i),
            i.asset.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let cells: Vec<Vec<String>> = found.iter().map(cells).collect();
    render::table(
        &[
            "INCIDENT", "STATE", "KIND", "SCORE", "EVENTS", "DETECTED", "WAITS", "ASSIGNEE", "CLAIMED",
            "ASSET",
        ],
        &cells,
    )
}

/// One incident, for people or as JSON.
pub fn show(i: &Incident, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return render::json(i);
    }
    let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let answered = i.acked_as.map_or_else(String::new, |by| {
        format!(" by {}", i.acked_by.clone().unwrap_or_else(|| by.to_string()))
    });
    let rows = [
        ("incident", i.incident_id.clone()),
        ("state", State::of(i).as_str().to_owned()),
        ("kind", i.kind.to_string()),
        ("asset", text(i.asset.as_deref())),
        ("rule", text(i.rule_id.as_deref())),
        ("severity", i.severity.map_or_else(|| "-".to_owned(), |s| s.to_string())),
        ("assignee", text(i.assignee.as_deref())),
        ("events", i.events.to_string()),
        ("occurred", time(i.occurred_at)),
        ("detected", time(i.detected_at)),
        ("notified", time(i.notified_at)),
        ("escalated", time(i.escalated_at)),
        ("acknowledged", time(i.acked_at) + &answered),
        ("handed over", time(i.handed_over_at)),
        ("closed", time(i.closed_at) + &i.verdict.map_or_else(String::new, |v| format!(" as {v}"))),
    ];
    rows.iter().try_for_each(|(name, value)| render::line(&format!("{name:<13} {value}")))?;
    i.waits.iter().try_for_each(|w| render::line(&format!("{:<13} {}", "waits", waits(w))))?;
    i.answers.iter().try_for_each(|a| render::line(&format!("{:<13} {}", "answered", ended(a))))?;
    i.comments.iter().try_for_each(|c| {
        // One line a comment: what people type may hold anything.
        let text: String = c.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        render::line(&format!("{:<13} {} by {}: {text}", "comment", c.at.rfc3339_millis(), c.by))
    })
}

/// Who works on what waits.
fn claimed(i: &Incident) -> String {
    let mut by: Vec<&str> = i.waits.iter().filter_map(|w| w.claimed_by.as_deref()).collect();
    by.sort_unstable();
    by.dedup();
    if by.is_empty() { "-".to_owned() } else { by.join(",") }
}

fn waits(w: &OpenWait) -> String {
    let late = match (w.level, &w.asked) {
        (Some(level), Some(asked)) => format!(", escalated {level} times, now to {asked}"),
        _ if w.escalated => ", escalated".to_owned(),
        _ => String::new(),
    };
    let choices = match w.choices.as_slice() {
        [] => String::new(),
        choices => format!(", choices {}", choices.join(", ")),
    };
    let (until, place) = (w.deadline.rfc3339_millis(), format!("{}.{}", w.workflow, w.branch));
    let approvers = w.approvers.map_or_else(String::new, |needed| {
        let yes = |a: &Approval| match &a.choice {
            Some(choice) => format!("{} for {choice}", a.by),
            None => a.by.clone(),
        };
        let by: Vec<String> = w.approvals.iter().map(yes).collect();
        let by = if by.is_empty() { "nobody".to_owned() } else { by.join(", ") };
        format!(", {needed} must say yes: {by} so far")
    });
    let claimed = w.claimed_by.as_ref().map_or_else(String::new, |by| format!(", {by} works on it"));
    let (id, role, joined) = (&w.wait_id, &w.role, w.joined);
    format!("{id} {place} for {role} until {until}{late}, {joined} joined{choices}{approvers}{claimed}")
}

fn ended(a: &Answered) -> String {
    let choice = a.choice.as_ref().map_or_else(String::new, |choice| format!(", chose {choice}"));
    let by = if a.by.is_empty() { String::new() } else { format!(" by {}", a.by.join(", ")) };
    let (at, place) = (a.at.rfc3339_millis(), format!("{}.{}", a.workflow, a.branch));
    format!("{} {place} {}{by} at {at}{choice}", a.wait_id, a.answer)
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), Timestamp::rfc3339_millis)
}
