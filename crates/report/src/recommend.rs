//! The answer: which few trials to look at, chosen by a pure function of stored rows.

use crate::metric::OfTrial as _;
use autotune_core::metric::names;
use serde::Serialize;

use super::choice::Choice;
use super::front::{cost, eligible, front_of};
use super::gain::{Comparison, Paired};
use super::judged::Judged;
use super::metric::{Family, Metric, PEAK, Reading, Unit};
use autotune_store::{Direction, Objective, TrialRecord, TrialState};
use autotune_study::estimates::{ESTIMATED, ESTIMATED_LOSS};

/// What a trial is recommended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Title {
    /// Nearest to the best of everything.
    Knee,
    /// Best in the first objective of speed.
    Fastest,
    /// Best in the first objective of energy.
    LeastEnergy,
    /// Least divergence from the reference, unless another trial's quality is significantly higher.
    BestQuality,
    /// Best in the first objective of memory.
    Smallest,
}

impl Title {
    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Knee => "balanced",
            Self::Fastest => "fastest",
            Self::LeastEnergy => "least energy",
            Self::BestQuality => "best quality",
            Self::Smallest => "smallest",
        }
    }
}

/// A recommended trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pick {
    /// What for; at least one.
    pub titles: Vec<Title>,
    /// The trial.
    pub number: u64,
    /// What it gains over the nearest preset; none when it is a preset itself, or no preset was graded.
    pub comparison: Option<Comparison>,
    /// What it gains over the preset that most people take, [`USUAL`], where that is another one and was graded.
    pub usual: Option<Comparison>,
}

impl Pick {
    /// The most informative comparison: with what they would have taken, else with the nearest.
    #[must_use]
    pub fn lead(&self) -> Option<&Comparison> {
        self.usual.as_ref().or(self.comparison.as_ref())
    }

    /// Both comparisons, that with the nearest preset first.
    pub fn comparisons(&self) -> impl Iterator<Item = &Comparison> {
        self.comparison.iter().chain(&self.usual)
    }
}

/// The preset that most people take when they take one.
pub const USUAL: &str = "Q4_K_M";

/// The outcome of the study.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is a front.
    Found,
    /// Nothing is complete yet, or everything failed.
    NothingComplete,
    /// Something ran or was predicted, but nothing fits the budget.
    NothingFits {
        /// The trial with the smallest peak, and that peak.
        smallest: Option<Smallest>,
    },
}

/// The smallest thing there is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Smallest {
    /// The trial.
    pub number: u64,
    /// Its peak memory.
    pub peak_bytes: f64,
    /// Whether the peak was measured; otherwise it was predicted.
    pub measured: bool,
}

/// The front and the recommended few.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// The front by trial number, in the order of the first objective.
    pub front: Vec<u64>,
    /// The recommended trials, each once.
    pub picks: Vec<Pick>,
    /// The outcome of the study.
    pub outcome: Outcome,
    /// What the picks had to meet, for people.
    pub floor: Option<String>,
}

/// Chooses from the trials of one study on one host. `objectives` are those that were declared, which comparisons speak of; `judged` decides.
/// `paired` gives the paired verdicts of two trials by number where there are any.
#[must_use]
pub fn recommend(
    trials: &[TrialRecord],
    objectives: &[Objective],
    judged: &Judged<'_>,
    budget_bytes: u64,
    paired: &dyn Fn(u64, u64) -> Option<Paired>,
) -> Recommendation {
    let fits = |t: &TrialRecord| eligible(t, &judged.objectives, budget_bytes).is_ok();
    let rows: Vec<&TrialRecord> = trials.iter().filter(|t| fits(t)).collect();
    let front: Vec<&TrialRecord> = front_of(&rows, judged).into_iter().map(|i| rows[i]).collect();
    let presets: Vec<&TrialRecord> =
        rows.iter().copied().filter(|t| t.origin.preset_name().is_some()).collect();

    let strict = Requirement::of(&presets, &judged.objectives, 0.0);
    // Who asks for the fastest or the smallest gives up a little quality for it.
    let tolerant = Requirement::of(&presets, &judged.objectives, TOLERATED);
    let (inside, floor) = strict.of_front(&front);
    let floor = match floor {
        Some(floor) if tolerant.words != strict.words && front.iter().any(|t| tolerant.meets(t)) => {
            Some(format!("{floor} (fastest, smallest and least energy: {})", tolerant.words.join(" and ")))
        }
        floor => floor,
    };
    let (tolerant, _) = tolerant.of_front(&front);
    let choice = Choice { objectives, judged, paired };
    let mut picks: Vec<Pick> = Vec::new();
    for (title, trial) in choice.winners(&inside, &tolerant, &presets) {
        match picks.iter_mut().find(|p| p.number == trial.number) {
            Some(pick) => pick.titles.push(title),
            None => {
                picks.push(Pick { titles: vec![title], number: trial.number, comparison: None, usual: None })
            }
        }
    }
    let space = Scale::of(front.iter().chain(&presets).copied(), &judged.objectives);
    for pick in &mut picks {
        let Some(trial) = front.iter().find(|t| t.number == pick.number) else { continue };
        if trial.origin.preset_name().is_none() {
            pick.comparison = nearest(trial, trials, &presets, &space)
                .map(|(preset, fits)| choice.beside(trial, preset, fits));
        }
        let taken = pick.comparison.as_ref().map(|c| c.number);
        pick.usual = usual(trials)
            .filter(|preset| preset.number != trial.number && Some(preset.number) != taken)
            .map(|preset| choice.beside(trial, preset, fits(preset)));
    }
    let outcome = if front.is_empty() { why_nothing(trials, budget_bytes) } else { Outcome::Found };
    Recommendation { front: front.iter().map(|t| t.number).collect(), picks, outcome, floor }
}

/// The trial of the usual preset, where it was graded.
fn usual(trials: &[TrialRecord]) -> Option<&TrialRecord> {
    trials.iter().find(|t| t.origin.preset_name() == Some(USUAL) && t.state == TrialState::Complete)
}

/// What a recommended trial must meet: the bounds of the objectives and, where quality has no bound, not to lie below the interval of the usual
/// preset's quality (without it, not below every preset).
struct Requirement<'o> {
    bounds: Vec<(&'o Objective, f64)>,
    /// The bounds for people.
    words: Vec<String>,
}

impl<'o> Requirement<'o> {
    /// `tolerated` is the share of the usual preset's estimated pass rate that may be lost beyond its interval.
    fn of(presets: &[&TrialRecord], objectives: &'o [Objective], tolerated: f64) -> Self {
        let mut bounds: Vec<(&Objective, f64)> =
            objectives.iter().filter_map(|o| Some((o, o.bound?))).collect();
        let quality = objectives.iter().find(|o| family(o) == Family::Quality);
        let mut words: Vec<String> = bounds
            .iter()
            .map(|(o, bound)| {
                let metric = Metric::of(&o.metric);
                format!("{} no worse than {}", metric.label, metric.show(*bound))
            })
            .collect();
        if let Some(o) = quality.filter(|o| o.bound.is_none()) {
            let metric = Metric::of(&o.metric);
            let usual = presets.iter().find(|t| t.origin.preset_name() == Some(USUAL));
            let worst = presets
                .iter()
                .filter_map(|t| Some(Reading::of(t, &o.metric)?.value))
                .max_by(|a, b| cost(o.direction, *a).total_cmp(&cost(o.direction, *b)));
            let bound = match (usual.and_then(|t| Reading::of(t, &o.metric)), worst) {
                (Some(r), _) => {
                    let estimated = o.metric.starts_with(ESTIMATED);
                    let lower = r.value * (1.0 - tolerated);
                    let (low, high) = match usual.and_then(|t| Reading::of(t, ESTIMATED_LOSS)) {
                        // The tasks' difficulty is common to all candidates and does not distinguish them.
                        Some(loss) if estimated => {
                            let end = r.value + loss.value - loss.high.unwrap_or(loss.value);
                            (end.min(lower), end.min(lower))
                        }
                        _ => r.interval().unwrap_or((r.value, r.value)),
                    };
                    let end = if o.direction == Direction::Max { low } else { high };
                    let said = if estimated && tolerated > 0.0 && end == lower {
                        format!(
                            "{} no worse than {:.0} % of {USUAL}'s, {}",
                            metric.label,
                            100.0 * (1.0 - tolerated),
                            metric.show(end)
                        )
                    } else {
                        format!(
                            "{} no worse than {USUAL}'s interval allows, {}",
                            metric.label,
                            metric.show(end)
                        )
                    };
                    Some((end, said))
                }
                (None, Some(worst)) => Some((
                    worst,
                    format!("{} no worse than the worst preset's {}", metric.label, metric.show(worst)),
                )),
                (None, None) => None,
            };
            if let Some((bound, said)) = bound {
                words.push(said);
                bounds.push((o, bound));
            }
        }
        Self { bounds, words }
    }

    fn meets(&self, trial: &TrialRecord) -> bool {
        self.bounds.iter().all(|(o, bound)| {
            Reading::of(trial, &o.metric)
                .is_some_and(|r| cost(o.direction, r.value) <= cost(o.direction, *bound))
        })
    }

    /// The part of the front that meets it, and how it was chosen, for people; the whole front where nothing meets it.
    fn of_front<'a>(&self, front: &[&'a TrialRecord]) -> (Vec<&'a TrialRecord>, Option<String>) {
        let inside: Vec<&TrialRecord> = front.iter().copied().filter(|t| self.meets(t)).collect();
        if self.words.is_empty() {
            (front.to_vec(), None)
        } else if inside.is_empty() && !front.is_empty() {
            (
                front.to_vec(),
                Some(format!(
                    "nothing on the front has {}: chosen from the whole front",
                    self.words.join(" and ")
                )),
            )
        } else {
            (inside, Some(format!("chosen from the front with {}", self.words.join(" and "))))
        }
    }
}

pub(super) fn family(objective: &Objective) -> Family {
    Metric::of(&objective.metric).family
}

/// The share of the usual preset's estimated pass rate that the fastest and the smallest trial may lose.
const TOLERATED: f64 = 0.05;

/// Places trials in a cube: each objective (its logarithm, where ratios matter) scaled so that 0 is the best and 1 the worst seen. A range
/// that is too small to matter is not stretched to the whole cube.
pub(super) struct Scale<'o> {
    axes: Vec<(&'o Objective, f64, f64)>,
}

/// The least range of an axis: a quarter more time or memory, five points of a rate.
const LEAST_RATIO: f64 = 1.25;
const LEAST_POINTS: f64 = 0.05;

fn least_range(objective: &Objective, best: f64) -> f64 {
    match Metric::of(&objective.metric).unit {
        _ if objective.log => LEAST_RATIO.ln(),
        Unit::Ms | Unit::Bytes => (LEAST_RATIO - 1.0) * best.abs(),
        Unit::Share => LEAST_POINTS,
        _ => 0.0,
    }
}

impl<'o> Scale<'o> {
    pub(super) fn of<'a>(trials: impl Iterator<Item = &'a TrialRecord>, objectives: &'o [Objective]) -> Self {
        let trials: Vec<&TrialRecord> = trials.collect();
        let axes = objectives
            .iter()
            .map(|o| {
                let costs = || trials.iter().filter_map(|t| scaled_cost(t, o));
                let best = costs().fold(f64::INFINITY, f64::min);
                let worst = costs().fold(f64::NEG_INFINITY, f64::max);
                (o, best, worst.max(best + least_range(o, best)))
            })
            .collect();
        Self { axes }
    }

    pub(super) fn position(&self, trial: &TrialRecord) -> Vec<f64> {
        self.axes
            .iter()
            .map(|&(o, best, worst)| match scaled_cost(trial, o) {
                Some(cost) if worst > best => (cost - best) / (worst - best),
                Some(_) => 0.0,
                None => f64::INFINITY,
            })
            .collect()
    }
}

fn scaled_cost(trial: &TrialRecord, objective: &Objective) -> Option<f64> {
    let value = Reading::of(trial, &objective.metric)?.value;
    let value = if objective.log && value > 0.0 { value.ln() } else { value };
    Some(cost(objective.direction, value)).filter(|c| c.is_finite())
}

/// The preset nearest in the objectives, among those that fit; else among all that were graded.
fn nearest<'a>(
    trial: &TrialRecord,
    trials: &'a [TrialRecord],
    fitting: &[&'a TrialRecord],
    space: &Scale<'_>,
) -> Option<(&'a TrialRecord, bool)> {
    let here = space.position(trial);
    let distance = |t: &TrialRecord| -> f64 {
        let squares = space.position(t).iter().zip(&here).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        if squares.is_nan() { f64::INFINITY } else { squares }
    };
    let closest = |candidates: &mut dyn Iterator<Item = &'a TrialRecord>| {
        candidates
            .map(|t| (distance(t), t))
            .filter(|(d, _)| d.is_finite())
            .min_by(|(a, x), (b, y)| a.total_cmp(b).then(x.number.cmp(&y.number)))
            .map(|(_, t)| t)
    };
    if let Some(preset) = closest(&mut fitting.iter().copied()) {
        return Some((preset, true));
    }
    let mut graded =
        trials.iter().filter(|t| t.origin.preset_name().is_some() && t.state == TrialState::Complete);
    closest(&mut graded).map(|preset| (preset, false))
}

fn why_nothing(trials: &[TrialRecord], budget_bytes: u64) -> Outcome {
    let peaks = |metric: &'static str, measured: bool| {
        trials
            .iter()
            .filter_map(move |t| {
                Some(Smallest { number: t.number, peak_bytes: Reading::of(t, metric)?.value, measured })
            })
            .min_by(|a, b| a.peak_bytes.total_cmp(&b.peak_bytes))
    };
    let open = trials.iter().any(|t| !t.state.is_ended());
    let infeasible = trials.iter().any(|t| t.state == TrialState::Infeasible);
    let smallest = [peaks(PEAK, true), peaks(names::PREDICTED_PEAK_MEMORY_BYTES, false)]
        .into_iter()
        .flatten()
        .min_by(|a, b| a.peak_bytes.total_cmp(&b.peak_bytes));
    let over = smallest.is_none_or(|s| s.peak_bytes > budget_bytes as f64);
    if infeasible && over && !open { Outcome::NothingFits { smallest } } else { Outcome::NothingComplete }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::judged::write_estimates;
    use super::super::testing::{objectives, reading, trial as complete};
    use super::*;
    use autotune_store::{Measurement, Origin, Verdicts};
    use autotune_study::estimates::Known;

    const BUDGET: u64 = 1000;

    /// Latency, peak, Pass@1; everything exact.
    fn trial(number: u64, preset: bool, state: TrialState, values: [f64; 3]) -> TrialRecord {
        TrialRecord { state, ..complete(number, preset, values) }
    }

    fn done(number: u64, preset: bool, values: [f64; 3]) -> TrialRecord {
        trial(number, preset, TrialState::Complete, values)
    }

    /// By what was measured alone.
    fn plain(trials: &[TrialRecord], objectives: &[Objective]) -> Recommendation {
        recommend(trials, objectives, &Judged::plainly(objectives), BUDGET, &|_, _| None)
    }

    fn titled(recommendation: &Recommendation, title: Title) -> Option<u64> {
        recommendation.picks.iter().find(|p| p.titles.contains(&title)).map(|p| p.number)
    }

    #[test]
    fn each_title_goes_where_it_belongs() {
        let trials = [
            done(1, true, [100.0, 500.0, 0.50]),
            done(2, false, [50.0, 600.0, 0.50]),
            done(3, false, [200.0, 200.0, 0.51]),
            done(4, false, [90.0, 900.0, 0.80]),
            done(5, false, [10.0, 1001.0, 0.99]),
            done(6, false, [20.0, 100.0, 0.10]),
        ];
        let r = plain(&trials, &objectives());
        assert_eq!(r.front, [6, 2, 4, 1, 3], "5 is over the budget");
        assert_eq!(titled(&r, Title::Fastest), Some(2), "6 is worse than every preset");
        assert_eq!(titled(&r, Title::Smallest), Some(3));
        assert_eq!(titled(&r, Title::BestQuality), Some(4));
        let fastest = r.picks.iter().find(|p| p.number == 2).unwrap().comparison.clone().unwrap();
        assert_eq!(
            fastest.sentence(),
            "compared with P1: 2.00 × faster, 100 B more peak memory, indistinguishable pass@1"
        );
        assert_eq!(
            r.floor.unwrap(),
            "chosen from the front with pass@1 no worse than the worst preset's 50.0 %"
        );
    }

    #[test]
    fn the_luckiest_score_is_not_the_best_quality() {
        let mut trials = vec![
            done(1, true, [100.0, 500.0, 0.50]),
            done(2, false, [200.0, 600.0, 0.52]),
            done(3, false, [90.0, 500.0, 0.30]),
        ];
        for (trial, kl) in trials.iter_mut().zip([0.001, 0.05, 0.5]) {
            let pass = trial.value("pass_at_1").unwrap();
            trial.measurements.insert("pass_at_1".into(), reading(pass, Some(pass - 0.1), Some(pass + 0.1)));
            trial.measurements.insert("kl_mean".into(), reading(kl, None, None));
        }
        let r = plain(&trials, &objectives());
        assert_eq!(
            titled(&r, Title::BestQuality),
            Some(1),
            "within the error of trial 2, and nearer to the reference"
        );
    }

    #[test]
    fn bounds_replace_the_floor_and_are_dropped_when_nothing_meets_them() {
        let trials = [done(1, true, [100.0, 500.0, 0.5]), done(2, false, [50.0, 600.0, 0.2])];
        let mut bounded = objectives();
        bounded[2].bound = Some(0.1);
        assert_eq!(titled(&plain(&trials, &bounded), Title::Fastest), Some(2));
        bounded[2].bound = Some(0.9);
        let r = plain(&trials, &bounded);
        assert_eq!(titled(&r, Title::Fastest), Some(2));
        assert!(r.floor.unwrap().starts_with("nothing on the front has pass@1 no worse than 90.0 %"));
    }

    #[test]
    fn a_preset_over_the_budget_is_named_as_such() {
        let trials = [done(1, true, [100.0, 5000.0, 0.5]), done(2, false, [50.0, 600.0, 0.5])];
        let r = plain(&trials, &objectives());
        let comparison = r.picks[0].comparison.as_ref().unwrap();
        assert!(!comparison.fits && comparison.sentence().contains("does not fit"), "{comparison:?}");
    }

    /// A study as it may come: verdicts paired with the reference's, divergences, intervals; one preset in two.
    #[derive(Clone, Debug)]
    struct Generated {
        trials: Vec<TrialRecord>,
        known: Known,
    }

    fn generated() -> impl Strategy<Value = Generated> {
        let one = (
            any::<bool>(),
            50.0f64..150.0,
            0.0f64..0.3,
            prop_oneof![Just(400.0), 300.0f64..900.0],
            prop_oneof![Just(0.01), 0.0005f64..0.5],
            proptest::collection::vec(0u8..100, 24),
        );
        let rows = proptest::collection::vec(one, 1..12);
        let graded = any::<bool>();
        (rows, proptest::collection::vec(any::<bool>(), 24), graded).prop_map(|(rows, reference, graded)| {
            let task = |i: usize| format!("t{i:02}");
            let mut known = Known::default();
            if graded {
                known.apart = reference.iter().enumerate().map(|(i, p)| (task(i), *p)).collect();
            }
            let mut trials = Vec::new();
            for (i, (preset, latency, wide, memory, kl, flips)) in rows.into_iter().enumerate() {
                let number = i as u64 + 1;
                // Verdicts flip more often the further a candidate is from the reference.
                let own: Verdicts = reference
                    .iter()
                    .zip(&flips)
                    .enumerate()
                    .map(|(i, (solved, flip))| (task(i), solved ^ (f64::from(*flip) < 40.0 * kl + 3.0)))
                    .collect();
                let passed = own.values().filter(|p| **p).count() as f64 / 24.0;
                let mut t = complete(number, preset, [latency, memory, passed]);
                if preset && i == 0 {
                    t.origin = Origin::preset(USUAL);
                }
                let row = |value: f64, by: f64| reading(value, Some(value - by), Some(value + by));
                t.measurements.insert("request_latency_p50_ms".into(), row(latency, latency * wide));
                t.measurements.insert("pass_at_1".into(), Measurement { samples: 24, ..row(passed, 0.19) });
                t.measurements.insert("kl_mean".into(), row(kl, 0.1 * kl));
                known.verdicts.insert(number, own);
                trials.push(t);
            }
            Generated { trials, known }
        })
    }

    fn by_estimate(trials: &[TrialRecord], known: &Known) -> (Vec<TrialRecord>, Recommendation, Vec<u64>) {
        let (mut trials, objectives) = (trials.to_vec(), objectives());
        let estimates = write_estimates(&mut trials, &objectives, known);
        let judged = Judged::new(&objectives, estimates.as_ref(), &[]);
        let paired = |a: u64, b: u64| Paired::of_verdicts(known.verdicts.get(&a)?, known.verdicts.get(&b)?);
        let r = recommend(&trials, &objectives, &judged, BUDGET, &paired);
        let front: Vec<&TrialRecord> = trials.iter().filter(|t| r.front.contains(&t.number)).collect();
        let presets: Vec<&TrialRecord> = trials.iter().filter(|t| t.origin.preset_name().is_some()).collect();
        let inside = Requirement::of(&presets, &judged.objectives, 0.0)
            .of_front(&front)
            .0
            .iter()
            .map(|t| t.number)
            .collect();
        (trials, r, inside)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]

        #[test]
        fn no_pick_is_dominated_by_a_preset_and_luck_is_not_called_best(study in generated()) {
            let (trials, r, inside) = by_estimate(&study.trials, &study.known);
            let find = |n: u64| trials.iter().find(|t| t.number == n).unwrap();
            let verdicts = &study.known.verdicts;
            let paired = |a: u64, b: u64| Paired::of_verdicts(&verdicts[&a], &verdicts[&b]).unwrap();
            for pick in &r.picks {
                let trial = find(pick.number);
                for comparison in pick.comparisons() {
                    prop_assert!(!comparison.is_dominated(), "{}", comparison.headline());
                    let headline = comparison.headline();
                    prop_assert!(!(headline.starts_with("no better than") && headline.contains("; but ")));
                }
                for preset in trials.iter().filter(|t| t.origin.preset_name().is_some() && t.number != trial.number) {
                    let pair = paired(trial.number, preset.number);
                    let beside = super::super::gain::compare(trial, preset, true, &objectives(), Some(pair));
                    prop_assert!(!beside.is_dominated(), "trial {}: {}", pick.number, beside.headline());
                }
            }
            if let Some(best) = titled(&r, Title::BestQuality) {
                let kl = |n: u64| Reading::of(find(n), "kl_mean").unwrap();
                for other in inside {
                    let less = kl(other).value < kl(best).value && !kl(other).overlaps(&kl(best));
                    let pair = paired(best, other);
                    let gain = pair.only_trial > pair.only_other && pair.is_significant();
                    prop_assert!(!less || gain, "{best} is called best beside {other}");
                }
            }
        }

        #[test]
        fn the_order_of_trials_changes_no_pick(study in generated(), turn in 0usize..12) {
            let (_, r, _) = by_estimate(&study.trials, &study.known);
            let mut turned = study.trials.clone();
            turned.rotate_left(turn % study.trials.len());
            turned.reverse();
            let (_, other, _) = by_estimate(&turned, &study.known);
            let picks = |r: &Recommendation| {
                r.picks.iter().map(|p| (p.number, p.titles.clone())).collect::<Vec<_>>()
            };
            prop_assert_eq!(picks(&r), picks(&other));
            let sorted = |mut front: Vec<u64>| { front.sort_unstable(); front };
            prop_assert_eq!(sorted(r.front), sorted(other.front));
        }
    }

    proptest! {
        #[test]
        fn picks_stand_on_a_front_within_the_budget(
            rows in proptest::collection::vec(
                (any::<bool>(), 0usize..6, proptest::array::uniform3(
                    prop_oneof![4 => 0.0f64..1500.0, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(0.0)])),
                0..30)
        ) {
            let trials: Vec<TrialRecord> = rows
                .iter()
                .enumerate()
                .map(|(i, (preset, state, values))| trial(i as u64 + 1, *preset, TrialState::ALL[*state], *values))
                .collect();
            let r = plain(&trials, &objectives());
            let find = |n: u64| trials.iter().find(|t| t.number == n).unwrap();
            for n in &r.front {
                let t = find(*n);
                prop_assert_eq!(t.state, TrialState::Complete);
                prop_assert!(t.value(PEAK).unwrap() <= BUDGET as f64);
            }
            prop_assert_eq!(r.front.is_empty(), r.outcome != Outcome::Found);
            prop_assert_eq!(r.front.is_empty(), r.picks.is_empty());
            let titles: Vec<Title> = r.picks.iter().flat_map(|p| p.titles.clone()).collect();
            prop_assert_eq!(titles.len(), if r.front.is_empty() { 0 } else { 4 });
            for pick in &r.picks {
                prop_assert!(r.front.contains(&pick.number));
                let is_preset = find(pick.number).origin.preset_name().is_some();
                prop_assert!(!(is_preset && pick.comparison.is_some()));
                prop_assert!(pick.comparisons().all(|c| c.number != pick.number));
                if let Some(c) = &pick.comparison {
                    prop_assert!(find(c.number).origin.preset_name().is_some());
                }
            }
        }
    }
}
