//! Studies that are killed, interrupted and shared: what was finished stays, nothing is done twice, and the rest goes on as if nothing
//! had happened.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/bench.rs"]
mod bench;

use std::time::Duration;

use autotune::search::Random;
use autotune::store::{
    Added, Artifact, DATABASE_FILE, FinishedRung, NewMeasurement, NewTrial, Origin, Rung, Store,
    WorkerIdentity,
};
use bench::{Bench, Finished, Running};
use nix::sys::signal::Signal;
use serde_json::json;

/// The eight presets, one of them broken, and the eight points of the space.
const ALL: [&str; 4] = ["--budget", "400MB", "--trials", "16"];

fn bench() -> Bench {
    Bench::new(json!([["Q2_K", "crash-on-load"], ["Preset(\"F16\")", "underestimated"]]))
}

/// A few presets and a few points.
const SOME: [&str; 4] = ["--budget", "400MB", "--trials", "5"];

/// What a study that nothing disturbs comes to.
fn undisturbed(limits: &[&str]) -> Vec<Finished> {
    let bench = bench();
    bench.run_tune(limits).code(0);
    bench.finished()
}

#[track_caller]
fn assert_same(found: &[Finished], wanted: &[Finished]) {
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
}

#[test]
fn twenty_kills_at_random_moments_change_nothing() {
    let wanted = undisturbed(&ALL);
    assert_eq!(wanted.len(), 16);
    assert_eq!(wanted[2].state, "infeasible");
    let bench = bench();
    let mut random = Random::new(20, 0, 0);
    let mut kept: Vec<Finished> = Vec::new();
    let mut kills = 0;
    while kills < 20 {
        let command = match bench.has_study() {
            true => bench.command(&["resume", "--results", "results", "--json"]),
            false => bench.tune(&[&ALL[..], &["--json"]].concat()),
        };
        let mut running = Running::start(command);
        // So many events, then a while: everywhere from the first instructions to the middle of a rung, on a busy machine too.
        for _ in 0..random.below(10) {
            running.wait_for(|_| true);
        }
        std::thread::sleep(Duration::from_millis(random.below(60) as u64));
        if !running.kill() {
            break; // It was done before we were.
        }
        kills += 1;
        bench.wait_for_silence();
        if bench.has_study() {
            let now = bench.finished();
            assert_same(&now[..kept.len()], &kept);
            kept = now;
        }
    }
    assert!(kills >= 10, "only {kills} kills");
    eprintln!("{kills} kills, {} trials finished under them", kept.len());
    let resume = ["resume", "--results", "results"];
    let said = if bench.has_study() { bench.run(&resume) } else { bench.run_tune(&ALL) };
    said.code(0);
    assert_same(&bench.finished(), &wanted);
    let (trials, mut seen) = (bench.trials(), std::collections::BTreeSet::new());
    assert!(trials.iter().all(|t| seen.insert(t.hash.clone())), "a candidate was run twice");
    assert!(trials.iter().all(|t| t.state.is_ended()));
    let left = leftovers(&bench.path("results"));
    assert!(left.is_empty(), "{left:?}");
}

/// Unfinished files of killed processes.
fn leftovers(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(leftovers(&path));
        } else if path.extension().is_some_and(|e| e == "part" || e == "partial" || e == "tmp") {
            found.push(path);
        }
    }
    found
}

/// Interrupts when an event tells that a phase begins; the study must pause, and go on to the same end.
fn interrupted_at(what: &str, wanted: &[Finished]) {
    let bench = bench();
    let mut running = Running::start(bench.tune(&[&SOME[..], &["--json"]].concat()));
    assert!(running.wait_for(|v| v["event"] == what || v["rung"] == what), "no {what}");
    running.signal(Signal::SIGINT);
    let said = running.end().code(130);
    assert!(said.stderr.contains("stopped by the user"), "{what}: {}", said.stderr);
    assert!(said.stderr.contains("autotune resume 1"), "{what}: {}", said.stderr);
    bench.wait_for_silence();
    let before = bench.finished();
    assert!(before.len() < wanted.len(), "{what}");
    let study = bench.store().study(None).unwrap();
    assert_eq!(study.state.to_string(), "paused", "{what}");
    assert!(bench.path("reports/mock.html").exists());
    bench.run(&["resume", "--results", "results"]).code(0);
    assert_same(&bench.finished(), wanted);
}

#[test]
fn an_interrupt_pauses_in_every_phase() {
    let wanted = undisturbed(&SOME);
    // Preparing, building, measuring, comparing with the reference, generating and judging.
    for phase in ["preparing", "trial_started", "built", "measured", "diverged", "trial_ended"] {
        interrupted_at(phase, &wanted);
    }
}

#[test]
fn termination_by_the_system_pauses_too() {
    let bench = bench();
    let mut running = Running::start(bench.tune(&[&SOME[..], &["--json"]].concat()));
    assert!(running.wait_for(|v| v["rung"] == "built"));
    running.signal(Signal::SIGTERM);
    running.end().code(130);
    bench.wait_for_silence();
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let bench = bench();
    // The judge waits for this task; a first interrupt lets it.
    let slow = r#"{"task_id":"Mock/slow","prompt":"def f():\n    # answer: return 1\n","canonical_solution":"    return 1\n","test":"import time\ndef check(candidate):\n    time.sleep(9)\n    assert candidate() == 1\n","entry_point":"f"}"#;
    let path = bench.write("slow.jsonl", slow);
    let mut command = bench.command(&["--engine", "mock", "--model", "mock.json", "--space", "smoke"]);
    command
        .args(["--results", "results", "--json", "--budget", "400MB", "--trials", "2", "--tasks"])
        .arg(path);
    let mut running = Running::start(command);
    assert!(running.wait_for(|v| v["rung"] == "diverged"));
    std::thread::sleep(Duration::from_millis(1500));
    running.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(300));
    running.signal(Signal::SIGINT);
    let said = running.end().code(130);
    assert!(!said.stdout.contains("trial_ended"), "{}", said.stdout);
    bench.wait_for_silence();
    // As after a kill: the study goes on from the last finished rung.
    let trial = &bench.trials()[0];
    assert_eq!((trial.rung, trial.state.is_ended()), (Some(Rung::Diverged), false));
    bench.run(&["resume", "--results", "results"]).code(0);
    assert_eq!(bench.finished().len(), 2);
}

#[test]
fn a_hanging_worker_is_stopped_by_an_interrupt() {
    let bench = Bench::new(json!([["Q4_K_M", "hang"]]));
    let mut running =
        Running::start(bench.tune(&["--budget", "400MB", "--trials", "2", "--rung-timeout", "1h", "--json"]));
    assert!(running.wait_for(|v| v["rung"] == "built"));
    std::thread::sleep(Duration::from_millis(300));
    running.signal(Signal::SIGINT);
    running.end().code(130);
    bench.wait_for_silence();
    assert_eq!(bench.trials()[0].rung, Some(Rung::Built));
}

/// A study killed between a measurement and its consequence must still draw it.
#[test]
fn an_over_budget_peak_counts_across_a_kill() {
    let bench = bench();
    bench.run_tune(&["--budget", "400MB", "--trials", "1"]).code(0);
    let store = Store::open(&bench.path("results").join(DATABASE_FILE)).unwrap();
    let study = store.study(None).unwrap().id;
    let candidate = bench.trials()[0]
        .candidate
        .clone()
        .with("weights.preset", autotune::space::Value::Text("Q8_0".into()));
    let new = NewTrial { candidate, origin: Origin::preset("Q8_0"), predicted: Vec::new() };
    assert_eq!(store.add_trial(study, &new).unwrap(), Added::New(2));
    let mut live = store.claim(study, 2, &WorkerIdentity::current()).unwrap().unwrap();
    let rung = |rung| FinishedRung::new(rung, jiff::Timestamp::now(), Duration::ZERO);
    let mut built = rung(Rung::Built);
    built.artifact =
        Some(Artifact { path: "artifacts/none.json".into(), bytes: 1, hash: "0".into(), sha256: None });
    store.finish_rung(&mut live, &built).unwrap();
    let mut measured = rung(Rung::Measured);
    measured.measurements = vec![NewMeasurement::exact("peak_memory_bytes", "bytes", 500e6)];
    store.finish_rung(&mut live, &measured).unwrap();
    store.release(live).unwrap();
    bench.run(&["resume", "--results", "results", "--trials", "2"]).code(0);
    let trial = &bench.trials()[1];
    assert_eq!(trial.state.to_string(), "infeasible");
    assert!(trial.failure.as_ref().unwrap().text.contains("500 MB is over the budget of 400 MB"));
}

#[test]
fn a_resume_needs_neither_the_folder_nor_the_caches_of_the_start() {
    let wanted = undisturbed(&ALL);
    let bench = bench();
    let (results, reports) = (bench.path("results"), bench.path("pages"));
    let tasks = bench.path("my tasks.jsonl");
    std::fs::copy(bench::tasks(), &tasks).unwrap();
    // Paths as a user in that folder writes them.
    bench
        .run(&[
            "tune",
            "--engine",
            "mock",
            "--model",
            "mock.json",
            "--space",
            "smoke",
            "--budget",
            "400MB",
            "--trials",
            "10",
            "--tasks",
            "my tasks.jsonl",
            "--reports",
            reports.to_str().unwrap(),
        ])
        .code(0);
    let mut resume =
        bench.command(&["resume", "mock", "--trials", "16", "--results", results.to_str().unwrap()]);
    std::fs::create_dir(bench.path("elsewhere")).unwrap();
    // Another cache: other ceilings are measured, which must not change what is asked.
    resume.current_dir(bench.path("elsewhere")).env("XDG_CACHE_HOME", bench.path("cache"));
    bench::Said::of(&resume.output().unwrap()).code(0);
    let last = |all: &[Finished]| all.iter().map(|t| (t.number, t.candidate.clone())).collect::<Vec<_>>();
    // Presets that ten trials had no room for come with the raised limit, so the order differs; the set does not.
    let (mut a, mut b) = (last(&bench.finished()), last(&wanted));
    a.iter_mut().chain(&mut b).for_each(|(n, _)| *n = 0);
    a.sort();
    b.sort();
    assert_eq!(a, b);
    assert!(std::fs::read_to_string(reports.join("mock.html")).unwrap().contains("Q2_K"));
}

#[test]
fn two_processes_share_a_study_and_a_database() {
    let bench = bench();
    bench.run_tune(&["--budget", "400MB", "--trials", "1"]).code(0);
    let resume = || bench.command(&["resume", "1", "--results", "results", "--trials", "16", "--json"]);
    let another = bench.tune(&["--budget", "350MB", "--trials", "6", "--seed", "5", "--json"]);
    let running: Vec<Running> = [resume(), resume(), another].into_iter().map(Running::start).collect();
    for one in running {
        one.end().code(0);
    }
    let store = bench.store();
    for (study, count) in [("mock", 16), ("mock-2", 6)] {
        let id = store.study(Some(study)).unwrap().id;
        let trials = store.trials(id).unwrap();
        assert_eq!(trials.len(), count, "{study}");
        let numbers: Vec<u64> = trials.iter().map(|t| t.number).collect();
        assert_eq!(numbers, (1..=count as u64).collect::<Vec<_>>());
        for trial in trials.iter() {
            // The bench's Q2_K and F16 fail by its script; a found candidate may end without grades, which depends on who came first.
            let ok = ["Q2_K", "F16"].map(Some).contains(&trial.origin.preset_name())
                || trial.state.to_string() == "complete"
                || trial.failure.as_ref().is_some_and(|f| f.kind.name() == "not_graded");
            assert!(ok && trial.state.is_ended(), "{study} {}: {:?}", trial.number, trial.failure);
        }
    }
    let check = rusqlite_check(&bench.path("results").join(DATABASE_FILE));
    assert_eq!(check, "ok");
}

fn rusqlite_check(path: &std::path::Path) -> String {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_study_needs_its_own_model() {
    let bench = bench();
    bench.run_tune(&["--budget", "400MB", "--trials", "1"]).code(0);
    bench.write("mock.json", bench::model(&json!([["F16", "hang"]])).to_string());
    bench.run(&["resume", "--results", "results"]).code(2).names("no longer the model");
    std::fs::remove_file(bench.path("mock.json")).unwrap();
    bench.run(&["resume", "--results", "results"]).code(2).names("mock.json");
}
