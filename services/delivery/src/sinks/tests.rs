//! HTTP sinks against a real listener, the Kafka sink in the harness.
use super::{http::Endpoint, kafka::KafkaSink, opensearch::OpenSearch, webhook::Webhook, webhook::signature};
use atio_runtime::{
    http::axum::{Router, body::Bytes, http::HeaderMap, http::StatusCode, routing::post},
    secret::SecretString,
};
use atio_schemas::{Code, Codec, Timestamp, codec::StaticIds, delivery, detection::Tlp};
use atio_stage::{
    Delivery, Sink, Verdict,
    harness::{Given, Harness},
};
use atio_topics::sink::Http;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

fn delivery(key: &str, payload: &str) -> Delivery {
    let record = delivery::Delivery {
        sink: "s".into(),
        idempotency_key: key.into(),
        event_id: "e".into(),
        incident_id: None,
        asset: None,
        workflow: "w@1".into(),
        branch: "b".into(),
        format: "ecs".into(),
        content_type: "application/json".into(),
        tlp: Tlp::Amber,
        occurred_at: None,
        received_at: None,
        payload: payload.as_bytes().to_vec(),
        residue: vec![],
    };
    Delivery { record, attempt: 1 }
}

/// A listener that answers every POST with this status and body, and remembers the requests.
async fn listener(status: u16, answer: &'static str) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let keep = seen.clone();
    let handler = move |headers: HeaderMap, body: Bytes| async move {
        keep.lock().unwrap().push((headers, body));
        (StatusCode::from_u16(status).unwrap(), [("retry-after", "7")], answer)
    };
    let app = Router::new().route("/{*path}", post(handler));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    atio_runtime::Tasks::default()
        .spawn(async move { atio_runtime::http::axum::serve(socket, app).await.unwrap() });
    (addr, seen)
}

fn endpoint(addr: SocketAddr, path: &str) -> Endpoint {
    let seconds = Duration::from_secs(5);
    let http = Http {
        url: format!("http://{addr}{path}"),
        auth: None,
        timeout: seconds,
        connect_timeout: seconds,
        allow_internal: true,
        ca: None,
    };
    Endpoint::new("s", &http, &[]).unwrap()
}

#[tokio::test]
async fn a_webhook_is_signed_and_carries_its_key() {
    let (addr, seen) = listener(201, "{}").await;
    let secret = || SecretString::from("topsecret".to_owned());
    let verdicts = Webhook::new(endpoint(addr, "/hook"), secret()).deliver(&[delivery("k1", "{}")]).await;
    assert!(
        matches!(&verdicts[..], [Verdict::Delivered(r)] if r.code.as_deref() == Some("201")),
        "{verdicts:?}"
    );
    let (headers, body) = seen.lock().unwrap().remove(0);
    let sent = headers["atio-signature"].to_str().unwrap();
    let unix: i64 = sent.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
    assert_eq!(sent, signature(&secret(), unix, &body));
    assert_eq!(headers["idempotency-key"], "k1");
}

#[tokio::test]
async fn a_busy_webhook_is_asked_again_when_it_says_and_a_refusal_is_final() {
    let secret = || SecretString::from("s".to_owned());
    let (addr, _) = listener(429, "slow down").await;
    let verdicts = Webhook::new(endpoint(addr, "/hook"), secret()).deliver(&[delivery("k", "{}")]).await;
    assert!(
        matches!(&verdicts[..], [Verdict::Retry { after: Some(d), .. }] if d.as_secs() == 7),
        "{verdicts:?}"
    );
    let (addr, _) = listener(422, "no such field").await;
    let verdicts = Webhook::new(endpoint(addr, "/hook"), secret()).deliver(&[delivery("k", "{}")]).await;
    assert!(
        matches!(&verdicts[..], [Verdict::Reject(r)] if r.code == Code::SinkRejected && r.message.contains("no such field")),
        "{verdicts:?}"
    );
}

#[tokio::test]
async fn a_bulk_answer_is_judged_document_by_document() {
    let answer = r#"{"errors":true,"items":[{"index":{"_id":"k1","status":201}},{"index":{"_id":"k3","status":400,"error":{"type":"mapper_parsing_exception"}}},{"index":{"_id":"k4","status":429}}]}"#;
    let (addr, seen) = listener(200, answer).await;
    let sink = OpenSearch::new(endpoint(addr, "/base/"), "alerts").unwrap();
    let verdicts = sink
        .deliver(&[
            delivery("k1", "{\"a\":1}"),
            delivery("k2", "no json"),
            delivery("k3", "{}"),
            delivery("k4", "{}"),
        ])
        .await;
    let shapes: Vec<&str> = verdicts
        .iter()
        .map(|v| match v {
            Verdict::Delivered(_) => "delivered",
            Verdict::Retry { .. } => "retry",
            Verdict::Reject(_) => "reject",
        })
        .collect();
    assert_eq!(shapes, ["delivered", "reject", "reject", "retry"]);
    let (_, body) = seen.lock().unwrap().remove(0);
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.starts_with("{\"index\":{\"_index\":\"alerts\",\"_id\":\"k1\"}}\n{\"a\":1}\n"), "{text}");
    assert_eq!(text.lines().count(), 6);
}

#[tokio::test]
async fn nobody_there_is_a_retry() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let sink = OpenSearch::new(endpoint(closed, ""), "alerts").unwrap();
    assert!(matches!(&sink.deliver(&[delivery("k", "{}")]).await[..], [Verdict::Retry { .. }]));
}

#[test]
fn the_kafka_sink_writes_payload_and_receipt_in_one_transaction() {
    let codec = Codec::new(Arc::new(StaticIds::default()));
    let sink = KafkaSink::new("partners", &Arc::from("atio.receipts"), codec.clone());
    let mut harness = Harness::new(sink, &[], Timestamp(5));
    let value = codec.encode(&delivery("k1", "{}").record).unwrap();
    let given = |value: Option<Vec<u8>>| Given { key: Some(b"asset".to_vec()), value, ..Given::default() };
    harness.commit(&[given(Some(value)), given(None), given(Some(b"junk".to_vec()))]);
    assert!(harness.counts.balanced());
    assert_eq!((harness.counts.emitted, harness.dead_letters.len()), (1, 2));
    let [payload, receipt] = &harness.outputs[..] else { panic!("two outputs") };
    assert_eq!(
        (&*payload.topic, payload.value.as_deref(), &*receipt.topic),
        ("partners", Some(&b"{}"[..]), "atio.receipts")
    );
    let receipt: delivery::ReceiptRecord = codec.decode(receipt.value.as_deref().unwrap()).unwrap();
    assert_eq!((receipt.idempotency_key.as_str(), receipt.delivered_at), ("k1", Timestamp(5)));
}
