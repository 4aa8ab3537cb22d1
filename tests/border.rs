//! What crosses between the process of the judged code and the process of the tests: values, objects, callbacks, exceptions.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

#[path = "support/require.rs"]
mod require;

use autotune::quality::tasks;
use autotune::quality::tasks::{Program, Task, TaskLanguage};
use autotune::sandbox::{Judge, Sandbox, Settings, Verdict, probe};

/// What [`require::skip`] calls a language's interpreter.
fn interpreter(language: TaskLanguage) -> &'static str {
    if language == TaskLanguage::JavaScript { "node" } else { "python" }
}

/// A sandbox that runs this language; `None`, with a word, where this machine has none.
fn sandbox(language: TaskLanguage) -> Option<Sandbox> {
    if !probe().is_strict() {
        require::skip("sandbox", format_args!("this machine lacks {}", probe().missing()));
        return None;
    }
    let mut sandbox = Sandbox::new(Settings { jobs: 1, ..Settings::default() }).unwrap();
    match sandbox.interpreter(language) {
        Ok(_) => Some(sandbox),
        Err(error) => {
            require::skip(interpreter(language), error);
            None
        }
    }
}

/// Judges a program whose function under test is `f`.
fn judge(language: TaskLanguage, solution: &str, tests: &str) -> Option<(Verdict, String)> {
    let program = Program {
        task_id: "border".into(),
        language,
        solution: solution.into(),
        prelude: String::new(),
        setup: String::new(),
        tests: tests.into(),
        entry_point: "f".into(),
    };
    let judgement = sandbox(language)?.judge(&[program]).unwrap().remove(0);
    Some((judgement.verdict, judgement.detail))
}

fn assert_passes(language: TaskLanguage, solution: &str, tests: &str) {
    if let Some((verdict, detail)) = judge(language, solution, tests) {
        assert_eq!(verdict, Verdict::Passed, "{detail}");
    }
}

#[test]
fn python_values_cross_unchanged() {
    assert_passes(TaskLanguage::Python, "def f(x):\n    return x\n", include_str!("border/values.py"));
}

#[test]
fn python_objects_callbacks_and_exceptions_cross() {
    let (solution, tests) =
        (include_str!("border/objects_solution.py"), include_str!("border/objects_tests.py"));
    assert_passes(TaskLanguage::Python, solution, tests);
}

#[test]
fn javascript_values_cross_unchanged() {
    assert_passes(TaskLanguage::JavaScript, "const f = (x) => x;\n", include_str!("border/values.js"));
}

#[test]
fn javascript_objects_callbacks_and_promises_cross() {
    let (solution, tests) =
        (include_str!("border/objects_solution.js"), include_str!("border/objects_tests.js"));
    assert_passes(TaskLanguage::JavaScript, solution, tests);
}

#[test]
fn what_fails_after_the_last_line_of_javascript_tests_fails_them() {
    let tests = "(async () => { await null; throw new Error('late'); })();\n1;";
    if let Some((verdict, detail)) = judge(TaskLanguage::JavaScript, "const f = (x) => x;\n", tests) {
        assert_eq!(verdict, Verdict::Failed, "{detail}");
        assert!(detail.contains("late"), "{detail}");
    }
}

#[test]
fn typescript_runs_without_its_types() {
    let solution = "interface P { x: number }\nfunction f(a: P[], b?: string): Map<string, number> {\n  return new Map<string, number>(a.map((p): [string, number] => [b ?? 'x', p.x as number]));\n}\n";
    let tests = "declare var require: any;\nconst assert = require('node:assert');\nlet result: Map<string, number> = f([{x: 3}]);\nassert.deepEqual(result, new Map([['x', 3]]));\n";
    assert_passes(TaskLanguage::TypeScript, solution, tests);
}

/// A process that ends is no exception that tests may expect.
#[test]
fn the_end_of_the_process_is_not_an_expected_exception() {
    for (language, solution, tests) in [
        (
            TaskLanguage::Python,
            "import os\ndef f(x):\n    os._exit(1)\n",
            "try:\n    f(1)\nexcept:\n    pass\nelse:\n    assert False\n",
        ),
        (
            TaskLanguage::JavaScript,
            "function f(x) { process.exit(1); }",
            "let thrown = false; try { f(1); } catch { thrown = true; } console.assert(thrown);",
        ),
    ] {
        if let Some((verdict, detail)) = judge(language, solution, tests) {
            assert_eq!(verdict, Verdict::Crashed, "{detail}");
        }
    }
}

/// A task whose prompt brings a helper that its tests use.
fn with_helper(id: &str, prompt: &str, tests: &str) -> Task {
    let set = tasks::load(tasks::WARMUP, 0).unwrap();
    Task {
        prompt: prompt.into(),
        tests: tests.into(),
        entry_point: "f".into(),
        ..set.get(id).unwrap().clone()
    }
}

fn verdicts(task: &Task, completions: &[&str]) -> Option<Vec<Verdict>> {
    let programs: Vec<Program> =
        completions.iter().map(|completion| tasks::program(task, completion)).collect();
    let judgements = sandbox(task.language)?.judge(&programs).unwrap();
    Some(judgements.iter().map(|judgement| judgement.verdict).collect())
}

#[test]
fn tests_use_the_prompts_helpers_and_not_the_completions() {
    let python = with_helper(
        "warmup/python/add",
        "import math\ndef helper(x):\n    return x + 1\n\ndef f(x):\n",
        "assert helper(f(1)) == 3 and math.floor(2.5) == 2\n",
    );
    let completions = ["    return x + 1\n", "    return 0\n\ndef helper(x):\n    return 3\n"];
    if let Some(verdicts) = verdicts(&python, &completions) {
        assert_eq!(verdicts, [Verdict::Passed, Verdict::Failed]);
    }
    let javascript = with_helper(
        "warmup/javascript/add",
        "function helper(x) { return x + 1; }\nfunction f(x) {\n",
        "console.assert(helper(f(1)) === 3);\n",
    );
    let completions = ["  return x + 1;\n}", "  return 0;\n}\nhelper = () => 3;"];
    if let Some(verdicts) = verdicts(&javascript, &completions) {
        assert_eq!(verdicts, [Verdict::Passed, Verdict::Failed]);
    }
}
