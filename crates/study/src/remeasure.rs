//! Whether a timing that was affected by interference is repeated, and which of the two counts.

use autotune_core::stats::median;
use autotune_host::calibrate::Pace;
use autotune_worker::artifact::Measured;

/// At most this share of a study's trials is measured a second time, so that a machine that is always busy does not halve the study.
const SHARE: f64 = 0.25;

/// What a study knows from earlier trials.
#[derive(Clone, Debug, Default)]
pub(super) struct Earlier {
    /// The machine's pace, in rounds per second, in the trials with as many threads: only they show the usual rate.
    pub paces: Vec<f64>,
    /// Trials that were measured a second time.
    pub remeasured: u64,
}

impl Earlier {
    /// The usual pace; none without earlier trials.
    pub(super) fn usual(&self) -> Option<Pace> {
        (!self.paces.is_empty()).then(|| Pace { rounds_per_s: median(&self.paces) })
    }

    /// Whether one more trial may be measured a second time.
    fn allows_another(&self) -> bool {
        self.remeasured as f64 <= SHARE * self.paces.len() as f64
    }
}

/// What speaks against a measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// In words.
    pub why: String,
    /// Whether it is re-measured.
    pub again: bool,
}

impl Doubt {
    /// None where no interference was found.
    pub(super) fn of(measured: &Measured, earlier: &Earlier) -> Option<Self> {
        // A stop is no habit of the machine, and spoils the times whatever the pace.
        let again = earlier.allows_another() || !measured.stopped.is_zero();
        measured.doubt(earlier.usual()).map(|why| Self { why, again })
    }
}

/// The one that counts of a doubtful measurement and its repetition: the second, if nothing speaks against it, or if the machine was at
/// least as fast.
pub(super) fn better(first: Measured, second: Measured, usual: Option<Pace>) -> Measured {
    let pace = |m: &Measured| m.machine.map(|state| state.pace());
    let faster = pace(&second).zip(pace(&first)).is_some_and(|(second, first)| second.of(&first) >= 1.0);
    let ran_on = second.stopped < first.stopped;
    if ran_on || faster || second.doubt(usual).is_none() { second } else { first }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use autotune_host::busy::Disturbance;
    use autotune_worker::artifact::MachineState;
    use autotune_worker::supervisor::{End, Outcome};

    /// A measurement at a pace, while other programs used a share of the cores.
    fn measured(rounds_per_s: f64, others_share: f64) -> Measured {
        let outcome = Outcome {
            end: End::Done,
            peak_bytes: None,
            split_bytes: None,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            gpu: None,
            scripted_joules: None,
            warning: None,
        };
        let pace = Pace { rounds_per_s };
        let disturbance = Disturbance { others_share, ..Disturbance::default() };
        let machine = Some(MachineState { disturbance, pace_before: pace, pace_after: pace });
        Measured { outcome, samples: None, loaded: None, machine, energy: None, stopped: Duration::ZERO }
    }

    fn earlier(paces: &[f64], remeasured: u64) -> Earlier {
        Earlier { paces: paces.to_vec(), remeasured }
    }

    #[test]
    fn a_disturbed_measurement_is_taken_again() {
        let doubt = Doubt::of(&measured(100.0, 0.5), &earlier(&[], 0)).unwrap();
        assert_eq!(doubt, Doubt { why: "other programs used 50 % of the cores".to_owned(), again: true });
        assert_eq!(Doubt::of(&measured(100.0, 0.0), &earlier(&[100.0; 3], 0)), None);
    }

    #[test]
    fn a_machine_slower_than_in_the_median_of_earlier_trials_is_doubted() {
        let known = earlier(&[50.0, 100.0, 102.0], 0);
        assert_eq!(known.usual().map(|p| p.rounds_per_s), Some(100.0));
        assert_eq!(Doubt::of(&measured(95.0, 0.0), &known), None);
        let doubt = Doubt::of(&measured(90.0, 0.0), &known).unwrap();
        assert_eq!(doubt.why, "the machine was 10 % slower than usual");
    }

    #[test]
    fn at_most_a_quarter_of_the_trials_is_measured_again() {
        let again = |trials: usize, remeasured| {
            Doubt::of(&measured(100.0, 0.5), &earlier(&vec![100.0; trials], remeasured)).unwrap().again
        };
        assert!(again(0, 0), "the first trial may be");
        assert!(!again(3, 1));
        assert!(again(4, 1));
        assert!(!again(4, 2));
        assert!(!again(19, 5));
        assert!(again(20, 5));
    }

    #[test]
    fn a_measurement_across_a_stop_is_always_taken_again() {
        let slept = Measured { stopped: Duration::from_secs(12), ..measured(100.0, 0.0) };
        let doubt = Doubt::of(&slept, &earlier(&[100.0; 4], 4)).unwrap();
        assert_eq!(doubt, Doubt { why: "this process was stopped for 12 s".to_owned(), again: true });
        let after = measured(80.0, 0.5);
        assert_eq!(better(slept, after.clone(), Some(Pace { rounds_per_s: 100.0 })), after);
    }

    #[test]
    fn the_calm_or_the_faster_measurement_counts() {
        let usual = Some(Pace { rounds_per_s: 100.0 });
        let kept = |first: &Measured, second: &Measured| {
            let kept = better(first.clone(), second.clone(), usual);
            if kept == *second { 2 } else { 1 }
        };
        assert_eq!(kept(&measured(80.0, 0.0), &measured(99.0, 0.0)), 2, "calm and faster");
        assert_eq!(kept(&measured(100.0, 0.5), &measured(97.0, 0.0)), 2, "slower, but calm");
        assert_eq!(kept(&measured(80.0, 0.0), &measured(85.0, 0.6)), 2, "doubtful, but faster");
        assert_eq!(kept(&measured(85.0, 0.0), &measured(80.0, 0.0)), 1, "doubtful and slower");
        let unknown = Measured { machine: None, ..measured(80.0, 0.0) };
        assert_eq!(kept(&measured(80.0, 0.0), &unknown), 2, "nothing speaks against it");
    }
}
