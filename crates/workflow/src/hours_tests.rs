//! Business time against known days, and its laws under any hours, zone and moment.
use super::*;
use proptest::prelude::*;

const HOUR: i64 = 3_600_000;

fn hours(days: &[i32], from: i32, to: i32, zone: &str) -> Hours {
    Hours { days: days.to_vec(), from_minute: from, to_minute: to, zone: zone.to_owned() }
}

fn office() -> Hours {
    hours(&[1, 2, 3, 4, 5], 8 * 60, 18 * 60, "Europe/Berlin")
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn due(from: &str, within_ms: i64, hours: &Hours) -> String {
    deadline(at(from), within_ms, Some(hours)).rfc3339_millis()
}

#[test]
fn only_office_hours_count() {
    let office = office();
    for (from, within, expected) in [
        // A Monday in summer, UTC+2: 08:00 to 18:00 is 06:00Z to 16:00Z.
        ("2026-06-01T08:00:00Z", HOUR, "2026-06-01T09:00:00.000Z"),
        ("2026-06-01T03:00:00Z", HOUR, "2026-06-01T07:00:00.000Z"),
        ("2026-06-01T15:30:00Z", HOUR, "2026-06-02T06:30:00.000Z"),
        ("2026-06-01T15:00:00Z", HOUR, "2026-06-01T16:00:00.000Z"),
        // Friday afternoon to Monday morning.
        ("2026-06-05T15:45:00Z", HOUR, "2026-06-08T06:45:00.000Z"),
        ("2026-06-06T12:00:00Z", 25 * HOUR, "2026-06-10T11:00:00.000Z"),
        // From winter to summer time on the Sunday between.
        ("2026-03-27T16:00:00Z", 2 * HOUR, "2026-03-30T07:00:00.000Z"),
        ("2026-10-23T15:00:00Z", 2 * HOUR, "2026-10-26T08:00:00.000Z"),
    ] {
        assert_eq!(due(from, within, &office), expected, "{from}");
    }
}

#[test]
fn windows_over_midnight_and_where_clocks_change() {
    let night = hours(&[6], 22 * 60, 6 * 60, "Europe/Berlin");
    // Saturday 22:00 to Sunday 06:00: seven hours when an hour is left out, nine when one comes twice.
    assert_eq!(due("2026-03-28T12:00:00Z", 7 * HOUR, &night), "2026-03-29T04:00:00.000Z");
    assert_eq!(due("2026-10-24T12:00:00Z", 9 * HOUR, &night), "2026-10-25T05:00:00.000Z");
    assert_eq!(due("2026-03-29T03:00:00Z", 2 * HOUR, &night), "2026-04-04T21:00:00.000Z");
    // 02:30 does not exist on that day: it is 03:30, and the window is empty.
    let gap = hours(&[7], 150, 180, "Europe/Berlin");
    assert_eq!(due("2026-03-28T12:00:00Z", HOUR / 4, &gap), "2026-04-05T00:45:00.000Z");
    // A whole day that was left out: Samoa had no 30 December 2011. Friday's hours are Saturday's, and Saturday's do not count again.
    let samoa = hours(&[5, 6], 8 * 60, 18 * 60, "Pacific/Apia");
    assert_eq!(due("2011-12-30T00:00:00Z", 12 * HOUR, &samoa), "2012-01-05T20:00:00.000Z");
}

#[test]
fn hours_that_are_none_do_not_fit() {
    let good = office();
    assert!(fits(&good, 30 * 24 * HOUR) && fits(&good, 0));
    for wrong in [
        Hours { days: vec![], ..good.clone() },
        Hours { days: vec![1, 1], ..good.clone() },
        Hours { days: vec![0], ..good.clone() },
        Hours { days: vec![8], ..good.clone() },
        Hours { from_minute: -1, ..good.clone() },
        Hours { from_minute: DAY, ..good.clone() },
        Hours { to_minute: DAY + 1, ..good.clone() },
        Hours { to_minute: 0, ..good.clone() },
        Hours { to_minute: 8 * 60, ..good.clone() },
        Hours { zone: "Europe/Berlim".into(), ..good.clone() },
        Hours { zone: String::new(), ..good.clone() },
    ] {
        assert!(!fits(&wrong, HOUR), "{wrong:?}");
        assert_eq!(deadline(Timestamp(7), HOUR, Some(&wrong)), Timestamp(7).plus_millis(HOUR));
    }
    let minute = hours(&[1], 0, 1, "UTC");
    assert!(fits(&minute, 52 * MINUTE_MS) && !fits(&minute, 53 * MINUTE_MS) && !fits(&minute, -1));
    assert_eq!(deadline(Timestamp(7), HOUR, None), Timestamp(7).plus_millis(HOUR));
    assert!(zones().any(|z| z == "Europe/Berlin"));
}

/// Minute by minute, by the clock on the wall.
fn counted(from: Timestamp, to: Timestamp, hours: &Hours) -> i64 {
    let zone = zone(&hours.zone).unwrap();
    let mut ms = 0;
    let mut minute = from;
    while minute < to {
        let wall = jiff::Timestamp::from_microsecond(minute.0).unwrap().to_zoned_datetime(zone.clone());
        let of_day = i32::from(wall.hour()) * 60 + i32::from(wall.minute());
        let inside = (hours.from_minute..hours.to_minute).contains(&of_day);
        let day = i32::from(wall.weekday().to_monday_one_offset());
        ms += if inside && hours.days.contains(&day) { MINUTE_MS } else { 0 };
        minute = minute.plus_millis(MINUTE_MS);
    }
    ms
}

fn any_hours() -> impl Strategy<Value = Hours> {
    let days = proptest::sample::subsequence(vec![1, 2, 3, 4, 5, 6, 7], 1..=7);
    let zones = prop_oneof![
        Just("Europe/Berlin"),
        Just("America/New_York"),
        Just("America/Santiago"),
        Just("Australia/Lord_Howe"),
        Just("Asia/Kathmandu"),
        Just("Africa/Casablanca"),
        Just("Pacific/Apia"),
        Just("UTC"),
    ];
    (days, 0..DAY, 1..=DAY, zones).prop_filter_map("no hours", |(days, from, to, zone)| {
        (from != to).then(|| hours(&days, from, to, zone))
    })
}

/// Whole minutes from 2010 to 2030.
fn moment() -> impl Strategy<Value = Timestamp> {
    (21_038_400_i64..31_556_160).prop_map(|minutes| Timestamp::from_millis(minutes * MINUTE_MS))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Later deadlines for more time and for later moments; never before all of the time has passed; in parts as at once.
    #[test]
    fn the_laws_of_a_deadline(hours in any_hours(), from in moment(), one in 0..600_i64, other in 0..600_i64, pause in 0..3000_i64) {
        let after = |from, minutes: i64| deadline(from, minutes * MINUTE_MS, Some(&hours));
        prop_assume!(fits(&hours, (one + other) * MINUTE_MS));
        let first = after(from, one);
        prop_assert!(first >= from.plus_millis(one * MINUTE_MS));
        prop_assert!(after(from, one + other) >= first);
        prop_assert!(after(from.plus_millis(pause * MINUTE_MS), one) >= first);
        prop_assert_eq!(after(first, other), after(from, one + other));
    }

    /// Hours that are always are none, whatever the clocks do.
    #[test]
    fn all_hours_count_as_none(from in moment(), minutes in 0..40_000_i64, zone in prop_oneof![Just("Europe/Berlin"), Just("America/Santiago")]) {
        let always = hours(&[1, 2, 3, 4, 5, 6, 7], 0, DAY, zone);
        prop_assert_eq!(deadline(from, minutes * MINUTE_MS, Some(&always)), from.plus_millis(minutes * MINUTE_MS));
    }
}

proptest! {
    // Each case looks at every minute of some weeks.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// As a clock on the wall would count, where no bound lies in a change of the clocks.
    #[test]
    fn as_the_clock_on_the_wall_counts(from_hour in 5..12, length in 1..11, from in moment(), minutes in 1..900_i64) {
        let hours = hours(&[1, 3, 4, 7], from_hour * 60, (from_hour + length) * 60, "America/New_York");
        let due = deadline(from, minutes * MINUTE_MS, Some(&hours));
        prop_assert_eq!(counted(from, due, &hours), minutes * MINUTE_MS);
        prop_assert_eq!(counted(from, Timestamp(due.0 - 60_000_000), &hours), (minutes - 1) * MINUTE_MS);
    }
}
