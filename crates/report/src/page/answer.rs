//! The answer: the recommended few, what each gains, and what to type.

use crate::metric::OfTrial as _;
use maud::{Markup, html};

use super::count;
use crate::metric::digits;
use crate::{Analysis, Metric, Outcome, Pick, Reading, USUAL, titles};
use autotune_core::metric::names;
use autotune_store::TrialState;
use autotune_study::estimates::ESTIMATED;
use autotune_worker::recheck;
use autotune_worker::recheck::Standing;

/// Notes under this prefix are warnings that belong next to the answer (a source that is already quantized, a missing sandbox layer).
const WARNING: &str = "warning";

pub(super) fn section(analysis: &Analysis) -> Markup {
    let complete = analysis.trials.iter().filter(|t| t.state == TrialState::Complete).count();
    let recommendation = &analysis.recommendation;
    html! {
        section #answer {
            h2.unseen { "Recommended" }
            @if recommendation.outcome == Outcome::Found {
                @if let Some(pick) = recommendation.picks.first() { (lead(analysis, pick)) }
                p {
                    "Of " (count(analysis.trials.len(), "trial")) ", " (complete) " completed and "
                    (recommendation.front.len()) " are on the front. "
                    @if let Some(floor) = &recommendation.floor { "Recommended: " (floor) "." }
                }
                div.cards {
                    @for pick in &recommendation.picks { (card(analysis, pick)) }
                }
                (how())
            } @else {
                div.note role="status" { p { (sentence(&analysis.summary().nothing())) } }
            }
            @for (_, warning) in analysis.notes.iter().filter(|(key, _)| key.starts_with(WARNING)) {
                div.note { (warning) }
            }
        }
    }
}

/// The whole answer in a sentence.
fn lead(analysis: &Analysis, pick: &Pick) -> Markup {
    html! {
        p.lead {
            "Start with " a href=(format!("#t{}", pick.number)) { "trial " (pick.number) } " (" (titles(&pick.titles)) ")"
            @match pick.lead() {
                Some(comparison) => { ": " strong { (comparison.headline()) } "." },
                None => ", a preset that nothing found so far dominates.",
            }
        }
        @for caution in &analysis.cautions { p.caution { (sentence(caution)) } }
        (reason(analysis, pick))
        @if let Some(trial) = analysis.trial(pick.number) {
            @let commands = analysis.commands(trial);
            p { "Export and run it:" }
            (command(&commands.export))
            @if let Some(run) = &commands.run { (command(run)) }
        }
    }
}

/// The evidence for the answer, in a sentence; the section on trust has the rest.
fn reason(analysis: &Analysis, pick: &Pick) -> Markup {
    let Some(beside) = pick.lead() else { return html! {} };
    let turns = recheck::compare(&analysis.rechecks, pick.number, beside.number)
        .filter(|c| c.standing != Standing::TooFew)
        .map(|c| c.ratio);
    html! {
        p {
            "Evidence: both were built and run on the same machine"
            @if let Some(r) = turns {
                ", re-measured in " (r.samples) " interleaved rounds (" (digits(r.value)) " × the latency, 95 % interval "
                (digits(r.low)) " to " (digits(r.high)) ")"
            }
            @if let Some(p) = beside.paired {
                ", and their code was executed for the same " (count(p.both as usize, "task")) " (" (p.only_trial) " solved by trial "
                (pick.number) " alone, " (p.only_other) " by " (beside.preset) " alone, p = " (format!("{:.2}", p.p_value())) ")"
            }
            ". " a href="#trust" { "How far to trust this" }
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
                        dd {
                            @if metric.too_noisy(reading).is_some() { "too noisy" } @else { (metric.show(reading.value)) }
                            @if let Some((low, high)) = metric.ends(reading) {
                                small { (low) " to " (high) }
                            }
                        }
                    }
                }
            }
            @match &pick.comparison {
                Some(comparison) => {
                    p.muted {
                        "Compared with the nearest preset, " a href=(format!("#t{}", comparison.number)) { (comparison.preset) }
                        @if !comparison.fits { " (which does not fit the budget)" } ":"
                    }
                    ul { @for part in &comparison.parts { li class=(format!("{:?}", part.verdict)) { (part.text) } } }
                    @if let Some(again) = analysis.recheck(pick) { p.muted { (sentence(&again)) } }
                }
                None if trial.origin.preset_name().is_some() => {
                    p.muted { "A preset that no trial dominates." }
                }
                None => p.muted { "No preset was graded to compare with." }
            }
            @if let Some(usual) = &pick.usual { p { (sentence(&usual.sentence())) } }
            (command(&commands.export))
            @if let Some(run) = &commands.run { (command(run)) }
        }
    }
}

/// The rules behind the titles and the words.
fn how() -> Markup {
    html! {
        details {
            summary { "How these were chosen" }
            p { "Balanced: nearest to the best of every objective at once, each scaled to the range that the front spans. "
                "Fastest and smallest: best in the first objective of speed and of memory. "
                "Best quality: the lowest divergence from the uncompressed model; a trial with a higher divergence is chosen only if it solves significantly more tasks than every trial below it. "
                "Where nothing separates trials in quality, less memory is preferred, then less latency, then less divergence; a preset that is as good and cheaper wins over a found candidate." }
            p { "Quality is estimated from the verdicts, paired by task with the uncompressed model's, and from the divergence, which together carry more information than the pass rate alone; "
                "the measured pass rate is shown next to the estimate. Two trials are separated where one is better by a point or more, and better at all with a probability of 80 %." }
            p { "What is estimated below the interval of " (USUAL) ", the usual preset, is not recommended as balanced or best; the fastest and the smallest may lose a little more. The figure and the table show all of it." }
            p { "The nearest preset is the one with the most similar values that fits the budget. "
                "Pass@1 is called indistinguishable when the exact McNemar test on the tasks that both were graded on gives p ≥ 0.05; "
                "other measures when their 95 % intervals overlap; sizes within 0.5 % are called the same." }
        }
    }
}

/// A command line that is broken only between options.
fn command(line: &str) -> Markup {
    let mut groups: Vec<String> = Vec::new();
    for word in line.split(' ') {
        match groups.last_mut() {
            Some(group) if !word.starts_with('-') && group.starts_with('-') => {
                group.push(' ');
                group.push_str(word);
            }
            _ => groups.push(word.to_owned()),
        }
    }
    html! { pre { @for (i, group) in groups.iter().enumerate() { @if i > 0 { " " } span { (group) } } } }
}

/// The speeds that a card shows besides the objectives.
const SPEEDS: [&str; 3] = [names::TTFT_P50_MS, names::PROMPT_TOKENS_PER_S, names::DECODE_TOKENS_PER_S];

/// The objectives with their estimates, the peak, and the speeds.
fn shown(analysis: &Analysis) -> impl Iterator<Item = &Metric> {
    let estimates = analysis.columns.iter().filter(|m| m.name.starts_with(ESTIMATED)).count();
    let first = analysis.objectives.len() + estimates + 1;
    let of_columns =
        move |(i, metric): &(usize, &Metric)| *i < first || SPEEDS.contains(&metric.name.as_str());
    analysis.columns.iter().enumerate().filter(of_columns).map(|(_, metric)| metric)
}

fn sentence(fragment: &str) -> String {
    let mut chars = fragment.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}
