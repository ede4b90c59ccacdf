//! The view and the HTTP door, behind a real listener, with a stand-in for the broker.
use super::*;
use crate::{
    http,
    view::{State, View},
};
use atio_metric::Metrics;
use atio_runtime::{
    Tasks,
    config::HttpConfig,
    http::{
        Server,
        auth::{Keys, Role as KeyRole},
        limits::Rate,
        outbound, serve,
    },
};
use atio_stage::{BoxFuture, Output};
use atio_stream::publish::{Position, Publish, PublishError};
use std::{net::SocketAddr, sync::Mutex, time::Duration};

fn incident(id: &str, ms: i64) -> Incident {
    let mut world = World::new();
    world.put(event("a", ms));
    Incident { incident_id: id.into(), ..world.incident() }
}

#[test]
fn the_view_keeps_the_newest_and_lets_closed_ones_go_first() {
    let view = View::with_limit(2);
    view.put("old-closed", Some(Incident { closed_at: Some(at(9)), ..incident("old-closed", 900) }));
    view.put("b", Some(incident("b", 100)));
    view.put("c", Some(incident("c", 200)));
    assert!(view.get("old-closed").is_none(), "closed leaves before open, though it is newer");
    view.put("b", Some(incident("b", 300)));
    let ids: Vec<String> = view.list(Some(State::Open), 10).iter().map(|i| i.incident_id.clone()).collect();
    assert_eq!(ids, ["b", "c"]);
    view.put("b", None);
    assert_eq!((view.list(None, 10).len(), view.list(Some(State::Closed), 10).len()), (1, 0));
}

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
            let answer = |o: &Output| Ok(Position { topic: o.topic.clone(), partition: 0, offset: 0 });
            let answers = outputs.iter().map(answer).collect();
            self.got.lock().unwrap().extend(outputs);
            answers
        })
    }
}

struct Door {
    url: String,
    analyst: String,
    viewer: String,
    broker: Arc<Broker>,
    client: outbound::Client,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

async fn open(down: bool) -> Door {
    // The first client of a process chooses its TLS provider.
    let second = Duration::from_secs(1);
    let options =
        outbound::Options { allow_internal: vec![], timeout: second, connect_timeout: second, ca: None };
    drop(outbound::Outbound::new(&options).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::open(dir.path()).unwrap();
    let (analyst, viewer) =
        (keys.create(KeyRole::Analyst, None).unwrap(), keys.create(KeyRole::Viewer, None).unwrap());
    let broker = Arc::new(Broker { down, ..Broker::default() });
    let view = View::default();
    let mut waiting_one = World::new();
    waiting_one.put(wait("w", Otherwise::Stop, 100));
    waiting_one.put(given(
        "waits",
        "i",
        &Wait { role: "engineer".into(), ..waiting("w2", "tell", Otherwise::Stop) },
        100,
    ));
    view.put("i", Some(waiting_one.incident()));
    let mut choosing_one = World::new();
    choosing_one.put(given("waits", "i", &choosing("w"), 100));
    view.put("chooses", Some(Incident { incident_id: "chooses".into(), ..choosing_one.incident() }));
    choosing_one.put(given("acks", "i", &said("c", AckAction::Claim), 101));
    view.put("claimed", Some(Incident { incident_id: "claimed".into(), ..choosing_one.incident() }));
    view.put("closed", Some(Incident { closed_at: Some(at(1)), ..incident("closed", 5) }));
    let deps = http::Deps {
        prefix: "t.".into(),
        codec: super::deps().codec,
        keys: keys.clone(),
        rate: Rate::new(1000),
        publisher: broker.clone(),
        view,
    };
    let tasks = Tasks::default();
    let config = HttpConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..HttpConfig::default() };
    let server = Server::new(Metrics::default(), keys).merge(http::router(deps));
    let addr = serve(server, &config, &tasks).await.unwrap();
    let url = format!("http://{addr}/v1/incidents");
    Door { url, analyst, viewer, broker, client: outbound::loopback().unwrap(), tasks, _dir: dir }
}

impl Door {
    async fn get(&self, path: &str, key: &str) -> (u16, serde_json::Value) {
        let answer = self.client.get(format!("{}{path}", self.url)).bearer_auth(key).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }
    async fn say(&self, id: &str, key: &str, body: &str) -> (u16, serde_json::Value) {
        let request = self.client.post(format!("{}/{id}/acks", self.url)).bearer_auth(key);
        let answer = request.body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }
    async fn close(self) {
        assert!(self.tasks.shutdown(Duration::from_secs(10)).await);
    }
}

#[tokio::test]
async fn incidents_are_listed_by_state_and_shown() {
    let door = open(false).await;
    let (status, all) = door.get("?state=waiting&limit=5", &door.viewer).await;
    assert_eq!((status, all["incidents"].as_array().unwrap().len()), (200, 3));
    assert_eq!(all["incidents"][0]["waits"][0]["claimed_by"], "carol");
    assert_eq!(door.get("/i", &door.viewer).await.1["incident_id"], "i");
    assert_eq!(door.get("/none", &door.viewer).await.0, 404);
    for wrong in ["?state=lost", "?limit=0", "?limit=1001", "?limit=x", "?sate=open"] {
        assert_eq!(door.get(wrong, &door.viewer).await.0, 422, "{wrong}");
    }
    assert_eq!(door.get("", "atio_nobody_0").await.0, 401);
    door.close().await;
}

#[tokio::test]
async fn an_answer_is_published_under_the_key_and_what_can_not_be_said_is_refused() {
    let door = open(false).await;
    let analyst = door.analyst.clone();
    let (status, answer) =
        door.say("i", &analyst, r#"{"action":"acknowledge","wait_id":"w","comment":"mine"}"#).await;
    assert_eq!(status, 202, "{answer}");
    let output = door.broker.got.lock().unwrap()[0].clone();
    let ack: Ack = super::deps().codec.decode(output.value.as_ref().unwrap()).unwrap();
    assert_eq!((&*output.topic, output.key.as_deref()), ("t.acks", Some(&b"i"[..])));
    assert_eq!(
        (ack.ack_id.as_str(), ack.wait_id.as_deref()),
        (answer["ack_id"].as_str().unwrap(), Some("w"))
    );
    assert!(analyst.contains(&ack.actor) && !ack.actor.is_empty(), "the key answers: {}", ack.actor);
    for (id, wanted, body) in [
        ("none", 404, r#"{"action":"acknowledge"}"#),
        ("closed", 409, r#"{"action":"comment","comment":"late"}"#),
        ("i", 422, "no json"),
        ("i", 422, r#"{"action":"shout"}"#),
        ("i", 422, r#"{"action":"acknowledge","actor":"root"}"#),
        ("i", 422, r#"{"action":"close"}"#),
        ("i", 422, r#"{"action":"acknowledge","verdict":"benign"}"#),
        ("i", 422, r#"{"action":"comment"}"#),
        ("i", 422, r#"{"action":"acknowledge","wait_id":"w9"}"#),
        ("i", 422, r#"{"action":"acknowledge","wait_id":"w","choice":"isolate"}"#),
        ("chooses", 422, r#"{"action":"acknowledge"}"#),
        ("chooses", 422, r#"{"action":"acknowledge","choice":"shout"}"#),
        ("claimed", 409, r#"{"action":"claim"}"#),
        ("i", 422, r#"{"action":"update"}"#),
        ("i", 422, r#"{"action":"update","severity":"hgih"}"#),
        ("i", 422, r#"{"action":"update","assignee":"x","answerer":"policy"}"#),
        ("chooses", 422, r#"{"action":"release"}"#),
        ("i", 403, r#"{"action":"acknowledge"}"#),
        ("i", 403, r#"{"action":"reject","wait_id":"w2"}"#),
        ("i", 403, r#"{"action":"claim"}"#),
    ] {
        let (status, answer) = door.say(id, &analyst, body).await;
        assert_eq!(status, wanted, "{body}: {answer}");
    }
    assert_eq!(door.say("i", &door.viewer, r#"{"action":"acknowledge","wait_id":"w"}"#).await.0, 403);
    assert_eq!(door.broker.got.lock().unwrap().len(), 1, "what is refused is not published");
    assert_eq!(door.say("chooses", &analyst, r#"{"action":"acknowledge","choice":"monitor"}"#).await.0, 202);
    let output = door.broker.got.lock().unwrap()[1].clone();
    let ack: Ack = super::deps().codec.decode(output.value.as_ref().unwrap()).unwrap();
    assert_eq!(ack.choice.as_deref(), Some("monitor"));
    door.close().await;
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_said() {
    let door = open(true).await;
    let (status, answer) = door.say("i", &door.analyst, r#"{"action":"acknowledge","wait_id":"w"}"#).await;
    assert_eq!((status, &answer["code"]), (503, &"broker_unavailable".into()));
    door.close().await;
}
