//! Instructions of the hot functions, counted by callgrind: they repeat to a fraction of a per cent, whatever else the machine does. Each is
//! counted for two numbers of events; the difference leaves the start-up out.
use crate::{
    alerts,
    figures::Figures,
    worker::{JOB, Job, Normalizer, Task, record},
};
use atio_formats::ReadCx;
use atio_schemas::{Codec, Detection, Timestamp, codec::StaticIds};
use atio_stage::Headers;
use atio_stix::graph;
use std::{hint::black_box, process::Command, sync::Arc};

/// Alert to detection in Avro; reading the alert alone; a detection's bundle with sighting and report; risk; Avro there and back.
const NAMES: [&str; 6] = ["normalize", "read", "bundle", "risk", "avro-encode", "avro-decode"];
const FEW: u64 = 100;
const MANY: u64 = 600;

fn job(task: Task) -> Job {
    Job { task, bootstrap: String::new(), input: "raw".to_owned(), prefix: "count.".to_owned() }
}

/// Does a thing so many times.
pub fn work(what: &str, times: u64) {
    let mut normalizer = Normalizer::new(&job(Task::AtLeastOnce));
    let codec = Codec::new(Arc::new(StaticIds::new()));
    let none = Headers::default();
    let mut normalized = |n: u64| {
        let alert = alerts::alert(n);
        let offset = i64::try_from(n).expect("an offset");
        normalizer.outputs(&record("raw", offset, alert.as_bytes(), &none)).remove(0).value.expect("a value")
    };
    let avro = normalized(0);
    let detection: Detection = codec.decode(&avro).expect("a detection");
    let history = atio_enrichment::risk::History::default();
    for n in 0..times {
        match what {
            "normalize" => drop(black_box(normalized(n))),
            "read" => {
                let alert = alerts::alert(n);
                let format = atio_formats::detect(alert.as_bytes(), Some("suricata")).expect("a format");
                drop(black_box(atio_formats::read(alert.as_bytes(), format, &ReadCx::new(Timestamp(0)))));
            }
            "bundle" => drop(black_box(graph::normalized(&detection).expect("a bundle"))),
            "risk" => drop(black_box(atio_enrichment::risk::reasons(&detection, history))),
            "avro-encode" => drop(black_box(codec.encode(&detection).expect("bytes"))),
            "avro-decode" => drop(black_box(codec.decode::<Detection>(&avro).expect("a detection"))),
            // The alert's text, which two of the above make too.
            "text" => drop(black_box(alerts::alert(n))),
            other => panic!("nothing is known of {other}"),
        }
    }
}

fn count(what: &str, times: u64) -> Option<f64> {
    let job = job(Task::Count { what: what.to_owned(), times });
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe().ok()?);
    let ended = command.env(JOB, serde_json::to_string(&job).ok()?).output().ok()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    let line = said.lines().find_map(|l| l.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}

pub fn part(figures: &mut Figures) {
    let each = |what: &str| Some((count(what, MANY)? - count(what, FEW)?) / (MANY - FEW) as f64);
    let Some(text) = each("text") else { return figures.skip("instructions", "needs valgrind") };
    for name in NAMES {
        let all = each(name).unwrap_or(f64::NAN);
        let own = if matches!(name, "normalize" | "read") { all - text } else { all };
        figures.add(&format!("instructions.{name}"), vec![own], "instructions");
    }
}
