//! Kernel rates for a model on a host: from a file of an earlier run, else measured in a worker, in a second or two on an idle machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::EngineKind;
use crate::host::busy::Look;
use crate::measure::protocol::{Job, Message};
use crate::measure::rates::{KernelRates, RatesRequest};
use crate::measure::supervisor::{Limits, Supervisor};

/// Raised whenever the kernels or the file change.
const FORMAT: u32 = 2;
/// Far more than it takes on a slow machine; beside another program that computes with all cores it would take minutes, and say nothing.
pub const LIMIT: Duration = Duration::from_secs(40);

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    engine: String,
    rates: KernelRates,
    /// What disturbed the measurement, in words. Rates of a busy machine are used, and replaced when a calm one measures again.
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
    /// What disturbed the measurement, in words.
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
    /// ended within [`LIMIT`]: predictions then rest on the ceilings. `each` is told how far it is, in parts of a whole.
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
            // Kept where it can be; otherwise it is measured again next time.
            let _ = save(&file(folder, self.fingerprint, &request), &version, &found);
        }
        Some(found)
    }
}

fn file(folder: &Path, fingerprint: &str, request: &RatesRequest) -> PathBuf {
    let key = Sha256::digest(format!("{request:?}").as_bytes());
    let key: String = crate::hex::encode(&key[..6]);
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
    Ok(crate::atomic_file::write(file, serde_json::to_string_pretty(&kept)?.as_bytes())?)
}

/// Measures, in a worker. Says how far it is, and the rates after every pass, the best of all so far.
///
/// # Errors
/// The engine has no kernels of this kind, or refuses; or `say` fails.
#[cfg(feature = "llama")]
pub(super) fn measure(
    engine: EngineKind,
    request: RatesRequest,
    say: &mut dyn FnMut(&Message) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    use crate::engine::rates::Kernels;
    use crate::measure::rates::MatmulRate;
    use crate::model::GgmlType;

    /// Weights of products of few rows, in bytes: more than the caches of most CPUs hold, as a decode step streams them from memory.
    const STREAMED_BYTES: u64 = 64 << 20;
    /// Weights of a product of many rows, in bytes.
    const RESIDENT_BYTES: u64 = 800_000;
    /// Times that everything is measured, one after another; the fastest counts. Another program that comes between spoils one pass of
    /// a kernel, not all.
    const PASSES: usize = 3;
    /// No further pass begins after this long.
    const ENOUGH: Duration = Duration::from_secs(10);
    const TYPES: [GgmlType; 13] = [
        GgmlType::F16,
        GgmlType::Bf16,
        GgmlType::Q8_0,
        GgmlType::Q6_K,
        GgmlType::Q5_K,
        GgmlType::Q5_0,
        GgmlType::Q5_1,
        GgmlType::Q4_K,
        GgmlType::Q4_0,
        GgmlType::Q4_1,
        GgmlType::Iq4Nl,
        GgmlType::Q3_K,
        GgmlType::Q2_K,
    ];

    anyhow::ensure!(engine == EngineKind::LlamaCpp, "{} has no kernels to measure", engine.name());
    let kernels = Kernels::new(request.threads)?;
    // K-quants come in blocks of 256.
    let columns = request.hidden.next_multiple_of(256).min(4096);
    let mut rates = KernelRates { request, ..KernelRates::default() };
    let begun = std::time::Instant::now();
    for pass in 0..PASSES {
        if pass > 0 && begun.elapsed() > ENOUGH {
            break;
        }
        let mut next = 0;
        for (place, ty) in TYPES.into_iter().enumerate() {
            let done = (pass * (TYPES.len() + 1) + place) as u64;
            let total = (PASSES * (TYPES.len() + 1)) as u64;
            say(&Message::Progress { what: "kernel rates".to_owned(), done, total })?;
            for repacked in [false, true] {
                for (all, bytes) in [(&[1, 4][..], STREAMED_BYTES), (&[128], RESIDENT_BYTES)] {
                    let found = kernels.matmul_ns(ty, columns, all, bytes, repacked)?;
                    for (&rows, ns) in all.iter().zip(found) {
                        match rates.matmul.get_mut(next).filter(|_| pass > 0) {
                            Some(rate) => rate.ns = rate.ns.min(ns),
                            None => rates.matmul.push(MatmulRate { ty, repacked, rows, ns }),
                        }
                        next += 1;
                    }
                }
            }
        }
        layers(&kernels, pass == 0, &mut rates)?;
        say(&Message::Rates(Box::new(rates.clone())))?;
    }
    Ok(())
}

/// Measures the rest of a layer for every pair of cache types; a later pass only improves what the first has found.
#[cfg(feature = "llama")]
fn layers(
    kernels: &crate::engine::rates::Kernels,
    first: bool,
    rates: &mut KernelRates,
) -> anyhow::Result<()> {
    use crate::engine::rates::{LayerCall, LayerKernel};
    use crate::measure::rates::LayerRate;
    use crate::space::KvType;

    const CACHES: [KvType; 3] = [KvType::F16, KvType::Q8_0, KvType::Q4_0];
    let request = rates.request;
    let layer = LayerKernel {
        hidden: request.hidden,
        heads: request.heads,
        kv_heads: request.kv_heads,
        head_dim: request.head_dim,
        ffn: request.ffn,
    };
    let mut next = 0;
    for kv_k in CACHES {
        for kv_v in CACHES {
            for (rows, streams) in [(1, 1), (4, 4), (64, 1)] {
                for positions in [256, 768] {
                    let call = LayerCall { rows, streams, positions, kv_k, kv_v };
                    let ns = kernels.layer_ns(&layer, &call)?;
                    match rates.layer.get_mut(next).filter(|_| !first) {
                        Some(rate) => rate.ns = rate.ns.min(ns),
                        None => rates.layer.push(LayerRate { kv_k, kv_v, rows, streams, positions, ns }),
                    }
                    next += 1;
                }
            }
        }
    }
    Ok(())
}

/// There is nothing to measure in a build without llama.cpp.
///
/// # Errors
/// Always.
#[cfg(not(feature = "llama"))]
pub(super) fn measure(
    engine: EngineKind,
    _request: RatesRequest,
    _say: &mut dyn FnMut(&Message) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    anyhow::bail!("{} has no kernels to measure", engine.name())
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
