//! Another program drives the evaluation, and asks what moved the objectives.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/bench.rs"]
mod bench;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use bench::{Bench, Said};
use serde_json::{Value, json};

/// Answers of `evaluate` to lines, the greeting first.
fn evaluate(bench: &Bench, lines: &[Value]) -> Vec<Value> {
    let mut command =
        bench.command(&["evaluate", "--engine", "mock", "--model", "mock.json", "--budget", "400MB"]);
    command.args(["--space", "smoke", "--results", "results", "--reports", "reports", "--tasks"]);
    command.arg(bench::tasks()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut heard: Vec<Value> = Vec::new();
    let mut hear = || serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
    heard.push(hear());
    for line in lines {
        // Each answer is there before the next question is.
        writeln!(stdin, "{line}").unwrap();
        heard.push(hear());
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    heard
}

#[test]
fn any_optimiser_can_drive_the_evaluation() {
    let bench = Bench::new(json!([["Q2_K", "crash-on-load"]]));
    let greeting = evaluate(&bench, &[]).remove(0);
    let candidate: Value = greeting["space"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["name"].as_str().unwrap().to_owned(), p["levels"][0].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert_eq!(greeting["budget_bytes"], 400_000_000);
    assert_eq!(greeting["objectives"][2]["metric"], "pass_at_1");
    let preset = json!({"weights.preset": "Q2_K", "kv.k": "f16", "kv.v": "f16", "batch": 1, "context": 768, "threads": 1, "ubatch": 512, "repack": true});
    let heard = evaluate(
        &bench,
        &[
            candidate.clone(),
            json!({"fits": candidate}),
            json!({"fits": preset}),
            candidate.clone(),
            preset,
            json!(7),
            json!({"colour": "red"}),
        ],
    );
    let [_, first, fits, beside, again, crashed, number, unknown] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(first["state"], "complete", "{first}");
    assert_eq!(first["candidate"], candidate);
    assert!(first["objectives"]["pass_at_1"].as_f64().unwrap() <= 1.0);
    assert!(first["measurements"]["request_latency_p50_ms"]["low"].is_number(), "{first}");
    assert_eq!(fits["fits"], true, "{fits}");
    assert_eq!(fits["place"], candidate, "a point of the space stands where it is");
    let place = beside["place"].as_object().unwrap();
    assert!(place.keys().eq(candidate.as_object().unwrap().keys()), "{beside}");
    assert_eq!((&place["batch"], place.get("weights.preset")), (&json!(1), None), "{beside}");
    assert_eq!(first, again, "what was tried is answered from the store");
    assert_eq!((&crashed["state"], &crashed["failure"]["kind"]), (&json!("failed"), &json!("crash")));
    assert!(number["error"].as_str().unwrap().contains("not a candidate"), "{number}");
    assert!(unknown["error"].as_str().unwrap().contains("colour"), "{unknown}");
    // They are trials like others.
    assert_eq!(bench.trials().len(), 2);
    assert!(bench.trials().iter().all(|t| t.origin.to_string() == "sampler:evaluate"));
}

#[test]
fn importance_is_told_once_enough_is_known() {
    let bench = Bench::new(json!([]));
    bench.run_tune(&["--budget", "400MB", "--trials", "4"]).code(0);
    bench.run(&["importance"]).code(5).names("too few complete trials");
    bench.run(&["resume", "--trials", "16"]).code(0);
    let told = bench.run(&["importance", "--json"]).code(0).json_lines().remove(0);
    let objectives = told["importance"]["objectives"].as_array().unwrap();
    assert_eq!(objectives.len(), 3);
    for o in objectives {
        for p in o["parameters"].as_array().unwrap() {
            let share = |k: &str| p[k].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&share("first")) && (0.0..=1.0).contains(&share("total")), "{p}");
        }
    }
    let table = bench.run(&["importance"]).code(0).stdout;
    assert!(table.contains("weights.") && table.contains('%'), "{table}");
    let report = std::fs::read_to_string(bench.path("reports/mock.html")).unwrap();
    assert!(report.contains("Parameter importance") && report.contains("region up to"));
}

#[test]
fn a_floor_on_decode_speed_is_an_objective_with_a_bound() {
    let bench = Bench::new(json!([]));
    let flags = ["--budget", "400MB", "--trials", "6"];
    let report = || std::fs::read_to_string(bench.path("reports/mock.html")).unwrap();
    let said = bench.run_tune(&[&flags[..], &["--min-tps", "0.001"]].concat()).code(0);
    for column in ["TTFT", "prompt", "decode"] {
        assert!(said.stdout.contains(column), "{}", said.stdout);
    }
    let declared: Value = serde_json::from_str(&bench.store().study(None).unwrap().objectives_json).unwrap();
    let decode = &declared[3];
    assert_eq!((&decode["metric"], &decode["bound"]), (&json!("decode_tokens_per_s"), &json!(0.001)));
    assert!(report().contains("decode speed no worse than 0.001"), "the region is stated");
    std::fs::remove_dir_all(bench.path("reports")).unwrap();
    // A floor that no candidate reaches is reported, and the recommendation falls back to the whole front.
    bench.run_tune(&[&flags[..], &["--min-tps", "1e12"]].concat()).code(0);
    let mut reports = std::fs::read_dir(bench.path("reports")).unwrap().map(|e| e.unwrap().path());
    let page = reports.find(|p| p.extension().is_some_and(|e| e == "html")).unwrap();
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("nothing on the front has decode speed no worse than"), "the fallback is stated");
}

#[test]
fn bounds_are_checked_and_kept() {
    let bench = Bench::new(json!([]));
    let wrong = |flags: &[&str]| -> Said {
        bench.run_tune(&[&["--budget", "400MB", "--trials", "1"], flags].concat())
    };
    wrong(&["--max-latency", "soon"]).code(2).names("--max-latency");
    wrong(&["--min-tps", "fast"]).code(2).names("--min-tps").names("for example 20");
    wrong(&["--min-quality", "1.5x"]).code(2).names("more than the whole");
    wrong(&["--min-quality", "0.9x", "--quality", "kl"])
        .code(2)
        .names("divergence of the uncompressed model is 0");
    wrong(&["--max-energy", "-1"]).code(2).names("--max-energy");
    assert!(!bench.has_study(), "what is wrong with the call leaves no study behind");
    bench
        .run_tune(&["--budget", "400MB", "--trials", "6", "--max-latency", "1h", "--min-quality", "0.5x"])
        .code(0);
    let report = std::fs::read_to_string(bench.path("reports/mock.html")).unwrap();
    // F16 passes every task of the mock, so that half of it is one half.
    assert!(report.contains("region up to 50"), "{report}");
}
