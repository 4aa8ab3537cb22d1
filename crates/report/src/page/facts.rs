//! How to reproduce a study: command, seed, versions, host, settings.

use autotune_core::metric::names;
use maud::{Markup, html};
use serde_json::Value;

use crate::{Analysis, IMPORTANCE_NOTE, Metric, REGION_NOTE, TASKS_NOTE, moved};
use autotune_core::units::Bytes;
use autotune_store::{Direction, StudyRecord};
use autotune_study::sensitivity::SENSITIVITY_NOTE;

pub(super) fn section(analysis: &Analysis) -> Markup {
    let study = &analysis.study;
    html! {
        section #facts {
            h2 { "Method" }
            pre { (study.command) }
            dl.facts {
                dt { "seed" } dd { (study.seed) }
                dt { "budget" } dd { (Bytes(study.budget_bytes)) " (" (study.budget_bytes) " bytes of measured peak memory)" }
                dt { "model" } dd { (study.model_path) }
                dt { "model hash" } dd { (study.model_hash) }
                dt { "engine" } dd { (study.engine) }
                dt { "energy" }
                dd {
                    @if analysis.trials.iter().any(|t| t.value(names::JOULES_PER_TOKEN).is_some()) {
                        "measured, loading included, while each trial was timed"
                    } @else { "not measurable here" }
                }
                @for objective in &analysis.objectives {
                    @let metric = Metric::of(&objective.metric);
                    dt { "objective" }
                    dd {
                        (metric.label) ", "
                        (match objective.direction { Direction::Min => "less is better", Direction::Max => "more is better" })
                        @if objective.log { ", ratios matter" }
                        @match (objective.bound, moved::bound(analysis, &objective.metric)) {
                            (Some(bound), _) => { ", region up to " (metric.show(bound)) },
                            (None, Some(b)) if b.derived => { ", region up to " (metric.show(b.bound)) ", which follows from the first measurements" },
                            (None, Some(b)) => { ", region up to " (metric.show(b.bound)) },
                            (None, None) => {}
                        }
                    }
                }
            }
            (segments(study))
            @if let Some(identity) = &study.identity_json {
                (json("Inputs of the numbers", identity, false))
            }
            (json("Versions", &study.versions_json, true))
            h3 { "Host" }
            dl.facts { dt { "fingerprint" } dd { (study.host.fingerprint) } }
            (json("Probed machine", &study.host.json, true))
            (json("Settings", &study.settings_json, false))
            (json("Search space", &study.space_json, false))
            @let notes: Vec<_> = analysis.notes.iter().filter(|(key, _)| ![IMPORTANCE_NOTE, REGION_NOTE, SENSITIVITY_NOTE, TASKS_NOTE].contains(&key.as_str())).collect();
            @if notes.iter().any(|(key, _)| !key.starts_with("warning")) {
                details {
                    summary { "Notes of the study" }
                    dl.facts { @for (key, value) in &notes { dt { (key) } dd { (value) } } }
                }
            }
        }
    }
}

/// The segments of a study that has several: this page shows one of them.
fn segments(study: &StudyRecord) -> Markup {
    if study.segments.len() < 2 {
        return html! {};
    }
    html! {
        h3 #segments { "Segments" }
        p {
            "An input that the numbers depend on changed during the study. Trials of different segments are never compared; this \
             page shows segment " (study.segment) "."
        }
        dl.facts {
            @for segment in &study.segments {
                dt { (segment.number) " (" code { "autotune report " (study.root.0) "." (segment.number) } ")" }
                dd {
                    "since " (segment.created.strftime("%Y-%m-%d %H:%M")) " UTC, " (segment.trials) " trials, " (segment.complete) " complete"
                    @for reason in &segment.reasons { "; " (reason) }
                }
            }
        }
    }
}

/// A stored JSON text as a list of names and values.
fn json(title: &str, text: &str, open: bool) -> Markup {
    let mut facts = Vec::new();
    match serde_json::from_str::<Value>(text) {
        Ok(value) => flatten("", &value, &mut facts),
        Err(_) => facts.push((String::new(), text.to_owned())),
    }
    if facts.is_empty() {
        return html! {};
    }
    html! {
        details open[open && facts.len() <= 60] {
            summary { (title) }
            dl.facts { @for (name, value) in &facts { dt { (name) } dd { (value) } } }
        }
    }
}

/// Nested objects become dotted names, lists of plain values one line, empty things nothing.
fn flatten(prefix: &str, value: &Value, facts: &mut Vec<(String, String)>) {
    let join = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                flatten(&join(key), inner, facts);
            }
        }
        Value::Array(items) if items.iter().any(|i| i.is_object() || i.is_array()) => {
            for (i, inner) in items.iter().enumerate() {
                flatten(&join(&(i + 1).to_string()), inner, facts);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => {
            facts.push((prefix.to_owned(), items.iter().map(plain).collect::<Vec<_>>().join(", ")));
        }
        Value::Null => {}
        Value::Number(n) if prefix.ends_with("_bytes") && n.as_u64().is_some() => {
            let bytes = n.as_u64().unwrap_or_default();
            facts.push((prefix.to_owned(), format!("{} ({bytes} bytes)", Bytes(bytes))));
        }
        other => facts.push((prefix.to_owned(), plain(other))),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_becomes_names_and_values() {
        let value = serde_json::json!({
            "cpu": {"model": "Zen 3", "isa": ["avx2", "fma"]}, "ram_bytes": 8_000_000_000u64, "gpus": [],
            "levels": [{"name": "L1"}], "nothing": null
        });
        let mut facts = Vec::new();
        flatten("", &value, &mut facts);
        let lines: Vec<String> = facts.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            lines,
            [
                "cpu.isa=avx2, fma",
                "cpu.model=Zen 3",
                "levels.1.name=L1",
                "ram_bytes=8.00 GB (8000000000 bytes)"
            ]
        );
    }
}
