//! Trials as the store would give them, for the tests of this folder.

use autotune_core::metric::names;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::metric::Metric;
use autotune_core::space::{Candidate, Value};
use autotune_store::{Measurement, Objective, Origin, Rung, StudyId, TrialId, TrialRecord, TrialState};

/// Latency, peak memory, pass@1.
pub(super) fn objectives() -> Vec<Objective> {
    [names::REQUEST_LATENCY_P50_MS, names::PEAK_MEMORY_BYTES, names::PASS_AT_1]
        .map(|name| Objective {
            metric: name.into(),
            direction: Metric::of(name).direction,
            log: name.ends_with("_ms"),
            bound: None,
            share: None,
        })
        .to_vec()
}

pub(super) fn reading(value: f64, low: Option<f64>, high: Option<f64>) -> Measurement {
    Measurement { rung: Rung::Graded, unit: String::new(), value: Some(value), low, high, samples: 1 }
}

/// A complete trial with exact values of [`objectives`]; a preset is called `P` and its number.
pub(super) fn trial(number: u64, preset: bool, values: [f64; 3]) -> TrialRecord {
    let name = format!("P{number}");
    TrialRecord {
        id: TrialId(number.cast_signed()),
        study: StudyId(1),
        number,
        candidate: Candidate::default().with("n", Value::Int(number.cast_signed())),
        hash: String::new(),
        origin: if preset { Origin::preset(&name) } else { Origin::sampler("s") },
        state: TrialState::Complete,
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
