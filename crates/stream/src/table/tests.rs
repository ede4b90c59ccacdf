//! Lanes that share a table.
use super::*;
use crate::client::mock::Mock;
use atio_stage::{StageError, TableName, View};
use std::{
    collections::BTreeMap,
    sync::{Mutex, mpsc::channel},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
struct Rows(BTreeMap<Vec<u8>, Vec<u8>>);

impl View for Rows {
    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StageError> {
        self.0.insert(key.to_vec(), value.unwrap_or_default().to_vec());
        Ok(())
    }
    fn fork(&self) -> Box<dyn View> {
        Box::new(self.clone())
    }
}

/// Lanes that read the table of a topic of two partitions.
fn lanes<const N: usize>(mock: &Mock) -> [TableReader; N] {
    let make = Arc::new(|| Box::new(Rows::default()) as Box<dyn View>);
    let specs = [TableSpec { name: TableName::new("rows"), topic: "rows".into(), make }];
    let shared = SharedTables::default();
    let client = (&mock.kafka, "test");
    [(); N].map(|()| TableReader::load(&shared, &specs, client, &|_| Ok(()), &|| true).expect("loaded"))
}

fn seen(lane: &TableReader) -> Vec<&[u8]> {
    let rows = lane.tables().get::<Rows>("rows").expect("its view");
    rows.0.keys().map(Vec::as_slice).collect()
}

/// Between transactions again and again, until the lane sees these rows.
fn until_seen(lane: &mut TableReader, ensure: Ensure<'_>, rows: &[&[u8]]) {
    let deadline = Instant::now() + PATIENCE;
    while seen(lane) != rows {
        assert!(Instant::now() < deadline, "sees {:?}, not {rows:?}", seen(lane));
        // What can't be had now is had later.
        drop(lane.advance(ensure));
        crate::clock::pause(Duration::from_millis(10));
    }
}

#[test]
fn a_schema_that_is_away_for_a_while_costs_no_row_of_any_partition() {
    let mock = Mock::new("rows", 2);
    mock.put(0, "a");
    let [mut lane] = lanes(&mock);
    mock.put(0, "b");
    let away = Mutex::new(true);
    let ensure = |_: Option<&[u8]>| {
        let was_away = std::mem::replace(&mut *away.lock().expect("unpoisoned"), false);
        if was_away { Err("away".to_owned()) } else { Ok(()) }
    };
    until_seen(&mut lane, &ensure, &[b"a", b"b"]);
    assert!(!*away.lock().expect("unpoisoned"), "it was asked");
    // Nothing had come of this partition until now.
    mock.put(1, "c");
    until_seen(&mut lane, &ensure, &[b"a", b"b", b"c"]);
}

#[test]
fn a_lane_that_waits_for_a_schema_keeps_no_other_one_waiting() {
    let mock = Mock::new("rows", 2);
    mock.put(0, "a");
    let [mut first, mut second] = lanes(&mock);
    let none_asked = |_: Option<&[u8]>| Ok(());
    mock.put(0, "b");
    until_seen(&mut first, &none_asked, &[b"a", b"b"]);
    mock.put(0, "c");
    let (asking, asked) = channel();
    let (answering, answer) = channel::<()>();
    thread::scope(|scope| {
        // Ends with this, also where an assertion fails: then nobody waits for it.
        let answering = answering;
        let first = &mut first;
        let waits = scope.spawn(move || {
            let slow = |_: Option<&[u8]>| {
                asking.send(()).expect("somebody listens");
                answer.recv().map_err(|e| e.to_string())
            };
            until_seen(first, &slow, &[b"a", b"b", b"c"]);
        });
        asked.recv_timeout(PATIENCE).expect("the first lane asks for a schema");
        let (telling, told) = channel();
        let second = &mut second;
        scope.spawn(move || {
            let advanced = second.advance(&none_asked);
            telling.send((advanced, seen(second).len())).expect("somebody listens");
        });
        let (advanced, rows) = told.recv_timeout(PATIENCE).expect("the second lane goes on");
        assert_eq!((advanced, rows), (Ok(()), 1), "with the rows that it had");
        answering.send(()).expect("it waits");
        waits.join().expect("it goes on");
    });
    until_seen(&mut second, &none_asked, &[b"a", b"b", b"c"]);
}
