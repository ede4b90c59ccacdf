//! The API over a real listener: methods, paths, escapes, media type and the body limit arrive as they should.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]
mod support;

use atio_registry::{Registry, http::router};
use atio_runtime::{
    config::HttpConfig,
    http::{Server, auth::Keys, serve},
    lifecycle::Tasks,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use support::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One exchange: status line and headers, body.
async fn exchange(addr: SocketAddr, method: &str, path: &str, body: &[u8]) -> (String, String) {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/vnd.schemaregistry.v1+json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses may close before all is sent.
    drop(stream.write_all(body).await);
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn the_api_is_served() {
    let registry = Arc::new(Registry::open(Memory::default()).await.unwrap());
    let dir = tempfile::tempdir().unwrap();
    let server =
        Server::new(atio_metric::Metrics::default(), Keys::open(dir.path()).unwrap()).merge(router(registry));
    let config = HttpConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..HttpConfig::default() };
    let tasks = Tasks::default();
    let addr = serve(server, &config, &tasks).await.unwrap();

    let body = br#"{"schema":"\"string\""}"#;
    let (head, answer) = exchange(addr, "POST", "/subjects/a%2Fb/versions", body).await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("content-type: application/vnd.schemaregistry.v1+json"), "{head}");
    assert_eq!(answer, r#"{"id":1}"#);
    let cases = [
        ("GET", "/", "200", "{}"),
        ("GET", "/subjects?deleted=true", "200", r#"["a/b"]"#),
        ("GET", "/schemas/ids/1", "200", r#"{"schema":"\"string\""}"#),
        ("GET", "/config", "200", r#"{"compatibilityLevel":"BACKWARD"}"#),
        ("GET", "/mode", "200", r#"{"mode":"READWRITE"}"#),
        ("DELETE", "/subjects/a%2Fb/versions/latest", "200", "1"),
        (
            "GET",
            "/subjects/a%2Fb/versions/1",
            "404",
            r#"{"error_code":40401,"message":"Subject 'a/b' not found."}"#,
        ),
        ("PUT", "/config/x", "400", ""),
    ];
    for (method, path, status, expected) in cases {
        let (head, answer) = exchange(addr, method, path, b"").await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{method} {path}: {head}");
        assert!(answer == expected || expected.is_empty(), "{method} {path}: {answer}");
    }
    let (head, _) = exchange(addr, "POST", "/subjects/x/versions", &vec![b' '; 5 << 20]).await;
    assert!(head.starts_with("http/1.1 413 "), "{head}");
    assert!(tasks.shutdown(Duration::from_secs(10)).await);
}
