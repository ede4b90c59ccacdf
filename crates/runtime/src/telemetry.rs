//! Logs: lowercase structured lines on stderr. Owns the subscriber; must not know what is logged.
use crate::config::LogConfig;
use tracing_subscriber::{EnvFilter, fmt};

/// Installs the subscriber of this process; a second call changes nothing.
///
/// # Errors
/// The level is no filter.
pub fn init(config: &LogConfig) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(&config.level).map_err(|e| format!("log.level `{}`: {e}", config.level))?;
    // Told on stderr in its turn, a line that can't be written (a log on a full disk) would panic the thread that had something to say.
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    // An error means that a subscriber is there already: tests start several services in one process.
    let _already_installed = if config.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
    Ok(())
}
