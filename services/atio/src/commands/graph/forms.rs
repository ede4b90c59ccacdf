//! A graph as text: Mermaid, DOT, JSON. Owns how nodes look; must not know where they come from.
use super::{Graph, Kind, Node};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Short ids, in the order of the nodes.
fn ids(graph: &Graph) -> BTreeMap<&Node, String> {
    graph.nodes.iter().enumerate().map(|(i, node)| (node, format!("n{i}"))).collect()
}

/// Its name, and below it what was seen of it.
fn label(graph: &Graph, node: &Node, new_line: &str) -> String {
    let seen = graph.seen.get(node).map(|seen| format!("{new_line}{seen}"));
    node.1.clone() + &seen.unwrap_or_default()
}

pub(super) fn mermaid(graph: &Graph) -> String {
    let ids = ids(graph);
    let mut text = String::from("flowchart LR\n");
    for (node, id) in &ids {
        let (open, close) = match node.0 {
            Kind::Source => ("([", "])"),
            Kind::Topic => ("[(", ")]"),
            Kind::Stage => ("[", "]"),
            Kind::Sink => ("{{", "}}"),
        };
        let label = label(graph, node, "<br/>").replace('"', "#quot;");
        text += &format!("  {id}{open}\"{label}\"{close}\n");
    }
    for (from, to) in &graph.edges {
        text += &format!("  {} --> {}\n", ids[from], ids[to]);
    }
    text
}

pub(super) fn dot(graph: &Graph) -> String {
    let ids = ids(graph);
    let mut text = String::from("digraph atio {\n  rankdir=LR;\n");
    for (node, id) in &ids {
        let shape = match node.0 {
            Kind::Source => "oval",
            Kind::Topic => "cylinder",
            Kind::Stage => "box",
            Kind::Sink => "hexagon",
        };
        text += &format!("  {id} [label={:?}, shape={shape}];\n", label(graph, node, "\n"));
    }
    for (from, to) in &graph.edges {
        text += &format!("  {} -> {};\n", ids[from], ids[to]);
    }
    text + "}\n"
}

pub(super) fn as_json(graph: &Graph) -> Value {
    let node = |(kind, name): &Node| json!({"kind": kind.name(), "name": name});
    let with_figures = |of: &Node| {
        let mut node = node(of);
        if let Some(seen) = graph.seen.get(of) {
            node["rate"] = json!(seen.rate);
            node["lag"] = json!(seen.lag);
            node["members"] = json!(seen.members);
        }
        node
    };
    let nodes: Vec<_> = graph.nodes.iter().map(with_figures).collect();
    let edges: Vec<_> =
        graph.edges.iter().map(|(from, to)| json!({"from": node(from), "to": node(to)})).collect();
    json!({"nodes": nodes, "edges": edges})
}
