//! Reads given partitions up to given ends, the markers behind the last record included. Owns when that is done; must not know what is read.
use crate::{
    client::assigned::Assigned,
    client::consumer::Incoming,
    fault::{Fault, FaultKind, Tp},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Without any progress for so long, it has failed.
const STUCK: Duration = Duration::from_secs(60);
/// Short: what is no record (a marker, behind the last) moves the position and does not end the client's wait.
const POLL: Duration = Duration::from_millis(5);
const AT_ONCE: u32 = 5000;

/// `wanted` is asked now and then, where a group must see that we live, and whether to go on.
///
/// # Errors
/// `Retry`: the broker went quiet, or it is no longer wanted. `Fatal`: a record that `each` refused, with its place.
pub(crate) fn read_to(
    reader: &Assigned,
    ends: &BTreeMap<Tp, i64>,
    wanted: &dyn Fn() -> bool,
    mut each: impl FnMut(&Incoming<'_>) -> Result<(), String>,
) -> Result<(), Fault> {
    let mut each = |record: &Incoming<'_>| {
        let refused = |e| {
            Fault::new(
                FaultKind::Fatal,
                format!("{}/{}/{}: {e}", record.topic(), record.partition(), record.offset()),
            )
        };
        each(record).map_err(refused)
    };
    let mut progress = Instant::now();
    let mut last = BTreeMap::new();
    loop {
        // The first wait takes in whatever comes; then everything that is at hand.
        let mut wait = POLL;
        for _ in 0..AT_ONCE {
            let Some(record) = reader.poll(wait)? else { break };
            each(&record)?;
            wait = Duration::ZERO;
        }
        let positions = reader.positions();
        if ends.iter().all(|(tp, end)| positions.get(tp).is_some_and(|at| at >= end)) {
            return Ok(());
        }
        if !wanted() {
            return Err(Fault::new(FaultKind::Retry, "stopped while reading"));
        }
        if positions != last {
            progress = Instant::now();
            last = positions;
        } else if progress.elapsed() > STUCK {
            return Err(Fault::new(
                FaultKind::Retry,
                format!("reading does not go on: at {last:?}, wanted {ends:?}"),
            ));
        }
    }
}
