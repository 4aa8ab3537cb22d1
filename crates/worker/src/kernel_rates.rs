//! Measures kernel rates, in a worker.

#[cfg(feature = "llama")]
use std::time::Duration;

use crate::protocol::Message;
#[cfg(feature = "llama")]
use crate::rates::KernelRates;
use crate::rates::RatesRequest;
use autotune_engine::EngineKind;

/// Measures, in a worker. Says how far it is, and the rates after every pass, the best of all so far.
///
/// # Errors
/// The engine has no kernels of this kind, or refuses; or `say` fails.
#[cfg(feature = "llama")]
pub(crate) fn measure(
    engine: EngineKind,
    request: RatesRequest,
    say: &mut dyn FnMut(&Message) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    use crate::rates::MatmulRate;
    use autotune_engine::rates::Kernels;
    use autotune_model::GgmlType;

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
    kernels: &autotune_engine::rates::Kernels,
    first: bool,
    rates: &mut KernelRates,
) -> anyhow::Result<()> {
    use crate::rates::LayerRate;
    use autotune_core::space::KvType;
    use autotune_engine::rates::{LayerCall, LayerKernel};

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
pub(crate) fn measure(
    engine: EngineKind,
    _request: RatesRequest,
    _say: &mut dyn FnMut(&Message) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    anyhow::bail!("{} has no kernels to measure", engine.name())
}
