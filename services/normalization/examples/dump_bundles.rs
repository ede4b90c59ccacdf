//! Closed bundles of files, one a line: what `stix2_validator` and the stix2 library are asked about.
//!
//! `dump_bundles stix|detection FILE…`; a reject is a line on stderr; the counts come last there.
use atio_normalization::offline::{FileRef, Options, closed_bundle, normalize};
use atio_schemas::Timestamp;
use sha2::Digest as _;
use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let as_stix = args.next().ok_or("usage: dump_bundles stix|detection FILE…")? == "stix";
    let options = Options::new(Timestamp::from_millis(1_767_225_600_000));
    let (mut out, mut err) = (std::io::BufWriter::new(std::io::stdout()), std::io::stderr());
    let (mut detections, mut rejects) = (0, 0);
    for name in args {
        let bytes = std::fs::read(&name)?;
        let sha256 = atio_stix::ids::hex(&sha2::Sha256::digest(&bytes));
        for result in normalize(&bytes, &FileRef { name: &name, sha256: &sha256 }, &options) {
            match result {
                Ok(d) => {
                    let line = if as_stix {
                        closed_bundle(&d).map_err(|reject| reject.message)?
                    } else {
                        serde_json::to_vec(&d)?
                    };
                    out.write_all(&line)?;
                    out.write_all(b"\n")?;
                    detections += 1;
                }
                Err(reject) => {
                    writeln!(err, "{name}: {} {}", reject.code, reject.message)?;
                    rejects += 1;
                }
            }
        }
    }
    out.flush()?;
    writeln!(err, "detections={detections} rejects={rejects}")?;
    Ok(())
}
