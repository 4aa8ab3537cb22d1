//! Kernel rates for a model on a host: from a file of an earlier run, else measured in a worker, in a second or two on an idle machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use autotune_engine::EngineKind;
use autotune_host::busy::Look;
use autotune_worker::protocol::{Job, Message};
use autotune_worker::rates::{KernelRates, RatesRequest};
use autotune_worker::supervisor::{Limits, Supervisor};

/// Raised whenever the kernels or the file change.
const FORMAT: u32 = 2;
/// Far more than it takes on a slow machine; while another program computes with all cores it would take minutes, and give no usable result.
pub const LIMIT: Duration = Duration::from_secs(40);

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    engine: String,
    rates: KernelRates,
    /// The interference that affected the measurement, in words. Rates of a busy machine are used, and replaced when an idle one re-measures them.
    #[serde(default)]
    disturbed: Option<String>,
}

/// Rates with what is known of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The rates.
    pub rates: KernelRates,
    /// Whether an earlier run measured them.
    pub kept: bool,
    /// The interference that affected the measurement, in words.
    pub disturbed: Option<String>,
}

/// Where rates are kept, and of which machine.
#[derive(Clone, Copy, Debug)]
pub struct Cache<'a> {
    /// The folder; none where this process has no place for a cache.
    pub folder: Option<&'a Path>,
    /// The host's fingerprint.
    pub fingerprint: &'a str,
}

impl Cache<'_> {
    /// The rates that an earlier run kept; none where the engine, its version or the shape differ.
    #[must_use]
    pub fn kept(&self, engine: EngineKind, request: &RatesRequest) -> Option<Found> {
        let version = engine.open().ok()?.version();
        load(&file(self.folder?, self.fingerprint, request), &version, request)
    }

    /// Measures in a worker, and keeps what was found. None where the engine has no kernels to measure, or not one whole pass over them
    /// ended within [`LIMIT`]: predictions then rest on the ceilings. `each` receives the progress, as a fraction.
    #[must_use]
    pub fn measured(
        &self,
        supervisor: &Supervisor,
        engine: EngineKind,
        request: RatesRequest,
        cancelled: &dyn Fn() -> bool,
        each: &mut dyn FnMut(u64, u64),
    ) -> Option<Found> {
        let version = engine.open().ok()?.version();
        let before = Look::now();
        let mut rates = None;
        let limits = Limits { time: LIMIT, memory_bytes: None };
        let run = supervisor.run(&Job::Rates { engine, request }, &limits, cancelled, &mut |message| {
            match message {
                // Sent after every pass: what a worker had when it was stopped is worth keeping.
                Message::Rates(found) => rates = Some(*found),
                Message::Progress { done, total, .. } => each(done, total),
                _ => {}
            }
        });
        let own = run.ok()?.cpu;
        let disturbed = Look::now().since(&before, own).told();
        let found = Found { rates: rates?, kept: false, disturbed };
        if let Some(folder) = self.folder {
            // Kept where it can be; otherwise it is re-measured next time.
            let _ = save(&file(folder, self.fingerprint, &request), &version, &found);
        }
        Some(found)
    }
}

fn file(folder: &Path, fingerprint: &str, request: &RatesRequest) -> PathBuf {
    let key = Sha256::digest(format!("{request:?}").as_bytes());
    let key: String = autotune_core::hex::encode(&key[..6]);
    folder.join(format!("kernels-{fingerprint}-{key}.json"))
}

fn load(file: &Path, version: &str, request: &RatesRequest) -> Option<Found> {
    let kept: Kept = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    let sound = kept.format == FORMAT && kept.engine == version && kept.rates.request == *request;
    sound.then_some(Found { rates: kept.rates, kept: true, disturbed: kept.disturbed })
}

fn save(file: &Path, version: &str, found: &Found) -> anyhow::Result<()> {
    let kept = Kept {
        format: FORMAT,
        engine: version.to_owned(),
        rates: found.rates.clone(),
        disturbed: found.disturbed.clone(),
    };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(autotune_core::atomic_file::write(file, serde_json::to_string_pretty(&kept)?.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_for_the_same_engine_and_shape() {
        let folder = tempfile::tempdir().unwrap();
        let request = RatesRequest { threads: 2, hidden: 64, ..RatesRequest::default() };
        let rates = KernelRates { request, ..KernelRates::default() };
        let busy = Some("other programs used 60 % of the cores".to_owned());
        let found = Found { rates, kept: false, disturbed: busy };
        let path = file(folder.path(), "f", &request);
        save(&path, "v1", &found).unwrap();
        // Also that the machine was busy: a calm one will measure again.
        assert_eq!(load(&path, "v1", &request), Some(Found { kept: true, ..found }));
        assert_eq!(load(&path, "v2", &request), None);
        let other = RatesRequest { threads: 1, ..request };
        assert_ne!(file(folder.path(), "f", &other), path);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(load(&path, "v1", &request), None);
    }
}
