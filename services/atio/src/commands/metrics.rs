//! `atio metrics report`: the exact times of incidents, from their topic. Owns the table; the arithmetic is the metrics service's.
use crate::{
    commands::look::{Look, look},
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
};
use atio_metrics::{
    report::{Filter, Report, Row, report},
    times::Times,
};
use atio_runtime::clock;
use atio_schemas::{detection::Kind, incident::Incident};
use atio_topics::units::{Span, parse_span};
use std::collections::HashMap;

/// Look at the system's own measures
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print how fast incidents are detected, contained, acknowledged and handed over
    ///
    /// Computed from the newest record of each incident, so exact, where a histogram knows buckets only. Percentiles are nearest-rank. False positives
    /// are left out of MTTD and MTTR; a time that ends before it begins counts as 0 and as skewed.
    #[command(after_help = "Example: atio metrics report --since 7d --kind threat")]
    Report(ReportArgs),
}

#[derive(Debug, clap::Args)]
struct ReportArgs {
    /// Only incidents detected within this time up to now: 30m, 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = span_of_time)]
    since: Option<Span>,
    /// Only incidents of this kind: threat, vulnerability …
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<Kind>,
    /// A table, or one JSON object
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::parse(text).ok_or_else(|| format!("one of {}", Kind::NAMES.join(", ")))
}

fn span_of_time(text: &str) -> Result<Span, String> {
    parse_span(text).ok_or_else(|| "a whole number with s, m, h or d, such as 7d".to_owned())
}

pub fn run(target: &Target, args: Args) -> anyhow::Result<Exit> {
    let Command::Report(args) = args.command;
    look(target, move |look: &Look| {
        let now = clock::now();
        let since = args.since.map(|span| now.plus_millis(-span.millis()));
        let filter = Filter { since, kind: args.kind };
        let (all, unreadable) = incidents(look)?;
        let taken: Vec<Times> = all.into_values().filter(|t| filter.takes(t)).collect();
        let made = report(&taken, now);
        if unreadable > 0 {
            render::notice(&format!("{unreadable} records of incidents can't be decoded and are left out"));
        }
        if args.format == Format::Json {
            render::json(&made)?;
        } else {
            show(&made)?;
        }
        Ok(Exit::Done)
    })
}

/// The newest times of each incident, and how many records can't be read.
fn incidents(look: &Look) -> anyhow::Result<(HashMap<Vec<u8>, Times>, usize)> {
    let (mut all, mut unreadable, mut failed) = (HashMap::new(), 0, None);
    let topic = format!("{}incidents", look.config.prefix);
    look.scan(&topic, |entry| {
        let Some(key) = entry.key else { return };
        let Some(value) = entry.value else {
            all.remove(&key);
            return;
        };
        match look.decoder.codec(&value).map(|codec| codec.decode::<Incident>(&value)) {
            Ok(Ok(incident)) => drop(all.insert(key, Times::of(&incident))),
            Ok(Err(_)) => unreadable += 1,
            Err(why) => drop(failed.get_or_insert(why)),
        }
    })?;
    // Figures without some of the incidents would be wrong ones.
    failed.map_or(Ok((all, unreadable)), |why| Err(Failure::unreachable(why)))
}

fn show(report: &Report) -> anyhow::Result<()> {
    let of = |age: Option<f64>| age.map_or_else(String::new, |s| format!(", the oldest for {}", span(s)));
    render::line(&format!(
        "{} incidents: {} open{}, {} closed, {} of them false positives; {} branches wait for an answer",
        report.incidents,
        report.open,
        of(report.oldest_open),
        report.closed,
        report.false_positives,
        report.waits_open,
    ))?;
    let header =
        ["TIME", "COUNT", "MEAN", "P50", "P90", "P99", "MAX", "OPEN", "OLDEST", "SKEWED", "FALSE POSITIVES"];
    let cells: Vec<Vec<String>> = report.timings.iter().map(cells).collect();
    render::table(&header, &cells)
}

fn cells(row: &Row) -> Vec<String> {
    let name = match (row.timing, row.by) {
        ("detect", _) => "MTTD detect".to_owned(),
        ("respond", _) => "MTTR contain".to_owned(),
        ("acknowledge", Some(by)) => format!("MTTA acknowledge ({by})"),
        ("handover", _) => "hand-over".to_owned(),
        (other, _) => other.to_owned(),
    };
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), span);
    vec![
        name,
        row.count.to_string(),
        time(row.mean),
        time(row.p50),
        time(row.p90),
        time(row.p99),
        time(row.max),
        row.open.to_string(),
        time(row.oldest_open),
        row.skewed.to_string(),
        row.false_positives.to_string(),
    ]
}

/// A span of time in its two largest units.
fn span(seconds: f64) -> String {
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round();
    let two = |large: f64, small: f64, names: [&str; 2]| {
        format!(
            "{:.0} {} {:.0} {}",
            (whole / large).floor(),
            names[0],
            ((whole % large) / small).floor(),
            names[1]
        )
    };
    if whole < 3600.0 {
        two(60.0, 1.0, ["min", "s"])
    } else if whole < 86_400.0 {
        two(3600.0, 60.0, ["h", "min"])
    } else {
        two(86_400.0, 3600.0, ["d", "h"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        let shown = [0.0, 0.0042, 0.9999, 1.25, 59.96, 90.0, 3600.0, 93_784.0].map(span);
        assert_eq!(
            shown,
            ["0 ms", "4 ms", "1.0 s", "1.2 s", "1 min 0 s", "1 min 30 s", "1 h 0 min", "1 d 2 h"]
        );
    }
}
