//! Random appends, rotations and crashes against a disk in memory: nothing lost, nothing twice.
use super::{
    gather::{Batch, Body, Disk, Times, gather},
    machine::{HEAD, Place, Seen, Track},
};
use atio_schemas::{Code, Timestamp};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::Path,
};

const SETTLE: i64 = 10_000_000;

/// One tailed path and what was rotated away from it.
#[derive(Default)]
struct Memory {
    /// Name → inode.
    names: BTreeMap<String, u64>,
    files: BTreeMap<u64, (Vec<u8>, i64)>,
    next: u64,
    now: i64,
}

impl Memory {
    fn create(&mut self) {
        self.next += 1;
        self.names.insert("log".to_owned(), self.next);
        self.files.insert(self.next, (vec![], self.now));
    }
    fn append(&mut self, bytes: &[u8]) {
        let now = self.now;
        if let Some((content, modified)) = self.names.get("log").and_then(|i| self.files.get_mut(i)) {
            content.extend_from_slice(bytes);
            *modified = now;
        }
    }
    fn shift(&mut self) {
        for n in (1..50).rev() {
            if let Some(inode) = self.names.remove(&format!("log.{n}")) {
                self.names.insert(format!("log.{}", n + 1), inode);
            }
        }
    }
    fn rename(&mut self) {
        self.shift();
        if let Some(inode) = self.names.remove("log") {
            self.names.insert("log.1".to_owned(), inode);
        }
        self.create();
    }
    fn copytruncate(&mut self) {
        self.shift();
        let Some(inode) = self.names.get("log").copied() else { return };
        let content = self.files[&inode].0.clone();
        self.next += 1;
        self.files.insert(self.next, (content, self.now));
        self.names.insert("log.1".to_owned(), self.next);
        self.files.insert(inode, (vec![], self.now));
    }
}

impl Disk for Memory {
    fn look(&mut self) -> io::Result<Vec<Seen>> {
        let seen = self.names.iter().map(|(name, inode)| {
            let (content, modified) = &self.files[inode];
            Seen {
                path: name.clone(),
                family: "log".to_owned(),
                place: (1, *inode),
                size: content.len() as u64,
                modified: Timestamp(*modified),
                head: content[..content.len().min(HEAD)].to_vec(),
            }
        });
        Ok(seen.collect())
    }
    fn read(&self, seen: &Seen, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let content = &self.files[&seen.place.1].0;
        let from = usize::try_from(offset).unwrap().min(content.len());
        Ok(content[from..(from + len).min(content.len())].to_vec())
    }
    fn keep(&mut self, _: &dyn Fn(Place) -> bool) {}
}

/// What is committed: the only thing that survives a crash.
#[derive(Default)]
struct Committed {
    tracks: BTreeMap<String, Track>,
    lines: Vec<String>,
    ids: BTreeSet<(String, u64)>,
}

impl Committed {
    fn commit(&mut self, batch: Batch) {
        for item in batch.items {
            assert!(self.ids.insert((item.file.clone(), item.offset)), "an event id twice: {item:?}");
            if let Body::Line(raw) = item.body {
                self.lines.push(String::from_utf8(raw).unwrap());
            }
        }
        // Through the record, as the topic keeps it.
        for (id, track) in batch.tracks {
            self.tracks.insert(id, Track::of(&track.position("s")).unwrap());
        }
        batch.forget.iter().for_each(|id| drop(self.tracks.remove(id)));
    }
    fn poll(&mut self, disk: &mut dyn Disk, now: i64) -> bool {
        let times = Times { now: Timestamp(now), since: Timestamp(0), settle_micros: SETTLE };
        let batch = gather(disk, &self.tracks, times).unwrap();
        let more = !batch.is_empty();
        self.commit(batch);
        more
    }
}

#[derive(Clone, Debug)]
enum Step {
    Line(bool),
    Partial,
    Rename,
    CopyTruncate,
    Poll,
    /// A batch that is read and never written.
    Crash,
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<bool>().prop_map(Step::Line),
        2 => Just(Step::Partial),
        2 => Just(Step::Rename),
        2 => Just(Step::CopyTruncate),
        5 => Just(Step::Poll),
        1 => Just(Step::Crash),
        2 => (1_i64..20).prop_map(Step::Wait),
    ]
}

fn play(steps: &[Step], header: bool) -> (Vec<String>, Vec<String>) {
    let (mut disk, mut committed) = (Memory { now: 100_000_000, ..Memory::default() }, Committed::default());
    disk.create();
    let (mut written, mut open, mut number, mut headed): (Vec<String>, String, u32, bool) =
        (vec![], String::new(), 0, false);
    let start = |disk: &mut Memory, written: &mut Vec<String>, headed: &mut bool| {
        if header && !*headed {
            // A position right after what all files start with can't be told from another file's; one line more, and it can.
            let own = format!("#own line {}", disk.now);
            disk.append(format!("#same first line\n{own}\n").as_bytes());
            written.extend(["#same first line".to_owned(), own]);
            *headed = true;
        }
    };
    for step in steps {
        disk.now += 1000;
        match step {
            Step::Line(blank) => {
                start(&mut disk, &mut written, &mut headed);
                number += 1;
                let text = format!("{{\"n\":{number}}}");
                disk.append(format!("{text}\n{}", if *blank { "\n" } else { "" }).as_bytes());
                open.push_str(&text);
                written.push(std::mem::take(&mut open));
            }
            Step::Partial => {
                start(&mut disk, &mut written, &mut headed);
                number += 1;
                disk.append(format!("part{number} ").as_bytes());
                open.push_str(&format!("part{number} "));
            }
            Step::Rename | Step::CopyTruncate => {
                if matches!(step, Step::Rename) {
                    disk.rename()
                } else {
                    disk.copytruncate()
                }
                headed = false;
                if !open.is_empty() {
                    written.push(std::mem::take(&mut open));
                }
            }
            Step::Poll => {
                let now = disk.now;
                committed.poll(&mut disk, now);
            }
            Step::Crash => {
                let times = Times { now: Timestamp(disk.now), since: Timestamp(0), settle_micros: SETTLE };
                drop(gather(&mut disk, &committed.tracks, times).unwrap());
            }
            Step::Wait(seconds) => disk.now += seconds * 1_000_000,
        }
    }
    disk.rename();
    if !open.is_empty() {
        written.push(open);
    }
    for _ in 0..200 {
        disk.now += SETTLE;
        let now = disk.now;
        if !committed.poll(&mut disk, now) {
            break;
        }
    }
    (written, committed.lines)
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(steps in proptest::collection::vec(step(), 1..40)) {
        let (written, read) = play(&steps, false);
        prop_assert_eq!(sorted(read), sorted(written));
    }

    #[test]
    fn also_where_every_file_starts_alike(steps in proptest::collection::vec(step(), 1..40)) {
        let (written, read) = play(&steps, true);
        prop_assert_eq!(sorted(read), sorted(written));
    }
}

fn tail(folder: &Path, committed: &mut Committed, files: &mut super::disk::Files, now: i64) {
    assert!(folder.is_dir());
    while committed.poll(files, now) {}
}

fn now() -> i64 {
    atio_runtime::clock::now().0
}

#[test]
fn real_files_are_followed_through_rotation_deletion_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("eve.json");
    let paths = [path.display().to_string()];
    let mut files = super::disk::Files::new(&paths).unwrap();
    let mut committed = Committed::default();
    tail(folder.path(), &mut committed, &mut files, now());
    fs::write(&path, "{\"n\":1}\n{\"n\":2}\n{\"n\":").unwrap();
    tail(folder.path(), &mut committed, &mut files, now());
    assert_eq!(committed.lines, ["{\"n\":1}", "{\"n\":2}"]);
    // Rotated with a line left open, and compressed.
    fs::rename(&path, folder.path().join("eve.json.1")).unwrap();
    fs::write(&path, "{\"n\":4}\n").unwrap();
    fs::write(folder.path().join("eve.json.2.gz"), "junk").unwrap();
    let mut writer = fs::OpenOptions::new().append(true).open(folder.path().join("eve.json.1")).unwrap();
    writer.write_all(b"3}\n{\"last\":3").unwrap();
    // A restart: nothing but the positions is known.
    let mut files = super::disk::Files::new(&paths).unwrap();
    tail(folder.path(), &mut committed, &mut files, now());
    assert_eq!(committed.lines[2..], ["{\"n\":3}", "{\"n\":4}"]);
    tail(folder.path(), &mut committed, &mut files, now() + SETTLE);
    assert_eq!(committed.lines[4..], ["{\"last\":3"]);
    // Written to, and deleted before the next look: its handle is held.
    let mut writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    writer.write_all(b"{\"n\":5}\n").unwrap();
    fs::remove_file(&path).unwrap();
    tail(folder.path(), &mut committed, &mut files, now());
    assert_eq!(committed.lines[5..], ["{\"n\":5}"]);
}

#[test]
fn long_and_broken_lines_are_dead_letters_and_the_tail_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("eve.json");
    let mut content = b"{\"a\":1}\n\xff\xfe\n".to_vec();
    let long = vec![b'x'; (16 << 20) + 1];
    content.extend_from_slice(&long);
    content.extend_from_slice(b"\n{\"b\":2}\n");
    content.extend(vec![b'y'; 5 << 20]);
    content.extend_from_slice(b"\n{\"c\":3}\n");
    fs::write(&path, &content).unwrap();
    let mut files = super::disk::Files::new(&[folder.path().join("*.json").display().to_string()]).unwrap();
    let mut committed = Committed::default();
    let mut bodies = vec![];
    loop {
        let times = Times { now: Timestamp(now()), since: Timestamp(0), settle_micros: SETTLE };
        let batch = gather(&mut files, &committed.tracks, times).unwrap();
        if batch.is_empty() {
            break;
        }
        bodies.extend(batch.items.iter().map(|i| (i.offset, i.body.clone())));
        committed.commit(batch);
    }
    let show = |body: &Body| match body {
        Body::Line(raw) => format!("line of {}", raw.len()),
        Body::Bad { code, raw, .. } => {
            assert_eq!(*code, Code::BadEncoding);
            format!("bad {raw:?}")
        }
        Body::TooLong { size, sha256 } => {
            assert_eq!(*sha256, crate::hash::sha256(&long));
            format!("too long {size}")
        }
    };
    let shown: Vec<String> = bodies.iter().map(|(_, body)| show(body)).collect();
    let long_size = format!("too long {}", (16 << 20) + 1);
    assert_eq!(
        shown,
        ["line of 7", "bad [255, 254]", &long_size, "line of 7", "line of 5242880", "line of 7"]
    );
}
