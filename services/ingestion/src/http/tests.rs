//! The door behind a real listener, with a stand-in for the broker.
use super::*;
use atio_metric::Metrics;
use atio_runtime::{
    Tasks,
    config::HttpConfig,
    http::{Server, outbound, serve},
};
use atio_schemas::{codec::StaticIds, raw::RawEvent};
use atio_stage::{BoxFuture, Output};
use std::{sync::Mutex, time::Duration};

#[derive(Default)]
struct Broker {
    got: Mutex<Vec<Output>>,
    down: bool,
}

impl Publish for Broker {
    fn publish(&self, outputs: Vec<Output>) -> BoxFuture<'_, Vec<Result<Position, PublishError>>> {
        Box::pin(async move {
            if self.down {
                return outputs.iter().map(|_| Err(PublishError::Unavailable("down".into()))).collect();
            }
            let mut got = self.got.lock().unwrap();
            let answers = outputs.iter().enumerate().map(|(i, o)| {
                let offset = i64::try_from(got.len() + i).unwrap();
                Ok(Position { topic: o.topic.clone(), partition: 0, offset })
            });
            let answers = answers.collect();
            got.extend(outputs);
            answers
        })
    }
}

struct Door {
    url: String,
    token: String,
    broker: Arc<Broker>,
    client: outbound::Client,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

fn codec() -> Codec {
    Codec::new(Arc::new(StaticIds::new()))
}

async fn open(down: bool, rate: u32) -> Door {
    // The first client of a process chooses its TLS provider.
    let second = std::time::Duration::from_secs(1);
    let options =
        outbound::Options { allow_internal: vec![], timeout: second, connect_timeout: second, ca: None };
    drop(outbound::Outbound::new(&options).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::open(dir.path()).unwrap();
    let token = keys.create(Role::Ingest, Some("suricata".into())).unwrap();
    let broker = Arc::new(Broker { down, ..Broker::default() });
    let declared =
        "{apiVersion: atio/v1, kind: Source, metadata: {name: suricata}, format: suricata, from: {http: {}}}";
    let atio_topics::load::Declaration::Source(source) =
        atio_topics::load::parse("s.yaml", declared).unwrap()
    else {
        panic!("a source")
    };
    let deps = Deps {
        prefix: "atio.".into(),
        codec: codec(),
        keys: keys.clone(),
        rate: Rate::new(rate),
        metrics: IngestionMetrics::new(&Metrics::default().service(SERVICE)).unwrap(),
        publisher: broker.clone(),
        sources: Arc::new([("suricata".to_owned(), source)].into()),
    };
    let (tasks, config) = (
        Tasks::default(),
        HttpConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..HttpConfig::default() },
    );
    let addr =
        serve(Server::new(Metrics::default(), keys).merge(router(deps)), &config, &tasks).await.unwrap();
    Door {
        url: format!("http://{addr}/v1/sources/suricata/events"),
        token,
        broker,
        client: outbound::loopback().unwrap(),
        tasks,
        _dir: dir,
    }
}

impl Door {
    async fn send(&self, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> (u16, Value) {
        let request = self.client.post(&self.url).bearer_auth(&self.token).body(body.into());
        let request = headers.iter().fold(request, |r, (name, value)| r.header(*name, *value));
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default(),
        )
    }
    fn events(&self) -> Vec<RawEvent> {
        self.broker
            .got
            .lock()
            .unwrap()
            .iter()
            .map(|o| codec().decode(o.value.as_deref().unwrap()).unwrap())
            .collect()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

const LINE: &str =
    r#"{"timestamp":"2026-01-02T03:04:05.000000+0000","event_type":"stats","stats":{"uptime":1}}"#;

#[tokio::test]
async fn lines_become_raw_events_and_a_bad_one_is_named() {
    let door = open(false, 100).await;
    let (status, answer) =
        door.send(&[("content-type", "application/x-ndjson")], format!("{LINE}\nnot json\n{LINE}\n")).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(2)), "{answer}");
    assert_eq!(
        (&answer["rejected"][0]["index"], &answer["rejected"][0]["code"]),
        (&json!(1), &json!("invalid_json"))
    );
    let events = door.events();
    assert_eq!(
        (events.len(), &*events[0].payload, events[0].transport.as_str()),
        (2, LINE.as_bytes(), "http")
    );
    let expected = ids::event_id("default", "suricata", "atio.raw.suricata", 0, 1, 0).to_string();
    assert_eq!(answer["ids"][1], json!(expected));
}

#[tokio::test]
async fn a_sender_s_id_decides_key_and_event_id() {
    let door = open(false, 100).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("ce-source", "/probe/1"), ("ce-id", "a/7"), ("traceparent", trace)];
    let (_, first) = door.send(&headers, LINE).await;
    let (_, second) = door.send(&headers, LINE).await;
    let expected = ids::cloud_event_id("default", "suricata", "/probe/1/a", "7", 0).to_string();
    assert_eq!((&first["ids"][0], &second["ids"][0]), (&json!(expected), &json!(expected)));
    assert!(
        door.broker.got.lock().unwrap().iter().all(|o| o.key.as_deref() == Some(b"/probe/1/a/7".as_slice()))
    );
    assert!(door.events().iter().all(|e| e.dedup_key.as_deref() == Some("/probe/1/a/7")));
    {
        let got = door.broker.got.lock().unwrap();
        assert_eq!(got[0].headers.text("traceparent"), Some(trace));
        assert_eq!(got[0].headers.text("ce_id"), Some("/probe/1/a/7"));
    }
    let (_, by_key) = door.send(&[("idempotency-key", "k")], LINE).await;
    assert_eq!((by_key["accepted"].clone(), door.events()[2].dedup_key.as_deref()), (json!(1), Some("/k")));
}

#[tokio::test]
async fn what_is_refused_says_why_and_nothing_of_it_is_sent() {
    let door = open(false, 100).await;
    let zeros = zstd::encode_all(&vec![b' '; MAX_BYTES + 1][..], 3).unwrap();
    let deep = "[".repeat(100_000);
    type Case<'a> = (&'a [(&'a str, &'a str)], Vec<u8>, u16, &'a str);
    let cases: [Case; 6] = [
        (&[("content-type", "image/png")], LINE.into(), 415, "unsupported_content_type"),
        (&[("content-encoding", "zstd")], zeros, 413, "expands_too_far"),
        (&[("content-encoding", "gzip")], LINE.into(), 400, "bad_compression"),
        (&[], b" \n ".to_vec(), 400, "empty"),
        (&[], format!("{{\"a\":{deep}").into(), 400, "too_deep"),
        (&[("ce-id", "")], LINE.into(), 400, "invalid_field"),
    ];
    for (headers, body, status, code) in cases {
        let (got, answer) = door.send(headers, body).await;
        assert_eq!((got, &answer["rejected"][0]["code"]), (status, &json!(code)), "{answer}");
    }
    let (got, _) = door.send(&[], vec![b'x'; MAX_BYTES + 1]).await;
    assert_eq!((got, door.events().len()), (413, 0));
}

#[tokio::test]
async fn keys_sources_rate_and_a_silent_broker() {
    let mut door = open(false, 1).await;
    let (first, _) = door.send(&[], LINE).await;
    let (second, _) = door.send(&[], LINE).await;
    assert_eq!((first, second), (202, 429));
    door.url = door.url.replace("suricata", "openvas");
    assert_eq!(door.send(&[], LINE).await.0, 403);
    door.token = "atio_x_y".into();
    assert_eq!(door.send(&[], LINE).await.0, 401);
    let down = open(true, 100).await;
    let response = down
        .client
        .post(&down.url)
        .bearer_auth(&down.token)
        .timeout(Duration::from_secs(10))
        .body(LINE)
        .send()
        .await
        .unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "2"));
}
