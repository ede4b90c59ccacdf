//! The times of one incident, and what is measured between them. Owns which two times make a measure and when it counts; must not know where
//! incidents come from, nor who asks. Pure.
use atio_schemas::{
    Timestamp,
    detection::Kind,
    incident::{Answerer, Incident, Verdict},
};

/// What is measured, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timing {
    /// MTTD: detected − occurred.
    Detect,
    /// MTTR: contained − detected.
    Respond,
    /// MTTA: acknowledged − notified.
    Acknowledge,
    /// handed over − detected.
    Handover,
    /// closed − detected.
    Resolve,
}

impl Timing {
    pub const ALL: [Self; 5] =
        [Self::Detect, Self::Respond, Self::Acknowledge, Self::Handover, Self::Resolve];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Respond => "respond",
            Self::Acknowledge => "acknowledge",
            Self::Handover => "handover",
            Self::Resolve => "resolve",
        }
    }
    /// A false positive was neither to be detected nor to be responded to.
    #[must_use]
    pub const fn leaves_out_false_positives(self) -> bool {
        matches!(self, Self::Detect | Self::Respond)
    }
    /// Its bit in a set of timings.
    #[must_use]
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Never negative.
    pub seconds: f64,
    /// The end lay before the start: the clocks disagree.
    pub skewed: bool,
}

/// What of an incident is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub kind: Kind,
    pub occurred: Option<Timestamp>,
    pub detected: Option<Timestamp>,
    pub notified: Option<Timestamp>,
    pub acked: Option<Timestamp>,
    pub acked_by: Answerer,
    pub handed_over: Option<Timestamp>,
    pub contained: Option<Timestamp>,
    pub closed: Option<Timestamp>,
    pub escalated: bool,
    pub false_positive: bool,
    /// Branches that wait for an answer.
    pub waits: u32,
    /// How often it was escalated.
    pub escalations: u64,
}

impl Times {
    #[must_use]
    pub fn of(incident: &Incident) -> Self {
        Self {
            kind: incident.kind,
            occurred: incident.occurred_at,
            detected: incident.detected_at,
            notified: incident.notified_at,
            acked: incident.acked_at,
            // Whoever answers is a person unless it is said to be a policy.
            acked_by: incident.acked_as.unwrap_or(Answerer::Human),
            handed_over: incident.handed_over_at,
            contained: incident.contained_at,
            closed: incident.closed_at,
            escalated: incident.escalated_at.is_some(),
            false_positive: incident.verdict == Some(Verdict::FalsePositive),
            waits: u32::try_from(incident.waits.len()).unwrap_or(u32::MAX),
            escalations: u64::try_from(incident.escalations.unwrap_or(0)).unwrap_or(0),
        }
    }

    const fn ends(&self, timing: Timing) -> (Option<Timestamp>, Option<Timestamp>) {
        match timing {
            Timing::Detect => (self.occurred, self.detected),
            Timing::Respond => (self.detected, self.contained),
            Timing::Acknowledge => (self.notified, self.acked),
            Timing::Handover => (self.detected, self.handed_over),
            Timing::Resolve => (self.detected, self.closed),
        }
    }

    /// None while one of the two times is not known, and where a false positive does not count.
    #[must_use]
    pub fn measured(&self, timing: Timing) -> Option<Measured> {
        if self.is_left_out(timing) {
            return None;
        }
        let (start, end) = self.ends(timing);
        let seconds = end?.seconds_since(start?);
        Some(Measured { seconds: seconds.max(0.0), skewed: seconds < 0.0 })
    }

    #[must_use]
    pub const fn is_left_out(&self, timing: Timing) -> bool {
        self.false_positive && timing.leaves_out_false_positives()
    }

    /// Since when a measure is under way: it has begun, has not ended, and the incident is open (censored data).
    #[must_use]
    pub fn under_way(&self, timing: Timing) -> Option<Timestamp> {
        let (start, end) = self.ends(timing);
        if timing == Timing::Detect || self.closed.is_some() || end.is_some() { None } else { start }
    }

    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.closed.is_none()
    }
    /// Since when there is an incident.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        self.detected.or(self.occurred)
    }
    #[must_use]
    pub fn state(&self) -> State {
        if self.closed.is_some() {
            State::Closed
        } else if self.contained.is_some() {
            State::Contained
        } else if self.acked.is_some() {
            State::Acknowledged
        } else if self.escalated {
            State::Escalated
        } else if self.notified.is_some() {
            State::Notified
        } else {
            State::Detected
        }
    }
}

/// How far an incident has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    Detected,
    /// Somebody is waited for.
    Notified,
    /// A deadline passed without an answer.
    Escalated,
    Acknowledged,
    Contained,
    Closed,
}

impl State {
    pub const OPEN: [Self; 5] =
        [Self::Detected, Self::Notified, Self::Escalated, Self::Acknowledged, Self::Contained];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::Notified => "notified",
            Self::Escalated => "escalated",
            Self::Acknowledged => "acknowledged",
            Self::Contained => "contained",
            Self::Closed => "closed",
        }
    }
}
