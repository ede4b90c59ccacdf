//! What the topics that a stage writes allow (exactly-once, rule 13). Owns the question to the broker; must not know stages.
use super::consumer::CALL;
use crate::{
    config::Kafka,
    fault::{Fault, FaultKind},
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
};
use std::{collections::HashMap, sync::Arc};

/// `max.message.bytes` by topic, for those topics that exist.
///
/// # Errors
/// `Retry`: no answer in time.
pub fn max_message_bytes(
    kafka: &Kafka,
    client_id: &str,
    topics: &[Arc<str>],
    io: &tokio::runtime::Handle,
) -> Result<HashMap<Arc<str>, usize>, Fault> {
    if topics.is_empty() {
        return Ok(HashMap::new());
    }
    let retry = |e: String| Fault::new(FaultKind::Retry, format!("topic limits: {e}"));
    let mut config = super::base(kafka, client_id);
    super::pass_through(&mut config, kafka);
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(|e| Fault::new(FaultKind::Fatal, e.to_string()))?;
    let asked: Vec<_> = topics.iter().map(|t| ResourceSpecifier::Topic(t)).collect();
    let options = AdminOptions::new().request_timeout(Some(CALL));
    let answers = io.block_on(admin.describe_configs(&asked, &options));
    super::retire(admin);
    let answers = answers.map_err(|e| retry(e.to_string()))?;
    let mut limits = HashMap::new();
    for (topic, answer) in topics.iter().zip(answers) {
        // A topic that is not there yet has no limit yet: writing to it will say so.
        let Ok(resource) = answer else { continue };
        let entry = resource.get("max.message.bytes").and_then(|e| e.value.as_ref()?.parse().ok());
        if let Some(limit) = entry {
            limits.insert(topic.clone(), limit);
        }
    }
    Ok(limits)
}
