//! Kernel rates for a model on a host: from a file of an earlier run, else measured in a worker, in a second or two.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::EngineKind;
use crate::measure::protocol::{Job, Message};
use crate::measure::rates::{KernelRates, RatesRequest};
use crate::measure::supervisor::{Limits, Supervisor};

/// Raised whenever the kernels or the file change.
const FORMAT: u32 = 2;
/// Far more than it takes on a slow machine; beside another program that computes with all cores it would take minutes, and say nothing.
const LIMIT: Duration = Duration::from_secs(40);

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    engine: String,
    rates: KernelRates,
}

/// The rates; none where the engine has no kernels to measure, or they cannot be measured: predictions then rest on the ceilings.
#[must_use]
pub fn obtain(
    supervisor: &Supervisor,
    engine: EngineKind,
    request: RatesRequest,
    fingerprint: &str,
    folder: Option<&Path>,
    cancelled: &dyn Fn() -> bool,
) -> Option<KernelRates> {
    let version = engine.open().ok()?.version();
    let file = folder.map(|f| file(f, fingerprint, &request));
    if let Some(kept) = file.as_deref().and_then(|f| load(f, &version, &request)) {
        return Some(kept);
    }
    let mut rates = None;
    let limits = Limits { time: LIMIT, memory_bytes: None };
    let run = supervisor.run(&Job::Rates { engine, request }, &limits, cancelled, &mut |message| {
        if let Message::Rates(found) = message {
            rates = Some(*found);
        }
    });
    run.ok()?;
    let rates = rates?;
    if let Some(file) = file {
        // Kept where it can be; otherwise it is measured again next time.
        let _ = save(&file, &version, &rates);
    }
    Some(rates)
}

fn file(folder: &Path, fingerprint: &str, request: &RatesRequest) -> PathBuf {
    let key = Sha256::digest(format!("{request:?}").as_bytes());
    let key: String = crate::hex::encode(&key[..6]);
    folder.join(format!("kernels-{fingerprint}-{key}.json"))
}

fn load(file: &Path, version: &str, request: &RatesRequest) -> Option<KernelRates> {
    let kept: Kept = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    let sound = kept.format == FORMAT && kept.engine == version && kept.rates.request == *request;
    sound.then_some(kept.rates)
}

fn save(file: &Path, version: &str, rates: &KernelRates) -> anyhow::Result<()> {
    let kept = Kept { format: FORMAT, engine: version.to_owned(), rates: rates.clone() };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(crate::atomic_file::write(file, serde_json::to_string_pretty(&kept)?.as_bytes())?)
}

/// Measures, in a worker.
///
/// # Errors
/// The engine has no kernels of this kind, or refuses.
#[cfg(feature = "llama")]
pub(super) fn measure(engine: EngineKind, request: RatesRequest) -> anyhow::Result<KernelRates> {
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
        for ty in TYPES {
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
    }
    Ok(rates)
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
pub(super) fn measure(engine: EngineKind, _request: RatesRequest) -> anyhow::Result<KernelRates> {
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
        let path = file(folder.path(), "f", &request);
        save(&path, "v1", &rates).unwrap();
        assert_eq!(load(&path, "v1", &request), Some(rates));
        assert_eq!(load(&path, "v2", &request), None);
        let other = RatesRequest { threads: 1, ..request };
        assert_ne!(file(folder.path(), "f", &other), path);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(load(&path, "v1", &request), None);
    }
}
