//! The explorer's frame and data: one figure whose axes the reader chooses. Its script is `explore.js`.

use crate::metric::OfTrial as _;
use autotune_core::metric::names;
use std::collections::BTreeSet;

use maud::{Markup, PreEscaped, html};
use serde_json::{Value, json};

use crate::front::eligible;
use crate::{Analysis, Family, Metric, Overlay, Reading, titles};
use autotune_core::space::Value as Level;
use autotune_store::{Direction, TrialRecord};

/// Beyond this many trials only the front, presets and complete trials are carried, and intervals of the front and presets alone.
const MOST_WHOLE: usize = 2000;
/// Metrics that the axes offer when they were measured, behind the objectives.
const OFFERED: [&str; 21] = [
    names::REQUEST_LATENCY_P50_MS,
    names::REQUEST_LATENCY_P95_MS,
    names::TTFT_P50_MS,
    names::TPOT_P50_MS,
    names::THROUGHPUT_TOKENS_PER_S,
    names::DECODE_TOKENS_PER_S,
    names::PROMPT_TOKENS_PER_S,
    names::PEAK_MEMORY_BYTES,
    names::ARTIFACT_BYTES,
    names::JOULES_PER_TOKEN,
    names::PASS_AT_1,
    names::PASS_AT_10,
    names::CODEBLEU,
    names::KL_MEAN,
    names::TOP1_AGREEMENT,
    names::SYNTAX_VALID,
    names::CANONICAL_NLL,
    names::NEXT_LINE_EXACT,
    names::NEXT_LINE_SIMILARITY,
    names::LOAD_MS,
    names::CANONICAL_ACCURACY,
];

/// Metrics of a trial that are shown next to the figure for any choice of axes.
const USUALLY_TOLD: [&str; 8] = [
    names::TTFT_P50_MS,
    names::DECODE_TOKENS_PER_S,
    names::THROUGHPUT_TOKENS_PER_S,
    names::ARTIFACT_BYTES,
    names::JOULES_PER_TOKEN,
    names::CODEBLEU,
    names::KL_MEAN,
    names::TOP1_AGREEMENT,
];

pub(super) fn frame(analysis: &Analysis, overlays: &[Overlay]) -> Markup {
    let data = data(analysis, overlays);
    html! {
        div #explorer hidden {
            form.tools onsubmit="return false" {
                label { "across " select #axis-x {} }
                label { "up " select #axis-y {} }
                label.wide { "budget " input #budget type="range"; " " output #budget-text for="budget" {} }
                label { input #with-presets type="checkbox" checked; " presets" }
                label { input #with-dominated type="checkbox" checked; " dominated" }
                span #overlays {}
            }
            (marks())
            div.stage {
                svg #plot viewBox="0 0 960 560" role="group" aria-label="Trials by the two chosen metrics; each point leads to its row" {}
                div #tip role="status" { span.muted { "Point at a trial, or reach it with the tab key, to see its configuration and intervals." } }
            }
        }
        script #data type="application/json" { (PreEscaped(script_safe(&data))) }
    }
}

/// What the marks of the figure mean.
fn marks() -> Markup {
    const MARKS: [(&str, &str); 5] = [
        (r#"<g class="point found front"><circle cx="10" cy="8" r="5.5"/></g>"#, "found, on the front"),
        (
            r#"<g class="point preset front"><rect x="5" y="3" width="10" height="10"/></g>"#,
            "preset (hollow: off the front)",
        ),
        (
            r#"<g class="point found front"><circle class="ring" cx="10" cy="8" r="7"/><circle cx="10" cy="8" r="3.5"/></g>"#,
            "recommended",
        ),
        (r#"<g class="point found dominated"><circle cx="10" cy="8" r="4"/></g>"#, "dominated"),
        (r#"<path class="stairs" d="M1 14h7V3h11"/>"#, "front of the two axes alone"),
    ];
    html! {
        ul.marks {
            @for (mark, meaning) in MARKS {
                li { (PreEscaped(format!("<svg viewBox=\"0 0 20 16\" aria-hidden=\"true\">{mark}</svg>"))) (meaning) }
            }
            li { "lines: 95 % intervals" }
        }
    }
}

/// The parallel coordinates, filled by the script.
pub(super) fn parallel() -> Markup {
    html! {
        div.needs-js {
            h3 { "Which parameters lead where" }
            form.tools onsubmit="return false" { label { "best by " select #parallel-by {} } }
            div.scroll tabindex="0" role="region" aria-label="Parallel coordinates" { svg #parallel role="img" aria-label="A line for each complete trial through its parameters and objectives" {} }
            p #parallel-text .muted {}
        }
    }
}

/// JSON inside a script element: nothing in it may look like a tag.
fn script_safe(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn data(analysis: &Analysis, overlays: &[Overlay]) -> Value {
    let metrics = offered(analysis);
    let params = params(analysis);
    let front: BTreeSet<u64> = analysis.recommendation.front.iter().copied().collect();
    let whole = analysis.trials.len() <= MOST_WHOLE;
    let trials: Vec<Value> = analysis
        .trials
        .iter()
        .filter_map(|trial| {
            let key = front.contains(&trial.number) || trial.origin.preset_name().is_some();
            let stands = eligible(trial, &analysis.judged, analysis.study.budget_bytes).is_ok();
            let standing = if front.contains(&trial.number) { 2 } else { u8::from(stands) };
            (whole || key || stands).then(|| row(analysis, trial, standing, &metrics, &params, whole || key))
        })
        .collect();
    let of_family = |family| metrics.iter().find(|m| m.family == family).map(|m| m.name.clone());
    let objective = |family| {
        let declared = analysis.judged.iter().map(|o| Metric::of(&o.metric)).find(|m| m.family == family);
        declared.map(|m| m.name).or_else(|| of_family(family))
    };
    json!({
        "budget": analysis.study.budget_bytes,
        "x": objective(Family::Speed),
        "y": objective(Family::Quality).or_else(|| objective(Family::Memory)),
        "objectives": analysis.judged.iter().map(|o| &o.metric).collect::<Vec<_>>(),
        "metrics": metrics.iter().map(|m| json!({
            "name": m.name, "label": m.label, "short": m.short, "unit": format!("{:?}", m.unit),
            "usual": USUALLY_TOLD.contains(&m.name.as_str()), "max": m.direction == Direction::Max, "log": m.family == Family::Speed || m.name.starts_with("kl_"),
        })).collect::<Vec<_>>(),
        "params": params.iter().map(|(name, levels)| json!({
            "name": name, "levels": levels.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "trials": trials,
        "others": overlays.iter().map(|other| other_front(other, &metrics)).collect::<Vec<_>>(),
    })
}

fn row(
    analysis: &Analysis,
    trial: &TrialRecord,
    standing: u8,
    metrics: &[Metric],
    params: &[(String, Vec<Level>)],
    intervals: bool,
) -> Value {
    let readings: Vec<Option<Reading>> = metrics.iter().map(|m| Reading::of(trial, &m.name)).collect();
    let numbers = |of: fn(Reading) -> Option<f64>| -> Vec<Value> {
        readings.iter().map(|r| short(r.and_then(of))).collect()
    };
    let (low, high) = match intervals {
        true => (numbers(|r| r.interval().map(|i| i.0)), numbers(|r| r.interval().map(|i| i.1))),
        false => (Vec::new(), Vec::new()),
    };
    let levels: Vec<i64> = params
        .iter()
        .map(|(name, levels)| {
            let place = trial.candidate.get(name).and_then(|v| levels.iter().position(|l| l == v));
            place.and_then(|p| i64::try_from(p).ok()).unwrap_or(-1)
        })
        .collect();
    let preset = trial.origin.preset_name();
    json!([
        trial.number,
        standing,
        preset,
        if preset.is_some() { "preset".to_owned() } else { analysis.shortener.short(&trial.candidate) },
        titles(analysis.titles(trial.number)),
        numbers(|r| Some(r.value)),
        low,
        high,
        if standing > 0 { levels } else { Vec::new() },
    ])
}

/// Five significant digits: more would fill the file and show nothing.
fn short(value: Option<f64>) -> Value {
    match value.filter(|v| v.is_finite()) {
        None => Value::Null,
        Some(0.0) => json!(0),
        Some(v) if v.abs() >= 99_999.5 => json!((v.round()) as i64),
        Some(v) => {
            let places = (4.0 - v.abs().log10().floor()).clamp(0.0, 300.0) as usize;
            format!("{v:.places$}").parse::<f64>().map_or(Value::Null, |v| json!(v))
        }
    }
}

fn offered(analysis: &Analysis) -> Vec<Metric> {
    let mut names: Vec<&str> = analysis.objectives.iter().map(|o| o.metric.as_str()).collect();
    names.extend(OFFERED);
    let mut seen = BTreeSet::new();
    names
        .into_iter()
        .filter(|n| seen.insert(*n) && analysis.trials.iter().any(|t| Reading::of(t, n).is_some()))
        .map(Metric::of)
        .collect()
}

/// The parameters that vary among what the search found, with their levels in order.
pub(super) fn params(analysis: &Analysis) -> Vec<(String, Vec<Level>)> {
    let found = || analysis.trials.iter().filter(|t| t.origin.preset_name().is_none());
    let names: BTreeSet<&String> = found().flat_map(|t| t.candidate.0.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let mut levels: Vec<Level> = Vec::new();
            for value in found().filter_map(|t| t.candidate.get(name)) {
                if !levels.contains(value) {
                    levels.push(value.clone());
                }
            }
            levels.sort_by(|a, b| match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => bits(a).total_cmp(&bits(b)).then_with(|| a.to_string().cmp(&b.to_string())),
            });
            (levels.len() > 1).then(|| (name.clone(), levels))
        })
        .collect()
}

/// Types sort by their bits: the first digit of `Q5_K`, `IQ4_NL`, `f16` tells enough.
fn bits(level: &Level) -> f64 {
    let text = level.to_string();
    let number: String =
        text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    number.parse().unwrap_or(0.0)
}

fn other_front(overlay: &Overlay, metrics: &[Metric]) -> Value {
    let other = &overlay.analysis;
    let front = other.recommendation.front.iter().filter_map(|n| other.trial(*n));
    let points: Vec<Value> = front
        .map(|trial| {
            let values: Vec<Value> =
                metrics.iter().map(|m| short(Reading::of(trial, &m.name).map(|r| r.value))).collect();
            json!([trial.number, other.name(trial), values])
        })
        .collect();
    json!({
        "name": other.study.name, "engine": other.study.engine, "shown": overlay.shown,
        "doubts": overlay.doubts.join("; "), "points": points,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_scripts_cannot_be_closed() {
        assert_eq!(short(Some(1234.5678)).to_string(), "1234.6");
        assert_eq!(short(Some(0.000_123_456)).to_string(), "0.00012346");
        assert_eq!(short(Some(212_345_678.9)).to_string(), "212345679");
        assert_eq!(short(Some(f64::NAN)), Value::Null);
        let text = script_safe(&json!("</script><!--"));
        assert!(!text.contains('<'), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), "</script><!--");
    }
}
