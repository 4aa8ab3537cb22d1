//! `autotune doctor`: verdicts, remedies and exit codes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, Said};
use serde_json::{Value, json};

#[test]
fn every_check_has_a_verdict_and_every_finding_a_remedy() {
    let bench = Bench::new(json!([]));
    let said = bench.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() >= 12, "{}", said.stdout);
    let of = |verdict: &str| checks.iter().filter(|c| c["verdict"] == verdict).count();
    assert_eq!(of("ok") + of("warning") + of("problem"), checks.len());
    for check in checks {
        assert!(!check["found"].as_str().unwrap().is_empty(), "{check}");
        assert_eq!(check["verdict"] == "ok", check.get("remedy").is_none(), "{check}");
    }
    assert_eq!(said.code, Some(if of("problem") > 0 { 4 } else { 0 }), "{}", said.stdout);
    let engine = checks.iter().find(|c| c["name"] == "engine llama.cpp").unwrap();
    assert_eq!(engine["verdict"], if cfg!(feature = "llama") { "ok" } else { "problem" });
    let table = bench.run(&["doctor"]).stdout;
    for check in checks {
        assert!(table.contains(check["name"].as_str().unwrap()), "{table}");
    }
    assert!(table.lines().last().unwrap().contains("problem"), "{table}");
    assert!(!bench.has_study() && !bench.path("results").exists(), "doctor writes nothing");
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    let bench = Bench::new(json!([]));
    let mut command = bench.command(&["doctor", "--json"]);
    command.env("PATH", bench.path("empty")).env_remove("XDG_CACHE_HOME").env_remove("HOME");
    let said = Said::of(&command.output().unwrap()).code(4);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["verdict"], "problem");
    let check =
        |name: &str| report["checks"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap().clone();
    assert_eq!(check("cache")["verdict"], "warning");
    assert!(check("cache")["remedy"].as_str().unwrap().contains("XDG_CACHE_HOME"));
    assert_eq!(check("python3")["verdict"], "problem");
    assert!(check("python3")["remedy"].as_str().unwrap().contains("install Python 3"));
}
