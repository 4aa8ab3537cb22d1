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
        assert!(row["latency_p99_ms"].is_null(), "ten requests carry no p99");
        for metric in ["latency_p50_ms", "ttft_p50_ms", "prompt_tokens_per_s"] {
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
    let bench = scripted("crash-on-decode");
    let crashed = rows(&bench, &["--threads", "1"], 5);
    assert!(crashed[0]["end"].as_str().unwrap().contains("signal 6"), "{}", crashed[0]);
    let bench = scripted("greed");
    let rows = rows(&bench, &["--threads", "1", "--budget", "200MB"], 5);
    assert!(rows[0]["end"].as_str().unwrap().contains("over the budget of 200 MB"), "{}", rows[0]);
}

#[test]
fn what_does_not_load_is_wrong_input_before_anything_is_measured() {
    for (script, text) in [("refuse-load", "scripted refusal"), ("crash-on-load", "signal 6")] {
        let bench = scripted(script);
        bench.run(&[&CALL[..], &["--threads", "1"]].concat()).code(2).names(text).names("artifact.json");
    }
}

#[test]
fn energy_is_told_where_it_is_measured() {
    let bench = scripted("behave");
    let none = bench.run(&[&CALL[..], &["--threads", "1"]].concat()).code(0);
    assert!(none.stdout.contains("Energy: not measurable here."), "{}", none.stdout);
    let artifact = json!({"peak_bytes": 1, "prompt_us": 100.0, "step_us": 1000.0, "row_us": 100.0,
        "noise": 0.0, "forgets": 0.0, "watts": 5.0});
    bench.write("artifact.json", artifact.to_string());
    let row = &rows(&bench, &["--threads", "1", "--battery-wh", "15"], 0)[0];
    let joules = row["joules_per_token"].as_f64().unwrap();
    assert!(joules > 0.0);
    let share = row["battery_share_per_1000_tokens"].as_f64().unwrap();
    assert!((share - 1000.0 * joules / (15.0 * 3600.0)).abs() < 1e-12);
    let said = bench.run(&[&CALL[..], &["--threads", "1", "--battery-wh", "15"]].concat()).code(0);
    assert!(said.stdout.contains("% of the battery for 1,000 tokens"), "{}", said.stdout);
}

/// A model that loads, with a cache that does not fit.
#[test]
fn a_real_model_whose_cache_does_not_fit_is_stopped() {
    let Some(model) = bench::demo_model() else { return };
    let bench = Bench::new(json!([]));
    let call =
        ["bench", model.to_str().unwrap(), "--threads", "1", "--workload", "7000:100:16", "--batch", "16"];
    // 16 x 7168 positions of 30 layers with 2 x 192 values of 16 bits: 2.6 GB.
    let said = bench.run(&[&call[..], &["--budget", "500MB", "--json"]].concat()).code(5);
    let rows: Value = serde_json::from_str(&said.stdout).unwrap();
    let end = rows[0]["end"].as_str().unwrap();
    assert!(end.contains("over the budget of 500 MB"), "{end}");
    let peak = rows[0]["peak_memory_bytes"].as_u64().unwrap();
    assert!(peak < 1_500_000_000, "it was stopped under way: {peak}");
}

#[test]
fn the_engine_accounts_for_its_memory() {
    let Some(model) = bench::demo_model() else { return };
    let bench = Bench::new(json!([]));
    let call =
        ["bench", model.to_str().unwrap(), "--threads", "1", "--workload", "32:4:1", "--cap", "1s", "--json"];
    let rows: Value = serde_json::from_str(&bench.run(&call).code(0).stdout).unwrap();
    let bytes = |what: &str| -> u64 {
        let all = rows[0]["engine_buffers"].as_array().unwrap();
        all.iter().filter(|b| b["what"] == what).map(|b| b["bytes"].as_u64().unwrap()).sum()
    };
    // 256 positions of 30 layers with 2 x 192 values of 16 bits.
    let kv = 256 * 30 * 2 * 192 * 2;
    assert!(bytes("kv").abs_diff(kv) < 20_000, "{rows}");
    assert!(bytes("model") > 90_000_000 && bytes("compute") > 0, "{rows}");
    let sum: u64 = ["model", "kv", "compute", "output"].map(bytes).iter().sum();
    let peak = rows[0]["peak_memory_bytes"].as_u64().unwrap();
    assert!(peak > sum / 2 && peak < 2 * sum, "{peak} {sum}");
}

#[test]
fn wrong_flags_are_named() {
    let bench = scripted("behave");
    for (flags, text) in [
        (["--kv", "q9"], "invalid KV cache type `q9`"),
        (["--workload", "5"], "invalid workload `5`"),
        (["--target", "2"], "--target: invalid share 2"),
        (["--cap", "never"], "--cap: `never`"),
        (["--budget", "8"], "--budget: `8` has no unit"),
        (["--battery-wh", "-3"], "--battery-wh: invalid capacity -3"),
    ] {
        bench
            .run(&[&["bench", "artifact.json", "--engine", "mock"][..], &flags].concat())
            .code(2)
            .names(text);
    }
    bench.run(&["bench", "missing.gguf"]).code(2).names("missing.gguf");
    bench
        .run(&["bench", "artifact.json", "--engine", "mock", "--gpu-layers", "4"])
        .code(4)
        .names("finds no GPU here");
}
