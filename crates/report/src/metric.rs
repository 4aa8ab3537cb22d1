//! Readings of stored trials.

use autotune_core::carried;
use autotune_core::metric::names;
use autotune_store::{Measurement, TrialRecord};

pub use autotune_core::metric::{Family, Metric, Reading, Unit, digits};

/// The peak that the budget bounds.
pub const PEAK: &str = names::PEAK_MEMORY_BYTES;

/// Why a stored percentile of a time is not stated: its samples do not carry it. None for all that is stated.
#[must_use]
pub fn withheld(metric: &str, measurement: &Measurement) -> Option<String> {
    let timed = metric.ends_with("_ms");
    carried::withheld(metric, measurement.samples).filter(|_| timed)
}

/// Reads a trial's measurements.
pub trait OfTrial: Sized {
    /// What a trial measured of a metric; the file size also from the artifact itself. Missing and NaN give none, and so does a percentile
    /// that its samples do not carry (older versions stored those).
    #[must_use]
    fn of(trial: &TrialRecord, metric: &str) -> Option<Self>;
}

impl OfTrial for Reading {
    fn of(trial: &TrialRecord, metric: &str) -> Option<Self> {
        match trial.measurements.get(metric) {
            Some(m) if withheld(metric, m).is_some() => None,
            Some(m) => Some(Self { value: m.value.filter(|v| !v.is_nan())?, low: m.low, high: m.high }),
            None if metric == names::ARTIFACT_BYTES => {
                trial.artifact.as_ref().map(|a| Self { value: a.bytes as f64, low: None, high: None })
            }
            None => None,
        }
    }
}
