//! Cautions next to an answer whose intervals are wide: too few tasks, an uncertain latency.

use crate::metric::OfTrial as _;
use autotune_core::metric::names;
use std::time::Duration;

use super::gain::{LATENCY, Paired};
use super::metric::{Metric, Reading};
use super::recommend::Recommendation;
use autotune_quality::estimate::{distinguishable_from, tasks_needed};
use autotune_store::{Objective, Rung, TrialRecord, TrialState};
use autotune_study::estimates::ESTIMATED_LOSS;

/// The pass rate of greedy answers, of which single verdicts are paired.
const PASSED: &str = names::PASS_AT_1;
/// A latency whose interval is wider than this factor is said to be hardly known.
const WIDE: f64 = 1.5;
/// More tasks than this are not advised.
const MOST_TASKS: u64 = 2000;
/// Rates that are nearer than this to one another are called the same.
const SAME: f64 = 0.005;

/// Cautions for the first pick, as fragments of sentences; none where its figures suffice.
#[must_use]
pub fn cautions(
    trials: &[TrialRecord],
    objectives: &[Objective],
    recommendation: &Recommendation,
    paired: &dyn Fn(u64, u64) -> Option<Paired>,
) -> Vec<String> {
    let find = |number: u64| trials.iter().find(|t| t.number == number);
    let Some(lead) = recommendation.picks.first().and_then(|p| find(p.number)) else { return Vec::new() };
    let mut said = Vec::new();
    if objectives.iter().any(|o| o.metric == PASSED) {
        said.extend(tasks(lead, trials, paired));
    }
    said.extend(latency(lead));
    said
}

/// The other trials that were graded on the same tasks and whose pass rates cannot be distinguished from this one's.
fn tasks(
    lead: &TrialRecord,
    trials: &[TrialRecord],
    paired: &dyn Fn(u64, u64) -> Option<Paired>,
) -> Option<String> {
    let rate = |t: &TrialRecord| Reading::of(t, PASSED).map(|r| r.value).filter(|v| v.is_finite());
    let own = rate(lead)?;
    let complete = |t: &&TrialRecord| t.state == TrialState::Complete && t.number != lead.number;
    let open = trials
        .iter()
        .filter(complete)
        .filter_map(|t| Some((t, rate(t)?, paired(lead.number, t.number).filter(|p| !p.is_significant())?)));
    // Whatever passed more is what a reader asks about first; else what differs most.
    let (rival, theirs, pair) = open.max_by(|a, b| {
        let key = |x: &(&TrialRecord, f64, Paired)| (x.1 > own, (x.1 - own).abs());
        let (a_key, b_key) = (key(a), key(b));
        a_key.0.cmp(&b_key.0).then(a_key.1.total_cmp(&b_key.1)).then(b.0.number.cmp(&a.0.number))
    })?;
    let differ = pair.only_trial + pair.only_other;
    let n = pair.both as f64;
    // Half a task more than was seen: that none differed yet does not mean that none would.
    let share = (differ as f64 + 0.5) / (n + 1.0);
    let metric = Metric::of(PASSED);
    let loss = Reading::of(lead, ESTIMATED_LOSS).and_then(|r| {
        let (low, high) = r.interval()?;
        Some(format!(
            "; with everything else that is known, trial {} loses {:.1} points to the uncompressed model, {:.1} to {:.1}",
            lead.number,
            100.0 * r.value,
            100.0 * low,
            100.0 * high
        ))
    });
    let loss = loss.unwrap_or_default();
    let difference = (own - theirs).abs();
    if difference < SAME {
        let least = 100.0 * distinguishable_from(pair.both, share);
        return Some(format!(
            "{} tasks can only distinguish pass rates that differ by about {least:.0} points or more{loss}",
            pair.both
        ));
    }
    let text = format!(
        "too few tasks to distinguish {} from {} (trials {} and {} on {} tasks, p = {:.2})",
        metric.show(own.min(theirs)),
        metric.show(own.max(theirs)),
        lead.number.min(rival.number),
        lead.number.max(rival.number),
        pair.both,
        pair.p_value()
    );
    let needed = tasks_needed(difference, share).map(|needed| needed.max(pair.both + 1));
    let remedy = match needed {
        Some(needed) if needed <= MOST_TASKS => {
            let time = time(trials, needed).map(|t| format!(", in {t}")).unwrap_or_default();
            format!("--task-limit {needed} would, if the difference is real{time}")
        }
        _ => format!("no set of up to {MOST_TASKS} tasks would"),
    };
    Some(format!("{text}: {remedy}{loss}"))
}

/// The estimated time of grading this many tasks in each complete trial, from the grading times so far.
fn time(trials: &[TrialRecord], tasks: u64) -> Option<String> {
    let of = |t: &TrialRecord| {
        let graded = t.rungs.iter().find(|r| r.rung == Rung::Graded)?.duration.as_secs_f64();
        let samples = t.measurements.get(PASSED)?.samples;
        // Trials that took over the grades of another took no time.
        (samples > 0 && graded > 0.0).then(|| graded / samples as f64)
    };
    let mut each: Vec<f64> =
        trials.iter().filter(|t| t.state == TrialState::Complete).filter_map(of).collect();
    each.sort_by(f64::total_cmp);
    let middle = each.get(each.len() / 2)?;
    let whole = Duration::try_from_secs_f64(middle * tasks as f64 * each.len() as f64).ok()?;
    let text = match whole.as_secs() {
        s @ 0..120 => format!("{s} seconds"),
        s @ 120..10_800 => format!("{} minutes", s.div_ceil(60)),
        s => format!("{} hours", s.div_ceil(3600)),
    };
    let plural = if each.len() == 1 { "" } else { "s" };
    Some(format!("{text} of grading for {} trial{plural}", each.len()))
}

fn latency(lead: &TrialRecord) -> Option<String> {
    let reading = Reading::of(lead, LATENCY)?;
    let (low, high) = reading.interval()?;
    let metric = Metric::of(LATENCY);
    (low > 0.0 && high / low > WIDE).then(|| {
        format!(
            "the latency of trial {} is uncertain: {} to {} (95 %); re-measure it on an idle machine",
            lead.number,
            metric.show(low),
            metric.show(high)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::{Outcome, Pick, Title};
    use crate::testing::{objectives, trial};

    fn first(number: u64) -> Recommendation {
        Recommendation {
            front: vec![number],
            picks: vec![Pick { titles: vec![Title::Knee], number, comparison: None, usual: None }],
            outcome: Outcome::Found,
            floor: None,
        }
    }

    #[test]
    fn too_few_tasks_are_said_with_what_would_be_enough() {
        let trials = [trial(1, true, [100.0, 500.0, 0.30]), trial(4, true, [100.0, 600.0, 0.375])];
        let said = |only_trial, only_other| {
            let pair = Paired { only_trial, only_other, both: 40 };
            cautions(&trials, &objectives(), &first(1), &move |_, _| Some(pair))
        };
        assert_eq!(
            said(1, 4),
            ["too few tasks to distinguish 30.0 % from 37.5 % (trials 1 and 4 on 40 tasks, p = 0.38): \
                 --task-limit 185 would, if the difference is real"]
        );
        assert!(said(0, 12).is_empty(), "told apart");
        let same = [trial(1, true, [100.0, 500.0, 0.30]), trial(2, true, [100.0, 600.0, 0.30])];
        let pair = Paired { only_trial: 2, only_other: 2, both: 40 };
        assert_eq!(
            cautions(&same, &objectives(), &first(1), &|_, _| Some(pair)),
            ["40 tasks can only distinguish pass rates that differ by about 18 points or more"]
        );
        assert!(cautions(&trials, &objectives(), &first(1), &|_, _| None).is_empty());
    }

    #[test]
    fn a_latency_that_is_hardly_known_is_said() {
        let mut lead = trial(1, false, [35_000.0, 500.0, 0.3]);
        let latency = lead.measurements.get_mut(LATENCY).unwrap();
        (latency.low, latency.high) = (Some(19_000.0), Some(50_000.0));
        assert_eq!(
            cautions(&[lead], &objectives(), &first(1), &|_, _| None),
            [
                "the latency of trial 1 is uncertain: 19.0 s to 50.0 s (95 %); re-measure it on an idle machine"
            ]
        );
    }
}
