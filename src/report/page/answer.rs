//! The answer: the recommended few, what each gains, and what to type.

use maud::{Markup, html};

use super::count;
use crate::report::{Analysis, Metric, Outcome, Pick, Reading, titles};
use crate::store::TrialState;

/// Notes under this prefix are warnings that belong beside the answer (a source that is already quantized, a missing sandbox layer).
const WARNING: &str = "warning";

pub(super) fn section(analysis: &Analysis) -> Markup {
    let complete = analysis.trials.iter().filter(|t| t.state == TrialState::Complete).count();
    let recommendation = &analysis.recommendation;
    html! {
        section aria-label="Recommended" {
            @if recommendation.outcome == Outcome::Found {
                p {
                    "Of " (count(analysis.trials.len(), "trial")) ", " (complete) " completed and "
                    (recommendation.front.len()) " are on the front. "
                    @if let Some(floor) = &recommendation.floor { "Recommended: " (floor) "." }
                }
                div.cards {
                    @for pick in &recommendation.picks { (card(analysis, pick)) }
                }
            } @else {
                div.note role="status" { p { (sentence(&analysis.summary().nothing())) } }
            }
            @for (_, warning) in analysis.notes.iter().filter(|(key, _)| key.starts_with(WARNING)) {
                div.note { (warning) }
            }
        }
    }
}

fn card(analysis: &Analysis, pick: &Pick) -> Markup {
    let Some(trial) = analysis.trial(pick.number) else { return html! {} };
    let commands = analysis.commands(trial);
    html! {
        article.card {
            h3 { (titles(&pick.titles)) }
            p.name { a href=(format!("#t{}", trial.number)) { "Trial " (trial.number) } ": " (analysis.name(trial)) }
            dl.values {
                @for metric in shown(analysis) {
                    @if let Some(reading) = Reading::of(trial, &metric.name) {
                        dt { (metric.short) }
                        dd { (metric.show_interval(reading)) }
                    }
                }
            }
            @match &pick.comparison {
                Some(comparison) => {
                    p.muted {
                        "Beside the nearest preset, " a href=(format!("#t{}", comparison.number)) { (comparison.preset) }
                        @if !comparison.fits { " (which does not fit the budget)" } ":"
                    }
                    ul { @for part in &comparison.parts { li class=(format!("{:?}", part.verdict)) { (part.text) } } }
                }
                None if trial.origin.preset_name().is_some() => {
                    p.muted { "A preset: no other trial beats it here." }
                }
                None => p.muted { "No preset was graded to compare with." }
            }
            pre { (commands.export) @if let Some(run) = &commands.run { "\n" (run) } }
        }
    }
}

/// The objectives and the peak.
fn shown(analysis: &Analysis) -> impl Iterator<Item = &Metric> {
    analysis.columns.iter().take(analysis.objectives.len() + 1)
}

fn sentence(fragment: &str) -> String {
    let mut chars = fragment.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}
