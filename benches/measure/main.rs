//! How far measurements can be trusted on this machine.
//!
//! ```text
//! cargo bench --bench measure -- trust A.gguf [B.gguf] [OPTIONS]   A against itself, and against B (without B: A with 5 % more work)
//! cargo bench --bench measure -- again RESULTS [OPTIONS]           a study's trials measured once more, ranked against the first time
//! cargo bench --bench measure -- turns RESULTS [OPTIONS]           the same, twice, with all of them taking turns in one worker
//! cargo bench --bench measure -- study RESULTS                     a study's prediction errors, time of each rung, the tuner's own
//! ```
//!
//! Options: `--rows FILE` (each measurement is a line there; what the file has is not measured again), `--seconds N` (nothing is begun
//! after so long: call again to go on), `--program PATH` (target/release/autotune). Of `trust`: `--repeats N` (40), `--rounds N` (16),
//! `--workload P:O:R` (96:31:1), `--threads N` (2). Of `again` and `turns`: `--trials N` (20, the first that were timed).
//!
//! `trust` makes comparisons as a study's end does (`measure::recheck`): so many interleaved rounds, and the signed-rank interval of the
//! ratio. In each round A, A again and B take turns call by call ([`autotune::worker::turns`]). The slowdown without B is real work:
//! the workload's prompt and output are 5 % longer (rounded), run by the same program.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod rows;
mod studies;
mod trust;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use autotune::worker::supervisor::Supervisor;

/// What the user said.
pub struct Options {
    files: Vec<String>,
    named: BTreeMap<String, String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Options { files: Vec::new(), named: BTreeMap::new() };
        let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
        while let Some(arg) = args.next() {
            match arg.strip_prefix("--") {
                Some(name) => {
                    options.named.insert(name.to_owned(), args.next().unwrap_or_default());
                }
                None => options.files.push(arg),
            }
        }
        options
    }

    fn file(&self, place: usize) -> Option<PathBuf> {
        self.files.get(place).map(PathBuf::from)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.named.get(name).map(String::as_str)
    }

    fn number(&self, name: &str, default: u64) -> Result<u64> {
        self.text(name).map_or(Ok(default), |t| t.parse().with_context(|| format!("--{name} {t}")))
    }

    /// How long measurements may be begun.
    fn time(&self) -> Result<Duration> {
        Ok(Duration::from_secs(self.number("seconds", 24 * 3600)?))
    }

    fn supervisor(&self) -> Result<Supervisor> {
        let program = self.text("program").unwrap_or("target/release/autotune");
        Ok(Supervisor::new(std::path::absolute(program)?))
    }
}

fn main() -> Result<()> {
    let options = Options::read();
    match options.files.first().map(String::as_str) {
        Some("trust") => trust::run(&options),
        Some("again") => studies::again(&options),
        Some("turns") => studies::turns(&options),
        Some("study") => studies::tell(&options),
        _ => {
            eprintln!("trust, again, turns or study; see the head of benches/measure/main.rs");
            Ok(())
        }
    }
}
