//! Due times: of cron expressions where clocks change, of multiples, and that both directions of the search agree.
use super::*;
use atio_topics::units::parse_span;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn cron(text: &str, zone: &str) -> Schedule {
    Schedule::cron(text, zone, None).unwrap()
}

/// Due times after this one, as UTC.
fn after(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
    let next = |last: &Timestamp| schedule.next(*last);
    std::iter::successors(schedule.next(at(from)), next).take(count).map(|t| t.rfc3339_millis()).collect()
}

#[test]
fn a_cron_expression_is_due_by_the_clocks_of_its_zone() {
    let mornings = cron("0 8 * * mon-fri", "Europe/Berlin");
    assert_eq!(mornings.to_string(), "0 8 * * mon-fri Europe/Berlin");
    // Friday; then Monday, when summer time has begun.
    let found = after(&mornings, "2026-03-26T12:00:00Z", 2);
    assert_eq!(found, ["2026-03-27T07:00:00.000Z", "2026-03-30T06:00:00.000Z"]);
    assert!(mornings.is_due(at("2026-03-27T07:00:00Z")) && !mornings.is_due(at("2026-03-28T07:00:00Z")));
    assert!(!mornings.is_due(at("2026-03-27T07:00:00.5Z")));
    // A due time is not after itself; within its second it is.
    assert_eq!(mornings.next(at("2026-03-27T07:00:00Z")), Some(at("2026-03-30T06:00:00Z")));
    assert_eq!(mornings.next(at("2026-03-27T06:59:59.999Z")), Some(at("2026-03-27T07:00:00Z")));
}

#[test]
fn where_clocks_change_nothing_is_left_out_and_nothing_comes_twice() {
    let night = cron("30 2 * * *", "Europe/Berlin");
    // There is no 02:30: it is due when the clocks go on.
    let spring = ["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"];
    assert_eq!(after(&night, "2026-03-27T12:00:00Z", 3), spring);
    // It comes twice: the first counts.
    let autumn = ["2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"];
    assert_eq!(after(&night, "2026-10-24T12:00:00Z", 2), autumn);
    // Every half hour is every half hour.
    let halves = cron("*/30 * * * *", "Europe/Berlin");
    let found = after(&halves, "2026-10-25T00:00:00Z", 3);
    assert_eq!(found, ["2026-10-25T00:30:00.000Z", "2026-10-25T01:00:00.000Z", "2026-10-25T01:30:00.000Z"]);
}

#[test]
fn multiples_are_the_same_for_everybody() {
    let quarters = Schedule::every(parse_span("15m").unwrap(), parse_span("5m"));
    assert_eq!(quarters.to_string(), "every 15m");
    let found = after(&quarters, "2026-01-01T00:00:00Z", 2);
    assert_eq!(found, ["2026-01-01T00:15:00.000Z", "2026-01-01T00:30:00.000Z"]);
    let (start, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T10:44:00Z"));
    assert_eq!(quarters.latest(start, now), Some(at("2026-01-01T10:30:00Z")));
    assert_eq!(quarters.latest(at("2026-01-01T10:30:00Z"), now), None);
    let due = at("2026-01-01T10:30:00Z");
    assert!(quarters.in_time(due, at("2026-01-01T10:35:00Z")) && !quarters.in_time(due, now));
    assert!(Schedule::every(parse_span("15m").unwrap(), None).in_time(due, at("2036-01-01T00:00:00Z")));
}

#[test]
fn what_is_no_schedule() {
    let unfit = |text: &str| Schedule::cron(text, "UTC", None).map(|_| ()).unwrap_err();
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        assert_eq!(unfit(never), Unfit::Never, "{never}");
    }
    for text in
        ["", "* * * *", "* * * * * *", "60 * * * *", "0 8 * * mon-fry", "0 8 * * *; x", &"0,".repeat(200)]
    {
        assert!(matches!(unfit(text), Unfit::Syntax(_)), "{text}: {:?}", unfit(text));
    }
    assert_eq!(Schedule::cron("0 8 * * *", "Mars/Base", None).map(|_| ()), Err(Unfit::Zone));
    // Once in four years is seldom, and not never.
    assert_eq!(after(&cron("0 0 29 2 *", "UTC"), "2026-01-01T00:00:00Z", 1), ["2028-02-29T00:00:00.000Z"]);
}

proptest! {
    /// The last due time before now is the one that counting on from the start comes to.
    #[test]
    fn back_and_forth_agree(
        minute in prop_oneof![Just("*".to_owned()), Just("*/7".to_owned()), (0_u8..60).prop_map(|m| m.to_string())],
        hour in prop_oneof![Just("*".to_owned()), Just("2".to_owned()), Just("1-3".to_owned()), (0_u8..24).prop_map(|h| h.to_string())],
        zone in prop_oneof![Just("Europe/Berlin"), Just("America/New_York"), Just("UTC"), Just("Australia/Lord_Howe")],
        start in 1_774_000_000_000_000_i64..1_794_000_000_000_000,
        length in 0_i64..172_800_000_000,
    ) {
        let schedule = cron(&format!("{minute} {hour} * * *"), zone);
        let (start, now) = (Timestamp(start), Timestamp(start + length));
        let mut last = None;
        while let Some(next) = schedule.next(last.unwrap_or(start)).filter(|next| *next <= now) {
            prop_assert!(last.is_none_or(|last| next > last), "time goes on");
            prop_assert!(schedule.is_due(next));
            last = Some(next);
        }
        prop_assert_eq!(schedule.latest(start, now), last);
    }
}
