//! The figures: speed, quality and memory, each against each.

use crate::metric::OfTrial as _;
use autotune_core::metric::names;
use std::collections::BTreeSet;

use maud::{Markup, PreEscaped, html};

use super::explore;

use crate::figure::{Figure, Point, Side, Standing, draw};
use crate::front::{RULE, eligible};
use crate::metric::{PEAK, Reading};
use crate::{Analysis, Family, Metric, Overlay, Result, titles};
use autotune_store::{Objective, TrialRecord};

pub(super) fn section(analysis: &Analysis, overlays: &[Overlay]) -> Result<Markup> {
    let sides = Sides::of(analysis);
    let pairs =
        [(&sides.speed, &sides.quality), (&sides.memory, &sides.quality), (&sides.speed, &sides.memory)];
    let front: BTreeSet<u64> = analysis.recommendation.front.iter().copied().collect();
    let mut figures = Vec::new();
    for (x, y) in pairs {
        let (Some(x), Some(y)) = (x, y) else { continue };
        let points: Vec<Point> =
            analysis.trials.iter().filter_map(|t| point(analysis, &front, t, x, y)).collect();
        if let Some(figure) = draw(&points, x, y)? {
            figures.push((format!("{} and {}", x.metric.label, y.metric.label), figure));
        }
    }
    if figures.is_empty() {
        return Ok(html! {});
    }
    Ok(html! {
        section #fronts {
            h2 { "The fronts" }
            (explore::frame(analysis, overlays))
            div.figures {
                @for (caption, figure) in &figures { (panel(caption, figure)) }
                (key(&figures))
            }
        }
    })
}

/// The figure of two metrics alone, as SVG.
pub(crate) fn figure(analysis: &Analysis, x: Option<&str>, y: Option<&str>) -> Result<Option<String>> {
    let sides = Sides::of(analysis);
    let named = |name: Option<&str>, usual: &Option<Side>| match name {
        Some(name) => {
            let declared = analysis.objectives.iter().find(|o| o.metric == name).map(side);
            let metric = Metric::of(name);
            let log = metric.family == Family::Speed;
            Some(declared.unwrap_or(Side { direction: metric.direction, log, metric }))
        }
        None => usual.clone(),
    };
    let (Some(x), Some(y)) = (named(x, &sides.speed), named(y, &sides.quality)) else { return Ok(None) };
    let front: BTreeSet<u64> = analysis.recommendation.front.iter().copied().collect();
    let points: Vec<Point> =
        analysis.trials.iter().filter_map(|t| point(analysis, &front, t, &x, &y)).collect();
    Ok(draw(&points, &x, &y)?.map(|f| f.svg))
}

fn panel(caption: &str, figure: &Figure) -> Markup {
    html! {
        figure {
            (PreEscaped(&figure.svg))
            figcaption {
                (caption)
                @if figure.outside > 0 { "; " (figure.outside) " dominated or excluded points lie outside" }
            }
        }
    }
}

fn key(figures: &[(String, Figure)]) -> Markup {
    let most = figures.iter().map(|(_, f)| f.drawn).max().unwrap_or(0);
    let mark =
        |inner: &str| PreEscaped(format!("<svg viewBox=\"0 0 68 44\" aria-hidden=\"true\">{inner}</svg>"));
    html! {
        div {
            h3 { "How to read them" }
            div.key {
                (mark(r##"<circle cx="34" cy="22" r="10" fill="#0B62C4"/>"##)) span { "found by the search, on the front" }
                (mark(r##"<rect x="24" y="12" width="20" height="20" fill="#B35000"/>"##)) span { "a preset on the front; hollow: dominated, or not eligible" }
                (mark(r##"<circle cx="34" cy="22" r="7" fill="#0B62C4"/><circle cx="34" cy="22" r="18" fill="none" stroke="#1F2328" stroke-width="3"/>"##)) span { "recommended" }
                (mark(r##"<path d="M34 22h0" stroke="#9AA4AF" stroke-width="14" stroke-linecap="round"/>"##)) span { "dominated; fainter: over the budget or not complete" }
                (mark(r##"<path d="M4 34h28V10h32" fill="none" stroke="#0B62C4" stroke-width="3" opacity=".5"/>"##)) span { "the front of the two metrics of a figure alone" }
                (mark(r##"<path d="M34 4v36M26 4h16M26 40h16" fill="none" stroke="#0B62C4" stroke-width="3" opacity=".55"/>"##)) span { "95 % interval" }
            }
            p { (RULE) }
            p.muted { "Up to " (most) " trials are drawn. A point leads to its row; a pointer over it shows its values." }
        }
    }
}

/// The three axes: the first objective of each family, or what stands for it.
struct Sides {
    speed: Option<Side>,
    memory: Option<Side>,
    quality: Option<Side>,
}

impl Sides {
    fn of(analysis: &Analysis) -> Self {
        let declared = |family: Family| {
            analysis.judged.iter().find(|o| Metric::of(&o.metric).family == family).map(side)
        };
        let measured = |names: &[&str]| {
            names.iter().find(|n| analysis.trials.iter().any(|t| t.measurements.contains_key(**n))).map(
                |name| {
                    let metric = Metric::of(name);
                    Side { direction: metric.direction, log: metric.family == Family::Speed, metric }
                },
            )
        };
        Self {
            speed: declared(Family::Speed).or_else(|| declared(Family::Energy)).or_else(|| {
                measured(&[names::REQUEST_LATENCY_P50_MS, names::TPOT_P50_MS, names::DECODE_TOKENS_PER_S])
            }),
            memory: declared(Family::Memory).or_else(|| measured(&[PEAK])),
            quality: declared(Family::Quality).or_else(|| {
                measured(&[names::PASS_AT_1, names::CODEBLEU, names::KL_MEAN, names::CANONICAL_NLL])
            }),
        }
    }
}

fn side(objective: &Objective) -> Side {
    Side { metric: Metric::of(&objective.metric), direction: objective.direction, log: objective.log }
}

fn point(
    analysis: &Analysis,
    front: &BTreeSet<u64>,
    trial: &TrialRecord,
    x: &Side,
    y: &Side,
) -> Option<Point> {
    let (x_reading, y_reading) = (Reading::of(trial, &x.metric.name)?, Reading::of(trial, &y.metric.name)?);
    let standing = if front.contains(&trial.number) {
        Standing::Front
    } else if eligible(trial, &analysis.judged, analysis.study.budget_bytes).is_ok() {
        Standing::Dominated
    } else {
        Standing::Excluded
    };
    let key = standing == Standing::Front || trial.origin.preset_name().is_some();
    // Only what is linked is hovered over: thousands of hints would fill the file.
    let hover = if key || analysis.trials.len() <= 600 {
        format!(
            "trial {}, {}\n{}: {}\n{}: {}",
            trial.number,
            analysis.name(trial),
            x.metric.label,
            x.metric.show_interval(x_reading),
            y.metric.label,
            y.metric.show_interval(y_reading)
        )
    } else {
        String::new()
    };
    Some(Point {
        number: trial.number,
        x: x_reading,
        y: y_reading,
        standing,
        preset: trial.origin.preset_name().map(str::to_owned),
        titles: titles(analysis.titles(trial.number)),
        hover,
    })
}
