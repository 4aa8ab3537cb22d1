//! Figures that their samples do not carry: percentiles of one pass, intervals as wide as the figure, predictions beside measurements.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/bench.rs"]
mod bench;

use serde_json::{Value, json};

use crate::bench::Bench;

#[test]
fn a_handed_over_trial_states_only_what_its_samples_carry() {
    let bench = Bench::new(json!([]));
    bench.run_tune(&["--budget", "400MB", "--trials", "2"]).code(0);
    bench.run(&["export", "--results", "results", "--trial", "1", "--to", "out"]).code(0);
    let read = |name: &str| std::fs::read_to_string(bench.path("out").join(name)).unwrap();
    let readme = read("README.md");
    for told in ["time to first token (median)", "decode speed", "peak memory", "pass@1", ", n = "] {
        assert!(readme.contains(told), "`{told}` is not in:\n{readme}");
    }
    for never in ["p95", "p99", "predict"] {
        assert!(!readme.contains(never), "`{never}` is in:\n{readme}");
    }
    let trial: Value = serde_json::from_str(&read("trial.json")).unwrap();
    let measured = trial["measurements"].as_object().unwrap();
    assert!(measured.keys().all(|name| !name.starts_with("predicted_") && !name.starts_with("corrected_")));
    assert!(trial["predictions"]["predicted_latency_ms"]["value"].is_number());
    let samples = measured["request_latency_p50_ms"]["samples"].as_u64().unwrap();
    for (percentile, needed) in [("request_latency_p95_ms", 20), ("request_latency_p99_ms", 100)] {
        let stated = measured.get(percentile).is_some_and(|m| m["value"].is_number());
        assert_eq!(stated, samples >= needed, "{percentile} of {samples} samples");
    }
}

#[test]
fn bench_states_percentiles_from_enough_waves_on() {
    let bench = Bench::new(json!([]));
    let artifact = json!({"peak_bytes": 120_000_000, "prompt_us": 100.0, "step_us": 1000.0, "row_us": 100.0, "noise": 0.0, "forgets": 0.0,
        "script": "behave"});
    bench.write("artifact.json", artifact.to_string());
    let row = |requests: &str| -> Value {
        let said = bench.run(&[
            "bench",
            "artifact.json",
            "--engine",
            "mock",
            "--workload",
            "32:8:1",
            "--threads",
            "1",
            "--target",
            "0.0001",
            "--requests",
            requests,
            "--json",
        ]);
        serde_json::from_str::<Value>(&said.code(0).stdout).unwrap()[0].clone()
    };
    let few = row("5");
    assert!(few["latency_p50_ms"]["samples"].as_u64().unwrap() < 20, "{few}");
    assert!(few["latency_p95_ms"].is_null() && few["latency_p99_ms"].is_null(), "{few}");
    let many = row("100");
    assert!(many["latency_p50_ms"]["samples"].as_u64().unwrap() >= 100, "{many}");
    assert!(
        many["latency_p95_ms"]["value"].is_number() && many["latency_p99_ms"]["value"].is_number(),
        "{many}"
    );
}
