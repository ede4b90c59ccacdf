//! A TCP proxy before a broker, or before each of its nodes, that reads Kafka's frames and spoils requests by API key and client. In answers that
//! name a node it puts its own port for it, so that clients come back to it; everything else passes as it is. Owns the evidence of what it did: whether a spoilt request
//! has reached the broker and was answered there, which [`Fault::over`] compares with what was asked for.
use crate::support::{Deadline, port::Ports};
use libtest_mimic::Failed;
use std::{
    collections::{BTreeMap, HashMap},
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

/// The requests of a transaction.
pub const PRODUCE: i16 = 0;
pub const ADD_PARTITIONS: i16 = 24;
pub const ADD_OFFSETS: i16 = 25;
pub const END_TXN: i16 = 26;
pub const INIT_PRODUCER: i16 = 22;
/// Of a consumer.
pub const OFFSET_FETCH: i16 = 9;
pub const JOIN_GROUP: i16 = 11;
pub const HEARTBEAT: i16 = 12;
pub const OFFSET_COMMIT: i16 = 28;
const FETCH: i16 = 1;
/// Metadata, FindCoordinator, DescribeCluster: their answers name the broker.
const NAMING: [i16; 3] = [3, 10, 60];
/// Where there are several nodes, these name the one that leads now.
const MOVING: [i16; 2] = [PRODUCE, FETCH];
/// What was delivered late is answered in that time, or its connection is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Held for so many milliseconds, then delivered, also where the client has gone.
    Delay(u64),
    /// Held until the trial says what becomes of it.
    Hold,
    /// Delivered; its answer is swallowed.
    SwallowAnswer,
    /// Delivered; cut instead of answering.
    CutAfter,
    /// Cut, not delivered.
    CutBefore,
    /// Cut at once, then held until the trial says what becomes of it.
    CutThenHold,
    /// Cut at once, delivered so many milliseconds later.
    CutThenDeliver(u64),
    /// Cut at once, delivered once the broker has answered the next request of the same kind and client.
    CutThenReorder,
    /// Let through; its answer releases an earlier one.
    Releases,
    /// Not delivered; answered in the broker's place with this error. Only where an answer is a throttle time and an error.
    Refuse(i16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Armed,
    /// The request is here.
    Met,
    Deliver,
    Discard,
    /// Answered by the broker, or given up.
    Over,
}

/// What has become of a spoilt request.
#[derive(Clone, Copy, Debug)]
struct State {
    step: Step,
    /// To which node it went, counted from 0.
    node: usize,
    discarded: bool,
    /// It is with the broker.
    reached: bool,
    /// The broker has answered it.
    answered: bool,
}

/// A fault, from the trial's side.
#[derive(Clone)]
pub struct Fault {
    key: i16,
    act: Act,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Fault {
    fn new(key: i16, act: Act) -> Self {
        let state = State { step: Step::Armed, node: 0, discarded: false, reached: false, answered: false };
        Self { key, act, state: Arc::new((Mutex::new(state), Condvar::new())) }
    }
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
    }
    fn set(&self, step: Step) {
        self.change(|now| now.step = step.max(now.step));
    }
    /// How it is, once it is at this step or a later one, or the time is over.
    fn wait(&self, step: Step, limit: Duration) -> State {
        let guard = self.state.0.lock().unwrap();
        *self.state.1.wait_timeout_while(guard, limit, |now| now.step < step).unwrap().0
    }
    /// Waits until the request has come, and says on its way to which node; panics where it does not come.
    pub fn met(&self, deadline: Deadline) -> usize {
        let state = self.wait(Step::Met, deadline.left().unwrap_or_default());
        assert!(state.step >= Step::Met, "a request {} comes in time", self.key);
        state.node
    }
    /// Waits until it is over, and looks whether that is what was asked for: the broker has got it and answered it, or never saw it.
    pub fn over(&self, deadline: Deadline) {
        let state = self.wait(Step::Over, deadline.left().unwrap_or_default());
        assert!(state.step >= Step::Over, "{:?} on {} is over in time", self.act, self.key);
        let wanted = match self.act {
            Act::CutBefore | Act::Refuse(_) => false,
            Act::Hold | Act::CutThenHold => !state.discarded,
            _ => true,
        };
        let seen = (state.reached, state.answered);
        assert_eq!(seen, (wanted, wanted), "{:?} on {}: reached the broker, answered", self.act, self.key);
    }
    /// Lets a held request go.
    pub fn deliver(&self) {
        self.set(Step::Deliver);
    }
    /// A held request never arrives; its connection ends.
    pub fn discard(&self) {
        self.change(|now| (now.step, now.discarded) = (Step::Discard.max(now.step), true));
    }
}

struct Rule {
    client: String,
    act: Act,
    fault: Fault,
}

#[derive(Default)]
struct Connections {
    open: Vec<TcpStream>,
    /// Nobody is let in before.
    shut_until: Option<Instant>,
}

/// The spoilt requests of a connection that the broker has not answered yet, by correlation id.
type Open = Arc<(Mutex<HashMap<i32, (Act, Fault)>>, Condvar)>;

#[derive(Clone)]
pub struct Proxy {
    rules: Arc<Mutex<Vec<Rule>>>,
    spoilt: Arc<Mutex<BTreeMap<i16, usize>>>,
    connections: Arc<Mutex<Connections>>,
    /// Each node's address, and ours for it.
    nodes: Arc<Vec<(String, String)>>,
    /// Where clients find it.
    pub bootstrap: String,
}

fn frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0u8; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0u8; usize::try_from(i32::from_be_bytes(length)).ok()? + 4];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

/// API key, correlation id, client id.
fn head(request: &[u8]) -> (i16, i32, String) {
    let key = i16::from_be_bytes([request[4], request[5]]);
    let correlation = i32::from_be_bytes(request[8..12].try_into().expect("4 bytes"));
    let length = usize::try_from(i16::from_be_bytes([request[12], request[13]])).unwrap_or(0);
    (key, correlation, String::from_utf8_lossy(&request[14..14 + length]).into_owned())
}

impl Proxy {
    /// Before the nodes at these addresses, which are of 127.0.0.1, with commas between.
    pub fn start(upstream: &str) -> Self {
        let listen = |theirs: &str| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let ours = listener.local_addr().expect("an address").to_string();
            (listener, (theirs.to_owned(), ours))
        };
        let (listeners, nodes): (Vec<TcpListener>, Vec<_>) = upstream.split(',').map(listen).unzip();
        let ours: Vec<&str> = nodes.iter().map(|(_, ours)| ours.as_str()).collect();
        let proxy = Self {
            rules: Arc::default(),
            spoilt: Arc::default(),
            connections: Arc::default(),
            bootstrap: ours.join(","),
            nodes: Arc::new(nodes),
        };
        for (node, listener) in listeners.into_iter().enumerate() {
            let me = proxy.clone();
            std::thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    let me = me.clone();
                    if me.lets_in(&client) {
                        std::thread::spawn(move || me.serve(client, node));
                    }
                }
            });
        }
        proxy
    }
    /// The next such request of a client whose id starts so.
    pub fn arm(&self, client: &str, key: i16, act: Act) -> Fault {
        let fault = Fault::new(key, act);
        self.rules.lock().unwrap().push(Rule { client: client.to_owned(), act, fault: fault.clone() });
        fault
    }
    /// How many requests were spoilt, by API key.
    pub fn spoilt(&self) -> BTreeMap<i16, usize> {
        self.spoilt.lock().unwrap().clone()
    }

    /// The broker can't be reached: cuts all connections and lets nobody in for so long.
    pub fn gone(&self, time: Duration) {
        let mut connections = self.connections.lock().unwrap();
        connections.shut_until = Some(Instant::now() + time);
        connections.open.drain(..).for_each(|client| drop(client.shutdown(Shutdown::Both)));
    }
    fn lets_in(&self, client: &TcpStream) -> bool {
        let mut connections = self.connections.lock().unwrap();
        let open = connections.shut_until.is_none_or(|until| until <= Instant::now());
        if open {
            connections.open.push(client.try_clone().expect("a handle"));
        }
        open
    }

    fn pick(&self, client: &str, key: i16, node: usize) -> Option<(Act, Fault)> {
        let mut rules = self.rules.lock().unwrap();
        let index = rules.iter().position(|r| r.fault.key == key && client.starts_with(&r.client))?;
        let rule = rules.remove(index);
        if rule.act != Act::Releases {
            *self.spoilt.lock().unwrap().entry(key).or_default() += 1;
        }
        rule.fault.change(|now| {
            if now.step < Step::Met {
                (now.step, now.node) = (Step::Met, node);
            }
        });
        if rule.act == Act::CutThenReorder {
            rules.push(Rule { act: Act::Releases, fault: rule.fault.clone(), ..rule });
        }
        Some((rule.act, rule.fault))
    }

    fn serve(&self, client: TcpStream, node: usize) {
        let Ok(server) = TcpStream::connect(&self.nodes[node].0) else {
            // To drop it is not enough: whoever cuts all connections has a handle too, and a client that is let in and never answered gives up
            // after 10 s only, which is its session.
            return drop(client.shutdown(Shutdown::Both));
        };
        client.set_nodelay(true).expect("no delay");
        server.set_nodelay(true).expect("no delay");
        let (requests, onward) =
            (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
        let (open, naming) = (Open::default(), Arc::default());
        {
            let (me, open, naming) = (self.clone(), open.clone(), Arc::clone(&naming));
            std::thread::spawn(move || me.answer(server, client, &open, &naming));
        }
        self.forward((requests, onward), node, &open, &naming);
    }

    fn forward(
        &self,
        (mut client, mut server): (TcpStream, TcpStream),
        node: usize,
        open: &Open,
        naming: &Mutex<Vec<i32>>,
    ) {
        while let Some(request) = frame(&mut client) {
            let (key, correlation, name) = head(&request);
            if NAMING.contains(&key) || self.nodes.len() > 1 && MOVING.contains(&key) {
                naming.lock().unwrap().push(correlation);
            }
            let picked = self.pick(&name, key, node);
            if let Some(picked) = picked.clone() {
                open.0.lock().unwrap().insert(correlation, picked);
            }
            if let Some((Act::Refuse(error), _)) = &picked {
                let refused = client.write_all(&refusal(&request, *error));
                give_up(open, correlation, false);
                if refused.is_ok() {
                    continue;
                }
                break;
            }
            let delivered = picked.as_ref().is_none_or(|(act, fault)| spoil(*act, fault, &client));
            if let Some((_, fault)) = picked.filter(|(act, _)| delivered && *act != Act::Releases) {
                // Before it is written: the answer may be quicker than the note.
                fault.change(|now| now.reached = true);
            }
            if !delivered || server.write_all(&request).is_err() {
                give_up(open, correlation, false);
                break;
            }
        }
        // What was delivered late must reach the broker before its connection ends.
        let all = open.0.lock().unwrap();
        drop(open.1.wait_timeout_while(all, PATIENCE, |all| !all.is_empty()).unwrap());
        drop(server.shutdown(Shutdown::Both));
        drop(client.shutdown(Shutdown::Both));
    }

    fn answer(&self, mut server: TcpStream, mut client: TcpStream, open: &Open, naming: &Mutex<Vec<i32>>) {
        while let Some(mut answer) = frame(&mut server) {
            let correlation = i32::from_be_bytes(answer[4..8].try_into().expect("4 bytes"));
            let named = {
                let mut naming = naming.lock().unwrap();
                let at = naming.iter().position(|c| *c == correlation);
                at.map(|at| naming.swap_remove(at)).is_some()
            };
            if named {
                self.rename(&mut answer);
            }
            match give_up(open, correlation, true) {
                Some(Act::SwallowAnswer) => continue,
                Some(Act::CutAfter) => break,
                _ => {}
            }
            if client.write_all(&answer).is_err() {
                // Nobody is there to be told; what comes late is still worth waiting for.
                continue;
            }
        }
        let left: Vec<i32> = open.0.lock().unwrap().keys().copied().collect();
        for correlation in left {
            give_up(open, correlation, false);
        }
        drop(server.shutdown(Shutdown::Both));
        drop(client.shutdown(Shutdown::Both));
    }

    /// A node's address is a host, then a port of four bytes, in every version of those answers.
    fn rename(&self, answer: &mut [u8]) {
        let bytes = |address: &str| {
            let (host, port) = address.rsplit_once(':').expect("host and port");
            [host.as_bytes(), &port.parse::<u32>().expect("a port").to_be_bytes()].concat()
        };
        for (theirs, ours) in self.nodes.iter() {
            let (theirs, ours) = (bytes(theirs), bytes(ours));
            let last = answer.len().saturating_sub(theirs.len());
            for at in 0..=last {
                if answer[at..].starts_with(&theirs) {
                    answer[at..at + ours.len()].copy_from_slice(&ours);
                }
            }
        }
    }
}

/// Who connects while the broker is away is let go at once, and not left to wait for an answer until its session has run out.
pub fn lets_go() -> Result<(), Failed> {
    let nobody = Ports::take();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", nobody.first));
    let mut client = TcpStream::connect(&proxy.bootstrap)?;
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    assert_eq!(client.read(&mut [0])?, 0, "the end of the connection");
    Ok(())
}

/// Does what is done before a request is delivered; false: it is not.
fn spoil(act: Act, fault: &Fault, client: &TcpStream) -> bool {
    let wait = |ms| {
        let until = Instant::now() + Duration::from_millis(ms);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            std::thread::sleep(left);
        }
    };
    let told = || fault.wait(Step::Deliver, Duration::from_secs(120)).step == Step::Deliver;
    match act {
        Act::Delay(ms) => wait(ms),
        Act::Hold => return told(),
        Act::CutThenHold | Act::CutThenReorder => {
            drop(client.shutdown(Shutdown::Both));
            return told();
        }
        Act::CutBefore => return false,
        Act::CutThenDeliver(ms) => {
            drop(client.shutdown(Shutdown::Both));
            wait(ms);
        }
        Act::SwallowAnswer | Act::CutAfter | Act::Releases | Act::Refuse(_) => {}
    }
    true
}

/// The request is answered, or never will be.
fn give_up(open: &Open, correlation: i32, answered: bool) -> Option<Act> {
    let (act, fault) = open.0.lock().unwrap().remove(&correlation)?;
    if act == Act::Releases {
        fault.set(Step::Deliver);
    } else {
        fault.change(|now| (now.step, now.answered) = (Step::Over, answered));
    }
    open.1.notify_all();
    Some(act)
}

/// The answer to a request: no throttling, and this error.
fn refusal(request: &[u8], error: i16) -> Vec<u8> {
    let (key, version) =
        (i16::from_be_bytes([request[4], request[5]]), i16::from_be_bytes([request[6], request[7]]));
    let plain = match key {
        ADD_OFFSETS | END_TXN => 0..=2,
        HEARTBEAT => 1..=3,
        _ => panic!("no answer of that shape to {key}"),
    };
    assert!(plain.contains(&version), "version {version} of {key} is answered in another shape");
    [&10_i32.to_be_bytes()[..], &request[8..12], &[0; 4], &error.to_be_bytes()].concat()
}
