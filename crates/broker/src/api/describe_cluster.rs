//! DescribeCluster: the one broker.

use bytes::Bytes;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{ApiKey, BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::shape::{I8, Shape, all, since};
use super::{Answer, Api, Call, Cost, Malformed, NODE_ID, text};

pub(super) const API: Api = Api {
    key: ApiKey::DescribeCluster,
    min: 0,
    max: 1,
    shape: Shape { flexible: 0, fields: &[all(I8), since(1, I8)] },
    cost: Cost::Small,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: DescribeClusterRequest = call.read(body)?;
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BrokerId(NODE_ID))
        .with_host(text(call.host))
        .with_port(call.port);
    let response = DescribeClusterResponse::default()
        .with_endpoint_type(request.endpoint_type)
        .with_cluster_id(text(&call.node.cluster_id))
        .with_controller_id(BrokerId(NODE_ID))
        .with_brokers(vec![broker])
        .with_cluster_authorized_operations(i32::MIN);
    call.ready(&response)
}
