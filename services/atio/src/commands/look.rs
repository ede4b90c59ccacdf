//! What the commands share that look into topics: where things are, and how values become JSON. Owns neither output nor meaning.
use crate::{
    commands::block_on,
    endpoints::Target,
    exit::{Exit, Failure},
    system::{self, wanted::unreachable},
};
use anyhow::Context;
use atio_monitoring::{
    compare::Heads,
    noted::{self, NotedError},
};
use atio_runtime::{Config, RegistryIds, lifecycle};
use atio_schemas::{
    Codec,
    codec::{PrivateIds, Record, SchemaIds, StaticIds, schema_id},
    command::ObjectKind,
    definition::Definition,
};
use atio_stream::{
    Kafka, SchemaSource,
    admin::Admin,
    read::{self, Entry, ReadError, ReadSpec, TopicReader},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

const CLIENT: &str = "atio-look";

/// What becomes of definitions that do not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    LeftOut,
    Refused,
}

/// A cluster that is looked at. Its calls block.
pub struct Look {
    pub config: Config,
    pub kafka: Kafka,
    pub decoder: Decoder,
    stopped: Arc<AtomicBool>,
}

impl Look {
    /// Ctrl-C was pressed.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
    pub fn admin(&self) -> anyhow::Result<Admin> {
        Admin::connect(&self.kafka, CLIENT).map_err(unreachable)
    }
    /// Topics with their partition counts.
    pub fn topics(&self) -> anyhow::Result<BTreeMap<String, u32>> {
        self.admin()?.topics().map_err(unreachable)
    }
    /// The heads of the audit log's chains that ride in monitoring's offset commits.
    pub fn heads(&self) -> anyhow::Result<Heads> {
        noted::heads(&self.admin()?, &self.config.prefix).map_err(|error| match error {
            NotedError::Admin(error) => unreachable(error),
            other => other.into(),
        })
    }
    /// The whole of a topic, as it is now.
    pub fn scan(&self, topic: &str, mut each: impl FnMut(Entry)) -> anyhow::Result<()> {
        self.read(&ReadSpec::whole(&self.kafka, CLIENT, topic), |entry| {
            each(entry);
            Ok(ControlFlow::Continue(()))
        })
    }
    /// What is read so, up to where `each` breaks off or fails, or somebody stops it.
    pub fn read(
        &self,
        spec: &ReadSpec,
        mut each: impl FnMut(Entry) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let mut failed = Ok(());
        let each = |entry| {
            each(entry).unwrap_or_else(|error| {
                failed = Err(error);
                ControlFlow::Break(())
            })
        };
        TopicReader::open(spec)
            .and_then(|reader| reader.for_each(|| self.is_stopped(), each))
            .map_err(read_error)?;
        failed
    }
    /// Every definition and pointer of a workflow, by its key: `<name>@<n>`, `<name>`. Where somebody put there what does not read, it is
    /// left out, or refused.
    pub fn definitions(&self, unreadable: Unreadable) -> anyhow::Result<BTreeMap<String, Definition>> {
        let topic = format!("{}workflows", self.config.prefix);
        let mut found = BTreeMap::new();
        for (key, entry) in self.latest(&topic)? {
            let key = String::from_utf8_lossy(&key).into_owned();
            match self.decoder.decode::<Definition>(&entry.value.unwrap_or_default()) {
                Ok(definition) if definition.kind == ObjectKind::Workflow => {
                    found.insert(key, definition);
                }
                Err(e) if unreadable == Unreadable::Refused => anyhow::bail!("{topic}, key {key}: {e}"),
                _ => {}
            }
        }
        Ok(found)
    }
    /// The newest record of each key of a compacted topic.
    pub fn latest(&self, topic: &str) -> anyhow::Result<BTreeMap<Vec<u8>, Entry>> {
        read::latest_by_key(&self.kafka, CLIENT, topic, 1_000_000).map_err(read_error)
    }
}

/// Runs `work` where it may block, until it ends or Ctrl-C.
pub fn look(
    target: &Target,
    work: impl FnOnce(&Look) -> anyhow::Result<Exit> + Send + 'static,
) -> anyhow::Result<Exit> {
    Ok(find(target, work)?.unwrap_or(Exit::Done))
}

/// What `work` finds, for what is done next. None: Ctrl-C, so it may not have looked to the end.
pub fn find<T: Send + 'static>(
    target: &Target,
    work: impl FnOnce(&Look) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<Option<T>> {
    run(target, AtSignal::Leave, work)
}

/// As [`look`], for work that writes: Ctrl-C tells it to stop, and its end is waited for.
pub fn finish(
    target: &Target,
    work: impl FnOnce(&Look) -> anyhow::Result<Exit> + Send + 'static,
) -> anyhow::Result<Exit> {
    Ok(run(target, AtSignal::Wait, work)?.unwrap_or(Exit::Done))
}

/// What becomes of the work when a signal has told it to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtSignal {
    Leave,
    Wait,
}

fn run<T: Send + 'static>(
    target: &Target,
    at_signal: AtSignal,
    work: impl FnOnce(&Look) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<Option<T>> {
    let config = target.configuration(json!({}))?;
    let kafka = system::kafka(&config, &target.kafka(&config)?);
    let registry = target.registry(&config).ok();
    block_on(async {
        let stopped = Arc::new(AtomicBool::new(false));
        let decoder = Decoder::new(registry.as_deref())?;
        let look = Look { config, kafka, decoder, stopped: stopped.clone() };
        let mut working = tokio::task::spawn_blocking(move || work(&look));
        tokio::select! {
            end = &mut working => return end.context("working")?.map(Some),
            signal = lifecycle::signalled() => {
                stopped.store(true, Ordering::Relaxed);
                signal?;
            }
        }
        match at_signal {
            AtSignal::Leave => Ok(None),
            AtSignal::Wait => working.await.context("working")?.map(Some),
        }
    })
}

/// A reader's error with its exit code.
pub fn read_error(error: ReadError) -> anyhow::Error {
    match error {
        ReadError::Unreachable(_) => Failure::unreachable(error.to_string()),
        other => anyhow::Error::new(other),
    }
}

/// The topic as it is called on the cluster: as given, else with our prefix before it.
pub fn full_name(look: &Look, topic: &str) -> anyhow::Result<String> {
    chosen(&look.topics()?, &look.config.prefix, topic).map_err(|known| {
        let hint = if known.is_empty() { "there are none yet".to_owned() } else { known.join(", ") };
        Failure::usage(format!("no topic `{topic}` or `{}{topic}`; topics: {hint}", look.config.prefix))
    })
}

/// The topic's name, else what there is.
fn chosen(topics: &BTreeMap<String, u32>, prefix: &str, topic: &str) -> Result<String, Vec<String>> {
    let prefixed = format!("{prefix}{topic}");
    // Ours first: `detections` is `atio.detections` also where somebody has a topic of that name.
    let ours = [prefixed, topic.to_owned()];
    ours.into_iter().find(|name| topics.contains_key(name)).ok_or_else(|| topics.keys().cloned().collect())
}

/// Turns values into JSON.
pub struct Decoder {
    codec: Codec,
    ids: Option<Arc<RegistryIds>>,
}

impl Decoder {
    /// Without a registry Avro stays bytes.
    pub fn new(registry: Option<&str>) -> anyhow::Result<Self> {
        let ids = registry.map(RegistryIds::reader).transpose()?;
        let codec = match &ids {
            Some(ids) => Codec::new(ids.clone()),
            // Never asked: see `codec`.
            None => Codec::new(Arc::new(StaticIds::new())),
        };
        Ok(Self { codec, ids })
    }

    /// With ids that are registered: its codec writes as well.
    pub const fn of(codec: Codec, ids: Arc<RegistryIds>) -> Self {
        Self { codec, ids: Some(ids) }
    }

    /// A codec that reads what the registry has, once its schema is at hand ([`Self::codec`]), and writes for this process alone: under ids that no
    /// registry gives.
    pub fn private(&self) -> Codec {
        Codec::new(Arc::new(PrivateIds::beside(self.ids.clone().map(|ids| ids as Arc<dyn SchemaIds>))))
    }

    /// The codec for what is there already.
    pub const fn any(&self) -> &Codec {
        &self.codec
    }

    /// The codec; what the registry does not know stays bytes to it.
    pub fn known(&self, value: &[u8]) -> &Codec {
        self.codec(value).unwrap_or(&self.codec)
    }

    /// The codec, once the schema of these bytes is at hand. Blocks for the registry's answer.
    pub fn codec(&self, value: &[u8]) -> Result<&Codec, String> {
        let Some(ids) = &self.ids else {
            return Err("no registry: give --registry URL, or --data DIR of a running `atio up`".to_owned());
        };
        schema_id(value).map_or(Ok(()), |id| ids.ensure(id))?;
        Ok(&self.codec)
    }

    /// A record of a type of ours.
    pub fn decode<R: Record>(&self, value: &[u8]) -> Result<R, String> {
        self.codec(value)?.decode(value).map_err(|e| e.to_string())
    }

    /// A record of whatever type.
    pub fn avro(&self, value: &[u8]) -> Result<Value, String> {
        let (_name, value) = self.codec(value)?.to_json(value).map_err(|e| e.to_string())?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_may_be_left_out() {
        let topics: BTreeMap<String, u32> = ["atio.detections", "eve"].map(|t| (t.to_owned(), 1)).into();
        assert_eq!(chosen(&topics, "atio.", "detections").unwrap(), "atio.detections");
        assert_eq!(chosen(&topics, "atio.", "atio.detections").unwrap(), "atio.detections");
        assert_eq!(chosen(&topics, "atio.", "eve").unwrap(), "eve");
        assert_eq!(chosen(&topics, "atio.", "none").unwrap_err().len(), 2);
    }
}
