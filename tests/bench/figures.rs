//! Figures: collected, printed as lines `bench NAME MEDIAN MIN MAX UNIT`, and held against the targets at the end. Must not know how one is
//! measured.
use std::collections::BTreeMap;

/// One figure over the rounds.
#[derive(Clone, Debug)]
struct Figure {
    values: Vec<f64>,
    unit: &'static str,
}

impl Figure {
    /// Median, least, greatest.
    fn spread(&self) -> (f64, f64, f64) {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let median = if n % 2 == 1 { sorted[n / 2] } else { f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]) };
        (median, sorted[0], sorted[n - 1])
    }
}

/// All figures of a run.
#[derive(Default)]
pub struct Figures {
    all: BTreeMap<String, Figure>,
    /// What was left out, and why.
    skipped: Vec<String>,
}

/// Four digits that mean something.
fn short(value: f64) -> String {
    let whole = value.abs().log10().floor();
    let digits = if whole.is_finite() { (3.0 - whole).clamp(0.0, 4.0) } else { 0.0 };
    format!("{value:.*}", digits as usize)
}

impl Figures {
    /// Prints a figure and keeps it.
    pub fn add(&mut self, name: &str, values: Vec<f64>, unit: &'static str) {
        if values.is_empty() || values.iter().any(|v| !v.is_finite()) {
            return self.skip(name, "nothing was measured");
        }
        let figure = Figure { values, unit };
        let (median, least, greatest) = figure.spread();
        println!("bench {name} {} {} {} {unit}", short(median), short(least), short(greatest));
        self.all.insert(name.to_owned(), figure);
    }

    /// Says that something was not measured.
    pub fn skip(&mut self, name: &str, why: &str) {
        println!("# skipped {name}: {why}");
        self.skipped.push(format!("{name}: {why}"));
    }

    /// The targets and what was measured. Never fails a run: it tells.
    pub fn criteria(&self, broker: &str) {
        println!("#\n# targets on {broker}");
        println!("# {:<62} {:>12} {:>12}  met", "", "target", "measured");
        for target in TARGETS {
            let name = format!("{broker}.{}", target.figure);
            let Some(figure) = self.all.get(&name) else {
                println!("# {:<62} {:>12} {:>12}  -", target.what, target.wanted(), "-");
                continue;
            };
            let measured = figure.spread().0;
            let met = if target.met(measured) { "yes" } else { "NO" };
            let measured = format!("{} {}", short(measured), figure.unit);
            println!("# {:<62} {:>12} {:>12}  {met}", target.what, target.wanted(), measured);
        }
    }

    pub fn end(&self) {
        for skipped in &self.skipped {
            println!("# left out: {skipped}");
        }
    }
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

struct Target {
    what: &'static str,
    /// Without the broker.
    figure: &'static str,
    bound: Bound,
}

impl Target {
    fn met(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        }
    }
    fn wanted(&self) -> String {
        match self.bound {
            Bound::AtLeast(least) => format!(">= {}", short(least)),
            Bound::AtMost(most) => format!("<= {}", short(most)),
        }
    }
}

use Bound::{AtLeast, AtMost};

#[rustfmt::skip]
const TARGETS: &[Target] = &[
    Target { what: "CPU: size-matched passthrough / exactly-once at 100 ms", figure: "ratio.matched-by-exactly-once-100.cpu", bound: AtLeast(0.6) },
    Target { what: "the same, stretch", figure: "ratio.matched-by-exactly-once-100.cpu", bound: AtLeast(0.75) },
    Target { what: "events/s: exactly-once at 100 ms / at-least-once", figure: "ratio.exactly-once-100-by-at-least-once.rate", bound: AtLeast(0.95) },
    Target { what: "events/s: exactly-once at 20 ms / at-least-once", figure: "ratio.exactly-once-20-by-at-least-once.rate", bound: AtLeast(0.85) },
    Target { what: "CPU: exactly-once at 100 ms / Kafka Streams", figure: "ratio.exactly-once-100-by-streams.cpu", bound: AtMost(0.7) },
    Target { what: "CPU: exactly-once at 100 ms / Tenzir", figure: "ratio.exactly-once-100-by-tenzir.cpu", bound: AtMost(0.2) },
    Target { what: "peak RSS of `atio run normalization`", figure: "process.rss", bound: AtMost(64.0) },
    Target { what: "peak RSS of the largest service in the whole pipeline", figure: "pipeline.rss.largest", bound: AtMost(64.0) },
    Target { what: "whole pipeline, alerts/s", figure: "pipeline.rate", bound: AtLeast(15_000.0) },
    Target { what: "whole pipeline at half load, p50", figure: "pipeline.load50.p50", bound: AtMost(60.0) },
    Target { what: "whole pipeline at half load, p99", figure: "pipeline.load50.p99", bound: AtMost(150.0) },
];
