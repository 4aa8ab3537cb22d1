//! A whole study with the scripted engine, as a user sees it: what is run, recorded, printed and written.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/bench.rs"]
mod bench;

use bench::Bench;
use serde_json::{Value, json};

/// The eight presets and the eight points of the space.
const ALL: [&str; 6] = ["--budget", "400MB", "--trials", "16", "--rung-timeout", "10s"];

fn troubled() -> Bench {
    Bench::new(json!([
        ["Q2_K", "crash-on-load"],
        ["Q3_K_M", "hang"],
        ["Q5_K_M", "greed"],
        ["Q6_K", "refuse-load"]
    ]))
}

fn peaceful() -> Bench {
    Bench::new(json!([]))
}

#[test]
fn a_trial_whose_place_on_the_front_is_in_doubt_is_timed_once_more() {
    // Presets would be ahead of all eight points: they are out of the way.
    let bench = Bench::new(json!([["Preset(", "refuse-load"], ["", "moody"]]));
    let said = bench.run_tune(&["--budget", "400MB", "--rung-timeout", "10s"]).code(0);
    let trials = bench.trials();
    let repeated: Vec<_> = trials.iter().filter(|t| t.repeats > 0).collect();
    assert!(!repeated.is_empty(), "{}", said.stderr);
    for trial in repeated {
        assert!(trial.repeats <= 3 && trial.origin.preset_name().is_none(), "{trial:?}");
        assert!(said.stderr.contains(&format!("trial {} is re-timed", trial.number)), "{}", said.stderr);
        let latency = &trial.measurements["request_latency_p50_ms"];
        assert!(latency.low <= latency.value && latency.value <= latency.high, "{latency:?}");
    }
    let page = std::fs::read_to_string(bench.path("reports/mock.html")).unwrap();
    assert!(page.contains("Re-timed"));
}

#[test]
fn a_study_survives_crashes_hangs_and_greed() {
    let bench = troubled();
    let said = bench.run_tune(&ALL).code(0);
    let trials = bench.trials();
    assert_eq!(trials.len(), 16);
    let presets = ["Q4_K_M", "Q8_0", "F16", "Q4_0", "Q6_K", "Q5_K_M", "Q3_K_M", "Q2_K"];
    for (trial, preset) in trials.iter().zip(presets) {
        assert_eq!(trial.origin.preset_name(), Some(preset));
        let (state, kind, text) = match preset {
            "Q2_K" => ("failed", "crash", "signal 6"),
            "Q3_K_M" => ("failed", "timeout", "within 10 s"),
            "Q5_K_M" => ("infeasible", "over_budget", "over the budget of 400 MB"),
            "Q6_K" => ("failed", "error", "scripted refusal"),
            _ => ("complete", "", ""),
        };
        assert_eq!(trial.state.to_string(), state, "{preset}");
        let failure = trial.failure.as_ref().map_or(("", ""), |f| (f.kind.name(), f.text.as_str()));
        assert_eq!(failure.0, kind, "{preset}: {failure:?}");
        assert!(failure.1.contains(text), "{preset}: {failure:?}");
    }
    for trial in &trials[8..] {
        assert_eq!((trial.state.to_string().as_str(), &trial.origin.preset_name()), ("complete", &None));
    }
    let pass = |n: usize| trials[n].value("pass_at_1").unwrap();
    assert_eq!(pass(2), 1.0, "F16 knows every task");
    assert!(pass(0) < 1.0, "four bits forget some");
    assert!(said.stdout.contains("trials are on the front under 400 MB"), "{}", said.stdout);
    for word in
        ["signal 6", "within 10 s", "scripted refusal", "over the budget", "report: reports/mock.html"]
    {
        assert!(said.stderr.contains(word), "`{word}`: {}", said.stderr);
    }

    // Everything that reads a study works on it.
    let report = std::fs::read_to_string(bench.path("reports/mock.html")).unwrap();
    assert!(report.contains("mock") && report.contains("Q4_K_M") && report.contains("over_budget"));
    let studies: Value = serde_json::from_str(&bench.run(&["studies", "--json"]).code(0).stdout).unwrap();
    assert_eq!(studies[0]["name"], "mock");
    assert_eq!(studies[0]["state"], "finished");
    let listed: Value = serde_json::from_str(&bench.run(&["trials", "--json"]).code(0).stdout).unwrap();
    let listed = listed.as_array().or_else(|| listed["trials"].as_array()).unwrap();
    assert_eq!(listed.len(), 16);
    bench.run(&["report", "mock", "--out", "again.html"]).code(0);
    assert!(bench.path("again.html").exists());

    let said = bench.run(&["export", "--trial", "1", "--out", "best/q4.json"]).code(0);
    assert!(said.stdout.starts_with("best/q4.json"), "{}", said.stdout);
    let artifact = trials[0].artifact.as_ref().unwrap();
    let kept = bench.path("results").join(&artifact.path);
    let bytes = std::fs::read(&kept).unwrap();
    assert_eq!(std::fs::read(bench.path("best/q4.json")).unwrap(), bytes);
    // A cleaned-away artifact is built again, the same.
    std::fs::remove_file(&kept).unwrap();
    bench.run(&["export", "--trial", "1", "--out", "again.json"]).code(0);
    assert_eq!(std::fs::read(bench.path("again.json")).unwrap(), bytes);
}

#[test]
fn energy_can_be_what_a_study_goes_by() {
    let bench = Bench::new(json!([]));
    let mut model = bench::model(&json!([]));
    model["thread_watts"] = json!(3.0);
    bench.write("mock.json", model.to_string());
    let flags = ["--budget", "400MB", "--trials", "9", "--cost", "energy", "--battery-wh", "15"];
    let said = bench.run_tune(&flags).code(0);
    for trial in bench.trials() {
        let (joules, share) =
            (trial.value("joules_per_token").unwrap(), trial.value("battery_share_per_1000_tokens").unwrap());
        assert!(joules > 0.0 && (share - 1000.0 * joules / (15.0 * 3600.0)).abs() < 1e-12);
    }
    assert!(said.stdout.contains("least energy") && !said.stdout.contains("fastest"), "{}", said.stdout);
    let page = std::fs::read_to_string(bench.path("reports/mock.html")).unwrap();
    assert!(page.contains("energy of an output token") && !page.contains("not measurable here"));
}

#[test]
fn json_prints_an_object_a_line_and_nothing_else() {
    let bench = peaceful();
    let said = bench.run_tune(&["--budget", "400MB", "--trials", "3", "--json"]).code(0);
    let lines = said.json_lines();
    assert!(lines.iter().all(Value::is_object));
    let events: Vec<&str> = lines.iter().filter_map(|l| l["event"].as_str()).collect();
    assert_eq!(events.first(), Some(&"study_started"));
    assert_eq!(events.last(), Some(&"study_ended"));
    let of_first: Vec<&str> = lines
        .iter()
        .filter(|l| l["trial"] == 1)
        .map(|l| l["rung"].as_str().unwrap_or_else(|| l["event"].as_str().unwrap()))
        .collect();
    assert_eq!(of_first, ["trial_started", "built", "measured", "diverged", "graded", "trial_ended"]);
    assert!(lines.last().unwrap().get("event").is_none(), "the summary comes last");
    assert!(said.stderr.contains("trials are done"));
}

#[test]
fn stdout_is_data_and_stderr_is_progress() {
    let bench = peaceful();
    let loud = bench.run_tune(&["--budget", "400MB", "--trials", "2"]).code(0);
    assert!(loud.stdout.contains("on the front") && !loud.stdout.contains("making"));
    assert!(loud.stderr.contains("making") && loud.stderr.contains("continue: autotune resume 1"));
    let quiet = bench.run_tune(&["--budget", "400MB", "--trials", "2", "--quiet"]).code(0);
    assert_eq!(quiet.stderr, "");
    assert_eq!(quiet.stdout.replace("mock-2", "mock"), loud.stdout);
}

#[test]
fn the_flags_of_tune_need_no_command() {
    let bench = peaceful();
    let tasks = bench::tasks();
    let said = bench
        .run(&[
            "--budget",
            "400MB",
            "--engine",
            "mock",
            "--model",
            "mock.json",
            "--space",
            "smoke",
            "--trials",
            "2",
            "--tasks",
            tasks.to_str().unwrap(),
        ])
        .code(0);
    assert!(said.stdout.contains("on the front"));
    assert_eq!(bench.trials().len(), 2);
}

#[test]
fn quiet_goes_with_every_command() {
    let bench = peaceful();
    for line in [["--quiet", "probe"], ["probe", "--quiet"], ["-q", "probe"]] {
        let said = bench.run(&line).code(0);
        assert!(said.stderr.lines().all(|l| l.starts_with("warning: ")), "{}", said.stderr);
        assert!(!said.stdout.is_empty());
    }
}

#[test]
fn flags_of_tune_before_another_command_are_refused() {
    let bench = peaceful();
    bench.run(&["--budget", "8GB", "probe"]).code(2).names("--budget");
    bench.run(&["--seed", "3", "studies"]).code(2).names("--seed");
}

#[test]
fn without_a_model_the_error_names_the_flag_and_the_demo() {
    let bench = peaceful();
    let said = bench.run(&[]).code(2).names("--model").names("autotune demo");
    assert_eq!(said.stdout, "");
    bench.run(&["plan"]).code(2).names("--model").names("autotune demo");
}

#[test]
fn without_a_budget_a_tenth_of_the_usable_memory_is_left_and_the_first_line_says_so() {
    let bench = peaceful();
    let probed: Value = serde_json::from_str(&bench.run(&["probe", "--json"]).code(0).stdout).unwrap();
    let usable = probed["memory"]["usable_bytes"].as_u64().unwrap();
    let wanted = usable - usable / 10;
    let near = |bytes: u64| assert!(bytes.abs_diff(wanted) <= usable / 1000, "{bytes} is not near {wanted}");
    let plan = ["plan", "--engine", "mock", "--model", "mock.json", "--space", "smoke", "--json"];
    let said = bench.run(&plan).code(0);
    assert!(said.stderr.starts_with("budget: "), "{}", said.stderr);
    let said = said.names("less a margin of 10 %").names("--budget sets another");
    let planned: Value = serde_json::from_str(&said.stdout).unwrap();
    near(planned["budget_bytes"].as_u64().unwrap());
    for preset in planned["presets"].as_array().unwrap() {
        for speed in ["predicted_ttft_ms", "predicted_prompt_tokens_per_s", "predicted_decode_tokens_per_s"] {
            assert!(preset[speed].as_f64().unwrap() > 0.0, "{speed}: {preset}");
        }
    }
    let said = bench.run_tune(&["--trials", "2"]).code(0);
    assert!(said.stderr.starts_with("budget: "), "{}", said.stderr);
    let quiet = bench.run(&[&plan[..], &["--quiet"]].concat()).code(0);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn on_a_terminal_one_calm_view_is_drawn_over() {
    let bench = peaceful();
    let tune = bench.tune(&["--budget", "400MB", "--trials", "8"]);
    let words = std::iter::once(tune.get_program()).chain(tune.get_args());
    let line: Vec<String> = words.map(|w| format!("'{}'", w.to_string_lossy())).collect();
    // `script` gives it a terminal.
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &line.join(" "), "/dev/null"]).current_dir(tune.get_current_dir().unwrap());
    command.env("TERM", "xterm").stdin(std::process::Stdio::null());
    command.envs(tune.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ok(output) = command.output() else {
        bench::require::skip("terminal", "there is no `script` to make one with");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("\u{1b}["), "it is drawn over: {said}");
    for part in ["  so far ", "  best   ", "  front  ", " of 8 trials", "★"] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    // A line stays for each trial that came to the front, none for the others.
    let stayed = said.lines().filter(|l| l.contains(" (0 s)") && !l.contains('★')).count();
    assert_eq!(stayed, 0, "{said}");
    assert!(said.contains("on the front under 400 MB"), "the data comes last: {said}");
}
