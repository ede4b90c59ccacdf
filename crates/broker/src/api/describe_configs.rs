//! DescribeConfigs: a topic's configs with their sources, and the few of the broker, read-only.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{ApiKey, DescribeConfigsRequest, DescribeConfigsResponse};

use super::alter_configs::{BROKER, TOPIC};
use super::shape::{I8, Shape, TEXT, TEXTS, Type, all, since};
use super::{Answer, Api, Call, Cost, Malformed, NODE_ID, text};
use crate::log::config::{KNOWN, Known};

pub(super) const API: Api = Api {
    key: ApiKey::DescribeConfigs,
    min: 1,
    max: 4,
    shape: Shape {
        flexible: 4,
        fields: &[all(Type::Structs(&[all(I8), all(TEXT), all(TEXTS)])), all(I8), since(3, I8)],
    },
    cost: Cost::Small,
    run,
};

/// The protocol's config sources.
const DYNAMIC_TOPIC: i8 = 1;
const STATIC_BROKER: i8 = 4;
const DEFAULT: i8 = 5;

pub(super) fn source(own: bool) -> i8 {
    if own { DYNAMIC_TOPIC } else { DEFAULT }
}

/// Every known config with its value, and whether it is the topic's own.
pub(super) fn effective(
    overrides: &BTreeMap<String, String>,
) -> impl Iterator<Item = (&'static Known, String, bool)> {
    KNOWN.iter().map(|known| match overrides.get(known.name) {
        Some(value) => (known, value.clone(), true),
        None => (known, known.default.to_owned(), false),
    })
}

fn topic(call: &Call<'_>, name: &str, synonyms: bool) -> Option<Vec<DescribeConfigsResourceResult>> {
    let overrides = call.node.topics.get(name)?.topic.overrides();
    let entry = |(known, value, own): (&'static Known, String, bool)| {
        let synonym = DescribeConfigsSynonym::default()
            .with_name(text(known.name))
            .with_value(Some(text(&value)))
            .with_source(source(own));
        DescribeConfigsResourceResult::default()
            .with_name(text(known.name))
            .with_value(Some(text(&value)))
            .with_config_source(source(own))
            .with_config_type(known.kind as i8)
            .with_synonyms(if synonyms { vec![synonym] } else { Vec::new() })
    };
    Some(effective(&overrides).map(entry).collect())
}

fn broker(call: &Call<'_>) -> Vec<DescribeConfigsResourceResult> {
    let entries = [
        ("auto.create.topics.enable", call.node.auto_create.to_string(), 1),
        ("node.id", NODE_ID.to_string(), 3),
        ("num.partitions", call.node.default_partitions.to_string(), 3),
    ];
    let entry = |(name, value, kind): (&str, String, i8)| {
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(&value)))
            .with_read_only(true)
            .with_config_source(STATIC_BROKER)
            .with_config_type(kind)
    };
    entries.into_iter().map(entry).collect()
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: DescribeConfigsRequest = call.read(body)?;
    let answer = |resource: DescribeConfigsResource| {
        let name = resource.resource_name.as_str();
        let found = match resource.resource_type {
            TOPIC => {
                topic(call, name, request.include_synonyms).ok_or(ResponseError::UnknownTopicOrPartition)
            }
            BROKER if name.is_empty() || name == NODE_ID.to_string() => Ok(broker(call)),
            _ => Err(ResponseError::InvalidRequest),
        };
        let mut result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match found {
            Ok(configs) => result.configs = configs,
            Err(error) => result.error_code = error.code(),
        }
        if let Some(keys) = resource.configuration_keys.filter(|k| !k.is_empty()) {
            result.configs.retain(|c| keys.contains(&c.name));
        }
        result
    };
    let results = request.resources.into_iter().map(answer).collect();
    call.ready(&DescribeConfigsResponse::default().with_results(results))
}
