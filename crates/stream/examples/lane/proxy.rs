//! A TCP proxy that reads Kafka's frames and spoils requests by API key and client. It rewrites nothing: the broker advertises its address.
use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    /// Held for so many milliseconds, then delivered, also where the client has gone.
    Delay(u64),
    /// Delivered; its answer is swallowed.
    SwallowAnswer,
    /// Delivered; cut instead of answering.
    CutAfter,
    /// Cut, not delivered.
    CutBefore,
    /// Cut at once, delivered so many milliseconds later.
    CutThenDeliver(u64),
}

struct Rule {
    client: String,
    key: i16,
    act: Act,
}

#[derive(Clone, Default)]
pub(crate) struct Proxy {
    rules: Arc<Mutex<Vec<Rule>>>,
    /// What was spoilt.
    done: Arc<Mutex<Vec<(i16, Act)>>>,
}

fn frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0u8; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0u8; usize::try_from(i32::from_be_bytes(length)).ok()? + 4];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

impl Proxy {
    pub(crate) fn start(listen: &str, upstream: &str) -> Self {
        let proxy = Self::default();
        let listener = TcpListener::bind(listen).expect("listen");
        let (me, upstream) = (proxy.clone(), upstream.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (me, upstream) = (me.clone(), upstream.clone());
                std::thread::spawn(move || me.serve(client, &upstream));
            }
        });
        proxy
    }
    /// The next such request of a client whose id starts so.
    pub(crate) fn arm(&self, client: &str, key: i16, act: Act) {
        self.rules.lock().unwrap().push(Rule { client: client.to_owned(), key, act });
    }
    pub(crate) fn armed(&self) -> usize {
        self.rules.lock().unwrap().len()
    }
    pub(crate) fn disarm(&self) {
        self.rules.lock().unwrap().clear();
    }
    pub(crate) fn done(&self) -> usize {
        self.done.lock().unwrap().len()
    }

    fn pick(&self, client: &str, key: i16) -> Option<Act> {
        let mut rules = self.rules.lock().unwrap();
        let index = rules.iter().position(|r| r.key == key && client.starts_with(&r.client))?;
        let act = rules.remove(index).act;
        self.done.lock().unwrap().push((key, act));
        Some(act)
    }

    fn serve(&self, client: TcpStream, upstream: &str) {
        let Ok(server) = TcpStream::connect(upstream) else { return };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let acts: Arc<Mutex<HashMap<i32, Act>>> = Arc::default();
        let (requests, onward) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let answers = acts.clone();
        std::thread::spawn(move || answer(server, client, &answers));
        self.forward(requests, onward, &acts);
    }

    fn forward(&self, mut client: TcpStream, mut server: TcpStream, acts: &Mutex<HashMap<i32, Act>>) {
        while let Some(request) = frame(&mut client) {
            let key = i16::from_be_bytes([request[4], request[5]]);
            let correlation = i32::from_be_bytes(request[8..12].try_into().unwrap());
            let length = usize::try_from(i16::from_be_bytes([request[12], request[13]])).unwrap_or(0);
            let name = String::from_utf8_lossy(&request[14..14 + length]).into_owned();
            let act = self.pick(&name, key);
            if let Some(act) = act {
                acts.lock().unwrap().insert(correlation, act);
            }
            match act {
                Some(Act::Delay(ms)) => std::thread::sleep(Duration::from_millis(ms)),
                Some(Act::CutBefore) => break,
                Some(Act::CutThenDeliver(ms)) => {
                    drop(client.shutdown(Shutdown::Both));
                    std::thread::sleep(Duration::from_millis(ms));
                }
                _ => {}
            }
            if server.write_all(&request).is_err() {
                break;
            }
        }
        if !acts.lock().unwrap().is_empty() {
            // What was delivered late must reach the broker before its connection ends.
            std::thread::sleep(Duration::from_millis(500));
        }
        drop(server.shutdown(Shutdown::Both));
        drop(client.shutdown(Shutdown::Both));
    }
}

fn answer(mut server: TcpStream, mut client: TcpStream, acts: &Mutex<HashMap<i32, Act>>) {
    while let Some(answer) = frame(&mut server) {
        let correlation = i32::from_be_bytes(answer[4..8].try_into().unwrap());
        match acts.lock().unwrap().remove(&correlation) {
            Some(Act::SwallowAnswer) => continue,
            Some(Act::CutAfter) => {
                drop(server.shutdown(Shutdown::Both));
                break;
            }
            _ => {}
        }
        if client.write_all(&answer).is_err() {
            break;
        }
    }
    drop(client.shutdown(Shutdown::Both));
}
