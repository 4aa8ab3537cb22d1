//! What every store must keep, whatever holds the bytes: the suite is instantiated for each way of opening one.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/require.rs"]
mod require;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use autotune::space::{Candidate, Value};
use autotune::store::{
    Added, Artifact, Asked, EndState, Failure, FinishedRung, LiveTrial, NewEvent, NewGeneration,
    NewMeasurement, NewRepeat, NewStudy, NewTrial, Origin, Rung, Store, StoreError, StudyId, StudyState,
    TrialState, WorkerIdentity,
};
use jiff::Timestamp;
use proptest::prelude::*;

fn new_study(name: &str) -> NewStudy {
    NewStudy {
        name: name.into(),
        command: "autotune --budget 8GB".into(),
        settings_json: "{}".into(),
        space_json: "{}".into(),
        seed: u64::MAX,
        budget_bytes: 8_000_000_000,
        model_path: "m.gguf".into(),
        model_hash: "abc".into(),
        engine: "mock".into(),
        objectives_json: "[]".into(),
        host_fingerprint: "host".into(),
        host_json: r#"{"cores":2}"#.into(),
        versions_json: "{}".into(),
    }
}

fn candidate(threads: i64) -> NewTrial {
    NewTrial {
        candidate: Candidate::default().with("threads", Value::Int(threads)),
        origin: Origin::sampler("test"),
        predicted: Vec::new(),
    }
}

fn finished(rung: Rung) -> FinishedRung {
    FinishedRung::new(rung, Timestamp::UNIX_EPOCH, Duration::from_millis(1500))
}

fn asked(store: &Store, study: StudyId, threads: i64, worker: &WorkerIdentity) -> LiveTrial {
    match store.ask_trial(study, worker, |_| Some(candidate(threads))).unwrap() {
        Asked::New(live) => *live,
        other => panic!("{other:?}"),
    }
}

/// A worker that cannot be alive: its boot is another.
fn dead_worker() -> WorkerIdentity {
    WorkerIdentity { boot_id: "a boot before".into(), ..WorkerIdentity::current() }
}

/// Runs every test of the suite with `$open`, a function from the database's path to a [`Store`].
macro_rules! conformance {
    ($module:ident, $open:expr, [$($test:ident),+ $(,)?]) => {
        mod $module {
            use super::*;
            $(#[test] fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("results").join("autotune.db");
                super::$test(&|| ($open)(&path));
            })+
        }
    };
}

macro_rules! whole_suite {
    ($module:ident, $open:expr) => {
        conformance!(
            $module,
            $open,
            [
                studies_are_found_by_number_name_and_age,
                taken_names_get_a_number_and_numbers_are_no_names,
                values_and_texts_survive_a_new_connection,
                a_duplicate_is_named_not_run,
                rungs_only_go_up_and_are_whole,
                ended_trials_are_immutable,
                a_dead_workers_trial_is_taken_up_with_its_rungs,
                a_living_workers_trial_is_left_alone,
                a_worker_that_lost_its_trial_cannot_write,
                a_released_trial_is_queued_again,
                an_ask_sees_what_had_not_ended,
                threads_never_ask_the_same,
                events_and_notes_are_kept_in_order,
                later_rungs_win_and_earlier_stay,
                a_complete_trial_is_read_with_its_repeats,
            ]
        );
    };
}

whole_suite!(file, |path: &Path| Store::open(path).unwrap());
whole_suite!(odd_path, |path: &Path| {
    let odd = path.with_file_name("wei?rd #1 %20 ü.db");
    Store::open(&odd).unwrap()
});

type Open<'a> = &'a (dyn Fn() -> Store + Sync);

fn studies_are_found_by_number_name_and_age(open: Open) {
    let store = open();
    let none = store.study(None).unwrap_err().to_string();
    assert!(none.contains("no study yet"), "{none}");
    let a = store.create_study(&new_study("alpha")).unwrap();
    let b = store.create_study(&new_study("beta")).unwrap();
    assert_eq!(store.study(None).unwrap().id, b);
    assert_eq!(store.study(Some("alpha")).unwrap().id, a);
    assert_eq!(store.study(Some(&a.0.to_string())).unwrap().name, "alpha");
    let error = store.study(Some("gamma")).unwrap_err().to_string();
    assert_eq!(error, format!("no study `gamma`; the newest are {} (beta), {} (alpha)", b.0, a.0));
    assert_eq!(store.studies().unwrap().len(), 2);
    let study = store.study(None).unwrap();
    assert_eq!((study.seed, study.budget_bytes), (u64::MAX, 8_000_000_000));
    assert_eq!(study.host.json, r#"{"cores":2}"#);
    store.set_study_state(b, StudyState::Paused, Some("Ctrl-C")).unwrap();
    let study = store.study(None).unwrap();
    assert_eq!((study.state, study.reason.as_deref()), (StudyState::Paused, Some("Ctrl-C")));
    assert!(matches!(
        store.set_study_state(StudyId(99), StudyState::Paused, None),
        Err(StoreError::NoStudy { .. })
    ));
}

fn taken_names_get_a_number_and_numbers_are_no_names(open: Open) {
    let store = open();
    for expected in ["alpha", "alpha-2", "alpha-3"] {
        let id = store.create_study(&new_study("alpha")).unwrap();
        assert_eq!(store.study_by_id(id).unwrap().name, expected);
    }
    for bad in ["", " ", "7", "-7"] {
        assert!(matches!(store.create_study(&new_study(bad)), Err(StoreError::BadName(_))), "{bad}");
    }
    assert!(store.create_study(&NewStudy { settings_json: "{".into(), ..new_study("x") }).is_err());
}

fn values_and_texts_survive_a_new_connection(open: Open) {
    let worker = WorkerIdentity::current();
    let (study, number) = {
        let store = open();
        let study = store.create_study(&new_study("s")).unwrap();
        let mut live = asked(&store, study, 4, &worker);
        let mut rung = finished(Rung::Graded);
        rung.measurements = vec![
            NewMeasurement::interval("request_latency_p50_ms", "ms", 100.5, 99.0, f64::INFINITY, 7),
            NewMeasurement { raw: vec![1.0, -0.5, 2.5], ..NewMeasurement::exact("kl", "nats", 0.25) },
            NewMeasurement { value: None, ..NewMeasurement::exact("missing", "", 0.0) },
        ];
        rung.generations = vec![NewGeneration {
            task: "t/1".into(),
            sample: 0,
            completion: "a\0b\u{1F980}\r\n".into(),
            verdict: "passed".into(),
            detail: String::new(),
            codebleu_json: Some(r#"{"ngram":0.5}"#.into()),
        }];
        rung.artifact = Some(Artifact {
            path: "artifacts/x.gguf".into(),
            bytes: 123,
            hash: "h".into(),
            sha256: Some("5".into()),
        });
        store.finish_rung(&mut live, &rung).unwrap();
        assert_eq!(live.rung(), Some(Rung::Graded));
        (study, live.number())
    };
    let store = open();
    let trial = store.trial(study, number).unwrap();
    assert_eq!(trial.rungs.len(), 1);
    assert_eq!(trial.work(), Duration::from_millis(1500));
    let latency = &trial.measurements["request_latency_p50_ms"];
    assert_eq!((latency.value, latency.low, latency.high), (Some(100.5), Some(99.0), Some(f64::INFINITY)));
    assert_eq!((latency.samples, latency.unit.as_str(), latency.rung), (7, "ms", Rung::Graded));
    assert_eq!(trial.value("kl"), Some(0.25));
    assert_eq!(trial.measurements["missing"].value, None);
    assert_eq!(store.raw_samples(trial.id, "kl").unwrap(), [1.0, -0.5, 2.5]);
    assert!(store.raw_samples(trial.id, "missing").unwrap().is_empty());
    assert_eq!(trial.artifact.as_ref().unwrap().bytes, 123);
    assert_eq!(trial.artifact.as_ref().unwrap().sha256.as_deref(), Some("5"));
    let generations = store.generations(trial.id).unwrap();
    assert_eq!(generations[0].completion, "a\0b\u{1F980}\r\n");
    assert_eq!(generations[0].codebleu_json.as_deref(), Some(r#"{"ngram":0.5}"#));
}

fn a_duplicate_is_named_not_run(open: Open) {
    let store = open();
    let study = store.create_study(&new_study("s")).unwrap();
    assert_eq!(store.add_trial(study, &candidate(1)).unwrap(), Added::New(1));
    assert_eq!(store.add_trial(study, &candidate(2)).unwrap(), Added::New(2));
    assert_eq!(store.add_trial(study, &candidate(1)).unwrap(), Added::Duplicate(1));
    let again = store.ask_trial(study, &WorkerIdentity::current(), |_| Some(candidate(2))).unwrap();
    assert!(matches!(again, Asked::Duplicate(2)));
    let nothing = store.ask_trial(study, &WorkerIdentity::current(), |_| None).unwrap();
    assert!(matches!(nothing, Asked::Nothing));
    assert_eq!(store.trials(study).unwrap().len(), 2);
    let other = store.create_study(&new_study("s")).unwrap();
    assert_eq!(
        store.add_trial(other, &candidate(1)).unwrap(),
        Added::New(1),
        "studies do not share candidates"
    );
}

fn rungs_only_go_up_and_are_whole(open: Open) {
    let store = open();
    let study = store.create_study(&new_study("s")).unwrap();
    let mut live = asked(&store, study, 1, &WorkerIdentity::current());
    store.finish_rung(&mut live, &finished(Rung::Measured)).unwrap();
    for rung in [Rung::Built, Rung::Measured] {
        let error = store.finish_rung(&mut live, &finished(rung)).unwrap_err();
        assert!(matches!(error, StoreError::RungOrder { .. }), "{error}");
    }
    // The second generation breaks the rung in its middle: nothing of it may stay.
    let twice = NewGeneration { task: "t".into(), ..NewGeneration::default() };
    let mut broken = finished(Rung::Graded);
    broken.measurements = vec![NewMeasurement::exact("pass_at_1", "", 0.5)];
    broken.generations = vec![twice.clone(), twice];
    assert!(store.finish_rung(&mut live, &broken).is_err());
    let trial = store.trial(study, 1).unwrap();
    assert_eq!((trial.rung, trial.measurements.len()), (Some(Rung::Measured), 0));
    assert!(store.generations(trial.id).unwrap().is_empty());
    store.finish_rung(&mut live, &finished(Rung::Graded)).unwrap();
}

fn ended_trials_are_immutable(open: Open) {
    let store = open();
    let study = store.create_study(&new_study("s")).unwrap();
    let worker = WorkerIdentity::current();
    let live = asked(&store, study, 1, &worker);
    let failure = Failure { kind: "crash".into(), text: "the worker died of signal 11".into() };
    let record = store.end_trial(live, EndState::Failed, Some(&failure)).unwrap();
    assert_eq!((record.state, record.failure), (TrialState::Failed, Some(failure)));
    assert!(record.ended.is_some());
    assert!(store.claim(study, 1, &worker).unwrap().is_none());
    assert!(store.claim_next_unfinished(study, &worker).unwrap().is_none());
    // Past the API, the database itself refuses.
    let raw = rusqlite::Connection::open(store.path()).unwrap();
    for statement in [
        "UPDATE trial SET state = 'queued'",
        "UPDATE trial SET failure_text = ''",
        "INSERT INTO rung VALUES (1, 'built', 0, 0)",
        "INSERT INTO generation (trial_id, task, sample, completion, verdict, detail) VALUES (1, 't', 0, '', '', '')",
    ] {
        let error = raw.execute(statement, []).unwrap_err().to_string();
        assert!(error.contains("cannot be changed"), "{statement}: {error}");
    }
}

fn a_dead_workers_trial_is_taken_up_with_its_rungs(open: Open) {
    let store = open();
    let study = store.create_study(&new_study("s")).unwrap();
    let mut lost = asked(&store, study, 1, &dead_worker());
    store.finish_rung(&mut lost, &finished(Rung::Built)).unwrap();
    drop(lost);
    let live = open().claim_next_unfinished(study, &WorkerIdentity::current()).unwrap().unwrap();
    assert_eq!((live.number(), live.rung(), live.record().attempts), (1, Some(Rung::Built), 2));
}

fn a_living_workers_trial_is_left_alone(open: Open) {
    let store = open();
    let study = store.create_study(&new_study("s")).unwrap();
    let me = WorkerIdentity::current();
    let _working = asked(&store, study, 1, &me);
    store.add_trial(study, &candidate(2)).unwrap();
    let another = WorkerIdentity { pid: me.pid + 1, ..me.clone() };
    assert!(store.claim(study, 1, &another).unwrap().is_none());
    assert_eq!(store.claim_next_unfinished(study, &another).unwrap().unwrap().number(), 2);
    assert!(store.claim(study, 1, &me).unwrap().is_some(), "its own trial can be claimed by name");
    assert!(matches!(store.claim(study, 3, &me), Err(StoreError::NoTrial { number: 3, .. })));
}

fn a_worker_that_lost_its_trial_cannot_write(open: Open) {
    let store = open();
    let study = store.create_study(&new_study("s")).unwrap();
    let mut sleeper = asked(&store, study, 1, &dead_worker());
    let taken = store.claim_next_unfinished(study, &WorkerIdentity::current()).unwrap().unwrap();
    assert!(matches!(store.finish_rung(&mut sleeper, &finished(Rung::Built)), Err(StoreError::Lost(1))));
    store.end_trial(taken, EndState::Complete, None).unwrap();
    assert!(matches!(store.end_trial(sleeper, EndState::Failed, None), Err(StoreError::Ended(1))));
}

fn a_released_trial_is_queued_again(open: Open) {
    let store = open();
    let study = store.create_study(&new_study("s")).unwrap();
    let me = WorkerIdentity::current();
    let mut live = asked(&store, study, 1, &me);
    store.finish_rung(&mut live, &finished(Rung::Built)).unwrap();
    store.release(live).unwrap();
    let trial = store.trial(study, 1).unwrap();
    assert_eq!((trial.state, trial.worker, trial.rung), (TrialState::Queued, None, Some(Rung::Built)));
    assert_eq!(store.claim_next_unfinished(study, &me).unwrap().unwrap().number(), 1);
}

fn an_ask_sees_what_had_not_ended(open: Open) {
    let store = open();
    let study = store.create_study(&new_study("s")).unwrap();
    let me = WorkerIdentity::current();
    let first = asked(&store, study, 1, &me);
    store.end_trial(first, EndState::Complete, None).unwrap();
    let mut second = asked(&store, study, 2, &me);
    store.finish_rung(&mut second, &finished(Rung::Measured)).unwrap();
    store.add_trial(study, &candidate(3)).unwrap();
    let mut seen = 0;
    let fourth = store
        .ask_trial(study, &me, |trials| {
            seen = trials.len();
            Some(candidate(4))
        })
        .unwrap();
    let Asked::New(fourth) = fourth else { panic!("{fourth:?}") };
    assert_eq!(seen, 3);
    assert_eq!(fourth.record().unfinished_at_ask, [(2, Some(Rung::Measured)), (3, None)]);
}

fn threads_never_ask_the_same(open: Open) {
    let study = open().create_study(&new_study("s")).unwrap();
    let (threads, each) = (4, 10);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let store = open();
                let worker = WorkerIdentity::current();
                for _ in 0..each {
                    // Each asks the successor of what it sees: a race would ask one twice.
                    let next = |trials: &[autotune::store::TrialRecord]| Some(candidate(trials.len() as i64));
                    let Asked::New(mut live) = store.ask_trial(study, &worker, next).unwrap() else {
                        panic!("asked twice")
                    };
                    store.finish_rung(&mut live, &finished(Rung::Built)).unwrap();
                    store.end_trial(*live, EndState::Complete, None).unwrap();
                }
            });
        }
    });
    let trials = open().trials(study).unwrap();
    let numbers: Vec<u64> = trials.iter().map(|t| t.number).collect();
    assert_eq!(numbers, (1..=threads * each).collect::<Vec<u64>>());
    assert!(trials.iter().all(|t| t.state == TrialState::Complete));
}

fn events_and_notes_are_kept_in_order(open: Open) {
    let store = open();
    let study = store.create_study(&new_study("s")).unwrap();
    let event = |n: u32| NewEvent { kind: "tick".into(), json: format!("{{\"n\":{n}}}") };
    let first = store.append_event(study, &event(1)).unwrap();
    store.append_event(study, &event(2)).unwrap();
    let kept: Vec<String> = store.events(study, 0).unwrap().into_iter().map(|e| e.json).collect();
    assert_eq!(kept, [r#"{"n":1}"#, r#"{"n":2}"#]);
    assert_eq!(store.events(study, first).unwrap().len(), 1);
    assert!(store.append_event(study, &NewEvent { kind: "x".into(), json: "no json".into() }).is_err());
    store.save_note(study, "region", "[1]").unwrap();
    store.save_note(study, "region", "[2]").unwrap();
    assert_eq!(store.note(study, "region").unwrap().as_deref(), Some("[2]"));
    assert_eq!(store.note(study, "nothing").unwrap(), None);
    assert_eq!(store.notes(study).unwrap().len(), 1);
    assert!(store.save_note(StudyId(99), "k", "v").is_err(), "foreign keys are on");
}

fn later_rungs_win_and_earlier_stay(open: Open) {
    let store = open();
    let study = store.create_study(&new_study("s")).unwrap();
    let with = |rung, value, raw: f64| FinishedRung {
        measurements: vec![NewMeasurement {
            raw: vec![raw],
            ..NewMeasurement::exact("peak_memory_bytes", "bytes", value)
        }],
        ..finished(rung)
    };
    let new = NewTrial {
        predicted: vec![NewMeasurement::exact("predicted_peak_memory_bytes", "bytes", 5.0)],
        ..candidate(1)
    };
    let Asked::New(mut live) = store.ask_trial(study, &WorkerIdentity::current(), |_| Some(new)).unwrap()
    else {
        panic!()
    };
    assert_eq!(live.rung(), Some(Rung::Predicted));
    store.finish_rung(&mut live, &with(Rung::Measured, 10.0, 1.0)).unwrap();
    store.finish_rung(&mut live, &with(Rung::Graded, 11.0, 2.0)).unwrap();
    assert_eq!(live.record().value("peak_memory_bytes"), Some(11.0));
    assert_eq!(live.record().value("predicted_peak_memory_bytes"), Some(5.0));
    assert_eq!(store.raw_samples(live.record().id, "peak_memory_bytes").unwrap(), [2.0]);
    let rungs: Vec<Rung> = live.record().rungs.iter().map(|r| r.rung).collect();
    assert_eq!(rungs, [Rung::Predicted, Rung::Measured, Rung::Graded]);
}

fn a_complete_trial_is_read_with_its_repeats(open: Open) {
    let store = open();
    let study = store.create_study(&new_study("s")).unwrap();
    let latency =
        |value: f64| NewMeasurement::interval("latency_ms", "ms", value, value * 0.9, value * 1.1, 8);
    let repeat = |measurements, failure: Option<&str>| NewRepeat {
        started: Timestamp::UNIX_EPOCH,
        duration: Duration::from_millis(700),
        measurements,
        failure: failure.map(str::to_owned),
    };
    let mut live = asked(&store, study, 1, &WorkerIdentity::current());
    let peak = NewMeasurement::exact("peak_memory_bytes", "bytes", 5.0);
    let rung = FinishedRung { measurements: vec![latency(100.0), peak.clone()], ..finished(Rung::Measured) };
    store.finish_rung(&mut live, &rung).unwrap();
    let early = store.add_repeat(study, 1, &repeat(vec![latency(1.0)], None)).unwrap_err();
    assert!(early.to_string().contains("trial 1 is running"), "{early}");
    store.end_trial(live, EndState::Complete, None).unwrap();

    assert_eq!(store.add_repeat(study, 1, &repeat(vec![latency(121.0)], None)).unwrap(), 1);
    assert_eq!(store.add_repeat(study, 1, &repeat(Vec::new(), Some("it crashed"))).unwrap(), 2);
    drop(store);
    let store = open();
    let trial = store.trial(study, 1).unwrap();
    assert_eq!(trial.repeats, 2);
    assert!((trial.value("latency_ms").unwrap() - 110.0).abs() < 1e-9, "{trial:?}");
    assert_eq!((trial.value("peak_memory_bytes"), trial.measurements["latency_ms"].samples), (Some(5.0), 16));
    assert_eq!(*store.trials(study).unwrap(), [trial]);
    assert!(matches!(store.add_repeat(study, 2, &repeat(Vec::new(), None)), Err(StoreError::NoTrial { .. })));
    // What the trial ended with is as it was.
    let raw = rusqlite::Connection::open(store.path()).unwrap();
    let kept: f64 =
        raw.query_row("SELECT value FROM measurement WHERE metric = 'latency_ms'", [], |r| r.get(0)).unwrap();
    assert_eq!(kept, 100.0);
    let error = raw.execute("UPDATE repeat_measurement SET value = 1.0", []).unwrap_err().to_string();
    assert!(error.contains("cannot be changed"), "{error}");
}

// What concerns the file itself.

fn at(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("autotune.db")
}

#[test]
fn reading_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open_existing(&at(&folder)), Err(StoreError::Missing(_))));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_reader_sees_a_writers_commits_and_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Store::open(&at(&folder)).unwrap();
    let reader = Store::open_existing(&at(&folder)).unwrap();
    let study = writer.create_study(&new_study("s")).unwrap();
    assert_eq!(reader.study(None).unwrap().id, study);
    assert!(matches!(reader.save_note(study, "k", "v"), Err(StoreError::ReadOnly(_))));
}

#[test]
fn an_empty_file_is_a_fresh_database() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(at(&folder), b"").unwrap();
    assert!(Store::open_existing(&at(&folder)).unwrap().studies().unwrap().is_empty());
}

#[test]
fn a_text_file_is_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let text = "these are my notes, please do not overwrite them\n".repeat(50);
    std::fs::write(at(&folder), &text).unwrap();
    for result in [Store::open(&at(&folder)), Store::open_existing(&at(&folder))] {
        assert!(matches!(result, Err(StoreError::NotADatabase(_))), "{result:?}");
    }
    assert_eq!(std::fs::read_to_string(at(&folder)).unwrap(), text);
}

#[test]
fn another_programs_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let other = rusqlite::Connection::open(at(&folder)).unwrap();
    other.execute_batch("CREATE TABLE bookmark (url TEXT)").unwrap();
    assert!(matches!(Store::open(&at(&folder)), Err(StoreError::Foreign { .. })));
}

#[test]
fn a_newer_schema_is_refused_with_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(&at(&folder)).unwrap());
    rusqlite::Connection::open(at(&folder)).unwrap().pragma_update(None, "user_version", 77).unwrap();
    for result in [Store::open(&at(&folder)), Store::open_existing(&at(&folder))] {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("version 77") && text.contains("up to 3"), "{text}");
    }
}

#[test]
fn a_damaged_page_is_called_damage() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&at(&folder)).unwrap();
    let study = store.create_study(&new_study("s")).unwrap();
    for i in 0..200 {
        store.add_trial(study, &candidate(i)).unwrap();
    }
    drop(store);
    let mut bytes = std::fs::read(at(&folder)).unwrap();
    let length = bytes.len();
    bytes[4096..length].fill(0xA5);
    std::fs::write(at(&folder), bytes).unwrap();
    let store = Store::open_existing(&at(&folder)).and_then(|s| s.studies().map(drop));
    assert!(matches!(store, Err(StoreError::Corrupt { .. })), "{store:?}");
}

#[test]
fn a_read_only_folder_can_be_read_and_says_why_it_cannot_be_written() {
    if nix::unistd::geteuid().is_root() {
        require::skip("ordinary-user", "root writes everywhere");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let study = Store::open(&at(&folder)).unwrap().create_study(&new_study("s")).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    std::fs::set_permissions(at(&folder), std::fs::Permissions::from_mode(0o444)).unwrap();
    let read = Store::open_existing(&at(&folder)).and_then(|s| s.study(None)).map(|s| s.id);
    let written = Store::open(&at(&folder));
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(read.unwrap(), study);
    assert!(matches!(written, Err(StoreError::ReadOnly(_))), "{written:?}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"").unwrap();
    let error = Store::open(&folder.path().join("file").join("autotune.db")).unwrap_err();
    assert!(matches!(&error, StoreError::Folder { .. }), "{error}");
}

#[test]
fn many_processes_may_open_a_new_database_at_once() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let path = at(&folder);
            scope.spawn(move || {
                Store::open(&path).unwrap().create_study(&new_study(&format!("s{i}"))).unwrap()
            });
        }
    });
    assert_eq!(Store::open(&at(&folder)).unwrap().studies().unwrap().len(), 8);
}

/// Any number: what is NaN or infinite is none, and is refused.
fn finite() -> impl proptest::strategy::Strategy<Value = f64> {
    proptest::strategy::Strategy::prop_filter(proptest::num::f64::ANY, "no number", |x| x.is_finite())
}

#[test]
fn what_is_no_number_is_refused_and_the_trial_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&at(&folder)).unwrap();
    let study = store.create_study(&new_study("s")).unwrap();
    let mut live = asked(&store, study, 1, &WorkerIdentity::current());
    let wrong = [
        (NewMeasurement::exact("kl_mean", "nats", f64::INFINITY), "kl_mean is infinite"),
        (NewMeasurement::exact("kl_mean", "nats", f64::NAN), "kl_mean is NaN"),
        (NewMeasurement::interval("ms", "ms", 1.0, f64::NAN, 2.0, 3), "the interval of ms is NaN"),
        (
            NewMeasurement { raw: vec![1.0, f64::NAN], ..NewMeasurement::exact("ms", "ms", 1.0) },
            "a sample of ms is NaN",
        ),
    ];
    for (measurement, words) in wrong {
        let mut rung = finished(Rung::Measured);
        rung.measurements = vec![NewMeasurement::exact("sound", "", 1.0), measurement];
        let error = store.finish_rung(&mut live, &rung).unwrap_err();
        assert!(matches!(&error, StoreError::NotANumber(text) if text == words), "{error}");
        assert!(store.trial(study, 1).unwrap().measurements.is_empty());
    }
    // An interval without an end is knowledge of a kind.
    let mut rung = finished(Rung::Measured);
    rung.measurements = vec![NewMeasurement::interval("rate", "1/s", 2.0, 1.0, f64::INFINITY, 1)];
    store.finish_rung(&mut live, &rung).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_number_survives(
        values in proptest::collection::vec(
            proptest::option::of(finite()), 3),
        raw in proptest::collection::vec(finite(), 0..20),
        samples in 0..=i64::MAX as u64,
        unit in ".*",
    ) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&at(&folder)).unwrap();
        let study = store.create_study(&new_study("s")).unwrap();
        let mut live = asked(&store, study, 1, &WorkerIdentity::current());
        let mut rung = finished(Rung::Measured);
        rung.measurements = vec![NewMeasurement {
            metric: "m".into(), unit: unit.clone(), value: values[0], low: values[1], high: values[2],
            samples, raw: raw.clone(),
        }];
        store.finish_rung(&mut live, &rung).unwrap();
        let back = &live.record().measurements["m"];
        // SQLite drops the sign of zero, which is equal.
        prop_assert_eq!((back.value, back.low, back.high), (values[0], values[1], values[2]));
        prop_assert_eq!((back.samples, &back.unit), (samples, &unit));
        let kept = store.raw_samples(live.record().id, "m").unwrap();
        prop_assert_eq!(
            kept.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            raw.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
    }
}

// Processes that are really killed.

const CHILD: &str = "AUTOTUNE_TEST_STORE_CHILD";
const TRIALS: usize = 60;

/// Not a test by itself: the process that `killed_processes_lose_nothing` starts and kills.
#[test]
fn child_process() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let store = Store::open(Path::new(&path)).unwrap();
    let study = store.study(None).unwrap().id;
    let worker = WorkerIdentity::current();
    loop {
        let live = match store.claim_next_unfinished(study, &worker).unwrap() {
            Some(live) => live,
            None => {
                let next = |trials: &[autotune::store::TrialRecord]| {
                    (trials.len() < TRIALS).then(|| candidate(trials.len() as i64))
                };
                match store.ask_trial(study, &worker, next).unwrap() {
                    Asked::New(live) => *live,
                    Asked::Duplicate(number) => panic!("trial {number} asked twice"),
                    Asked::Nothing => return,
                }
            }
        };
        let mut live = live;
        for (i, rung) in [Rung::Built, Rung::Measured, Rung::Graded].into_iter().enumerate() {
            if live.rung().is_some_and(|reached| reached >= rung) {
                continue;
            }
            let mut result = finished(rung);
            let value = live.number() as f64 * 10.0 + i as f64;
            result.measurements = vec![NewMeasurement::exact(&format!("metric_{i}"), "", value)];
            result.generations =
                vec![NewGeneration { task: format!("task_{i}"), ..NewGeneration::default() }];
            store.finish_rung(&mut live, &result).unwrap();
        }
        store.end_trial(live, EndState::Complete, None).unwrap();
    }
}

#[test]
fn killed_processes_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = at(&folder);
    let study = Store::open(&path).unwrap().create_study(&new_study("s")).unwrap();
    let spawn = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_process", "--test-threads", "1"])
            .env(CHILD, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut history: Vec<autotune::store::TrialRecord> = Vec::new();
    for round in 0..20u64 {
        // Two at once; both are killed at odd moments.
        let mut children = [spawn(), spawn()];
        for (i, child) in children.iter_mut().enumerate() {
            std::thread::sleep(Duration::from_millis((round * 37 + i as u64 * 13) % 60 + 5));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let now = Store::open_existing(&path).unwrap().trials(study).unwrap();
        for old in history.iter().filter(|t| t.state.is_ended()) {
            assert_eq!(now.iter().find(|t| t.number == old.number), Some(old), "history changed");
        }
        history = now.to_vec();
    }
    for mut child in [spawn(), spawn()] {
        assert!(child.wait().unwrap().success());
    }
    let store = Store::open_existing(&path).unwrap();
    let trials = store.trials(study).unwrap();
    assert_eq!(trials.len(), TRIALS);
    assert_eq!(trials.iter().map(|t| &t.hash).collect::<BTreeSet<_>>().len(), TRIALS);
    for trial in trials.iter() {
        assert_eq!(trial.state, TrialState::Complete);
        for i in 0..3 {
            assert_eq!(trial.value(&format!("metric_{i}")), Some(trial.number as f64 * 10.0 + f64::from(i)));
        }
        assert_eq!(store.generations(trial.id).unwrap().len(), 3);
    }
    let check: String = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}
