//! Branches with `if`: each event takes the way that its columns say, also behind a wait.
use super::*;
use proptest::prelude::*;

/// Conditions on a column each, so that none contradicts another.
const COLUMNS: &[&str] = &["confidence", "importance", "cvss", "epss", "severity_id", "asset_risk"];
const BOUND: i32 = 5;

#[derive(Clone, Debug)]
enum Tree {
    /// To the sink of this number.
    Deliver(usize),
    /// Column, then, else.
    If(usize, Vec<Tree>, Vec<Tree>),
}

fn trees() -> impl Strategy<Value = Vec<Tree>> {
    let leaf = Just(Tree::Deliver(0)).boxed();
    let tree = leaf.prop_recursive(3, 12, 3, |inner| {
        let then = proptest::collection::vec(inner.clone(), 1..3);
        let otherwise = proptest::collection::vec(inner, 0..3);
        (then, otherwise).prop_map(|(then, otherwise)| Tree::If(0, then, otherwise))
    });
    proptest::collection::vec(tree, 1..4).prop_map(|mut trees| {
        let (mut sink, mut column) = (0, 0);
        number(&mut trees, &mut sink, &mut column);
        trees
    })
}

/// Gives each delivery a sink and each condition a column of its own; without a column left an `if` becomes a delivery.
fn number(trees: &mut [Tree], sink: &mut usize, column: &mut usize) {
    for tree in trees {
        if let Tree::If(at, then, otherwise) = tree
            && *column < COLUMNS.len()
        {
            *at = *column;
            *column += 1;
            number(then, sink, column);
            number(otherwise, sink, column);
        } else {
            *tree = Tree::Deliver(*sink);
            *sink += 1;
        }
    }
}

/// As it is written; `wait` stands before every delivery.
fn written(trees: &[Tree], wait: &str) -> String {
    let one = |tree: &Tree| match tree {
        Tree::Deliver(sink) => format!("{wait}{{deliver: s{sink}}}"),
        Tree::If(column, then, otherwise) => {
            let condition = format!("if: '.{} >= {BOUND}'", COLUMNS[*column]);
            let way = match otherwise.as_slice() {
                [] => String::new(),
                steps => format!(", else: {}", written(steps, wait)),
            };
            format!("{{{condition}, then: {}{way}}}", written(then, wait))
        }
    };
    format!("[{}]", trees.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn expected(trees: &[Tree], values: &[Option<i32>], sinks: &mut Vec<String>) {
    for tree in trees {
        match tree {
            Tree::Deliver(sink) => sinks.push(format!("s{sink}")),
            Tree::If(column, then, otherwise) => {
                let yes = values[*column].is_some_and(|value| value >= BOUND);
                expected(if yes { then } else { otherwise }, values, sinks);
            }
        }
    }
}

fn event(values: &[Option<i32>]) -> Detection {
    let mut d = Detection { incident_id: Some("i1".into()), ..detection() };
    let float = |at: usize| values[at].map(f64::from);
    (d.confidence, d.severity_id) = (values[0], values[4]);
    (d.importance, d.cvss, d.epss, d.asset_risk) = (float(1), float(2), float(3), float(5));
    d
}

fn compiled(steps: &str) -> Definition {
    let sink = SinkFacts { format: "report".into(), audience: Audience::Internal, clearance: Tlp::Red };
    let sinks = (0..40).map(|i| (format!("s{i}"), sink.clone())).collect();
    let head =
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: w}\non: detection\nmatch: {}\nbranches:\n";
    let text = format!("{head}  b: {steps}\n");
    compile("w.yaml", &text, &Known { sinks, ..Known::default() })
        .unwrap_or_else(|problems| panic!("{text} {problems:?}"))
}

const SITE: Site<'static> = Site { version: 1, home_networks: &[] };

/// What is delivered, wait after wait answered.
fn delivered(definition: &Definition, d: &Detection) -> (Vec<Delivered>, Option<Code>) {
    let branch = &definition.branches[0];
    let mut end = run_here(definition, branch, d, SITE);
    let mut outputs = std::mem::take(&mut end.outputs);
    while let Some(wait) = end.waits.pop() {
        end = resume(definition, branch, &wait, Heard::default(), SITE);
        outputs.append(&mut end.outputs);
    }
    assert_eq!(end.rejected, []);
    (outputs, end.dropped)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn each_event_takes_its_way(
        trees in trees(), values in proptest::collection::vec(proptest::option::of(3..8), COLUMNS.len()),
    ) {
        let (mut sinks, d) = (vec![], event(&values));
        expected(&trees, &values, &mut sinks);
        let (outputs, dropped) = delivered(&compiled(&written(&trees, "")), &d);
        prop_assert_eq!(outputs.iter().map(|o| o.sink.clone()).collect::<Vec<_>>(), sinks.clone());
        prop_assert_eq!(dropped, sinks.is_empty().then_some(Code::When));
        let waiting = compiled(&written(&trees, "{await: {ack: analyst, within: 1h}}, "));
        prop_assert_eq!(delivered(&waiting, &d).0, outputs);
    }
}

#[test]
fn a_branch_goes_on_behind_its_ways() {
    let steps = "[{if: .importance >= 70, then: [{set: {labels: '[\"urgent\"]'}}, {convert: ecs}], else: [{when: .kev}]}, {deliver: s0}]";
    let definition = compiled(steps);
    let run = |importance: f64, kev: bool| {
        let d = Detection { importance: Some(importance), kev: Some(kev), ..detection() };
        delivered(&definition, &d)
    };
    let (outputs, _) = run(70.0, false);
    assert_eq!(outputs[0].format, "ecs");
    assert!(String::from_utf8_lossy(&outputs[0].payload).contains("urgent"));
    assert_eq!(run(69.0, true).0[0].format, "report");
    assert_eq!(run(69.0, false), (vec![], Some(Code::When)));
}
