//! Trials as JSON and CSV, for other programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Analysis;
use super::metric::withheld;
use autotune_store::{Measurement, Segment, StudyRecord, TrialRecord};

/// A number as JSON: finite ones as they are, the others as the strings `NaN`, `Infinity`, `-Infinity`, a missing one as null.
fn number(value: Option<f64>) -> Value {
    match value {
        None => Value::Null,
        Some(x) if x.is_finite() => json!(x),
        Some(x) => Value::String(name_of(x).to_owned()),
    }
}

fn name_of(x: f64) -> &'static str {
    if x.is_nan() {
        "NaN"
    } else if x > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// A stored JSON text as JSON, or as a string when it is none.
fn embedded(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// A study in full.
#[must_use]
pub fn study_json(study: &StudyRecord) -> Value {
    json!({
        "id": study.root,
        "segment": study.segment,
        "segments": study.segments.iter().map(segment_json).collect::<Vec<_>>(),
        "name": study.name,
        "created": study.created.to_string(),
        "state": study.state,
        "reason": study.reason,
        "command": study.command,
        "seed": study.seed,
        "budget_bytes": study.budget_bytes,
        "model_path": study.model_path,
        "model_hash": study.model_hash,
        "engine": study.engine,
        "trials": study.trials.iter().map(|(state, n)| (state.name().to_owned(), json!(n))).collect::<Map<_, _>>(),
        "objectives": embedded(&study.objectives_json),
        "settings": embedded(&study.settings_json),
        "space": embedded(&study.space_json),
        "versions": embedded(&study.versions_json),
        "identity": study.identity_json.as_deref().map(embedded),
        "host": { "fingerprint": study.host.fingerprint, "probe": embedded(&study.host.json) },
    })
}

/// A segment: its number, when it began, what differs from the one before, and how many trials it has.
fn segment_json(segment: &Segment) -> Value {
    json!({
        "segment": segment.number,
        "created": segment.created.to_string(),
        "reasons": segment.reasons,
        "trials": segment.trials,
        "complete": segment.complete,
    })
}

fn measurement_json(name: &str, m: &Measurement) -> Value {
    let mut json = json!({
        "unit": m.unit,
        "value": number(m.value),
        "low": number(m.low),
        "high": number(m.high),
        "samples": m.samples,
        "rung": m.rung,
    });
    if let Some(why) = withheld(name, m) {
        for end in ["value", "low", "high"] {
            json[end] = Value::Null;
        }
        json["withheld"] = Value::String(why);
    }
    json
}

/// One trial: candidate, state, rungs, every measurement with its interval.
#[must_use]
pub fn trial_json(analysis: &Analysis, trial: &TrialRecord) -> Value {
    json!({
        "number": trial.number,
        "segment": analysis.study.segment,
        "origin": trial.origin,
        "state": trial.state,
        "rung": trial.rung,
        "candidate": trial.candidate,
        "hash": trial.hash,
        "failure": trial.failure,
        "artifact": trial.artifact,
        "attempts": trial.attempts,
        "repeats": trial.repeats,
        "beside_reference": analysis.relative.trials.get(&trial.number),
        "on_front": analysis.recommendation.front.contains(&trial.number),
        "titles": analysis.titles(trial.number),
        "created": trial.created.to_string(),
        "ended": trial.ended.map(|t| t.to_string()),
        "rungs": trial.rungs.iter().map(|r| json!({
            "rung": r.rung,
            "started": r.started.to_string(),
            "duration_ms": r.duration.as_millis() as u64,
        })).collect::<Vec<_>>(),
        "measurements": trial.measurements.iter().map(|(name, m)| (name.clone(), measurement_json(name, m))).collect::<Map<_, _>>(),
    })
}

/// A study with its trials.
#[must_use]
pub fn trials_json(analysis: &Analysis) -> Value {
    json!({
        "study": study_json(&analysis.study),
        "recommendation": analysis.recommendation,
        "trials": analysis.trials.iter().map(|t| trial_json(analysis, t)).collect::<Vec<_>>(),
    })
}

/// The trials of a study as CSV (RFC 4180, but lines end in LF): a line each, a column for every parameter and three for every metric
/// (value, `_low`, `_high`; in the metric's unit, missing values empty, others that are not numbers as `NaN`, `Infinity`, `-Infinity`).
#[must_use]
pub fn trials_csv(analysis: &Analysis) -> String {
    let trials = &analysis.trials;
    let params: BTreeSet<&str> =
        trials.iter().flat_map(|t| t.candidate.0.keys().map(String::as_str)).collect();
    let metrics: BTreeSet<&str> =
        trials.iter().flat_map(|t| t.measurements.keys().map(String::as_str)).collect();
    let mut head: Vec<String> = [
        "number",
        "origin",
        "state",
        "rung",
        "on_front",
        "failure_kind",
        "failure_text",
        "artifact_path",
        "artifact_hash",
        "hash",
    ]
    .map(str::to_owned)
    .to_vec();
    head.extend(params.iter().map(|p| format!("param:{p}")));
    head.extend(metrics.iter().flat_map(|m| [(*m).to_owned(), format!("{m}_low"), format!("{m}_high")]));
    let mut csv = String::new();
    line(&mut csv, head.iter().map(String::as_str));
    let front: BTreeSet<u64> = analysis.recommendation.front.iter().copied().collect();
    for trial in trials.iter() {
        let mut cells: Vec<String> = vec![
            trial.number.to_string(),
            trial.origin.to_string(),
            trial.state.to_string(),
            trial.rung.map(|r| r.to_string()).unwrap_or_default(),
            front.contains(&trial.number).to_string(),
            trial.failure.as_ref().map(|f| f.kind.to_string()).unwrap_or_default(),
            trial.failure.as_ref().map(|f| f.text.clone()).unwrap_or_default(),
            trial.artifact.as_ref().map(|a| a.path.clone()).unwrap_or_default(),
            trial.artifact.as_ref().map(|a| a.hash.clone()).unwrap_or_default(),
            trial.hash.clone(),
        ];
        cells.extend(
            params.iter().map(|p| trial.candidate.get(p).map(ToString::to_string).unwrap_or_default()),
        );
        for metric in &metrics {
            let m = trial.measurements.get(*metric);
            cells.extend([m.and_then(|m| m.value), m.and_then(|m| m.low), m.and_then(|m| m.high)].map(plain));
        }
        line(&mut csv, cells.iter().map(String::as_str));
    }
    csv
}

fn plain(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(x) if x.is_finite() => x.to_string(),
        Some(x) => name_of(x).to_owned(),
    }
}

fn line<'a>(csv: &mut String, cells: impl Iterator<Item = &'a str>) {
    for (i, cell) in cells.enumerate() {
        if i > 0 {
            csv.push(',');
        }
        if cell.contains([',', '"', '\n', '\r']) {
            let _ = write!(csv, "\"{}\"", cell.replace('"', "\"\""));
        } else {
            csv.push_str(cell);
        }
    }
    csv.push('\n');
}
