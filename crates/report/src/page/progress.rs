//! How the front grew while the search went on.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, PreEscaped, html};

use super::duration;
use crate::front::{dominates, eligible};
use crate::{Analysis, compare};
use autotune_store::TrialRecord;

/// Size of the figure.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 34.0;

/// The front behind a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// The trial's number.
    pub trial: u64,
    /// Work of all trials up to this one: their rungs' durations, on a clock that does not jump.
    pub work: Duration,
    /// Hypervolume of the front.
    pub volume: f64,
}

pub(super) fn section(analysis: &Analysis) -> Markup {
    let curve = analysis.growth();
    let (Some(first), Some(last)) = (curve.first(), curve.last()) else { return html! {} };
    if curve.len() < 2 || last.volume <= 0.0 || last.work.is_zero() {
        return html! {};
    }
    let is_preset = |g: &&Growth| analysis.trial(g.trial).is_some_and(|t| t.origin.preset_name().is_some());
    let presets = curve.iter().rev().find(is_preset).filter(|g| g.trial != last.trial);
    html! {
        h3 #progress { "How the search went" }
        div.scroll.bare tabindex="0" role="region" aria-label="Growth of the front" { (PreEscaped(figure(&curve, presets))) }
        p.muted {
            "Hypervolume of the front after each trial, as a share of the last, over the time that the trials took ("
            (duration(last.work)) " from trial " (first.trial) " to trial " (last.trial) ")."
            @if let Some(g) = presets {
                " The presets alone reached " (format!("{:.0} %", 100.0 * g.volume / last.volume)) " after " (duration(g.work)) "."
            }
        }
    }
}

fn figure(curve: &[Growth], presets: Option<&Growth>) -> String {
    let (all, last) = curve.last().map_or((1.0, 1.0), |g| (g.work.as_secs_f64(), g.volume));
    let x = |work: Duration| LEFT + work.as_secs_f64() / all * (WIDTH - LEFT - RIGHT);
    let y = |v: f64| HEIGHT - BOTTOM - v / last * (HEIGHT - BOTTOM - TOP);
    let mut svg = format!(
        "<svg class=\"line\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Hypervolume of the front over the time of the trials\">"
    );
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = y(last * part);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{:.0} %</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 5.0,
            100.0 * part
        );
    }
    let step = tick_step(all);
    for i in 0..=(all / step) as u32 {
        let at = Duration::from_secs_f64(f64::from(i) * step);
        let (text, px) = (tick(at), x(at));
        // The last tick is not cut off by the figure's edge.
        let anchor = if px > WIDTH - RIGHT - 20.0 { "end" } else { "middle" };
        let _ = write!(
            svg,
            "<text class=\"tick\" text-anchor=\"{anchor}\" x=\"{px:.1}\" y=\"{}\">{text}</text>",
            HEIGHT - 10.0
        );
    }
    if let Some(g) = presets {
        let px = x(g.work);
        let (anchor, shift) = if px > WIDTH / 2.0 { ("end", -6.0) } else { ("start", 6.0) };
        let _ = write!(
            svg,
            "<line class=\"mark\" x1=\"{px:.1}\" x2=\"{px:.1}\" y1=\"{TOP}\" y2=\"{}\"/><text class=\"tick\" text-anchor=\"{anchor}\" x=\"{:.1}\" y=\"{}\">presets done</text>",
            HEIGHT - BOTTOM,
            px + shift,
            TOP - 7.0
        );
    }
    let mut path = String::new();
    let mut dots = String::new();
    let mut before = 0.0;
    for (i, g) in curve.iter().enumerate() {
        let (px, py) = (x(g.work), y(g.volume));
        match i {
            0 => path = format!("M{px:.1} {py:.1}"),
            _ if g.volume != before => {
                let _ = write!(path, "H{px:.1}V{py:.1}");
            }
            _ => {}
        }
        if g.volume > before {
            let _ = write!(
                dots,
                "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3.5\"><title>trial {}: {:.1} %</title></circle>",
                g.trial,
                100.0 * g.volume / last
            );
        }
        before = g.volume;
    }
    let _ = write!(svg, "<path d=\"{path}H{:.1}\"/>{dots}</svg>", x(Duration::from_secs_f64(all)));
    svg
}

/// Seconds between ticks, so that there are four to eight.
fn tick_step(seconds: f64) -> f64 {
    const STEPS: [f64; 15] = [
        1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0,
    ];
    STEPS
        .into_iter()
        .find(|s| seconds / s <= 8.0)
        .unwrap_or_else(|| (seconds / 8.0 / 86_400.0).ceil() * 86_400.0)
}

/// `0`, `30 s`, `5 min`, `2 h`, `1.5 h`
fn tick(at: Duration) -> String {
    match at.as_secs() {
        0 if at.is_zero() => "0".into(),
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 if s % 60 == 0 => format!("{} min", s / 60),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h", s as f64 / 3600.0),
    }
}

impl Analysis {
    /// The front after each ended trial, in the order in which they ended. Hypervolume in the box between the best and worst values of all
    /// eligible trials, the reference point a tenth behind it.
    #[must_use]
    pub fn growth(&self) -> Vec<Growth> {
        let mut ended: Vec<&TrialRecord> = self.trials.iter().filter(|t| t.state.is_ended()).collect();
        ended.sort_by_key(|t| (t.ended, t.number));
        let costs: Vec<Option<Vec<f64>>> = ended
            .iter()
            .map(|t| {
                eligible(t, &self.judged, self.study.budget_bytes)
                    .is_ok()
                    .then(|| compare::costs(t, &self.judged))
            })
            .collect();
        let all: Vec<&Vec<f64>> = costs.iter().flatten().collect();
        let Some(dimensions) = all.first().map(|c| c.len()) else { return Vec::new() };
        let end = |pick: fn(f64, f64) -> f64, start: f64| -> Vec<f64> {
            (0..dimensions).map(|i| all.iter().map(|c| c[i]).fold(start, pick)).collect()
        };
        let (best, worst) = (end(f64::min, f64::INFINITY), end(f64::max, f64::NEG_INFINITY));
        let (mut front, mut work, mut volume): (Vec<Vec<f64>>, Duration, f64) =
            (Vec::new(), Duration::ZERO, 0.0);
        let mut curve = Vec::new();
        for (trial, cost) in ended.iter().zip(costs) {
            work += trial.work();
            if let Some(cost) = cost
                && !front.iter().any(|f| f == &cost || dominates(f, &cost))
            {
                front.retain(|f| !dominates(&cost, f));
                front.push(cost);
                volume = compare::box_share(&front, &best, &worst);
            }
            curve.push(Growth { trial: trial.number, work, volume });
        }
        curve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_read_well() {
        for (seconds, step, last) in [
            (7.0, 1.0, "7 s"),
            (100.0, 20.0, "1 min 40 s"),
            (660.0, 120.0, "10 min"),
            (7000.0, 1200.0, "1 h"),
        ] {
            assert_eq!(tick_step(seconds), step);
            let most = (seconds / step) as u32;
            let text = tick(Duration::from_secs_f64(f64::from(most) * step));
            assert!(most <= 8 && (text == last || seconds == 7000.0), "{seconds}: {text}");
        }
        assert_eq!(tick(Duration::from_secs(5400)), "1.5 h");
        assert_eq!(tick_step(1e7) % 86_400.0, 0.0);
    }
}
