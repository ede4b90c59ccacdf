//! What writing and reading a detection costs: `cargo run --release -p atio-schemas --example speed`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not the product")]
use atio_schemas::Detection;
use atio_schemas::codec::{Codec, StaticIds};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

fn main() {
    for name in ["full", "minimal"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("examples/atio.detection/{name}.json"));
        let value: Detection = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let codec = Codec::new(Arc::new(StaticIds::new()));
        let wire = codec.encode(&value).unwrap();
        println!(
            "{name}: {} bytes, encode {:.2} µs, decode {:.2} µs",
            wire.len(),
            measure(|| drop(black_box(codec.encode(black_box(&value)).unwrap()))),
            measure(|| drop(black_box(codec.decode::<Detection>(black_box(&wire)).unwrap()))),
        );
    }
}

/// The best of ten rounds: what it costs when nothing else runs.
fn measure(work: impl Fn()) -> f64 {
    const ROUND: u32 = 5_000;
    let round = || {
        let start = Instant::now();
        (0..ROUND).for_each(|_| work());
        start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUND)
    };
    (0..10).map(|_| round()).fold(f64::INFINITY, f64::min)
}
