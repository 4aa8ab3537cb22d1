//! Re-timing a complete trial at the sampler's request, because its place on the front is uncertain.

use autotune_core::metric::names;
use std::time::Instant;

use jiff::Timestamp;

use super::event::{Event, Observer};
use super::trial::timing_request;
use super::{Study, done_or_why, metrics};
use autotune_core::space::Config;
use autotune_core::units::Bytes;
use autotune_search::History;
use autotune_store::{NewMeasurement, NewRepeat, TrialRecord};
use autotune_worker::artifact::{Measured, measure};
use autotune_worker::supervisor::End;

const LATENCY: &str = names::REQUEST_LATENCY_P50_MS;

impl Study<'_> {
    /// Re-times a trial and stores the result with the trial. A run that fails is stored with its reason, and counts as one.
    ///
    /// # Errors
    /// The user stopped it ([`super::Stopped`]), or the database or the machine broke; nothing is stored then.
    pub(super) fn repeat(&self, number: u64, observer: &mut dyn Observer) -> anyhow::Result<()> {
        let (started, clock) = (Timestamp::now(), Instant::now());
        let trial = self.cx.store.trial(self.cx.id, number)?;
        observer.hear(&Event::Remark {
            text: format!("trial {number} is re-timed: its place on the front is uncertain"),
        });
        let outcome = match self.restored(&trial, observer)? {
            Ok(()) => self.time_again(&trial)?,
            Err(reason) => Err(reason),
        };
        let (measurements, failure) = match outcome {
            Ok(rows) => (rows, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let before = trial.value(LATENCY);
        let now = measurements.iter().find(|m| m.metric == LATENCY).and_then(|m| m.value);
        let text = match (&failure, before, now) {
            (Some(reason), ..) => format!("trial {number} could not be re-timed: {reason}"),
            (None, Some(before), Some(now)) => {
                format!("trial {number}: {now:.0} ms a request this time, {before:.0} ms before")
            }
            (None, ..) => format!("trial {number} was re-timed"),
        };
        let repeat = NewRepeat { started, duration: clock.elapsed(), measurements, failure };
        self.cx.store.add_repeat(self.cx.id, number, &repeat)?;
        observer.hear(&Event::Remark { text });
        Ok(())
    }

    fn time_again(&self, trial: &TrialRecord) -> anyhow::Result<Result<Vec<NewMeasurement>, String>> {
        let Some(artifact) = &trial.artifact else { return Ok(Err("it has no artifact".to_owned())) };
        let config = Config::from_candidate(&trial.candidate)?;
        let path = self.cx.results.join(&artifact.path);
        let request = timing_request(self.cx.kit, self.cx.settings, self.prepared, &config, &path);
        let measured = measure(self.cx.supervisor, request, self.cx.cancelled, &mut |_| {})?;
        if measured.outcome.end == End::OverMemory {
            return Ok(Err(format!("it went over the budget of {}", Bytes(self.cx.settings.budget_bytes))));
        }
        if let Err(reason) = done_or_why(measured.outcome.end.clone(), "re-time a trial")? {
            return Ok(Err(reason));
        }
        if !measured.stopped.is_zero() {
            return Ok(Err("this process was stopped meanwhile".to_owned()));
        }
        let Some(rows) = self.rows(&measured) else { return Ok(Err("no timing was reported".to_owned())) };
        Ok(match rows.iter().find_map(NewMeasurement::fault) {
            Some(fault) => Err(format!("a measurement is not a number: {fault}")),
            None => Ok(rows),
        })
    }

    fn rows(&self, measured: &Measured) -> Option<Vec<NewMeasurement>> {
        let samples = measured.samples.as_ref()?;
        let summary = samples.summary(&self.cx.settings.workload);
        let peak = measured.outcome.peak_bytes.unwrap_or_default();
        Some(metrics::of_repeat(metrics::of_timing(samples, &summary, self.cx.settings, measured, peak)))
    }

    /// The history, in which only trials whose artifact is still there can be re-timed.
    pub(super) fn with_artifacts(&self, mut history: History, trials: &[TrialRecord]) -> History {
        for (observation, trial) in history.observations.iter_mut().zip(trials) {
            let there = trial.artifact.as_ref().is_some_and(|a| self.cx.results.join(&a.path).exists());
            observation.repeats = observation.repeats.filter(|_| there);
        }
        history
    }
}
