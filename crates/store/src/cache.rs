//! The trials of a study as they were last read, so that a study does not read its whole past several times a trial.
//!
//! Right with any number of processes, because nothing is assumed about who wrote: every use first compares what SQLite counts. An
//! ended trial never changes (triggers refuse it) but may be timed once more, which only appends to `repeat`. So what can differ from
//! the kept records is: trials that had not ended, trials with numbers above the kept ones, and trials with new repeats. Those are read;
//! the rest is taken as it is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::read::read;
use super::{Result, Store, StudyId, TrialId, TrialRecord};

/// What was last read, by study.
#[derive(Default)]
pub(super) struct Cache(RefCell<BTreeMap<StudyId, Kept>>);

struct Kept {
    /// The database's state.
    version: Version,
    /// The last row of `repeat`.
    repeats: i64,
    /// By number.
    trials: Arc<Vec<TrialRecord>>,
}

/// Two equal versions of one connection are the same state: the first number grows with the commits of other connections, the second
/// with the rows that this one wrote.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    others: i64,
    own: u64,
}

impl Version {
    fn of(view: &Connection) -> rusqlite::Result<Self> {
        let others = view.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        Ok(Self { others, own: view.total_changes() })
    }
}

impl Store {
    /// The trials of a study as the transaction `view` sees them. It must not have written yet: what it writes may be rolled back.
    pub(super) fn kept_trials(&self, view: &Connection, study: StudyId) -> Result<Arc<Vec<TrialRecord>>> {
        self.sql(self.cache.trials(view, study))
    }
}

impl Cache {
    fn trials(&self, view: &Connection, study: StudyId) -> rusqlite::Result<Arc<Vec<TrialRecord>>> {
        let version = Version::of(view)?;
        let repeats = view
            .prepare_cached("SELECT id FROM repeat ORDER BY id DESC LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?
            .unwrap_or(0);
        let kept = self.0.borrow_mut().remove(&study);
        let trials = match kept {
            Some(kept) if kept.version == version => kept.trials,
            Some(kept) => match refreshed(view, study, kept)? {
                Some(trials) => Arc::new(trials),
                None => Arc::new(all(view, study)?),
            },
            None => Arc::new(all(view, study)?),
        };
        let shared = Arc::clone(&trials);
        self.0.borrow_mut().insert(study, Kept { version, repeats, trials });
        Ok(shared)
    }
}

fn all(view: &Connection, study: StudyId) -> rusqlite::Result<Vec<TrialRecord>> {
    read(view, "WHERE t.study_id = ?1", &[study.0])
}

/// The kept trials brought up to date; none where trials are missing that were there.
fn refreshed(view: &Connection, study: StudyId, kept: Kept) -> rusqlite::Result<Option<Vec<TrialRecord>>> {
    let mut trials = Arc::unwrap_or_clone(kept.trials);
    let place: BTreeMap<TrialId, usize> = trials.iter().enumerate().map(|(i, t)| (t.id, i)).collect();
    let repeated: Vec<TrialId> = view
        .prepare_cached("SELECT DISTINCT trial_id FROM repeat WHERE id > ?1")?
        .query_map([kept.repeats], |row| Ok(TrialId(row.get(0)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let open = trials.iter().filter(|t| !t.state.is_ended()).map(|t| t.id);
    let stale: Vec<TrialId> = open.chain(repeated.into_iter().filter(|id| place.contains_key(id))).collect();
    for id in stale {
        let now = read(view, "WHERE t.id = ?1", &[id.0])?.pop();
        match (now, place.get(&id).and_then(|&i| trials.get_mut(i))) {
            (Some(now), Some(then)) => *then = now,
            _ => return Ok(None),
        }
    }
    let last = trials.last().map_or(0, |t| t.number);
    trials.extend(read(
        view,
        "WHERE t.study_id = ?1 AND t.number > ?2",
        &[study.0, super::trial::signed(last)],
    )?);
    let count: i64 = view
        .prepare_cached("SELECT COUNT(*) FROM trial WHERE study_id = ?1")?
        .query_row([study.0], |row| row.get(0))?;
    Ok((i64::try_from(trials.len()) == Ok(count)).then_some(trials))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::testing::study;
    use crate::{
        Asked, EndState, FinishedRung, LiveTrial, NewMeasurement, NewRepeat, NewTrial, Origin, Rung,
        WorkerIdentity,
    };
    use autotune_core::space::{Candidate, Value};

    fn ask(store: &Store, study: StudyId) -> LiveTrial {
        let new = |trials: &[TrialRecord]| {
            let candidate = Candidate::default().with("threads", Value::Text(trials.len().to_string()));
            Some(NewTrial { candidate, origin: Origin::preset("F16"), predicted: Vec::new() })
        };
        match store.ask_trial(study, &WorkerIdentity::current(), new).unwrap() {
            Asked::New(trial) => *trial,
            other => panic!("{other:?}"),
        }
    }

    fn finish(store: &Store, trial: &mut LiveTrial, rung: Rung, value: f64) {
        let mut finished = FinishedRung::new(rung, Timestamp::UNIX_EPOCH, Duration::ZERO);
        finished.measurements = vec![NewMeasurement::exact("request_latency_p50_ms", "ms", value)];
        store.finish_rung(trial, &finished).unwrap();
    }

    fn repeat(store: &Store, study: StudyId, number: u64, value: f64) {
        let repeat = NewRepeat {
            started: Timestamp::UNIX_EPOCH,
            duration: Duration::ZERO,
            measurements: vec![NewMeasurement::exact("request_latency_p50_ms", "ms", value)],
            failure: None,
        };
        store.add_repeat(study, number, &repeat).unwrap();
    }

    #[test]
    fn kept_trials_are_those_of_the_database_whoever_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let [a, b] = [(); 2].map(|()| Store::open(&path).unwrap());
        let (one, two) = (study(&a, "one"), study(&b, "two"));
        let same = |step: &str| {
            let fresh = Store::open_existing(&path).unwrap();
            for id in [one, two] {
                let truth = fresh.trials(id).unwrap();
                assert_eq!(a.trials(id).unwrap(), truth, "{step}, the first connection, study {}", id.0);
                assert_eq!(b.trials(id).unwrap(), truth, "{step}, the second connection, study {}", id.0);
            }
        };
        same("nothing");
        let mut first = ask(&a, one);
        same("asked by the first");
        let mut second = ask(&b, one);
        let mut other = ask(&b, two);
        same("asked by the second, also in another study");
        finish(&a, &mut first, Rung::Measured, 5.0);
        same("a rung by the first");
        finish(&b, &mut second, Rung::Measured, 7.0);
        finish(&b, &mut other, Rung::Measured, 70.0);
        same("a rung by the second");
        a.end_trial(first, EndState::Complete, None).unwrap();
        same("an end by the first");
        b.end_trial(second, EndState::Complete, None).unwrap();
        b.end_trial(other, EndState::Complete, None).unwrap();
        same("an end by the second");
        repeat(&b, one, 1, 6.0);
        repeat(&b, two, 1, 60.0);
        same("a repeat by the second");
        assert_eq!(a.trials(one).unwrap()[0].repeats, 1);
        repeat(&a, one, 1, 9.0);
        same("a repeat by the first");
        let third = ask(&a, one);
        b.append_event(one, &crate::NewEvent { kind: "x".into(), json: "{}".into() }).unwrap();
        a.release(third).unwrap();
        same("a trial given back");
        assert_eq!((a.trials(one).unwrap().len(), a.trials(two).unwrap().len()), (3, 1));
        b.connection.execute("DELETE FROM trial WHERE study_id = ?1 AND number = 3", [one.0]).unwrap();
        same("a trial removed by hand");
    }

    #[test]
    fn what_was_rolled_back_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let store = Store::open(&path).unwrap();
        let id = study(&store, "s");
        let mut trial = ask(&store, id);
        finish(&store, &mut trial, Rung::Built, 1.0);
        let before = store.trials(id).unwrap();
        {
            let transaction = store.write().unwrap();
            transaction.execute("UPDATE trial SET attempts = 99", []).unwrap();
        }
        assert_eq!(store.trials(id).unwrap(), before);
        assert_eq!(store.trials(id).unwrap()[0].attempts, 1);
    }

    #[test]
    fn a_study_that_did_not_change_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("t.db")).unwrap();
        let id = study(&store, "s");
        let trial = ask(&store, id);
        store.end_trial(trial, EndState::Complete, None).unwrap();
        let first = store.trials(id).unwrap();
        assert!(Arc::ptr_eq(&first, &store.trials(id).unwrap()));
        let second = ask(&store, id);
        assert!(!Arc::ptr_eq(&first, &store.trials(id).unwrap()));
        assert_eq!((first.len(), second.number()), (1, 2));
    }
}
