//! IncrementalAlterConfigs: sets, deletes, appends to or subtracts from single configs of a topic.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{ApiKey, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::alter_configs::{Refused, TOPIC, only_topics};
use super::shape::{I8, Shape, TEXT, Type, all};
use super::{Answer, Api, Call, Cost, Malformed, text};
use crate::log::config::{Kind, known};

pub(super) const API: Api = Api {
    key: ApiKey::IncrementalAlterConfigs,
    min: 0,
    max: 1,
    shape: Shape {
        flexible: 1,
        fields: &[
            all(Type::Structs(&[all(I8), all(TEXT), all(Type::Structs(&[all(TEXT), all(I8), all(TEXT)]))])),
            all(I8),
        ],
    },
    cost: Cost::Disk,
    run,
};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn edit(current: &mut BTreeMap<String, String>, change: &AlterableConfig) -> Result<(), Refused> {
    let name = change.name.to_string();
    let value = change.value.as_deref().unwrap_or_default();
    let Some(known) = known(&name) else {
        let message = format!("{name} is not a config of this broker");
        return Err((ResponseError::InvalidConfig, message));
    };
    let is_list = known.kind == Kind::List;
    let before = current.get(&name).map_or(known.default, String::as_str);
    let mut words: Vec<&str> = before.split(',').map(str::trim).filter(|w| !w.is_empty()).collect();
    match change.config_operation {
        SET => {
            current.insert(name, value.to_owned());
            return Ok(());
        }
        DELETE => {
            current.remove(&name);
            return Ok(());
        }
        APPEND if is_list => {
            let more = value.split(',').map(str::trim);
            more.for_each(|w| {
                if !words.contains(&w) {
                    words.push(w)
                }
            });
        }
        SUBTRACT if is_list => words.retain(|w| !value.split(',').any(|v| v.trim() == *w)),
        _ => {
            let message = format!("{name} can't be changed that way");
            return Err((ResponseError::InvalidConfig, message));
        }
    }
    let joined = words.join(",");
    current.insert(name, joined);
    Ok(())
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: IncrementalAlterConfigsRequest = call.read(body)?;
    let answer = |resource: AlterConfigsResource| {
        let change = |current: &mut BTreeMap<String, String>| {
            resource.configs.iter().try_for_each(|c| edit(current, c))
        };
        let result = match resource.resource_type {
            TOPIC => call.node.topics.configure(&resource.resource_name, change, request.validate_only),
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
    call.ready(&IncrementalAlterConfigsResponse::default().with_responses(responses))
}
