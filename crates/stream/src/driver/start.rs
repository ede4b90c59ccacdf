//! How a lane starts: names, clients, limits (exactly-once, rules 9, 13). Owns the order; waits for brokers that are not there yet.
use super::*;
use crate::{
    client::limits::max_message_bytes,
    lane::{SchemaSource, panic_text},
};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const STATIC_SESSION: Duration = Duration::from_secs(10);
const DYNAMIC_SESSION: Duration = Duration::from_secs(6);
const DYNAMIC_TRANSACTION: Duration = Duration::from_secs(5);
const BATCH_BYTES: usize = 1_000_000;
/// A dead letter's headers.
const DEAD_LETTER_ROOM: usize = 64 * 1024;
const AGAIN: Duration = Duration::from_millis(500);

/// What a start has waited for, each since its beginning: it is told once, so that a slow one can be explained.
pub(super) struct Waits {
    began: Instant,
    limits: Duration,
    initialised: Duration,
    subscribed: Duration,
}

impl Waits {
    /// The group has answered, and what it gave is restored.
    pub(super) fn tell(&self, stage: &str) {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            stage,
            limits_ms = ms(self.limits),
            initialised_ms = ms(self.initialised),
            subscribed_ms = ms(self.subscribed),
            joined_ms = ms(self.began.elapsed()),
            "in its group"
        );
    }
}

/// None: stopped before it began.
pub(super) fn start(
    stage: Arc<Stage>,
    config: LaneConfig,
    stop: Stop,
    shared: &Shared,
) -> Result<Option<(LaneConsumer, Driver)>, StreamError> {
    let began = Instant::now();
    let name = instance_name(&stage, &config.identity);
    let topics = written(&stage);
    // It connects while the limits are asked for.
    let restorer = Restorer::new(&config.kafka, &name, !stage.stores.is_empty()).map_err(refused)?;
    let wanted = || !stop.is_stopped();
    let limits = || max_message_bytes(&config.kafka, &name, &topics, &config.io);
    let Some(limits) = patiently(&wanted, shared, limits)?.map(TopicLimits) else { return Ok(None) };
    let asked = began.elapsed();
    let smallest = topics.iter().map(|t| limits.of(t)).min().unwrap_or(BATCH_BYTES);
    let spec = producer_spec(&stage, &config, name, smallest);
    let clients = clients(&stage, &config, &stop, shared, (&restorer, &limits, &spec))?;
    let Some((consumer, (producer, initialised), (tables, subscribed))) = clients else { return Ok(None) };
    let since = |at: Instant| at.duration_since(began);
    let waits =
        Waits { began, limits: asked, initialised: since(initialised), subscribed: since(subscribed) };
    let deliveries = Deliveries::new(&stage, &config.io, config.limits.in_flight);
    let driver = Driver {
        deliveries,
        taking: Taking::new(&stage, &config),
        machine: Machine::new(timing(&stage, &config)),
        stage,
        config,
        stop,
        shared: shared.clone(),
        clock: Clock::start(),
        spec,
        producer: Some(producer),
        restorer: Some(restorer),
        states: States::default(),
        books: Books::default(),
        tables,
        epoch: Noting::Due,
        starts: Positions::new(),
        deadlines: Deadlines::default(),
        wanted: BTreeMap::new(),
        firing: vec![],
        paused: BTreeSet::new(),
        full_since: None,
        stop_since: None,
        limits,
        open: false,
        begun: Instant::now(),
        sealing: Instant::now(),
        told_stop: false,
        ids: HashSet::new(),
        poison: (0, 0),
        last_sweep: 0,
        last_served: 0,
        troubles: 0,
        last_trouble: 0,
        waits: Some(waits),
        told_waiting: 0,
        ended: None,
    };
    Ok(Some((consumer, driver)))
}

fn refused(fault: Fault) -> StreamError {
    StreamError::Start(fault.text)
}

/// A twentieth of the interval: 1 ms interactive, 5 ms bulk.
fn linger(interval: Millis) -> Duration {
    Duration::from_millis((interval / 20).clamp(1, 5))
}

fn producer_spec(stage: &Stage, config: &LaneConfig, name: String, smallest: usize) -> ProducerSpec {
    let fixed = config.identity.ordinal.is_some();
    ProducerSpec {
        kafka: config.kafka.clone(),
        client_id: name.clone(),
        transactional_id: name,
        transaction_timeout: if fixed { STATIC_SESSION } else { DYNAMIC_TRANSACTION },
        batch_bytes: BATCH_BYTES.min(smallest - smallest / 10),
        message_bytes: config.limits.message_bytes,
        linger: linger(timing(stage, config).commit_interval),
    }
}

/// With the moments at which the producer was there, and the group was asked.
type Clients = (LaneConsumer, (TxnProducer, Instant), (TableReader, Instant));

/// The predecessor's transaction is ended while topics are checked, tables read and the group is joined: most of a restart is waiting.
fn clients(
    stage: &Stage,
    config: &LaneConfig,
    stop: &Stop,
    shared: &Shared,
    (restorer, limits, spec): (&Restorer, &TopicLimits, &ProducerSpec),
) -> Result<Option<Clients>, StreamError> {
    let failed = AtomicBool::new(false);
    let wanted = || !stop.is_stopped() && !failed.load(Relaxed);
    std::thread::scope(|scope| {
        let initialising = scope.spawn(|| {
            let made = patiently(&wanted, shared, || spec.init(&wanted));
            failed.fetch_or(made.is_err(), Relaxed);
            made.map(|producer| Some((producer?, Instant::now())))
        });
        let joined = join(stage, config, shared, &wanted, (restorer, limits, &spec.client_id));
        failed.fetch_or(joined.is_err(), Relaxed);
        let subscribed = Instant::now();
        let producer = initialising.join();
        let producer = producer.unwrap_or_else(|panic| Err(StreamError::Panicked(panic_text(&*panic))));
        match (joined, producer) {
            (Ok(Some((consumer, tables))), Ok(Some(producer))) => {
                Ok(Some((consumer, producer, (tables, subscribed))))
            }
            (Ok(joined), producer) => {
                joined.into_iter().for_each(|(consumer, _)| consumer.close());
                producer.map(|_| None)
            }
            (Err(error), _) => Err(error),
        }
    })
}

/// The group comes last: partitions do not wait for tables.
fn join(
    stage: &Stage,
    config: &LaneConfig,
    shared: &Shared,
    wanted: &dyn Fn() -> bool,
    (restorer, limits, name): (&Restorer, &TopicLimits, &str),
) -> Result<Option<(LaneConsumer, TableReader)>, StreamError> {
    if patiently(wanted, shared, || check(stage, restorer, limits))?.is_none() {
        return Ok(None);
    }
    let schemas = config.schemas.clone();
    let ensure = |value: Option<&[u8]>| fetch_schema(&*schemas, value);
    let reader = format!("{}{}", config.identity.prefix, stage.service);
    let client = (&config.kafka, reader.as_str());
    let load = || TableReader::load(&config.tables, &stage.tables, client, &ensure, wanted);
    let Some(tables) = patiently(wanted, shared, load)? else { return Ok(None) };
    let fixed = config.identity.ordinal.is_some();
    let membership = ConsumerSpec {
        kafka: config.kafka.clone(),
        client_id: if fixed { again::member_of(name) } else { name.to_owned() },
        group: stage.group.clone(),
        instance: fixed.then(|| name.to_owned()),
        session: if fixed { STATIC_SESSION } else { DYNAMIC_SESSION },
        together: stage.inputs.len() > 1 && !stage.stores.is_empty(),
        split: config.intake.is_some(),
    };
    let inputs: Vec<&str> = stage.inputs.iter().map(|i| &*i.topic).collect();
    let consumer = LaneConsumer::join(&membership, &inputs).map_err(refused)?;
    Ok(Some((consumer, tables)))
}

/// Again until it works, it is of no use, or nobody wants it any more.
fn patiently<T>(
    wanted: &dyn Fn() -> bool,
    shared: &Shared,
    mut call: impl FnMut() -> Result<T, Fault>,
) -> Result<Option<T>, StreamError> {
    while wanted() {
        match call() {
            Ok(value) => return Ok(Some(value)),
            Err(fault) if matches!(fault.kind, FaultKind::Retry | FaultKind::Unknown) => {
                tracing::warn!(error_code = "start", error = %fault, "waits for the broker");
                shared.update(|s| s.state = LaneState::Stalled { why: fault.text });
                clock::pause(AGAIN);
            }
            Err(fault) => return Err(refused(fault)),
        }
    }
    Ok(None)
}

/// What must hold of the topics before anything is read (rules 13, 16).
fn check(stage: &Stage, restorer: &Restorer, limits: &TopicLimits) -> Result<(), Fault> {
    let count = |topic: &str| match restorer.partitions(topic)? {
        0 => Err(Fault::new(FaultKind::Retry, format!("topic {topic} is not there"))),
        n => Ok(n),
    };
    let fatal = |text: String| Err(Fault::new(FaultKind::Fatal, text));
    for input in &stage.inputs {
        let partitions = count(&input.topic)?;
        let letters = count(&input.dead_letters)?;
        if letters < partitions {
            return fatal(format!(
                "{} has {letters} partitions, {} has {partitions}",
                input.dead_letters, input.topic
            ));
        }
        let (source, target) = (limits.of(&input.topic), limits.of(&input.dead_letters));
        if target < source + DEAD_LETTER_ROOM {
            // A record that does not fit stalls its partition when it comes, with the same words.
            tracing::warn!(
                stage = stage.name,
                error_code = "dead_letter_limit",
                topic = &*input.dead_letters,
                limit = target,
                "max.message.bytes should be {} (its source's and 64 KiB)",
                source + DEAD_LETTER_ROOM
            );
        }
        for store in &stage.stores {
            let entries = count(&store.changelog)?;
            if entries != partitions {
                return fatal(format!(
                    "{} has {entries} partitions, {} has {partitions}",
                    store.changelog, input.topic
                ));
            }
        }
    }
    Ok(())
}

/// Every topic that the stage writes, and its inputs.
fn written(stage: &Stage) -> Vec<Arc<str>> {
    let mut topics: Vec<Arc<str>> = stage.outputs.clone();
    topics.extend(stage.inputs.iter().flat_map(|i| [i.topic.clone(), i.dead_letters.clone()]));
    topics.extend(stage.stores.iter().map(|s| s.changelog.clone()));
    if let Run::Deliver(deliver) = &stage.run {
        topics.push(deliver.receipts.clone());
    }
    topics.sort();
    topics.dedup();
    topics
}

/// Fetches a record's schema, where it is not known yet.
pub(super) fn fetch_schema(schemas: &dyn SchemaSource, value: Option<&[u8]>) -> Result<(), String> {
    match value.and_then(atio_schemas::codec::schema_id) {
        Some(id) if schemas.schema_of(id).is_none() => {
            schemas.ensure(id).map_err(|e| format!("schema {id}: {e}"))
        }
        _ => Ok(()),
    }
}
