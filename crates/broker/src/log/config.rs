//! Owns the topic configs that this broker honours: names, defaults, checks. Anything else is refused, so that no
//! one relies on what does nothing. Must not know where configs are stored.

use std::collections::BTreeMap;

/// A topic's settings, parsed. Times are milliseconds, sizes bytes; −1 is "no limit" where Kafka has it so.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TopicConfig {
    pub(crate) delete: bool,
    pub(crate) compact: bool,
    pub(crate) delete_retention_ms: i64,
    pub(crate) max_compaction_lag_ms: i64,
    pub(crate) max_message_bytes: i64,
    pub(crate) append_time: bool,
    pub(crate) after_max_ms: i64,
    pub(crate) before_max_ms: i64,
    pub(crate) dirty_ratio: f64,
    pub(crate) min_compaction_lag_ms: i64,
    pub(crate) retention_bytes: i64,
    pub(crate) retention_ms: i64,
    pub(crate) segment_bytes: i64,
    pub(crate) segment_ms: i64,
}

/// The protocol's config types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// One config that a topic may have.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    pub(crate) kind: Kind,
    min: i64,
    max: i64,
}

const fn number(name: &'static str, default: &'static str, kind: Kind, min: i64, max: i64) -> Known {
    Known { name, default, kind, min, max }
}

const fn word(name: &'static str, default: &'static str, kind: Kind) -> Known {
    Known { name, default, kind, min: 0, max: 0 }
}

const FOREVER: &str = "9223372036854775807";

/// Alphabetical.
pub(crate) const KNOWN: &[Known] = &[
    word("cleanup.policy", "delete", Kind::List),
    word("compression.type", "producer", Kind::String),
    number("delete.retention.ms", "86400000", Kind::Long, 0, i64::MAX),
    number("max.compaction.lag.ms", FOREVER, Kind::Long, 1, i64::MAX),
    number("max.message.bytes", "1048588", Kind::Int, 0, 100 << 20),
    number("message.timestamp.after.max.ms", "3600000", Kind::Long, 0, i64::MAX),
    number("message.timestamp.before.max.ms", FOREVER, Kind::Long, 0, i64::MAX),
    word("message.timestamp.type", "CreateTime", Kind::String),
    word("min.cleanable.dirty.ratio", "0.5", Kind::Double),
    number("min.compaction.lag.ms", "0", Kind::Long, 0, i64::MAX),
    number("min.insync.replicas", "1", Kind::Int, 1, 1),
    number("retention.bytes", "-1", Kind::Long, -1, i64::MAX),
    number("retention.ms", "604800000", Kind::Long, -1, i64::MAX),
    number("segment.bytes", "1073741824", Kind::Int, 1024, i32::MAX as i64),
    number("segment.ms", "604800000", Kind::Long, 1, i64::MAX),
];

/// The default of a known config.
pub(crate) fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|k| k.name == name)
}

fn check(known: &Known, value: &str) -> Result<(), String> {
    let name = known.name;
    match (known.name, known.kind) {
        ("cleanup.policy", _) => match value.split(',').all(|p| matches!(p.trim(), "delete" | "compact")) {
            true => Ok(()),
            false => Err(format!("{name} is delete, compact or both")),
        },
        ("compression.type", _) if value == "producer" => Ok(()),
        ("compression.type", _) => Err("batches are kept as produced: compression.type is producer".into()),
        ("message.timestamp.type", _) if matches!(value, "CreateTime" | "LogAppendTime") => Ok(()),
        ("message.timestamp.type", _) => Err(format!("{name} is CreateTime or LogAppendTime")),
        (_, Kind::Double) => match value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
            _ => Err(format!("{name} is between 0 and 1")),
        },
        _ => match value.parse::<i64>() {
            Ok(n) if (known.min..=known.max).contains(&n) => Ok(()),
            _ => Err(format!("{name} is between {} and {}", known.min, known.max)),
        },
    }
}

impl TopicConfig {
    /// Parses what a topic overrides.
    ///
    /// # Errors
    /// A sentence on the first config that is unknown or out of range.
    pub(crate) fn parse(overrides: &BTreeMap<String, String>) -> Result<TopicConfig, String> {
        for (name, value) in overrides {
            let known = known(name).ok_or_else(|| format!("{name} is not a config of this broker"))?;
            check(known, value)?;
        }
        let text = |name: &str| -> &str {
            overrides
                .get(name)
                .map(String::as_str)
                .or_else(|| known(name).map(|k| k.default))
                .unwrap_or_default()
        };
        let int = |name: &str| text(name).parse::<i64>().unwrap_or_default();
        Ok(TopicConfig {
            delete: text("cleanup.policy").contains("delete"),
            compact: text("cleanup.policy").contains("compact"),
            delete_retention_ms: int("delete.retention.ms"),
            max_compaction_lag_ms: int("max.compaction.lag.ms"),
            max_message_bytes: int("max.message.bytes"),
            append_time: text("message.timestamp.type") == "LogAppendTime",
            after_max_ms: int("message.timestamp.after.max.ms"),
            before_max_ms: int("message.timestamp.before.max.ms"),
            dirty_ratio: text("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
            min_compaction_lag_ms: int("min.compaction.lag.ms"),
            retention_bytes: int("retention.bytes"),
            retention_ms: int("retention.ms"),
            segment_bytes: int("segment.bytes"),
            segment_ms: int("segment.ms"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Result<TopicConfig, String> {
        TopicConfig::parse(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn defaults_pass_their_own_checks() {
        for known in KNOWN {
            assert_eq!(check(known, known.default), Ok(()), "{}", known.name);
        }
        assert!(KNOWN.windows(2).all(|w| w[0].name < w[1].name));
    }

    #[test]
    fn what_does_nothing_is_refused() {
        for (name, value) in [
            ("flush.ms", "1"),
            ("compression.type", "zstd"),
            ("min.insync.replicas", "2"),
            ("retention.ms", "x"),
            ("retention.ms", "-2"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("cleanup.policy", "keep"),
        ] {
            assert!(parse(name, value).is_err(), "{name}={value}");
        }
        let both = parse("cleanup.policy", "compact,delete").unwrap();
        assert!(both.compact && both.delete);
    }
}
