//! Tails, directories and tables of one folder against a Kafka, for judging by hand: `files HOST:PORT PREFIX FOLDER`. Topics are made where
//! they are absent. FOLDER holds `logs/*.json`, `drop/` and `tables/{assets.csv,kev.json,epss.csv.gz}`. Prints a line with the state a second.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::panic)]
use atio_ingestion::{Files, SERVICE, files::Deps, metrics::IngestionMetrics};
use atio_metric::Metrics;
use atio_schemas::{Codec, codec::StaticIds};
use atio_stream::{Kafka, admin::Admin};
use atio_topics::{
    Declarations, Fixed, Flags, Layout, derive,
    load::{File, parse},
    plan,
};
use std::{path::PathBuf, sync::Arc, thread, time::Duration};

fn main() {
    let mut args = std::env::args().skip(1);
    let kafka = Kafka { bootstrap: args.next().expect("HOST:PORT"), ..Kafka::default() };
    let prefix = args.next().expect("PREFIX");
    let folder = PathBuf::from(args.next().expect("FOLDER"));
    let at = folder.display();
    let yaml = |kind: &str, name: &str, rest: String| File {
        name: format!("{kind}s/{name}.yaml"),
        text: format!("apiVersion: atio/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n{rest}\n"),
    };
    let files = [
        yaml("Source", "tailed", format!("from: {{tail: {{paths: ['{at}/logs/*.json']}}}}")),
        yaml("Source", "dropped", format!("from: {{directory: {{path: '{at}/drop', glob: '*'}}}}")),
        yaml("Table", "assets", "file: assets.csv\nformat: csv\nkey: id\nrefresh: 1s".to_owned()),
        yaml(
            "Table",
            "vulnerabilities",
            "files: [{file: kev.json, format: kev}, {file: epss.csv.gz, format: epss}]\nkey: cve\nrefresh: 1s".to_owned(),
        ),
    ];
    files.iter().for_each(|f| drop(parse(&f.name, &f.text).unwrap_or_else(|p| panic!("{p:?}"))));
    let declared = Declarations::load(&files).unwrap_or_else(|p| panic!("{p:?}"));
    let fixed = Fixed::shipped().expect("topics.yaml");
    let layout = Layout::new(&fixed, &prefix, true);
    let wanted = derive::derive(&fixed, &declared, &[], &layout).expect("topics");
    let admin = Admin::connect(&kafka, "files").expect("a client");
    let plan = plan::plan(&wanted, &admin.cluster_state().expect("state"), &prefix, Flags::default());
    for done in admin.apply(&plan).expect("applied") {
        done.result.expect("done");
    }
    let metrics = Metrics::default();
    let ingestion = IngestionMetrics::new(&metrics.service(SERVICE)).expect("metrics");
    let codec = Codec::new(Arc::new(StaticIds::new()));
    let mut deps = Deps::new(kafka, &prefix, codec, ingestion, folder);
    deps.settle = Duration::from_secs(2);
    let all = Files {
        sources: declared.sources.into_values().collect(),
        tables: declared
            .tables
            .into_values()
            .filter(|t| ["assets", "vulnerabilities"].contains(&&*t.meta.name))
            .collect(),
    };
    let running = all.start(&deps).expect("started");
    loop {
        println!("{:?}", running.status());
        if running.has_failed() {
            println!("{:?}", running.join());
            return;
        }
        thread::park_timeout(Duration::from_secs(1));
    }
}
