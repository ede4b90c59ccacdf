//! The topics that a system wants: fixed ones, those of its declarations, and the changelogs of its stages.
use crate::{
    exit::Failure,
    system::{declared, services},
};
use atio_routing::{POOL, pool_stage};
use atio_runtime::Config;
use atio_schemas::{Codec, codec::StaticIds, definition::Placement};
use atio_stage::{Run, Stage};
use atio_stream::{
    Kafka,
    admin::{Admin, AdminError},
};
use atio_topics::{Change, Declarations, Fixed, Flags, Layout, Plan, StateTopic, Topic, derive, plan};
use std::{collections::BTreeMap, sync::Arc};

/// Where workflows that are in force run, as far as that is known.
pub type Placed = BTreeMap<String, Placement>;

/// The topics of these declarations. `embedded`: on the embedded broker, whose default is 3 partitions; `there`: topics of the cluster with
/// their partition counts, for those that sources adopt. Where it is not known what is in force, a workflow's own topic that is there speaks for it.
pub fn topics(
    config: &Config,
    declarations: &Declarations,
    embedded: bool,
    there: BTreeMap<String, u32>,
    placed: Option<&Placed>,
) -> anyhow::Result<Vec<Topic>> {
    let (fixed, mut layout) = layout(config, embedded)?;
    layout.adopted = there;
    // Ids do not matter here: only the wiring is looked at.
    let codec = Codec::new(Arc::new(StaticIds::new()));
    let own = |name: &str| layout.adopted.contains_key(&format!("{}workflow.{name}", config.prefix));
    let guessed = || {
        let names = declarations.workflows.keys().filter(|name| own(name));
        names.map(|name| (name.clone(), Placement::Own)).collect()
    };
    let placed = placed.cloned().unwrap_or_else(guessed);
    // What does not compile is refused when it is applied.
    let workflows = services::as_declared(config, declarations, &placed);
    // A topic that is there stays: it will be needed when the workflow is promoted.
    let pooled = workflows.values().filter(|d| d.pointer && d.placed() == Placement::Pooled && !own(&d.name));
    let pooled = pooled.map(|d| d.name.clone()).collect();
    let mut stages = services::wiring(config, declarations, &codec, &workflows, |_, _| {})?;
    // Which workflows are pooled is decided later.
    let routing = services::routing(config, declarations, &codec);
    stages.retain(|stage| stage.name != POOL);
    stages.push(pool_stage(&routing, &routing.definitions(), &|_| true));
    let states: Vec<StateTopic> = stages.iter().flat_map(changelogs).collect();
    let layout = Layout { pooled, ..layout };
    derive::derive(&fixed, declarations, &states, &layout).map_err(|problems| declared::refused(&problems))
}

/// What topics look like in this installation.
fn layout(config: &Config, embedded: bool) -> anyhow::Result<(Fixed, Layout)> {
    let fixed = Fixed::shipped().map_err(|p| declared::refused(&[p]))?;
    let mut layout = Layout::new(&fixed, &config.prefix, embedded);
    if let Some(partitions) = config.partitions {
        layout.partitions =
            u32::try_from(partitions).map_err(|_| Failure::usage("partitions: a number from 1 on"))?;
    }
    layout.replication = config.copies();
    Ok((fixed, layout))
}

/// Makes the topics of these workflows where they are missing, as wide as the pool's: a key has the same partition on both. Blocks.
pub fn make_own(kafka: &Kafka, config: &Config, workflows: &[&str]) -> anyhow::Result<()> {
    let admin = Admin::connect(kafka, "atio-own-topics").map_err(unreachable)?;
    let there = admin.topics().map_err(unreachable)?;
    let (fixed, mut layout) = layout(config, false)?;
    if let Some(partitions) = there.get(&format!("{}routed", config.prefix)) {
        layout.partitions = *partitions;
    }
    let is_missing = |name: &&&str| !there.contains_key(&format!("{}workflow.{name}", config.prefix));
    let mut changes = vec![];
    for name in workflows.iter().filter(is_missing) {
        let topic = derive::workflow_topic(&fixed, name, &layout).map_err(|p| declared::refused(&p))?;
        let Topic { name: topic, partitions, replication, configs, .. } = topic;
        changes.push(Change::Create { topic, partitions, replication, configs });
    }
    let done = admin.apply(&Plan { changes, ..Plan::default() }).map_err(unreachable)?;
    for one in done {
        // Another instance may have been faster.
        if let (Change::Create { topic, .. }, Err(error)) = (&one.change, one.result)
            && !admin.topics().map_err(unreachable)?.contains_key(topic)
        {
            anyhow::bail!("{topic}: {error}");
        }
    }
    admin.retire();
    Ok(())
}

fn changelogs(stage: &Stage) -> Vec<StateTopic> {
    let inputs: Vec<String> = stage.inputs.iter().map(|i| i.topic.to_string()).collect();
    let of = |s: &atio_stage::StoreSpec| StateTopic {
        changelog: s.changelog.to_string(),
        retention_ms: s.retention_ms,
        inputs: inputs.clone(),
    };
    match stage.run {
        Run::Transform(_) => stage.stores.iter().map(of).collect(),
        Run::Deliver(_) => vec![],
    }
}

/// The difference between what is wanted and what is. Blocks.
pub fn difference(
    kafka: &Kafka,
    config: &Config,
    declarations: &Declarations,
    embedded: bool,
    flags: Flags,
    placed: Option<&Placed>,
) -> anyhow::Result<(Admin, Plan)> {
    let admin = Admin::connect(kafka, "atio-plan").map_err(unreachable)?;
    let state = admin.cluster_state().map_err(unreachable)?;
    let there = state.topics.iter().map(|(name, topic)| (name.clone(), topic.partitions)).collect();
    let wanted = topics(config, declarations, embedded, there, placed)?;
    let plan = plan::plan(&wanted, &state, &config.prefix, flags);
    Ok((admin, plan))
}

/// Makes the changes; the first that was refused is the error.
pub fn make(admin: &Admin, plan: &Plan) -> anyhow::Result<usize> {
    let done = admin.apply(plan).map_err(unreachable)?;
    let count = done.len();
    for one in done {
        one.result.map_err(|e| anyhow::anyhow!("{}: {e}", change(&one.change)))?;
    }
    Ok(count)
}

/// A change in one line.
pub fn change(change: &atio_topics::Change) -> String {
    use atio_topics::Change as C;
    match change {
        C::Create { topic, partitions, .. } => format!("+ {topic} ({partitions} partitions)"),
        C::Partitions { topic, from, to } => format!("~ {topic}: partitions {from} → {to}"),
        C::Configs { topic, set } => {
            let set: BTreeMap<_, _> = set.iter().collect();
            let one = |(name, (now, wanted)): (&&String, &&(Option<String>, String))| {
                format!("{name} {} → {wanted}", now.as_deref().unwrap_or("(unset)"))
            };
            format!("~ {topic}: {}", set.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        C::Delete { topic } => format!("- {topic}"),
    }
}

/// A broker's error with its exit code.
pub fn unreachable(error: AdminError) -> anyhow::Error {
    if error.is_unreachable() { Failure::unreachable(error.to_string()) } else { anyhow::Error::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_topics::load::File;

    fn state_topics(steps: &str) -> Vec<(String, u32, String)> {
        let text = format!(
            "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: w}}\non: detection\nmatch: {{}}\nbranches:\n  b: {steps}\n  c: [{{deliver: siem}}]\n"
        );
        let declared = Declarations::load(&[File { name: "workflows/w.yaml".into(), text }]).unwrap();
        let all = topics(&Config::default(), &declared, false, BTreeMap::new(), None).unwrap();
        let ours = all.into_iter().filter(|t| t.name.starts_with("atio.state.routing.w."));
        ours.map(|t| (t.name, t.partitions, t.configs["cleanup.policy"].clone())).collect()
    }

    /// Only branches that keep something have changelogs; one that does not compile is for `apply` to refuse.
    #[test]
    fn branches_have_the_changelogs_that_their_steps_need() {
        let topic = |name: &str| (format!("atio.state.routing.w.{name}"), 12, "compact".to_owned());
        assert_eq!(state_topics("[{deliver: siem}]"), []);
        let counts = "[{dedup: {key: asset, within: 10m}}, {deliver: siem}]";
        assert_eq!(state_topics(counts), [topic("b")]);
        let holds = "[{if: .kev, then: [{delay: 10m}]}, {deliver: siem}]";
        assert_eq!(state_topics(holds), [topic("b"), topic("b.timers")]);
        assert_eq!(state_topics("[{delay: 10m}]"), []);
    }

    /// What is pooled has no topic of its own, unless it is there already; who has too many branches for what is left is pooled.
    #[test]
    fn pooled_workflows_have_no_topics() {
        let of = |name: &str, placement: &str, branches: usize| {
            let branches: String = (0..branches).map(|n| format!("  b{n}: [{{deliver: siem}}]\n")).collect();
            let text = format!(
                "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: {name}, placement: {placement}}}\non: detection\nmatch: {{}}\nbranches:\n{branches}"
            );
            File { name: format!("workflows/{name}.yaml"), text }
        };
        let files = [of("a", "pooled", 1), of("b", "auto", 30), of("c", "auto", 3), of("d", "own", 9)];
        let declared = Declarations::load(&files).unwrap();
        let wanted = |there: &[&str], placed: Option<&Placed>| -> Vec<String> {
            let there = there.iter().map(|t| ((*t).to_owned(), 12)).collect();
            let all = topics(&Config::default(), &declared, false, there, placed).unwrap();
            let name = |t: Topic| t.name.strip_prefix("atio.workflow.").map(str::to_owned);
            all.into_iter().filter_map(name).filter(|name| name.len() == 1).collect()
        };
        assert_eq!(wanted(&[], None), ["b", "d"], "30 and 3 are more than 32");
        assert_eq!(wanted(&["atio.workflow.a"], None), ["a", "b", "d"]);
        assert_eq!(wanted(&["atio.workflow.c"], None), ["c", "d"], "what is there is there first");
        let pooled = Placed::from([("b".to_owned(), Placement::Pooled)]);
        assert_eq!(wanted(&[], Some(&pooled)), ["c", "d"]);
        let all = topics(&Config::default(), &declared, false, BTreeMap::new(), None).unwrap();
        assert!(
            all.iter().any(|t| t.name == "atio.state.routing.failing"),
            "the pool's, whoever will be in it"
        );
    }
}
