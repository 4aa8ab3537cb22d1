//! Budgets over what the process may have.

use std::process::Command;

use serde_json::json;

use crate::bench::{Bench, Said};

/// The command under `ulimit`.
fn limited(bench: &Bench, limit: &str, arguments: &[&str]) -> Said {
    let inner = bench.command(arguments);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit {limit} && exec \"$@\"")).arg("sh").arg(inner.get_program());
    command.args(inner.get_args()).current_dir(inner.get_current_dir().unwrap());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Said::of(&command.output().unwrap())
}

const PLAN: [&str; 9] =
    ["plan", "--engine", "mock", "--model", "mock.json", "--space", "smoke", "--budget", "900GB"];

#[test]
fn a_plan_says_that_the_budget_exceeds_the_address_space() {
    let bench = Bench::new(json!([]));
    let said = limited(&bench, "-v 4000000", &PLAN).code(0);
    assert!(
        said.stderr.contains("budget of 900 GB is more than this process may have here: 4.10 GB"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("ulimit -v"), "{}", said.stderr);
    assert!(said.stdout.contains("4.10 GB"), "{}", said.stdout);
}

#[test]
fn what_exceeds_the_limit_of_the_data_segment_does_not_fit() {
    let bench = Bench::new(json!([]));
    let mut model = crate::bench::model(&json!([]));
    model["peak_bytes_f16"] = json!(60_000_000_000u64);
    bench.write("mock.json", model.to_string());
    let said = limited(&bench, "-d 2000000", &PLAN).code(3);
    assert!(said.stderr.contains("ulimit -d"), "{}", said.stderr);
    assert!(!said.stdout.contains("  yes"), "{}", said.stdout);
}

#[test]
fn a_study_is_held_to_what_the_process_may_have() {
    let bench = Bench::new(json!([]));
    let mut tune =
        vec!["tune", "--engine", "mock", "--model", "mock.json", "--space", "smoke", "--budget", "900GB"];
    let tasks = crate::bench::tasks();
    tune.extend([
        "--results",
        "results",
        "--reports",
        "reports",
        "--trials",
        "2",
        "--tasks",
        tasks.to_str().unwrap(),
    ]);
    let said = limited(&bench, "-v 4000000", &tune).code(0);
    assert!(
        said.stderr.contains("900 GB is more than this process may have here: 4.10 GB"),
        "{}",
        said.stderr
    );
    assert_eq!(bench.store().study(None).unwrap().budget_bytes, 4_096_000_000);
}
