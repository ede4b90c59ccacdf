//! Lanes: in a process of their own, to be killed and frozen, or in this one, to be looked into.
use super::{
    stages::{Gate, Kind},
    world::World,
};
use crate::support::{Child, Deadline};
use atio_metric::Metrics;
use atio_schemas::{Codec, codec::StaticIds};
use atio_stream::{
    Identity, Kafka, Lane, LaneConfig, LaneState, LaneStatus, Limits, SharedTables, Stop, StreamError,
    StreamMetrics,
    intake::{Downstream, Intake},
    run_lane,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, process::Command, sync::Arc, time::Duration};
use tokio::{runtime::Runtime, signal::unix};

/// Asks this program to be a worker; its value says of what.
const WORKER: &str = "ATIO_TEST_WORKER";

fn config(
    bootstrap: &str,
    name: &str,
    kind: Kind,
    ordinal: Option<u32>,
    runtime: &Runtime,
) -> (LaneConfig, Metrics) {
    let (ids, metrics) = (Arc::new(StaticIds::new()), Metrics::default());
    let config = LaneConfig {
        kafka: Kafka { bootstrap: bootstrap.into(), properties: BTreeMap::new() },
        identity: Identity { prefix: format!("{name}."), ordinal, lane: 0 },
        codec: Codec::new(ids.clone()),
        schemas: ids,
        metrics: StreamMetrics::new(&metrics.service("demo")).expect("metrics"),
        io: runtime.handle().clone(),
        limits: Limits::default(),
        tables: SharedTables::default(),
        epochs: (kind == Kind::Join).then(|| Arc::from(format!("{name}.epochs"))),
        intake: (kind == Kind::Shares).then(shares),
    };
    (config, metrics)
}

/// Nobody looks downstream: who has had his share is held back for a moment whenever much comes at once.
fn shares() -> Intake {
    Intake { shares: BTreeMap::new(), downstream: Downstream::default() }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// A lane of this process.
pub struct Inside {
    lane: Lane,
    stop: Stop,
    pub metrics: Metrics,
    // Last: what runs on it ends first.
    _runtime: Arc<Runtime>,
}

impl Inside {
    pub fn start(world: &World) -> Self {
        let (runtime, stop) = (runtime(), Stop::new());
        let (config, metrics) = config(&world.bootstrap, &world.name, world.kind, Some(0), &runtime);
        let lane = run_lane(Arc::new(world.kind.stage(&world.name)), config, stop.clone()).expect("a thread");
        Self { lane, stop, metrics, _runtime: Arc::new(runtime) }
    }
    /// Two lanes of one stage that read its tables once.
    pub fn pair(world: &World, gate: &Gate) -> [Self; 2] {
        let (stage, runtime) = (Arc::new(world.kind.gated(&world.name, gate)), Arc::new(runtime()));
        let (config, metrics) = config(&world.bootstrap, &world.name, world.kind, Some(0), &runtime);
        [0, 1].map(|lane| {
            let mut config = config.clone();
            config.identity.lane = lane;
            let stop = Stop::new();
            let lane = run_lane(stage.clone(), config, stop.clone()).expect("a thread");
            Self { lane, stop, metrics: metrics.clone(), _runtime: runtime.clone() }
        })
    }
    pub fn status(&self) -> LaneStatus {
        self.lane.status()
    }
    pub fn until(&self, what: &str, done: impl Fn(&LaneStatus) -> bool) -> LaneStatus {
        let mut last = LaneStatus::default();
        let found = Deadline::after(60).every(Duration::from_millis(10), || {
            last = self.lane.status();
            done(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("{what}, in time: {last:?}"))
    }
    pub fn stop(self) -> Result<(), StreamError> {
        self.stop.stop();
        self.lane.join()
    }
    /// Its own end.
    pub fn end(self) -> Result<(), StreamError> {
        self.lane.join()
    }
}

/// A lane in a process of its own.
pub struct Worker {
    child: Option<Child>,
    /// What it goes through to the broker.
    bootstrap: String,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(child) = self.child.take().filter(|_| std::thread::panicking()) {
            eprintln!("worker {}: {:?}\n{}", child.pid(), child.stdout(), child.stderr());
        }
    }
}

impl Worker {
    /// Through `bootstrap`, which may be a proxy's; with an ordinal a static member.
    pub fn start(world: &World, bootstrap: &str, ordinal: Option<u32>) -> Self {
        Self::with(world, bootstrap, ordinal, &[])
    }
    /// With more in its environment.
    pub fn with(world: &World, bootstrap: &str, ordinal: Option<u32>, env: &[(&str, String)]) -> Self {
        let asked = json!({
            "bootstrap": bootstrap, "name": world.name, "kind": format!("{:?}", world.kind), "ordinal": ordinal,
        });
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.env(WORKER, asked.to_string()).envs(env.iter().map(|(name, value)| (name, value)));
        Self { child: Some(Child::start(&mut command)), bootstrap: bootstrap.to_owned() }
    }
    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("not ended yet")
    }
    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.child().kill();
    }
    pub fn freeze(&mut self) {
        self.child().signal("STOP");
    }
    pub fn thaw(&mut self) {
        self.child().signal("CONT");
    }
    /// Waits until it has such a state.
    pub fn state(&mut self, state: &str) {
        self.child()
            .line(&format!("state {state}"), Deadline::after(60), |line| (line == state).then_some(()));
    }
    /// Whether it has ended by itself; if so, how.
    pub fn ended(&mut self) -> Option<bool> {
        self.child().exited().map(|status| status.success())
    }
    /// Starts another static one in its place where it has ended, which must be as `fenced`: an outage was longer than its session.
    pub fn mend(&mut self, world: &World) {
        if self.ended().is_some() {
            let successor = Self::start(world, &self.bootstrap, Some(0));
            let said = std::mem::replace(self, successor).failed(Deadline::after(60));
            assert!(said.contains("fenced"), "{said}");
            println!("the worker was started again: {said}");
        }
    }
    /// Waits for its own end, which is a failure; its last words.
    pub fn failed(mut self, deadline: Deadline) -> String {
        let ended = self.child.take().expect("not ended yet").finish(deadline);
        assert!(!ended.status.success(), "it ends with a failure: {ended:?}");
        ended.stderr
    }
    /// SIGTERM, and the end in order.
    pub fn stop(mut self) {
        self.child().signal("TERM");
        let ended = self.child.take().expect("not ended yet").finish(Deadline::after(60));
        assert!(ended.status.success(), "the worker ends in order: {}\n{}", ended.status, ended.stderr);
    }
}

/// Becomes a worker, where that is asked for.
pub fn run_if_asked() {
    let Ok(asked) = std::env::var(WORKER) else { return };
    let asked: Value = serde_json::from_str(&asked).expect("what to do");
    let text = |name: &str| asked[name].as_str().expect("a text").to_owned();
    let kind = Kind::parse(&text("kind")).expect("a kind of stage");
    let ordinal = asked["ordinal"].as_u64().map(|o| u32::try_from(o).expect("an ordinal"));
    let good = run(&text("bootstrap"), &text("name"), kind, ordinal);
    std::process::exit(i32::from(!good));
}

/// Until SIGTERM, the lane's own end, or that of whoever started it.
fn run(bootstrap: &str, name: &str, kind: Kind, ordinal: Option<u32>) -> bool {
    let (runtime, stop) = (runtime(), Stop::new());
    let (config, _metrics) = config(bootstrap, name, kind, ordinal, &runtime);
    let mut terminate = {
        let _entered = runtime.enter();
        unix::signal(unix::SignalKind::terminate()).expect("a handler")
    };
    let asked = stop.clone();
    runtime.spawn(async move {
        terminate.recv().await;
        asked.stop();
    });
    let lane = run_lane(Arc::new(kind.stage(name)), config, stop.clone()).expect("a thread");
    let (parent, mut last) = (std::os::unix::process::parent_id(), LaneState::Starting);
    while !lane.is_finished() {
        let state = lane.status().state;
        if state != last {
            println!("{}", word(&state));
            if let LaneState::Stalled { why } = &state {
                eprintln!("stalled: {why}");
            }
            last = state;
        }
        if std::os::unix::process::parent_id() != parent {
            stop.stop();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    lane.join().inspect_err(|error| eprintln!("{}: {error}", error.code())).is_ok()
}

fn word(state: &LaneState) -> &'static str {
    match state {
        LaneState::Starting => "starting",
        LaneState::Running => "running",
        LaneState::Stalled { .. } => "stalled",
        LaneState::Failed(_) => "failed",
        LaneState::Stopped => "stopped",
    }
}
