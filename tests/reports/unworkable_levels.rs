//! Levels that no candidate works with: found out twice, then left out.

use serde_json::{Value, json};

use crate::bench::Bench;

/// Three weight types of the FFN, of which one is refused whatever else a candidate has. No preset uses it.
const SPACE: &str = r#"
batch = [1, 2, 4]
threads = [1, 2]
[weights]
attn = ["Q8_0", "Q6_K", "Q4_K"]
ffn = ["Q8_0", "Q6_K", "IQ4_NL"]
"#;

fn refusing() -> Bench {
    let bench = Bench::new(json!([["role: \"ffn\", depth: None }, \"IQ4_NL\")", "refuse-load"]]));
    bench.write("space.toml", SPACE);
    bench
}

fn tune(bench: &Bench, trials: &str) -> String {
    let mut command = bench.command(&["tune", "--engine", "mock", "--model", "mock.json"]);
    command.args(["--space", "space.toml", "--results", "results", "--reports", "reports"]);
    command.args(["--sampler", "random", "--budget", "400MB", "--trials", trials, "--tasks"]);
    command.arg(crate::bench::tasks());
    crate::bench::Said::of(&command.output().unwrap()).code(0).stderr
}

#[test]
fn a_type_that_failed_twice_is_not_asked_a_third_time() {
    let bench = refusing();
    let told = tune(&bench, "24");
    let trials = bench.trials();
    let failed: Vec<u64> =
        trials.iter().filter(|t| t.state.to_string() == "failed").map(|t| t.number).collect();
    assert_eq!(failed.len(), 2, "{failed:?}\n{told}");
    let remark = format!("`weights.ffn`: IQ4_NL left out: trials {} and {}", failed[0], failed[1]);
    assert!(told.contains(&remark), "{told}");
    assert!(told.contains("scripted refusal"), "{told}");
    assert_eq!(trials.len(), 24);
}

#[test]
fn a_resumed_study_remembers_what_failed() {
    let whole = refusing();
    tune(&whole, "24");
    let parts = refusing();
    tune(&parts, "16");
    let failed = parts.trials().iter().filter(|t| t.state.to_string() == "failed").count();
    assert_eq!(failed, 2, "the resume is to begin after both");
    parts.run(&["resume", "--results", "results", "--trials", "24"]).code(0);
    let asked = |bench: &Bench| -> Vec<Value> {
        bench.trials().iter().map(|t| serde_json::to_value(&t.candidate).unwrap()).collect()
    };
    // Presets take up to half of the trials that are asked for: what follows them is compared.
    let (whole, parts) = (asked(&whole), asked(&parts));
    assert_eq!(whole.len(), parts.len());
    assert_eq!(whole[8..], parts[8..]);
    let refused = |all: &[Value]| all.iter().filter(|c| c["weights.ffn"] == "IQ4_NL").count();
    assert_eq!((refused(&whole), refused(&parts)), (2, 2));
}
