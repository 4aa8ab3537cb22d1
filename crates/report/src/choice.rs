//! Assignment of the titles, by differences that can be distinguished. Where nothing separates two trials in quality, less memory is preferred, then
//! less latency, then less divergence; and a preset that is as good and smaller is preferred to what was found.

use super::front::cost;
use super::gain::{Comparison, FINE, LATENCY, Paired, Verdict, compare, part};
use super::judged::Judged;
use super::metric::{Family, Metric, PEAK, Reading};
use super::recommend::{Scale, Title, family};
use crate::metric::OfTrial as _;
use autotune_core::metric::names;
use autotune_store::{Direction, Objective, TrialRecord};
use autotune_worker::recheck;
use autotune_worker::recheck::Standing;

/// Differences of an estimated pass rate under a point are of no practical use, however sure.
const POINT: f64 = 0.01;
/// The probability from which a difference of that size separates two trials.
const SEPARATED: f64 = 0.8;
/// The probability, by the estimate, that a gain over a less diverged trial must have in addition to the paired test.
const GAINED: f64 = 0.9;
/// Trials that cannot be distinguished from the best in time or memory share its title only within this factor.
const NEAR: f64 = 1.1;
/// Peaks within this share of one another are called the same.
const SAME_PEAK: f64 = 0.005;

/// What titles are given by.
pub(super) struct Choice<'c> {
    /// The objectives as they were declared.
    pub(super) objectives: &'c [Objective],
    /// What trials are judged by.
    pub(super) judged: &'c Judged<'c>,
    /// The paired verdicts of two trials.
    pub(super) paired: &'c dyn Fn(u64, u64) -> Option<Paired>,
}

impl Choice<'_> {
    /// A trial compared with a preset, the latency by the interleaved rounds at the study's end where both took part.
    pub(super) fn beside(&self, trial: &TrialRecord, preset: &TrialRecord, fits: bool) -> Comparison {
        let paired = (self.paired)(trial.number, preset.number);
        let mut comparison = compare(trial, preset, fits, self.objectives, paired);
        if let Some(turns) = recheck::compare(self.judged.rechecks, trial.number, preset.number) {
            comparison.hear_turns(&turns);
        }
        comparison
    }

    /// The holder of each title that there is: balance and quality from the part of the front that is worth recommending, the least of a
    /// cost from the part that loses a little more quality for it.
    pub(super) fn winners<'a>(
        &self,
        region: &[&'a TrialRecord],
        tolerant: &[&'a TrialRecord],
        presets: &[&'a TrialRecord],
    ) -> Vec<(Title, &'a TrialRecord)> {
        let pools = Pools::new(self, region, presets);
        let cheap = Pools::new(self, tolerant, presets).useful;
        let first = |wanted: Family| self.judged.objectives.iter().find(|o| family(o) == wanted);
        let memory = first(Family::Memory).map_or((PEAK, Direction::Min), |o| (&o.metric, o.direction));
        [
            (Title::Knee, self.balanced(&pools.useful)),
            (Title::Fastest, first(Family::Speed).and_then(|o| self.least(&cheap, &o.metric, o.direction))),
            (
                Title::LeastEnergy,
                first(Family::Energy).and_then(|o| self.least(&cheap, &o.metric, o.direction)),
            ),
            (
                Title::BestQuality,
                first(Family::Quality).and_then(|o| self.best_quality(o, region, &pools.undominated)),
            ),
            (Title::Smallest, self.least(&cheap, memory.0, memory.1)),
        ]
        .into_iter()
        .filter_map(|(title, trial)| Some((title, trial?)))
        .collect()
    }

    /// Nearest to the best of everything; then what is as fast, as good, and smaller.
    fn balanced<'a>(&self, pool: &[&'a TrialRecord]) -> Option<&'a TrialRecord> {
        let scale = Scale::of(pool.iter().copied(), &self.judged.objectives);
        let best = self.best_estimate(pool);
        let estimated = self.judged.estimated();
        let distance = |trial: &TrialRecord| -> f64 {
            let as_good = best.is_some_and(|best| !self.separated(best, trial));
            let ideal = |(i, x): (usize, &f64)| if Some(i) == estimated && as_good { 0.0 } else { x * x };
            scale.position(trial).iter().enumerate().map(ideal).sum()
        };
        let nearest = pool
            .iter()
            .copied()
            .min_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.number.cmp(&b.number)))?;
        let speed = self.judged.objectives.iter().find(|o| family(o) == Family::Speed);
        let as_useful: Vec<&TrialRecord> = pool
            .iter()
            .copied()
            .filter(|t| speed.is_none_or(|o| self.as_low(t, nearest, &o.metric, o.direction)))
            .filter(|t| !self.separated(nearest, t))
            .collect();
        self.in_order(as_useful)
    }

    /// The least in one metric; among those that cannot be distinguished from it, the best by quality where that separates them.
    fn least<'a>(
        &self,
        pool: &[&'a TrialRecord],
        metric: &str,
        direction: Direction,
    ) -> Option<&'a TrialRecord> {
        let value =
            |t: &TrialRecord| Reading::of(t, metric).map_or(f64::INFINITY, |r| cost(direction, r.value));
        let least = pool
            .iter()
            .copied()
            .min_by(|a, b| value(a).total_cmp(&value(b)).then(a.number.cmp(&b.number)))?;
        let mut near: Vec<&TrialRecord> =
            pool.iter().copied().filter(|t| self.as_low(t, least, metric, direction)).collect();
        if let Some(best) = self.best_estimate(&near) {
            near.retain(|t| !self.separated(best, t));
        }
        self.in_order(near)
    }

    /// Whether a trial cannot be distinguished from the least in a metric.
    fn as_low(&self, trial: &TrialRecord, least: &TrialRecord, metric: &str, direction: Direction) -> bool {
        let (Some(ours), Some(theirs)) = (Reading::of(trial, metric), Reading::of(least, metric)) else {
            return trial.number == least.number;
        };
        if trial.number == least.number || ours.value == theirs.value {
            return true;
        }
        let turns = (metric == LATENCY)
            .then(|| recheck::compare(self.judged.rechecks, trial.number, least.number))
            .flatten();
        match turns.map(|t| t.standing) {
            Some(Standing::Faster | Standing::Indistinguishable) => return true,
            Some(Standing::Slower) => return false,
            Some(Standing::TooFew) | None => {}
        }
        let (a, b) = (cost(direction, ours.value), cost(direction, theirs.value));
        let near = a <= b + (NEAR - 1.0) * b.abs();
        near && part(&Metric::of(metric), direction, ours, theirs, None).verdict != Verdict::Worse
    }

    /// Less memory, then less latency, then less divergence, as far as each can be distinguished.
    fn in_order<'a>(&self, mut trials: Vec<&'a TrialRecord>) -> Option<&'a TrialRecord> {
        let value = |t: &TrialRecord, metric| Reading::of(t, metric).map_or(f64::INFINITY, |r| r.value);
        let least = |trials: &[&TrialRecord], metric| {
            trials.iter().map(|t| value(t, metric)).fold(f64::INFINITY, f64::min)
        };
        let smallest = least(&trials, PEAK);
        trials.retain(|t| value(t, PEAK) <= smallest * (1.0 + SAME_PEAK) || !smallest.is_finite());
        let fastest = trials
            .iter()
            .copied()
            .min_by(|a, b| value(a, LATENCY).total_cmp(&value(b, LATENCY)).then(a.number.cmp(&b.number)))?;
        trials.retain(|t| self.as_low(t, fastest, LATENCY, Direction::Min));
        trials.into_iter().min_by(|a, b| {
            value(a, FINE)
                .total_cmp(&value(b, FINE))
                .then(value(a, LATENCY).total_cmp(&value(b, LATENCY)))
                .then(value(a, PEAK).total_cmp(&value(b, PEAK)))
                .then(a.number.cmp(&b.number))
        })
    }

    /// The trial of the best quality as it is judged; none where quality is no objective.
    fn best_estimate<'a>(&self, pool: &[&'a TrialRecord]) -> Option<&'a TrialRecord> {
        let o = self.judged.objectives.iter().find(|o| family(o) == Family::Quality)?;
        let costs =
            |t: &TrialRecord| Reading::of(t, &o.metric).map_or(f64::INFINITY, |r| cost(o.direction, r.value));
        pool.iter().copied().min_by(|a, b| costs(a).total_cmp(&costs(b)).then(a.number.cmp(&b.number)))
    }

    /// Whether `better` is better in quality than `worse` by more than chance and by more than nothing.
    fn separated(&self, better: &TrialRecord, worse: &TrialRecord) -> bool {
        if let Some(estimates) = self.judged.estimates {
            let loss = |t: &TrialRecord| estimates.get(t.number).map(|e| e.loss);
            let (Some(a), Some(b)) = (loss(better), loss(worse)) else { return false };
            let sure = estimates.better(better.number, worse.number).is_some_and(|p| p >= SEPARATED);
            return sure && b - a >= POINT;
        }
        self.gains(better, worse)
    }

    /// Whether a trial's measured quality is significantly higher than another's: by the paired test where both were graded on the same
    /// tasks, else where the intervals lie apart.
    fn gains(&self, trial: &TrialRecord, other: &TrialRecord) -> bool {
        let Some(o) = self.objectives.iter().find(|o| family(o) == Family::Quality) else { return false };
        let (Some(ours), Some(theirs)) = (Reading::of(trial, &o.metric), Reading::of(other, &o.metric))
        else {
            return false;
        };
        let paired = match o.metric.as_str() {
            names::PASS_AT_1 => (self.paired)(trial.number, other.number).filter(|p| p.both > 0),
            _ => None,
        };
        part(&Metric::of(&o.metric), o.direction, ours, theirs, paired).verdict == Verdict::Better
    }

    /// The least diverged from the reference; one that diverged more only where its quality is significantly higher than that of everything
    /// that diverged less, also by the estimate. Scores of generated code are coarse, and the highest of many is mostly the luckiest.
    fn best_quality<'a>(
        &self,
        objective: &Objective,
        region: &[&'a TrialRecord],
        pool: &[&'a TrialRecord],
    ) -> Option<&'a TrialRecord> {
        if pool.iter().any(|t| Reading::of(t, FINE).is_none()) {
            return self.luckiest_class(objective, pool);
        }
        let diverged_more = |t: &TrialRecord, other: &TrialRecord| {
            let (Some(a), Some(b)) = (Reading::of(t, FINE), Reading::of(other, FINE)) else { return false };
            a.value > b.value && !a.overlaps(&b)
        };
        let surely = |t: &TrialRecord, other: &TrialRecord| {
            let estimate = self.judged.estimates.and_then(|e| e.better(t.number, other.number));
            self.gains(t, other) && estimate.is_none_or(|p| p >= GAINED)
        };
        let mut worthy: Vec<&TrialRecord> = pool
            .iter()
            .copied()
            .filter(|t| region.iter().all(|other| !diverged_more(t, other) || surely(t, other)))
            .collect();
        if worthy.is_empty() {
            worthy = pool.to_vec();
            let least =
                worthy.iter().filter_map(|t| Some(Reading::of(t, FINE)?.value)).fold(f64::INFINITY, f64::min);
            worthy.retain(|t| Reading::of(t, FINE).is_none_or(|r| r.value <= least));
        }
        if let Some(best) = self.best_estimate(&worthy) {
            let kept: Vec<&TrialRecord> =
                worthy.iter().copied().filter(|t| !self.separated(best, t)).collect();
            // Significant gains alone are kept; among the rest the least diverged.
            let gained: Vec<&TrialRecord> = kept
                .iter()
                .copied()
                .filter(|t| kept.iter().all(|other| t.number == other.number || surely(t, other)))
                .collect();
            worthy = if gained.is_empty() { kept } else { gained };
        }
        self.in_order(worthy)
    }

    /// Without divergences: all trials within one standard error of the highest score count as equal (the one-standard-error rule of Breiman
    /// et al., 1984), and a finer measure of quality that all of them have decides, if there is one.
    fn luckiest_class<'a>(&self, objective: &Objective, pool: &[&'a TrialRecord]) -> Option<&'a TrialRecord> {
        const FINER: [&str; 3] = [names::CANONICAL_NLL, names::TOP1_AGREEMENT, names::CODEBLEU];
        /// The width of a 95 % interval in standard errors.
        const WIDTH: f64 = 2.0 * 1.96;
        let costs = |t: &TrialRecord| {
            Reading::of(t, &objective.metric).map_or(f64::INFINITY, |r| cost(objective.direction, r.value))
        };
        let best = pool.iter().min_by(|a, b| costs(a).total_cmp(&costs(b)).then(a.number.cmp(&b.number)))?;
        let error = Reading::of(best, &objective.metric)
            .and_then(|r| r.interval())
            .map_or(0.0, |(low, high)| (high - low) / WIDTH);
        let equal: Vec<&TrialRecord> =
            pool.iter().copied().filter(|t| costs(t) <= costs(best) + error).collect();
        let finite = |t: &&TrialRecord, metric| Reading::of(t, metric).is_some_and(|r| r.value.is_finite());
        let finer = FINER
            .into_iter()
            .find(|metric| *metric != objective.metric && equal.iter().all(|t| finite(t, metric)));
        match finer {
            Some(metric) => self.least(&equal, metric, Metric::of(metric).direction),
            None => self.least(&equal, &objective.metric, objective.direction),
        }
    }
}

/// What titles are chosen from.
struct Pools<'a> {
    /// What no preset dominates in its own comparison.
    undominated: Vec<&'a TrialRecord>,
    /// Of these, what no preset is as good as and cheaper than.
    useful: Vec<&'a TrialRecord>,
}

impl<'a> Pools<'a> {
    fn new(choice: &Choice<'_>, region: &[&'a TrialRecord], presets: &[&'a TrialRecord]) -> Self {
        let mut undominated = Vec::new();
        let mut useful = Vec::new();
        let mut least_dominated: Option<(usize, &TrialRecord)> = None;
        for &trial in region {
            let (mut dominating, mut cheaper) = (0, false);
            for &preset in presets.iter().filter(|p| p.number != trial.number) {
                let beside = choice.beside(trial, preset, true);
                dominating += usize::from(beside.is_dominated());
                let costs =
                    || beside.parts.iter().filter(|p| Metric::of(&p.metric).family != Family::Quality);
                cheaper |= costs().any(|p| p.verdict == Verdict::Worse)
                    && costs().all(|p| p.verdict != Verdict::Better)
                    && !choice.separated(trial, preset);
            }
            if dominating == 0 {
                undominated.push(trial);
                if !cheaper {
                    useful.push(trial);
                }
            }
            if least_dominated.is_none_or(|(n, t)| (dominating, trial.number) < (n, t.number)) {
                least_dominated = Some((dominating, trial));
            }
        }
        // Only where presets dominate one another in a circle, since "can be distinguished" is not an order.
        if undominated.is_empty() {
            undominated.extend(least_dominated.map(|(_, t)| t));
        }
        if useful.is_empty() {
            useful.clone_from(&undominated);
        }
        Self { undominated, useful }
    }
}
