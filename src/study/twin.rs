//! Trials that differ only in how fast they run: what one was found to write, the other would write, too.
//!
//! Divergence and grading depend on the artifact, the cache types and the kernels (repacked or not), and are observed with one fixed,
//! batch-invariant setting ([`super::prepare::grading_run`]). Two trials that are equal in these are graded once.

use crate::space::Config;
use crate::store::{NewMeasurement, Rung, TrialRecord};

/// The earliest graded trial whose divergence and grades are those of `trial`, too.
#[must_use]
pub(super) fn twin<'t>(
    trials: &'t [TrialRecord],
    trial: &TrialRecord,
    config: &Config,
) -> Option<&'t TrialRecord> {
    let hash = &trial.artifact.as_ref()?.hash;
    let same =
        |other: &Config| (other.kv_k, other.kv_v, other.repack) == (config.kv_k, config.kv_v, config.repack);
    trials.iter().find(|t| {
        t.number != trial.number
            && t.rung == Some(Rung::Graded)
            && t.artifact.as_ref().is_some_and(|a| a.hash == *hash)
            && Config::from_candidate(&t.candidate).is_ok_and(|c| same(&c))
    })
}

/// What a trial measured at one rung, for another trial's rows.
#[must_use]
pub(super) fn measured_at(trial: &TrialRecord, rung: Rung) -> Vec<NewMeasurement> {
    let at = trial.measurements.iter().filter(|(_, m)| m.rung == rung);
    at.map(|(metric, m)| NewMeasurement {
        metric: metric.clone(),
        unit: m.unit.clone(),
        value: m.value,
        low: m.low,
        high: m.high,
        samples: m.samples,
        raw: Vec::new(),
    })
    .collect()
}
