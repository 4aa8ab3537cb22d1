//! The end of a study: what would be recommended and the presets nearest to it are measured again, in turns ([`autotune_worker::recheck`]).
//! Every measurement is in the study's log before the next begins, so that a resumed study goes on where it stopped.

use autotune_core::metric::names;
use std::time::{Duration, Instant};

use super::context::StudyContext;
use super::event::{Event, Observer};
use super::prepare::Prepared;
use autotune_core::space::Config;
use autotune_store::{EventKind, NewEvent, Store, StudyId, TrialRecord};
use autotune_worker::artifact::{Request, measure, timing_run};
use autotune_worker::protocol::{Job, Message, TimingPlan};
use autotune_worker::recheck::Recheck;
use autotune_worker::supervisor::{End, Limits};
use autotune_worker::turns::Side;

/// Rounds that are measured where the time allows.
const ROUNDS: u64 = 16;
/// Prompt tokens of one short measurement.
pub const PROMPT_TOKENS: u32 = 256;
/// Decode steps of one short measurement.
pub const STEPS: u32 = 25;
/// No more of a study's time than this share is kept for measuring again, and no more than this long.
const SHARE: f64 = 0.1;
const MOST: Duration = Duration::from_secs(60);
/// Of the machine's memory, so much may be taken by all of them together.
const MEMORY_SHARE: f64 = 0.7;
/// Loading all of them may take this long beyond the time.
const LOADING: Duration = Duration::from_secs(60);

/// The part of a study's time that is kept for measuring again.
#[must_use]
pub fn reserve(time: Duration) -> Duration {
    time.mul_f64(SHARE).min(MOST)
}

/// What the rechecks run on.
pub struct Confirmation<'a> {
    /// The study's surroundings.
    pub cx: StudyContext<'a>,
    /// What was prepared.
    pub prepared: &'a Prepared,
}

impl Confirmation<'_> {
    /// Measures the trials in turns until the rounds are done or the time is up. A trial whose artifact is gone, or that fails now,
    /// is left out.
    ///
    /// # Errors
    /// The database refuses, or no worker can be started.
    pub fn run(&self, numbers: &[u64], time: Duration, observer: &mut dyn Observer) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut done = known(self.cx.store, self.cx.id)?;
        let mut trials: Vec<(TrialRecord, Config)> = Vec::new();
        for number in numbers {
            let trial = self.cx.store.trial(self.cx.id, *number)?;
            let there = trial.artifact.as_ref().is_some_and(|a| self.cx.results.join(&a.path).exists());
            if let Some(config) = Config::from_candidate(&trial.candidate).ok().filter(|_| there) {
                trials.push((trial, config));
            }
        }
        let numbers: Vec<u64> = trials.iter().map(|(t, _)| t.number).collect();
        let (first, rounds) = left_to_play(&done, &numbers);
        if trials.len() < 2 || rounds == 0 {
            return Ok(());
        }
        let all = trials.len();
        let text = format!(
            "re-measuring {all} trials in interleaved rounds: the recommended ones and their nearest presets"
        );
        observer.hear(&Event::Remark { text });
        if self.fit_together(&trials) && self.together(&trials, first, rounds, time, observer)? {
            return Ok(());
        }
        self.one_by_one(trials, &mut done, time.saturating_sub(begun.elapsed()), observer)
    }

    /// Whether all of them may be loaded at once.
    fn fit_together(&self, trials: &[(TrialRecord, Config)]) -> bool {
        let peaks = trials.iter().map(|(t, _)| t.value(names::PEAK_MEMORY_BYTES));
        let sum: Option<f64> = peaks.sum();
        sum.is_some_and(|bytes| bytes <= MEMORY_SHARE * self.cx.machine_bytes as f64)
    }

    /// Plays rounds in one worker that has them all loaded; whether it went well.
    fn together(
        &self,
        trials: &[(TrialRecord, Config)],
        first: u64,
        rounds: u64,
        time: Duration,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<bool> {
        let begun = Instant::now();
        let workload = self.cx.settings.workload;
        let side = |(trial, config): &(TrialRecord, Config)| {
            let artifact = self.cx.results.join(&trial.artifact.as_ref()?.path);
            let run = timing_run(config, &workload);
            Some(Side { artifact, run, prompt_tokens: PROMPT_TOKENS, steps: STEPS })
        };
        let job = Job::Turns {
            engine: self.cx.kit.engine(),
            sides: trials.iter().filter_map(side).collect(),
            workload,
            text: self.prepared.timing_text.clone(),
            first,
            rounds,
            time_s: time.as_secs_f64(),
        };
        // What loading takes is known only when it is over.
        let over = || begun.elapsed() > time.saturating_add(LOADING);
        let stop = || (self.cx.cancelled)() || over();
        let limits = Limits { time: Duration::MAX, memory_bytes: Some(self.cx.machine_bytes) };
        let mut stored = Ok(());
        let outcome = self.cx.supervisor.run(&job, &limits, &stop, &mut |message| {
            let Message::Round { round, sides } = message else { return };
            for ((trial, _), samples) in trials.iter().zip(sides) {
                let latency_ms = samples.latency_from_parts_ms(&workload);
                let recheck = Recheck { round, trial: trial.number, latency_ms };
                let event = event(&recheck).and_then(|e| Ok(self.cx.store.append_event(self.cx.id, &e)?));
                if stored.is_ok() {
                    stored = event.map(|_| ());
                }
            }
            let (trial, done) = (trials.first().map_or(0, |t| t.0.number), round + 1 - first);
            observer.hear(&Event::Progress { trial, what: "again".to_owned(), done, total: rounds });
        })?;
        stored?;
        if let Some(text) = outcome.warning {
            observer.hear(&Event::Remark { text });
        }
        Ok(matches!(outcome.end, End::Done | End::Cancelled))
    }

    /// Measures each in a process of its own, one after another: where they do not fit together into memory, or one of them fails.
    fn one_by_one(
        &self,
        mut trials: Vec<(TrialRecord, Config)>,
        done: &mut Vec<Recheck>,
        time: Duration,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut longest = Duration::ZERO;
        for round in 0..ROUNDS {
            let mut order: Vec<usize> = (0..trials.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            let mut failed = Vec::new();
            for place in order {
                let (trial, config) = &trials[place];
                if done.iter().any(|r| r.round == round && r.trial == trial.number) {
                    continue;
                }
                if (self.cx.cancelled)() || begun.elapsed() + longest > time {
                    return Ok(());
                }
                let clock = Instant::now();
                match self.one(trial, config, round)? {
                    Some(recheck) => {
                        self.cx.store.append_event(self.cx.id, &event(&recheck)?)?;
                        done.push(recheck);
                    }
                    None => failed.push(trial.number),
                }
                longest = longest.max(clock.elapsed());
                let (done, total) = (round + 1, ROUNDS);
                observer.hear(&Event::Progress {
                    trial: trial.number,
                    what: "again".to_owned(),
                    done,
                    total,
                });
            }
            trials.retain(|(t, _)| !failed.contains(&t.number));
        }
        Ok(())
    }

    fn one(&self, trial: &TrialRecord, config: &Config, round: u64) -> anyhow::Result<Option<Recheck>> {
        let Some(artifact) = &trial.artifact else { return Ok(None) };
        let workload = self.cx.settings.workload;
        let request = Request {
            engine: self.cx.kit.engine(),
            artifact: self.cx.results.join(&artifact.path),
            run: timing_run(config, &workload),
            workload,
            text: self.prepared.timing_text.clone(),
            plan: TimingPlan::Parts { rounds: 1, prompt_tokens: PROMPT_TOKENS, steps: STEPS },
            budget_bytes: Some(self.cx.settings.budget_bytes),
            timeout: Duration::from_secs(self.cx.settings.rung_timeout_s),
        };
        let measured = measure(self.cx.supervisor, request, self.cx.cancelled, &mut |_| {})?;
        let samples = measured.samples.filter(|_| measured.outcome.end == End::Done);
        Ok(samples.map(|samples| Recheck {
            round,
            trial: trial.number,
            latency_ms: samples.latency_from_parts_ms(&workload),
        }))
    }
}

/// The number of the next round of these trials, and how many are missing until all of them were measured in [`ROUNDS`].
fn left_to_play(done: &[Recheck], trials: &[u64]) -> (u64, u64) {
    let first = done.iter().map(|r| r.round + 1).max().unwrap_or(0);
    let was_there = |round: u64, trial: u64| done.iter().any(|r| r.round == round && r.trial == trial);
    let whole = (0..first).filter(|&round| trials.iter().all(|&trial| was_there(round, trial))).count();
    (first, ROUNDS.saturating_sub(whole as u64))
}

fn event(recheck: &Recheck) -> anyhow::Result<NewEvent> {
    Ok(NewEvent { kind: EventKind::Rechecked, json: serde_json::to_string(recheck)? })
}

/// The rechecks of a study so far.
///
/// # Errors
/// The database cannot be read.
pub fn known(store: &Store, id: StudyId) -> anyhow::Result<Vec<Recheck>> {
    let events = store.events(id, 0)?;
    let of = events.iter().filter(|e| e.kind == EventKind::Rechecked);
    Ok(of.filter_map(|e| serde_json::from_str(&e.json).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_of_the_time_is_kept_back() {
        assert_eq!(reserve(Duration::from_secs(660)), Duration::from_secs(60));
        assert_eq!(reserve(Duration::from_secs(100)), Duration::from_secs(10));
    }

    #[test]
    fn a_new_winner_of_a_resumed_study_plays_all_rounds() {
        let rounds = |n: u64, trials: &[u64]| -> Vec<Recheck> {
            let of = |round| trials.iter().map(move |&trial| Recheck { round, trial, latency_ms: 1.0 });
            (0..n).flat_map(of).collect()
        };
        assert_eq!(left_to_play(&[], &[1, 2]), (0, ROUNDS));
        assert_eq!(left_to_play(&rounds(5, &[1, 2]), &[1, 2]), (5, ROUNDS - 5));
        assert_eq!(left_to_play(&rounds(ROUNDS, &[1, 2]), &[1, 2]), (ROUNDS, 0));
        assert_eq!(left_to_play(&rounds(ROUNDS, &[1, 2]), &[1, 2, 3]), (ROUNDS, ROUNDS));
    }
}
