//! What a trial gains over a preset, in words that claim no more than the intervals allow.

use crate::metric::OfTrial as _;
use autotune_core::metric::names;
use std::collections::BTreeMap;

use serde::Serialize;

use super::metric::{Family, Metric, Reading, Unit, digits};
use autotune_core::units::Bytes;
use autotune_store::{Direction, Generation, Objective, TrialRecord, Verdicts};
use autotune_worker::recheck;
use autotune_worker::recheck::Standing;

/// Below this relative difference two byte counts are called the same.
const SAME_BYTES: f64 = 0.005;
/// The verdict of a generation that passed its tests.
pub const PASSED: &str = "passed";
/// Error probability below which paired verdicts are called different.
const SIGNIFICANT: f64 = 0.05;

/// Whether a difference speaks for the trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The trial is better.
    Better,
    /// The trial is worse.
    Worse,
    /// These measurements cannot distinguish them.
    Same,
}

/// One objective's difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The metric.
    pub metric: String,
    /// In words: `1.31 × faster`.
    pub text: String,
    /// For whom it speaks.
    pub verdict: Verdict,
}

/// A trial compared with a preset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The preset's name.
    pub preset: String,
    /// The preset's trial.
    pub number: u64,
    /// Whether the preset itself fits the budget.
    pub fits: bool,
    /// The differences, in the order of the objectives.
    pub parts: Vec<Part>,
    /// Verdicts on the tasks that both were graded on, where there are any.
    pub paired: Option<Paired>,
}

impl Comparison {
    /// One sentence: `compared with Q4_K_M: 1.31 × faster, 212 MB less peak memory, indistinguishable pass@1`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let parts: Vec<&str> = self.parts.iter().map(|p| p.text.as_str()).collect();
        let over = if self.fits { "" } else { " (which does not fit the budget)" };
        format!("compared with {}{over}: {}", self.preset, parts.join(", "))
    }
}

impl Comparison {
    /// Whether the preset is as good in everything that can be distinguished, and better in something: to recommend the trial would refute
    /// itself.
    #[must_use]
    pub fn is_dominated(&self) -> bool {
        let any = |verdict| self.parts.iter().any(|p| p.verdict == verdict);
        any(Verdict::Worse) && !any(Verdict::Better)
    }

    /// Lets what turns at a study's end tell of the latency stand in place of what single measurements told, which others on the machine
    /// met unlike.
    pub fn hear_turns(&mut self, turns: &recheck::Comparison) {
        let verdict = match turns.standing {
            Standing::Faster => Verdict::Better,
            Standing::Slower => Verdict::Worse,
            Standing::Indistinguishable => Verdict::Same,
            Standing::TooFew => return,
        };
        for part in self.parts.iter_mut().filter(|p| p.metric == LATENCY) {
            part.text = words(&Metric::of(LATENCY), turns.ratio.value, 1.0, verdict);
            part.verdict = verdict;
        }
    }

    /// The answer in a sentence: `1.31 × faster and 4.90 MB less peak memory than Q4_K_M at indistinguishable pass@1`. What is better comes
    /// first, what is worse last.
    #[must_use]
    pub fn headline(&self) -> String {
        let of = |verdict: Verdict| -> Vec<&str> {
            self.parts.iter().filter(|p| p.verdict == verdict).map(|p| p.text.as_str()).collect()
        };
        let (better, same, worse) = (of(Verdict::Better), of(Verdict::Same), of(Verdict::Worse));
        let over = if self.fits { "" } else { " (which does not fit the budget)" };
        let mut text = match better.is_empty() {
            true => format!("no better than {}{over}", self.preset),
            false => format!("{} than {}{over}", listed(&better), self.preset),
        };
        if !same.is_empty() {
            let bare: Vec<&str> = same
                .iter()
                .map(|t| t.trim_start_matches("indistinguishable ").trim_start_matches("the same "))
                .collect();
            text.push_str(&format!(" at indistinguishable {}", listed(&bare)));
        }
        if !worse.is_empty() {
            text.push_str(&format!("; but {}", listed(&worse)));
        }
        text
    }
}

/// `a`, `a and b`, `a, b and c`
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Verdicts of two trials on the same tasks and samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Paired {
    /// Samples that only the trial passed.
    pub only_trial: u64,
    /// Samples that only the other passed.
    pub only_other: u64,
    /// Samples that both were graded on.
    pub both: u64,
}

impl Paired {
    /// Pairs the greedy generations of two trials by task; sampled ones have no counterpart.
    #[must_use]
    pub fn of(trial: &[Generation], other: &[Generation]) -> Self {
        let trial = trial.iter().filter(|g| g.sample == 0);
        let passed = |g: &Generation| g.verdict == PASSED;
        let verdicts: BTreeMap<(&str, u32), bool> =
            other.iter().map(|g| ((g.task.as_str(), g.sample), passed(g))).collect();
        let mut paired = Self::default();
        for generation in trial {
            let Some(&theirs) = verdicts.get(&(generation.task.as_str(), generation.sample)) else {
                continue;
            };
            paired.both += 1;
            match (passed(generation), theirs) {
                (true, false) => paired.only_trial += 1,
                (false, true) => paired.only_other += 1,
                _ => {}
            }
        }
        paired
    }

    /// Pairs the verdicts of two trials by task; none where they share no task.
    #[must_use]
    pub fn of_verdicts(trial: &Verdicts, other: &Verdicts) -> Option<Self> {
        let mut paired = Self::default();
        for (task, &passed) in trial {
            match (passed, other.get(task)) {
                (_, None) => continue,
                (true, Some(false)) => paired.only_trial += 1,
                (false, Some(true)) => paired.only_other += 1,
                _ => {}
            }
            paired.both += 1;
        }
        (paired.both > 0).then_some(paired)
    }

    /// Whether the test says that the two differ.
    #[must_use]
    pub fn is_significant(&self) -> bool {
        self.p_value() < SIGNIFICANT
    }

    /// The two-sided exact McNemar test: the probability of a split at least as uneven if both were equally good (McNemar 1947, with
    /// the exact binomial in place of the normal approximation).
    #[must_use]
    pub fn p_value(&self) -> f64 {
        let n = self.only_trial + self.only_other;
        let few = self.only_trial.min(self.only_other);
        if n == 0 {
            return 1.0;
        }
        // Sums C(n, i) / 2^n for i up to `few`, in logarithms so that large n do not underflow early.
        let mut log_term = -(n as f64) * std::f64::consts::LN_2;
        let mut sum = log_term.exp();
        for i in 1..=few {
            log_term += ((n - i + 1) as f64).ln() - (i as f64).ln();
            sum += log_term.exp();
        }
        (2.0 * sum).min(1.0)
    }
}

/// What turns measure again.
pub(super) const LATENCY: &str = names::REQUEST_LATENCY_P50_MS;

/// The finest measure of quality there is: compared although it is no objective, so that a coarse score hides no loss.
pub(super) const FINE: &str = names::KL_MEAN;

/// Compares a trial with a preset in the objectives, and in the divergence where both have it. `paired` decides about Pass@1 where both were graded on the same tasks, otherwise the intervals do.
#[must_use]
pub fn compare(
    trial: &TrialRecord,
    preset: &TrialRecord,
    fits: bool,
    objectives: &[Objective],
    paired: Option<Paired>,
) -> Comparison {
    let fine = (FINE, Direction::Min);
    let parts = objectives
        .iter()
        .map(|o| (o.metric.as_str(), o.direction))
        .chain((!objectives.iter().any(|o| o.metric == FINE)).then_some(fine))
        .filter_map(|(name, direction)| {
            let ours = Reading::of(trial, name)?;
            let theirs = Reading::of(preset, name)?;
            let paired = paired.filter(|p| p.both > 0 && name == names::PASS_AT_1);
            Some(part(&Metric::of(name), direction, ours, theirs, paired))
        })
        .collect();
    Comparison {
        preset: preset.origin.preset_name().map_or_else(|| preset.origin.to_string(), str::to_owned),
        number: preset.number,
        fits,
        parts,
        paired: paired.filter(|p| p.both > 0),
    }
}

/// One metric's difference in words, and for whom it speaks.
pub(super) fn part(
    metric: &Metric,
    direction: Direction,
    ours: Reading,
    theirs: Reading,
    paired: Option<Paired>,
) -> Part {
    let same = match paired {
        Some(paired) => !paired.is_significant(),
        None if metric.unit == Unit::Bytes => {
            (ours.value - theirs.value).abs() <= SAME_BYTES * theirs.value.abs()
        }
        None => ours.overlaps(&theirs),
    };
    let better = Metric::better(direction, ours.value, theirs.value);
    let verdict = match (same, better) {
        (true, _) => Verdict::Same,
        (false, true) => Verdict::Better,
        (false, false) => Verdict::Worse,
    };
    Part { metric: metric.name.clone(), text: words(metric, ours.value, theirs.value, verdict), verdict }
}

fn words(metric: &Metric, ours: f64, theirs: f64, verdict: Verdict) -> String {
    let label = &metric.short;
    if verdict == Verdict::Same {
        return match metric.unit {
            Unit::Bytes => format!("the same {label}"),
            _ => format!("indistinguishable {label}"),
        };
    }
    let better = verdict == Verdict::Better;
    let difference = (ours - theirs).abs();
    match metric.unit {
        Unit::Ms | Unit::Rate if metric.family == Family::Speed && ours > 0.0 && theirs > 0.0 => {
            let ratio = ours / theirs;
            let ratio = ratio.max(ratio.recip());
            let what = if metric.name.starts_with("request_latency") || metric.unit == Unit::Rate {
                String::new()
            } else {
                format!(" ({label})")
            };
            format!("{} × {}{what}", digits(ratio), if better { "faster" } else { "slower" })
        }
        Unit::Bytes => {
            format!("{} {} {label}", Bytes(difference as u64), if ours < theirs { "less" } else { "more" })
        }
        Unit::Share => {
            format!(
                "{:.1} points {} {label}",
                difference * 100.0,
                if ours < theirs { "less" } else { "more" }
            )
        }
        _ => format!("{label} {} {}", digits(difference), if ours > theirs { "higher" } else { "lower" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_decide_about_latency() {
        let part = |metric: &str, text: &str| Part {
            metric: metric.into(),
            text: text.into(),
            verdict: Verdict::Same,
        };
        let mut beside = Comparison {
            preset: "Q4_K_M".into(),
            number: 1,
            fits: true,
            parts: vec![
                part(LATENCY, "indistinguishable latency"),
                part("pass_at_1", "indistinguishable pass@1"),
            ],
            paired: None,
        };
        let turns = |ratio: f64| {
            recheck::ratio_of(&(0..8).map(|i| ratio.ln() + 1e-3 * f64::from(i)).collect::<Vec<_>>())
        };
        beside.hear_turns(&turns(0.8).unwrap());
        assert_eq!(beside.headline(), "1.25 × faster than Q4_K_M at indistinguishable pass@1");
        beside.hear_turns(&turns(1.5).unwrap());
        assert!(beside.headline().contains("× slower"), "{}", beside.headline());
        // Five rounds carry no information.
        beside.hear_turns(&recheck::ratio_of(&[-1.0; 5]).unwrap());
        assert!(beside.headline().contains("slower"));
    }

    #[test]
    fn mcnemar_is_the_exact_binomial() {
        let p = |only_trial, only_other| Paired { only_trial, only_other, both: 100 }.p_value();
        assert_eq!(p(0, 0), 1.0);
        assert_eq!(p(3, 3), 1.0);
        assert!((p(0, 5) - 0.0625).abs() < 1e-12);
        assert!((p(6, 0) - 0.031_25).abs() < 1e-12);
        assert!((p(1, 9) - 2.0 * 11.0 / 1024.0).abs() < 1e-12);
        assert!(p(0, 5000) < 1e-300 || p(0, 5000) == 0.0);
    }

    #[test]
    fn pairs_are_made_by_task_and_sample() {
        let generation = |task: &str, verdict: &str| Generation {
            task: task.into(),
            verdict: verdict.into(),
            ..Generation::default()
        };
        let a = [
            generation("1", "passed"),
            generation("2", "wrong"),
            generation("3", "passed"),
            generation("9", "passed"),
        ];
        let b = [generation("3", "wrong"), generation("2", "passed"), generation("1", "passed")];
        assert_eq!(Paired::of(&a, &b), Paired { only_trial: 1, only_other: 1, both: 3 });
    }

    #[test]
    fn the_words_say_which_way() {
        let say = |name: &str, ours, theirs| {
            let metric = Metric::of(name);
            let exact = |value| Reading { value, low: None, high: None };
            part(&metric, metric.direction, exact(ours), exact(theirs), None).text
        };
        assert_eq!(say("request_latency_p50_ms", 100.0, 131.0), "1.31 × faster");
        assert_eq!(say("request_latency_p50_ms", 131.0, 100.0), "1.31 × slower");
        assert_eq!(say("decode_tokens_per_s", 131.0, 100.0), "1.31 × faster");
        assert_eq!(say("decode_tokens_per_s", 100.0, 131.0), "1.31 × slower");
        assert_eq!(say("ttft_p50_ms", 50.0, 100.0), "2.00 × faster (TTFT)");
        assert_eq!(say("peak_memory_bytes", 3e8, 5.12e8), "212 MB less peak memory");
        assert_eq!(say("peak_memory_bytes", 5.12e8, 5.11e8), "the same peak memory");
        assert_eq!(say("pass_at_1", 0.421, 0.4), "2.1 points more pass@1");
        assert_eq!(say("pass_at_1", 0.4, 0.4), "indistinguishable pass@1");
        assert_eq!(say("kl_mean", 0.02, 0.06), "KL 0.0400 lower");
        assert_eq!(say("codebleu", 0.3, 0.4), "CodeBLEU 0.100 lower");
    }
}
