//! `atio graph`: sources, topics, stages and sinks as a picture, derived from the declarations and from the stages' own values; with `--live`
//! also from what is in force and moves. Owns nodes and edges.
mod forms;
mod live;

use crate::{
    commands::look::look,
    endpoints::Target,
    exit::{Exit, Failure},
    render,
    system::{declared, services},
};
use atio_runtime::Config;
use atio_schemas::{
    Codec,
    codec::StaticIds,
    definition::{Definition, Placement},
};
use atio_stage::StageError;
use atio_topics::{Declarations, From};
use atio_workflow::{Known, compile};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Draw what is declared: sources, topics, stages, sinks; no broker, unless `--live`
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio graph --live --format dot | dot -Tsvg > atio.svg")]
pub struct Args {
    /// Mermaid for Markdown, DOT for Graphviz, or JSON
    #[arg(long, value_enum, default_value = "mermaid")]
    format: GraphFormat,
    /// Only this workflow, from the router to its sinks
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// What is in force, with rates and lag, as seen for `--over`
    #[arg(long)]
    live: bool,
    /// How long `--live` looks, in seconds
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    over: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum GraphFormat {
    Mermaid,
    Dot,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Source,
    Topic,
    Stage,
    Sink,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Topic => "topic",
            Self::Stage => "stage",
            Self::Sink => "sink",
        }
    }
}

type Node = (Kind, String);

#[derive(Debug, Default)]
struct Graph {
    nodes: BTreeSet<Node>,
    edges: BTreeSet<(Node, Node)>,
    /// Of stages with a consumer group.
    readers: BTreeMap<Node, Reader>,
    /// Topics that workflows in the pool write, by their names.
    pooled: BTreeMap<String, BTreeSet<String>>,
    seen: BTreeMap<Node, live::Seen>,
}

#[derive(Debug)]
struct Reader {
    group: String,
    topics: Vec<String>,
}

impl Graph {
    fn edge(&mut self, from: Node, to: Node) {
        self.nodes.extend([from.clone(), to.clone()]);
        self.edges.insert((from, to));
    }

    /// What one workflow's topic comes from, and what comes of it, up to sinks, receipts and waits. None: nothing is known of it.
    fn only(mut self, prefix: &str, workflow: &str) -> Option<Self> {
        let mut topic = (Kind::Topic, format!("{prefix}workflow.{workflow}"));
        if let Some(written) = self.pooled.get(workflow) {
            // Of what the pool writes, what is this one's.
            let pool = (Kind::Stage, atio_routing::POOL.to_owned());
            self.edges.retain(|(from, to)| *from != pool || written.contains(&to.1));
            topic.1 = format!("{prefix}routed");
        }
        if !self.nodes.contains(&topic) {
            return None;
        }
        let ends = ["receipts", "waits"].map(|name| (Kind::Topic, format!("{prefix}{name}")));
        let mut kept: BTreeSet<Node> = [topic.clone()].into();
        let mut next = vec![topic.clone()];
        while let Some(node) = next.pop() {
            if ends.contains(&node) {
                continue;
            }
            let after = self.edges.iter().filter(|(from, _)| *from == node).map(|(_, to)| to.clone());
            next.extend(after.filter(|to| kept.insert(to.clone())));
        }
        kept.extend(self.edges.iter().filter(|(_, to)| *to == topic).map(|(from, _)| from.clone()));
        self.edges.retain(|(from, to)| kept.contains(from) && kept.contains(to) && !ends.contains(from));
        self.nodes = kept;
        Some(self)
    }
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let (format, workflow) = (args.format, args.workflow.clone());
    if !args.live {
        let config = target.configuration(json!({}))?;
        let declarations = declared::load(&config)?;
        let graph = derived(
            &config,
            &declarations,
            &services::as_declared(&config, &declarations, &BTreeMap::new()),
        )?;
        return drawn(&part(graph, &config.prefix, workflow.as_deref())?, format);
    }
    let over = Duration::from_secs(args.over);
    look(target, move |look| {
        let declarations = declared::load(&look.config)?;
        let graph = derived(&look.config, &declarations, &live::in_force(look)?)?;
        let mut graph = part(graph, &look.config.prefix, workflow.as_deref())?;
        graph.seen = live::seen(look, &graph, over)?;
        drawn(&graph, format)
    })
}

fn part(graph: Graph, prefix: &str, workflow: Option<&str>) -> anyhow::Result<Graph> {
    let Some(name) = workflow else { return Ok(graph) };
    graph.only(prefix, name).ok_or_else(|| {
        Failure::usage(format!("no workflow `{name}` here; `atio workflow ls` lists those in force"))
    })
}

fn drawn(graph: &Graph, format: GraphFormat) -> anyhow::Result<Exit> {
    let text = match format {
        GraphFormat::Mermaid => forms::mermaid(graph),
        GraphFormat::Dot => forms::dot(graph),
        GraphFormat::Json => forms::as_json(graph).to_string(),
    };
    render::line(text.trim_end())?;
    Ok(Exit::Done)
}

/// `workflows`: by their keys on the topic of definitions.
fn derived(
    config: &Config,
    declarations: &Declarations,
    workflows: &BTreeMap<String, Definition>,
) -> anyhow::Result<Graph> {
    let prefix = &config.prefix;
    let mut graph = Graph::default();
    let topic = |name: &str| (Kind::Topic, name.to_owned());
    for source in declarations.sources.values() {
        let from = (Kind::Source, source.meta.name.clone());
        let raw = source.topic(prefix);
        if matches!(source.from, From::Topic { .. }) {
            // Others write it.
            graph.edge(from, topic(&raw));
        } else {
            let ingestion = (Kind::Stage, atio_ingestion::SERVICE.to_owned());
            graph.edge(from, ingestion.clone());
            graph.edge(ingestion, topic(&raw));
        }
    }
    let codec = Codec::new(Arc::new(StaticIds::new()));
    let left_out = |key: &str, error: &StageError| render::notice(&format!("{key} is left out: {error}"));
    for stage in services::wiring(config, declarations, &codec, workflows, left_out)? {
        let node = (Kind::Stage, stage.name.clone());
        let topics = stage.inputs.iter().map(|i| i.topic.to_string()).collect();
        graph.readers.insert(node.clone(), Reader { group: stage.group.clone(), topics });
        stage.inputs.iter().for_each(|i| graph.edge(topic(&i.topic), node.clone()));
        stage.tables.iter().for_each(|t| graph.edge(topic(&t.topic), node.clone()));
        stage.outputs.iter().for_each(|o| graph.edge(node.clone(), topic(o)));
        stage.stores.iter().for_each(|s| graph.edge(node.clone(), topic(&s.changelog)));
    }
    graph.pooled = pooled(config, declarations, workflows);
    for sink in declarations.sinks.values() {
        let delivery = (Kind::Stage, format!("delivery.{}", sink.meta.name));
        let (group, topics) = (format!("{prefix}{}", delivery.1), vec![sink.topic(prefix)]);
        graph.readers.insert(delivery.clone(), Reader { group, topics });
        graph.edge(topic(&sink.topic(prefix)), delivery.clone());
        graph.edge(delivery.clone(), (Kind::Sink, format!("{} ({})", sink.meta.name, sink.target.kind())));
        graph.edge(delivery, topic(&format!("{prefix}receipts")));
    }
    Ok(graph)
}

/// The topics that each workflow in the pool writes; full names.
fn pooled(
    config: &Config,
    declarations: &Declarations,
    workflows: &BTreeMap<String, Definition>,
) -> BTreeMap<String, BTreeSet<String>> {
    let known = Known::of(declarations);
    let pointers = workflows.values().filter(|d| d.pointer && d.placed() == Placement::Pooled);
    let written = |pointer: &Definition| {
        let text = workflows.get(&format!("{}@{}", pointer.name, pointer.version))?;
        let definition = compile(&pointer.name, &text.definition, &known).ok()?;
        let topics = definition.footprint().topics.into_iter();
        let topics = topics.filter(|t| !t.starts_with("reference.") && !t.starts_with("workflow."));
        Some((pointer.name.clone(), topics.map(|t| format!("{}{t}", config.prefix)).collect()))
    };
    pointers.filter_map(written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Graph {
        let declarations = Declarations::load(&[]).unwrap();
        derived(
            &Config::default(),
            &declarations,
            &services::as_declared(&Config::default(), &declarations, &BTreeMap::new()),
        )
        .unwrap()
    }

    #[test]
    fn every_source_reaches_normalization_and_branches_their_topics() {
        let graph = shipped();
        let has = |from: (Kind, &str), to: (Kind, &str)| {
            graph.edges.contains(&((from.0, from.1.to_owned()), (to.0, to.1.to_owned())))
        };
        assert!(has((Kind::Source, "suricata"), (Kind::Stage, "ingestion")));
        assert!(has((Kind::Topic, "atio.raw.suricata"), (Kind::Stage, "normalization")));
        assert!(has((Kind::Stage, "normalization"), (Kind::Topic, "atio.detections")));
        assert!(graph.edges.iter().any(|(_, to)| to.1 == "atio.workflow.threat-detection-response"));
        assert!(graph.edges.iter().any(|(from, _)| from.1 == "atio.workflow.threat-detection-response"));
    }

    #[test]
    fn text_forms_name_every_node() {
        let graph = shipped();
        let (mermaid, dot, json) = (forms::mermaid(&graph), forms::dot(&graph), forms::as_json(&graph));
        for (_, name) in &graph.nodes {
            assert!(mermaid.contains(name.as_str()) && dot.contains(name.as_str()), "{name}");
        }
        assert_eq!(json["edges"].as_array().unwrap().len(), graph.edges.len());
        assert_eq!(mermaid.matches("-->").count(), graph.edges.len());
    }

    #[test]
    fn a_workflow_alone_ends_at_its_sinks() {
        let graph = shipped().only("atio.", "threat-detection-response").unwrap();
        let names: BTreeSet<&str> = graph.nodes.iter().map(|(_, name)| name.as_str()).collect();
        assert!(names.contains("routing") && names.contains("routing.threat-detection-response.siem"));
        assert!(
            names.contains("siem (file)") && names.contains("atio.receipts") && names.contains("atio.waits")
        );
        let others =
            ["incidents", "atio.workflow.vulnerability-identification", "atio.enriched", "normalization"];
        assert!(others.iter().all(|other| !names.contains(other)), "{names:?}");
        assert!(graph.edges.iter().all(|(from, to)| graph.nodes.contains(from) && graph.nodes.contains(to)));
        assert!(shipped().only("atio.", "nobody").is_none());
    }

    #[test]
    fn what_is_seen_stands_below_the_name() {
        let mut graph = shipped();
        let node = (Kind::Stage, "normalization".to_owned());
        graph.seen.insert(node, live::Seen { rate: 12.34, lag: Some(5), members: Some(1) });
        assert!(forms::mermaid(&graph).contains("\"normalization<br/>12.3/s, 5 behind\""));
        assert!(forms::dot(&graph).contains(r#""normalization\n12.3/s, 5 behind""#));
        let json = forms::as_json(&graph);
        let seen = json["nodes"].as_array().unwrap().iter().find(|n| n["rate"].is_f64()).unwrap();
        assert_eq!((&seen["name"], &seen["lag"]), (&json!("normalization"), &json!(5)));
    }

    /// One workflow of the pool: what it gets and writes, and nothing of the others.
    #[test]
    fn of_the_pool_one_workflow_is_drawn() {
        let declarations = Declarations::load(&[]).unwrap();
        let placed = declarations.workflows.keys().map(|name| (name.clone(), Placement::Pooled)).collect();
        let config = Config::default();
        let workflows = services::as_declared(&config, &declarations, &placed);
        let all = derived(&config, &declarations, &workflows).unwrap();
        let has = |graph: &Graph, kind, name: &str| graph.nodes.contains(&(kind, name.to_owned()));
        assert!(has(&all, Kind::Stage, "routing-pool") && has(&all, Kind::Topic, "atio.routed"));
        assert!(
            all.nodes
                .iter()
                .all(|(_, name)| !name.starts_with("routing.") && !name.starts_with("atio.workflow."))
        );
        let one = all.only("atio.", "workflow-tampering").unwrap();
        assert!(has(&one, Kind::Topic, "atio.routed") && has(&one, Kind::Stage, "routing-pool"));
        let sinks: Vec<&str> =
            one.nodes.iter().filter(|(kind, _)| *kind == Kind::Sink).map(|(_, name)| name.as_str()).collect();
        assert!(!sinks.is_empty() && sinks.len() < declarations.sinks.len(), "{sinks:?}");
    }
}
