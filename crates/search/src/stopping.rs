//! When further trials are not worth their time. Two rules must agree, since each alone stops too early on some landscapes.

use super::{History, Problem, Sampler, front_hypervolume};

/// The expected gain of the best candidate, as a fraction of the hypervolume reached, under which a question is not worth a trial,
/// where nobody knows how long a trial takes.
pub const LEAST_GAIN: f64 = 0.002;
/// The same for each minute that a trial takes.
pub const LEAST_GAIN_A_MINUTE: f64 = 0.002;
/// For how many questions in a row it must be under that.
pub const GAIN_QUESTIONS: u64 = 5;
/// The growth of the hypervolume over the last trials under which the search has settled.
pub const LEAST_GROWTH: f64 = 0.01;
/// How many trials that growth is counted over.
pub const GROWTH_TRIALS: usize = 15;

/// Why a search should stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StopReason {
    /// The last questions promised little, and the last trials brought little.
    Settled {
        /// The largest gain that the last five questions expected, as a fraction of the hypervolume; `None` for samplers
        /// that expect nothing, whose trials must then have brought little for twice as long.
        expected_gain: Option<f64>,
        /// The gain under which a trial is not worth its time.
        least_gain: f64,
        /// How long a trial takes, where that is known.
        minutes: Option<f64>,
        /// The growth of the hypervolume over the last trials, as a fraction.
        growth: f64,
    },
}

impl std::fmt::Display for StopReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let StopReason::Settled { expected_gain, least_gain, minutes, growth } = self;
        let percent = |x: f64| 100.0 * x;
        write!(
            f,
            "the hypervolume grew by {:.1} % in the last {GROWTH_TRIALS} trials (limit {:.1} %)",
            percent(*growth),
            percent(LEAST_GROWTH)
        )?;
        let Some(gain) = expected_gain else { return write!(f, ", and by no more in those before") };
        write!(f, ", and no candidate of the last {GAIN_QUESTIONS} requests had an expected gain above ")?;
        match minutes {
            Some(minutes) => write!(
                f,
                "{:.2} % a minute (limit {:.2} %)",
                percent(gain / minutes),
                percent(LEAST_GAIN_A_MINUTE)
            ),
            None => write!(f, "{:.2} % (limit {:.2} %)", percent(*gain), percent(*least_gain)),
        }
    }
}

/// Whether the search has settled before trial `number` is asked for; `minutes` is what a trial takes, where that is known. A pure
/// function of its arguments, as `ask` is; a sampler that was asked for the last five trials answers from its cache.
pub fn should_stop(
    problem: &dyn Problem,
    history: &History,
    sampler: &mut dyn Sampler,
    seed: u64,
    number: u64,
    minutes: Option<f64>,
) -> Option<StopReason> {
    let minutes = minutes.filter(|m| m.is_finite() && *m > 0.0);
    let least_gain = minutes.map_or(LEAST_GAIN, |m| LEAST_GAIN_A_MINUTE * m);
    let settled = |expected_gain, growth| StopReason::Settled { expected_gain, least_gain, minutes, growth };
    let complete: Vec<u64> = history.measured(problem).iter().map(|(o, _)| o.number).collect();
    let growth = growth_since(problem, history, &complete, GROWTH_TRIALS)?;
    if growth >= LEAST_GROWTH {
        return None;
    }
    let mut largest: Option<f64> = None;
    for n in number.saturating_sub(GAIN_QUESTIONS)..number {
        match sampler.expected_gain(problem, &history.before(n), seed, n) {
            Some(gain) if gain >= least_gain => return None,
            Some(gain) => largest = Some(largest.unwrap_or(0.0).max(gain)),
            None => {
                // No second opinion: the first must hold for twice as long.
                let before = growth_since(problem, history, &complete, 2 * GROWTH_TRIALS)?;
                return (before < LEAST_GROWTH).then(|| settled(None, growth));
            }
        }
    }
    Some(settled(largest, growth))
}

/// By which fraction the hypervolume grew over the last `trials` complete ones; `None` when there are too few.
fn growth_since(problem: &dyn Problem, history: &History, complete: &[u64], trials: usize) -> Option<f64> {
    let first = complete.len().checked_sub(trials).filter(|&n| n > 0)?;
    let now = front_hypervolume(problem, history);
    let then = front_hypervolume(problem, &history.before(complete[first]));
    (now > 0.0).then(|| (now - then) / now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;
    use crate::{Ask, History, SamplerKind};

    /// Expects a gain from one question alone.
    struct ExpectsAt(u64);
    impl Sampler for ExpectsAt {
        fn kind(&self) -> SamplerKind {
            SamplerKind::Autotune
        }
        fn ask(&mut self, _: &dyn Problem, _: &History, _: u64, _: u64) -> Ask {
            Ask::Exhausted
        }
        fn expected_gain(&mut self, _: &dyn Problem, history: &History, _: u64, number: u64) -> Option<f64> {
            assert!(history.observations.iter().all(|o| o.number < number), "what it knew then");
            Some(if number == self.0 { 0.5 } else { 0.0 })
        }
    }

    #[test]
    fn a_gain_expected_by_any_of_the_last_five_questions_goes_on() {
        let table = Table::grid(&[41]);
        let history = History { observations: (0..41).map(|i| table.observe(i, vec![i as usize])).collect() };
        let stops =
            |asked| should_stop(&table, &history.before(36), &mut ExpectsAt(asked), 1, 36, None).is_some();
        for asked in 31..=35 {
            assert!(!stops(asked), "question {asked} is one of the last five");
        }
        assert!(stops(30), "the sixth last is too long ago");
        assert!(stops(36), "the next is not asked yet");
    }

    #[test]
    fn growth_is_counted_over_the_last_fifteen_complete_trials() {
        // Losses (0.9, 0.9), then one jump, below a reference of 1.
        let jump_at = |at: u64| {
            let mut table = Table::grid(&[100]);
            table.objectives.iter_mut().for_each(|o| o.bound = Some(1.0));
            table.values = Box::new(move |p| if p[0] as u64 >= at { vec![0.1, 0.1] } else { vec![0.9, 0.9] });
            let history =
                History { observations: (0..30).map(|i| table.observe(i, vec![i as usize])).collect() };
            let complete: Vec<u64> = (0..30).collect();
            growth_since(&table, &history, &complete, GROWTH_TRIALS).unwrap()
        };
        assert!(jump_at(14) == 0.0, "the first trial before the window jumped: {}", jump_at(14));
        let jumped = (0.81 - 0.01) / 0.81;
        assert!((jump_at(15) - jumped).abs() < 1e-9, "the first of the window jumped: {}", jump_at(15));
        assert!((jump_at(29) - jumped).abs() < 1e-9, "the last of the window jumped: {}", jump_at(29));
    }

    #[test]
    fn as_many_trials_as_the_window_are_too_few() {
        let table = Table::grid(&[41]);
        let history = History { observations: (0..16).map(|i| table.observe(i, vec![i as usize])).collect() };
        let complete = |n: u64| (0..n).collect::<Vec<u64>>();
        assert_eq!(growth_since(&table, &history.before(15), &complete(15), 15), None);
        assert!(growth_since(&table, &history, &complete(16), 15).is_some());
    }

    struct Expects(Option<f64>);
    impl Sampler for Expects {
        fn kind(&self) -> SamplerKind {
            SamplerKind::Autotune
        }
        fn ask(&mut self, _: &dyn Problem, _: &History, _: u64, _: u64) -> Ask {
            Ask::Exhausted
        }
        fn expected_gain(&mut self, _: &dyn Problem, _: &History, _: u64, _: u64) -> Option<f64> {
            self.0
        }
    }

    #[test]
    fn both_rules_must_agree() {
        let table = Table::grid(&[41]);
        let ascending =
            History { observations: (0..41).map(|i| table.observe(i, vec![i as usize])).collect() };
        // From 20 on nothing is better than before, since both objectives grow.
        let stop_at = |n: u64, gain, minutes| {
            should_stop(&table, &ascending.before(n), &mut Expects(gain), 1, n, minutes)
        };
        let stop = |n: u64, gain| stop_at(n, gain, None);
        assert_eq!(stop(3, Some(0.0)), None, "too few trials");
        assert_eq!(stop(22, Some(0.0)), None, "the front grew lately");
        assert_eq!(stop(36, Some(0.1)), None, "the sampler still expects a gain");
        assert!(stop(36, Some(0.001)).unwrap().to_string().contains("0.10 %"));
        assert_eq!(stop(36, None), None, "no second opinion, and not long enough");
        assert_eq!(stop_at(36, Some(0.001), Some(0.25)), None, "it costs fifteen seconds to find out");
        let told = stop_at(36, Some(0.01), Some(10.0)).unwrap().to_string();
        assert!(told.contains("0.10 % a minute (limit 0.20 %)"), "{told}");
    }
}
