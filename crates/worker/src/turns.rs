//! Several artifacts in one process that take turns, call by call.
//!
//! What a shared machine does changes within a second or two. Measurements that follow one another by seconds are apart by as much; decode
//! calls that follow one another by a tenth of a second meet the same machine, so that far fewer rounds tell two artifacts apart
//! (docs/src/project/benchmarks/comparing.md has both). In a round every artifact does the same work once: the calls of a prompt, each followed by the other
//! artifacts' calls, then decode steps, a few at a time. The order is reversed in every other round.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::timing::{Timed, TimingSamples, ms};
use autotune_engine::{EngineError, RunConfig, Token};

/// Decode steps between two changes of turn.
const STEPS_A_TURN: u32 = 5;

/// One of those that take turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// The artifact.
    pub artifact: PathBuf,
    /// How it is run.
    pub run: RunConfig,
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// Decode steps of all its slots in a round. Of several the first is not timed: it also carries out the copies of the prompt's cache.
    pub steps: u32,
}

/// A side with its model loaded, and how far it is in a round.
pub struct Player<'a> {
    timed: Timed<'a>,
    steps: u32,
    samples: TimingSamples,
    position: u32,
    taken: u32,
    next: Vec<Token>,
}

impl<'a> Player<'a> {
    /// Warms a side up. In a round it has a prompt of so many tokens, no longer than the workload's, and so many steps of all its slots.
    ///
    /// # Errors
    /// The text is empty, or a decode call failed.
    pub fn new(mut timed: Timed<'a>, prompt_tokens: u32, steps: u32) -> Result<Self, EngineError> {
        timed.workload.prompt_tokens = timed.workload.prompt_tokens.min(prompt_tokens.max(1));
        timed.workload.shared_tokens = 0;
        let samples = timed.begin()?;
        let steps = steps.clamp(1, timed.workload.output_tokens.max(2) - 1);
        Ok(Self { timed, steps, samples, position: 0, taken: 0, next: Vec::new() })
    }

    fn begin(&mut self) {
        self.timed.session.forget(None);
        (self.position, self.taken) = (0, 0);
        self.samples.prompt_ms = vec![0.0];
        self.samples.prompt_tokens = vec![self.timed.workload.prompt_tokens];
        self.samples.step_ms.clear();
    }

    /// The next call of the prompt; whether it was the last.
    fn read(&mut self, round: u64) -> Result<bool, EngineError> {
        let begun = self.timed.session.now();
        let (end, first) = self.timed.prefill_call(0, self.position, round as usize * 97)?;
        self.samples.prompt_ms[0] += ms(self.timed.session.now() - begun);
        self.position = end;
        let Some(first) = first else { return Ok(false) };
        for other in 1..self.samples.slots {
            self.timed.session.copy(0, other)?;
        }
        self.next = vec![first; self.samples.slots as usize];
        Ok(true)
    }

    /// The next few steps; whether they were the last.
    fn write(&mut self) -> Result<bool, EngineError> {
        for step in self.taken + 1..=self.steps.min(self.taken + STEPS_A_TURN) {
            let took = self.timed.step(&mut self.next, step)?;
            if step > 1 || self.steps == 1 {
                self.samples.step_ms.push(took);
            }
            self.taken = step;
        }
        Ok(self.taken == self.steps)
    }
}

/// Plays rounds from number `first` on: at most `rounds`, and none that would end after `time`. `each` hears of every round what it took
/// each side, in their order, and ends the game by false.
///
/// # Errors
/// A decode call failed.
pub fn take(
    players: &mut [Player<'_>],
    first: u64,
    rounds: u64,
    time: Duration,
    mut each: impl FnMut(u64, Vec<TimingSamples>) -> bool,
) -> Result<(), EngineError> {
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    for round in first..first.saturating_add(rounds) {
        if begun.elapsed() + longest > time {
            break;
        }
        let clock = Instant::now();
        let mut order: Vec<usize> = (0..players.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        players.iter_mut().for_each(Player::begin);
        in_turns(&order, |side| players[side].read(round))?;
        in_turns(&order, |side| players[side].write())?;
        longest = longest.max(clock.elapsed());
        if !each(round, players.iter().map(|p| p.samples.clone()).collect()) {
            break;
        }
    }
    Ok(())
}

/// The same for one artifact alone: rounds of one prompt, whose cache the other slots copy, and `steps` decode steps of all slots.
///
/// # Errors
/// As for [`Player::new`].
pub fn alone(
    timed: Timed<'_>,
    rounds: u32,
    prompt_tokens: u32,
    steps: u32,
) -> Result<TimingSamples, EngineError> {
    let mut player = [Player::new(timed, prompt_tokens, steps)?];
    let mut all = player[0].samples.clone();
    take(&mut player, 0, rounds.max(1).into(), Duration::MAX, |_, sides| {
        for round in sides {
            all.prompt_ms.extend(round.prompt_ms);
            all.prompt_tokens.extend(round.prompt_tokens);
            all.step_ms.extend(round.step_ms);
        }
        true
    })?;
    Ok(all)
}

/// Lets everyone act in turn until each has said that it is done.
fn in_turns(
    order: &[usize],
    mut act: impl FnMut(usize) -> Result<bool, EngineError>,
) -> Result<(), EngineError> {
    let mut left = order.to_vec();
    while !left.is_empty() {
        let mut still = Vec::new();
        for side in left {
            if !act(side)? {
                still.push(side);
            }
        }
        left = still;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::timing::tests::session;
    use super::super::workload::Workload;
    use super::*;
    use autotune_engine::Session;

    fn text() -> Vec<Token> {
        (0..500).map(|i| i % 90 + 32).collect()
    }

    fn player<'a>(
        session: &'a mut dyn Session,
        slots: u32,
        text: &'a [Token],
        prompt_tokens: u32,
        steps: u32,
    ) -> Player<'a> {
        let workload = Workload { prompt_tokens: 200, output_tokens: 100, requests: 4, shared_tokens: 0 };
        Player::new(Timed { session, text, workload, slots, chunk: 64 }, prompt_tokens, steps).unwrap()
    }

    #[test]
    fn every_side_does_its_own_work_once_a_round() {
        let (mut four, mut one, text) = (session(4), session(1), text());
        let mut players = [player(four.as_mut(), 4, &text, 150, 12), player(one.as_mut(), 1, &text, 60, 1)];
        let mut heard = Vec::new();
        take(&mut players, 3, 4, Duration::from_secs(3600), |round, samples| {
            heard.push((round, samples));
            true
        })
        .unwrap();
        assert_eq!(heard.iter().map(|h| h.0).collect::<Vec<_>>(), [3, 4, 5, 6]);
        for (_, samples) in &heard {
            // A prompt token takes 100 us; a step 1 ms and 100 us for each sequence.
            let near = |x: f64, y: f64| (x - y).abs() < 1e-6 * y;
            assert!(near(samples[0].prompt_ms[0], 15.0) && near(samples[1].prompt_ms[0], 6.0), "{samples:?}");
            assert_eq!((samples[0].step_ms.len(), samples[1].step_ms.len()), (11, 1));
            assert!(samples[0].step_ms.iter().all(|ms| near(*ms, 1.4)) && near(samples[1].step_ms[0], 1.1));
            assert_eq!((samples[0].prompt_tokens[0], samples[1].prompt_tokens[0]), (150, 60));
        }
    }

    #[test]
    fn a_game_ends_when_nobody_listens_or_the_time_is_up() {
        let (mut a, mut b, text) = (session(1), session(1), text());
        let mut players = [player(a.as_mut(), 1, &text, 10, 2), player(b.as_mut(), 1, &text, 10, 2)];
        let mut rounds = 0;
        take(&mut players, 0, 10, Duration::from_secs(3600), |_, _| {
            rounds += 1;
            rounds < 3
        })
        .unwrap();
        assert_eq!(rounds, 3);
        take(&mut players, 0, 10, Duration::ZERO, |_, _| {
            rounds += 1;
            true
        })
        .unwrap();
        assert!(rounds <= 4, "one round at most, since none would end in no time");
    }

    #[test]
    fn parts_are_one_prompt_and_steps_of_all_slots() {
        let (mut session, text) = (session(4), text());
        let workload = "100:40:4".parse().unwrap();
        let timed = Timed { session: session.as_mut(), text: &text, workload, slots: 4, chunk: 64 };
        let samples = alone(timed, 3, 50, 9).unwrap();
        assert_eq!((samples.prompt_ms.len(), samples.step_ms.len()), (3, 3 * 8));
        assert!(samples.step_ms.iter().all(|ms| (ms - 1.4).abs() < 1e-9));
        assert_eq!(samples.prompt_tokens, [50; 3]);
        assert!(samples.warm_up_ms.len() >= 2 && samples.waves.is_empty());
    }

    #[test]
    fn turns_change_with_every_call() {
        let mut acted = Vec::new();
        let mut left = [2, 1, 3];
        in_turns(&[2, 0, 1], |side| {
            acted.push(side);
            left[side] -= 1;
            Ok(left[side] == 0)
        })
        .unwrap();
        assert_eq!(acted, [2, 0, 1, 2, 0, 2]);
    }
}
