//! What a trial needs of the machine. Missing = ignored by name with the reason, or a failure where `ATIO_REQUIRE=all`.
use super::{clock, root, shared_data, tmpfs::Tmpfs};
use libtest_mimic::{Failed, Trial};
use std::{path::PathBuf, process::Command, sync::LazyLock};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Java 17 and the broker's jars, or Maven to fetch them.
    Kafka,
    /// Third-party samples.
    Data,
    /// The Python oracles (`tests/oracles/requirements.txt`) in the environment that [`python`] names.
    Oracles,
    /// Chromium and its driver, as Debian has them, beside the oracles.
    Chromium,
    /// kcat on the PATH.
    Kcat,
    /// promtool, of Prometheus, on the PATH or where `.ci/run` puts it.
    Promtool,
    /// strace on the PATH, and allowed to look at a child.
    Strace,
    /// The client program beside the samples that asks a broker hard questions.
    KafkaCheck,
    /// A tmpfs can be mounted.
    Tmpfs,
    /// libfaketime, of the package `faketime`, and a C compiler.
    Faketime,
}

/// Where `.ci/run` keeps what it installs.
fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache
        .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")))
        .unwrap_or_default();
    cache.join("atio-tests")
}

/// The interpreter of the oracles' environment.
pub fn python() -> PathBuf {
    let env = std::env::var_os("ATIO_ORACLES").map(PathBuf::from);
    env.unwrap_or_else(|| cache().join("oracles")).join("bin/python")
}

/// promtool of the PATH, else of the cache.
pub fn promtool() -> PathBuf {
    if runs("promtool", "--version") { PathBuf::from("promtool") } else { cache().join("promtool/promtool") }
}

fn runs(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok_and(|o| o.status.success())
}

// Programs are asked once a run, not once a trial.
static KAFKA: LazyLock<bool> = LazyLock::new(|| {
    runs("java", "-version") && (runs("mvn", "-version") || std::env::var_os("ATIO_KAFKA_JARS").is_some())
});
static PROMTOOL: LazyLock<bool> =
    LazyLock::new(|| promtool().to_str().is_some_and(|program| runs(program, "--version")));
static STRACE: LazyLock<bool> = LazyLock::new(|| {
    Command::new("strace").args(["-D", "-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success())
});
static TMPFS: LazyLock<bool> = LazyLock::new(|| Tmpfs::mount("64k").is_some());
static FAKETIME: LazyLock<bool> = LazyLock::new(|| clock::library().is_some() && runs("cc", "--version"));
static CHROMIUM: LazyLock<bool> = LazyLock::new(|| {
    ["/usr/bin/chromium", "/usr/bin/chromedriver"].iter().all(|program| runs(program, "--version"))
});
static KCAT: LazyLock<bool> = LazyLock::new(|| runs("kcat", "-V"));

impl Need {
    /// Why it is not there.
    fn missing(self) -> Option<&'static str> {
        let there = match self {
            Self::Kafka => *KAFKA,
            Self::Data => shared_data().is_dir(),
            Self::Oracles => python().is_file(),
            Self::Chromium => *CHROMIUM && python().is_file(),
            Self::Kcat => *KCAT,
            Self::Promtool => *PROMTOOL,
            Self::Strace => *STRACE,
            Self::Tmpfs => *TMPFS,
            Self::Faketime => *FAKETIME,
            Self::KafkaCheck => root().join("../shared/tools/kafka-check/Cargo.toml").is_file(),
        };
        let reason = match self {
            Self::Kafka => "needs Java 17 and Maven",
            Self::Data => "needs the shared samples",
            Self::Oracles => "needs the Python oracles",
            Self::Chromium => "needs Chromium, chromedriver and the Python oracles",
            Self::Kcat => "needs kcat",
            Self::Promtool => "needs promtool",
            Self::Strace => "needs strace",
            Self::KafkaCheck => "needs kafka-check",
            Self::Tmpfs => "needs to mount a tmpfs: root",
            Self::Faketime => "needs libfaketime and a C compiler",
        };
        (!there).then_some(reason)
    }
}

/// A trial with what it needs.
pub fn trial(name: &str, needs: &[Need], run: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let required = std::env::var("ATIO_REQUIRE").is_ok_and(|v| v == "all");
    match needs.iter().find_map(|n| n.missing()) {
        None => Trial::test(name, run),
        Some(reason) if required => Trial::test(name, move || Err(reason.into())),
        Some(reason) => Trial::test(name, || Ok(())).with_ignored_flag(true).with_kind(reason),
    }
}
