//! The timing protocol: how a loaded artifact is timed under a workload. docs/src/explanation/measuring.md writes it down for people.
//!
//! All requests arrive together. They are served in waves of as many as the candidate has slots; a request that finds no slot waits,
//! and its latency includes the wait. In a wave the prompts are processed one after another, then the sequences decode together. The
//! waves of a pass do the same work but for the last, which may be smaller, and the first, which computes the prefix that requests
//! share: so each kind of wave is timed, again and again until the interval is narrow enough or the time is up, and passes are put
//! together from them ([`super::summary`]). Within a wave, too, work that is done again and again may be timed in part ([`Share`]). A
//! warm-up until steady comes first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::workload::Workload;
use autotune_core::logits::argmax;
use autotune_engine::{EngineError, Row, Session, Token, check_finite};

/// How much of a wave is timed; the rest, which does the same work, is taken to last as long.
///
/// Prompts of a wave are equally long, and the caches of those that are not timed are copied. A step's time grows linearly with the
/// depth of the context, so that steps around the middle of the answers last as long as all of them in the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Prompts of each length at most.
    pub prompts: u32,
    /// Decode steps at most.
    pub steps: u32,
}

impl Share {
    /// What a study times: enough prompts and steps of one wave for an interval.
    pub const STUDY: Self = Self { prompts: 3, steps: 40 };
    const WHOLE: Self = Self { prompts: u32::MAX, steps: u32::MAX };
}

/// Prompts under which no interval of their time is known.
pub const LEAST_PROMPTS: usize = 3;
/// How far the cap may be exceeded for them.
pub const OVER: f64 = 4.0;

/// When to stop timing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingLimits {
    /// Half-width of the 95 % interval, relative to the value, that is good enough.
    pub target: f64,
    /// No further wave is begun that would end after this time, in seconds; but [`LEAST_PROMPTS`] are timed where that takes no more than
    /// [`OVER`] times as long.
    pub cap_s: f64,
    /// Passes at most.
    pub max_passes: u32,
    /// Requests at least, where the time allows.
    #[serde(default)]
    pub min_requests: u32,
    /// What of a wave is timed; none: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
}

impl Default for TimingLimits {
    fn default() -> Self {
        Self { target: 0.02, cap_s: 10.0, max_passes: 8, min_requests: 0, share: None }
    }
}

/// What distinguishes waves that do different work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveKind {
    /// Requests in it.
    pub requests: u32,
    /// Whether it computes the prefix that all requests share.
    pub prefix: bool,
}

/// One timed wave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wave {
    /// The work it did.
    pub kind: WaveKind,
    /// Of each of its requests: time to the first token, from the wave's begin, in milliseconds.
    pub first_token_ms: Vec<f64>,
    /// From its begin to the last token of its requests, in milliseconds. Where only a [`Share`] was timed, the sum of its parts.
    pub duration_ms: f64,
}

/// Raw samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimingSamples {
    /// Sequences that decoded together in a full wave.
    pub slots: u32,
    /// The timed waves, in order.
    pub waves: Vec<Wave>,
    /// Of each decode step of a full wave: its duration in milliseconds. One step gives one token to every sequence.
    pub step_ms: Vec<f64>,
    /// Of each prompt: its processing time in milliseconds.
    pub prompt_ms: Vec<f64>,
    /// Of each prompt: the tokens that were computed (not reused from a shared prefix).
    pub prompt_tokens: Vec<u32>,
    /// Of each round of the warm-up: its duration in milliseconds.
    pub warm_up_ms: Vec<f64>,
}

/// The waves of one pass of a workload over so many slots.
#[must_use]
pub fn waves_of(workload: &Workload, slots: u32) -> Vec<WaveKind> {
    let slots = slots.clamp(1, workload.requests.max(1));
    (0..workload.requests.max(1))
        .step_by(slots as usize)
        .map(|first| WaveKind {
            requests: slots.min(workload.requests.max(1) - first),
            prefix: workload.shared_tokens > 0 && first == 0,
        })
        .collect()
}

/// A session with what is timed on it.
pub struct Timed<'a> {
    /// The loaded artifact.
    pub session: &'a mut dyn Session,
    /// Supplies the prompts, each request another stretch of it.
    pub text: &'a [Token],
    /// What is timed.
    pub workload: Workload,
    /// Sequences that may decode together.
    pub slots: u32,
    /// Prompt tokens handed to one decode call.
    pub chunk: u32,
}

impl Timed<'_> {
    /// Times the workload by whole requests.
    ///
    /// # Errors
    /// The text is empty, or a decode call failed.
    pub fn requests(mut self, limits: &TimingLimits) -> Result<TimingSamples, EngineError> {
        let mut samples = self.begin()?;
        let pattern = waves_of(&self.workload, self.slots);
        let start = self.session.now();
        let most = limits.max_passes.max(1) as usize * pattern.len();
        let mut requests = 0;
        // What each wave really took, in seconds: less than it stands for where a share is timed.
        let mut took: Vec<(WaveKind, f64)> = Vec::new();
        for (number, kind) in pattern.iter().copied().cycle().take(most).enumerate() {
            let known: Vec<f64> = took.iter().filter(|(k, _)| *k == kind).map(|(_, s)| *s).collect();
            let whole = pattern.iter().all(|k| took.iter().any(|(other, _)| other == k));
            if whole {
                let enough = samples.relative_error() <= limits.target && requests >= limits.min_requests;
                let spent_s = (self.session.now() - start).as_secs_f64();
                let next_s = known.iter().sum::<f64>() / known.len() as f64;
                let cap_s = if samples.prompt_ms.len() < LEAST_PROMPTS { OVER } else { 1.0 } * limits.cap_s;
                if enough || spent_s + next_s > cap_s {
                    break;
                }
            } else if !known.is_empty() {
                // Of this kind there is one: the kinds that are missing come first.
                continue;
            }
            let begun = self.session.now();
            let offset = number * self.slots as usize;
            let share = limits.share.unwrap_or(Share::WHOLE);
            let wave = self.wave(kind, offset, share, &mut samples)?;
            requests += kind.requests;
            samples.waves.push(wave);
            took.push((kind, (self.session.now() - begun).as_secs_f64()));
        }
        Ok(samples)
    }

    pub(super) fn begin(&mut self) -> Result<TimingSamples, EngineError> {
        if self.text.is_empty() {
            return Err(EngineError::Misuse("the timing text has no tokens".to_owned()));
        }
        self.slots = self.slots.clamp(1, self.workload.requests.max(1));
        let mut samples = TimingSamples { slots: self.slots, ..Default::default() };
        samples.warm_up_ms = self.warm_up()?;
        Ok(samples)
    }

    /// A short prompt and a few steps in every slot, until two rounds in a row take the same time within 5 %: pages in the weights,
    /// spins up the threads, fills the caches.
    fn warm_up(&mut self) -> Result<Vec<f64>, EngineError> {
        const STEADY: f64 = 0.05;
        const MOST: usize = 6;
        let real = self.workload;
        self.workload = Workload {
            prompt_tokens: 16.min(real.prompt_tokens),
            output_tokens: 5.min(real.output_tokens),
            requests: self.slots,
            shared_tokens: 0,
        };
        let kind = WaveKind { requests: self.slots, prefix: false };
        let mut scratch = TimingSamples { slots: self.slots, ..Default::default() };
        let mut rounds: Vec<f64> = Vec::new();
        while rounds.len() < MOST {
            let wave = self.wave(kind, 0, Share::WHOLE, &mut scratch)?;
            let steady = rounds
                .last()
                .is_some_and(|last| (wave.duration_ms - last).abs() <= STEADY * last.min(wave.duration_ms));
            rounds.push(wave.duration_ms);
            if steady {
                break;
            }
        }
        self.workload = real;
        Ok(rounds)
    }

    fn wave(
        &mut self,
        kind: WaveKind,
        offset: usize,
        share: Share,
        samples: &mut TimingSamples,
    ) -> Result<Wave, EngineError> {
        let shared = self.workload.shared_tokens;
        if shared == 0 || kind.prefix {
            self.session.forget(None);
        }
        let mut waited = 0.0;
        let mut first_token_ms = Vec::new();
        let mut next = Vec::new();
        let mut alike = Vec::new();
        for sequence in 0..kind.requests {
            let begins = kind.prefix && sequence == 0;
            let took = if alike.len() < share.prompts as usize {
                let begun = self.session.now();
                let reused = if begins { 0 } else { shared };
                if kind.prefix && sequence > 0 {
                    self.session.copy(0, sequence)?;
                }
                if reused > 0 {
                    self.session.truncate(sequence, reused)?;
                }
                next.push(self.prefill(sequence, reused, (offset + sequence as usize) * 97)?);
                let took = ms(self.session.now() - begun);
                samples.prompt_ms.push(took);
                samples.prompt_tokens.push(self.workload.prompt_tokens - reused);
                if !begins {
                    alike.push(took);
                }
                took
            } else {
                alike.iter().sum::<f64>() / alike.len() as f64
            };
            waited += took;
            first_token_ms.push(waited);
        }
        let steps = self.steps(kind, next, share, samples)?;
        if self.workload.output_tokens > 1 {
            self.check_logits(kind.requests)?;
        }
        Ok(Wave { kind, first_token_ms, duration_ms: waited + steps })
    }

    /// Refuses a wave whose last step gave logits that are not numbers. Not timed.
    fn check_logits(&mut self, rows: u32) -> Result<(), EngineError> {
        for row in 0..rows {
            let logits = self.session.logits(row as usize)?;
            check_finite(logits, || format!("of request {} of a timed wave", row + 1))?;
        }
        Ok(())
    }

    /// The decode steps of a wave whose first `next.len()` prompts were processed; their time in milliseconds, or what it is taken to be.
    fn steps(
        &mut self,
        kind: WaveKind,
        mut next: Vec<Token>,
        share: Share,
        samples: &mut TimingSamples,
    ) -> Result<f64, EngineError> {
        let all = self.workload.output_tokens.saturating_sub(1);
        let timed = all.min(share.steps);
        let copied = next.len() < kind.requests as usize;
        let partial = timed > 0 && (timed < all || copied);
        // The first step carries out what the engine had put off: copies are not the workload's.
        let unseen = u32::from(partial);
        let before = (all - timed).saturating_sub(unseen) / 2;
        if partial {
            self.deepen(before, &mut next)?;
            for sequence in 1..kind.requests {
                self.session.forget(Some(sequence));
                self.session.copy(0, sequence)?;
            }
            next = vec![next[0]; kind.requests as usize];
        }
        let mut sum = 0.0;
        for step in 1..=unseen + timed {
            let took = self.step(&mut next, before + step)?;
            if step > unseen {
                sum += took;
                if kind.requests == samples.slots {
                    samples.step_ms.push(took);
                }
            }
        }
        Ok(if timed == 0 { 0.0 } else { sum / f64::from(timed) * f64::from(all) })
    }

    /// Adds so many tokens to the first sequence in one go.
    fn deepen(&mut self, tokens: u32, next: &mut [Token]) -> Result<(), EngineError> {
        let end = self.workload.prompt_tokens + tokens;
        for start in (self.workload.prompt_tokens..end).step_by(self.chunk.max(1) as usize) {
            let rows: Vec<Row> = (start..end.min(start + self.chunk.max(1)))
                .map(|p| Row {
                    token: self.text[p as usize % self.text.len()],
                    position: p,
                    sequence: 0,
                    logits: p + 1 == end,
                })
                .collect();
            self.session.decode(&rows)?;
            if rows.last().is_some_and(|row| row.logits) {
                next[0] = argmax(self.session.logits(rows.len() - 1)?);
            }
        }
        Ok(())
    }

    /// Gives every sequence one more token, greedily; the step's duration in milliseconds.
    pub(super) fn step(&mut self, next: &mut [Token], step: u32) -> Result<f64, EngineError> {
        let begun = self.session.now();
        let position = self.workload.prompt_tokens + step - 1;
        let rows: Vec<Row> = (0u32..)
            .zip(next.iter())
            .map(|(sequence, &token)| Row { token, position, sequence, logits: true })
            .collect();
        self.session.decode(&rows)?;
        for (index, token) in next.iter_mut().enumerate() {
            *token = argmax(self.session.logits(index)?);
        }
        Ok(ms(self.session.now() - begun))
    }

    /// Processes one prompt from position `reused` on and returns the greedy first token. The shared prefix is the text's begin.
    fn prefill(&mut self, sequence: u32, reused: u32, offset: usize) -> Result<Token, EngineError> {
        let mut position = reused;
        loop {
            match self.prefill_call(sequence, position, offset)? {
                (_, Some(first)) => return Ok(first),
                (end, None) => position = end,
            }
        }
    }

    /// One call of [`Timed::prefill`]: where it ends, and the first token where that is the prompt's end.
    pub(super) fn prefill_call(
        &mut self,
        sequence: u32,
        position: u32,
        offset: usize,
    ) -> Result<(u32, Option<Token>), EngineError> {
        let (tokens, shared) = (self.workload.prompt_tokens, self.workload.shared_tokens);
        let end = (position + self.chunk.max(1)).min(tokens);
        let rows: Vec<Row> = (position..end)
            .map(|p| {
                let at = if p < shared { p as usize } else { offset + p as usize };
                let token = self.text[at % self.text.len()];
                Row { token, position: p, sequence, logits: p + 1 == tokens }
            })
            .collect();
        self.session.decode(&rows)?;
        let first = match end == tokens {
            true => Some(argmax(self.session.logits(rows.len().saturating_sub(1))?)),
            false => None,
        };
        Ok((end, first))
    }
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use autotune_core::space::KvType;
    use autotune_engine::mock::{MockArtifact, Script};
    use autotune_engine::{Device, EngineKind, FlashAttention, RunConfig};

    pub(crate) fn session(slots: u32) -> Box<dyn Session> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let artifact = MockArtifact {
            peak_bytes: 1,
            prompt_us: 100.0,
            step_us: 1000.0,
            row_us: 100.0,
            noise: 0.0,
            forgets: 0.0,
            watts: 0.0,
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
            device: Device::Cpu,
        };
        EngineKind::Mock.open().unwrap().load(&path, &run).unwrap()
    }

    pub(crate) fn timed(slots: u32, workload: &str, limits: &TimingLimits) -> TimingSamples {
        let mut session = session(slots);
        let text: Vec<Token> = (0..500).map(|i| i % 90 + 32).collect();
        let workload = workload.parse().unwrap();
        let timed = Timed { session: session.as_mut(), text: &text, workload, slots, chunk: 64 };
        timed.requests(limits).unwrap()
    }

    #[test]
    fn a_scripted_clock_needs_each_kind_of_wave_once() {
        let kinds = |slots, workload| {
            let samples = timed(slots, workload, &TimingLimits::default());
            samples.waves.iter().map(|w| (w.kind.requests, w.kind.prefix)).collect::<Vec<_>>()
        };
        assert_eq!(kinds(4, "100:11:4"), [(4, false)]);
        assert_eq!(
            kinds(1, "100:11:4"),
            [(1, false); 2],
            "one prompt has no interval; the others do the same work"
        );
        assert_eq!(kinds(3, "100:11:8"), [(3, false), (2, false)]);
        assert_eq!(kinds(2, "100:11:5:60"), [(2, true), (2, false), (1, false)]);
    }

    #[test]
    fn requests_are_repeated_as_often_as_asked() {
        let limits = TimingLimits { min_requests: 10, max_passes: 100, ..TimingLimits::default() };
        assert_eq!(timed(1, "100:11:1", &limits).waves.len(), 10);
        assert_eq!(timed(4, "100:11:4", &limits).waves.len(), 3);
        let short = TimingLimits { cap_s: 0.06, ..limits };
        // A wave of one request takes 21 ms.
        assert_eq!(timed(1, "100:11:1", &short).waves.len(), LEAST_PROMPTS);
    }

    #[test]
    fn a_prompt_that_takes_the_whole_cap_is_timed_three_times_for_its_interval() {
        let waves = |slots, workload, cap_s| {
            let limits = TimingLimits { cap_s, target: 0.0, ..TimingLimits::default() };
            let samples = timed(slots, workload, &limits);
            (samples.waves.len(), samples.relative_error().is_finite())
        };
        // A wave of one request takes 21 ms: all three end within four times the cap, but not within a hundredth of it.
        assert_eq!(waves(1, "100:11:4", 0.02), (3, true));
        assert_eq!(waves(1, "100:11:4", 0.0002), (1, false));
        // Three prompts of one wave are enough.
        assert_eq!(waves(4, "100:11:4", 0.02).0, 1);
    }

    #[test]
    fn a_share_of_a_wave_tells_the_time_of_the_whole() {
        for (slots, workload) in
            [(1, "100:60:4"), (4, "100:60:4"), (3, "100:60:8"), (4, "100:60:4:50"), (4, "100:2:4")]
        {
            let once = TimingLimits { max_passes: 1, ..TimingLimits::default() };
            let whole = timed(slots, workload, &once);
            for share in [
                Share { prompts: 2, steps: 10 },
                Share { prompts: 1, steps: 100 },
                Share { prompts: 9, steps: 59 },
            ] {
                let part = timed(slots, workload, &TimingLimits { share: Some(share), ..once });
                let workload = workload.parse().unwrap();
                let [a, b] = [&whole, &part].map(|s| s.summary(&workload));
                let near = |x: f64, y: f64| (x / y - 1.0).abs() < 1e-6;
                let name = format!("{slots} {workload:?} {share:?}");
                assert!(near(a.latency_p50_ms.value, b.latency_p50_ms.value), "{name}: {a:?} {b:?}");
                assert!(near(a.ttft_p50_ms.value, b.ttft_p50_ms.value), "{name}");
                assert!(near(a.throughput_tokens_per_s.value, b.throughput_tokens_per_s.value), "{name}");
            }
        }
    }

    #[test]
    fn a_share_is_less_work() {
        let share = Some(Share { prompts: 2, steps: 10 });
        let samples = timed(4, "100:60:4", &TimingLimits { share, max_passes: 1, ..TimingLimits::default() });
        assert_eq!((samples.prompt_ms.len(), samples.step_ms.len(), samples.requests()), (2, 10, 2));
        assert_eq!(samples.waves[0].first_token_ms.len(), 4);
    }

    #[test]
    fn a_shared_prefix_is_computed_once_in_a_pass() {
        let samples = timed(2, "100:11:4:60", &TimingLimits::default());
        assert_eq!(samples.prompt_tokens, [100, 40, 40, 40]);
        assert!(samples.prompt_ms[1] < samples.prompt_ms[0]);
    }
}
