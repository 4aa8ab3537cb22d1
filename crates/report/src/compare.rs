//! Two studies side by side: their fronts, their hypervolumes against one reference point, and which trials of one dominate the other's.

use crate::metric::OfTrial as _;
use serde::Serialize;

use super::front::{cost, dominates, eligible, front_of};
use super::judged::Judged;
use super::metric::Reading;
use super::text::{Align, table};
use super::{Analysis, Metric};
use autotune_host::identity::{Component, Identity};
use autotune_search::hypervolume;
use autotune_store::{Direction, Objective, StudyRecord, TrialRecord};

/// Two studies side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyComparison {
    /// The objectives that both have.
    pub objectives: Vec<String>,
    /// What makes the comparison doubtful: other machines, other models.
    pub doubts: Vec<String>,
    /// The reference point: in each objective the worst value of both fronts, in the metric's unit.
    pub reference: Vec<f64>,
    /// The two studies.
    pub studies: [StudySide; 2],
    /// Hypervolume of both fronts together, as a share of the box between the reference point and the best value of each objective.
    pub together: f64,
}

/// One of the two.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudySide {
    /// The study's number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its trials.
    pub trials: usize,
    /// Hypervolume of its front as a share of the box.
    pub hypervolume: f64,
    /// Its front.
    pub front: Vec<SidePoint>,
}

/// A trial of a front.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SidePoint {
    /// The trial's number.
    pub number: u64,
    /// The preset's name, or the candidate in a few words.
    pub name: String,
    /// The value of each objective.
    pub values: Vec<f64>,
    /// The same, for people.
    pub texts: Vec<String>,
    /// Trials of the other front that it dominates.
    pub dominates: Vec<u64>,
    /// Trials of the other front that dominate it.
    pub dominated_by: Vec<u64>,
}

/// Sets two studies side by side; none when they share no objective.
#[must_use]
pub fn compare_studies(a: &Analysis, b: &Analysis) -> Option<StudyComparison> {
    let shared: Vec<Objective> = a
        .judged
        .iter()
        .filter(|o| b.judged.iter().any(|other| other.metric == o.metric && other.direction == o.direction))
        .cloned()
        .collect();
    if shared.is_empty() {
        return None;
    }
    let fronts = [front(a, &shared), front(b, &shared)];
    let costs = fronts.each_ref().map(|f| f.iter().map(|t| costs(t, &shared)).collect::<Vec<_>>());
    let all: Vec<&Vec<f64>> = costs.iter().flatten().collect();
    let ends = |pick: fn(f64, f64) -> f64, start: f64| -> Vec<f64> {
        (0..shared.len()).map(|i| all.iter().map(|c| c[i]).fold(start, pick)).collect()
    };
    let (worst, best) = (ends(f64::max, f64::NEG_INFINITY), ends(f64::min, f64::INFINITY));
    let share = |points: &[Vec<f64>]| box_share(points, &best, &worst);
    let side = |analysis: &Analysis, which: usize| StudySide {
        id: analysis.study.root.0,
        name: analysis.study.name.clone(),
        trials: analysis.trials.len(),
        hypervolume: share(&costs[which]),
        front: (0..fronts[which].len())
            .map(|i| {
                point(
                    analysis,
                    fronts[which][i],
                    &shared,
                    &costs[which][i],
                    &fronts[1 - which],
                    &costs[1 - which],
                )
            })
            .collect(),
    };
    let together: Vec<Vec<f64>> = costs.iter().flatten().cloned().collect();
    Some(StudyComparison {
        objectives: shared.iter().map(|o| o.metric.clone()).collect(),
        doubts: doubts(a, b),
        reference: shared.iter().zip(&worst).map(|(o, c)| cost(o.direction, *c)).collect(),
        together: share(&together),
        studies: [side(a, 0), side(b, 1)],
    })
}

/// Hypervolume with every objective scaled to the box between `best` and `worst`. The worst values themselves would add nothing and hide the
/// ends of a front, so the reference point lies a tenth of the box behind them.
pub(super) fn box_share(points: &[Vec<f64>], best: &[f64], worst: &[f64]) -> f64 {
    const BEHIND: f64 = 0.1;
    let scale = |i: usize, c: f64| {
        let span = worst[i] - best[i];
        if span > 0.0 { (c - best[i]) / span } else { 0.0 }
    };
    let scaled: Vec<Vec<f64>> =
        points.iter().map(|p| p.iter().enumerate().map(|(i, c)| scale(i, *c)).collect()).collect();
    let reference = vec![1.0 + BEHIND; best.len()];
    hypervolume(&scaled, &reference) / (1.0 + BEHIND).powi(best.len() as i32)
}

/// Costs of a trial: logarithms where ratios matter, less is better.
pub(super) fn costs(trial: &TrialRecord, objectives: &[Objective]) -> Vec<f64> {
    objectives
        .iter()
        .map(|o| {
            let value = Reading::of(trial, &o.metric).map_or(f64::INFINITY, |r| r.value);
            match o.direction {
                _ if !o.log || value <= 0.0 => cost(o.direction, value),
                Direction::Min => value.ln(),
                Direction::Max => -value.ln(),
            }
        })
        .collect()
}

fn front<'a>(analysis: &'a Analysis, objectives: &[Objective]) -> Vec<&'a TrialRecord> {
    let rows: Vec<&TrialRecord> = analysis
        .trials
        .iter()
        .filter(|t| eligible(t, objectives, analysis.study.budget_bytes).is_ok())
        .collect();
    let judged =
        Judged { objectives: objectives.to_vec(), estimates: analysis.estimates.as_ref(), rechecks: &[] };
    front_of(&rows, &judged).into_iter().map(|i| rows[i]).collect()
}

fn point(
    analysis: &Analysis,
    trial: &TrialRecord,
    objectives: &[Objective],
    own: &[f64],
    others: &[&TrialRecord],
    other_costs: &[Vec<f64>],
) -> SidePoint {
    let values: Vec<f64> =
        objectives.iter().filter_map(|o| Reading::of(trial, &o.metric).map(|r| r.value)).collect();
    let texts = objectives.iter().zip(&values).map(|(o, v)| Metric::of(&o.metric).show(*v)).collect();
    let named = |keep: &dyn Fn(&[f64]) -> bool| {
        others.iter().zip(other_costs).filter(|(_, c)| keep(c)).map(|(t, _)| t.number).collect()
    };
    SidePoint {
        number: trial.number,
        name: analysis.name(trial),
        values,
        texts,
        dominates: named(&|c| dominates(own, c)),
        dominated_by: named(&|c| dominates(c, own)),
    }
}

/// What makes two studies compare badly.
pub(super) fn doubts(a: &Analysis, b: &Analysis) -> Vec<String> {
    let (a, b) = (&a.study, &b.study);
    let setting = |json: &str, key: &str| {
        serde_json::from_str::<serde_json::Value>(json).ok().and_then(|v| v.get(key).cloned())
    };
    let mut doubts = Vec::new();
    if a.host.fingerprint != b.host.fingerprint {
        doubts.push(format!(
            "measured on different machines ({}, {}): times and memory do not compare",
            a.host.fingerprint, b.host.fingerprint
        ));
    }
    if a.model_hash != b.model_hash {
        doubts.push(format!("different models ({}, {})", a.model_path, b.model_path));
    }
    if a.engine != b.engine {
        doubts.push(format!("different engines ({}, {})", a.engine, b.engine));
    }
    for (key, what) in [("workload", "workloads"), ("tasks", "tasks"), ("task_limit", "numbers of tasks")] {
        if setting(&a.settings_json, key) != setting(&b.settings_json, key) {
            doubts.push(format!("different {what}"));
        }
    }
    doubts.extend(other_identity(a, b));
    doubts
}

/// What else the numbers of two studies depend on and does not agree; nothing of a study that has no identity.
fn other_identity(a: &StudyRecord, b: &StudyRecord) -> Vec<String> {
    use Component::{Cores, Gpus, Model, ModelSource, Processor, Space, Workload};
    let identity = |s: &StudyRecord| serde_json::from_str::<Identity>(s.identity_json.as_deref()?).ok();
    let Some((a, b)) = identity(a).zip(identity(b)) else { return Vec::new() };
    // These are told in other words, or are what is compared.
    let told = [Model, ModelSource, Space, Workload, Processor, Cores, Gpus];
    let differences = b.differences(&a).into_iter().filter(|d| !told.contains(&d.component));
    differences
        .map(|d| {
            let now = d.now.map_or_else(|| "none".to_owned(), |now| now.to_string());
            format!("not the same: {} ({}; {now})", d.component.label(), d.before)
        })
        .collect()
}

impl StudyComparison {
    /// For a terminal: both fronts, the volumes, and who dominates whom.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut head = vec![("study", Align::Left), ("trial", Align::Right)];
        let shorts: Vec<String> = self.objectives.iter().map(|o| Metric::of(o).short).collect();
        head.extend(shorts.iter().map(|s| (s.as_str(), Align::Right)));
        head.extend([
            ("dominates", Align::Left),
            ("dominated by", Align::Left),
            ("configuration", Align::Left),
        ]);
        let list = |numbers: &[u64]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let rows: Vec<Vec<String>> = self
            .studies
            .iter()
            .flat_map(|side| {
                side.front.iter().map(|p| {
                    let mut row = vec![side.id.to_string(), p.number.to_string()];
                    row.extend(p.texts.iter().cloned());
                    row.extend([list(&p.dominates), list(&p.dominated_by), p.name.clone()]);
                    row
                })
            })
            .collect();
        let mut lines = table(&head, &rows);
        lines.push(String::new());
        for side in &self.studies {
            let beaten = side.front.iter().filter(|p| !p.dominated_by.is_empty()).count();
            lines.push(format!(
                "study {} ({}): hypervolume {:.3}, {} trials on the front, {beaten} of them dominated by the other's",
                side.id,
                side.name,
                side.hypervolume,
                side.front.len()
            ));
        }
        lines.push(format!(
            "both together: hypervolume {:.3} of the box that their fronts span",
            self.together
        ));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_measured_from_behind_its_worst_corner() {
        let (best, worst) = ([0.0, 10.0], [2.0, 20.0]);
        assert!((box_share(&[vec![0.0, 10.0]], &best, &worst) - 1.0).abs() < 1e-12);
        let ends = box_share(&[vec![0.0, 20.0], vec![2.0, 10.0]], &best, &worst);
        // Two strips of 1.1 by 0.1, less the corner that they share.
        assert!((ends - (2.0 * 0.11 - 0.01) / 1.21).abs() < 1e-12, "{ends}");
        assert_eq!(box_share(&[], &best, &worst), 0.0);
    }
}
