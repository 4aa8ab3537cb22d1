//! Studies whose true qualities are known: what the recommendation makes of their noisy grades.

use std::collections::BTreeMap;

use autotune::report::{Judged, Title, recommend, write_estimates};
use autotune::space::{Candidate, Value};
use autotune::store::{
    Direction, Measurement, Objective, Origin, Rung, StudyId, TrialId, TrialRecord, TrialState, Verdicts,
};
use autotune::study::estimates::Known;
use jiff::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// How divergence goes with the true loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum World {
    /// In proportion, each candidate off by a factor of 1.6 or so, the study as a whole by another.
    Tells,
    /// Hardly: off by a factor of four or so.
    Misleads,
    /// As in the first, but one candidate truly passes six points more than the uncompressed model.
    OneImproves,
}

/// Candidates of a study.
pub const CANDIDATES: usize = 20;
/// A point of a pass rate.
const POINT: f64 = 0.01;

/// What came of a rule, over many studies.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Studies.
    pub studies: u64,
    /// In which what was called best is within a point of the truly best.
    pub best_within_a_point: u64,
    /// Truly non-dominated candidates.
    pub non_dominated: u64,
    /// Of these, those that are not on the front.
    pub lost: u64,
    /// Of these, those for which nothing on the front that is as fast and small comes within a point of their quality.
    pub lost_by_a_point: u64,
    /// Members of all fronts.
    pub on_front: u64,
    /// Summed distance of what was called best to the truly best, in points.
    pub distance: f64,
}

impl Tally {
    /// Share of studies in which what was called best is within a point of the truly best.
    pub fn best(&self) -> f64 {
        self.best_within_a_point as f64 / self.studies as f64
    }

    /// Share of the truly non-dominated that is lost.
    pub fn lost(&self) -> f64 {
        self.lost as f64 / self.non_dominated as f64
    }

    /// The same, where nothing as good to a point stands for it.
    pub fn lost_by_a_point(&self) -> f64 {
        self.lost_by_a_point as f64 / self.non_dominated as f64
    }
}

/// A study with its true qualities.
pub struct Study {
    /// The trials as the store would give them, verdicts apart.
    pub trials: Vec<TrialRecord>,
    /// Verdicts of the candidates and of the uncompressed model.
    pub known: Known,
    /// True latency, memory and pass rate of each trial.
    pub truth: Vec<[f64; 3]>,
}

struct Random(ChaCha8Rng);

impl Random {
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// The objectives of a study.
pub fn objectives() -> Vec<Objective> {
    [
        ("request_latency_p50_ms", Direction::Min, true),
        ("peak_memory_bytes", Direction::Min, true),
        ("pass_at_1", Direction::Max, false),
    ]
    .map(|(metric, direction, log)| Objective {
        metric: metric.into(),
        direction,
        log,
        bound: None,
        share: None,
    })
    .to_vec()
}

/// The normal quantile by bisection of the distribution function.
fn quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if cumulative(middle) < p { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The normal distribution function by Simpson's rule.
fn cumulative(x: f64) -> f64 {
    let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
    let h = x / 64.0;
    let sum: f64 = (0..=64)
        .map(|i| {
            let weight = if i == 0 || i == 64 {
                1.0
            } else if i % 2 == 1 {
                4.0
            } else {
                2.0
            };
            weight * density(h * f64::from(i))
        })
        .sum();
    0.5 + sum * h / 3.0
}

/// A study of so many tasks. A task's difficulty meets all models alike; what a model makes of it besides is its own, and the more so the
/// further it is from the uncompressed model, so that verdicts are correlated and flip in both directions.
pub fn study(world: World, tasks: usize, seed: u64) -> Study {
    let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
    let reference = 0.25 + 0.35 * random.unit();
    let scale = 2.4 * (0.5 * random.normal()).exp();
    let difficulty: Vec<f64> = (0..tasks).map(|_| random.normal()).collect();
    let solve = |rate: f64, damage: f64, random: &mut Random| -> Verdicts {
        let own = (0.6 * damage).min(0.5);
        let limit = quantile(rate);
        difficulty
            .iter()
            .enumerate()
            .map(|(i, hard)| {
                let meets = hard * (1.0 - own).sqrt() + random.normal() * own.sqrt();
                (format!("task{i:03}"), meets < limit)
            })
            .collect()
    };
    let apart = solve(reference, 0.0, &mut random);
    let improved = match world {
        World::OneImproves => (random.unit() * CANDIDATES as f64) as usize,
        _ => CANDIDATES,
    };
    let (mut trials, mut truth, mut verdicts) = (Vec::new(), Vec::new(), BTreeMap::new());
    for i in 0..CANDIDATES {
        let number = i as u64 + 1;
        // From next to the uncompressed model (8 bits) to far away (2 bits, pruned).
        let depth = random.unit();
        let damage = 0.0005 * 800f64.powf(depth);
        let scatter = if world == World::Misleads { 1.5 } else { 0.5 };
        let measured = damage * (scatter * random.normal()).exp();
        let rate = if i == improved { reference + 6.0 * POINT } else { reference * (-scale * damage).exp() };
        let memory = 8e8 * (1.0 - 0.5 * depth) * (0.12 * random.normal()).exp();
        let latency = 5e4 * (1.0 - 0.25 * depth) * (0.2 * random.normal()).exp();
        let own = solve(rate, damage, &mut random);
        let seen = latency * (1.0 + 0.01 * random.normal());
        trials.push(trial(number, [seen, memory, measured], &own));
        truth.push([latency, memory, rate]);
        verdicts.insert(number, own);
    }
    Study { trials, known: Known { verdicts, apart }, truth }
}

fn trial(number: u64, [latency, memory, divergence]: [f64; 3], own: &Verdicts) -> TrialRecord {
    let row = |value: f64, low: f64, high: f64, samples: usize| Measurement {
        rung: Rung::Graded,
        unit: String::new(),
        value: Some(value),
        low: Some(low),
        high: Some(high),
        samples: samples as u64,
    };
    let passed = own.values().filter(|p| **p).count();
    let rate = passed as f64 / own.len() as f64;
    let (low, high) = wilson(passed as f64, own.len() as f64);
    let measurements = [
        ("request_latency_p50_ms", row(latency, latency * 0.98, latency * 1.02, 12)),
        ("peak_memory_bytes", row(memory, memory, memory, 1)),
        ("kl_mean", row(divergence, divergence * 0.9, divergence * 1.1, 2000)),
        ("pass_at_1", row(rate, low, high, own.len())),
    ];
    TrialRecord {
        id: TrialId(number.cast_signed()),
        study: StudyId(1),
        number,
        candidate: Candidate::default().with("n", Value::Int(number.cast_signed())),
        hash: String::new(),
        origin: Origin::sampler("autotune"),
        state: TrialState::Complete,
        rung: Some(Rung::Graded),
        failure: None,
        artifact: None,
        unfinished_at_ask: Vec::new(),
        attempts: 1,
        worker: None,
        created: Timestamp::UNIX_EPOCH,
        started: None,
        ended: None,
        rungs: Vec::new(),
        measurements: measurements.into_iter().map(|(name, m)| (name.to_owned(), m)).collect(),
        repeats: 0,
    }
}

fn wilson(passed: f64, n: f64) -> (f64, f64) {
    let (z, p) = (1.96f64, passed / n);
    let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    (middle - half, middle + half)
}

/// A front and what is called best on it.
struct Answer {
    front: Vec<u64>,
    best: Option<u64>,
}

/// The rule as it is.
fn estimated(study: &Study) -> Answer {
    let (mut trials, objectives) = (study.trials.clone(), objectives());
    let estimates = write_estimates(&mut trials, &objectives, &study.known);
    let judged = Judged::new(&objectives, estimates.as_ref(), &[]);
    let paired = |a: u64, b: u64| {
        let verdicts = &study.known.verdicts;
        autotune::report::Paired::of_verdicts(verdicts.get(&a)?, verdicts.get(&b)?)
    };
    let r = recommend(&trials, &objectives, &judged, u64::MAX, &paired);
    let best = r.picks.iter().find(|p| p.titles.contains(&Title::BestQuality)).map(|p| p.number);
    Answer { front: r.front, best }
}

/// The rule as it was until November 2026: the pass rate as it was measured; a front of what nothing dominates by value, surely in one
/// objective; of those within one standard error of the highest score the least diverged.
fn by_pass_rate(study: &Study) -> Answer {
    let interval = |t: &TrialRecord, metric: &str| {
        let m = &t.measurements[metric];
        let value = m.value.unwrap_or(f64::NAN);
        match metric {
            "pass_at_1" => (-value, -m.high.unwrap_or(value), -m.low.unwrap_or(value)),
            "peak_memory_bytes" => (value, value * 0.9975, value * 1.0025),
            _ => (value, m.low.unwrap_or(value), m.high.unwrap_or(value)),
        }
    };
    let rows: Vec<Vec<(f64, f64, f64)>> =
        study.trials.iter().map(|t| objectives().iter().map(|o| interval(t, &o.metric)).collect()).collect();
    let dominates = |a: usize, b: usize| {
        let pairs = || rows[a].iter().zip(&rows[b]);
        pairs().all(|(x, y)| x.0 <= y.0) && pairs().any(|(x, y)| x.2 < y.1)
    };
    let front: Vec<usize> =
        (0..rows.len()).filter(|&i| !(0..rows.len()).any(|j| j != i && dominates(j, i))).collect();
    let pass = |i: usize| -rows[i][2].0;
    let highest = front.iter().copied().max_by(|&a, &b| pass(a).total_cmp(&pass(b)));
    let best = highest.and_then(|h| {
        let error = (rows[h][2].2 - rows[h][2].1) / 3.92;
        let divergence = |i: &usize| study.trials[*i].value("kl_mean").unwrap_or(f64::INFINITY);
        front
            .iter()
            .copied()
            .filter(|&i| pass(i) >= pass(h) - error)
            .min_by(|a, b| divergence(a).total_cmp(&divergence(b)))
    });
    let number = |i: usize| study.trials[i].number;
    Answer { front: front.into_iter().map(number).collect(), best: best.map(number) }
}

fn add(tally: &mut Tally, study: &Study, answer: &Answer) {
    let truth = &study.truth;
    let place = |number: u64| number as usize - 1;
    let most = truth.iter().map(|t| t[2]).fold(0.0, f64::max);
    tally.studies += 1;
    let distance = answer.best.map_or(most, |n| most - truth[place(n)][2]);
    tally.distance += 100.0 * distance;
    tally.best_within_a_point += u64::from(distance <= POINT);
    tally.on_front += answer.front.len() as u64;
    let on_front = |i: usize| answer.front.contains(&(i as u64 + 1));
    for (i, t) in truth.iter().enumerate() {
        let dominated = truth.iter().any(|o| {
            o[0] <= t[0] && o[1] <= t[1] && o[2] >= t[2] && (o[0] < t[0] || o[1] < t[1] || o[2] > t[2])
        });
        if dominated {
            continue;
        }
        tally.non_dominated += 1;
        if on_front(i) {
            continue;
        }
        tally.lost += 1;
        let stands_for = |(j, o): (usize, &[f64; 3])| {
            on_front(j) && o[0] <= t[0] * 1.02 && o[1] <= t[1] * 1.005 && o[2] >= t[2] - POINT
        };
        tally.lost_by_a_point += u64::from(!truth.iter().enumerate().any(stands_for));
    }
}

/// Both rules on the same studies: the one that goes by the measured pass rate, and the one that goes by its estimate.
pub fn simulate(world: World, tasks: usize, studies: u64, first_seed: u64) -> [Tally; 2] {
    let mut tallies = [Tally::default(); 2];
    for seed in first_seed..first_seed + studies {
        let study = study(world, tasks, seed);
        add(&mut tallies[0], &study, &by_pass_rate(&study));
        add(&mut tallies[1], &study, &estimated(&study));
    }
    tallies
}
