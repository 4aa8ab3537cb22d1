//! The answer: which few trials to look at, chosen by a pure function of stored rows.

use serde::Serialize;

use super::front::{cost, eligible, non_dominated};
use super::gain::{Comparison, Paired, compare};
use super::metric::{Family, Metric, PEAK, Reading};
use crate::store::{Objective, TrialRecord, TrialState};

/// What a trial is recommended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Title {
    /// Nearest to the best of everything.
    Knee,
    /// Best in the first objective of speed.
    Fastest,
    /// Best in the first objective of quality.
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
}

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
    let value = |trial: &TrialRecord, o: &Objective| {
        Reading::of(trial, &o.metric).map_or(f64::INFINITY, |r| cost(o.direction, r.value))
    };
    let costs: Vec<Vec<f64>> =
        rows.iter().map(|t| objectives.iter().map(|o| value(t, o)).collect()).collect();
    let front: Vec<&TrialRecord> = non_dominated(&costs).into_iter().map(|i| rows[i]).collect();
    let presets: Vec<&TrialRecord> =
        rows.iter().copied().filter(|t| t.origin.preset_name().is_some()).collect();

    let (region, floor) = region(&front, &presets, objectives);
    let mut picks: Vec<Pick> = Vec::new();
    for title in [Title::Knee, Title::Fastest, Title::BestQuality, Title::Smallest] {
        let Some(trial) = winner(title, &region, objectives) else { continue };
        match picks.iter_mut().find(|p| p.number == trial.number) {
            Some(pick) => pick.titles.push(title),
            None => picks.push(Pick { titles: vec![title], number: trial.number, comparison: None }),
        }
    }
    let space = Scale::of(front.iter().chain(&presets).copied(), objectives);
    for pick in &mut picks {
        let Some(trial) = front.iter().find(|t| t.number == pick.number) else { continue };
        if trial.origin.preset_name().is_some() {
            continue;
        }
        pick.comparison = nearest(trial, trials, &presets, &space).map(|(preset, fits)| {
            compare(trial, preset, fits, objectives, paired(trial.number, preset.number))
        });
    }
    let outcome = if front.is_empty() { why_nothing(trials, budget_bytes) } else { Outcome::Found };
    Recommendation { front: front.iter().map(|t| t.number).collect(), picks, outcome, floor }
}

/// The part of the front that is worth recommending: within the bounds of the objectives and, where quality has no bound, not below
/// every preset in quality. Falls back to the whole front.
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
        let worst = presets
            .iter()
            .filter_map(|t| Some(Reading::of(t, &o.metric)?.value))
            .max_by(|a, b| cost(o.direction, *a).total_cmp(&cost(o.direction, *b)));
        if let Some(worst) = worst {
            let metric = Metric::of(&o.metric);
            said.push(format!("{} no worse than the worst preset's {}", metric.label, metric.show(worst)));
            bounds.push((o, worst));
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
    let single = |wanted: Family| objectives.iter().find(|o| family(o) == wanted).cloned();
    let objective = match title {
        Title::Knee => None,
        Title::Fastest => Some(single(Family::Speed)?),
        Title::BestQuality => Some(single(Family::Quality)?),
        Title::Smallest => Some(single(Family::Memory).unwrap_or_else(|| Objective {
            metric: PEAK.into(),
            direction: crate::store::Direction::Min,
            log: false,
            bound: None,
        })),
    };
    let key = |trial: &TrialRecord| {
        let first = objective.as_ref().map_or(0.0, |o| {
            Reading::of(trial, &o.metric).map_or(f64::INFINITY, |r| cost(o.direction, r.value))
        });
        let ideal: f64 = scale.position(trial).iter().map(|x| x * x).sum();
        (first, ideal)
    };
    region.iter().copied().min_by(|a, b| {
        let (a_key, b_key) = (key(a), key(b));
        a_key.0.total_cmp(&b_key.0).then(a_key.1.total_cmp(&b_key.1)).then(a.number.cmp(&b.number))
    })
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
