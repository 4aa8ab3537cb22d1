//! Why these: which parameters the results moved with, and how the front grew while the search went on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use super::explore;
use crate::report::front::eligible;
use crate::report::{Analysis, Metric, Reading, compare, moved};
use crate::store::TrialRecord;

/// Fewer trials tell nothing about a parameter.
const LEAST_TRIALS: usize = 6;

pub(super) fn section(analysis: &Analysis) -> Markup {
    html! {
        section #why {
            h2 { "Why these" }
            (importance(analysis))
            (effects(analysis))
            (explore::parallel())
            (progress(analysis))
        }
    }
}

/// The Sobol indices that the study's end left, as bars: what a parameter explains alone, and with others.
fn importance(analysis: &Analysis) -> Markup {
    let Some(moved) = moved::moved(analysis) else { return html! {} };
    let Some(first) = moved.objectives.first() else { return html! {} };
    let metrics: Vec<Metric> = moved.objectives.iter().map(|o| Metric::of(&o.metric)).collect();
    let most = |i: usize| {
        moved.objectives.iter().filter_map(|o| Some(o.parameters.get(i)?.total)).fold(0.0, f64::max)
    };
    let mut order: Vec<usize> = (0..first.parameters.len()).collect();
    order.sort_by(|&a, &b| most(b).total_cmp(&most(a)).then(a.cmp(&b)));
    html! {
        h3 { "What moves the objectives" }
        p { "Predicted: shares of each objective's variance over the whole space that a parameter explains alone (bar), and together with others (in brackets), by a model "
            "of the " (moved.trials) " complete trials (first-order and total Sobol indices)." }
        div.scroll tabindex="0" role="region" aria-label="Sobol indices" {
            table {
                thead { tr { th scope="col" { "parameter" } @for m in &metrics { th scope="col" { (m.short) } } } }
                tbody { @for i in order {
                    tr {
                        th scope="row" { (first.parameters[i].name) }
                        @for o in &moved.objectives {
                            @match o.parameters.get(i) {
                                Some(p) => td { (meter(p.first)) " " (format!("{:.0} %", 100.0 * p.first)) small.muted { " (" (format!("{:.0} %", 100.0 * p.total)) ")" } },
                                None => td { "–" },
                            }
                        }
                    }
                } }
            }
        }
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
        return html! { p.muted { "Too few trials of the search are complete to tell what moved the results." } };
    }
    let metrics: Vec<Metric> = analysis.objectives.iter().map(|o| Metric::of(&o.metric)).collect();
    let mut table: Vec<(&str, Vec<Option<Effect>>)> = params
        .iter()
        .map(|(name, _)| (name.as_str(), metrics.iter().map(|m| Effect::of(&rows, name, m)).collect()))
        .collect();
    let most = |effects: &[Option<Effect>]| effects.iter().flatten().map(|e| e.share).fold(0.0, f64::max);
    table.sort_by(|a, b| most(&b.1).total_cmp(&most(&a.1)));
    html! {
        h3 { "What the results moved with" }
        p { "Share of the differences between the " (rows.len()) " complete trials of the search that goes with each parameter alone, and its best level there. "
            "The search does not try levels evenly, so this says where it found what, not what a parameter would do by itself; shares do not add up." }
        div.scroll tabindex="0" role="region" aria-label="Parameters and objectives" {
            table {
                thead { tr { th scope="col" { "parameter" } @for m in &metrics { th scope="col" { (m.short) } } } }
                tbody { @for (name, effects) in &table {
                    tr {
                        th scope="row" { (name) }
                        @for (effect, metric) in effects.iter().zip(&metrics) {
                            @match effect {
                                Some(e) => td { (meter(e.share)) " " (format!("{:.0} %", 100.0 * e.share)) small.muted { " best: " (e.best) ", " (metric.show(e.best_value)) " typically" } },
                                None => td { "–" },
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn meter(share: f64) -> Markup {
    html! { (PreEscaped(format!("<svg class=\"meter\" viewBox=\"0 0 100 10\" aria-hidden=\"true\"><rect width=\"100\" height=\"10\" rx=\"2\"/><rect class=\"fill\" width=\"{:.0}\" height=\"10\" rx=\"2\"/></svg>", 100.0 * share.clamp(0.0, 1.0)))) }
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

/// Hypervolume after each trial, in the box that the final front and the presets span.
fn progress(analysis: &Analysis) -> Markup {
    let curve = analysis.hypervolume_curve();
    let Some(&(_, last)) = curve.last() else { return html! {} };
    if curve.len() < 2 || last <= 0.0 {
        return html! {};
    }
    let (w, h, left, bottom) = (900.0, 240.0, 60.0, 40.0);
    let first = curve[0].0 as f64;
    let span = (curve[curve.len() - 1].0 as f64 - first).max(1.0);
    let x = |n: u64| left + (n as f64 - first) / span * (w - left - 20.0);
    let y = |v: f64| h - bottom - v / last * (h - bottom - 16.0);
    let mut path = String::new();
    for (i, (n, v)) in curve.iter().enumerate() {
        let _ = match i {
            0 => write!(path, "M{:.1} {:.1}", x(*n), y(*v)),
            _ => write!(path, "H{:.1}V{:.1}", x(*n), y(*v)),
        };
    }
    let mut svg = format!(
        "<svg class=\"line\" viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"Hypervolume of the front after each trial\">"
    );
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = y(last * part);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{:.0} %</text>",
            w - 20.0,
            left - 8.0,
            at + 5.0,
            100.0 * part
        );
    }
    let marks =
        [(curve[0].0, "start"), (curve[curve.len() / 2].0, "middle"), (curve[curve.len() - 1].0, "end")];
    for (n, anchor) in marks {
        let _ = write!(
            svg,
            "<text class=\"tick\" text-anchor=\"{anchor}\" x=\"{:.1}\" y=\"{}\">trial {n}</text>",
            x(n),
            h - 12.0
        );
    }
    let presets = curve
        .iter()
        .rev()
        .find(|(n, _)| analysis.trial(*n).is_some_and(|t| t.origin.preset_name().is_some()));
    let _ = write!(svg, "<path d=\"{path}\"/></svg>");
    html! {
        h3 #progress { "How the search went" }
        (PreEscaped(svg))
        p.muted {
            "Hypervolume of the front after each trial, as a share of the last."
            @if let Some((n, v)) = presets { " The presets alone reached " (format!("{:.0} %", 100.0 * v / last)) " by trial " (n) "." }
        }
    }
}

impl Analysis {
    /// The hypervolume of the front after each ended trial, by trial number: scaled to the box between the best and worst values of all
    /// eligible trials, the reference point a tenth behind it.
    #[must_use]
    pub fn hypervolume_curve(&self) -> Vec<(u64, f64)> {
        let mut ended: Vec<&TrialRecord> = self.trials.iter().filter(|t| t.state.is_ended()).collect();
        ended.sort_by_key(|t| (t.ended, t.number));
        let costs: Vec<Option<Vec<f64>>> = ended
            .iter()
            .map(|t| {
                eligible(t, &self.objectives, self.study.budget_bytes)
                    .is_ok()
                    .then(|| compare::costs(t, &self.objectives))
            })
            .collect();
        let all: Vec<&Vec<f64>> = costs.iter().flatten().collect();
        let Some(dimensions) = all.first().map(|c| c.len()) else { return Vec::new() };
        let end = |pick: fn(f64, f64) -> f64, start: f64| -> Vec<f64> {
            (0..dimensions).map(|i| all.iter().map(|c| c[i]).fold(start, pick)).collect()
        };
        let (best, worst) = (end(f64::min, f64::INFINITY), end(f64::max, f64::NEG_INFINITY));
        let (mut front, mut curve, mut last): (Vec<Vec<f64>>, Vec<(u64, f64)>, f64) =
            (Vec::new(), Vec::new(), 0.0);
        for (trial, cost) in ended.iter().zip(costs) {
            if let Some(cost) = cost
                && !front.iter().any(|f| f == &cost || crate::report::front::dominates(f, &cost))
            {
                front.retain(|f| !crate::report::front::dominates(&cost, f));
                front.push(cost);
                last = compare::box_share(&front, &best, &worst);
            }
            curve.push((trial.number, last));
        }
        curve
    }
}
