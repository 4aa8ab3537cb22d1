//! What a study records of each trial's answers, and which of it decides.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/bench.rs"]
mod bench;

use std::collections::BTreeSet;

use bench::Bench;
use serde_json::{Value, json};

fn bench() -> Bench {
    Bench::new(json!([]))
}

const THREE: [&str; 4] = ["--budget", "400MB", "--trials", "6"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    THREE.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn every_score_of_a_trial_has_its_interval() {
    let bench = bench();
    bench.run_tune(&THREE).code(0);
    let trials = bench.trials();
    let names = [
        "pass_at_1",
        "syntax_valid",
        "codebleu",
        "codebleu_ngram",
        "codebleu_weighted_ngram",
        "codebleu_syntax",
        "codebleu_dataflow",
        "canonical_accuracy",
        "canonical_nll",
        "next_line_exact",
        "next_line_similarity",
        "kl_mean",
        "top1_agreement",
    ];
    for trial in &trials {
        for name in names {
            let m = trial.measurements.get(name).unwrap_or_else(|| panic!("{name}: {trial:?}"));
            let (low, value, high) = (m.low.unwrap(), m.value.unwrap(), m.high.unwrap());
            assert!(low <= value && value <= high && m.samples > 1, "{name}: {m:?}");
        }
        assert!(!trial.measurements.contains_key("pass_at_10"), "no samples were asked for");
    }
    // F16 knows every answer that Q4_K_M has forgotten a part of.
    let value = |trial: usize, name: &str| trials[trial].value(name).unwrap();
    assert!(value(2, "canonical_accuracy") > value(0, "canonical_accuracy"));
    assert!(value(2, "canonical_nll") < value(0, "canonical_nll"));
}

#[test]
fn drawn_answers_are_stored_with_their_verdicts_and_repeat_with_their_seed() {
    let generations = |seed: &str| {
        let bench = bench();
        bench.run_tune(&with(&["--samples", "10", "--seed", seed, "--temperature", "10"])).code(0);
        let store = bench.store();
        let study = store.study(None).unwrap();
        let settings: Value = serde_json::from_str(&study.settings_json).unwrap();
        assert_eq!(settings["draws"]["seed"], json!(seed.parse::<u64>().unwrap()));
        let trial = &bench.trials()[0];
        for name in ["pass_at_1", "pass_at_1_sampled", "pass_at_5", "pass_at_10"] {
            assert!(trial.value(name).is_some(), "{name}");
        }
        assert!(trial.value("pass_at_10") >= trial.value("pass_at_1_sampled"));
        store.generations(trial.id).unwrap()
    };
    let first = generations("3");
    let tasks: BTreeSet<&str> = first.iter().map(|g| g.task.as_str()).collect();
    assert_eq!(first.len(), 11 * tasks.len(), "a greedy answer and ten drawn ones of each task");
    assert!(first.iter().all(|g| !g.verdict.is_empty() && g.sample <= 10));
    let texts = |all: &[autotune::store::Generation]| -> Vec<String> {
        all.iter().map(|g| g.completion.clone()).collect()
    };
    assert_eq!(texts(&generations("3")), texts(&first));
    assert_ne!(texts(&generations("4")), texts(&first));
}

#[test]
fn the_axis_of_quality_is_the_users_choice() {
    for (axis, metric, better) in
        [("codebleu", "codebleu", "max"), ("kl", "kl_mean", "min"), ("pass@10", "pass_at_10", "max")]
    {
        let bench = bench();
        bench.run_tune(&with(&["--quality", axis, "--samples", "10"])).code(0);
        let listed: Value = serde_json::from_str(&bench.run(&["trials", "--json"]).code(0).stdout).unwrap();
        let objectives = listed["study"]["objectives"].as_array().unwrap();
        let last = objectives.last().unwrap();
        assert_eq!((&last["metric"], &last["direction"]), (&json!(metric), &json!(better)));
        // It decides the front: whoever is best in it cannot be dominated.
        let trials = listed["trials"].as_array().unwrap();
        let value = |t: &Value| t["measurements"][metric]["value"].as_f64().unwrap();
        let sign = if better == "max" { 1.0 } else { -1.0 };
        let best = trials.iter().map(|t| sign * value(t)).fold(f64::NEG_INFINITY, f64::max);
        assert!(trials.iter().any(|t| sign * value(t) == best && t["on_front"] == true), "{axis}");
        // A resume asks by the same axis.
        bench.run(&["resume", "--trials", "7", "--json"]).code(0);
        assert_eq!(bench.trials().len(), 7);
    }
}

#[test]
fn wrong_demands_on_samples_are_refused_with_what_to_write() {
    let bench = bench();
    let refused = |more: &[&str], names: &[&str]| {
        let said = bench.run_tune(&with(more)).code(2);
        for name in names {
            assert!(said.stderr.contains(name), "{more:?}: {}", said.stderr);
        }
    };
    refused(&["--quality", "pass@10"], &["--samples 10"]);
    refused(&["--quality", "pass@10", "--samples", "9"], &["--samples is 9"]);
    refused(&["--quality", "beauty"], &["beauty", "pass@1", "kl"]);
    refused(&["--temperature", "0.5"], &["--temperature", "--samples"]);
    refused(&["--samples", "5", "--temperature", "0"], &["--temperature is 0", "over 0"]);
    refused(&["--samples", "5", "--temperature", "-1"], &["--temperature is -1"]);
    refused(&["--samples", "5", "--temperature", "nan"], &["--temperature is NaN"]);
    refused(&["--samples", "5", "--top-p", "1.5"], &["--top-p is 1.5"]);
    refused(&["--samples", "-1"], &["--samples"]);
    assert!(!bench.has_study(), "nothing is left behind that a resume would take up");
}

/// The cell of a trial in the printed table.
fn cell(table: &str, trial: usize, text: &str) -> bool {
    let begins = format!("{trial} ");
    table.lines().any(|l| l.trim_start().starts_with(&begins) && l.contains(text))
}

#[test]
fn losses_against_the_uncompressed_model_are_told() {
    let bench = bench();
    let said = bench.run_tune(&THREE).code(0);
    let listed: Value = serde_json::from_str(&bench.run(&["trials", "--json"]).code(0).stdout).unwrap();
    let trials = listed["trials"].as_array().unwrap();
    let f16 = trials.iter().position(|t| t["origin"] == "preset:F16").unwrap();
    assert!(trials[f16]["beside_reference"].is_null());
    let tasks = trials[f16]["measurements"]["pass_at_1"]["samples"].as_u64().unwrap();
    let q4 = &trials[0]["beside_reference"];
    let count = |name: &str| q4[name].as_u64().unwrap();
    assert_eq!((count("both") + count("lost"), count("neither")), (tasks, 0), "F16 solves all");
    assert!(count("lost") > 0 && count("gained") == 0 && q4["p_value"].as_f64().unwrap() < 1.0, "{q4}");
    let short = format!("-{} of {tasks}, p", count("lost"));
    let table = bench.run(&["trials"]).code(0).stdout;
    assert!(table.contains("solved, vs F16") && cell(&table, 1, &short), "{short}:\n{table}");
    assert!(cell(&table, f16 + 1, "reference"));
    assert!(said.stdout.contains("solved, vs F16"), "{}", said.stdout);
    let report = std::fs::read_to_string(bench.path("reports/mock.html")).unwrap();
    let sentence = format!("lost {} of {tasks} solved tasks, p", count("lost"));
    assert!(report.contains(&sentence), "{sentence}");
}

#[test]
fn an_uncompressed_model_over_the_budget_is_graded_all_the_same() {
    let bench = bench();
    let said = bench.run_tune(&["--budget", "150MB", "--trials", "6"]).code(0);
    assert!(said.stderr.contains("the verdicts of the uncompressed model"), "{}", said.stderr);
    let trials = bench.trials();
    assert!(
        trials.iter().any(|t| t.origin.preset_name() == Some("F16") && t.state.to_string() == "infeasible")
    );
    let listed: Value = serde_json::from_str(&bench.run(&["trials", "--json"]).code(0).stdout).unwrap();
    let q4 = &listed["trials"][0]["beside_reference"];
    assert!(q4["lost"].as_u64().unwrap() > 0 && q4["neither"] == 0, "{q4}");
    // Once a study: a resume does not grade it again.
    let said = bench.run(&["resume", "--trials", "7"]).code(0);
    assert!(!said.stderr.contains("the verdicts of the uncompressed model"), "{}", said.stderr);
}
