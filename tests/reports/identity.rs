//! A study is gone on with by other inputs, another program or another machine, and its artifacts are damaged on the disk.

use std::path::PathBuf;
use std::process::Command;

use autotune::host::identity::{Component, OnChange};
use autotune::store::DATABASE_FILE;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Running, Said, model, tasks};

const SPACE: &str = "weights.attn = [\"Q8_0\", \"Q4_0\"]\nthreads = [1]\n";

/// A folder with a mock model, tasks, a space and a calibration text of its own.
fn own_inputs() -> Bench {
    let bench = Bench::new(json!([]));
    std::fs::copy(tasks(), bench.path("tasks.jsonl")).unwrap();
    bench.write("space.toml", SPACE);
    bench.write("text.py", "def f(x):\n    return x\n".repeat(200));
    bench
}

fn tune(bench: &Bench, trials: &str) -> Command {
    bench.command(&[
        "tune",
        "--engine",
        "mock",
        "--model",
        "mock.json",
        "--space",
        "space.toml",
        "--tasks",
        "tasks.jsonl",
        "--calibration",
        "text.py",
        "--budget",
        "400MB",
        "--results",
        "results",
        "--reports",
        "reports",
        "--trials",
        trials,
    ])
}

fn begin(bench: &Bench, trials: &str) {
    Said::of(&tune(bench, trials).output().unwrap()).code(0);
}

fn resume(bench: &Bench, more: &[&str]) -> Said {
    bench.run(&[&["resume", "--results", "results"], more].concat())
}

fn studies(bench: &Bench) -> Value {
    let said = bench.run(&["studies", "--json", "--results", "results"]).code(0);
    serde_json::from_str(&said.stdout).unwrap()
}

fn database(bench: &Bench) -> PathBuf {
    bench.path("results").join(DATABASE_FILE)
}

/// Every component of the identity: one is other than it was when the study began.
#[test]
fn each_thing_that_numbers_depend_on_is_compared_and_named() {
    let bench = own_inputs();
    begin(&bench, "1");
    let connection = rusqlite::Connection::open(database(&bench)).unwrap();
    let text: String = connection.query_row("SELECT json FROM identity", [], |row| row.get(0)).unwrap();
    drop(connection);
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let saved = std::fs::read(database(&bench)).unwrap();
    for &component in Component::ALL {
        std::fs::write(database(&bench), &saved).unwrap();
        let mut then = recorded.clone();
        then[component.name()] = json!({ "value": "something else" });
        let connection = rusqlite::Connection::open(database(&bench)).unwrap();
        connection.execute("UPDATE identity SET json = ?1", [then.to_string()]).unwrap();
        drop(connection);
        let said = resume(&bench, &["--trials", "1"]);
        let said = said.names(&format!("{} differs", component.label())).names("something else then");
        let study = &studies(&bench)[0];
        let segment = study["segment"].as_u64().unwrap();
        match component.on_change() {
            OnChange::Refuse => {
                said.code(2).names("--new-segment").names("start a new study");
                assert_eq!(segment, 1, "{component:?}");
            }
            OnChange::Segment => {
                said.code(0).names("segment 2");
                assert_eq!(segment, 2, "{component:?}");
                let reason = study["segments"][1]["reasons"][0].as_str().unwrap();
                assert!(reason.contains(component.label()), "{reason}");
                assert_eq!(study["identity"], recorded, "{component:?}");
            }
            OnChange::Tell => {
                said.code(0);
                assert_eq!(segment, 1, "{component:?}");
            }
        }
    }
    // All but the Hugging Face folder, which a mock has none of, were recorded.
    let recorded = recorded.as_object().unwrap();
    let missing: Vec<_> = Component::ALL.iter().filter(|c| !recorded.contains_key(c.name())).collect();
    assert_eq!(missing, [&Component::ModelSource]);
}

#[test]
fn changed_input_files_are_refused_by_name_and_accepted_when_they_are_put_back() {
    let bench = own_inputs();
    begin(&bench, "1");
    let changes: [(&str, String, &str); 3] = [
        (
            "tasks.jsonl",
            std::fs::read_to_string(tasks()).unwrap().replacen("assert", "assert True or", 1),
            "the task file",
        ),
        ("text.py", "x = 1\n".to_owned(), "the calibration text"),
        ("mock.json", model(&json!([["F16", "hang"]])).to_string(), "no longer the model"),
    ];
    for (file, content, label) in changes {
        let original = std::fs::read(bench.path(file)).unwrap();
        bench.write(file, &content);
        let sizes = [original.len(), content.len()].map(|n| format!("({n} bytes)"));
        resume(&bench, &["--trials", "2"]).code(2).names(label).names(file).names(&sizes[0]).names(&sizes[1]);
        std::fs::remove_file(bench.path(file)).unwrap();
        resume(&bench, &["--trials", "2"]).code(2).names(file);
        for look in ["report", "trials", "studies"] {
            bench.run(&[look, "--results", "results"]).code(0);
        }
        bench.write(file, original);
    }
    // The levels of a space are stored.
    std::fs::remove_file(bench.path("space.toml")).unwrap();
    resume(&bench, &["--trials", "2"]).code(0).names("the space file differs");
    assert_eq!(bench.trials().len(), 2);
}

#[test]
fn other_tasks_go_into_a_segment_of_their_own_when_the_user_says_so() {
    let bench = own_inputs();
    begin(&bench, "3");
    let graded = bench.finished();
    let text = std::fs::read_to_string(tasks()).unwrap();
    bench.write("tasks.jsonl", text.lines().next().unwrap());
    resume(&bench, &["--trials", "2", "--new-segment"])
        .code(0)
        .names("segment 2")
        .names("the task file differs");
    // The newest segment is what the study is; its trials and verdicts are of the new tasks alone.
    let now = bench.finished();
    assert_eq!(now.len(), 2);
    assert!(now.iter().all(|t| t.generations.len() == 1), "{now:?}");
    assert_eq!(now[0].number, 1);
    let trials = bench.run(&["trials", "--json", "--results", "results"]).code(0).names("2 segments");
    let json: Value = serde_json::from_str(&trials.stdout).unwrap();
    assert_eq!(json["trials"].as_array().unwrap().len(), 2);
    assert!(json["trials"].as_array().unwrap().iter().all(|t| t["segment"] == 2));
    assert_eq!(json["study"]["segments"][0]["trials"], 3);
    // The first one is still there, as it was.
    let first = bench.run(&["trials", "1.1", "--json", "--results", "results"]).code(0);
    let json: Value = serde_json::from_str(&first.stdout).unwrap();
    let numbers: Vec<_> =
        json["trials"].as_array().unwrap().iter().map(|t| t["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, graded.iter().map(|t| t.number).collect::<Vec<_>>());
    bench.run(&["trials", "1.3", "--results", "results"]).code(2).names("2 segments");
    resume_segment(&bench, "1.1").code(2).names("closed");
    let page = std::fs::read_to_string(bench.path("reports/mock.html")).unwrap();
    assert!(page.contains("autotune report 1.1") && page.contains("the task file differs"));
    // One study, whose number and name did not change; the next resume goes on with the newest segment.
    assert_eq!(studies(&bench).as_array().unwrap().len(), 1);
    resume_segment(&bench, "mock").code(0);
    assert_eq!(studies(&bench)[0]["segment"], 2);
}

fn resume_segment(bench: &Bench, which: &str) -> Said {
    bench.run(&["resume", which, "--results", "results", "--trials", "3"])
}

/// In place, of the same size, and with the time of its last change put back.
#[test]
fn one_other_byte_in_the_model_is_seen_although_its_time_is_put_back() {
    let bench = own_inputs();
    begin(&bench, "1");
    let path = bench.path("mock.json");
    let modified = path.metadata().unwrap().modified().unwrap();
    let content = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, content.replace("300000000", "300000001")).unwrap();
    std::fs::File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
    resume(&bench, &["--trials", "2"]).code(2).names("no longer the model");
    std::fs::write(&path, content).unwrap();
    resume(&bench, &["--trials", "2"]).code(0);
}

#[test]
fn a_model_that_is_replaced_while_the_study_runs_stops_it() {
    let bench = own_inputs();
    let mut running = Running::start({
        let mut command = tune(&bench, "9");
        command.arg("--json");
        command
    });
    assert!(running.wait_for(|v| v["rung"] == "built"));
    running.signal(Signal::SIGSTOP);
    let original = std::fs::read_to_string(bench.path("mock.json")).unwrap();
    bench.write("other.json", original.replace("300000000", "200000000"));
    std::fs::rename(bench.path("other.json"), bench.path("mock.json")).unwrap();
    running.signal(Signal::SIGCONT);
    running.end().code(2).names("mock.json").names("was replaced").names("while the study ran");
    bench.wait_for_silence();
    let before = bench.finished();
    // Nothing was built from the other file, not even under its own name.
    resume(&bench, &[]).code(2).names("no longer the model");
    bench.write("mock.json", &original);
    resume(&bench, &[]).code(0);
    let undisturbed = own_inputs();
    begin(&undisturbed, "9");
    let wanted = undisturbed.finished();
    assert_eq!(bench.finished(), wanted);
    assert!(before.len() < wanted.len());
}

/// The file of a trial's artifact.
fn artifact(bench: &Bench, number: u64) -> PathBuf {
    let trials = bench.trials();
    let trial = trials.iter().find(|t| t.number == number).unwrap();
    bench.path("results").join(&trial.artifact.as_ref().unwrap().path)
}

fn flip_one_byte(path: &std::path::Path) -> Vec<u8> {
    let original = std::fs::read(path).unwrap();
    let mut damaged = original.clone();
    // A digit stays a digit: the file is still read without an error.
    let place = damaged.iter().rposition(u8::is_ascii_digit).unwrap();
    damaged[place] ^= 1;
    std::fs::write(path, damaged).unwrap();
    original
}

#[test]
fn an_artifact_with_one_wrong_byte_is_not_handed_over() {
    let bench = own_inputs();
    begin(&bench, "2");
    let original = flip_one_byte(&artifact(&bench, 2));
    let export = ["export", "--trial", "2", "--to", "out", "--results", "results"];
    bench.run(&export).code(0).names("is not the file that trial 2 was measured with").names("rebuilding it");
    assert_eq!(std::fs::read(bench.path("out/mock-2.json")).unwrap(), original);
    // Where it cannot be built again, nothing is handed over.
    std::fs::rename(bench.path("mock.json"), bench.path("gone.json")).unwrap();
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    bench.run(&export).code(2).names("mock.json");
    assert!(!bench.path("out/mock-2.json").exists());
    assert!(!bench.path("out/SHA256SUMS").exists());
    // A whole one needs no model.
    bench.run(&["export", "--trial", "1", "--to", "out", "--results", "results"]).code(0);
}

#[test]
fn validate_refuses_a_kept_artifact_that_is_not_what_was_measured() {
    let bench = own_inputs();
    begin(&bench, "2");
    let kept = artifact(&bench, 2);
    let validate = ["validate", kept.to_str().unwrap(), "--engine", "mock", "--tier", "edge"];
    bench.run(&validate).code(0);
    flip_one_byte(&kept);
    bench.run(&validate).code(6).names("trial 2 of study 1 was measured with").names("changed or damaged");
}

#[test]
fn segments_of_one_study_are_compared_only_with_a_word_on_what_differs() {
    let bench = own_inputs();
    begin(&bench, "2");
    let text = std::fs::read_to_string(tasks()).unwrap();
    bench.write("tasks.jsonl", text.lines().next().unwrap());
    resume(&bench, &["--trials", "2", "--new-segment"]).code(0);
    let said = bench.run(&["compare", "1.1", "1.2", "--results", "results"]).code(0);
    let all = said.stdout + &said.stderr;
    assert!(all.contains("not the same: the task file"), "{all}");
}

#[test]
fn a_damaged_artifact_is_built_again_before_it_is_measured() {
    let undisturbed = own_inputs();
    begin(&undisturbed, "3");
    let bench = own_inputs();
    let mut running = Running::start({
        let mut command = tune(&bench, "3");
        command.arg("--json");
        command
    });
    assert!(running.wait_for(|v| v["rung"] == "built"));
    running.signal(Signal::SIGKILL);
    running.end();
    bench.wait_for_silence();
    let open: Vec<_> = bench.trials().into_iter().filter(|t| !t.state.is_ended()).collect();
    assert_eq!(open.len(), 1);
    flip_one_byte(&artifact(&bench, open[0].number));
    resume(&bench, &[]).code(0).names("it is rebuilt");
    assert_eq!(bench.finished(), undisturbed.finished());
}
