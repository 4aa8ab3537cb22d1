//! `autotune bench` as its users run it, on the mock.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/bench.rs"]
mod bench;

use bench::Bench;
use serde_json::{Value, json};

fn scripted(script: &str) -> Bench {
    let bench = Bench::new(json!([]));
    let artifact = json!({"peak_bytes": 120_000_000, "prompt_us": 100.0, "step_us": 1000.0, "row_us": 100.0,
        "noise": 0.0, "forgets": 0.0, "script": script});
    bench.write("artifact.json", artifact.to_string());
    bench
}

const CALL: [&str; 6] = ["bench", "artifact.json", "--engine", "mock", "--workload", "100:11:4"];

fn rows(bench: &Bench, more: &[&str], code: i32) -> Vec<Value> {
    let call: Vec<&str> = CALL.iter().copied().chain(["--json"]).chain(more.iter().copied()).collect();
    let said = bench.run(&call).code(code);
    serde_json::from_str::<Value>(&said.stdout).unwrap().as_array().unwrap().clone()
}

#[test]
fn every_combination_is_a_row_with_its_intervals() {
    let bench = scripted("behave");
    let rows = rows(&bench, &["--threads", "1,2", "--kv", "f16,q8_0/f16", "--batch", "1,4"], 0);
    let seen: Vec<(u64, &str, u64)> = rows
        .iter()
        .map(|r| (r["threads"].as_u64().unwrap(), r["kv_k"].as_str().unwrap(), r["batch"].as_u64().unwrap()))
        .collect();
    assert_eq!(seen.len(), 8);
    assert_eq!(
        (seen[0], seen[1], seen[2], seen[4]),
        ((1, "f16", 1), (1, "f16", 4), (1, "q8_0", 1), (2, "f16", 1))
    );
    for row in &rows {
        assert_eq!(row["end"], "done");
        assert_eq!(row["peak_memory_bytes"], 120_000_000);
        assert!(row["requests_timed"].as_u64().unwrap() >= 10);
        for metric in ["latency_p50_ms", "latency_p99_ms", "ttft_p50_ms", "prompt_tokens_per_s"] {
            let of = |end: &str| row[metric][end].as_f64().unwrap();
            assert!(of("low") <= of("value") && of("value") <= of("high") && of("value") > 0.0, "{metric}");
        }
    }
    // Four prompts of 10 ms, then ten steps of 1.4 ms; one slot: 21 ms for each, the median waits for one and a half.
    let latency = |i: usize| rows[i]["latency_p50_ms"]["value"].as_f64().unwrap();
    assert!((latency(0) - 52.5).abs() < 1e-6 && (latency(1) - 54.0).abs() < 1e-6);
}

#[test]
fn people_get_a_table() {
    let bench = scripted("behave");
    let said = bench.run(&[&CALL[..], &["--threads", "1"]].concat()).code(0);
    assert!(said.stdout.starts_with("model "), "{}", said.stdout);
    for word in ["prompt tok/s", "10000.0 ±0.0 %", "54.0 (54.0-54.0)", "120 MB"] {
        assert!(said.stdout.contains(word), "`{word}`: {}", said.stdout);
    }
}

#[test]
fn what_does_not_run_is_a_row_and_an_exit_code() {
    for (script, text) in [("crash-on-decode", "signal 6"), ("refuse-load", "scripted refusal")] {
        let bench = scripted(script);
        let rows = rows(&bench, &["--threads", "1"], 5);
        assert!(rows[0]["end"].as_str().unwrap().contains(text), "{}", rows[0]);
    }
    let bench = scripted("greed");
    let rows = rows(&bench, &["--threads", "1", "--budget", "200MB"], 5);
    assert!(rows[0]["end"].as_str().unwrap().contains("over the budget of 200 MB"), "{}", rows[0]);
}

#[test]
fn wrong_flags_are_named() {
    let bench = scripted("behave");
    for (flags, text) in [
        (["--kv", "q9"], "`q9` is no cache type"),
        (["--workload", "5"], "`5` is no workload"),
        (["--target", "2"], "--target: 2"),
        (["--cap", "never"], "--cap: `never`"),
        (["--budget", "8"], "--budget: `8` has no unit"),
    ] {
        bench
            .run(&[&["bench", "artifact.json", "--engine", "mock"][..], &flags].concat())
            .code(2)
            .names(text);
    }
    bench.run(&["bench", "missing.gguf"]).code(2).names("missing.gguf");
}
