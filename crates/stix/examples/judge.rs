//! Judges [`atio_stix::validate`] by labelled files: `judge DATA_DIR LABELS.tsv` (path, `valid` or `invalid`, reason). Prints what
//! differs and the counts; exit 1 when a valid file was refused.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for the terminal, not part of the library"
)]
use atio_stix::validate;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, labels] = arguments.as_slice() else {
        println!("usage: judge DATA_DIR LABELS.tsv");
        return ExitCode::from(2);
    };
    let (mut accepted, mut valid, mut refused, mut invalid, mut absent) = (0, 0, 0, 0, 0);
    for line in std::fs::read_to_string(labels).unwrap().lines() {
        let mut columns = line.split('\t');
        let (path, label) = (columns.next().unwrap(), columns.next().unwrap_or_default());
        let reason = columns.next().unwrap_or_default();
        let Ok(bytes) = std::fs::read(format!("{directory}/{path}")) else {
            absent += 1;
            continue;
        };
        let said = match validate::read(&bytes) {
            Ok(reading) => reading.problems.first().map(ToString::to_string),
            Err(error) => Some(error.to_string()),
        };
        match (label, &said) {
            ("valid", None) => (accepted, valid) = (accepted + 1, valid + 1),
            ("valid", Some(said)) => {
                valid += 1;
                println!("WRONGLY REFUSED {path}: {said}");
            }
            (_, Some(said)) => {
                (refused, invalid) = (refused + 1, invalid + 1);
                println!("refused {path}: {said}");
            }
            (_, None) => {
                invalid += 1;
                println!("accepted though labelled invalid {path}: {reason}");
            }
        }
    }
    println!("valid accepted {accepted}/{valid}, invalid refused {refused}/{invalid}, absent {absent}");
    if accepted == valid { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
