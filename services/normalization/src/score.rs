//! Severity and confidence as columns: the S and C tables of `atio-risk/1`, where the tool says something. Unknown stays null; what unknown
//! counts for is the risk formula's matter.

/// A severity: 0-100, and OCSF's severity_id (0 unknown, 1 informational, 2 low, 3 medium, 4 high, 5 critical).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Severity {
    pub(crate) score: f64,
    pub(crate) id: i32,
}

const fn severity(score: f64, id: i32) -> Option<Severity> {
    Some(Severity { score, id })
}

/// ET's signature_severity, else Suricata's priority.
pub(crate) fn of_alert(et: Option<&str>, priority: Option<u64>) -> Option<Severity> {
    let by_name = et.and_then(|name| match name {
        _ if name.eq_ignore_ascii_case("critical") => severity(90.0, 5),
        _ if name.eq_ignore_ascii_case("major") => severity(75.0, 4),
        _ if name.eq_ignore_ascii_case("minor") => severity(50.0, 3),
        _ if name.eq_ignore_ascii_case("informational") => severity(10.0, 1),
        _ => None,
    });
    by_name.or(match priority {
        Some(1) => severity(75.0, 4),
        Some(2) => severity(50.0, 3),
        Some(3) => severity(25.0, 2),
        Some(4..) => severity(10.0, 1),
        Some(0) | None => None,
    })
}

/// High, Medium or Low, as ET writes it: 0-100.
pub(crate) fn confidence_of_name(name: &str) -> Option<i32> {
    match name {
        _ if name.eq_ignore_ascii_case("high") => Some(85),
        _ if name.eq_ignore_ascii_case("medium") => Some(50),
        _ if name.eq_ignore_ascii_case("low") => Some(15),
        _ => None,
    }
}

/// What an anomaly is worth.
pub(crate) const ANOMALY_CONFIDENCE: i32 = 40;

/// CVSS × 10, rated as CVSS v3.1 §5 does.
pub(crate) fn of_cvss(cvss: f64) -> Severity {
    let id = match cvss {
        c if c >= 9.0 => 5,
        c if c >= 7.0 => 4,
        c if c >= 4.0 => 3,
        c if c > 0.0 => 2,
        _ => 1,
    };
    // One decimal is what CVSS has; this keeps 9.8 × 10 from being 98.00000000000001.
    Severity { score: (cvss * 100.0).round() / 10.0, id }
}

/// A scanner's threat word, where it gives no number.
pub(crate) fn of_threat(word: &str) -> Option<Severity> {
    match word {
        _ if word.eq_ignore_ascii_case("critical") => severity(90.0, 5),
        _ if word.eq_ignore_ascii_case("high") => severity(75.0, 4),
        _ if word.eq_ignore_ascii_case("medium") => severity(50.0, 3),
        _ if word.eq_ignore_ascii_case("low") => severity(25.0, 2),
        _ if word.eq_ignore_ascii_case("log") => severity(10.0, 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn et_comes_before_priority() {
        assert_eq!(of_alert(Some("Major"), Some(4)), severity(75.0, 4));
        assert_eq!(of_alert(Some("?"), Some(2)), severity(50.0, 3));
        assert_eq!(of_alert(None, Some(255)), severity(10.0, 1));
        assert_eq!(of_alert(None, Some(0)), None);
        assert_eq!(of_alert(None, None), None);
    }

    #[test]
    fn cvss_by_its_bands() {
        assert_eq!(of_cvss(9.8), Severity { score: 98.0, id: 5 });
        assert_eq!([0.0, 0.1, 4.0, 7.0, 8.9].map(|c| of_cvss(c).id), [1, 2, 3, 4, 4]);
    }

    #[test]
    fn words() {
        assert_eq!(
            ["High", "medium", "Low", "?"].map(confidence_of_name),
            [Some(85), Some(50), Some(15), None]
        );
        assert_eq!(of_threat("False Positive"), None);
        assert_eq!(of_threat("High"), severity(75.0, 4));
    }
}
