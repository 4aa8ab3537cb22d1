//! What raw timing samples say: medians and percentiles with 95 % intervals.
//!
//! Passes are put together from measured waves: pass *v* takes wave *v* of each kind, wave *v + 1* where the kind comes a second time,
//! and so on round the measured ones. A request's latency is the sum of the waves up to its own, for it waits for those before.

use serde::{Deserialize, Serialize};

use super::timing::{TimingSamples, Wave, waves_of};
use super::workload::Workload;
use autotune_core::carried::carries;
use autotune_core::stats::{Interval, block_mean, quantile_interval};

/// From this number of waves on, order statistics enclose the median with 95 % confidence.
const ENOUGH_WAVES: usize = 6;
/// Blocks of the batch means of prompts and of steps.
const PROMPT_BLOCKS: usize = 8;
const STEP_BLOCKS: usize = 12;

/// What the samples say, each with its 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingSummary {
    /// Time to first token, median.
    pub ttft_p50_ms: Interval,
    /// Time to first token, 95th percentile; none where the samples do not carry it ([`autotune_core::carried`]).
    pub ttft_p95_ms: Option<Interval>,
    /// Time per output token of one sequence, median.
    pub tpot_p50_ms: Interval,
    /// Request latency, median.
    pub latency_p50_ms: Interval,
    /// Request latency, 95th percentile; none where the samples do not carry it.
    pub latency_p95_ms: Option<Interval>,
    /// Request latency, 99th percentile; none where the samples do not carry it.
    pub latency_p99_ms: Option<Interval>,
    /// Prompt tokens per second.
    pub prompt_tokens_per_s: Interval,
    /// Tokens per second of one sequence while decoding.
    pub decode_tokens_per_s: Interval,
    /// Output tokens per second over whole passes, prompts and waits included.
    pub throughput_tokens_per_s: Interval,
}

/// Passes put together from waves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passes {
    /// Latency of every request, in milliseconds.
    pub latency_ms: Vec<f64>,
    /// Time to first token of every request, from its arrival, in milliseconds.
    pub ttft_ms: Vec<f64>,
    /// Duration of every pass, in milliseconds.
    pub pass_ms: Vec<f64>,
}

impl TimingSamples {
    /// Puts passes of the workload together. Empty without waves.
    #[must_use]
    pub fn passes(&self, workload: &Workload) -> Passes {
        let pattern = waves_of(workload, self.slots);
        let of = |kind| self.waves.iter().filter(move |w| w.kind == kind).collect::<Vec<&Wave>>();
        let kinds: Vec<Vec<&Wave>> = pattern.iter().map(|k| of(*k)).collect();
        if kinds.iter().any(Vec::is_empty) {
            return Passes::default();
        }
        let mut passes = Passes::default();
        for pass in 0..kinds.iter().map(Vec::len).max().unwrap_or(0) {
            let mut waited = 0.0;
            for (i, (kind, waves)) in pattern.iter().zip(&kinds).enumerate() {
                let before = pattern[..i].iter().filter(|k| *k == kind).count();
                let wave = waves[(pass + before) % waves.len()];
                passes.ttft_ms.extend(wave.first_token_ms.iter().map(|ms| waited + ms));
                waited += wave.duration_ms;
                passes.latency_ms.extend((0..kind.requests).map(|_| waited));
            }
            passes.pass_ms.push(waited);
        }
        passes
    }

    /// Requests whose prompts were timed.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.prompt_ms.len() as u64
    }

    /// Processing time of a prompt token, for each prompt, in milliseconds.
    fn prompt_token_ms(&self) -> Vec<f64> {
        self.prompt_ms.iter().zip(&self.prompt_tokens).map(|(ms, n)| ms / f64::from((*n).max(1))).collect()
    }

    /// Relative half-width of the 95 % interval of the whole work's time, from the batch means of its two parts.
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        let part = |values: &[f64], total: f64, blocks| {
            if values.is_empty() || total == 0.0 {
                return 0.0;
            }
            block_mean(values, blocks).relative_half_width() * total
        };
        // What the two are of the work, of which only a share may have been timed.
        let (prompts, steps) = if self.waves.is_empty() {
            (self.prompt_ms.iter().sum::<f64>(), self.step_ms.iter().sum::<f64>())
        } else {
            let prompts = self.waves.iter().filter_map(|w| w.first_token_ms.last()).sum::<f64>();
            (prompts, self.waves.iter().map(|w| w.duration_ms).sum::<f64>() - prompts)
        };
        let prompt_error = part(&self.prompt_token_ms(), prompts, PROMPT_BLOCKS);
        let step_error = part(&self.step_ms, steps, STEP_BLOCKS);
        (prompt_error.powi(2) + step_error.powi(2)).sqrt() / (prompts + steps)
    }

    /// The median request latency of a workload from the parts alone (see [`super::turns::alone`]), in milliseconds: the
    /// prompts of a wave one after another, then its steps; half of the waves have ended when the median request ends.
    #[must_use]
    pub fn latency_from_parts_ms(&self, workload: &Workload) -> f64 {
        let median = |values: &[f64]| quantile_interval(values, 0.5).value;
        let prompt = median(&self.prompt_token_ms()) * f64::from(workload.prompt_tokens);
        let step = median(&self.step_ms);
        let pattern = waves_of(workload, self.slots);
        let wave = |requests: u32| {
            f64::from(requests) * prompt + f64::from(workload.output_tokens.saturating_sub(1)) * step
        };
        let mut waited = 0.0;
        let mut latencies = Vec::new();
        for kind in &pattern {
            waited += wave(kind.requests);
            latencies.extend((0..kind.requests).map(|_| waited));
        }
        median(&latencies)
    }

    /// Summarises. Percentiles of request latency come from the requests of all passes. Requests of one wave are no independent
    /// samples, so the intervals rest on the waves: the distribution-free interval of their quantile (order statistics; the range
    /// where they are too few), or the batch-means interval of the parts, whichever is wider.
    #[must_use]
    pub fn summary(&self, workload: &Workload) -> TimingSummary {
        let passes = self.passes(workload);
        let relative = Some(self.relative_error()).filter(|r| r.is_finite()).unwrap_or(1.0);
        let full: Vec<f64> = self.most_common().map(|w| w.duration_ms).collect();
        let alone = waves_of(workload, self.slots).len() == 1;
        let widen = |value: f64, q: f64, samples: usize| {
            // Behind other waves a request's latency is a sum of several: their median's interval, scaled, stands for it.
            let of_waves = quantile_interval(&full, if alone { q } else { 0.5 });
            let share = |end: f64| ((end - of_waves.value) / of_waves.value).abs() * value;
            let half = value * relative;
            let (down, up) =
                if full.is_empty() { (0.0, 0.0) } else { (share(of_waves.low), share(of_waves.high)) };
            Interval {
                value,
                low: value - down.max(half),
                high: value + up.max(half),
                samples: samples as u64,
            }
        };
        // Requests of a wave run together and end together: they are one sample.
        let samples = self.waves.len();
        let percentile = |values: &[f64], q: f64| widen(quantile_interval(values, q).value, q, samples);
        let carried = |values: &[f64], q: f64| carries(q, samples as u64).then(|| percentile(values, q));
        let output = f64::from(workload.output_tokens) * f64::from(workload.requests);
        let pass = passes.pass_ms.iter().sum::<f64>() / passes.pass_ms.len() as f64;
        TimingSummary {
            ttft_p50_ms: percentile(&passes.ttft_ms, 0.5),
            ttft_p95_ms: carried(&passes.ttft_ms, 0.95),
            tpot_p50_ms: self.step_median(),
            latency_p50_ms: percentile(&passes.latency_ms, 0.5),
            latency_p95_ms: carried(&passes.latency_ms, 0.95),
            latency_p99_ms: carried(&passes.latency_ms, 0.99),
            prompt_tokens_per_s: invert(block_mean(&self.prompt_token_ms(), PROMPT_BLOCKS), 1.0),
            decode_tokens_per_s: invert(block_mean(&self.step_ms, STEP_BLOCKS), 1.0),
            throughput_tokens_per_s: invert(widen(pass, 0.5, self.waves.len()), output),
        }
    }

    /// The median step. Neighbouring steps are no independent samples: the distribution-free interval is widened to that of the
    /// batch means.
    fn step_median(&self) -> Interval {
        let i = quantile_interval(&self.step_ms, 0.5);
        let half = block_mean(&self.step_ms, STEP_BLOCKS).relative_half_width() * i.value;
        let half = if half.is_finite() { half } else { 0.0 };
        Interval { low: i.low.min(i.value - half), high: i.high.max(i.value + half), ..i }
    }

    /// The waves of the kind that was timed most.
    fn most_common(&self) -> impl Iterator<Item = &Wave> {
        let count = |w: &&Wave| self.waves.iter().filter(|o| o.kind == w.kind).count();
        let kind = self.waves.iter().max_by_key(count).map(|w| w.kind);
        self.waves.iter().filter(move |w| Some(w.kind) == kind)
    }

    /// How the request latency's interval was found, in words.
    #[must_use]
    pub fn method(&self) -> &'static str {
        if self.most_common().count() >= ENOUGH_WAVES {
            "order statistics of the waves, or batch means of prompts and steps where those are wider"
        } else {
            "range of the waves, or batch means of prompts and steps where those are wider"
        }
    }
}

/// A time per piece, in milliseconds, as pieces per second.
fn invert(i: Interval, pieces: f64) -> Interval {
    Interval {
        value: pieces * 1e3 / i.value,
        low: pieces * 1e3 / i.high,
        high: if i.low > 0.0 { pieces * 1e3 / i.low } else { f64::INFINITY },
        samples: i.samples,
    }
}

#[cfg(test)]
mod tests {
    use super::super::timing::tests::timed;
    use super::super::timing::{TimingLimits, WaveKind};
    use super::*;

    fn of(slots: u32, text: &str) -> (Passes, TimingSummary) {
        let workload = text.parse().unwrap();
        let samples = timed(slots, text, &TimingLimits::default());
        (samples.passes(&workload), samples.summary(&workload))
    }

    #[test]
    fn the_wait_for_a_slot_is_part_of_the_latency() {
        // Chunks of 64 + 36 rows: 64 x 0.1 ms, then a chunk that asks for one row's logits among 36: 3.6 ms; ten steps of 1 + 0.1 ms.
        let (passes, summary) = of(1, "100:11:4");
        let one = 6.4 + 3.6 + 10.0 * 1.1;
        for (i, latency) in passes.latency_ms.iter().take(4).enumerate() {
            assert!((latency - one * (i + 1) as f64).abs() < 1e-6, "{i}: {latency}");
            assert!((passes.ttft_ms[i] - one * i as f64 - 10.0).abs() < 1e-6);
        }
        assert!((summary.latency_p50_ms.value - one * 2.5).abs() < 1e-6);
        assert!((summary.prompt_tokens_per_s.value - 10_000.0).abs() < 1e-3);
    }

    #[test]
    fn sequences_of_a_wave_decode_together() {
        let (passes, summary) = of(4, "100:11:4");
        let all = 4.0 * 10.0 + 10.0 * 1.4;
        assert_eq!(passes.latency_ms.len(), 4);
        assert!(passes.latency_ms.iter().all(|l| (l - all).abs() < 1e-6), "{:?}", passes.latency_ms);
        assert!((summary.throughput_tokens_per_s.value - 44.0 / all * 1e3).abs() < 1e-6);
        assert!((summary.tpot_p50_ms.value - 1.4).abs() < 1e-6);
    }

    #[test]
    fn a_smaller_last_wave_counts_as_what_it_is() {
        let (passes, _) = of(3, "100:11:4");
        let (three, one) = (30.0 + 10.0 * 1.3, 10.0 + 10.0 * 1.1);
        assert!((passes.pass_ms[0] - three - one).abs() < 1e-6);
        assert_eq!(passes.latency_ms.len(), 4);
    }

    #[test]
    fn parts_tell_the_same_latency_as_requests_where_nothing_varies() {
        for (slots, text) in [(1, "100:11:4"), (2, "100:11:4"), (4, "100:11:4"), (3, "100:11:7")] {
            let workload: Workload = text.parse().unwrap();
            let samples = timed(slots, text, &TimingLimits::default());
            let (whole, parts) =
                (samples.summary(&workload).latency_p50_ms.value, samples.latency_from_parts_ms(&workload));
            // Partial waves take their steps with fewer rows, which the parts do not know.
            assert!((whole - parts).abs() < 0.05 * whole, "{slots} {text}: {whole} {parts}");
        }
    }

    #[test]
    fn intervals_widen_with_what_waves_do() {
        let kind = WaveKind { requests: 1, prefix: false };
        let wave = |ms: f64| Wave { kind, first_token_ms: vec![1.0], duration_ms: ms };
        let samples = TimingSamples {
            slots: 1,
            waves: [100.0, 101.0, 99.0, 104.0, 100.5, 96.0, 100.0].map(wave).to_vec(),
            step_ms: vec![1.0; 60],
            prompt_ms: vec![40.0; 7],
            prompt_tokens: vec![100; 7],
            warm_up_ms: Vec::new(),
        };
        let s = samples.summary(&"100:60:1".parse().unwrap());
        assert_eq!(
            (s.latency_p50_ms.low, s.latency_p50_ms.value, s.latency_p50_ms.high),
            (96.0, 100.0, 104.0)
        );
        assert_eq!(s.latency_p50_ms.samples, 7);
        assert_eq!((s.latency_p95_ms, s.latency_p99_ms, s.ttft_p95_ms), (None, None, None), "of seven waves");
        assert!(samples.method().starts_with("order"));
        let many = |n: usize| TimingSamples {
            waves: (0..n).map(|i| wave(100.0 + (i % 10) as f64)).collect(),
            ..samples.clone()
        };
        let s = many(20).summary(&"100:60:1".parse().unwrap());
        assert!(
            s.latency_p95_ms.is_some_and(|i| i.value > 108.0 && i.samples == 20)
                && s.latency_p99_ms.is_none()
        );
        let s = many(100).summary(&"100:60:1".parse().unwrap());
        assert!(s.latency_p99_ms.is_some_and(|i| i.value > 108.0));
    }

    #[test]
    fn requests_of_one_wave_are_one_sample() {
        let samples = timed(4, "100:11:4", &TimingLimits { max_passes: 1, ..TimingLimits::default() });
        let summary = samples.summary(&"100:11:4".parse().unwrap());
        assert_eq!(summary.latency_p50_ms.samples, samples.waves.len() as u64);
        assert!(samples.requests() > summary.latency_p50_ms.samples);
    }
}
