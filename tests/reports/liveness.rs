//! A study is shown as running although the process that ran it was killed, or the machine went down.

use autotune::store::{DATABASE_FILE, Store, StudyState, WorkerIdentity};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::{Bench, Running};

const LIMITS: [&str; 4] = ["--budget", "400MB", "--trials", "6"];

fn state(bench: &Bench) -> (StudyState, Option<String>) {
    let study = bench.store().study(None).unwrap();
    (study.state, study.reason)
}

#[test]
fn a_killed_study_is_not_shown_as_running() {
    let bench = Bench::new(json!([]));
    let mut running = Running::start(bench.tune(&[&LIMITS[..], &["--json"]].concat()));
    assert!(running.wait_for(|v| v["event"] == "trial_ended"));
    running.signal(Signal::SIGSTOP);
    assert_eq!(state(&bench), (StudyState::Running, None));
    running.signal(Signal::SIGKILL);
    running.end();
    bench.wait_for_silence();
    let (now, reason) = state(&bench);
    assert_eq!(now, StudyState::Interrupted);
    assert!(reason.unwrap().contains("gone"));
    let said = bench.run(&["studies", "--results", "results"]).code(0);
    assert!(said.stdout.contains("interrupted") && !said.stdout.contains("running"), "{}", said.stdout);
    // `--watch` ends by itself.
    bench.run(&["report", "--watch", "--results", "results", "--out", "page.html"]).code(0);
    bench.run(&["resume", "--results", "results"]).code(0);
    assert_eq!(state(&bench).0, StudyState::Finished);
}

#[test]
fn a_study_of_an_earlier_boot_is_not_running_even_where_the_process_number_is_in_use() {
    let bench = Bench::new(json!([]));
    bench.run_tune(&LIMITS).code(0);
    let connection = rusqlite::Connection::open(bench.path("results").join(DATABASE_FILE)).unwrap();
    let me = WorkerIdentity::current();
    let enter = |boot: &str| {
        connection.execute("UPDATE study SET state = 'running'", []).unwrap();
        connection.execute("DELETE FROM runner", []).unwrap();
        let row = (me.pid, me.started_ticks.cast_signed(), boot);
        connection
            .execute(
                "INSERT INTO runner (study_id, pid, started, boot, begun_ms) VALUES (1, ?1, ?2, ?3, 0)",
                row,
            )
            .unwrap();
    };
    enter(&me.boot_id);
    assert_eq!(state(&bench).0, StudyState::Running);
    enter("another boot");
    assert_eq!(state(&bench).0, StudyState::Interrupted);
}

#[test]
fn the_hint_after_a_resume_asks_for_more_trials_than_there_are() {
    let bench = Bench::new(json!([]));
    bench.run_tune(&LIMITS).code(0);
    let said = bench.run(&["resume", "--results", "results", "--trials", "2"]).code(0);
    let hint = said.stderr.lines().find_map(|l| l.split_once("continue: autotune resume 1")).unwrap().1;
    let asked: usize = hint.split_once("--trials ").unwrap().1.trim().parse().unwrap();
    assert!(asked > bench.trials().len(), "{hint}");
}

#[test]
fn a_study_runs_as_long_as_one_of_its_processes_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join(DATABASE_FILE)).unwrap();
    let study = store.create_study(&crate::old_database::new_study()).unwrap();
    let other = std::process::Command::new("sleep").arg("60").spawn();
    let mut other = other.unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", other.id())).unwrap();
    let started: i64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
    let connection = rusqlite::Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
    let row = (study.0, other.id(), started, WorkerIdentity::current().boot_id);
    connection
        .execute(
            "INSERT INTO runner (study_id, pid, started, boot, begun_ms) VALUES (?1, ?2, ?3, ?4, 0)",
            row,
        )
        .unwrap();
    store.set_study_state(study, StudyState::Paused, Some("stopped by the user")).unwrap();
    assert_eq!(store.study_by_id(study).unwrap().state, StudyState::Running, "the other one goes on");
    other.kill().unwrap();
    other.wait().unwrap();
    let record = store.study_by_id(study).unwrap();
    assert_eq!((record.state, record.reason.as_deref()), (StudyState::Paused, Some("stopped by the user")));
}
