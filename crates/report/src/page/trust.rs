//! What the reader needs to trust the rest: how wide the intervals are, what measuring again gave, how far the predictions were off, what
//! did not complete and why.

use crate::metric::OfTrial as _;
use autotune_core::metric::names;
use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{again, count, tasks};
use crate::metric::{PEAK, digits};
use crate::{Analysis, Metric, Reading, one_line};
use autotune_core::stats::median;
use autotune_store::{TrialRecord, TrialState};

/// So many trials of one kind of failure are listed in full.
const MOST_LISTED: usize = 50;

pub(super) fn section(analysis: &Analysis) -> Markup {
    html! {
        section #trust {
            h2 { "How far to trust this" }
            (uncertainty(analysis))
            (again::section(analysis))
            (predictions(analysis))
            (tasks::section(&analysis.notes))
            (failures(analysis))
        }
    }
}

fn failures(analysis: &Analysis) -> Markup {
    let mut groups: BTreeMap<(TrialState, &str), Vec<&TrialRecord>> = BTreeMap::new();
    for trial in analysis.trials.iter() {
        if matches!(trial.state, TrialState::Failed | TrialState::Infeasible | TrialState::Stopped) {
            let kind = trial.failure.as_ref().map_or("no reason recorded", |f| f.kind.name());
            groups.entry((trial.state, kind)).or_default().push(trial);
        }
    }
    html! {
        div #failures {
            h3 { "Trials that did not complete" }
            @if groups.is_empty() { p { "Nothing failed, was stopped or was over the budget." } }
            @for ((state, kind), trials) in &groups {
                details open[groups.len() <= 3 && trials.len() <= 12] {
                    summary { (state) ", " (kind.replace('_', " ")) ": " (count(trials.len(), "trial")) }
                    div.scroll tabindex="0" role="region" aria-label=(format!("{state}, {kind}")) {
                        table {
                            thead { tr { th.n scope="col" { "trial" } th scope="col" { "after" } th scope="col" { "reason" } th scope="col" { "configuration" } } }
                            tbody { @for trial in trials.iter().take(MOST_LISTED) {
                                tr {
                                    td.n { a href=(format!("#t{}", trial.number)) { (trial.number) } }
                                    td { (trial.rung.map_or("–", |r| r.name())) }
                                    td.c { (trial.failure.as_ref().map(|f| one_line(&f.text, 400)).unwrap_or_default()) }
                                    td.c { (analysis.name(trial)) }
                                }
                            } }
                        }
                    }
                    @if trials.len() > MOST_LISTED {
                        p.muted { "… and " (trials.len() - MOST_LISTED) " more; `autotune trials` lists them." }
                    }
                }
            }
        }
    }
}

/// How wide the intervals are: what the differences above must be held against.
fn uncertainty(analysis: &Analysis) -> Markup {
    let rows: Vec<(&Metric, usize, f64, f64)> = analysis
        .columns
        .iter()
        .filter_map(|metric| {
            let mut widths: Vec<f64> = analysis
                .trials
                .iter()
                .filter_map(|t| Reading::of(t, &metric.name))
                .filter_map(|r| r.interval().map(|(low, high)| (high - low) / 2.0 / r.value.abs()))
                .filter(|w| w.is_finite())
                .collect();
            widths.sort_by(f64::total_cmp);
            let worst = *widths.last()?;
            Some((metric, widths.len(), median(&widths), worst))
        })
        .collect();
    html! {
        div #uncertainty {
            h3 { "Uncertainty" }
            @if rows.is_empty() { p.muted { "No measurement has an interval yet." } }
            @else {
                p { "Half-widths of the 95 % intervals: differences that are smaller are noise." }
                div.scroll tabindex="0" role="region" aria-label="Uncertainty" {
                    table {
                        thead { tr { th scope="col" { "metric" } th.n scope="col" { "trials" } th.n scope="col" { "typically ±" } th.n scope="col" { "at worst ±" } } }
                        tbody { @for (metric, n, typical, worst) in &rows {
                            tr { td { (metric.label) } td.n { (n) } td.n { (percent(*typical)) } td.n { (percent(*worst)) } }
                        } }
                    }
                }
            }
        }
    }
}

/// A prediction, what it predicted, and what the prediction knew.
const PAIRS: [(&str, &str, &str); 3] = [
    (names::PREDICTED_PEAK_MEMORY_BYTES, PEAK, ""),
    (names::PREDICTED_LATENCY_MS, names::REQUEST_LATENCY_P50_MS, ", before any trial"),
    (names::CORRECTED_LATENCY_MS, names::REQUEST_LATENCY_P50_MS, ", corrected by earlier trials"),
];

fn predictions(analysis: &Analysis) -> Markup {
    let rows: Vec<(Metric, &str, Errors)> = PAIRS
        .iter()
        .filter_map(|(predicted, measured, knew)| {
            Errors::of(&analysis.trials, predicted, measured).map(|e| (Metric::of(measured), *knew, e))
        })
        .collect();
    if rows.is_empty() {
        return html! {};
    }
    html! {
        div #predictions {
            h3 { "Predictions against measurements" }
            p { "Predictions decide only what is tried next; every value above was measured." }
            div.scroll tabindex="0" role="region" aria-label="Prediction errors" {
                table {
                    thead { tr {
                        th scope="col" { "metric" } th.n scope="col" { "trials" } th.n scope="col" { "median error" }
                        th.n scope="col" { "bias" } th.n scope="col" { "worst" } th.n scope="col" { "rank correlation" }
                    } }
                    tbody { @for (metric, knew, e) in &rows {
                        tr {
                            td { (metric.label) (knew) } td.n { (e.count) } td.n { (percent(e.median)) }
                            td.n { (signed(e.bias)) }
                            td.n { (signed(e.worst)) " (" a href=(format!("#t{}", e.worst_number)) { "trial " (e.worst_number) } ")" }
                            td.n { @match e.rank { Some(r) => (digits(r)), None => "–" } }
                        }
                    } }
                }
            }
            p.muted { "Error: (predicted − measured) / measured. Bias: its median with sign. Rank correlation (Spearman): whether predictions order the trials." }
        }
    }
}

pub(super) fn percent(x: f64) -> String {
    format!("{:.1} %", x * 100.0)
}

fn signed(x: f64) -> String {
    format!("{}{:.1} %", if x < 0.0 { "−" } else { "+" }, x.abs() * 100.0)
}

/// How far predictions were off, relative to what was measured.
#[derive(Debug, PartialEq)]
struct Errors {
    count: usize,
    median: f64,
    bias: f64,
    worst: f64,
    worst_number: u64,
    rank: Option<f64>,
}

impl Errors {
    fn of(trials: &[TrialRecord], predicted: &str, measured: &str) -> Option<Self> {
        let pairs: Vec<(u64, f64, f64)> = trials
            .iter()
            .filter_map(|t| {
                let (p, m) = (Reading::of(t, predicted)?.value, Reading::of(t, measured)?.value);
                (p.is_finite() && m.is_finite() && m > 0.0).then_some((t.number, p, m))
            })
            .collect();
        let errors: Vec<(u64, f64)> = pairs.iter().map(|&(n, p, m)| (n, (p - m) / m)).collect();
        let &(worst_number, worst) = errors.iter().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        Some(Self {
            count: pairs.len(),
            median: median(&errors.iter().map(|e| e.1.abs()).collect::<Vec<_>>()),
            bias: median(&errors.iter().map(|e| e.1).collect::<Vec<_>>()),
            worst,
            worst_number,
            rank: spearman(&pairs.iter().map(|p| (p.1, p.2)).collect::<Vec<_>>()),
        })
    }
}

/// Spearman's rank correlation, ties at their mean rank; none where one side does not vary, or under three pairs.
fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 3 {
        return None;
    }
    let x = ranks(&pairs.iter().map(|p| p.0).collect::<Vec<_>>());
    let y = ranks(&pairs.iter().map(|p| p.1).collect::<Vec<_>>());
    let mean = (pairs.len() as f64 - 1.0) / 2.0;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(p, q)| (p - mean) * (q - mean)).sum::<f64>();
    let spread = (dot(&x, &x) * dot(&y, &y)).sqrt();
    (spread > 0.0).then(|| dot(&x, &y) / spread)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let equal = order[start..].iter().take_while(|&&i| values[i] == values[order[start]]).count().max(1);
        let mean = start as f64 + (equal as f64 - 1.0) / 2.0;
        for &i in &order[start..start + equal] {
            ranks[i] = mean;
        }
        start += equal;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlation_knows_order_and_ties() {
        let r = |pairs: &[(f64, f64)]| spearman(pairs);
        assert_eq!(r(&[(1.0, 10.0), (2.0, 100.0), (3.0, 1000.0)]), Some(1.0));
        assert_eq!(r(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), Some(-1.0));
        assert_eq!(r(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(ranks(&[5.0, 1.0, 5.0]), [1.5, 0.0, 1.5]);
        assert_eq!(median(&[3.0, 1.0, 2.0, 10.0]), 2.5);
    }
}
