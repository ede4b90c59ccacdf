//! When `on: schedule` is due. Pure: a due time follows from the schedule and from the time zone database that is compiled in, never from the
//! machine, nor from when somebody looked. So it has the same due times under each version, after each restart and on each instance.
//! Must not know: what is done when it is due, YAML.
use crate::hours;
use atio_schemas::Timestamp;
use atio_topics::units::Span;
use croner::{
    CivilDate, CivilDateTime, CivilTime, Cron, CronDateTime, Resolution, Weekday,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    SignedDuration, ZonedDateTime,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use std::{cmp::Ordering, fmt};

/// A cron expression has at most so many bytes.
pub const CRON_MAX: usize = 256;

/// Due times, and how late one may still be taken up.
#[derive(Clone, Debug)]
pub struct Schedule {
    due: Due,
    deadline: Option<Span>,
}

#[derive(Clone, Debug)]
enum Due {
    Cron {
        cron: Box<Cron>,
        text: String,
        zone: TimeZone,
    },
    /// The multiples of this, from the epoch on.
    Every(Span),
}

/// A cron expression that can't be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("no cron expression: {0}")]
    Syntax(String),
    #[error("never due: no such day ever comes")]
    Never,
    #[error("unknown time zone")]
    Zone,
}

impl Schedule {
    /// `cron`: minute, hour, day of the month, month, day of the week. `zone`: a name of the IANA time zone database.
    ///
    /// # Errors
    /// Why it is none.
    pub fn cron(cron: &str, zone: &str, deadline: Option<Span>) -> Result<Self, Unfit> {
        let zone = hours::zone(zone).ok_or(Unfit::Zone)?;
        let text: String = cron.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.len() > CRON_MAX {
            return Err(Unfit::Syntax(format!("{} bytes, at most {CRON_MAX} are taken", text.len())));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&text).map_err(|e| Unfit::Syntax(said(e)))?;
        let schedule = Self { due: Due::Cron { cron: Box::new(cron), text, zone }, deadline };
        // The search has an end: the thirtieth of February is none that ever comes.
        schedule.next(Timestamp::default()).map(|_| schedule).ok_or(Unfit::Never)
    }

    /// At the multiples of `every`, counted from 1970-01-01T00:00Z.
    #[must_use]
    pub const fn every(every: Span, deadline: Option<Span>) -> Self {
        Self { due: Due::Every(every), deadline }
    }

    /// The first due time after this one; none = there is none.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.due {
            Due::Every(every) => {
                let every = micros(*every);
                after.0.div_euclid(every).checked_add(1)?.checked_mul(every).map(Timestamp)
            }
            Due::Cron { cron, zone, .. } => {
                let from = Local::at(after, zone)?;
                Some(cron.find_next_occurrence(&from, false).ok()?.timestamp())
            }
        }
    }

    /// The last due time after `after` that is not after `now`.
    #[must_use]
    pub fn latest(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let found = match &self.due {
            Due::Every(every) => {
                let every = micros(*every);
                Timestamp(now.0.div_euclid(every).checked_mul(every)?)
            }
            Due::Cron { cron, zone, .. } => {
                let to = Local::at(now, zone)?;
                cron.find_previous_occurrence(&to, true).ok()?.timestamp()
            }
        };
        (found > after && found <= now).then_some(found)
    }

    /// Whether what was due then may still begin now.
    #[must_use]
    pub fn in_time(&self, due: Timestamp, now: Timestamp) -> bool {
        self.deadline.is_none_or(|deadline| now <= due.plus_millis(deadline.millis()))
    }

    /// Whether this is a due time.
    #[must_use]
    pub fn is_due(&self, at: Timestamp) -> bool {
        self.next(Timestamp(at.0.saturating_sub(1))) == Some(at)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.due {
            Due::Every(every) => write!(f, "every {every}"),
            Due::Cron { text, zone, .. } => write!(f, "{text} {}", zone.iana_name().unwrap_or("UTC")),
        }
    }
}

fn micros(span: Span) -> i64 {
    span.millis().saturating_mul(1000).max(1)
}

fn said(error: CronError) -> String {
    let text = match error {
        CronError::EmptyPattern => "it is empty".to_owned(),
        CronError::InvalidPattern(text)
        | CronError::IllegalCharacters(text)
        | CronError::ComponentError(text) => text,
        other => other.to_string(),
    };
    let mut text = text.trim_end_matches('.').to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}

/// A time as the clocks of a zone show it, for the search.
#[derive(Clone)]
struct Local(ZonedDateTime);

impl Local {
    /// Whole seconds: what lies between two is after the one before.
    fn at(time: Timestamp, zone: &TimeZone) -> Option<Self> {
        let time = jiff::Timestamp::from_second(time.0.div_euclid(1_000_000)).ok()?;
        Some(Self(time.to_zoned_datetime(zone.clone())))
    }
    fn timestamp(&self) -> Timestamp {
        Timestamp(self.0.timestamp().as_microsecond())
    }
}

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        let at = self.0.datetime();
        let [month, day, hour, minute, second] = [at.month(), at.day(), at.hour(), at.minute(), at.second()]
            .map(|n| u32::try_from(n).unwrap_or(0));
        let civil = CivilDateTime::from_ymd_hms_opt(i32::from(at.year()), month, day, hour, minute, second);
        // What jiff shows is a date.
        civil.unwrap_or(CivilDateTime::new(CivilDate::from_parts_unchecked(1970, 1, 1), CivilTime::MIDNIGHT))
    }

    fn civil_weekday(&self) -> Weekday {
        let days = self.0.weekday().to_sunday_zero_offset();
        Weekday::from_days_from_sunday(u32::try_from(days).unwrap_or(0))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let found =
            self.0.time_zone().to_ambiguous_zoned_datetime(datetime(civil).ok_or(CronError::InvalidDate)?);
        let offset = found.offset();
        let one =
            |zoned: Result<ZonedDateTime, jiff::Error>| zoned.map(Self).map_err(|_| CronError::InvalidTime);
        Ok(match offset {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(one(found.unambiguous())?),
            AmbiguousOffset::Fold { .. } => {
                Resolution::Ambiguous(one(found.clone().earlier())?, one(found.later())?)
            }
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}

fn datetime(civil: CivilDateTime) -> Option<DateTime> {
    let year = i16::try_from(civil.year()).ok()?;
    let small = |n: u32| i8::try_from(n).ok();
    let (month, day) = (small(civil.month())?, small(civil.day())?);
    let (hour, minute, second) = (small(civil.hour())?, small(civil.minute())?, small(civil.second())?);
    DateTime::new(year, month, day, hour, minute, second, 0).ok()
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
