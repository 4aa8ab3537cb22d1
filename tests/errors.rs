//! What goes wrong for a user: wrong input, a machine that lacks something, budgets that nothing meets. Each has a sentence that names
//! the input and the remedy, and an exit code; none leaves rubbish behind or loses what was measured.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/bench.rs"]
mod bench;
#[path = "support/disk.rs"]
mod disk;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use autotune::model::gguf::{GgufWriter, MetaValue};
use autotune::model::synthetic::Shapes;
use autotune::model::{ArchKind, GgmlType};
use autotune::store::DATABASE_FILE;
use bench::{Bench, Said};
use disk::SmallDisk;
use serde_json::{Value, json};

const FEW: [&str; 4] = ["--budget", "400MB", "--trials", "3"];

fn bench() -> Bench {
    Bench::new(json!([]))
}

/// Nothing was made of a wrong call.
#[track_caller]
fn nothing_made(bench: &Bench) {
    for name in ["results", "reports"] {
        assert!(!bench.path(name).exists(), "{name} was made");
    }
}

#[test]
fn wrong_models_are_named_with_what_they_are() {
    let bench = bench();
    let whole = bench.path("whole.gguf");
    Shapes::tiny(ArchKind::Llama).write(&whole, GgmlType::F16, 1, None).unwrap();
    let bytes = std::fs::read(&whole).unwrap();
    bench.write("text.gguf", "Dear model, please answer.\n");
    bench.write("empty.gguf", "");
    bench.write("header.gguf", &bytes[..100]);
    bench.write("half.gguf", &bytes[..bytes.len() / 2]);
    let mut later = bytes.clone();
    later[4] = 9;
    bench.write("later.gguf", later);
    bench.write(
        "pointer.gguf",
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 91000000\n",
    );
    foreign(&bench.path("foreign.gguf"));
    std::fs::create_dir(bench.path("folder")).unwrap();
    let wrong = [
        ("none.gguf", "no model at none.gguf"),
        ("text.gguf", "text file that starts with \"Dear model"),
        ("empty.gguf", "is empty"),
        ("header.gguf", "truncated"),
        ("half.gguf", "truncated"),
        ("later.gguf", "version"),
        ("pointer.gguf", "Git LFS pointer"),
        ("foreign.gguf", "wuerfel"),
        ("folder", "is a folder"),
        ("hf:owner", "hf:owner/repo/file.gguf"),
    ];
    for (model, text) in wrong {
        for command in ["tune", "plan"] {
            let said = bench.run(&[command, "--budget", "1GB", "--model", model]).code(2).names(text);
            assert!(
                said.stderr.starts_with("error: ") && said.stderr.lines().count() == 1,
                "{}",
                said.stderr
            );
            assert!(said.stderr.contains(model), "{}", said.stderr);
        }
    }
    bench
        .run(&["tune", "--budget", "1GB", "--engine", "mock", "--model", "text.gguf"])
        .code(2)
        .names("not a mock model");
    nothing_made(&bench);
}

/// A sound file of an architecture that nobody knows.
fn foreign(path: &Path) {
    let shapes = Shapes::tiny(ArchKind::Llama);
    let mut metadata = shapes.metadata(None);
    metadata.set("general.architecture", MetaValue::Str("wuerfel".into()));
    let tensors = shapes.tensors(GgmlType::F16);
    let mut writer = GgufWriter::create(path, &metadata, &tensors).unwrap();
    for tensor in &tensors {
        writer.write(&vec![0; usize::try_from(tensor.bytes().unwrap()).unwrap()]).unwrap();
    }
    writer.finish(false).unwrap();
}

#[test]
fn without_a_demo_model_its_installation_is_named() {
    bench().run(&["--budget", "8GB"]).code(2).names("no --model was given").names("make setup");
    let bench = bench();
    let mut command = bench.command(&["--budget", "8GB"]);
    let said = Said::of(&command.env("AUTOTUNE_DEMO_MODEL", "/nowhere/demo.gguf").output().unwrap());
    said.code(2).names("AUTOTUNE_DEMO_MODEL").names("/nowhere/demo.gguf");
}

#[test]
fn wrong_values_are_named_with_what_to_write() {
    let bench = bench();
    bench.write("broken.jsonl", "{\"task_id\": \n");
    let wrong: [(&str, &str, &[&str]); 24] = [
        ("--budget", "8", &["`8` has no unit", "8GB"]),
        ("--budget", "8XB", &["`XB`", "GiB"]),
        ("--budget", "0", &["`0` is not a size"]),
        ("--budget", "0GB", &["`0GB` is not a size"]),
        ("--budget", "-1GB", &["`-1GB` is not a size"]),
        ("--budget", "", &["`` is not a size"]),
        ("--budget", "NaNGB", &["is not a size"]),
        ("--space", "labtop", &["labtop", "laptop"]),
        ("--space", "none.toml", &["none.toml"]),
        ("--sampler", "magic", &["`magic`", "nsga2"]),
        ("--workload", "512", &["invalid workload `512`", "512:128:4"]),
        ("--workload", "0:1:1", &["`0:1:1`"]),
        ("--tasks", "nope.jsonl", &["--tasks", "nope.jsonl", "warmup"]),
        ("--tasks", "broken.jsonl", &["broken.jsonl, line 1"]),
        ("--time", "5", &["--time", "`5`", "30m"]),
        ("--time", "-5m", &["--time", "`-5m`"]),
        ("--rung-timeout", "soon", &["--rung-timeout", "`soon`"]),
        ("--stage-timeout", "soon", &["`soon`"]),
        ("--timing-cap", "0s", &["--timing-cap", "`0s`"]),
        ("--trials", "0", &["--trials"]),
        ("--trials", "many", &["--trials", "many"]),
        ("--calibration", "none.txt", &["--calibration", "none.txt"]),
        ("--engine", "steam", &["steam", "llama.cpp"]),
        ("--seed", "x", &["--seed"]),
    ];
    for (flag, value, texts) in wrong {
        let tasks = bench::tasks();
        let mut arguments = vec!["tune", "--engine", "mock", "--model", "mock.json"];
        for (name, usual) in [("--budget", "1GB"), ("--space", "smoke"), ("--tasks", tasks.to_str().unwrap())]
        {
            if name != flag {
                arguments.extend([name, usual]);
            }
        }
        if flag == "--engine" {
            arguments.drain(1..3);
        }
        arguments.extend([flag, value]);
        let said = bench.run(&arguments).code(2);
        for text in texts {
            assert!(said.stderr.contains(text), "{flag} {value}: `{text}` is not in:\n{}", said.stderr);
        }
        assert_eq!(said.stdout, "");
    }
    nothing_made(&bench);
}

#[test]
fn a_budget_that_nothing_meets_names_the_smallest_thing() {
    let bench = bench();
    let said = bench.run_tune(&["--budget", "1MB"]).code(3);
    said.names("nothing fits the budget of 1.00 MB")
        .names("smallest candidate")
        .names("Q2_K")
        .names("raise --budget");
    nothing_made(&bench);
    let plan = ["plan", "--engine", "mock", "--model", "mock.json", "--space", "smoke", "--json", "--budget"];
    let none: Value =
        serde_json::from_str(&bench.run(&[&plan[..], &["1MB"]].concat()).code(3).stdout).unwrap();
    assert!(none["presets"].as_array().unwrap().iter().all(|p| p["fits"] == false));
    assert_eq!(none["space_fits"], 0.0);
    let some: Value =
        serde_json::from_str(&bench.run(&[&plan[..], &["100MB"]].concat()).code(0).stdout).unwrap();
    let fits = |name: &str| {
        let presets = some["presets"].as_array().unwrap();
        presets.iter().find(|p| p["name"] == name).unwrap()["fits"].as_bool().unwrap()
    };
    assert_eq!([fits("F16"), fits("Q8_0"), fits("Q4_K_M"), fits("Q2_K")], [false, false, true, true]);
    assert_eq!(some["smallest"]["fits"], true);
    let share = some["space_fits"].as_f64().unwrap();
    assert!(share > 0.0 && share < 1.0, "{share}");
    nothing_made(&bench);
}

#[test]
fn measured_peaks_over_the_budget_are_no_results() {
    // Predicted to fit, and measured at twice that.
    let bench = Bench::new(json!([["", "underestimated"]]));
    let said = bench.run_tune(&["--budget", "140MB", "--trials", "4"]).code(3);
    said.names("no trial stayed within the budget of 140 MB").names("smallest needed");
    let trials = bench.trials();
    assert!(trials.iter().any(|t| t.value("peak_memory_bytes").is_some_and(|p| p > 140e6)));
    assert!(trials.iter().all(|t| t.state.to_string() == "infeasible"));
    // Nothing is recommended, and what is asked for is explained.
    bench
        .run(&["export", "--trial", "1", "--out", "x.json"])
        .code(0)
        .names("infeasible")
        .names("over the budget");
    let unbuilt = trials.iter().find(|t| t.artifact.is_none()).unwrap().number.to_string();
    bench
        .run(&["export", "--trial", &unbuilt, "--out", "y.json"])
        .code(2)
        .names("no artifact")
        .names("not built");
    assert!(!bench.path("y.json").exists());
}

#[test]
fn a_study_in_which_everything_fails_says_so() {
    let bench = Bench::new(json!([["", "crash-on-decode"]]));
    // The reference itself cannot be run: nothing can be compared.
    let said = bench.run_tune(&FEW).code(1).names("predictions").names("signal 6").names("autotune resume 1");
    assert_eq!(said.stdout, "");
    let bench = Bench::new(json!([["Preset", "crash-on-load"], ["PerGroup([(", "refuse-load"]]));
    bench.run_tune(&FEW).code(5).names("no trial completed").names("autotune trials");
    assert!(bench.path("reports/mock.html").exists());
    bench
        .run(&["export", "--trial", "1", "--out", "failed.json"])
        .code(0)
        .names("trial 1 is failed")
        .names("signal 6");
    bench.run(&["export", "--trial", "77", "--out", "x.json"]).code(2).names("no trial 77");
    bench.run(&["export", "--trial", "1", "--out", "tmp"]).code(2).names("is a folder");
    bench.run(&["trials", "nobody"]).code(2).names("`nobody`").names("mock");
    bench.run(&["report", "2"]).code(2).names("`2`");
}

#[test]
fn commands_without_a_study_say_how_to_begin_one() {
    let bench = bench();
    for command in
        [&["resume"][..], &["studies"], &["trials"], &["report"], &["export", "--trial", "1", "--out", "x"]]
    {
        let said = bench.run(command).code(2).names("results/autotune.db").names("autotune --budget 8GB");
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    }
    nothing_made(&bench);
    bench.run(&["resume", "--trials", "0"]).code(2).names("--trials");
}

#[test]
fn a_results_folder_that_is_something_else_is_left_alone() {
    let bench = bench();
    std::fs::create_dir(bench.path("results")).unwrap();
    let database = bench.path("results").join(DATABASE_FILE);
    std::fs::write(&database, "my notes\n".repeat(100)).unwrap();
    bench.run_tune(&FEW).code(2).names("is not a database");
    bench.run(&["trials"]).code(2).names("is not a database");
    assert!(std::fs::read_to_string(&database).unwrap().starts_with("my notes"));

    std::fs::remove_file(&database).unwrap();
    bench.run_tune(&["--budget", "400MB", "--trials", "1"]).code(0);
    rusqlite::Connection::open(&database).unwrap().pragma_update(None, "user_version", 99).unwrap();
    bench.run_tune(&FEW).code(2).names("schema version 99").names("newer autotune");
    bench.run(&["resume"]).code(2).names("schema version 99");

    bench.write("a-file", "");
    let tasks = bench::tasks();
    let mut command =
        bench.command(&["tune", "--engine", "mock", "--model", "mock.json", "--space", "smoke"]);
    command.args(FEW).args(["--results", "a-file", "--tasks"]).arg(tasks);
    Said::of(&command.output().unwrap()).code(4).names("a-file");
}

/// Runs a command without the power to write everywhere; none where that cannot be arranged.
fn unprivileged(command: &mut Command) -> Option<Said> {
    if nix::unistd::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        let mut probe = Command::new(env!("CARGO_BIN_EXE_autotune"));
        let reachable = probe.arg("--version").uid(65534).gid(65534).stdout(Stdio::null()).status();
        if !reachable.is_ok_and(|s| s.success()) {
            bench::require::skip("other-user", "the program cannot be run as another user here");
            return None;
        }
        command.uid(65534).gid(65534);
    }
    Some(Said::of(&command.output().unwrap()))
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn folders_that_may_not_be_written_are_named() {
    let bench = bench();
    bench.run_tune(&["--budget", "400MB", "--trials", "1"]).code(0);
    let folder = bench.path("");
    let (results, reports, tmp) = (bench.path("results"), bench.path("reports"), bench.path("tmp"));
    for path in [&folder, &results, &reports] {
        set_mode(path, 0o555);
    }
    set_mode(&tmp, 0o777);
    set_mode(&results.join(DATABASE_FILE), 0o444);
    let Some(said) = unprivileged(&mut bench.tune(&FEW)) else { return };
    said.code(4).names("results/autotune.db").names("writable");
    unprivileged(&mut bench.command(&["resume"])).unwrap().code(4).names("results/autotune.db");
    let out = unprivileged(&mut bench.command(&["export", "--trial", "1", "--out", "best.json"])).unwrap();
    out.code(4).names("best.json");
    unprivileged(&mut bench.command(&["report", "--out", "reports/x.html"]))
        .unwrap()
        .code(4)
        .names("reports/x.html");
    // Reading needs no right to write.
    for command in ["studies", "trials"] {
        let said = unprivileged(&mut bench.command(&[command])).unwrap().code(0);
        assert!(said.stdout.contains("complete"), "{}", said.stdout);
    }
    // Results that can be written with reports that cannot: known before the first trial, and mended by another folder.
    let open = bench.path("tmp/results");
    let mut command =
        bench.command(&["--engine", "mock", "--model", "mock.json", "--space", "smoke", "--results"]);
    command.arg(&open).args(FEW).arg("--tasks").arg(bench::tasks());
    unprivileged(&mut command).unwrap().code(4).names("reports/mock.html").names("autotune resume 1");
    let mut command = bench.command(&["resume", "--results"]);
    command.arg(&open).arg("--reports").arg(bench.path("tmp/reports"));
    unprivileged(&mut command).unwrap().code(0);
    assert!(bench.path("tmp/reports/mock.html").exists());
    set_mode(&folder, 0o755);
    set_mode(&results, 0o755);
}

#[test]
fn a_reader_that_goes_away_harms_nothing() {
    let bench = bench();
    let mut command = bench.tune(&[&FEW[..], &["--json"]].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("study_started"));
    let said = Said::of(&child.wait_with_output().unwrap()).code(0);
    assert!(!said.stderr.contains("panicked") && !said.stderr.contains("error"), "{}", said.stderr);
    assert_eq!(bench.finished().len(), 3);
    for command in [&["trials", "--csv"][..], &["studies"], &["--help"]] {
        let mut child = bench.command(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let said = Said::of(&child.wait_with_output().unwrap()).code(0);
        assert_eq!(said.stderr, "", "{command:?}");
    }
}

#[test]
fn output_that_is_lost_is_an_error() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        bench::require::skip("dev-full", "there is no /dev/full here");
        return;
    };
    let bench = bench();
    bench.run_tune(&FEW).code(0);
    for command in [&["trials"][..], &["studies", "--json"], &["completions", "bash"]] {
        let out = bench.command(command).stdout(full.try_clone().unwrap()).output().unwrap();
        Said::of(&out).code(4).names("failed to write to stdout");
    }
    let out = bench.command(&["--help"]).stdout(full.try_clone().unwrap()).output().unwrap();
    Said::of(&out).code(4);
    // A study is worth more than its output: it goes on, and tells at the end.
    let out = bench.tune(&[&FEW[..], &["--json"]].concat()).stdout(full).output().unwrap();
    Said::of(&out).code(4).names("failed to write to stdout");
    assert_eq!(bench.finished().len(), 3);
}

#[test]
fn a_full_disk_pauses_and_loses_nothing() {
    let wanted = {
        let bench = bench();
        bench.run_tune(&["--budget", "400MB", "--trials", "6"]).code(0);
        bench.finished()
    };
    let bench = bench();
    let Some(disk) = SmallDisk::mount(&bench.path("results"), 16 << 20) else { return };
    // No room for the database; room for it, but not for what all trials need; room for nothing more; then for a little more each time.
    disk.fill(0);
    bench.run_tune(&["--budget", "400MB", "--trials", "6"]).code(4).names("results/autotune.db");
    disk.fill(256 << 10);
    bench
        .run_tune(&["--budget", "400MB", "--trials", "6"])
        .code(4)
        .names("predictions")
        .names("No space left");
    disk.free();
    bench.run(&["resume", "--trials", "1"]).code(0);
    let mut kept = bench.finished();
    let mut full = 0;
    for left in [0, 8, 16, 32, 48, 64, 80, 96, 128, 160].map(|kib| kib << 10) {
        disk.fill(left);
        let said = bench.run(&["resume", "--trials", "6"]);
        disk.free();
        eprintln!(
            "{} kiB left: {:?} {}",
            left >> 10,
            said.code,
            said.stderr.lines().last().unwrap_or_default()
        );
        if said.code == Some(4) {
            full += 1;
            let text = said.stderr.to_lowercase();
            assert!(
                text.contains("space is left") || text.contains("no space left"),
                "{left}: {}",
                said.stderr
            );
        } else {
            said.code(0);
        }
        let now = bench.finished();
        assert_eq!(&now[..kept.len()], &kept[..], "{left}");
        kept = now;
    }
    assert!(full >= 3, "the disk was full {full} times only");
    bench.run(&["resume", "--trials", "6"]).code(0);
    assert_eq!(bench.finished(), wanted);
}

#[test]
fn an_export_to_a_full_disk_leaves_nothing_behind() {
    let bench = bench();
    bench.run_tune(&["--budget", "400MB", "--trials", "1"]).code(0);
    let Some(disk) = SmallDisk::mount(&bench.path("small"), 64 << 10) else { return };
    disk.fill(0);
    bench.run(&["export", "--trial", "1", "--out", "small/best.json"]).code(4).names("small/best.json");
    bench.run(&["report", "--out", "small/page.html"]).code(4).names("small/page.html");
    let left: Vec<PathBuf> =
        std::fs::read_dir(bench.path("small")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [bench.path("small/filler")]);
}
