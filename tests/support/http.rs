//! A plain HTTP/1.1 client of a few lines, so that what the program's own client would forgive is seen.
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case, with the values as they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

pub fn get(url: &str) -> Answer {
    request("GET", url, &[], &[])
}

pub fn get_as(key: &str, url: &str) -> Answer {
    request("GET", url, &[("authorization", &format!("Bearer {key}"))], &[])
}

pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    request("POST", url, headers, body)
}

fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let rest = url.strip_prefix("http://").expect("an http url");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).unwrap_or_else(|e| panic!("{url}: {e}"));
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    let mut head = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    // Who refuses early may close before all is sent: the answer is what counts.
    let _sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut all = vec![];
    stream.read_to_end(&mut all).unwrap_or_else(|e| panic!("{url}: {e}"));
    parse(&all).unwrap_or_else(|| panic!("{url}: no answer: {}", String::from_utf8_lossy(&all)))
}

fn parse(all: &[u8]) -> Option<Answer> {
    let end = all.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(all.get(..end)?).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    assert!(
        !headers.iter().any(|(n, v)| n == "transfer-encoding" && v == "chunked"),
        "not needed so far: {head}"
    );
    Some(Answer { status, headers, body: all.get(end + 4..)?.to_vec() })
}
