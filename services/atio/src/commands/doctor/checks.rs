//! The checks of `doctor`, one function each. Each asks one thing and says what to do; none repairs.
use crate::{
    commands::{block_on, plan},
    system::wanted::{self, unreachable},
};
use atio_runtime::{
    Config,
    schema_ids::{Registered, registered},
};
use atio_stream::{
    Kafka,
    admin::Admin,
    publish::{TransactError, Transactional, TransactionalSpec},
};
use atio_topics::{ClusterState, Declarations, Flags, From, Sink, Target};
use std::{
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

const CLIENT: &str = "atio-doctor";
/// A sink that does not accept a connection in this time is out of reach.
const CONNECT: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Good,
    Warning,
    Bad,
    Unreachable,
}

impl State {
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Warning => "!",
            Self::Bad | Self::Unreachable => "✗",
        }
    }
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
            Self::Unreachable => "unreachable",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    pub state: State,
    pub text: String,
    /// What to do.
    pub todo: Option<String>,
}

impl Check {
    fn good(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state: State::Good, text: text.into(), todo: None }
    }
    fn not(state: State, name: &str, text: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state, text: text.into(), todo: Some(todo.into()) }
    }
}

/// The data directory takes files.
pub fn data(config: &Config) -> Check {
    let dir = config.data.display();
    if !config.data.is_dir() {
        let todo = "the first `atio up` or `atio run` makes it; --data names another";
        return Check::not(State::Warning, "data", format!("{dir} does not exist yet"), todo);
    }
    match tempfile::tempfile_in(&config.data) {
        Ok(_) => Check::good("data", format!("{dir} can be written to")),
        Err(e) => {
            let todo = "make it writable for the user that runs atio, or name another with --data";
            Check::not(State::Bad, "data", format!("{dir}: {e}"), todo)
        }
    }
}

/// A broker answers.
pub fn broker(kafka: &Kafka) -> Check {
    match Admin::connect(kafka, CLIENT).and_then(|admin| admin.topics()) {
        Ok(topics) => Check::good("broker", format!("{} answers, {} topics", kafka.bootstrap, topics.len())),
        Err(e) => {
            let todo = "is it up, and are its advertised listeners reachable from here? TLS and SASL are set under kafka.properties";
            Check::not(State::Unreachable, "broker", e.to_string(), todo)
        }
    }
}

/// Exactly-once needs transactions: the coordinator gives out a producer id.
pub fn transactions(kafka: &Kafka, config: &Config) -> Check {
    let spec = TransactionalSpec {
        kafka: kafka.clone(),
        client_id: CLIENT.to_owned(),
        transactional_id: format!("{}doctor-{}", config.prefix, std::process::id()),
        topics: vec![],
        transaction_timeout: Duration::from_secs(10),
    };
    match Transactional::open(spec) {
        Ok(_) => Check::good("transactions", "the broker takes them"),
        Err(e @ TransactError::Unavailable(_)) => {
            let todo = "its transaction coordinator must be available: __transaction_state needs as many brokers as its replication factor";
            Check::not(State::Bad, "transactions", e.to_string(), todo)
        }
        Err(e) => {
            let todo = "Apache Kafka 2.5 or newer is needed, with the right to use transactional ids under our prefix";
            Check::not(State::Bad, "transactions", e.to_string(), todo)
        }
    }
}

/// Topics are as declared, and adopted ones are fit to be read.
pub fn topics(kafka: &Kafka, config: &Config, declarations: &Declarations) -> anyhow::Result<Vec<Check>> {
    let embedded = plan::is_embedded(config)?;
    let (admin, plan) = wanted::difference(kafka, config, declarations, embedded, Flags::default(), None)?;
    let mut checks = vec![];
    // What only a flag would destroy is no fault.
    let differing = plan.changes.len() + if plan.impossible() { plan.refused.len() } else { 0 };
    if differing == 0 {
        checks.push(Check::good("topics", "all are as declared"));
    } else {
        let text = format!("{differing} differences from what is declared");
        let todo = "`atio plan` shows what, `atio apply` makes it so";
        checks.push(Check::not(State::Bad, "topics", text, todo));
    }
    let state = admin.cluster_state().map_err(unreachable)?;
    checks.extend(adopted(declarations, &state));
    Ok(checks)
}

/// Times of adopted topics: with those of the producer, detection and replay by time are as good as its clock.
fn adopted(declarations: &Declarations, state: &ClusterState) -> Vec<Check> {
    let topics = declarations.sources.values().filter_map(|source| match &source.from {
        From::Topic { name, .. } => Some((&source.meta.name, name)),
        _ => None,
    });
    let check = |(source, topic): (&String, &String)| {
        let name = format!("source {source}");
        let Some(there) = state.topics.get(topic) else {
            let todo = "whoever owns it creates it; it is never created from here";
            return Check::not(State::Bad, &name, format!("its topic {topic} does not exist"), todo);
        };
        let by_broker = there.configs.get("message.timestamp.type").is_some_and(|t| t == "LogAppendTime");
        if by_broker {
            return Check::good(&name, format!("{topic} has the broker's times"));
        }
        let todo = "set message.timestamp.type=LogAppendTime on it, if its owner agrees";
        Check::not(State::Warning, &name, format!("{topic} has its producers' times"), todo)
    };
    topics.map(check).collect()
}

/// A setting of the broker that can't be asked for.
pub fn cleanup_interval(config: &Config) -> anyhow::Result<Check> {
    if plan::is_embedded(config)? {
        return Ok(Check::good("recovery", "the embedded broker ends lost transactions within a second"));
    }
    let todo = "set transaction.abort.timed.out.transaction.cleanup.interval.ms=1000 on the brokers";
    let text =
        "a foreign Kafka ends the transactions of a killed process only every 10 s, unless told otherwise";
    Ok(Check::not(State::Warning, "recovery", text, todo))
}

/// The registry answers and has our schemas.
pub fn registry(url: Option<&str>) -> anyhow::Result<Check> {
    let Some(url) = url else {
        let todo = "give --registry URL, or --data DIR of a running `atio up`";
        return Ok(Check::not(State::Bad, "registry", "none is named", todo));
    };
    let found = block_on(async { Ok(registered(url).await) })?;
    Ok(match found {
        Err(e) => {
            let todo = "is it up? `atio run registry` runs ours";
            Check::not(State::Unreachable, "registry", e.to_string(), todo)
        }
        Ok(found) => {
            let missing: Vec<&str> = found
                .iter()
                .filter(|(_, s)| !matches!(s, Registered::As(_)))
                .map(|(name, _)| *name)
                .collect();
            if missing.is_empty() {
                Check::good("registry", format!("{url} has all {} schemas", found.len()))
            } else {
                let text = format!("{url} lacks, or has otherwise: {}", missing.join(", "));
                Check::not(
                    State::Bad,
                    "registry",
                    text,
                    "`atio schema register`, or start a service: it registers them",
                )
            }
        }
    })
}

/// A sink that is reached over the network accepts a connection; nothing is sent.
pub fn sink(sink: &Sink) -> Option<Check> {
    let url = match &sink.target {
        Target::Webhook { http, .. } | Target::OpenSearch { http, .. } => &http.url,
        Target::File { .. } | Target::Kafka { .. } => return None,
    };
    let name = format!("sink {}", sink.meta.name);
    let reached = host_and_port(url).ok_or_else(|| "no host".to_owned()).and_then(|at| connect(&at));
    Some(match reached {
        Ok(at) => Check::good(&name, format!("{at} accepts connections")),
        Err(e) => {
            let todo = "deliveries wait until it does; is the url right, and does a firewall stand between?";
            Check::not(State::Bad, &name, format!("{url}: {e}"), todo)
        }
    })
}

fn connect(at: &str) -> Result<SocketAddr, String> {
    let mut last = "no address".to_owned();
    for address in at.to_socket_addrs().map_err(|e| e.to_string())? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return Ok(address),
            Err(e) => last = e.to_string(),
        }
    }
    Err(last)
}

/// `host:port` of an http or https URL.
fn host_and_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().filter(|a| !a.is_empty())?;
    let after_host = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
    if after_host.contains(':') {
        return Some(authority.to_owned());
    }
    Some(format!("{authority}:{}", if scheme == "https" { 443 } else { 80 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_topics::{TopicState, load::File};

    #[test]
    fn hosts_of_urls() {
        assert_eq!(host_and_port("https://h/x:1").as_deref(), Some("h:443"));
        assert_eq!(host_and_port("http://h:9200/a?b").as_deref(), Some("h:9200"));
        assert_eq!(host_and_port("http://[::1]/").as_deref(), Some("[::1]:80"));
        assert_eq!(host_and_port("http://[::1]:81").as_deref(), Some("[::1]:81"));
        assert_eq!(host_and_port("nothing"), None);
    }

    #[test]
    fn adopted_topics_are_looked_at() {
        let text = "{apiVersion: atio/v1, kind: Source, metadata: {name: eve}, format: suricata, from: {topic: {name: eve}}}";
        let declared =
            Declarations::load(&[File { name: "sources/eve.yaml".into(), text: text.into() }]).unwrap();
        let states = |configs: &[(&str, &str)]| {
            let configs = configs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let topics = [("eve".to_owned(), TopicState { partitions: 1, configs })].into();
            adopted(&declared, &ClusterState { topics }).iter().map(|c| c.state).collect::<Vec<_>>()
        };
        assert_eq!(states(&[("message.timestamp.type", "LogAppendTime")]), [State::Good]);
        assert_eq!(states(&[("message.timestamp.type", "CreateTime")]), [State::Warning]);
        assert_eq!(adopted(&declared, &ClusterState::default())[0].state, State::Bad);
    }

    #[test]
    fn a_data_directory_is_tried() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data: dir.path().to_owned(), ..Config::default() };
        assert_eq!(data(&config).state, State::Good);
        let config = Config { data: dir.path().join("none"), ..Config::default() };
        assert_eq!(data(&config).state, State::Warning);
    }
}
