//! Every advertised version of every request is answered, on a broker that has something to say: the codec refuses to
//! encode a field that a version does not have, and that must never be found out by a client.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kafka_protocol::messages::ResponseKind;

use super::shape::tests::filled;
use super::*;
use crate::config::Config;
use crate::group::members::{Join, Sync};
use crate::group::offsets::Offset;
use crate::log::partition::validate;
use crate::log::records::tests::batch_of;

const NOW: Now = Now { wall: 1_800_000_000_000, mono: 5_000, steady: 1_800_000_000_000 };

/// Topic `t` with records, group `g` with a member and offsets, transactional id `tx` with all of it open.
fn node(dir: &std::path::Path) -> Node {
    let config = Config::new(dir, SocketAddr::from(([127, 0, 0, 1], 0)));
    let node = Node::open(&config, NOW).unwrap();
    node.topics.create("t", 2, BTreeMap::new(), false).unwrap();
    let partition = node.topics.partition("t", 0).unwrap();
    let batch = batch_of(&[(Some("k"), Some("v"))], NOW.wall, (-1, -1, -1), false, 0);
    let config = partition.topic.config();
    let header = validate(&batch, &config, NOW.wall).unwrap();
    partition.log().append(&batch, &header, &config, NOW.wall).unwrap();
    let join = Join {
        instance: Some("i".to_owned()),
        session_ms: 10_000,
        rebalance_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("p".to_owned(), vec![1])],
        fresh: "member".to_owned(),
        ..Join::default()
    };
    node.groups.join("g", join, NOW.mono);
    node.groups.tick(NOW.mono + 200);
    let sync = Sync { member: "member".to_owned(), generation: 1, ..Sync::default() };
    node.groups.sync("g", sync, NOW.mono);
    let offset = Offset { offset: 3, leader_epoch: 0, metadata: "m".to_owned(), committed_ms: NOW.wall };
    node.groups.commit("g", None, vec![(("t".to_owned(), 0), offset)], |_| Ok(())).unwrap();
    let (pid, epoch) = node.txns.init("tx", 60_000, (-1, -1), NOW.wall).unwrap();
    node.txns.add_partitions("tx", pid, epoch, vec![("t".to_owned(), 1)], NOW.wall).unwrap();
    node
}

fn call(node: &Node, version: i16) -> Call<'_> {
    Call {
        node,
        now: NOW,
        version,
        correlation: 7,
        client: "client",
        peer: "/127.0.0.1",
        host: "127.0.0.1",
        port: 9092,
    }
}

/// The whole response frame for a request.
fn answer(api: &Api, call: &Call<'_>, body: Bytes) -> Result<BytesMut, Malformed> {
    match (api.run)(call, body)? {
        Answer::Ready(frame) => Ok(frame),
        Answer::Silent => panic!("every sample wants an answer"),
        Answer::Join(mut wait) => {
            call.node.groups.tick(call.now.mono + 60_000);
            call.frame(&join_group::response(wait.try_recv().unwrap(), call.version))
        }
        Answer::Sync(mut wait) => call.frame(&sync_group::response(wait.try_recv().unwrap())),
        Answer::Fetch(request) => {
            let plan = fetch::plan(call, &request).unwrap();
            call.frame(&plan.read(1).0)
        }
    }
}

fn check(api: &Api, version: i16) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path());
    let call = call(&node, version);
    let frame = answer(api, &call, filled(api.key, version).freeze()).map_err(|e| e.to_string())?;
    let mut body = frame.freeze().slice(4..);
    let header = api.key.response_header_version(version);
    let header = ResponseHeader::decode(&mut body, header).map_err(|e| e.to_string())?;
    assert_eq!(header.correlation_id, 7);
    ResponseKind::decode(api.key, &mut body, version).map_err(|e| e.to_string())?;
    if body.is_empty() { Ok(()) } else { Err(format!("{} bytes too many", body.len())) }
}

#[test]
fn every_advertised_version_is_answered() {
    let versions = APIS.iter().flat_map(|api| (api.min..=api.max).map(move |version| (api, version)));
    let failed: Vec<String> = versions
        .filter_map(|(api, version)| {
            Some(format!("{:?} v{version}: {}", api.key, check(api, version).err()?))
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
