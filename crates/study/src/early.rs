//! Early ends of a trial: not graded, since it has no chance to enter the front; or graded in part, since it has already lost.

use super::estimates::Known;
use super::problem::StudyProblem;
use autotune_core::metric::names;
use autotune_core::stats::fair_coin_tail;
use autotune_search as search;
use autotune_search::{History, SamplerKind};
use autotune_store::{Origin, Store, TrialRecord, TrialState, Verdicts};

/// The chance of entering the front under which a trial is not graded.
const LEAST_CHANCE: f64 = 0.05;
/// Verdicts are examined whenever this many more tasks are continued.
pub(super) const LOOK: usize = 16;
/// The p-value of the paired test at one look under which a trial has lost; small, since there are several looks.
const LOST: f64 = 0.01;
/// The metrics in which a rival must be at least as good.
const COSTS: [&str; 2] = [names::REQUEST_LATENCY_P50_MS, names::PEAK_MEMORY_BYTES];
/// The quality that the paired test is about.
const PASSED: &str = names::PASS_AT_1;

/// What a study knows that may end a trial early.
pub struct Early<'a> {
    /// The database.
    pub store: &'a Store,
    /// The task.
    pub problem: &'a StudyProblem<'a>,
}

/// A complete trial that is as fast and as small, and the best of those.
pub(super) struct Rival {
    number: u64,
    verdicts: Verdicts,
}

impl Early<'_> {
    /// Why grading a trial whose latency, memory and divergence are measured is not worth its time. The default sampler's trials only:
    /// presets and what others ask for are always graded.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) fn hopeless(&self, trial: &TrialRecord) -> anyhow::Result<Option<String>> {
        if trial.origin != Origin::sampler(SamplerKind::Autotune.name()) {
            return Ok(None);
        }
        let trials = self.store.trials(trial.study)?;
        let problem = self.problem.knowing(&trials);
        let known = Known::load(self.store, trial.study)?;
        let history: History = problem.history(&trials, &known).before(trial.number);
        let seen = TrialRecord { state: TrialState::Stopped, ..trial.clone() };
        let Some(seen) = problem.history(&[seen], &known).observations.pop() else { return Ok(None) };
        let Some(promise) = search::promise(&problem, &history, &seen) else { return Ok(None) };
        let (name, p) = (&search::Problem::objectives(&problem)[promise.objective].name, promise.predicted);
        Ok((promise.chance < LEAST_CHANCE).then(|| {
            format!(
                "not graded: its chance to enter the front is {:.1} % (limit {:.0} %); {name} is predicted, not measured: {:.3} ({:.3} to {:.3})",
                100.0 * promise.chance,
                100.0 * LEAST_CHANCE,
                p.value,
                p.low,
                p.high
            )
        }))
    }

    /// The rival whose verdicts a trial must beat; none where the study does not go by pass@1, or where nothing is as fast and as small.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) fn rival(&self, trial: &TrialRecord) -> anyhow::Result<Option<Rival>> {
        let by_tasks = search::Problem::objectives(self.problem).iter().any(|o| o.name == PASSED);
        if !by_tasks || trial.origin != Origin::sampler(SamplerKind::Autotune.name()) {
            return Ok(None);
        }
        let as_good = |other: &TrialRecord| {
            COSTS.iter().all(|m| other.value(m).zip(trial.value(m)).is_some_and(|(a, b)| a <= b))
        };
        let best = self
            .store
            .trials(trial.study)?
            .iter()
            .filter(|t| t.number < trial.number && t.state == TrialState::Complete && as_good(t))
            .filter_map(|t| Some((t.value(PASSED)?, t.number)))
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let Some((_, number)) = best else { return Ok(None) };
        let verdicts = self.store.verdicts(trial.study)?.remove(&number).unwrap_or_default();
        Ok((!verdicts.is_empty()).then_some(Rival { number, verdicts }))
    }
}

impl Rival {
    /// Why a trial with these verdicts, of `total` tasks, will not enter the front: it cannot pass more tasks than the rival any more,
    /// or a one-sided exact sign test (McNemar) on the tasks of both says that it is worse.
    pub(super) fn beats(&self, seen: &Verdicts, total: usize) -> Option<String> {
        let passed = |v: &Verdicts| v.values().filter(|p| **p).count();
        let left = total.saturating_sub(seen.len());
        let (most, other, number) = (passed(seen) + left, passed(&self.verdicts), self.number);
        let which = format!("trial {number}, which is as fast and as small");
        let after = format!("grading stopped after {} of {total} tasks", seen.len());
        if left > 0 && most <= other {
            return Some(format!("{after}: it can pass at most {most}, and {which}, passes {other}"));
        }
        let (mut lost, mut gained) = (0, 0);
        for (task, own) in seen {
            match (self.verdicts.get(task), own) {
                (Some(true), false) => lost += 1,
                (Some(false), true) => gained += 1,
                _ => {}
            }
        }
        let p = fair_coin_tail(gained, lost + gained);
        (left > 0 && p < LOST)
            .then(|| format!("{after}: it lost {lost} and gained {gained} against {which} (p = {p:.4})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(text: &str) -> Verdicts {
        text.chars().enumerate().map(|(i, c)| (format!("task{i:02}"), c == '+')).collect()
    }

    #[test]
    fn what_has_lost_is_stopped_and_what_may_win_is_not() {
        let rival = Rival {
            number: 5,
            verdicts: verdicts(&"+".repeat(16).chars().chain("-".repeat(34).chars()).collect::<String>()),
        };
        let told = rival.beats(&verdicts(&"-".repeat(16)), 50).unwrap();
        assert!(told.contains("lost 16 and gained 0") && told.contains("trial 5"), "{told}");
        assert_eq!(rival.beats(&verdicts(&"+".repeat(16)), 50), None);
        assert_eq!(rival.beats(&verdicts("----++++++++++++"), 50), None, "four lost may be chance");
        let late = verdicts(&format!("{}{}", "+".repeat(10), "-".repeat(34)));
        assert!(rival.beats(&late, 50).unwrap().contains("at most 16"));
        assert_eq!(rival.beats(&late, 44), None, "nothing is left to save");
    }
}
