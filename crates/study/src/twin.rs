//! Trials that differ only in how fast they run: what one was found to write, the other would write, too.
//!
//! Divergence and grading depend on the artifact, the cache types and the kernels (repacked or not), and are observed with one fixed,
//! batch-invariant setting ([`super::prepare::grading_run`]). Two trials that are equal in these are graded once.

use autotune_core::space::Config;
use autotune_store::{NewMeasurement, Rung, TrialRecord};

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use autotune_core::space::{Candidate, Value};
    use autotune_store::{Artifact, Measurement, Origin, StudyId, TrialId, TrialState};

    fn trial(number: u64, hash: &str, rung: Rung, settings: &[(&str, Value)]) -> TrialRecord {
        let candidate = settings.iter().fold(Candidate::default(), |c, (k, v)| c.with(k, v.clone()));
        let number_of = i64::try_from(number).unwrap();
        TrialRecord {
            id: TrialId(number_of),
            study: StudyId(1),
            number,
            candidate,
            hash: number.to_string(),
            origin: Origin::sampler("random"),
            state: TrialState::Complete,
            rung: Some(rung),
            failure: None,
            artifact: Some(Artifact { path: "a".into(), bytes: 1, hash: hash.into(), sha256: None }),
            unfinished_at_ask: Vec::new(),
            attempts: 1,
            worker: None,
            created: Timestamp::UNIX_EPOCH,
            started: None,
            ended: None,
            rungs: Vec::new(),
            measurements: BTreeMap::new(),
            repeats: 0,
        }
    }

    fn text(s: &str) -> Value {
        Value::Text(s.to_owned())
    }

    fn reused(earlier: &TrialRecord, trial: &TrialRecord) -> bool {
        let config = Config::from_candidate(&trial.candidate).unwrap();
        twin(std::slice::from_ref(earlier), trial, &config).is_some()
    }

    #[test]
    fn grades_are_reused_where_only_speed_differs() {
        let base = [("kv.k", text("q8_0")), ("kv.v", text("q8_0")), ("threads", Value::Int(2))];
        let earlier = trial(1, "h", Rung::Graded, &base);
        let faster = [("threads", Value::Int(1)), ("batch", Value::Int(4)), ("ubatch", Value::Int(64))];
        let same_text = [base[..2].to_vec(), faster.to_vec()].concat();
        assert!(reused(&earlier, &trial(2, "h", Rung::Measured, &same_text)));
    }

    #[test]
    fn grades_are_not_reused_where_what_is_written_may_differ() {
        let base = [("kv.k", text("q8_0")), ("kv.v", text("q8_0")), ("repack", Value::Bool(true))];
        let earlier = trial(1, "h", Rung::Graded, &base);
        assert!(reused(&earlier, &trial(2, "h", Rung::Measured, &base)));
        for (name, other) in [("kv.k", text("f16")), ("kv.v", text("f16")), ("repack", Value::Bool(false))] {
            let mut changed = base.to_vec();
            changed.retain(|(known, _)| *known != name);
            changed.push((name, other));
            assert!(!reused(&earlier, &trial(2, "h", Rung::Measured, &changed)), "{name}");
        }
        assert!(!reused(&earlier, &trial(2, "other", Rung::Measured, &base)), "another artifact");
        assert!(!reused(&earlier, &trial(1, "h", Rung::Graded, &base)), "itself");
        let diverged = trial(1, "h", Rung::Diverged, &base);
        assert!(!reused(&diverged, &trial(2, "h", Rung::Measured, &base)), "not graded");
        let built = TrialRecord { artifact: None, ..trial(2, "h", Rung::Measured, &base) };
        assert!(!reused(&earlier, &built), "no artifact");
    }

    #[test]
    fn only_what_a_rung_measured_is_taken_over() {
        let mut earlier = trial(1, "h", Rung::Graded, &[]);
        let at = |rung, value| Measurement {
            rung,
            unit: "nats".into(),
            value: Some(value),
            low: Some(value - 1.0),
            high: Some(value + 1.0),
            samples: 7,
        };
        earlier.measurements.insert("kl_mean".into(), at(Rung::Diverged, 3.0));
        earlier.measurements.insert("pass_at_1".into(), at(Rung::Graded, 9.0));
        let rows = measured_at(&earlier, Rung::Diverged);
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.metric.as_str(), row.unit.as_str(), row.samples), ("kl_mean", "nats", 7));
        assert_eq!((row.value, row.low, row.high), (Some(3.0), Some(2.0), Some(4.0)));
    }
}
