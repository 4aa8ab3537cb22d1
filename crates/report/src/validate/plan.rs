//! How a tier runs a model, and what it allows.

use serde::Serialize;

use autotune_core::space::KvType;
use autotune_engine::{Device, FlashAttention, RunConfig};
use autotune_host::{Demand, Tier};
use autotune_worker::workload::Workload;

/// Tokens handed to one decode call.
const BATCH_TOKENS: u32 = 512;
const GIB: u64 = 1 << 30;

/// What a deployment allows. Shares are fractions of the reference's value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Allowed {
    /// Median request latency over the reference's, at most this much more.
    pub latency_loss: f64,
    /// Pass@1 and CodeBLEU under the reference's, at most this much less.
    pub quality_loss: f64,
    /// Peak memory under the reference's, at least this much less.
    pub memory_gain: f64,
    /// Mean KL(reference || artifact) on held-out code, in nats.
    pub kl: f64,
    /// Least share of positions where both find the same token likeliest.
    pub top1: f64,
    /// Least share of the tokens of fixed prompts' continuations before the first that differs.
    pub same_tokens: f64,
    /// Peak memory, in bytes.
    pub memory_bytes: u64,
}

/// How a tier runs a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The tier's name.
    pub tier: &'static str,
    /// Context of each sequence, in tokens.
    pub context: u32,
    /// Sequences that are decoded together.
    pub batch: u32,
    /// Compute threads.
    pub threads: u32,
    /// What is timed.
    pub workload: Workload,
    /// What is allowed.
    pub allowed: Allowed,
}

impl Plan {
    /// The plan of a tier: mobile 4-bit weights, context 4096, one request, 4 threads in 6 GiB; edge 8-bit, 8192, 2, 6 in 8 GiB;
    /// desktop 16-bit, 16,384, 4, 8 in 12 GiB; server full precision, 32,768, 8, 16 in 16 GiB (the smallest machine of each). The
    /// divergence that is allowed is that of the precision, with a margin (docs/src/user/resume-and-export.md).
    #[must_use]
    pub fn of(tier: Tier) -> Self {
        let (gib, (kl, top1, same_tokens)) = match tier {
            Tier::Tiny | Tier::Mobile => (6, (0.2, 0.75, 0.05)),
            Tier::Edge => (8, (0.02, 0.93, 0.3)),
            Tier::Desktop => (12, (0.005, 0.95, 0.5)),
            Tier::Server => (16, (0.001, 0.98, 0.7)),
        };
        let Demand { context, requests: batch, threads, .. } = tier.demand();
        let memory_bytes = if tier == Tier::Tiny { 2 * GIB } else { gib * GIB };
        Self {
            tier: tier.name(),
            context,
            batch,
            threads,
            workload: Workload { prompt_tokens: 512, output_tokens: 64, requests: batch, shared_tokens: 0 },
            allowed: Allowed {
                latency_loss: 0.05,
                quality_loss: 0.02,
                memory_gain: 0.30,
                kl,
                top1,
                same_tokens,
                memory_bytes,
            },
        }
    }

    /// Fits the plan to the machine and the model: no more threads than there are, no longer context than the model was trained for.
    /// Says what it changed.
    pub fn fit(&mut self, threads: u32, trained_context: Option<u64>) -> Vec<String> {
        let mut said = Vec::new();
        if self.threads > threads {
            said.push(format!(
                "{} threads in place of the tier's {}: this machine has no more",
                threads, self.threads
            ));
            self.threads = threads.max(1);
        }
        if let Some(most) = trained_context.filter(|most| *most < u64::from(self.context) && *most > 0) {
            said.push(format!(
                "context {most} in place of the tier's {}: the model was trained for no more",
                self.context
            ));
            self.context = u32::try_from(most).unwrap_or(self.context);
        }
        let room = self.context.saturating_sub(self.workload.output_tokens).max(1);
        self.workload.prompt_tokens = self.workload.prompt_tokens.min(room);
        said
    }

    /// The settings of a run with `sequences` sequences and these KV types.
    #[must_use]
    pub fn run(&self, sequences: u32, kv_k: KvType, kv_v: KvType, repack: bool) -> RunConfig {
        RunConfig {
            threads: self.threads,
            sequences,
            context: self.context,
            batch_tokens: BATCH_TOKENS,
            ubatch: BATCH_TOKENS,
            // Only last rows are looked at; logits for all would be most of the memory.
            max_outputs: sequences,
            kv_k,
            kv_v,
            flash: if kv_v.is_quantized() { FlashAttention::On } else { FlashAttention::Auto },
            repack,
            gpu_layers: 0,
            device: Device::Cpu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_fits_machine_and_model() {
        let mut plan = Plan::of(Tier::Server);
        assert_eq!((plan.context, plan.batch, plan.threads), (32_768, 8, 16));
        let said = plan.fit(2, Some(8192));
        assert_eq!((plan.context, plan.threads, said.len()), (8192, 2, 2));
        assert!(Plan::of(Tier::Mobile).fit(8, Some(8192)).is_empty());
        let mut short = Plan::of(Tier::Mobile);
        short.fit(8, Some(128));
        assert_eq!(short.workload.prompt_tokens, 64);
    }
}
