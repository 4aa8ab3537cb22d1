//! Repeatability: what measuring an artifact twice gives (A/A), what measuring the recommended in turns with the presets gives, and what
//! disturbed the machine meanwhile.

use crate::metric::OfTrial as _;
use autotune_core::metric::names;
use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{count, trust};
use crate::metric::digits;
use crate::{Analysis, Comparison, Metric, Pick, Reading, titles};
use autotune_core::stats::median;
use autotune_worker::recheck;
use autotune_worker::recheck::{Recheck, Standing};

/// Processor time that others used while a trial was timed, as a share of all cores.
const OTHERS: &str = names::OTHERS_CPU_SHARE;
const LATENCY: &str = names::REQUEST_LATENCY_P50_MS;

pub(super) fn section(analysis: &Analysis) -> Markup {
    let noise = Noise::of(&analysis.rechecks);
    let pairs: Vec<(&Pick, &Comparison, recheck::Comparison)> = analysis
        .recommendation
        .picks
        .iter()
        .flat_map(|pick| pick.comparisons().map(move |beside| (pick, beside)))
        .filter_map(|(pick, beside)| {
            Some((pick, beside, recheck::compare(&analysis.rechecks, pick.number, beside.number)?))
        })
        .collect();
    html! {
        h3 #again { "Repeatability" }
        @match &noise {
            Some(n) => p {
                "A/A: the same file, measured in neighbouring rounds, differed by " (trust::percent(n.median)) " typically and by "
                (trust::percent(n.p95)) " at the 95th percentile (" (count(n.pairs, "pair")) " of " (count(n.trials, "trial"))
                "). No smaller difference of latency is worth a decision."
            },
            None => p.muted {
                "No trial was re-measured: the study ended before that, or recommends presets only. Compare differences with the intervals above."
            }
        }
        @if !pairs.is_empty() { (turns(analysis, &pairs)) }
        (machine(analysis))
    }
}

fn turns(analysis: &Analysis, pairs: &[(&Pick, &Comparison, recheck::Comparison)]) -> Markup {
    html! {
        p { "At the end of the study the recommended trials and their nearest presets were re-measured in interleaved rounds, so that interference affects all of them equally." }
        div.scroll tabindex="0" role="region" aria-label="Interleaved re-measurement" {
            table {
                thead { tr {
                    th scope="col" { "recommended" } th scope="col" { "compared with" } th.n scope="col" { "rounds" }
                    th.n scope="col" { "re-measured ratio" } th.n scope="col" { "in the study" } th scope="col" { "verdict" }
                } }
                tbody { @for (pick, beside, c) in pairs {
                    tr {
                        td { a href=(format!("#t{}", pick.number)) { "trial " (pick.number) } " " (titles(&pick.titles)) }
                        td { a href=(format!("#t{}", beside.number)) { (beside.preset) } }
                        td.n { (c.ratio.samples) }
                        td.n { (digits(c.ratio.value)) " ×" small { (digits(c.ratio.low)) " to " (digits(c.ratio.high)) } }
                        td.n { @match ratio(analysis, pick.number, beside.number) { Some(r) => { (digits(r)) " ×" }, None => "–" } }
                        td { (match c.standing {
                            Standing::Faster => "faster",
                            Standing::Slower => "slower",
                            Standing::Indistinguishable => "indistinguishable",
                            Standing::TooFew => "too few rounds",
                        }) }
                    }
                } }
            }
        }
    }
}

fn ratio(analysis: &Analysis, first: u64, second: u64) -> Option<f64> {
    let of = |n| Reading::of(analysis.trial(n)?, LATENCY).map(|r| r.value).filter(|v| *v > 0.0);
    Some(of(first)? / of(second)?)
}

/// Other load on the machine.
fn machine(analysis: &Analysis) -> Markup {
    let metric = Metric::of(OTHERS);
    let mut shares: Vec<f64> =
        analysis.trials.iter().filter_map(|t| t.value(OTHERS)).filter(|v| v.is_finite()).collect();
    shares.sort_by(f64::total_cmp);
    let repeated = analysis.disturbed.iter().filter(|d| d.again).count();
    html! {
        @if let Some(worst) = shares.last() {
            p {
                "While the " (shares.len()) " timed trials ran, other programs used " (metric.show(median(&shares)))
                " of the cores typically, " (metric.show(*worst)) " at worst"
                @if analysis.disturbed.is_empty() { "; no measurement was affected by interference." }
                @else { "; " (count(analysis.disturbed.len(), "measurement")) " affected by interference, " (repeated) " of them re-measured." }
            }
        }
        @if !analysis.disturbed.is_empty() {
            details {
                summary { "Sources of interference" }
                ul { @for d in &analysis.disturbed {
                    li { a href=(format!("#t{}", d.trial)) { "trial " (d.trial) } ": " (d.why) @if d.again { " (re-measured)" } @else { " (kept)" } }
                } }
            }
        }
    }
}

/// The scatter of measurements of one artifact.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Noise {
    /// Pairs of neighbouring rounds.
    pairs: usize,
    /// Artifacts.
    trials: usize,
    /// Median of the relative differences.
    median: f64,
    /// Their 95th percentile.
    p95: f64,
}

impl Noise {
    fn of(rechecks: &[Recheck]) -> Option<Self> {
        let mut rounds: BTreeMap<u64, BTreeMap<u64, f64>> = BTreeMap::new();
        for r in rechecks.iter().filter(|r| r.latency_ms > 0.0) {
            rounds.entry(r.trial).or_default().insert(r.round, r.latency_ms);
        }
        let mut differences = Vec::new();
        let mut trials = 0;
        for of_trial in rounds.values() {
            let before = differences.len();
            differences.extend(
                of_trial
                    .iter()
                    .filter_map(|(round, b)| Some((b / of_trial.get(&round.checked_sub(1)?)?).ln().abs())),
            );
            trials += usize::from(differences.len() > before);
        }
        differences.sort_by(f64::total_cmp);
        let last = differences.len().checked_sub(1)?;
        Some(Self {
            pairs: differences.len(),
            trials,
            median: median(&differences).exp_m1(),
            p95: differences[(last * 95).div_ceil(100)].exp_m1(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_between_neighbouring_rounds_of_one_artifact() {
        let at = |trial, round, latency_ms| Recheck { round, trial, latency_ms };
        assert_eq!(Noise::of(&[at(1, 0, 100.0), at(2, 1, 300.0)]), None, "two artifacts are no pair");
        // A machine that slows down steadily is no noise of 40 %.
        let drift: Vec<Recheck> = (0..5).map(|i| at(7, i, 100.0 * 1.1f64.powi(i as i32))).collect();
        let n = Noise::of(&drift).unwrap();
        assert_eq!((n.pairs, n.trials), (4, 1));
        assert!((n.median - 0.1).abs() < 1e-9 && (n.p95 - 0.1).abs() < 1e-9, "{n:?}");
        // A round that is missing breaks the pairs around it.
        assert_eq!(Noise::of(&[at(1, 0, 100.0), at(1, 2, 101.0), at(1, 3, 102.01)]).unwrap().pairs, 1);
    }
}
