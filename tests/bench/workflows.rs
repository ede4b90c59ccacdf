//! What it costs that there are many workflows: the router's function over the same detections, with one workflow in force, with a thousand, with
//! ten thousand, and the pool's function over what the router makes of them; no broker. All of them get one match an event. Owns the workflows; must
//! not know how they are found.
use crate::{
    alerts,
    figures::Figures,
    process,
    worker::{Job, Normalizer, Task, record},
};
use atio_routing::Deps;
use atio_schemas::{
    Codec, Timestamp,
    codec::StaticIds,
    command::ObjectKind,
    definition::{Definition as Stored, Placement},
    detection::Tlp,
    routed::Routed,
};
use atio_stage::{Headers, NonEmpty, Outcome, Overlay, Processor, Record, Run, State, Tables, Tx};
use atio_topics::Audience;
use atio_workflow::{Known, SinkFacts};
use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

const MANY: [usize; 3] = [1, 1_000, 10_000];
const EVENTS: u64 = 2_000;
/// Over all of them, in one measurement: the system counts a thread's time in steps of some milliseconds.
const PASSES: usize = 30;

/// One of a kind in turn: a rule, a network, a regular expression; none of which the alerts fulfil, the first one's aside.
fn text(n: usize) -> String {
    let condition = match n {
        0 => "kind: threat".to_owned(),
        _ if n.is_multiple_of(3) => format!("{{kind: threat, rule.id: \"1:{}\"}}", 1_000_000 + n),
        _ if n % 3 == 1 => {
            format!("{{kind: threat, src.ip: 10.{}.{}.0/24, confidence: {{gte: 10}}}}", n / 250, n % 250)
        }
        _ => format!("{{kind: threat, rule.name: {{regex: '(?i)\\bfamily-{n:05}\\b'}}}}"),
    };
    let condition = if n == 0 { format!("{{{condition}}}") } else { condition };
    format!(
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: w{n}}}\non: detection\nmatch: {condition}\nbranches:\n  siem:\n    - deliver: siem\n"
    )
}

fn stored(n: usize, pointer: bool, placement: Placement) -> Stored {
    Stored {
        kind: ObjectKind::Workflow,
        name: format!("w{n}"),
        version: 1,
        pointer,
        paused: false,
        definition: if pointer { String::new() } else { text(n) },
        sha256: String::new(),
        created_at: Timestamp(0),
        created_by: "bench".into(),
        command_id: "c".into(),
        placement: pointer.then_some(placement),
    }
}

/// The router, or the pool, with so many workflows in force.
struct Function {
    processor: Box<dyn Processor>,
    tables: Tables,
    state: State,
    overlay: Overlay,
    /// MB, and the time until a change of one is in effect.
    memory: f64,
    change: Duration,
}

impl Function {
    /// The router where workflows are placed so that they have groups of their own, else the pool.
    fn new(codec: &Codec, count: usize, placement: Placement) -> Self {
        let sink = SinkFacts { format: "ecs".into(), audience: Audience::Internal, clearance: Tlp::Red };
        let known = Known { sinks: BTreeMap::from([("siem".to_owned(), sink)]), ..Known::default() };
        let deps = Deps::new("bench.", codec.clone(), known, vec![]);
        let stage = match placement {
            Placement::Own => atio_routing::router_stages(&deps, &deps.definitions()).swap_remove(0),
            _ => atio_routing::pool_stage(&deps, &deps.definitions(), &|_| true),
        };
        let Run::Transform(processor) = stage.run else { panic!("both transform") };
        let before = process::rss_mb(std::process::id());
        let mut view = (stage.tables[0].make)();
        let mut apply = |n: usize, pointer: bool| {
            let key = if pointer { format!("w{n}") } else { format!("w{n}@1") };
            let value = codec.encode(&stored(n, pointer, placement)).expect("a definition");
            view.apply(key.as_bytes(), Some(&value)).expect("it compiles");
        };
        for n in 0..count {
            apply(n, false);
            apply(n, true);
        }
        let start = Instant::now();
        apply(0, false);
        view.settle();
        let change = start.elapsed();
        let memory = process::rss_mb(std::process::id()) - before;
        let tables = Tables([(stage.tables[0].name.clone(), view)].into_iter().collect());
        Self { processor, tables, state: State::default(), overlay: Overlay::default(), memory, change }
    }

    /// Microseconds an event, and outputs of all.
    fn run(&mut self, detections: &[Vec<u8>], headers: &Headers) -> (f64, usize) {
        let before = process::thread_cpu_us();
        let mut matches = 0;
        for (offset, value) in detections.iter().cycle().take(PASSES * detections.len()).enumerate() {
            let mut tx = Tx::new(Timestamp(0), &self.state, &mut self.overlay, &self.tables);
            let input: Record<'_> = record("in", i64::try_from(offset).expect("few"), value, headers);
            match black_box(self.processor.process(&input, &mut tx)) {
                Outcome::Emit { outputs, .. } => matches += NonEmpty::into_vec(outputs).len(),
                Outcome::Legs { legs, .. } => {
                    matches += legs.into_vec().iter().map(|leg| leg.outputs.len()).sum::<usize>();
                }
                other => panic!("one matches, not {other:?}"),
            }
        }
        let events = PASSES * detections.len();
        ((process::thread_cpu_us() - before) / events as f64, matches / PASSES)
    }
}

pub fn part(figures: &mut Figures, rounds: usize) {
    let codec = Codec::new(Arc::new(StaticIds::new()));
    let job =
        Job { task: Task::AtLeastOnce, bootstrap: String::new(), input: "raw".into(), prefix: "b.".into() };
    let mut normalizer = Normalizer::new(&job);
    let headers = Headers::default();
    let normalized = |n: u64| {
        let (alert, offset) = (alerts::alert(n), i64::try_from(n).expect("few"));
        normalizer
            .outputs(&record("raw", offset, alert.as_bytes(), &headers))
            .remove(0)
            .value
            .expect("a value")
    };
    let detections: Vec<Vec<u8>> = (0..EVENTS).map(normalized).collect();
    let routers = MANY.map(|count| Function::new(&codec, count, Placement::Own));
    measured(figures, rounds, ("", routers), &detections);
    let routed = |value: &Vec<u8>| {
        let detection = codec.decode(value).expect("a detection");
        codec.encode(&Routed { matches: vec!["w0@1".to_owned()], detection }).expect("a routed detection")
    };
    let routed: Vec<Vec<u8>> = detections.iter().map(routed).collect();
    let pools = MANY.map(|count| Function::new(&codec, count, Placement::Pooled));
    measured(figures, rounds, ("pool.", pools), &routed);
}

/// By turns, with each number of workflows. `name`: of the figures.
fn measured(
    figures: &mut Figures,
    rounds: usize,
    (name, mut functions): (&str, [Function; 3]),
    events: &[Vec<u8>],
) {
    let headers = Headers::default();
    let mut cpu: [Vec<f64>; 3] = Default::default();
    // The first round warms up.
    for round in 0..=rounds {
        for turn in 0..MANY.len() {
            // There and back, so that nobody is always first.
            let which = if round % 2 == 0 { turn } else { MANY.len() - 1 - turn };
            let (us, outputs) = functions[which].run(events, &headers);
            assert_eq!(outputs, events.len(), "one match an event, with {} workflows", MANY[which]);
            if round > 0 {
                cpu[which].push(us);
            }
        }
    }
    for (which, count) in MANY.iter().enumerate() {
        figures.add(&format!("workflows.{name}{count}.cpu"), cpu[which].clone(), "us");
        let ratios = cpu[which].iter().zip(&cpu[0]).map(|(many, one)| many / one).collect();
        if *count > 1 {
            let function = &functions[which];
            figures.add(&format!("workflows.{name}ratio.{count}-by-1.cpu"), ratios, "ratio");
            let memory = vec![function.memory * 1024.0 / *count as f64];
            figures.add(&format!("workflows.{name}{count}.memory"), memory, "kB/workflow");
            let change = vec![function.change.as_secs_f64() * 1e3];
            figures.add(&format!("workflows.{name}{count}.change"), change, "ms");
        }
    }
}
