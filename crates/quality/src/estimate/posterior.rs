//! The posterior of all losses of a study: the relation is learned from all candidates together, then each candidate is estimated under it.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};
use serde::Serialize;

use super::likelihood::{Observed, Table, log_sum};
use super::relation::{self, Relation};
use super::{Evidence, Reference};

/// Joint draws that are kept.
const DRAWS: usize = 512;
/// The relation is learned from so many different candidates at most, evenly from all.
const MOST_LEARNED: usize = 192;
/// Nodes of the reference's pass rate where it is not graded.
const RATES: usize = 25;
/// Nodes of the posterior of the reference's pass rate where it is.
const RATE_GRID: usize = 400;

/// What is estimated of one candidate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Posterior mean of the pass rate, in [0, 1].
    pub value: f64,
    /// Lower end of its 95 % interval, over tasks like those graded.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Posterior mean of the loss against the uncompressed model, in [-1, 1].
    pub loss: f64,
    /// Lower end of its 95 % interval. The tasks' own difficulty, which all candidates share, is not in it.
    pub loss_low: f64,
    /// Upper end.
    pub loss_high: f64,
}

/// The estimates of a study's candidates, by number.
#[derive(Clone, Debug, Default)]
pub struct Estimates {
    /// Different evidence, each once: configurations that share an artifact are one candidate.
    known: Vec<Known>,
    places: BTreeMap<u64, usize>,
    /// Posterior mean of the uncompressed model's pass rate.
    reference_rate: f64,
    /// Whether the uncompressed model was graded.
    reference_graded: bool,
}

#[derive(Clone, Debug)]
struct Known {
    estimate: Estimate,
    draws: Vec<f32>,
}

/// Equal keys are equal evidence; their order is the order in which candidates are gone through.
type Key = [u64; 7];

fn key(evidence: &Evidence) -> Key {
    let damage = evidence.damage.map_or(u64::MAX, f64::to_bits);
    let r = u64::from(evidence.is_reference);
    match evidence.observed {
        Observed::Paired(Table { both, lost, gained, neither }) => {
            [r, damage, 0, both, lost, gained, neither]
        }
        Observed::Counts { passed, tasks } => [r, damage, 1, passed, tasks, 0, 0],
        Observed::Score { value, error } => [r, damage, 2, value.to_bits(), error.to_bits(), 0, 0],
    }
}

/// One point of the grid that is integrated over: a pass rate of the reference and a relation.
#[derive(Clone, Copy)]
struct Node {
    rate: usize,
    relation: usize,
    log_weight: f64,
}

/// Likelihoods of one candidate over the grids of losses, where the reference passes at one rate; relative to their largest. Those of
/// exceptions are multiplied by their prior.
struct Likelihoods {
    follows: Vec<f64>,
    exception: Vec<f64>,
    /// Logarithm of the largest.
    most: f64,
}

impl Likelihoods {
    fn new(evidence: &Evidence, rate: f64, nodes: &[f64]) -> Self {
        let losses: Vec<f64> = nodes.iter().map(|&n| relation::loss(n, rate)).collect();
        let follows = evidence.observed.log_likelihoods(&losses, rate);
        let exception = evidence.observed.log_likelihoods(&relation::exceptions(rate), rate);
        let weights = relation::exception_prior(evidence.damage, rate);
        let most = follows.iter().chain(&exception).copied().fold(f64::NEG_INFINITY, f64::max);
        let follows = follows.into_iter().map(|l| (l - most).exp()).collect();
        let exception = exception.into_iter().zip(weights).map(|(l, w)| (l - most).exp() * w).collect();
        Self { follows, exception, most }
    }
}

impl Estimates {
    /// Estimates all candidates of a study together. Without a graded `reference` its pass rate is estimated along with them, mostly from
    /// those that are nearest to it.
    #[must_use]
    pub fn of(candidates: &[(u64, Evidence)], reference: Option<Reference>) -> Self {
        let mut different: BTreeMap<Key, Evidence> = BTreeMap::new();
        for (_, evidence) in candidates {
            different.entry(key(evidence)).or_insert(*evidence);
        }
        let order: BTreeMap<Key, usize> = different.keys().enumerate().map(|(i, k)| (*k, i)).collect();
        let places = candidates.iter().filter_map(|(n, e)| Some((*n, *order.get(&key(e))?))).collect();
        let different: Vec<(Key, Evidence)> = different.into_iter().collect();
        let reference = reference.filter(|r| r.tasks > 0);
        let rates = match reference {
            Some(r) => vec![(r.passed.min(r.tasks) as f64 + 0.5) / (r.tasks as f64 + 1.0)],
            None => rates(different.iter().map(|(_, e)| &e.observed)),
        };
        let model = Model { rates, relations: relation::relations(), nodes: relation::nodes() };
        let nodes = model.learn(&different);
        let chosen = systematic(&nodes);
        let rate_draws = match reference {
            Some(r) => rate_draws(r),
            None => chosen.iter().map(|&i| model.rates[nodes[i].rate]).collect(),
        };
        let reference_rate = rate_draws.iter().sum::<f64>() / DRAWS as f64;
        let known =
            different.iter().map(|(key, e)| model.estimate(key, e, &nodes, &chosen, &rate_draws)).collect();
        Self { known, places, reference_rate, reference_graded: reference.is_some() }
    }

    /// Whether there is nothing to estimate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What is estimated of a candidate.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Estimate> {
        Some(&self.known(number)?.estimate)
    }

    /// Posterior mean of the uncompressed model's pass rate.
    #[must_use]
    pub fn reference_rate(&self) -> f64 {
        self.reference_rate
    }

    /// Whether the uncompressed model was graded; otherwise its rate is estimated from the candidates.
    #[must_use]
    pub fn reference_graded(&self) -> bool {
        self.reference_graded
    }

    /// The probability that `a` loses no more than `b`; one for candidates with equal evidence.
    #[must_use]
    pub fn at_least_as_good(&self, a: u64, b: u64) -> Option<f64> {
        let (a, b) = (self.known(a)?, self.known(b)?);
        Some(a.draws.iter().zip(&b.draws).filter(|(x, y)| x <= y).count() as f64 / DRAWS as f64)
    }

    /// The probability that `a` loses less than `b`; zero for candidates with equal evidence.
    #[must_use]
    pub fn better(&self, a: u64, b: u64) -> Option<f64> {
        Some(1.0 - self.at_least_as_good(b, a)?)
    }

    fn known(&self, number: u64) -> Option<&Known> {
        self.known.get(*self.places.get(&number)?)
    }
}

/// The grids.
struct Model {
    rates: Vec<f64>,
    relations: Vec<Relation>,
    nodes: Vec<f64>,
}

impl Model {
    /// The posterior over relations and rates.
    fn learn(&self, different: &[(Key, Evidence)]) -> Vec<Node> {
        let graded: Vec<&Evidence> = different.iter().map(|(_, e)| e).collect();
        let every = graded.len().div_ceil(MOST_LEARNED).max(1);
        let mut nodes: Vec<Node> = (0..self.rates.len())
            .flat_map(|rate| {
                self.relations.iter().enumerate().map(move |(relation, r)| Node {
                    rate,
                    relation,
                    log_weight: r.log_prior,
                })
            })
            .collect();
        for evidence in graded.into_iter().step_by(every) {
            if evidence.is_reference {
                for (rate, nodes) in self.rates.iter().zip(nodes.chunks_mut(self.relations.len())) {
                    let log: f64 = evidence.observed.log_likelihoods(&[0.0], *rate).iter().sum();
                    nodes.iter_mut().for_each(|node| node.log_weight += log);
                }
                continue;
            }
            let priors = self.priors(evidence);
            for (rate, nodes) in self.rates.iter().zip(nodes.chunks_mut(self.relations.len())) {
                let likelihoods = Likelihoods::new(evidence, *rate, &self.nodes);
                let exception: f64 = likelihoods.exception.iter().sum();
                let mut follows = 0.0;
                for (i, (node, relation)) in nodes.iter_mut().zip(&self.relations).enumerate() {
                    // Relations that differ in the share of exceptions alone stand side by side.
                    if i == 0 || !same_prior(relation, &self.relations[i - 1]) {
                        follows = dot(&priors[i], &likelihoods.follows);
                    }
                    let share = relation.exceptions;
                    let both = (1.0 - share) * follows + share * exception;
                    node.log_weight += likelihoods.most + both.max(f64::MIN_POSITIVE).ln();
                }
            }
        }
        let all = log_sum(nodes.iter().map(|n| n.log_weight));
        for node in &mut nodes {
            node.log_weight -= all;
        }
        nodes
    }

    /// The prior of a candidate under each relation.
    fn priors(&self, evidence: &Evidence) -> Vec<Vec<f64>> {
        let mut priors: Vec<Vec<f64>> = Vec::with_capacity(self.relations.len());
        for (i, relation) in self.relations.iter().enumerate() {
            let prior = match i.checked_sub(1).filter(|&j| same_prior(relation, &self.relations[j])) {
                Some(before) => priors[before].clone(),
                None => relation::prior(evidence.damage, relation),
            };
            priors.push(prior);
        }
        priors
    }

    fn estimate(
        &self,
        key: &Key,
        evidence: &Evidence,
        nodes: &[Node],
        chosen: &[usize],
        rate_draws: &[f64],
    ) -> Known {
        let reference = rate_draws.iter().sum::<f64>() / DRAWS as f64;
        if evidence.is_reference {
            let (low, high) = interval(rate_draws.to_vec());
            let estimate = Estimate { value: reference, low, high, loss: 0.0, loss_low: 0.0, loss_high: 0.0 };
            return Known { estimate, draws: vec![0.0; DRAWS] };
        }
        let mut random = ChaCha8Rng::from_seed(seed(key));
        let mut unit = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut draws: Vec<f64> = Vec::with_capacity(DRAWS);
        let mut mean = 0.0;
        let mut at: Option<(usize, Likelihoods)> = None;
        let mut rest = chosen;
        while let Some(&first) = rest.first() {
            let count = rest.iter().take_while(|i| **i == first).count();
            rest = &rest[count..];
            let (node, rate) = (nodes[first], self.rates[nodes[first].rate]);
            if at.as_ref().is_none_or(|(r, _)| *r != node.rate) {
                at = Some((node.rate, Likelihoods::new(evidence, rate, &self.nodes)));
            }
            let Some((_, likelihoods)) = &at else { continue };
            let relation = &self.relations[node.relation];
            let prior = relation::prior(evidence.damage, relation);
            let follows =
                prior.iter().zip(&likelihoods.follows).map(|(p, l)| (1.0 - relation.exceptions) * p * l);
            let exception = likelihoods.exception.iter().map(|l| relation.exceptions * l);
            let weights: Vec<f64> = follows.chain(exception).collect();
            let all: f64 = weights.iter().sum();
            let value = |i: usize, shift: f64| match i.checked_sub(relation::NODES) {
                None => relation::loss(self.nodes[i] * (shift * relation::step()).exp(), rate),
                Some(i) => relation::exception_at(i as f64 + shift, rate),
            };
            let expected: f64 = weights.iter().enumerate().map(|(i, w)| w * value(i, 0.0)).sum::<f64>() / all;
            mean += expected * count as f64 / DRAWS as f64;
            let mut picks: Vec<f64> = (0..count).map(|_| unit() * all).collect();
            picks.sort_by(f64::total_cmp);
            let first_draw = draws.len();
            let (mut i, mut sum) = (0, weights[0]);
            for pick in picks {
                while sum < pick && i + 1 < weights.len() {
                    i += 1;
                    sum += weights[i];
                }
                draws.push(value(i, unit() - 0.5).clamp(rate - 1.0, rate));
            }
            // Sorted picks would tie candidates to one another: the order is the candidate's own.
            for i in (first_draw + 1..draws.len()).rev() {
                let other = first_draw + (unit() * (i + 1 - first_draw) as f64) as usize;
                draws.swap(i, other.min(i));
            }
        }
        let rates: Vec<f64> = draws.iter().zip(rate_draws).map(|(d, r)| (r - d).clamp(0.0, 1.0)).collect();
        let (low, high) = interval(rates);
        let (loss_low, loss_high) = interval(draws.clone());
        let value = (reference - mean).clamp(0.0, 1.0);
        let estimate = Estimate {
            value,
            low: low.min(value),
            high: high.max(value),
            loss: mean,
            loss_low: loss_low.min(mean),
            loss_high: loss_high.max(mean),
        };
        Known { estimate, draws: draws.into_iter().map(|d| d as f32).collect() }
    }
}

fn same_prior(a: &Relation, b: &Relation) -> bool {
    a.scale.to_bits() == b.scale.to_bits() && a.scatter.to_bits() == b.scatter.to_bits()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// [`DRAWS`] nodes in proportion to their weights (systematic resampling: Kitagawa 1996); in order.
fn systematic(nodes: &[Node]) -> Vec<usize> {
    let mut chosen = Vec::with_capacity(DRAWS);
    let (mut i, mut sum) = (0, nodes.first().map_or(1.0, |n| n.log_weight.exp()));
    for draw in 0..DRAWS {
        let at = (draw as f64 + 0.5) / DRAWS as f64;
        while sum < at && i + 1 < nodes.len() {
            i += 1;
            sum += nodes[i].log_weight.exp();
        }
        chosen.push(i);
    }
    chosen
}

/// Rates that the uncompressed model may have, by what the candidates passed: they are its likes, or worse.
fn rates<'a>(observed: impl Iterator<Item = &'a Observed>) -> Vec<f64> {
    let (mut low, mut high) = (1.0f64, 0.0f64);
    for o in observed {
        let (rate, error) = match *o {
            Observed::Paired(t) => rate_and_error(t.both + t.gained, t.tasks()),
            Observed::Counts { passed, tasks } => rate_and_error(passed, tasks),
            Observed::Score { value, error } => (value, error),
        };
        low = low.min(rate - 4.0 * error);
        high = high.max(rate + 4.0 * error);
    }
    let (low, high) =
        if low < high { (low.clamp(0.005, 0.99), high.clamp(0.01, 0.995)) } else { (0.02, 0.98) };
    (0..RATES).map(|i| low + (high - low) * i as f64 / (RATES - 1) as f64).collect()
}

fn rate_and_error(passed: u64, tasks: u64) -> (f64, f64) {
    let n = tasks as f64 + 2.0;
    let rate = (passed as f64 + 1.0) / n;
    (rate, (rate * (1.0 - rate) / n).sqrt())
}

/// Draws of the reference's rate: its posterior by Jeffreys' prior, quantile by quantile, in a fixed random order.
fn rate_draws(reference: Reference) -> Vec<f64> {
    let (a, b) =
        (reference.passed as f64 + 0.5, reference.tasks.saturating_sub(reference.passed) as f64 + 0.5);
    let mean = a / (a + b);
    let deviation = (mean * (1.0 - mean) / (a + b + 1.0)).sqrt();
    let (low, high) = ((mean - 7.0 * deviation).max(0.0), (mean + 7.0 * deviation).min(1.0));
    let width = (high - low) / RATE_GRID as f64;
    let grid: Vec<f64> = (0..RATE_GRID).map(|i| low + width * (i as f64 + 0.5)).collect();
    let logs: Vec<f64> = grid.iter().map(|p| (a - 1.0) * p.ln() + (b - 1.0) * (1.0 - p).ln()).collect();
    let all = log_sum(logs.iter().copied());
    let weights: Vec<f64> = logs.iter().map(|l| (l - all).exp()).collect();
    let (mut i, mut below) = (0, 0.0);
    let mut draws: Vec<f64> = (0..DRAWS)
        .map(|draw| {
            let at = (draw as f64 + 0.5) / DRAWS as f64;
            while below + weights[i] < at && i + 1 < RATE_GRID {
                below += weights[i];
                i += 1;
            }
            let within = if weights[i] > 0.0 { ((at - below) / weights[i]).clamp(0.0, 1.0) } else { 0.5 };
            grid[i] + width * (within - 0.5)
        })
        .collect();
    let mut random = ChaCha8Rng::from_seed([7; 32]);
    for i in (1..draws.len()).rev() {
        draws.swap(i, (random.next_u64() % (i as u64 + 1)) as usize);
    }
    draws
}

/// The middle 95 % of draws.
fn interval(mut draws: Vec<f64>) -> (f64, f64) {
    draws.sort_by(f64::total_cmp);
    let at = |share: f64| draws[((share * DRAWS as f64) as usize).min(draws.len() - 1)];
    (at(0.025), at(0.975))
}

/// A seed from evidence alone (FNV-1a over its words, in four lanes), so that equal evidence has equal draws wherever it stands.
fn seed(key: &Key) -> [u8; 32] {
    let mut seed = [0u8; 32];
    for (lane, bytes) in seed.chunks_exact_mut(8).enumerate() {
        let mut hash = 0xcbf2_9ce4_8422_2325u64 ^ (lane as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in key.iter().flat_map(|word| word.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        bytes.copy_from_slice(&hash.to_le_bytes());
    }
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paired(damage: f64, both: u64, lost: u64, gained: u64, tasks: u64) -> Evidence {
        let table = Table { both, lost, gained, neither: tasks - both - lost - gained };
        Evidence { observed: Observed::Paired(table), damage: Some(damage), is_reference: false }
    }

    /// The study of a model of 0.5 billion parameters on 40 tasks: the luckiest grade is the most damaged file's.
    fn lucky() -> (Vec<(u64, Evidence)>, Reference) {
        let all = vec![
            (1, paired(0.0101, 10, 1, 2, 40)),
            (2, paired(0.0005, 11, 0, 0, 40)),
            (4, paired(0.0419, 10, 1, 5, 40)),
            (5, paired(0.0010, 11, 0, 1, 40)),
        ];
        (all, Reference { passed: 11, tasks: 40 })
    }

    #[test]
    fn a_lucky_grade_is_not_taken_for_quality() {
        let (all, reference) = lucky();
        let e = Estimates::of(&all, Some(reference));
        let loss = |n| e.get(n).unwrap().loss;
        // A tenth of a point between the two that are next to the reference tells nothing.
        assert!(
            (loss(2) - loss(5)).abs() < 0.001 && loss(5) < loss(1),
            "{} {} {}",
            loss(2),
            loss(5),
            loss(1)
        );
        assert!(loss(4) > loss(1), "15 of 40 against 11 is luck: {:?}", e.get(4));
        assert!(e.better(2, 4).unwrap() > 0.7, "{:?}", e.better(2, 4));
        let q = e.get(2).unwrap();
        assert!((q.value - 0.28).abs() < 0.02 && q.low < 0.2 && q.high > 0.38, "{q:?}");
    }

    #[test]
    fn strong_evidence_of_an_improvement_is_believed() {
        let mut all = lucky().0;
        all.push((9, paired(0.02, 60, 4, 40, 164)));
        let e = Estimates::of(&all, Some(Reference { passed: 64, tasks: 164 }));
        assert!(e.get(9).unwrap().loss < -0.1, "{:?}", e.get(9));
        assert!(e.get(9).unwrap().loss_high < -0.05);
    }

    #[test]
    fn the_order_of_candidates_changes_nothing_and_equal_evidence_is_equal() {
        let (mut all, reference) = lucky();
        all.push((7, all[0].1));
        let forwards = Estimates::of(&all, Some(reference));
        all.reverse();
        let backwards = Estimates::of(&all, Some(reference));
        for (n, _) in &all {
            assert_eq!(forwards.get(*n), backwards.get(*n));
        }
        assert_eq!((forwards.at_least_as_good(1, 7), forwards.better(1, 7)), (Some(1.0), Some(0.0)));
    }

    #[test]
    fn without_a_graded_reference_its_rate_is_estimated_too() {
        let counts = |damage, passed| {
            let observed = Observed::Counts { passed, tasks: 50 };
            Evidence { observed, damage: Some(damage), is_reference: false }
        };
        // The demo model's recorded study (docs/src/project/benchmarks/study.md), whose reference passes 27 of 50.
        let all = [
            (1, counts(0.0688, 20)),
            (2, counts(0.0043, 27)),
            (3, counts(0.3403, 7)),
            (4, counts(0.0118, 27)),
            (5, counts(0.0480, 26)),
            (6, counts(0.2166, 19)),
            (7, counts(0.4436, 10)),
        ];
        let e = Estimates::of(&all, None);
        assert!(!e.reference_graded() && (e.reference_rate() - 0.54).abs() < 0.06, "{}", e.reference_rate());
        assert!(e.better(2, 3).unwrap() > 0.99 && e.get(3).unwrap().loss > 0.2);
        let drawn = |value| Evidence {
            observed: Observed::Score { value, error: 0.06 },
            damage: Some(0.01),
            is_reference: false,
        };
        let e = Estimates::of(&[(1, drawn(0.7)), (2, drawn(0.72))], None);
        assert!((e.get(1).unwrap().value - 0.71).abs() < 0.03, "{:?}", e.get(1));
    }

    #[test]
    fn the_reference_loses_nothing_and_missing_damage_is_allowed() {
        let (mut all, reference) = lucky();
        all.push((8, Evidence { is_reference: true, damage: Some(0.0), ..paired(0.0, 11, 0, 0, 40) }));
        all.push((10, Evidence { damage: None, ..paired(0.0, 6, 5, 0, 40) }));
        let e = Estimates::of(&all, Some(reference));
        assert_eq!(e.get(8).map(|e| e.loss), Some(0.0));
        let unknown = e.get(10).unwrap();
        assert!(unknown.loss > 0.03 && unknown.loss < 0.125, "{unknown:?}");
        assert!(Estimates::of(&[], None).is_empty());
        assert_eq!(e.get(99), None);
    }

    #[test]
    fn intervals_hold_the_value_and_stay_in_range() {
        for (lost, gained) in [(0, 0), (11, 0), (0, 29), (3, 3)] {
            for damage in [0.0, 1e-4, 0.3, 12.0] {
                let all = [(1, paired(damage, 11 - lost, lost, gained, 40))];
                let e = *Estimates::of(&all, Some(Reference { passed: 11, tasks: 40 })).get(1).unwrap();
                assert!(0.0 <= e.low && e.low <= e.value && e.value <= e.high && e.high <= 1.0, "{e:?}");
                assert!(e.loss_low <= e.loss && e.loss <= e.loss_high, "{e:?}");
            }
        }
    }
}
