//! The real program, end to end.
mod normalize;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    normalize::trials()
}
