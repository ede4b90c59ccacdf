//! `atio graph`: sources, topics, stages and sinks as a picture, derived from the declarations and from the stages' own values. No broker. Owns
//! nodes, edges and their text forms.
use crate::{
    endpoints::Target,
    exit::Exit,
    render,
    system::{declared, services},
};
use atio_monitoring::pointer_key;
use atio_runtime::{Config, clock};
use atio_schemas::{Codec, codec::StaticIds, command::ObjectKind, definition::Definition};
use atio_stage::{Stage, View};
use atio_topics::{Declarations, From};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Draw what is declared: sources, topics, stages, sinks; no broker
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio graph --format dot | dot -Tsvg > atio.svg")]
pub struct Args {
    /// Mermaid for Markdown, DOT for Graphviz, or JSON
    #[arg(long, value_enum, default_value = "mermaid")]
    format: GraphFormat,
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
}

impl Graph {
    fn edge(&mut self, from: Node, to: Node) {
        self.nodes.extend([from.clone(), to.clone()]);
        self.edges.insert((from, to));
    }
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let config = target.configuration(json!({}))?;
    let declarations = declared::load(&config)?;
    let graph = derived(&config, &declarations)?;
    let text = match args.format {
        GraphFormat::Mermaid => mermaid(&graph),
        GraphFormat::Dot => dot(&graph),
        GraphFormat::Json => as_json(&graph).to_string(),
    };
    render::line(text.trim_end())?;
    Ok(Exit::Done)
}

fn derived(config: &Config, declarations: &Declarations) -> anyhow::Result<Graph> {
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
    for stage in stages(config, declarations)? {
        let node = (Kind::Stage, stage.name.clone());
        stage.inputs.iter().for_each(|i| graph.edge(topic(&i.topic), node.clone()));
        stage.tables.iter().for_each(|t| graph.edge(topic(&t.topic), node.clone()));
        stage.outputs.iter().for_each(|o| graph.edge(node.clone(), topic(o)));
    }
    for sink in declarations.sinks.values() {
        let delivery = (Kind::Stage, format!("delivery.{}", sink.meta.name));
        graph.edge(topic(&sink.topic(prefix)), delivery.clone());
        graph.edge(delivery.clone(), (Kind::Sink, format!("{} ({})", sink.meta.name, sink.target.kind())));
        graph.edge(delivery, topic(&format!("{prefix}receipts")));
    }
    Ok(graph)
}

/// Every stage but delivery's, which would open their sinks; branches are those of the declared workflows.
fn stages(config: &Config, declarations: &Declarations) -> anyhow::Result<Vec<Stage>> {
    let codec = Codec::new(Arc::new(StaticIds::new()));
    let routing = services::routing(config, declarations, &codec);
    let mut definitions = routing.definitions();
    for workflow in declarations.workflows.values() {
        let text = Definition {
            kind: ObjectKind::Workflow,
            name: workflow.name.clone(),
            version: 1,
            pointer: false,
            paused: false,
            definition: workflow.text.clone(),
            sha256: String::new(),
            created_at: clock::now(),
            created_by: String::new(),
            command_id: String::new(),
        };
        let pointer = Definition { pointer: true, definition: String::new(), ..text.clone() };
        let key = pointer_key(ObjectKind::Workflow, &workflow.name);
        for (key, record) in [(format!("{key}@1"), text), (key, pointer)] {
            definitions.apply(key.as_bytes(), Some(&codec.encode(&record)?)).map_err(anyhow::Error::new)?;
        }
    }
    definitions.settle();
    let mut stages: Vec<Stage> = services::wiring(config, declarations, &codec)?;
    stages.retain(|stage| stage.service != atio_routing::SERVICE);
    stages.extend(atio_routing::router_stages(&routing, &definitions));
    stages.extend(atio_routing::branch_stages(&routing, &definitions));
    Ok(stages)
}

/// Short ids, in the order of the nodes.
fn ids(graph: &Graph) -> BTreeMap<&Node, String> {
    graph.nodes.iter().enumerate().map(|(i, node)| (node, format!("n{i}"))).collect()
}

fn mermaid(graph: &Graph) -> String {
    let ids = ids(graph);
    let mut text = String::from("flowchart LR\n");
    for ((kind, name), id) in &ids {
        let (open, close) = match kind {
            Kind::Source => ("([", "])"),
            Kind::Topic => ("[(", ")]"),
            Kind::Stage => ("[", "]"),
            Kind::Sink => ("{{", "}}"),
        };
        text += &format!("  {id}{open}\"{}\"{close}\n", name.replace('"', "#quot;"));
    }
    for (from, to) in &graph.edges {
        text += &format!("  {} --> {}\n", ids[from], ids[to]);
    }
    text
}

fn dot(graph: &Graph) -> String {
    let ids = ids(graph);
    let mut text = String::from("digraph atio {\n  rankdir=LR;\n");
    for ((kind, name), id) in &ids {
        let shape = match kind {
            Kind::Source => "oval",
            Kind::Topic => "cylinder",
            Kind::Stage => "box",
            Kind::Sink => "hexagon",
        };
        text += &format!("  {id} [label={name:?}, shape={shape}];\n");
    }
    for (from, to) in &graph.edges {
        text += &format!("  {} -> {};\n", ids[from], ids[to]);
    }
    text + "}\n"
}

fn as_json(graph: &Graph) -> serde_json::Value {
    let node = |(kind, name): &Node| json!({"kind": kind.name(), "name": name});
    let nodes: Vec<_> = graph.nodes.iter().map(node).collect();
    let edges: Vec<_> =
        graph.edges.iter().map(|(from, to)| json!({"from": node(from), "to": node(to)})).collect();
    json!({"nodes": nodes, "edges": edges})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Graph {
        derived(&Config::default(), &Declarations::load(&[]).unwrap()).unwrap()
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
        let (mermaid, dot, json) = (mermaid(&graph), dot(&graph), as_json(&graph));
        for (_, name) in &graph.nodes {
            assert!(mermaid.contains(name.as_str()) && dot.contains(name.as_str()), "{name}");
        }
        assert_eq!(json["edges"].as_array().unwrap().len(), graph.edges.len());
        assert_eq!(mermaid.matches("-->").count(), graph.edges.len());
    }
}
