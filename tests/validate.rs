//! `autotune validate` on the scripted engine: each check can fail, alone, and a pipeline can read which.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, Said};
use serde_json::{Value, json};

/// A mock's artifact: memory in bytes, microseconds a step, noise on the logits, share of tasks forgotten, script.
fn artifact(peak: u64, step_us: f64, noise: f64, forgets: f64, script: &str) -> String {
    json!({"peak_bytes": peak, "prompt_us": 20.0, "step_us": step_us, "row_us": 50.0, "noise": noise,
           "forgets": forgets, "script": script})
    .to_string()
}

fn bench() -> Bench {
    let bench = Bench::new(json!([]));
    bench.write("f16.json", artifact(300_000_000, 1600.0, 0.0, 0.0, "behave"));
    bench.write("good.json", artifact(100_000_000, 400.0, 0.02, 0.0, "behave"));
    bench
}

fn validate(bench: &Bench, artifact: &str, more: &[&str]) -> Said {
    let tasks = bench::tasks().display().to_string();
    let mut line = vec![
        "validate",
        artifact,
        "--engine",
        "mock",
        "--tier",
        "mobile",
        "--reference",
        "f16.json",
        "--tasks",
        &tasks,
    ];
    line.extend(more);
    bench.run(&line)
}

/// The checks that failed, by name.
fn failed(said: &Said) -> Vec<String> {
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["passed"], said.code == Some(0), "{value}");
    let checks = value["checks"].as_array().unwrap();
    let of = |c: &&Value| c["status"] == "fail";
    checks.iter().filter(of).map(|c| c["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_good_artifact_is_fit() {
    let bench = bench();
    let said = validate(&bench, "good.json", &[]).code(0);
    let last = said.stdout.lines().last().unwrap().to_owned();
    assert!(
        last.starts_with("fit: ") && last.contains("0 failed, 0 skipped for tier mobile"),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains("−66.7 % (at least 30 % less)"), "{}", said.stdout);
    assert!(said.stderr.contains("reference: timing and peak memory"), "{}", said.stderr);
}

#[test]
fn each_fault_fails_its_own_check() {
    let bench = bench();
    for (name, content, wanted) in [
        ("big", artifact(250_000_000, 400.0, 0.02, 0.0, "behave"), &["memory"][..]),
        ("slow", artifact(100_000_000, 1800.0, 0.02, 0.0, "behave"), &["latency"]),
        (
            "forgetful",
            artifact(100_000_000, 400.0, 0.02, 0.6, "behave"),
            &["quality:pass@1", "quality:codebleu"],
        ),
        ("huge", artifact(7 << 30, 400.0, 0.02, 0.0, "behave"), &["fits-tier", "memory"]),
    ] {
        let file = format!("{name}.json");
        bench.write(&file, content);
        let said = validate(&bench, &file, &["--json"]).code(6);
        assert_eq!(failed(&said), wanted, "{name}");
    }
    // A noisy model is another function: tokens, divergence and likeliest tokens all say so.
    bench.write("noisy.json", artifact(100_000_000, 400.0, 6.0, 0.0, "behave"));
    let said = validate(&bench, "noisy.json", &["--json"]).code(6);
    let names = failed(&said);
    assert!(
        ["same-tokens", "divergence", "top-1"].iter().all(|n| names.contains(&(*n).to_owned())),
        "{names:?}"
    );
}

#[test]
fn logits_that_are_no_numbers_and_crashes_are_found() {
    let bench = bench();
    bench.write("nan.json", artifact(100_000_000, 400.0, 0.02, 0.0, "nan-logits"));
    let said = validate(&bench, "nan.json", &["--json"]).code(6);
    assert!(failed(&said).contains(&"finite-logits".to_owned()), "{}", said.stdout);
    assert!(failed(&said).contains(&"prompt:full-context".to_owned()), "{}", said.stdout);
    bench.write("crash.json", artifact(100_000_000, 400.0, 0.02, 0.0, "crash-on-decode"));
    let said = validate(&bench, "crash.json", &["--json"]).code(6);
    assert_eq!(failed(&said)[0], "runs");
    assert!(said.stdout.contains("signal 6"), "{}", said.stdout);
    bench.write("hang.json", artifact(100_000_000, 400.0, 0.02, 0.0, "hang"));
    let said = validate(&bench, "hang.json", &["--json", "--step-timeout", "1s"]).code(6);
    assert!(said.stdout.contains("not done within 1 s"), "{}", said.stdout);
    bench.wait_for_silence();
}

#[test]
fn every_bound_can_be_moved() {
    let bench = bench();
    for (flag, value, check) in [
        ("--max-latency-loss", "-90", "latency"),
        ("--min-memory-gain", "70", "memory"),
        ("--max-kl", "0", "divergence"),
        ("--min-top1", "100.1", "top-1"),
        ("--min-same-tokens", "100.1", "same-tokens"),
        ("--max-quality-loss", "-1", "quality:pass@1"),
        ("--max-memory", "50MB", "fits-tier"),
    ] {
        let said = validate(&bench, "good.json", &["--json", flag, value]).code(6);
        assert!(failed(&said).contains(&check.to_owned()), "{flag}: {}", said.stdout);
    }
}

#[test]
fn without_a_reference_the_artifact_itself_is_checked() {
    let bench = bench();
    let said = bench.run(&["validate", "good.json", "--engine", "mock", "--tier", "edge"]).code(0);
    assert!(said.stdout.contains("7 skipped for tier edge"), "{}", said.stdout);
}

#[test]
fn wrong_input_is_told() {
    let bench = bench();
    bench
        .run(&["validate", "none.json", "--engine", "mock", "--tier", "edge"])
        .code(2)
        .names("no artifact at none.json");
    bench.run(&["validate", "good.json", "--engine", "mock"]).code(2).names("--tier");
    bench.run(&["validate", "good.json", "--tier", "edge"]).code(2).names("good.json");
    validate(&bench, "good.json", &["--max-memory", "8"]).code(2).names("--max-memory: `8` has no unit");
}

#[test]
fn an_exported_folder_is_checked_with_its_sums() {
    let bench = bench();
    bench.run_tune(&["--budget", "400MB", "--trials", "2"]).code(0);
    bench.run(&["export", "--trial", "2", "--to", "out"]).code(0);
    let said = bench.run(&["validate", "out", "--engine", "mock", "--tier", "edge", "--json"]).code(0);
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["checksums"], 3, "model, README, trial.json");
    bench.write("out/README.md", "changed");
    bench
        .run(&["validate", "out", "--engine", "mock", "--tier", "edge"])
        .code(6)
        .names("README.md has the SHA-256");
}
