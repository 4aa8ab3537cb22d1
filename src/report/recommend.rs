//! The answer: which few trials to look at, chosen by a pure function of stored rows.

use serde::Serialize;

use super::front::{cost, eligible, front_of};
use super::gain::{Comparison, Paired, compare};
use super::metric::{Family, Metric, PEAK, Reading};
use crate::measure::recheck::{self, Recheck};
use crate::store::{Direction, Objective, TrialRecord, TrialState};

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
    /// Best in the first objective of quality; among those within its error, best by a finer measure.
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
    /// The comparison that tells a reader most: with what they would have taken, else with the nearest.
    #[must_use]
    pub fn lead(&self) -> Option<&Comparison> {
        self.usual.as_ref().or(self.comparison.as_ref())
    }

    /// Lets the turns at the study's end speak of latency where both sides took part.
    pub fn hear_turns(&mut self, rechecks: &[Recheck]) {
        let number = self.number;
        for beside in self.comparison.iter_mut().chain(&mut self.usual) {
            if let Some(turns) = recheck::compare(rechecks, number, beside.number) {
                beside.hear_turns(&turns);
            }
        }
    }

    /// Both comparisons, that with the nearest preset first.
    pub fn comparisons(&self) -> impl Iterator<Item = &Comparison> {
        self.comparison.iter().chain(&self.usual)
    }
}

/// The preset that most people take when they take one.
pub const USUAL: &str = "Q4_K_M";

/// How the study came out.
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
    /// How the study came out.
    pub outcome: Outcome,
    /// What the picks had to meet, for people.
    pub floor: Option<String>,
}

/// Chooses from the trials of one study on one host. `paired` gives the paired verdicts of two trials by number where there are any.
#[must_use]
pub fn recommend(
    trials: &[TrialRecord],
    objectives: &[Objective],
    budget_bytes: u64,
    mut paired: impl FnMut(u64, u64) -> Option<Paired>,
) -> Recommendation {
    let rows: Vec<&TrialRecord> =
        trials.iter().filter(|t| eligible(t, objectives, budget_bytes).is_ok()).collect();
    let front: Vec<&TrialRecord> = front_of(&rows, objectives).into_iter().map(|i| rows[i]).collect();
    let presets: Vec<&TrialRecord> =
        rows.iter().copied().filter(|t| t.origin.preset_name().is_some()).collect();

    let (region, floor) = region(&front, &presets, objectives);
    let mut picks: Vec<Pick> = Vec::new();
    for title in [Title::Knee, Title::Fastest, Title::LeastEnergy, Title::BestQuality, Title::Smallest] {
        let Some(trial) = winner(title, &region, objectives) else { continue };
        match picks.iter_mut().find(|p| p.number == trial.number) {
            Some(pick) => pick.titles.push(title),
            None => {
                picks.push(Pick { titles: vec![title], number: trial.number, comparison: None, usual: None })
            }
        }
    }
    let space = Scale::of(front.iter().chain(&presets).copied(), objectives);
    for pick in &mut picks {
        let Some(trial) = front.iter().find(|t| t.number == pick.number) else { continue };
        if trial.origin.preset_name().is_none() {
            pick.comparison = nearest(trial, trials, &presets, &space).map(|(preset, fits)| {
                compare(trial, preset, fits, objectives, paired(trial.number, preset.number))
            });
        }
        let taken = pick.comparison.as_ref().map(|c| c.number);
        pick.usual = usual(trials)
            .filter(|preset| preset.number != trial.number && Some(preset.number) != taken)
            .map(|preset| {
                let fits = eligible(preset, objectives, budget_bytes).is_ok();
                compare(trial, preset, fits, objectives, paired(trial.number, preset.number))
            });
    }
    let outcome = if front.is_empty() { why_nothing(trials, budget_bytes) } else { Outcome::Found };
    Recommendation { front: front.iter().map(|t| t.number).collect(), picks, outcome, floor }
}

/// The trial of the usual preset, where it was graded.
fn usual(trials: &[TrialRecord]) -> Option<&TrialRecord> {
    trials.iter().find(|t| t.origin.preset_name() == Some(USUAL) && t.state == TrialState::Complete)
}

/// The part of the front that is worth recommending: within the bounds of the objectives and, where quality has no bound, not below the
/// interval of the usual preset's quality (without it, not below every preset). Falls back to the whole front.
fn region<'a>(
    front: &[&'a TrialRecord],
    presets: &[&TrialRecord],
    objectives: &[Objective],
) -> (Vec<&'a TrialRecord>, Option<String>) {
    let mut bounds: Vec<(&Objective, f64)> = objectives.iter().filter_map(|o| Some((o, o.bound?))).collect();
    let quality = objectives.iter().find(|o| family(o) == Family::Quality);
    let mut said: Vec<String> = bounds
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
                let (low, high) = r.interval().unwrap_or((r.value, r.value));
                let end = if o.direction == Direction::Max { low } else { high };
                Some((
                    end,
                    format!("{} no worse than {USUAL}'s interval allows, {}", metric.label, metric.show(end)),
                ))
            }
            (None, Some(worst)) => Some((
                worst,
                format!("{} no worse than the worst preset's {}", metric.label, metric.show(worst)),
            )),
            (None, None) => None,
        };
        if let Some((bound, words)) = bound {
            said.push(words);
            bounds.push((o, bound));
        }
    }
    let inside: Vec<&TrialRecord> = front
        .iter()
        .copied()
        .filter(|t| {
            bounds.iter().all(|(o, bound)| {
                Reading::of(t, &o.metric)
                    .is_some_and(|r| cost(o.direction, r.value) <= cost(o.direction, *bound))
            })
        })
        .collect();
    if said.is_empty() {
        (front.to_vec(), None)
    } else if inside.is_empty() && !front.is_empty() {
        (
            front.to_vec(),
            Some(format!("nothing on the front has {}: chosen from the whole front", said.join(" and "))),
        )
    } else {
        (inside, Some(format!("chosen from the front with {}", said.join(" and "))))
    }
}

fn family(objective: &Objective) -> Family {
    Metric::of(&objective.metric).family
}

/// The holder of a title; ties go to the trial nearer to the ideal, then to the earlier one.
fn winner<'a>(title: Title, region: &[&'a TrialRecord], objectives: &[Objective]) -> Option<&'a TrialRecord> {
    let scale = Scale::of(region.iter().copied(), objectives);
    let ideal = |trial: &TrialRecord| scale.position(trial).iter().map(|x| x * x).sum::<f64>();
    let first = |wanted: Family| objectives.iter().find(|o| family(o) == wanted);
    let (rows, decides): (Vec<&TrialRecord>, Option<(&str, Direction)>) = match title {
        Title::Knee => (region.to_vec(), None),
        Title::Fastest => {
            let o = first(Family::Speed)?;
            (region.to_vec(), Some((&o.metric, o.direction)))
        }
        Title::LeastEnergy => {
            let o = first(Family::Energy)?;
            (region.to_vec(), Some((&o.metric, o.direction)))
        }
        Title::Smallest => {
            let o = first(Family::Memory);
            (region.to_vec(), Some(o.map_or((PEAK, Direction::Min), |o| (&o.metric, o.direction))))
        }
        Title::BestQuality => best_quality(first(Family::Quality)?, region),
    };
    let key = |trial: &TrialRecord| {
        let value = decides.map_or(0.0, |(metric, direction)| {
            Reading::of(trial, metric).map_or(f64::INFINITY, |r| cost(direction, r.value))
        });
        (value, ideal(trial))
    };
    rows.into_iter().min_by(|a, b| {
        let (a_key, b_key) = (key(a), key(b));
        a_key.0.total_cmp(&b_key.0).then(a_key.1.total_cmp(&b_key.1)).then(a.number.cmp(&b.number))
    })
}

/// Scores of generated code are coarse: the highest of many is mostly the luckiest. So all trials within one standard error of the
/// highest count as equal (the one-standard-error rule of Breiman et al., 1984), and a finer measure of quality that all of them have decides.
fn best_quality<'a, 'o>(
    objective: &'o Objective,
    region: &[&'a TrialRecord],
) -> (Vec<&'a TrialRecord>, Option<(&'o str, Direction)>) {
    const FINER: [&str; 4] = ["kl_mean", "canonical_nll", "top1_agreement", "codebleu"];
    /// A 95 % interval is so many standard errors wide.
    const WIDTH: f64 = 2.0 * 1.96;
    let costs = |trial: &TrialRecord| {
        Reading::of(trial, &objective.metric).map_or(f64::INFINITY, |r| cost(objective.direction, r.value))
    };
    let Some(best) = region.iter().min_by(|a, b| costs(a).total_cmp(&costs(b))) else {
        return (Vec::new(), None);
    };
    let error = Reading::of(best, &objective.metric)
        .and_then(|r| r.interval())
        .map_or(0.0, |(low, high)| (high - low) / WIDTH);
    let equal: Vec<&TrialRecord> =
        region.iter().copied().filter(|t| costs(t) <= costs(best) + error).collect();
    let finite = |t: &&TrialRecord, metric| Reading::of(t, metric).is_some_and(|r| r.value.is_finite());
    let finer = FINER
        .into_iter()
        .find(|metric| *metric != objective.metric && equal.iter().all(|t| finite(t, metric)));
    let decides = match finer {
        Some(metric) if equal.len() > 1 => (metric, Metric::of(metric).direction),
        _ => (objective.metric.as_str(), objective.direction),
    };
    (equal, Some(decides))
}

/// Places trials in a cube: each objective (its logarithm, where ratios matter) scaled so that 0 is the best and 1 the worst seen.
struct Scale<'o> {
    axes: Vec<(&'o Objective, f64, f64)>,
}

impl<'o> Scale<'o> {
    fn of<'a>(trials: impl Iterator<Item = &'a TrialRecord>, objectives: &'o [Objective]) -> Self {
        let trials: Vec<&TrialRecord> = trials.collect();
        let axes = objectives
            .iter()
            .map(|o| {
                let costs = || trials.iter().filter_map(|t| scaled_cost(t, o));
                (o, costs().fold(f64::INFINITY, f64::min), costs().fold(f64::NEG_INFINITY, f64::max))
            })
            .collect();
        Self { axes }
    }

    fn position(&self, trial: &TrialRecord) -> Vec<f64> {
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
    let smallest = [peaks(PEAK, true), peaks("predicted_peak_memory_bytes", false)]
        .into_iter()
        .flatten()
        .min_by(|a, b| a.peak_bytes.total_cmp(&b.peak_bytes));
    let over = smallest.is_none_or(|s| s.peak_bytes > budget_bytes as f64);
    if infeasible && over && !open { Outcome::NothingFits { smallest } } else { Outcome::NothingComplete }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::space::{Candidate, Value};
    use crate::store::{Measurement, Origin, Rung, StudyId, TrialId};

    const BUDGET: u64 = 1000;

    fn objectives() -> Vec<Objective> {
        ["request_latency_p50_ms", "peak_memory_bytes", "pass_at_1"]
            .map(|name| Objective {
                metric: name.into(),
                direction: Metric::of(name).direction,
                log: name.ends_with("_ms"),
                bound: None,
                share: None,
            })
            .to_vec()
    }

    fn reading(value: f64, low: Option<f64>, high: Option<f64>) -> Measurement {
        Measurement { rung: Rung::Graded, unit: String::new(), value: Some(value), low, high, samples: 1 }
    }

    /// Latency, peak, Pass@1; everything exact.
    fn trial(number: u64, preset: bool, state: TrialState, values: [f64; 3]) -> TrialRecord {
        let name = format!("P{number}");
        TrialRecord {
            id: TrialId(number.cast_signed()),
            study: StudyId(1),
            number,
            candidate: Candidate::default().with("n", Value::Int(number.cast_signed())),
            hash: String::new(),
            origin: if preset { Origin::preset(&name) } else { Origin::sampler("s") },
            state,
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
            measurements: objectives()
                .into_iter()
                .zip(values)
                .map(|(o, v)| (o.metric, reading(v, None, None)))
                .collect::<BTreeMap<_, _>>(),
            repeats: 0,
        }
    }

    fn done(number: u64, preset: bool, values: [f64; 3]) -> TrialRecord {
        trial(number, preset, TrialState::Complete, values)
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
        let r = recommend(&trials, &objectives(), BUDGET, |_, _| None);
        assert_eq!(r.front, [6, 2, 4, 1, 3], "5 is over the budget");
        assert_eq!(titled(&r, Title::Fastest), Some(2), "6 is worse than every preset");
        assert_eq!(titled(&r, Title::Smallest), Some(3));
        assert_eq!(titled(&r, Title::BestQuality), Some(4));
        let fastest = r.picks.iter().find(|p| p.number == 2).unwrap().comparison.clone().unwrap();
        assert_eq!(
            fastest.sentence(),
            "beside P1: 2.00 × faster, 100 B more peak memory, indistinguishable pass@1"
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
        let r = recommend(&trials, &objectives(), BUDGET, |_, _| None);
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
        assert_eq!(titled(&recommend(&trials, &bounded, BUDGET, |_, _| None), Title::Fastest), Some(2));
        bounded[2].bound = Some(0.9);
        let r = recommend(&trials, &bounded, BUDGET, |_, _| None);
        assert_eq!(titled(&r, Title::Fastest), Some(2));
        assert!(r.floor.unwrap().starts_with("nothing on the front has pass@1 no worse than 90.0 %"));
    }

    #[test]
    fn a_preset_over_the_budget_is_named_as_such() {
        let trials = [done(1, true, [100.0, 5000.0, 0.5]), done(2, false, [50.0, 600.0, 0.5])];
        let r = recommend(&trials, &objectives(), BUDGET, |_, _| None);
        let comparison = r.picks[0].comparison.as_ref().unwrap();
        assert!(!comparison.fits && comparison.sentence().contains("does not fit"), "{comparison:?}");
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
            let r = recommend(&trials, &objectives(), BUDGET, |_, _| None);
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
