//! ApiVersions: what is advertised; also the answer to versions that are not.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use super::shape::{Shape, TEXT, since};
use super::{APIS, Answer, Api, Call, Cost, Malformed};

pub(super) const API: Api = Api {
    key: ApiKey::ApiVersions,
    min: 0,
    max: 3,
    shape: Shape { flexible: 3, fields: &[since(3, TEXT), since(3, TEXT)] },
    cost: Cost::Small,
    run,
};

fn list() -> ApiVersionsResponse {
    let entry = |api: &Api| {
        ApiVersion::default().with_api_key(api.key as i16).with_min_version(api.min).with_max_version(api.max)
    };
    ApiVersionsResponse::default().with_api_keys(APIS.iter().map(entry).collect())
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    call.read::<ApiVersionsRequest>(body)?;
    call.ready(&list())
}

/// The answer to a version that is too new, in the version that everyone reads.
pub(crate) fn unsupported(call: &Call<'_>) -> Result<Answer, Malformed> {
    call.ready(&list().with_error_code(ResponseError::UnsupportedVersion.code()))
}
