//! `--verbose` and `--log-file`: the program's own log, so that a user can send what happened. Prompts, generated code and credentials are
//! never logged.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use super::printer::SHOWN;
use crate::exit::Expected;

/// Begins to log: to standard error from `-v` on, and to the file, where one is named. Without either nothing is logged.
///
/// # Errors
/// The file cannot be written.
pub(super) fn begin(verbose: u8, file: Option<&Path>) -> Result<(), Expected> {
    if verbose == 0 && file.is_none() {
        return Ok(());
    }
    // Of this program only: the libraries log addresses, which may hold credentials.
    let ours = |level: LevelFilter| Targets::new().with_target("autotune", level);
    let level = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let seen = ours(level).with_target(SHOWN, LevelFilter::OFF);
    let terminal = fmt::layer().with_ansi(false).with_writer(std::io::stderr).with_filter(seen);
    let file = match file {
        None => None,
        Some(path) => {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            let opened = opened.map_err(|e| {
                Expected::environment(format!("--log-file: failed to write {}: {e}", path.display()))
            })?;
            let level = level.max(LevelFilter::DEBUG);
            Some(fmt::layer().with_ansi(false).with_writer(Mutex::new(opened)).with_filter(ours(level)))
        }
    };
    let subscriber = tracing_subscriber::registry().with(terminal).with(file);
    // One that is set already stays; this is the only place that sets one.
    let _ = tracing::subscriber::set_global_default(subscriber);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        os = std::env::consts::OS,
        arch = std::env::consts::ARCH,
        pid = std::process::id(),
        "autotune started"
    );
    Ok(())
}
