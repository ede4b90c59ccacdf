//! What a lane is configured with. Owns no defaults of the client: those are in `client`.
use std::collections::BTreeMap;

/// How to reach Kafka. Whatever is in `properties` goes to librdkafka as it stands (TLS, SASL, tuning) and wins over our own settings,
/// those aside that exactly-once rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port[,host:port]`.
    pub bootstrap: String,
    pub properties: BTreeMap<String, String>,
}

/// Who a lane is (exactly-once, rule 9). With an ordinal it is a static member under a fixed transactional id; without, a dynamic member
/// under an id that is unique to the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Of every name of this installation, e.g. `atio.`.
    pub prefix: String,
    pub ordinal: Option<u32>,
    pub lane: u32,
}
