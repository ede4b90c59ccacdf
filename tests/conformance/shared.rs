//! Two lanes of one process that share a table: each sees it change between its own transactions, and at no other time.
use super::{
    lane::Inside,
    stages::{Gate, Kind},
    world::World,
};
use crate::support::{Broker, On};

/// One lane stands in the middle of a transaction while the other sees a new row and answers by it: the first still answers by the old one,
/// and by the new one in its next transaction.
pub fn tables(on: On) {
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, Kind::Join, 2);
    world.put("rows", 0, &[("a", b"one")]);
    let gate = Gate::default();
    let [first, second] = Inside::pair(&world, &gate);
    let partition = |lane: &Inside| {
        let status = lane.until("it has a partition", |s| s.assigned.len() == 1);
        status.assigned[0].partition
    };
    // Only when both have one, each keeps it.
    partition(&second);
    let (of_first, of_second) = (partition(&first), partition(&second));
    assert_ne!(of_first, of_second);

    // What the tables are is noted now: the transaction that waits has nothing at the broker yet that could time out there.
    world.put("in", of_first, &[("0", b"a")]);
    first.until("it answers", |s| s.ledger.emitted == 1);
    world.put("in", of_first, &[("1", b"wait")]);
    gate.until_somebody_waits();
    let before = first.status().tables;
    world.put("rows", 0, &[("a", b"two")]);
    second.until("it has the new row", |s| s.tables.iter().map(|t| t.offset).sum::<i64>() >= 2);
    world.put("in", of_second, &[("2", b"a")]);
    second.until("it answers", |s| s.ledger.emitted == 1);
    assert_eq!(first.status().tables, before, "its transaction is open");
    gate.open();
    first.until("it answers", |s| s.ledger.emitted == 2);
    world.put("in", of_first, &[("3", b"a")]);
    first.until("it answers again", |s| s.ledger.emitted == 3);
    for lane in [first, second] {
        lane.stop().expect("stopped in order");
    }
    let mut answers: Vec<(String, String)> = world
        .read("out")
        .iter()
        .map(|s| [s.key.as_deref().unwrap_or_default(), s.value()].map(String::from_utf8_lossy))
        .map(|[key, value]| (key.into_owned(), value.into_owned()))
        .collect();
    answers.sort();
    let expected =
        [("0", "one"), ("1", "one"), ("2", "two"), ("3", "two")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(answers, expected);
}
