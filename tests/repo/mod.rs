//! Architecture, tidiness and drift: what a reviewer would otherwise have to look for.
mod deploy;
mod imports;
mod tidy;

use crate::support::{Need, trial};
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("repo::compose_file_is_valid", &[Need::Oracles], deploy::compose_schema),
        trial("repo::what_compose_builds_from_exists", &[], deploy::what_it_builds_from_exists),
        trial("repo::imports_go_one_way", &[], imports::one_way),
        trial("repo::one_crate_each_names_the_heavy_libraries", &[], imports::named_by_one),
        trial("repo::files_stay_small", &[], tidy::small_files),
        trial("repo::every_file_says_what_it_owns", &[], tidy::heads),
        trial("repo::no_machine_paths", &[], tidy::no_machine_paths),
    ]
}
