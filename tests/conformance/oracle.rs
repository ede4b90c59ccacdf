//! Judges what readers of committed records see. It counts from topic contents alone; the ledger is then compared to that, never believed.
use super::{
    fate::{BAD_PART, Fate, number},
    stages::codec,
    world::{Position, Seen, Stored, World},
};
use atio_schemas::delivery::ReceiptRecord;
use atio_stream::Counts;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// All that there is to see of a world that is done.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Records that the feeder wrote.
    pub fed: u64,
    pub input: Vec<Seen>,
    pub out: Vec<Seen>,
    pub dead: Vec<Seen>,
    pub positions: Vec<Position>,
    /// What the changelogs hold.
    pub state: Stored,
}

impl Evidence {
    pub fn of(world: &World, fed: u64) -> Self {
        let positions = world.positions().expect("the broker answers");
        let (input, out, dead) = (world.read("in"), world.read("out"), world.read("in.dlq"));
        Self { fed, input, out, dead, positions, state: world.stored() }
    }
}

/// Findings are kept to so many of a sort.
const KEPT: usize = 5;
const COUNT: &str = "count that does not go up by one";

#[derive(Default)]
struct Findings(BTreeMap<&'static str, (usize, Vec<String>)>);
impl Findings {
    fn check(&mut self, good: bool, sort: &'static str, what: impl FnOnce() -> String) {
        if !good {
            let (count, some) = self.0.entry(sort).or_default();
            *count += 1;
            if some.len() < KEPT {
                some.push(what());
            }
        }
    }
    fn end(self) -> Result<(), String> {
        let all = self.0.into_iter().map(|(sort, (n, some))| format!("{sort} × {n}: {}", some.join(", ")));
        let all: Vec<String> = all.collect();
        if all.is_empty() { Ok(()) } else { Err(all.join("\n")) }
    }
}

/// The counting stage: every record that was fed has ended once, as it must, and state, dead letters and ledger agree with that.
pub fn judge(e: &Evidence) -> Result<(), String> {
    let mut findings = Findings::default();
    let f = &mut findings;
    let mut times: HashMap<u64, u32> = HashMap::new();
    counted(e, &mut times, f);
    let parts = letters(e, &mut times, f);
    fed(e, f);
    for n in 0..e.fed {
        let (wanted, seen) = (u32::from(Fate::of(n) != Fate::Dropped), times.remove(&n).unwrap_or(0));
        f.check(seen >= wanted, "lost", || n.to_string());
        f.check(seen <= wanted, "twice", || n.to_string());
    }
    f.check(times.is_empty(), "from nowhere", || format!("{times:?}"));
    state(e, f);
    let notes = ledger(e, parts, f);
    f.check(notes == e.out.len() as u64, "notes", || format!("{notes}, seen {}", e.out.len()));
    findings.end()
}

/// The input has what was fed, once: else nothing can be said of the rest.
fn fed(e: &Evidence, f: &mut Findings) {
    let mut numbers: Vec<u64> = e.input.iter().filter_map(|s| number(s.value())).collect();
    numbers.sort_unstable();
    f.check(numbers.iter().copied().eq(0..e.fed), "feed", || format!("{} of {}", numbers.len(), e.fed));
}

/// Outputs: `number:count`; counts of a key go up by one, and numbers go up where nothing was held.
fn counted(e: &Evidence, times: &mut HashMap<u64, u32>, f: &mut Findings) {
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut last: HashMap<String, u64> = HashMap::new();
    for seen in &e.out {
        let text = String::from_utf8_lossy(seen.value());
        let parsed = text.split_once(':').and_then(|(n, c)| Some((n.parse().ok()?, c.parse().ok()?)));
        let Some((n, count)): Option<(u64, u64)> = parsed else {
            f.check(false, "garbled", || text.to_string());
            continue;
        };
        *times.entry(n).or_default() += 1;
        let (key, fate) = (seen.key(), Fate::of(n));
        f.check(fate.is_emitted() && key == super::fate::key(n), "not to be emitted", || {
            format!("{key} {text}")
        });
        let before = counts.insert(key.clone(), count).unwrap_or(0);
        f.check(count == before + 1, COUNT, || format!("{key} {text} after {before}"));
        if fate != Fate::Held {
            let before = last.insert(key, n);
            f.check(before.is_none_or(|b| b < n), "order", || format!("{n} after {before:?}"));
        }
    }
}

/// State: how often each key was emitted, as its changelog has it; nothing waits, in whatever store.
fn state(e: &Evidence, f: &mut Findings) {
    let mut model: BTreeMap<String, u64> = BTreeMap::new();
    for n in (0..e.fed).filter(|n| Fate::of(*n).is_emitted()) {
        *model.entry(super::fate::key(n)).or_default() += 1;
    }
    let keys: BTreeSet<&String> = model.keys().chain(e.state.counts.keys()).collect();
    for key in keys {
        let (wanted, stored) = (model.get(key), e.state.counts.get(key));
        f.check(wanted == stored, "state", || format!("{key}: {stored:?}, not {wanted:?}"));
    }
    f.check(e.state.waiting.is_empty(), "state of what is over", || format!("{:?}", e.state.waiting));
}

/// Dead letters: whole, where the original lies, and with the reason. How many are parts.
fn letters(e: &Evidence, times: &mut HashMap<u64, u32>, f: &mut Findings) -> u64 {
    let originals: HashMap<(i32, i64), &Seen> =
        e.input.iter().map(|s| ((s.partition, s.offset), s)).collect();
    let mut parts: HashMap<u64, u32> = HashMap::new();
    for letter in &e.dead {
        let origin = origin(letter).and_then(|at| originals.get(&at).copied());
        let Some((original, n)) = origin.and_then(|o| Some((o, number(o.value())?))) else {
            f.check(false, "dead letter of nothing", || format!("{letter:?}"));
            continue;
        };
        let code = letter.header("atio.errors.code").unwrap_or_default();
        match Fate::of(n) {
            Fate::Dead => {
                *times.entry(n).or_default() += 1;
                f.check(code == "invalid_json" && is_whole(letter, original), "dead letter", || {
                    format!("{letter:?}")
                });
            }
            Fate::EmittedInPart => {
                *parts.entry(n).or_default() += 1;
                let good =
                    code == "invalid_field" && letter.value() == BAD_PART && letter.key == original.key;
                f.check(good, "dead part", || format!("{letter:?}"));
            }
            _ => f.check(false, "not to be dead", || format!("{letter:?}")),
        }
    }
    for n in (0..e.fed).filter(|n| Fate::of(*n) == Fate::EmittedInPart) {
        let seen = parts.remove(&n).unwrap_or(0);
        f.check(seen == 1, "parts of one record", || format!("{n}: {seen}"));
    }
    e.dead.len() as u64
        - e.dead.iter().filter(|l| l.header("atio.errors.code") == Some("invalid_json")).count() as u64
}

/// Partition and offset of what a dead letter is of.
pub fn origin(letter: &Seen) -> Option<(i32, i64)> {
    let number = |name: &str| letter.header(&format!("atio.errors.{name}"))?.parse::<i64>().ok();
    Some((i32::try_from(number("partition")?).ok()?, number("offset")?))
}

/// Key, value and headers as they came, on the same partition, and every reason's header.
pub fn is_whole(letter: &Seen, original: &Seen) -> bool {
    let names = ["topic", "partition", "offset", "stage", "code", "message", "attempt", "first_seen"];
    let theirs: Vec<_> =
        letter.headers.iter().filter(|(name, _)| !name.starts_with("atio.errors.")).collect();
    letter.key == original.key
        && letter.value == original.value
        && letter.partition == original.partition
        && theirs.into_iter().eq(original.headers.iter())
        && names
            .iter()
            .all(|name| letter.header(&format!("atio.errors.{name}")).is_some_and(|h| !h.is_empty()))
}

/// All partitions together; every position is at the log's end, every partition in balance.
fn total(positions: &[Position], f: &mut Findings) -> (Counts, u64) {
    let (mut total, mut notes) = (Counts::default(), 0);
    for (partition, p) in positions.iter().enumerate() {
        f.check(p.next.unwrap_or(0) == p.end, "position", || format!("{partition}: {p:?}"));
        let Some(ledger) = &p.ledger else {
            f.check(p.end == 0, "no ledger", || partition.to_string());
            continue;
        };
        f.check(ledger.counts.balanced(), "balance", || format!("{partition}: {:?}", ledger.counts));
        notes += ledger.note.as_deref().unwrap_or("0").parse::<u64>().unwrap_or(u64::MAX >> 8);
        total.add(&ledger.counts);
    }
    (total, notes)
}

/// Compares the ledger with what is on the topics; the sum of the notes.
fn ledger(e: &Evidence, parts: u64, f: &mut Findings) -> u64 {
    let (total, notes) = total(&e.positions, f);
    let dead = e.dead.len() as u64 - parts;
    let dropped = e.fed.saturating_sub(e.out.len() as u64 + dead);
    let ours = [total.read, total.emitted, total.parts, total.dropped_total(), total.dead_lettered_total()];
    let theirs = [e.fed, e.out.len() as u64, parts, dropped, dead];
    f.check(ours == theirs && total.held == 0, "ledger", || format!("{total:?}, seen {theirs:?}"));
    notes
}

/// The sink: each delivery has one receipt, whatever was killed when.
pub fn judge_deliveries(e: &Evidence) -> Result<(), String> {
    let mut findings = Findings::default();
    let f = &mut findings;
    let mut times: HashMap<u64, u32> = HashMap::new();
    for seen in &e.out {
        let receipt: ReceiptRecord = match codec().decode(seen.value()) {
            Ok(receipt) => receipt,
            Err(error) => {
                f.check(false, "garbled", || error.to_string());
                continue;
            }
        };
        let n: u64 = receipt.idempotency_key.parse().unwrap_or(u64::MAX);
        *times.entry(n).or_default() += 1;
        let rejected = receipt.status == "rejected";
        f.check(rejected == (Fate::of(n) == Fate::Dead) && receipt.attempts > 0, "wrong", || {
            format!("{receipt:?}")
        });
    }
    for n in 0..e.fed {
        let seen = times.remove(&n).unwrap_or(0);
        f.check(seen > 0, "lost", || n.to_string());
        f.check(seen < 2, "twice", || n.to_string());
    }
    f.check(times.is_empty(), "from nowhere", || format!("{times:?}"));
    f.check(e.input.len() as u64 == e.fed, "feed", || format!("{} of {}", e.input.len(), e.fed));
    let (total, _) = total(&e.positions, f);
    let rejected = (0..e.fed).filter(|n| Fate::of(*n) == Fate::Dead).count() as u64;
    f.check(e.dead.len() as u64 == rejected, "dead letters", || format!("{} of {rejected}", e.dead.len()));
    let good = total.read == e.fed && total.dead_lettered_total() == rejected && total.held == 0;
    f.check(good, "ledger", || format!("{total:?}"));
    findings.end()
}

/// What a broken stream layer would leave behind, and a sort of finding that the oracle must come to.
type Doctor = (&'static str, &'static str, fn(&mut Evidence));
const DOCTORS: &[Doctor] = &[
    ("an output is gone", "lost", |e| drop(e.out.remove(e.out.len() / 2))),
    ("the last output is gone", "lost", |e| drop(e.out.pop())),
    ("an output is there twice", "twice", |e| e.out.push(e.out[e.out.len() / 3].clone())),
    // Torn: the positions of a batch were committed and its outputs were not, or the other way round.
    ("a batch is gone", "lost", |e| drop(e.out.drain(10..20))),
    ("a batch is there twice", "twice", |e| {
        let again = e.out[10..20].to_vec();
        drop(e.out.splice(20..20, again));
    }),
    ("a batch is there twice, and counted on", COUNT, |e| {
        let mut again = e.out[10..20].to_vec();
        again.iter_mut().for_each(count_on);
        drop(e.out.splice(20..20, again));
    }),
    ("state of an aborted batch has stayed", COUNT, |e| {
        let (key, half) = (e.out[e.out.len() - 1].key.clone(), e.out.len() / 2);
        e.out[half..].iter_mut().filter(|s| s.key == key).for_each(count_on);
    }),
    ("an output is another's", "lost", |e| {
        let value = e.out[7].value.clone();
        e.out[8].value = value;
    }),
    ("an output is nobody's", "from nowhere", |e| e.out[8].value = Some(b"999999:1".to_vec())),
    ("an output is cut", "garbled", |e| e.out[8].value = Some(b"17".to_vec())),
    ("two of a key change places", "order", |e| {
        let key = e.out[0].key.clone();
        let next = (1..e.out.len()).find(|i| e.out[*i].key == key).expect("another of the key");
        e.out.swap(0, next);
    }),
    ("an input is gone", "feed", |e| drop(e.input.pop())),
    ("a dead letter is gone", "lost", |e| {
        let whole = e.dead.iter().rposition(|l| l.value() != BAD_PART).expect("a whole one");
        drop(e.dead.remove(whole));
    }),
    ("a dead letter is there twice", "twice", |e| {
        let whole = e.dead.iter().find(|l| l.value() != BAD_PART).expect("a whole one").clone();
        e.dead.push(whole);
    }),
    ("a dead part is gone", "parts of one record", |e| {
        let part = e.dead.iter().position(|l| l.value() == BAD_PART).expect("a part");
        drop(e.dead.remove(part));
    }),
    ("a dead letter is cut", "dead letter", |e| {
        let whole = e.dead.iter_mut().find(|l| l.value() != BAD_PART).expect("a whole one");
        whole.value.as_mut().expect("a value").pop();
    }),
    ("a dead letter lost a header", "dead letter of nothing", |e| {
        e.dead[0].headers.retain(|(name, _)| name != "atio.errors.offset");
    }),
    ("the ledger counts one more", "ledger", |e| counts(e).emitted += 1),
    ("the ledger counts one less", "balance", |e| counts(e).read -= 1),
    ("the ledger counts one more, in balance", "ledger", |e| {
        counts(e).emitted += 1;
        counts(e).read += 1;
    }),
    ("a partition has no ledger", "no ledger", |e| e.positions[0].ledger = None),
    ("a note is missing", "notes", |e| {
        let ledger = e.positions[0].ledger.as_mut().expect("a ledger");
        ledger.note = ledger.note.as_ref().map(|n| (n.parse::<u64>().expect("a number") - 1).to_string());
    }),
    ("a position is behind", "position", |e| e.positions[0].next = e.positions[0].next.map(|n| n - 1)),
    ("something is held", "ledger", |e| {
        counts(e).held += 1;
        counts(e).read += 1;
    }),
    ("a state is one too high", "state", |e| *e.state.counts.get_mut("k7").expect("a count") += 1),
    ("a state is one too low", "state", |e| *e.state.counts.get_mut("k7").expect("a count") -= 1),
    ("a state is gone", "state", |e| e.state.counts.retain(|key, _| key != "k7")),
    ("a state is nobody's", "state", |e| e.state.counts.extend([("nobody".to_owned(), 1)])),
    ("a timer has stayed", "state of what is over", |e| e.state.waiting.push("timers/k7".into())),
];

/// One more than it was.
fn count_on(seen: &mut Seen) {
    let text = String::from_utf8_lossy(seen.value()).into_owned();
    let (n, count) = text.split_once(':').expect("number and count");
    let count: u64 = count.parse().expect("a count");
    seen.value = Some(format!("{n}:{}", count + 1).into_bytes());
}

fn counts(e: &mut Evidence) -> &mut Counts {
    &mut e.positions[0].ledger.as_mut().expect("a ledger").counts
}

/// That the oracle can say no: each doctored copy of good evidence is found out, and for what it is.
pub fn prove(good: &Evidence) {
    judge(good).unwrap_or_else(|found| panic!("{found}"));
    for (what, sort, doctor) in DOCTORS {
        let mut bad = good.clone();
        doctor(&mut bad);
        let found = judge(&bad).expect_err(what);
        let seen = found.lines().any(|line| line.starts_with(&format!("{sort} × ")));
        assert!(seen, "the oracle does not see that {what}: {found}");
    }
}
