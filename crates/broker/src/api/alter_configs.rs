//! AlterConfigs: replaces all of a topic's configs.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse, ApiKey};

use super::shape::{I8, Shape, TEXT, Type, all};
use super::{Answer, Api, Call, Cost, Malformed, text};

pub(super) const API: Api = Api {
    key: ApiKey::AlterConfigs,
    min: 0,
    max: 2,
    shape: Shape {
        flexible: 2,
        fields: &[
            all(Type::Structs(&[all(I8), all(TEXT), all(Type::Structs(&[all(TEXT), all(TEXT)]))])),
            all(I8),
        ],
    },
    cost: Cost::Disk,
    run,
};

/// The protocol's resource type of a topic, and of a broker.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;

pub(super) type Refused = (ResponseError, String);

pub(super) fn only_topics() -> Refused {
    (ResponseError::InvalidRequest, "only topics have configs that can be altered".to_owned())
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: AlterConfigsRequest = call.read(body)?;
    let answer = |resource: kafka_protocol::messages::alter_configs_request::AlterConfigsResource| {
        let configs: BTreeMap<String, String> = resource
            .configs
            .iter()
            .filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string())))
            .collect();
        let replace = |current: &mut BTreeMap<String, String>| {
            *current = configs;
            Ok(())
        };
        let result = match resource.resource_type {
            TOPIC => call.node.topics.configure(&resource.resource_name, replace, request.validate_only),
            _ => Err(only_topics()),
        };
        let (code, message) = result.map_or_else(|(e, m)| (e.code(), Some(text(&m))), |()| (0, None));
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    };
    let responses = request.resources.into_iter().map(answer).collect();
    call.ready(&AlterConfigsResponse::default().with_responses(responses))
}
