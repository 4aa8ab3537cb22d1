//! `--verbose` and `--log-file`: what a user sends when something went wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/bench.rs"]
mod bench;

use bench::Bench;
use serde_json::json;

const FLAGS: [&str; 4] = ["--budget", "400MB", "--trials", "4"];

#[test]
fn the_log_names_workers_stages_and_questions_to_the_sampler() {
    let bench = Bench::new(json!([["Q4_K_M", "crash-on-load"]]));
    // Beyond the presets, so that the sampler is asked.
    let said = bench.run_tune(&["--budget", "400MB", "--trials", "12", "--log-file", "log.txt"]).code(0);
    assert!(!said.stderr.contains("worker started"), "the terminal shows no log: {}", said.stderr);
    let log = std::fs::read_to_string(bench.path("log.txt")).unwrap();
    for text in [
        "autotune started",
        "host probed",
        "worker started job=\"measure\"",
        "worker ended",
        "peak_bytes=",
        "end=Crashed",
        "stage finished",
        "seconds=",
        "sampler asked",
        "trial ended",
        "autotune ended code=0",
    ] {
        assert!(log.contains(text), "`{text}` is not in:\n{log}");
    }
    // The prompts of the tasks stay out.
    let tasks = std::fs::read_to_string(bench::tasks()).unwrap();
    let first: serde_json::Value = serde_json::from_str(tasks.lines().next().unwrap()).unwrap();
    let prompt = first["prompt"].as_str().unwrap();
    let line = prompt.lines().find(|l| l.contains("def ")).unwrap();
    assert!(!log.contains(line), "the log holds a prompt: {line}");
    // A second run appends.
    bench.run(&["--log-file", "log.txt", "studies"]).code(0);
    let longer = std::fs::read_to_string(bench.path("log.txt")).unwrap();
    assert!(longer.starts_with(&log) && longer.len() > log.len());
}

#[test]
fn more_v_show_more_on_the_terminal() {
    let bench = Bench::new(json!([]));
    let quiet = bench.run_tune(&FLAGS).code(0).stderr;
    assert!(!quiet.contains("INFO"), "{quiet}");
    let one = bench.run_tune(&[&FLAGS[..], &["-v"]].concat()).code(0).stderr;
    assert!(one.contains("worker ended") && !one.contains("DEBUG"), "{one}");
    let two = bench.run_tune(&[&FLAGS[..], &["-vv"]].concat()).code(0).stderr;
    assert!(two.contains("DEBUG") && two.contains("worker process is gone"), "{two}");
    bench.run(&["--log-file", "no/such/log.txt", "studies"]).code(4).names("--log-file");
}
