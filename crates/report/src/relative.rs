//! Quality compared with the uncompressed model's: which tasks that it solves a trial lost, and whether chance explains it.

use std::collections::BTreeMap;

use serde::Serialize;

use autotune_quality::passk::{Paired, mcnemar};
use autotune_store::{TrialRecord, Verdicts};
use autotune_study::estimates::Known;

pub use autotune_study::estimates::REFERENCE_NOTE;

/// What the trials of a study lost and gained, against one reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Relative {
    /// The trial that is the reference; none when it was graded apart, or not at all.
    pub reference: Option<u64>,
    /// By trial number: the paired verdicts of greedy answers on the tasks that both were graded on.
    pub trials: BTreeMap<u64, Paired>,
}

impl Relative {
    /// Pairs the verdicts of a study.
    #[must_use]
    pub fn of(known: &Known, trials: &[TrialRecord]) -> Self {
        let Some((reference, verdicts)) = known.reference(trials) else { return Self::default() };
        let others = known.verdicts.iter().filter(|(number, _)| Some(**number) != reference);
        Self { reference, trials: others.filter_map(|(n, v)| Some((*n, pair(verdicts, v)?))).collect() }
    }

    /// A trial's losses in a sentence: `lost 3 of 41 solved tasks, p = 0.25`.
    #[must_use]
    pub fn sentence(&self, number: u64) -> Option<String> {
        self.trials.get(&number).map(ToString::to_string)
    }

    /// The same for a narrow column: `-3 of 41, p = 0.25`.
    #[must_use]
    pub fn cell(&self, number: u64) -> String {
        if self.reference == Some(number) {
            return "reference".to_owned();
        }
        self.trials.get(&number).map_or_else(|| "–".to_owned(), Paired::short)
    }

    /// Whether there is anything to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trials.is_empty()
    }
}

fn pair(reference: &Verdicts, trial: &Verdicts) -> Option<Paired> {
    let both: Vec<(bool, bool)> =
        reference.iter().filter_map(|(task, solved)| Some((*solved, *trial.get(task)?))).collect();
    let (theirs, ours): (Vec<bool>, Vec<bool>) = both.into_iter().unzip();
    (!ours.is_empty()).then(|| mcnemar(&theirs, &ours).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(solved: &[(&str, bool)]) -> Verdicts {
        solved.iter().map(|(task, s)| ((*task).to_owned(), *s)).collect()
    }

    #[test]
    fn only_tasks_of_both_are_paired() {
        let reference = verdicts(&[("a", true), ("b", true), ("c", false), ("x", true)]);
        let trial = verdicts(&[("a", true), ("b", false), ("c", true), ("y", true)]);
        let paired = pair(&reference, &trial).unwrap();
        assert_eq!(paired.to_string(), "lost 1 of 2 solved tasks, gained 1, p = 1.00");
        assert_eq!(paired.short(), "-1 +1 of 2, p = 1.00");
        assert!(pair(&reference, &Verdicts::new()).is_none());
    }
}
