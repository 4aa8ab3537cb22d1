//! What surrounds a study: no home, few descriptors, a python that is none, a closed terminal, deep folders, hostile names.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/bench.rs"]
mod bench;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use autotune::store::StudyState;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Running, Said, tasks};

const SMALL: [&str; 4] = ["--budget", "400MB", "--trials", "2"];

fn said(command: &mut Command) -> Said {
    Said::of(&command.output().unwrap())
}

/// `plan` of a model of the hub, in an environment of its own.
fn plan(bench: &Bench, model: &str, environment: &[(&str, &str)]) -> Said {
    let mut command =
        bench.command(&["plan", "--engine", "mock", "--budget", "1GB", "--space", "smoke", "--model", model]);
    for name in ["HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "XDG_CACHE_HOME"] {
        command.env_remove(name);
    }
    // A port where nothing listens: whatever asks the network fails at once, and says so.
    command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HOME", bench.path("home"));
    said(command.envs(environment.iter().copied()))
}

/// Puts the mock model where Python's hub library keeps it.
fn cached(bench: &Bench, cache: &str, link: bool) -> String {
    let repo = bench.path(cache).join("models--own--small");
    for part in ["blobs", "snapshots/abc123", "refs"] {
        std::fs::create_dir_all(repo.join(part)).unwrap();
    }
    std::fs::write(repo.join("refs/main"), "abc123").unwrap();
    std::fs::copy(bench.path("mock.json"), repo.join("blobs/etag1")).unwrap();
    let snapshot = repo.join("snapshots/abc123/m.json");
    match link {
        true => std::os::unix::fs::symlink("../../blobs/etag1", snapshot).unwrap(),
        false => std::fs::copy(bench.path("mock.json"), snapshot).map(drop).unwrap(),
    }
    bench.path(cache).to_str().unwrap().to_owned()
}

#[test]
fn a_model_that_python_cached_is_found_under_each_variable_and_without_links() {
    let bench = Bench::new(json!([]));
    let model = "hf:own/small/m.json";
    cached(&bench, "home1/hub", true);
    cached(&bench, "home2/hub", false);
    let third = cached(&bench, "cache3", true);
    cached(&bench, "xdg/huggingface/hub", true);
    let at = |name: &str| bench.path(name).to_str().unwrap().to_owned();
    plan(&bench, model, &[("HF_HOME", &at("home1"))]).code(0);
    plan(&bench, model, &[("HF_HOME", &at("home2"))]).code(0);
    plan(&bench, model, &[("HF_HUB_CACHE", &third)]).code(0);
    plan(&bench, model, &[("XDG_CACHE_HOME", &at("xdg"))]).code(0);
    plan(&bench, model, &[("HF_HOME", &at("home1")), ("HF_HUB_OFFLINE", "1")]).code(0);
    std::fs::remove_file(bench.path("home1/hub/models--own--small/blobs/etag1")).unwrap();
    plan(&bench, model, &[("HF_HOME", &at("home1")), ("HF_HUB_OFFLINE", "1")]).code(4).names(model);
}

#[test]
fn offline_no_network_is_tried_and_the_token_is_not_shown() {
    let bench = Bench::new(json!([]));
    let offline =
        plan(&bench, "hf:own/small/x.json", &[("HF_HUB_OFFLINE", "1")]).code(4).names("HF_HUB_OFFLINE");
    assert!(!offline.stderr.contains("127.0.0.1"), "{}", offline.stderr);
    let refused =
        plan(&bench, "hf:own/small/x.json", &[("HF_TOKEN", "hf_secret")]).code(4).names("127.0.0.1:9");
    assert!(!refused.stderr.contains("hf_secret"), "{}", refused.stderr);
}

#[test]
fn nothing_panics_without_a_home() {
    let bench = Bench::new(json!([]));
    for home in [None, Some(""), Some("/nonexistent/home")] {
        let mut command = bench.command(&[
            "plan",
            "--engine",
            "mock",
            "--budget",
            "1GB",
            "--space",
            "smoke",
            "--model",
            "hf:o/r/x.json",
        ]);
        command.env("HF_ENDPOINT", "http://127.0.0.1:9").env_remove("XDG_CACHE_HOME").env_remove("HF_HOME");
        match home {
            None => command.env_remove("HOME"),
            Some(home) => command.env("HOME", home),
        };
        let answer = said(command.env("HF_HUB_OFFLINE", "1")).code(4);
        assert!(!answer.stderr.contains("panicked"), "{}", answer.stderr);
    }
}

#[test]
fn few_open_files_are_named_before_anything_is_made() {
    let bench = Bench::new(json!([]));
    let limited = |limits: &str| {
        let tune = format!(
            "{limits}; exec {} tune --engine mock --model mock.json --space smoke --results results --reports reports {} --tasks {}",
            env!("CARGO_BIN_EXE_autotune"),
            SMALL.join(" "),
            autotune::shell::path(&tasks())
        );
        let mut command = Command::new("bash");
        command.args(["-c", &tune]).current_dir(bench.path(""));
        command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        said(&mut command)
    };
    limited("ulimit -n 32").code(4).names("ulimit -n");
    assert!(!bench.has_study());
    // A soft limit is raised to the hard one.
    limited("ulimit -Sn 32").code(0);
    limited("rm -r results; ulimit -s 256").code(0);
    limited("rm -r results; ulimit -f 20000").code(0).names("ulimit -f");
}

#[test]
fn a_python_that_is_missing_old_broken_or_hanging_is_told_before_any_trial() {
    let bench = Bench::new(json!([]));
    for (name, script, wanted) in [
        ("none", None, "none on PATH"),
        (
            "broken",
            Some("echo 'version 3.12 is not installed' >&2; exit 127"),
            "version 3.12 is not installed",
        ),
        ("old", Some("echo 'Python 3.6.1'"), "Python 3.6.1"),
        ("slow", Some("exec sleep 1000"), "did not answer"),
    ] {
        std::fs::create_dir(bench.path(name)).unwrap();
        if let Some(script) = script {
            let path = bench.write(&format!("{name}/python3"), format!("#!/bin/sh\n{script}\n"));
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        // `sleep` is found by its own path, no other python by any.
        let script_path = format!("{}:{}", bench.path(name).display(), bench.path("tools").display());
        std::fs::create_dir_all(bench.path("tools")).unwrap();
        let sleep = bench.path("tools/sleep");
        if !sleep.exists() {
            std::os::unix::fs::symlink("/bin/sleep", sleep).unwrap();
        }
        let answer = said(bench.tune(&SMALL).env("PATH", script_path)).code(4).names(wanted);
        assert!(answer.stderr.contains("python"), "{}", answer.stderr);
        assert!(!bench.has_study(), "{name}");
    }
}

#[test]
fn variables_of_the_users_python_do_not_reach_the_judge() {
    let bench = Bench::new(json!([]));
    let mut command = bench.tune(&SMALL);
    command.env("PYTHONHOME", "/nowhere").env("PYTHONPATH", "/nowhere").env("PYTHONOPTIMIZE", "2");
    said(&mut command).code(0);
}

#[test]
fn a_closed_terminal_pauses_the_study() {
    let bench = Bench::new(json!([]));
    for (signal, why) in [(Signal::SIGHUP, "terminal was closed"), (Signal::SIGTERM, "SIGTERM")] {
        let mut running = Running::start(bench.tune(&["--budget", "400MB", "--trials", "40", "--json"]));
        assert!(running.wait_for(|v| v["event"] == "trial_ended"));
        // The kernel and the shell both tell of a terminal that is gone.
        running.signal(signal);
        if signal == Signal::SIGHUP {
            running.signal(signal);
        }
        running.end().code(130).names("autotune resume");
        bench.wait_for_silence();
        let study = bench.store().study(None).unwrap();
        assert_eq!(study.state, StudyState::Paused);
        assert!(study.reason.as_deref().unwrap_or_default().contains(why), "{:?}", study.reason);
    }
}

#[test]
fn deep_folders_and_long_names_do_not_matter() {
    let bench = Bench::new(json!([]));
    let long = format!("{}.json", "m".repeat(245));
    std::fs::copy(bench.path("mock.json"), bench.path(&long)).unwrap();
    let mut command =
        bench.command(&["tune", "--engine", "mock", "--model", &long, "--space", "smoke", "--tasks"]);
    said(command.arg(tasks()).args(SMALL)).code(0);
    bench.run(&["export", "--trial", "1", "--to", "out"]).code(0);
    let deep = ["d".repeat(50).as_str(); 20].join("/");
    let results = format!("{deep}/r");
    let mut command =
        bench.command(&["tune", "--engine", "mock", "--model", "mock.json", "--space", "smoke", "--tasks"]);
    said(command.arg(tasks()).args(SMALL).args(["--results", &results, "--reports", &format!("{deep}/p")]))
        .code(0);
    let listed = bench.run(&["trials", "--results", &results, "--json"]).code(0);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed["trials"].as_array().unwrap().len(), 2);
    bench.run(&["resume", "--results", &results, "--trials", "3"]).code(0);
}

#[test]
fn printed_commands_survive_a_shell_whatever_the_folder_is_called() {
    let bench = Bench::new(json!([]));
    for results in
        ["$(touch owned)", "a b", "it's", "say \"x\"", "line\nfeed", "-dash", "back`id`tick", "semi;colon"]
    {
        let mut command =
            bench.command(&["tune", "--engine", "mock", "--model", "mock.json", "--space", "smoke"]);
        command.arg(format!("--results={results}")).args(SMALL).arg("--tasks").arg(tasks());
        let answer = said(&mut command).code(0);
        let begin = answer.stderr.find("continue: autotune ").unwrap() + "continue: ".len();
        let line = &answer.stderr[begin..];
        // The shell itself is asked what it would run.
        let script = format!("autotune() {{ printf '%s\\0' \"$@\"; }}\n{line}");
        let output = Command::new("sh").args(["-c", &script]).current_dir(bench.path("")).output().unwrap();
        let words: Vec<String> =
            String::from_utf8(output.stdout).unwrap().split('\0').map(str::to_owned).collect();
        let place = words.iter().position(|w| w == "--results").unwrap();
        // One that begins with a dash is named so that no program takes it for a flag.
        let dashed = if results.starts_with('-') { "./" } else { "" };
        assert_eq!(words[place + 1], format!("{dashed}{results}"), "{line}");
        assert!(!bench.path("owned").exists());
    }
}

#[test]
fn thirty_capital_m_is_refused_and_other_spellings_are_taken() {
    let bench = Bench::new(json!([]));
    bench.run_tune(&[&SMALL[..], &["--time", "30M"]].concat()).code(2).names("30m");
    bench.run_tune(&[&SMALL[..], &["--time", "5"]].concat()).code(2).names("no unit");
    assert!(!bench.has_study());
    for time in ["30 min", "1.5h", "00:30:00", "90sec"] {
        bench.run_tune(&[&SMALL[..], &["--time", time]].concat()).code(0);
    }
    let settings: Value = serde_json::from_str(&bench.store().study(None).unwrap().settings_json).unwrap();
    assert_eq!(settings["time_s"], 90);
}
