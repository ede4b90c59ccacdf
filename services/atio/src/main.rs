//! ATIO: the one program. `atio run SERVICE` is a microservice, `atio up` is all of them in one process, the rest are clients.

#![allow(unreachable_pub, reason = "a program exports nothing; `pub` says what its modules share")]

mod cli;
mod commands;
mod demo;
mod endpoints;
mod exit;
mod render;
mod system;

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The Kafka client is C and allocates by the C library, which gives each of its many threads an arena of its own and keeps what was once
/// large: a service of 60 MB took 120 to 260.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "the C library has no safe form of it")]
fn spare_memory() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let arenas = libc::c_int::try_from(cores.min(4)).unwrap_or(1);
    for (what, value) in [
        (libc::M_ARENA_MAX, arenas),
        // A fetched answer goes back to the system when it is done with.
        (libc::M_MMAP_THRESHOLD, 256 * 1024),
        (libc::M_TRIM_THRESHOLD, 1024 * 1024),
    ] {
        // SAFETY: sets a number, before there is any other thread. A refusal (0) leaves the default.
        let _set = unsafe { libc::mallopt(what, value) };
    }
    // The allocator asks for pages of 2 MiB, of which a few objects keep each: half to two thirds of a service's heap was that.
    let (off, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: sets a flag of this process. A refusal leaves pages as they are.
    let _set = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, off, unused, unused, unused) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn spare_memory() {}

fn main() -> ExitCode {
    spare_memory();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not mistakes.
            let code = if error.use_stderr() { exit::Exit::Usage } else { exit::Exit::Done };
            return match error.print() {
                Ok(()) => code.into(),
                Err(_) => exit::Exit::Failed.into(),
            };
        }
    };
    match commands::run(cli) {
        Ok(code) => code.into(),
        Err(error) => {
            render::error(&error);
            exit::of(&error).into()
        }
    }
}
