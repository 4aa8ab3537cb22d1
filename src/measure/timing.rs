//! The timing protocol: how a loaded artifact is timed under a workload.
//!
//! All requests arrive together. They are served in waves of as many as the candidate has slots; a request that finds no slot waits,
//! and its latency includes the wait. In a wave the prompts are processed one after another, then the sequences decode together. A
//! warm-up comes first; passes are repeated until the interval of the mean step and prompt times is narrow enough or the time is up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stats::{Interval, block_mean, quantile_interval};
use super::workload::Workload;
use crate::engine::{EngineError, Row, Session, Token, argmax};

/// When to stop timing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingLimits {
    /// Half-width of the 95 % interval, relative to the value, that is good enough.
    pub target: f64,
    /// No further pass is begun after this time, in seconds.
    pub cap_s: f64,
    /// Passes at most.
    pub max_passes: u32,
}

impl Default for TimingLimits {
    fn default() -> Self {
        Self { target: 0.02, cap_s: 10.0, max_passes: 8 }
    }
}

/// Raw samples, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimingSamples {
    /// Of each request: time to its first token, from its arrival.
    pub ttft_ms: Vec<f64>,
    /// Of each request: time to its last token, from its arrival.
    pub latency_ms: Vec<f64>,
    /// Of each decode step: its duration. One step gives one token to every sequence of the wave.
    pub step_ms: Vec<f64>,
    /// Of each prompt: its processing time.
    pub prompt_ms: Vec<f64>,
    /// Of each pass: its duration.
    pub pass_ms: Vec<f64>,
    /// Sequences that decoded together in a full wave.
    pub slots: u32,
}

/// What the samples say, each with its 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingSummary {
    /// Time to first token, median.
    pub ttft_p50_ms: Interval,
    /// Time to first token, 95th percentile.
    pub ttft_p95_ms: Interval,
    /// Time per output token of one sequence, median.
    pub tpot_p50_ms: Interval,
    /// Request latency, median.
    pub latency_p50_ms: Interval,
    /// Request latency, 95th percentile.
    pub latency_p95_ms: Interval,
    /// Request latency, 99th percentile.
    pub latency_p99_ms: Interval,
    /// Prompt tokens per second.
    pub prompt_tokens_per_s: Interval,
    /// Tokens per second of one sequence while decoding.
    pub decode_tokens_per_s: Interval,
    /// Output tokens per second over whole passes, prompts and waits included.
    pub throughput_tokens_per_s: Interval,
}

/// Times the workload on a session with `slots` sequences; `text` supplies the prompts, each request another stretch of it.
///
/// # Errors
/// The text is empty, or a decode call failed.
pub fn time_workload(
    session: &mut dyn Session,
    text: &[Token],
    workload: &Workload,
    slots: u32,
    chunk: u32,
    limits: &TimingLimits,
) -> Result<TimingSamples, EngineError> {
    if text.is_empty() {
        return Err(EngineError::Misuse("the timing text has no tokens".to_owned()));
    }
    let mut samples = TimingSamples { slots: slots.min(workload.requests).max(1), ..Default::default() };
    warm_up(session, text, samples.slots, chunk)?;
    let start = session.now();
    for pass in 0..limits.max_passes.max(1) {
        let begun = session.now();
        one_pass(session, text, workload, chunk, pass, &mut samples)?;
        samples.pass_ms.push(ms(session.now() - begun));
        let tight = relative_error(&samples) <= limits.target;
        let spent = (session.now() - start).as_secs_f64();
        let next = spent / f64::from(pass + 1);
        if tight || spent + next > limits.cap_s {
            break;
        }
    }
    Ok(samples)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A short prompt and a few steps in every slot: pages in the weights, spins up the threads, fills the caches.
fn warm_up(session: &mut dyn Session, text: &[Token], slots: u32, chunk: u32) -> Result<(), EngineError> {
    let workload = Workload { prompt_tokens: 16, output_tokens: 4, requests: slots };
    let mut scratch = TimingSamples { slots, ..Default::default() };
    one_pass(session, text, &workload, chunk, 0, &mut scratch)
}

fn one_pass(
    session: &mut dyn Session,
    text: &[Token],
    workload: &Workload,
    chunk: u32,
    pass: u32,
    samples: &mut TimingSamples,
) -> Result<(), EngineError> {
    let arrival = session.now();
    let mut request = 0;
    while request < workload.requests {
        let wave = samples.slots.min(workload.requests - request);
        session.forget(None);
        let mut next = Vec::new();
        for sequence in 0..wave {
            let begun = session.now();
            let offset = (pass * workload.requests + request + sequence) as usize * 97;
            next.push(prefill(session, text, offset, workload.prompt_tokens, sequence, chunk)?);
            samples.prompt_ms.push(ms(session.now() - begun));
            samples.ttft_ms.push(ms(session.now() - arrival));
        }
        for step in 1..workload.output_tokens {
            let begun = session.now();
            let rows: Vec<Row> = next
                .iter()
                .enumerate()
                .map(|(sequence, &token)| Row {
                    token,
                    position: workload.prompt_tokens + step - 1,
                    sequence: sequence as u32,
                    logits: true,
                })
                .collect();
            session.decode(&rows)?;
            for (index, token) in next.iter_mut().enumerate() {
                *token = argmax(session.logits(index)?);
            }
            samples.step_ms.push(ms(session.now() - begun));
        }
        let latency = ms(session.now() - arrival);
        samples.latency_ms.extend((0..wave).map(|_| latency));
        request += wave;
    }
    Ok(())
}

/// Processes one prompt and returns the greedy first token.
fn prefill(
    session: &mut dyn Session,
    text: &[Token],
    offset: usize,
    tokens: u32,
    sequence: u32,
    chunk: u32,
) -> Result<Token, EngineError> {
    let chunk = chunk.max(1);
    let mut position = 0;
    let mut first = 0;
    while position < tokens {
        let end = (position + chunk).min(tokens);
        let rows: Vec<Row> = (position..end)
            .map(|p| Row {
                token: text[(offset + p as usize) % text.len()],
                position: p,
                sequence,
                logits: p + 1 == tokens,
            })
            .collect();
        session.decode(&rows)?;
        if end == tokens {
            first = argmax(session.logits(rows.len() - 1)?);
        }
        position = end;
    }
    Ok(first)
}

/// Relative half-width of the whole request's time, from the batch means of its two parts.
fn relative_error(samples: &TimingSamples) -> f64 {
    let part = |values: &[f64], blocks| {
        let i = block_mean(values, blocks);
        let total: f64 = values.iter().sum();
        (total, i.relative_half_width() * total)
    };
    let (prompt, prompt_error) = part(&samples.prompt_ms, 8);
    let (steps, step_error) = part(&samples.step_ms, 12);
    (prompt_error.powi(2) + step_error.powi(2)).sqrt() / (prompt + steps)
}

impl TimingSamples {
    /// Summarises. Percentiles of request latency come from the requests of all passes; their intervals are the wider of the
    /// distribution-free one of the pass values and the relative error of the parts (batch means), since requests of one pass share
    /// its waves and are not independent.
    #[must_use]
    pub fn summary(&self, workload: &Workload) -> TimingSummary {
        let relative = relative_error(self);
        let widen = |value: f64, per_pass: &[f64]| {
            let passes = quantile_interval(per_pass, 0.5);
            let (down, up) = if per_pass.len() >= 6 {
                ((value - passes.low).max(0.0), (passes.high - value).max(0.0))
            } else {
                (0.0, 0.0)
            };
            let half = value * if relative.is_finite() { relative } else { 1.0 };
            Interval {
                value,
                low: value - down.max(half),
                high: value + up.max(half),
                samples: per_pass.len() as u64,
            }
        };
        let requests = workload.requests.max(1) as usize;
        let percentile = |values: &[f64], q: f64| {
            let all = quantile_interval(values, q);
            let per_pass: Vec<f64> = values.chunks(requests).map(|p| quantile_interval(p, q).value).collect();
            let mut i = widen(all.value, &per_pass);
            i.samples = all.samples;
            i
        };
        let invert = |i: Interval, tokens: f64| Interval {
            value: tokens * 1e3 / i.value,
            low: tokens * 1e3 / i.high,
            high: if i.low > 0.0 { tokens * 1e3 / i.low } else { f64::INFINITY },
            samples: i.samples,
        };
        let step = block_mean(&self.step_ms, 12);
        let output = f64::from(workload.output_tokens) * f64::from(workload.requests);
        let pass = self.pass_ms.iter().sum::<f64>() / self.pass_ms.len() as f64;
        TimingSummary {
            ttft_p50_ms: percentile(&self.ttft_ms, 0.5),
            ttft_p95_ms: percentile(&self.ttft_ms, 0.95),
            tpot_p50_ms: quantile_interval(&self.step_ms, 0.5),
            latency_p50_ms: percentile(&self.latency_ms, 0.5),
            latency_p95_ms: percentile(&self.latency_ms, 0.95),
            latency_p99_ms: percentile(&self.latency_ms, 0.99),
            prompt_tokens_per_s: invert(block_mean(&self.prompt_ms, 8), f64::from(workload.prompt_tokens)),
            decode_tokens_per_s: invert(step, 1.0),
            throughput_tokens_per_s: invert(widen(pass, &self.pass_ms), output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mock::{MockArtifact, Script};
    use crate::engine::{EngineKind, FlashAttention, RunConfig};
    use crate::space::KvType;

    fn timed(slots: u32) -> (TimingSamples, TimingSummary) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let artifact = MockArtifact {
            peak_bytes: 1,
            prompt_us: 100.0,
            step_us: 1000.0,
            row_us: 100.0,
            noise: 0.0,
            forgets: 0.0,
            script: Script::Behave,
        };
        std::fs::write(&path, serde_json::to_string(&artifact).unwrap()).unwrap();
        let run = RunConfig {
            threads: 1,
            sequences: slots,
            context: 256,
            batch_tokens: 64,
            ubatch: 64,
            max_outputs: 0,
            kv_k: KvType::F16,
            kv_v: KvType::F16,
            flash: FlashAttention::Auto,
            repack: true,
            gpu_layers: 0,
        };
        let mut session = EngineKind::Mock.open().unwrap().load(&path, &run).unwrap();
        let workload = Workload { prompt_tokens: 100, output_tokens: 11, requests: 4 };
        let text: Vec<Token> = (0..500).map(|i| i % 90 + 32).collect();
        let samples =
            time_workload(session.as_mut(), &text, &workload, slots, 64, &TimingLimits::default()).unwrap();
        let summary = samples.summary(&workload);
        (samples, summary)
    }

    #[test]
    fn the_wait_for_a_slot_is_part_of_the_latency() {
        // Chunks of 64 + 36 rows: 64 x 0.1 ms, then a chunk that asks for one row's logits among 36: 3.6 ms; ten steps of 1 + 0.1 ms.
        let (samples, summary) = timed(1);
        let one = 6.4 + 3.6 + 10.0 * 1.1;
        for (i, latency) in samples.latency_ms.iter().take(4).enumerate() {
            assert!((latency - one * (i + 1) as f64).abs() < 1e-6, "{i}: {latency}");
        }
        assert!((summary.latency_p50_ms.value - one * 2.5).abs() < 1e-6);
        assert!((summary.prompt_tokens_per_s.value - 10_000.0).abs() < 1e-3);
        assert_eq!(samples.pass_ms.len(), 1, "a scripted clock has no noise");
    }

    #[test]
    fn sequences_of_a_wave_decode_together() {
        let (samples, summary) = timed(4);
        let all = 4.0 * 10.0 + 10.0 * 1.4;
        assert_eq!(samples.latency_ms.len(), 4);
        assert!(samples.latency_ms.iter().all(|l| (l - all).abs() < 1e-6), "{:?}", samples.latency_ms);
        assert!((summary.throughput_tokens_per_s.value - 44.0 / all * 1e3).abs() < 1e-6);
        assert!((summary.tpot_p50_ms.value - 1.4).abs() < 1e-6);
    }
}
