//! Judges monitoring on a running Kafka: `commands_check HOST:PORT [CLIENTS] [APPLIES]`. Clients apply new versions of one workflow at the same
//! time, each on what it saw, again when refused; the service is killed with SIGKILL meanwhile. Then no update may be lost, and the chain verify.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a check on the command line"
)]
use atio_metric::Metrics;
use atio_monitoring::{BuiltIn, Deps, Facts, object_key, stages};
use atio_schemas::{
    Codec, SchemaIds, Timestamp,
    audit::{self, AuditEntry, ChainHead},
    codec::StaticIds,
    command::{Action, Command, ObjectKind},
    definition::{Change, ChangeType, Definition},
};
use atio_stage::{Headers, Output};
use atio_stream::{
    Identity, Kafka, LaneConfig, Limits, SchemaSource, SharedTables, Stop, StreamMetrics,
    admin::Admin,
    publish::{Publisher, PublisherSpec},
    read::{Entry, From, ReadSpec, TopicReader, Until, latest_by_key},
    run_lane,
};
use atio_topics::{Declarations, Fixed, Flags, Layout, StateTopic, derive::derive, plan::plan};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    ops::ControlFlow,
    process::{Child, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

struct Ids(StaticIds);
impl SchemaIds for Ids {
    fn id_of(&self, subject: &str) -> Option<i32> {
        self.0.id_of(subject)
    }
    fn schema_of(&self, id: i32) -> Option<Arc<apache_avro::Schema>> {
        self.0.schema_of(id)
    }
}
impl SchemaSource for Ids {
    fn ensure(&self, _: i32) -> Result<(), String> {
        Ok(())
    }
}

fn codec() -> Codec {
    Codec::new(Arc::new(StaticIds::new()))
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let kafka = Kafka { bootstrap: args[1].clone(), ..Kafka::default() };
    match args.get(2).map(String::as_str) {
        Some("run") => serve(&kafka, &args[3]),
        _ => {
            let number =
                |i: usize, usual| args.get(i).map_or(usual, |n: &String| n.parse().expect("a number"));
            judge(&kafka, number(2, 4), number(3, 25));
        }
    }
}

/// The service, until standard input closes or it is killed.
fn serve(kafka: &Kafka, prefix: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let check = Arc::new(BuiltIn {
        workflow: Arc::new(|_, _| Ok(Facts::default())),
        run: Arc::new(|_, _, _| Ok(())),
    });
    let stop = Stop::new();
    let registry = Metrics::default();
    let metrics = StreamMetrics::new(&registry.service("monitoring")).expect("metrics");
    let shared = SharedTables::default();
    let lanes: Vec<_> = stages(&Deps { prefix: prefix.to_owned(), codec: codec(), check, budget: 32 })
        .into_iter()
        .map(|stage| {
            let config = LaneConfig {
                kafka: kafka.clone(),
                identity: Identity { prefix: prefix.to_owned(), ordinal: Some(0), lane: 0 },
                codec: codec(),
                schemas: Arc::new(Ids(StaticIds::new())),
                metrics: metrics.clone(),
                io: runtime.handle().clone(),
                limits: Limits::default(),
                tables: shared.clone(),
                epochs: None,
                intake: None,
            };
            run_lane(Arc::new(stage), config, stop.clone()).expect("a lane")
        })
        .collect();
    let mut input = vec![];
    std::io::stdin().read_to_end(&mut input).expect("input");
    stop.stop();
    lanes.into_iter().for_each(|l| l.join().expect("a good end"));
}

fn start(kafka: &Kafka, prefix: &str) -> Child {
    let own = std::env::current_exe().expect("this program");
    std::process::Command::new(own)
        .args([&kafka.bootstrap, "run", prefix])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a service")
}

fn judge(kafka: &Kafka, clients: usize, applies: usize) {
    let prefix = format!("check{}.", std::process::id());
    let admin = Admin::connect(kafka, "check").expect("a client");
    make_topics(&admin, &prefix);
    let mut service = start(kafka, &prefix);
    let started = Instant::now();
    let workers: Vec<_> = (0..clients)
        .map(|client| {
            let (kafka, prefix) = (kafka.clone(), prefix.clone());
            std::thread::spawn(move || apply(&kafka, &prefix, client, applies))
        })
        .collect();
    let mut kills = 0;
    while workers.iter().any(|w| !w.is_finished()) {
        std::thread::sleep(Duration::from_millis(700));
        service.kill().expect("killed");
        service.wait().expect("gone");
        service = start(kafka, &prefix);
        kills += 1;
    }
    let (mut done, mut refused) = (0, 0);
    for worker in workers {
        let (d, r) = worker.join().expect("a client");
        done += d;
        refused += r;
    }
    println!("{done} applied, {refused} refused, {kills} kills, {:?}", started.elapsed());
    verify(kafka, &prefix, done, refused);
    drop(service.stdin.take());
    assert!(service.wait().expect("gone").success(), "it ends well");
    let all = Flags { delete: true, shrink: true };
    let gone =
        admin.apply(&plan(&[], &admin.cluster_state().expect("a state"), &prefix, all)).expect("deleted");
    assert!(gone.iter().all(|d| d.result.is_ok()));
    println!("ok");
}

fn make_topics(admin: &Admin, prefix: &str) {
    let fixed = Fixed::shipped().expect("topics.yaml");
    let mut layout = Layout::new(&fixed, prefix, true);
    layout.replication = Some(1);
    let check = Arc::new(BuiltIn {
        workflow: Arc::new(|_, _| Ok(Facts::default())),
        run: Arc::new(|_, _, _| Ok(())),
    });
    let states: Vec<StateTopic> =
        stages(&Deps { prefix: prefix.to_owned(), codec: codec(), check, budget: 32 })
            .iter()
            .flat_map(|s| {
                let inputs: Vec<String> = s.inputs.iter().map(|i| i.topic.to_string()).collect();
                s.stores.iter().map(move |store| StateTopic {
                    changelog: store.changelog.to_string(),
                    retention_ms: store.retention_ms,
                    inputs: inputs.clone(),
                })
            })
            .collect();
    let wanted = derive(&fixed, &Declarations::default(), &states, &layout).expect("derived");
    let plan = plan(&wanted, &admin.cluster_state().expect("a state"), prefix, Flags::default());
    assert!(admin.apply(&plan).expect("applied").iter().all(|d| d.result.is_ok()));
}

/// One client: sees, applies, waits for its answer; until it has applied so many.
fn apply(kafka: &Kafka, prefix: &str, client: usize, applies: usize) -> (usize, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let topic = |name: &str| format!("{prefix}{name}");
    let commands = topic("commands");
    let publisher = Publisher::open(PublisherSpec::new(kafka, "check", &[&commands])).expect("a publisher");
    let spec = ReadSpec {
        from: From::Beginning,
        until: Until::Never,
        ..ReadSpec::whole(kafka, "check", &topic("workflow-changes"))
    };
    let answers = TopicReader::open(&spec).expect("a reader").into_channel(64).expect("a thread");
    let mut answers = answers;
    let (mut done, mut refused, mut version, mut sent) = (0, 0, 0, 0);
    while done < applies {
        sent += 1;
        let command_id = format!("{client}-{sent}");
        let yaml = format!(
            "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: w}}\non: detection # {command_id}\n"
        );
        let command = Command {
            command_id: command_id.clone(),
            action: Action::Apply,
            kind: ObjectKind::Workflow,
            name: "w".into(),
            expected_version: version,
            definition: Some(yaml),
            actor: format!("client-{client}"),
            reason: None,
            sent_at: Timestamp(0),
            own_topic: Some(true),
        };
        let value = codec().encode(&command).expect("encoded");
        let output =
            Output::new(commands.as_str(), object_key(ObjectKind::Workflow, "w"), value, Headers::default());
        // Each is sent twice, as after a time-out: it must count once.
        for answer in runtime.block_on(publisher.send(vec![output.clone(), output])) {
            answer.expect("published");
        }
        loop {
            let entry = runtime.block_on(answers.recv()).expect("an answer").expect("read");
            let change: Change = codec().decode(entry.value.as_ref().expect("a change")).expect("decoded");
            version = change.after_version.unwrap_or(0);
            if change.command_id == command_id {
                if change.change_type == ChangeType::Refusal {
                    refused += 1
                } else {
                    done += 1
                }
                break;
            }
        }
    }
    (done, refused)
}

fn whole(kafka: &Kafka, topic: &str) -> Vec<Entry> {
    let mut all = vec![];
    let reader = TopicReader::open(&ReadSpec::whole(kafka, "check", topic)).expect("a reader");
    reader
        .for_each(
            || false,
            |e| {
                all.push(e);
                ControlFlow::Continue(())
            },
        )
        .expect("read");
    all
}

fn verify(kafka: &Kafka, prefix: &str, done: usize, refused: usize) {
    let codec = codec();
    let changes: Vec<Change> = whole(kafka, &format!("{prefix}workflow-changes"))
        .iter()
        .map(|e| codec.decode(e.value.as_ref().expect("a change")).expect("decoded"))
        .collect();
    // Answers to commands whose client had stopped listening are among them.
    assert_eq!(changes.len(), done + refused, "one answer a command");
    let mut version = None;
    for change in changes.iter().filter(|c| c.change_type != ChangeType::Refusal) {
        assert_eq!(change.before_version, version, "each starts from what the one before left");
        version = change.after_version;
    }
    assert_eq!(version, Some(i64::try_from(done).expect("a number")));
    let definitions = latest_by_key(kafka, "check", &format!("{prefix}workflows"), 100_000).expect("read");
    let definitions: BTreeMap<String, Definition> = definitions
        .into_iter()
        .map(|(k, e)| {
            (
                String::from_utf8(k).expect("text"),
                codec.decode(&e.value.expect("a definition")).expect("decoded"),
            )
        })
        .collect();
    assert_eq!((definitions.len(), definitions["w"].version), (done + 1, version.expect("a version")));
    let texts: BTreeSet<&str> = definitions.values().map(|d| d.definition.as_str()).collect();
    assert_eq!(texts.len(), done + 1, "no version twice");
    let log = whole(kafka, &format!("{prefix}audit"));
    let keys: BTreeSet<_> = log.iter().map(|e| e.key.clone()).collect();
    let entries: Vec<AuditEntry> =
        log.iter().map(|e| codec.decode(e.value.as_ref().expect("an entry")).expect("decoded")).collect();
    assert_eq!((keys.len(), entries.len()), (done + refused, done + refused));
    let head = audit::verify(ChainHead::default(), &entries).expect("the chain verifies");
    println!("chain of {} entries verifies", head.sequence);
}
