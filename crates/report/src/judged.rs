//! The objectives that trials are judged by: the study's, a pass rate among them by its estimate where there is one.

use autotune_quality::estimate::Estimates;
use autotune_store::{Measurement, Objective, Rung, TrialRecord};
use autotune_study::estimates::{ESTIMATED, ESTIMATED_LOSS, Known};
use autotune_worker::recheck::Recheck;

/// The objectives with what is estimated and what was measured again.
#[derive(Clone, Debug, Default)]
pub struct Judged<'a> {
    /// The objectives: the metric of an estimated pass rate is `estimated_...`.
    pub objectives: Vec<Objective>,
    /// The estimates; none where no objective is a pass rate, or some eligible trial has none.
    pub estimates: Option<&'a Estimates>,
    /// Trials that were re-measured in interleaved rounds.
    pub rechecks: &'a [Recheck],
}

impl<'a> Judged<'a> {
    /// The objectives as they were declared: nothing is estimated.
    #[must_use]
    pub fn plainly(objectives: &[Objective]) -> Self {
        Self { objectives: objectives.to_vec(), estimates: None, rechecks: &[] }
    }

    /// The objectives with estimates that were written into the trials by [`write_estimates`].
    #[must_use]
    pub fn new(objectives: &[Objective], estimates: Option<&'a Estimates>, rechecks: &'a [Recheck]) -> Self {
        let objectives = objectives
            .iter()
            .map(|o| match estimates.is_some() && is_pass_rate(&o.metric) {
                true => Objective { metric: estimated(&o.metric), ..o.clone() },
                false => o.clone(),
            })
            .collect();
        Self { objectives, estimates, rechecks }
    }

    /// Which objective is estimated.
    #[must_use]
    pub fn estimated(&self) -> Option<usize> {
        self.estimates?;
        self.objectives.iter().position(|o| o.metric.starts_with(ESTIMATED))
    }
}

/// The metric of an estimate.
#[must_use]
pub fn estimated(metric: &str) -> String {
    format!("{ESTIMATED}{metric}")
}

fn is_pass_rate(metric: &str) -> bool {
    metric.starts_with("pass_at_")
}

/// Estimates the first objective that is a pass rate, and writes each estimate next to the trial's measurement: `estimated_pass_at_1` and
/// `estimated_loss`, with their 95 % intervals. Nothing is stored.
#[must_use]
pub fn write_estimates(
    trials: &mut [TrialRecord],
    objectives: &[Objective],
    known: &Known,
) -> Option<Estimates> {
    let metric = &objectives.iter().find(|o| is_pass_rate(&o.metric))?.metric;
    let estimates = known.estimates(metric, trials)?;
    for trial in trials {
        let (Some(estimate), Some(raw)) = (estimates.get(trial.number), trial.measurements.get(metric))
        else {
            continue;
        };
        let samples = raw.samples;
        let row = |value: f64, low: f64, high: f64| Measurement {
            rung: Rung::Graded,
            unit: "fraction".to_owned(),
            value: Some(value),
            low: Some(low),
            high: Some(high),
            samples,
        };
        let rate = row(estimate.value, estimate.low, estimate.high);
        let loss = row(estimate.loss, estimate.loss_low, estimate.loss_high);
        trial.measurements.insert(estimated(metric), rate);
        trial.measurements.insert(ESTIMATED_LOSS.to_owned(), loss);
    }
    Some(estimates)
}
