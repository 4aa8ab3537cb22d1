//! The study as a sampler sees it: what fits, what is predicted, what was tried.

use autotune_core::metric::names;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::estimates::Known;
use super::kit::Kit;
use super::lessons;
use super::predict::{
    Ceiling, Speed, assumed_divergence, latency_from_rates_ms, latency_ms, peak_memory_bytes,
    speed_from_ceiling, speed_from_rates,
};
use super::sensitivity::Sensitivities;
use autotune_core::space::{Candidate, Config, Point, Space};
use autotune_search as search;
use autotune_search::{History, Problem, Repeat};
use autotune_store as store;
use autotune_store::TrialRecord;
use autotune_worker::rates::KernelRates;
use autotune_worker::workload::Workload;

/// A study's task.
pub struct StudyProblem<'a> {
    /// The space.
    pub space: &'a Space,
    /// The model.
    pub kit: &'a dyn Kit,
    /// What the model will do.
    pub workload: Workload,
    /// Measured with one thread and with all.
    pub ceilings: Ceilings,
    /// Ceiling on the peak memory, in bytes.
    pub budget_bytes: u64,
    /// Layers that a GPU can take; 0: none.
    pub device_layers: u32,
    rates: Option<KernelRates>,
    sensitivities: Option<Sensitivities>,
    objectives: Vec<search::Objective>,
    declared: Vec<store::Objective>,
    /// Parameter and level of what failures have shown not to work.
    left_out: Vec<(usize, usize)>,
    /// Cached predictions of points: one `ask` needs those of thousands of points several times.
    foreseen: Rc<RefCell<HashMap<Point, Option<Foreseen>>>>,
}

/// What is known of a candidate before it is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Foreseen {
    /// Predicted peak memory, in bytes.
    pub peak_bytes: u64,
    /// Predicted median request latency, in milliseconds.
    pub latency_ms: f64,
    /// Predicted speed of prompts and of decoding.
    pub speed: Speed,
    /// Its assumed divergence while nothing is measured, in nats a token; none where the engine lists no matrices.
    pub divergence: Option<f64>,
}

/// Points whose foresight is kept at most.
const MOST_FORESEEN: usize = 1 << 17;

/// What the host was measured to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// With one thread.
    pub one: Ceiling,
    /// With all usable threads.
    pub all: Ceiling,
    /// How many those are.
    pub threads: u32,
}

impl Ceilings {
    /// The ceiling at a number of threads, interpolated between one and all.
    #[must_use]
    pub fn at(&self, threads: u32) -> Ceiling {
        if self.threads <= 1 || threads <= 1 {
            return self.one;
        }
        let t = (f64::from(threads.min(self.threads)) - 1.0) / (f64::from(self.threads) - 1.0);
        Ceiling {
            bytes_per_s: self.one.bytes_per_s + t * (self.all.bytes_per_s - self.one.bytes_per_s),
            flops: self.one.flops + t * (self.all.flops - self.one.flops),
        }
    }

    /// The factor by which `fewer` threads compute slower than `threads`. Ceilings that were measured during other work understate how
    /// threads add up (one had a core for itself, several had not), so that at least half of the way, as a factor, is taken for granted.
    #[must_use]
    pub fn slowdown(&self, threads: u32, fewer: u32) -> f64 {
        let measured = self.at(threads).flops / self.at(fewer).flops;
        let ideal = f64::from(threads.max(1)) / f64::from(fewer.max(1));
        if ideal > 1.0 { measured.max(ideal.sqrt()) } else { measured }
    }
}

/// The share of a trial's work that is its timing: 27 to 40 % on the demo model (docs/src/project/benchmarks/study.md). A constant, so that what is
/// proposed does not depend on how fast the machine was.
const TIMING_SHARE: f64 = 0.3;

/// What stands for quality among the objectives. Everything is measured whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quality {
    /// Greedy answers that pass their tests.
    #[default]
    #[serde(rename = "pass@1")]
    Pass1,
    /// The estimate from sampled completions, with ten attempts.
    #[serde(rename = "pass@10")]
    Pass10,
    /// Likeness to the tasks' own solutions.
    #[serde(rename = "codebleu")]
    CodeBleu,
    /// Mean divergence from the reference.
    #[serde(rename = "kl")]
    Kl,
}

impl Quality {
    /// The objective.
    #[must_use]
    pub fn objective(self) -> store::Objective {
        let (metric, direction) = match self {
            Self::Pass1 => (names::PASS_AT_1, store::Direction::Max),
            Self::Pass10 => (names::PASS_AT_10, store::Direction::Max),
            Self::CodeBleu => (names::CODEBLEU, store::Direction::Max),
            // Not in logarithms: the reference's own divergence is zero.
            Self::Kl => (names::KL_MEAN, store::Direction::Min),
        };
        store::Objective { metric: metric.to_owned(), direction, log: false, bound: None, share: None }
    }

    /// Completions that must be sampled of each task for it to be measured.
    #[must_use]
    pub fn least_samples(self) -> u32 {
        if self == Self::Pass10 { 10 } else { 0 }
    }
}

/// What a request costs, among the objectives. Both are measured where they can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// Its median latency.
    #[default]
    Latency,
    /// The energy of each of its output tokens.
    Energy,
}

/// The least quality that is of interest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Floor {
    /// In the metric's unit.
    Value(f64),
    /// As a share of the uncompressed model's.
    Share(f64),
}

/// What the user declared of the objectives besides the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The slowest acceptable median request latency, in milliseconds.
    pub latency_ms: Option<f64>,
    /// The lowest acceptable decode speed of one sequence, in tokens per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_tokens_per_s: Option<f64>,
    /// The lowest acceptable quality.
    pub quality: Option<Floor>,
    /// The most energy that a token may take, in joules.
    #[serde(default)]
    pub joules_per_token: Option<f64>,
}

/// What a study optimises: the cost of a request and peak memory down, quality up; decode speed up as well where it has a lower bound.
#[must_use]
pub fn objectives(cost: Cost, quality: Quality, bounds: &Bounds) -> Vec<store::Objective> {
    let least = |metric: &str, bound| store::Objective {
        metric: metric.to_owned(),
        direction: store::Direction::Min,
        log: true,
        bound,
        share: None,
    };
    let cost = match cost {
        Cost::Latency => least(names::REQUEST_LATENCY_P50_MS, bounds.latency_ms),
        Cost::Energy => least(names::JOULES_PER_TOKEN, bounds.joules_per_token),
    };
    let mut best = quality.objective();
    match bounds.quality {
        Some(Floor::Value(value)) => best.bound = Some(value),
        Some(Floor::Share(share)) => best.share = Some(share),
        None => {}
    }
    let decode = bounds.decode_tokens_per_s.map(|bound| store::Objective {
        metric: names::DECODE_TOKENS_PER_S.to_owned(),
        direction: store::Direction::Max,
        log: true,
        bound: Some(bound),
        share: None,
    });
    [cost, least(names::PEAK_MEMORY_BYTES, None), best].into_iter().chain(decode).collect()
}

impl<'a> StudyProblem<'a> {
    /// The problem with the given objectives.
    #[must_use]
    pub fn new(
        space: &'a Space,
        kit: &'a dyn Kit,
        workload: Workload,
        ceilings: Ceilings,
        budget_bytes: u64,
        objectives: &[store::Objective],
    ) -> Self {
        let declared = objectives.to_vec();
        let mut problem = Self {
            space,
            kit,
            workload,
            ceilings,
            budget_bytes,
            device_layers: 0,
            rates: None,
            sensitivities: None,
            objectives: Vec::new(),
            declared,
            left_out: Vec::new(),
            foreseen: Rc::default(),
        };
        problem.objectives = problem.resolved(&[]);
        problem
    }

    /// The same with the bounds that follow from what the uncompressed model measured, and without the levels that failed.
    #[must_use]
    pub fn knowing(&self, trials: &[TrialRecord]) -> StudyProblem<'a> {
        Self {
            rates: self.rates.clone(),
            sensitivities: self.sensitivities.clone(),
            objectives: self.resolved(trials),
            declared: self.declared.clone(),
            left_out: lessons::learn(self.space, trials).iter().map(|l| (l.param, l.level)).collect(),
            foreseen: Rc::clone(&self.foreseen),
            ..*self
        }
    }

    fn resolved(&self, trials: &[TrialRecord]) -> Vec<search::Objective> {
        super::stored::objectives(&self.declared, self.budget_bytes, trials)
    }

    /// The same with kernel rates, which latency is then predicted from.
    #[must_use]
    pub fn with_rates(mut self, rates: Option<KernelRates>) -> Self {
        self.rates = rates;
        self.foreseen = Rc::default();
        self
    }

    /// The same with what each choice costs on its own, which quality is then predicted from.
    #[must_use]
    pub fn with_sensitivities(mut self, sensitivities: Option<Sensitivities>) -> Self {
        self.sensitivities = sensitivities;
        self
    }

    /// The same on a machine whose GPU can take this many layers.
    #[must_use]
    pub fn with_device(mut self, layers: u32) -> Self {
        self.device_layers = layers;
        self
    }

    fn config(&self, point: &[usize]) -> Option<Config> {
        Config::from_candidate(&self.space.candidate(point)?).ok()
    }

    /// What is known of a candidate before it is built; none where its sizes cannot be predicted.
    #[must_use]
    pub fn foresee(&self, config: &Config) -> Option<Foreseen> {
        let shape = self.kit.shape(config).ok()?;
        let ceiling = self.ceilings.at(config.threads);
        let from_rates = self.rates.as_ref().and_then(|rates| {
            let slower = self.ceilings.slowdown(rates.request.threads, config.threads);
            latency_from_rates_ms(&shape, config, &self.workload, rates, slower)
        });
        let speed = self.rates.as_ref().and_then(|rates| {
            let slower = self.ceilings.slowdown(rates.request.threads, config.threads);
            speed_from_rates(&shape, config, &self.workload, rates, slower)
        });
        let speed = speed.unwrap_or_else(|| speed_from_ceiling(&shape, config, &self.workload, &ceiling));
        let told = !shape.matrices.is_empty();
        Some(Foreseen {
            peak_bytes: peak_memory_bytes(&shape, config),
            latency_ms: from_rates.unwrap_or_else(|| latency_ms(&shape, config, &self.workload, &ceiling)),
            speed,
            divergence: told.then(|| assumed_divergence(&shape, config, self.kit.facts().layers)),
        })
    }

    /// [`StudyProblem::foresee`] of a point.
    fn foreseen(&self, point: &[usize]) -> Option<Foreseen> {
        if let Some(known) = self.foreseen.borrow().get(point) {
            return *known;
        }
        let foreseen = self.config(point).and_then(|config| self.foresee(&config));
        let mut all = self.foreseen.borrow_mut();
        if all.len() >= MOST_FORESEEN {
            all.clear();
        }
        all.insert(point.to_vec(), foreseen);
        foreseen
    }

    /// Where a candidate stands in the space: itself, or the nearest one to a preset; none where no candidate is near.
    #[must_use]
    pub fn place(&self, candidate: &Candidate) -> Option<Candidate> {
        self.space.candidate(&super::stored::place(candidate, self.space))
    }

    /// What was tried so far, in the sampler's words; pass rates as they are estimated from what is known.
    #[must_use]
    pub fn history(&self, trials: &[TrialRecord], known: &Known) -> History {
        super::stored::history(self.space, &self.declared, trials, known)
    }

    /// The point of the space with the least predicted memory, by coordinate descent (the prediction grows with each parameter on
    /// its own), with its prediction in bytes.
    #[must_use]
    pub fn smallest(&self) -> Option<(Vec<usize>, u64)> {
        let mut point: Vec<usize> = vec![0; self.space.params.len()];
        let bytes = |point: &[usize]| Some(self.foreseen(point)?.peak_bytes);
        let mut least = bytes(&point)?;
        for _ in 0..2 {
            for (i, param) in self.space.params.iter().enumerate() {
                for level in 0..param.levels.len() {
                    let mut other = point.clone();
                    other[i] = level;
                    if let Some(b) = bytes(&other)
                        && b < least
                    {
                        least = b;
                        point = other;
                    }
                }
            }
        }
        Some((point, least))
    }
}

impl Problem for StudyProblem<'_> {
    fn space(&self) -> &Space {
        self.space
    }

    fn objectives(&self) -> &[search::Objective] {
        &self.objectives
    }

    fn feasible(&self, point: &[usize]) -> bool {
        !self.left_out.iter().any(|&(param, level)| point.get(param) == Some(&level))
            && self.foreseen(point).is_some_and(|foreseen| foreseen.peak_bytes <= self.budget_bytes)
    }

    fn prior(&self, point: &[usize]) -> Vec<Option<f64>> {
        let foreseen = self.foreseen(point);
        self.declared
            .iter()
            .map(|o| match o.metric.as_str() {
                names::REQUEST_LATENCY_P50_MS => foreseen.map(|f| f.latency_ms),
                names::PEAK_MEMORY_BYTES => foreseen.map(|f| f.peak_bytes as f64),
                names::DECODE_TOKENS_PER_S => foreseen.map(|f| f.speed.decode_tokens_per_s),
                _ => None,
            })
            .collect()
    }

    fn repeat(&self) -> Option<Repeat> {
        let timed = |o: &store::Objective| {
            matches!(
                o.metric.as_str(),
                names::REQUEST_LATENCY_P50_MS | names::JOULES_PER_TOKEN | names::DECODE_TOKENS_PER_S
            )
        };
        Some(Repeat { cost: TIMING_SHARE, objectives: self.declared.iter().map(timed).collect() })
    }

    fn sensitivity(&self, point: &[usize]) -> Option<f64> {
        match &self.sensitivities {
            Some(probed) => probed.of(self.space, point),
            None => self.foreseen(point)?.divergence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_between_measured_points_are_interpolated() {
        let ceiling = |bytes_per_s, flops| Ceiling { bytes_per_s, flops };
        let ceilings = Ceilings { one: ceiling(1e10, 1e11), all: ceiling(2e10, 5e11), threads: 5 };
        let expected = [
            (0, 1e10, 1e11),
            (1, 1e10, 1e11),
            (2, 1.25e10, 2e11),
            (3, 1.5e10, 3e11),
            (4, 1.75e10, 4e11),
            (5, 2e10, 5e11),
            (9, 2e10, 5e11),
        ];
        for (threads, bytes, flops) in expected {
            let at = ceilings.at(threads);
            assert!(
                (at.bytes_per_s - bytes).abs() < 1.0 && (at.flops - flops).abs() < 1.0,
                "{threads}: {at:?}"
            );
        }
        assert!((ceilings.slowdown(5, 2) - 2.5).abs() < 1e-12);
        let single = Ceilings { threads: 1, ..ceilings };
        assert_eq!(single.at(4), single.one);
    }

    #[test]
    fn ceilings_of_a_busy_machine_do_not_make_threads_worthless() {
        let ceiling = |flops| Ceiling { bytes_per_s: 1e10, flops };
        let quiet = Ceilings { one: ceiling(1e11), all: ceiling(3.6e11), threads: 4 };
        assert!((quiet.slowdown(4, 1) - 3.6).abs() < 1e-9);
        let busy = Ceilings { one: ceiling(1e11), all: ceiling(1.02e11), threads: 4 };
        assert!((busy.slowdown(4, 1) - 2.0).abs() < 1e-9);
        assert!((busy.slowdown(4, 4) - 1.0).abs() < 1e-9);
    }
}
