//! The table of all trials: the front first, then by number.

use crate::metric::OfTrial as _;
use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::metric::withheld;
use crate::{Analysis, Metric, Reading, titles};
use autotune_store::{TrialRecord, TrialState};

/// Up to this many trials each row carries its whole candidate.
const MOST_DETAILS: usize = 1000;

pub(super) fn section(analysis: &Analysis) -> Markup {
    let front: BTreeSet<u64> = analysis.recommendation.front.iter().copied().collect();
    let first = analysis.recommendation.front.iter().filter_map(|n| analysis.trial(*n));
    let rest = analysis.trials.iter().filter(|t| !front.contains(&t.number));
    html! {
        section #trials {
            h2 { "All trials" }
            p.muted { "The front first; the ends of 95 % intervals are below the values. `autotune trials --csv` has every number." }
            form #table-tools .tools hidden onsubmit="return false" {
                label { "filter " input #filter type="search" placeholder="Q4_K, complete, fastest …"; }
                label { input #only-front type="checkbox"; " only the front" }
                output #filter-text for="filter" {}
            }
            div.scroll tabindex="0" role="region" aria-label="Table of trials" {
                table.sort {
                    thead { tr {
                        th.n scope="col" { "trial" }
                        th scope="col" { "state" }
                        @for metric in &analysis.columns { th.n scope="col" title=(metric.label) { (metric.short) } }
                        th scope="col" { "configuration" }
                    } }
                    tbody { @for trial in first.chain(rest) { (row(analysis, trial, front.contains(&trial.number))) } }
                }
            }
        }
    }
}

fn row(analysis: &Analysis, trial: &TrialRecord, on_front: bool) -> Markup {
    let class = if on_front {
        Some("f")
    } else if trial.state == TrialState::Complete {
        None
    } else {
        Some("d")
    };
    let picked = titles(analysis.titles(trial.number));
    html! {
        tr id=(format!("t{}", trial.number)) class=[class] {
            td.n { (trial.number) }
            td { (trial.state) @if trial.state != TrialState::Complete { @if let Some(rung) = trial.rung { " after " (rung) } } }
            @for metric in &analysis.columns { (cell(metric, Reading::of(trial, &metric.name))) }
            td.c {
                @if let Some(preset) = trial.origin.preset_name() { span.tag.p { "preset" } " " (preset) }
                @else { (analysis.shortener.short(&trial.candidate)) }
                @if !picked.is_empty() { " " span.tag.b { (picked) } }
                @if analysis.details.contains_key(&trial.number) { " " a href=(format!("#d{}", trial.number)) { "details" } }
                @if analysis.trials.len() <= MOST_DETAILS { (details(analysis, trial)) }
            }
        }
    }
}

fn cell(metric: &Metric, reading: Option<Reading>) -> Markup {
    match reading {
        None => html! { td.n { "–" } },
        Some(r) => html! {
            td.n data-v=(r.value) {
                @if metric.too_noisy(r).is_some() { span.muted { "too noisy" } } @else { (metric.show(r.value)) }
                @if let Some((low, high)) = metric.ends(r) { small { (low) " to " (high) } }
            }
        },
    }
}

fn details(analysis: &Analysis, trial: &TrialRecord) -> Markup {
    html! {
        details {
            summary.muted { "details" }
            dl.facts {
                dt { "origin" } dd { (trial.origin) }
                @for (name, value) in &trial.candidate.0 { dt { (name) } dd { (value) } }
                @for rung in &trial.rungs { dt { (rung.rung) " in" } dd { (format!("{:.1} s", rung.duration.as_secs_f64())) } }
                @for (name, m) in &trial.measurements {
                    @let metric = Metric::of(name);
                    dt { (metric.label) }
                    dd {
                        @match Reading::of(trial, name) {
                            Some(reading) => { (metric.show_interval(reading)) },
                            None => {
                                @if let Some(why) = withheld(name, m) { (why) }
                                @else if m.value.is_some() { "not a number" } @else { "missing" }
                            },
                        }
                        @if m.samples > 1 { span.muted { " from " (m.samples) " samples" } }
                    }
                }
                @if let Some(sentence) = analysis.relative.sentence(trial.number) { dt { "compared with the uncompressed model" } dd { (sentence) } }
                @if let Some(artifact) = &trial.artifact { dt { "artifact" } dd { (artifact.path) " (" (artifact.hash) ")" } }
                @if let Some(failure) = &trial.failure { dt { (failure.kind) } dd { (failure.text) } }
            }
        }
    }
}
