//! Why these: which parameters the results moved with, and how the front grew while the search went on.

use crate::metric::OfTrial as _;
use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use super::{explore, progress};
use crate::front::eligible;
use crate::metric::digits;
use crate::{Analysis, Influence, Metric, Reading, moved};
use autotune_store::TrialRecord;
use autotune_study::sensitivity::Choice;

/// Fewer trials carry no information about a parameter.
const LEAST_TRIALS: usize = 6;

pub(super) fn section(analysis: &Analysis) -> Markup {
    html! {
        section #why {
            h2 { "Why these" }
            (influence(analysis))
            (sensitivity(analysis))
            (effects(analysis))
            (explore::parallel())
            (progress::section(analysis))
        }
    }
}

/// Sobol indices, the most influential parameter first.
fn influence(analysis: &Analysis) -> Markup {
    let of =
        |influence: &Influence, name: &str| influence.parameters.iter().find(|p| p.name == name).cloned();
    let mut names: Vec<&str> =
        analysis.influence.iter().flat_map(|i| i.parameters.iter().map(|p| p.name.as_str())).collect();
    names.sort_unstable();
    names.dedup();
    let most = |name: &str| {
        analysis.influence.iter().filter_map(|i| of(i, name)).map(|s| s.total).fold(0.0, f64::max)
    };
    names.sort_by(|a, b| most(b).total_cmp(&most(a)));
    if names.is_empty() {
        return html! {};
    }
    let columns: Vec<String> = analysis.influence.iter().map(|i| Metric::of(&i.metric).short).collect();
    let cells = |name: &str| {
        html! {
            @for i in &analysis.influence {
                @match of(i, name) {
                    Some(s) => td { (meter(s.first, s.total)) " " (format!("{:.0} %", 100.0 * s.first)) small.muted { " with others " (format!("{:.0} %", 100.0 * s.total)) } },
                    None => td { "–" },
                }
            }
        }
    };
    html! {
        h3 #importance { "Parameter importance" }
        p { "Share of each objective's variance over the whole space that a parameter explains alone, and (lighter) together with others: "
            "Sobol indices of the model that the search fitted to its measurements." }
        (by_parameter("Importance of parameters", &columns, names.into_iter().map(|name| (name, cells(name)))))
    }
}

/// Sensitivity of single choices, as it was probed before the first trial.
fn sensitivity(analysis: &Analysis) -> Markup {
    let probed = moved::sensitivities(&analysis.notes);
    if probed.is_empty() {
        return html! {};
    }
    let cells = |choices: &[Choice]| {
        html! {
            td { @for (i, choice) in choices.iter().enumerate() {
                @if i > 0 { " · " }
                (choice.level) " " (if choice.kl == 0.0 { "0".to_owned() } else { digits(choice.kl) })
            } }
        }
    };
    html! {
        h3 #sensitivity { "Sensitivity of single choices" }
        p { "Mean divergence from the uncompressed model on a little held-out code, in nats a token, while everything else is uncompressed. Probed before the first trial; "
            "the search begins with their sums, and drops them where measured grades say otherwise." }
        (by_parameter("Cost of single choices", &["divergence by level".to_owned()], probed.iter().map(|(name, choices)| (name.as_str(), cells(choices)))))
    }
}

/// For each parameter and objective: the share of the variance between the trials that its levels account for, and its best level.
fn effects(analysis: &Analysis) -> Markup {
    let rows: Vec<&TrialRecord> = analysis
        .trials
        .iter()
        .filter(|t| t.origin.preset_name().is_none())
        .filter(|t| eligible(t, &analysis.objectives, u64::MAX).is_ok())
        .collect();
    let params = explore::params(analysis);
    if rows.len() < LEAST_TRIALS || params.is_empty() {
        return html! { p.muted { "Too few search trials are complete to estimate parameter importance." } };
    }
    let metrics: Vec<Metric> = analysis.objectives.iter().map(|o| Metric::of(&o.metric)).collect();
    let mut table: Vec<(&str, Vec<Option<Effect>>)> = params
        .iter()
        .map(|(name, _)| (name.as_str(), metrics.iter().map(|m| Effect::of(&rows, name, m)).collect()))
        .collect();
    let most = |effects: &[Option<Effect>]| effects.iter().flatten().map(|e| e.share).fold(0.0, f64::max);
    table.sort_by(|a, b| most(&b.1).total_cmp(&most(&a.1)));
    let columns: Vec<String> = metrics.iter().map(|m| m.short.clone()).collect();
    let cells = |effects: &[Option<Effect>]| {
        html! {
            @for (effect, metric) in effects.iter().zip(&metrics) {
                @match effect {
                    Some(e) => td { (meter(e.share, e.share)) " " (format!("{:.0} %", 100.0 * e.share)) small.muted { " best: " (e.best) ", " (metric.show(e.best_value)) " typically" } },
                    None => td { "–" },
                }
            }
        }
    };
    html! {
        h3 { "Observed dependence" }
        p { "Share of the differences between the " (rows.len()) " complete trials of the search that goes with each parameter alone, and its best level there. "
            "The search does not try levels evenly, so this says where it found what, not what a parameter would do by itself; shares do not add up." }
        (by_parameter("Parameters and objectives", &columns, table.iter().map(|(name, effects)| (*name, cells(effects)))))
    }
}

/// A table with a row of cells for each parameter.
fn by_parameter<'a>(
    label: &str,
    columns: &[String],
    rows: impl Iterator<Item = (&'a str, Markup)>,
) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table.effects {
                thead { tr { th scope="col" { "parameter" } @for column in columns { th scope="col" { (column) } } } }
                tbody { @for (name, cells) in rows { tr { th scope="row" { (name) } (cells) } } }
            }
        }
    }
}

/// A bar of one share over a lighter one of another.
fn meter(first: f64, total: f64) -> Markup {
    let width = |share: f64| 100.0 * share.clamp(0.0, 1.0);
    let bar = |class: &str, width: f64| format!("<rect{class} width=\"{width:.0}\" height=\"10\" rx=\"2\"/>");
    let bars = [bar("", 100.0), bar(" class=\"light\"", width(total)), bar(" class=\"fill\"", width(first))];
    html! { (PreEscaped(format!("<svg class=\"meter\" viewBox=\"0 0 100 10\" aria-hidden=\"true\">{}</svg>", bars.concat()))) }
}

/// A parameter's effect on a metric among observed trials.
#[derive(Clone, Debug, PartialEq)]
struct Effect {
    share: f64,
    best: String,
    best_value: f64,
}

impl Effect {
    /// Adjusted share of variance between levels (omega squared, Hays 1963: eta squared less what chance alone would give), and the level
    /// with the best mean. None where fewer than two levels were tried or nothing varies.
    fn of(rows: &[&TrialRecord], param: &str, metric: &Metric) -> Option<Self> {
        let mut groups: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for trial in rows {
            let value = Reading::of(trial, &metric.name)?.value;
            groups.entry(trial.candidate.get(param)?.to_string()).or_default().push(value);
        }
        let (n, k) = (rows.len() as f64, groups.len() as f64);
        if groups.len() < 2 || n <= k {
            return None;
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let all = groups.values().flatten().sum::<f64>() / n;
        let total: f64 = groups.values().flatten().map(|v| (v - all).powi(2)).sum();
        let between: f64 = groups.values().map(|g| g.len() as f64 * (mean(g) - all).powi(2)).sum();
        let within = (total - between) / (n - k);
        let share = ((between - (k - 1.0) * within) / (total + within)).clamp(0.0, 1.0);
        let better = |a: f64, b: f64| Metric::better(metric.direction, a, b);
        let (best, values) = groups.iter().reduce(|a, b| if better(mean(b.1), mean(a.1)) { b } else { a })?;
        (total > 0.0).then(|| Self { share, best: best.clone(), best_value: mean(values) })
    }
}
