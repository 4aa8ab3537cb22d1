//! A judged program has the verdict that the same program and tests have without a sandbox: the value of every kind that crosses between
//! the two processes arrives as what it was.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on must fail, and says what it skips"
)]

#[path = "support/require.rs"]
mod require;

use std::{collections::BTreeMap, io::Write, process::Command, process::Stdio};

use autotune::quality::tasks::{Program, TaskLanguage};
use autotune::sandbox::{Judge, Sandbox, Settings, probe};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const PYTHON: &str = include_str!("border/same_python.txt");
const JAVASCRIPT: &str = include_str!("border/same_javascript.txt");

/// What differs, as docs/src/explanation/sandbox.md says under "Compatibility".
const PYTHON_LIMITS: &[&str] = &[
    "SystemExit",
    "async callback",
    "class attrs",
    "dataclass",
    "operators",
    "print capture",
    "string io",
    "subclass in tests",
];
const JAVASCRIPT_LIMITS: &[&str] = &["async cb", "map sub", "test class method"];

const ASSERT: &str =
    "const assert = require('node:assert');\nconst D = assert.deepStrictEqual, S = assert.strictEqual;\n";

/// Runs every case in one interpreter without a sandbox and prints the names of those that pass.
const PLAIN_PYTHON: &str = r#"
import io, json, sys
cases, passed, out = json.load(sys.stdin), [], sys.stdout
limit = sys.getrecursionlimit()
for name, solution, tests in cases:
    sys.setrecursionlimit(limit)
    sys.stdout = io.StringIO()
    try:
        exec(compile(solution + "\n" + tests, name, "exec"), {"__name__": "solution"})
        passed.append(name)
    except BaseException:
        pass
    sys.stdout = out
print(json.dumps(passed))
"#;
const PLAIN_JAVASCRIPT: &str = r"
const vm = require('vm');
globalThis.require = require;
process.on('unhandledRejection', () => {});
console.log = () => {};
(async () => {
  const passed = [];
  for (const [name, solution, tests] of JSON.parse(require('fs').readFileSync(0, 'utf8'))) {
    try {
      await vm.runInThisContext(`{${solution}\n${tests}\n}`);
      passed.push(name);
    } catch {}
  }
  process.stdout.write(JSON.stringify(passed));
})();
";

struct Case {
    name: String,
    solution: String,
    tests: String,
}

fn cases(text: &str, head: &str) -> Vec<Case> {
    let case = |part: &str| {
        let (name, rest) = part.split_once('\n').unwrap();
        let (solution, tests) = rest.split_once("---- tests\n").unwrap();
        Case { name: name.to_owned(), solution: solution.to_owned(), tests: format!("{head}{tests}") }
    };
    text.split("==== ").skip(1).map(case).collect()
}

fn sandbox(language: TaskLanguage) -> Option<Sandbox> {
    if !probe().is_strict() {
        require::skip("sandbox", format_args!("this machine lacks {}", probe().missing()));
        return None;
    }
    let mut sandbox = Sandbox::new(Settings::default()).unwrap();
    if let Err(error) = sandbox.interpreter(language) {
        let need = if language == TaskLanguage::Python { "python" } else { "node" };
        require::skip(need, error);
        return None;
    }
    Some(sandbox)
}

/// The cases that pass without a sandbox.
fn plain(sandbox: &mut Sandbox, language: TaskLanguage, cases: &[Case]) -> Vec<String> {
    let path = sandbox.interpreter(language).unwrap().path.clone();
    let script =
        if language == TaskLanguage::Python { ("-c", PLAIN_PYTHON) } else { ("-e", PLAIN_JAVASCRIPT) };
    let mut child = Command::new(path)
        .args([script.0, script.1])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let rows: Vec<Value> = cases.iter().map(|c| json!([c.name, c.solution, c.tests])).collect();
    child.stdin.take().unwrap().write_all(json!(rows).to_string().as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

/// The cases whose verdict differs, with what the sandbox said.
fn differing(language: TaskLanguage, cases: &[Case]) -> Option<BTreeMap<String, String>> {
    let mut sandbox = sandbox(language)?;
    let passed = plain(&mut sandbox, language, cases);
    let programs: Vec<Program> = cases
        .iter()
        .map(|case| Program {
            task_id: case.name.clone(),
            language,
            solution: case.solution.clone(),
            prelude: String::new(),
            setup: String::new(),
            tests: case.tests.clone(),
            entry_point: "f".into(),
        })
        .collect();
    let judged = sandbox.judge(&programs).unwrap();
    let differs =
        cases.iter().zip(&judged).filter(|(case, j)| j.verdict.is_pass() != passed.contains(&case.name));
    Some(differs.map(|(case, j)| (case.name.clone(), format!("{:?}: {}", j.verdict, j.detail))).collect())
}

#[test]
fn python_programs_have_the_verdict_that_they_have_without_a_sandbox() {
    if let Some(differing) = differing(TaskLanguage::Python, &cases(PYTHON, "")) {
        assert_eq!(differing.keys().map(String::as_str).collect::<Vec<_>>(), PYTHON_LIMITS, "{differing:#?}");
    }
}

#[test]
fn javascript_programs_have_the_verdict_that_they_have_without_a_sandbox() {
    if let Some(differing) = differing(TaskLanguage::JavaScript, &cases(JAVASCRIPT, ASSERT)) {
        assert_eq!(
            differing.keys().map(String::as_str).collect::<Vec<_>>(),
            JAVASCRIPT_LIMITS,
            "{differing:#?}"
        );
    }
}

/// An expression of Python, nested at most `depth` deep. What is hashable can be a key.
fn python_value(random: &mut ChaCha8Rng, depth: u32, hashable: bool) -> String {
    const PLAIN: &[&str] = &[
        "None",
        "True",
        "0",
        "-1",
        "2**70",
        "-(10**400)",
        "0.0",
        "-0.0",
        "1e-300",
        "float('inf')",
        "1j",
        "''",
        "'\\ud800'",
        "'é\\x00'",
        "b'\\xff'",
        "range(1, 9, 3)",
        "Decimal('-1.10')",
        "Fraction(2, 6)",
        "date(2024, 2, 29)",
        "datetime(2024, 2, 29, 1, tzinfo=timezone.utc)",
        "timedelta(1, 2, 3)",
        "int",
        "len",
        "Ellipsis",
        "UUID(int=7)",
        "Colour.RED",
        "Size(2)",
        "Text('a')",
    ];
    let items = |random: &mut ChaCha8Rng, hashable| -> String {
        let count = random.random_range(0..4);
        (0..count).map(|_| format!("{}, ", python_value(random, depth - 1, hashable))).collect()
    };
    let kinds = if depth == 0 {
        1
    } else if hashable {
        5
    } else {
        13
    };
    match random.random_range(0..kinds) {
        0 => PLAIN[random.random_range(0..PLAIN.len())].to_owned(),
        1 | 2 => format!("({})", items(random, hashable)),
        3 => format!("frozenset([{}])", items(random, true)),
        4 => format!(
            "Point({}, {})",
            python_value(random, depth - 1, hashable),
            python_value(random, depth - 1, hashable)
        ),
        5 | 6 => format!("[{}]", items(random, false)),
        7 => format!("set([{}])", items(random, true)),
        8 => format!("deque([{}], 5)", items(random, false)),
        kind => {
            let count = random.random_range(0..4);
            let pair = |random: &mut ChaCha8Rng| {
                let key = python_value(random, depth - 1, true);
                format!("({key}, {}), ", python_value(random, depth - 1, false))
            };
            let pairs: String = (0..count).map(|_| pair(random)).collect();
            let form = ["dict([P])", "OrderedDict([P])", "defaultdict(list, [P])", "Settings([P])"][kind - 9];
            form.replace('P', &pairs)
        }
    }
}

#[test]
fn generated_values_of_python_arrive_as_what_they_are() {
    let head = "from collections import *\nfrom datetime import *\nfrom decimal import Decimal\nfrom enum import IntEnum\nfrom fractions import Fraction\nfrom uuid import UUID\nPoint = namedtuple('Point', 'x y')\nclass Colour(IntEnum):\n    RED = 3\nclass Size(int):\n    pass\nclass Text(str):\n    pass\nclass Settings(dict):\n    pass\n";
    let cases: Vec<Case> = (0..40)
        .map(|seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let values: String = (0..25).map(|_| format!("    {},\n", python_value(&mut random, 4, false))).collect();
            let tests = format!(
                "{head}def shown(v):\n    if isinstance(v, (set, frozenset)):\n        return 'set', sorted(repr(shown(i)) for i in v)\n    if isinstance(v, dict):\n        return 'dict', [(shown(k), shown(w)) for k, w in v.items()]\n    if isinstance(v, (list, tuple, deque)):\n        return 'list', [shown(i) for i in v]\n    return repr(v)\ndef same(a, b):\n    assert a == b, (a, b)\n    assert shown(a) == shown(b), (a, b)\nvalues = [\n{values}]\nfor number, value in enumerate(values):\n    same(f(number), value)\n    same(echo(value), value)\n    kept = [value, value]\n    same(append(kept), None)\n    assert kept[2] is kept and (type(value) not in (list, dict, set, deque, defaultdict, OrderedDict) or kept[0] is kept[1] is value)\n"
            );
            let solution = format!(
                "{head}values = [\n{values}]\ndef f(number):\n    return values[number]\ndef echo(value):\n    return value\ndef append(kept):\n    kept.append(kept)\n"
            );
            Case { name: format!("seed {seed}"), solution, tests }
        })
        .collect();
    if let Some(differing) = differing(TaskLanguage::Python, &cases) {
        assert!(differing.is_empty(), "{differing:#?}");
    }
}

/// An expression of JavaScript, nested at most `depth` deep.
fn javascript_value(random: &mut ChaCha8Rng, depth: u32) -> String {
    const PLAIN: &[&str] = &[
        "null",
        "undefined",
        "true",
        "0",
        "-0",
        "NaN",
        "-Infinity",
        "1.5e300",
        "10n ** 40n",
        "''",
        "'\\ud800'",
        "'é\\0'",
        "Symbol.iterator",
        "Symbol.for('s')",
        "new Date(5)",
        "new Date(NaN)",
        "/a+/gi",
        "new Uint8Array([1, 255])",
        "new Float64Array([-0, NaN])",
        "new BigInt64Array([1n])",
        "new Uint8Array([1, 2]).buffer",
        "new TypeError('wrong')",
        "Object.assign(new Error('m'), { code: 'E' })",
        "new Number(4)",
        "Object.freeze([1])",
        "[, 1, , 2]",
        "new Array(3)",
        "Object.assign([1], { extra: 2 })",
        "Object.assign(Object.create(null), { a: 1 })",
    ];
    let list = |random: &mut ChaCha8Rng| -> Vec<String> {
        let count = random.random_range(0..4);
        (0..count).map(|_| javascript_value(random, depth - 1)).collect()
    };
    match random.random_range(0..if depth == 0 { 1 } else { 6 }) {
        0 => PLAIN[random.random_range(0..PLAIN.len())].to_owned(),
        1 | 2 => format!("[{}]", list(random).join(", ")),
        3 => {
            let keys = ["a", "'b c'", "1", "'__proto__x'", "é"];
            let pairs = list(random).into_iter().zip(keys).map(|(value, key)| format!("{key}: {value}"));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        4 => {
            let pairs = list(random).into_iter().enumerate().map(|(at, value)| format!("['{at}', {value}]"));
            format!("new Map([{}])", pairs.collect::<Vec<_>>().join(", "))
        }
        _ => format!("new Set([{}])", list(random).join(", ")),
    }
}

#[test]
fn generated_values_of_javascript_arrive_as_what_they_are() {
    let cases: Vec<Case> = (0..10)
        .map(|seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let values: String = (0..60).map(|_| format!("  ({}),\n", javascript_value(&mut random, 4))).collect();
            let tests = format!(
                "{ASSERT}const util = require('node:util');\nconst expected = [\n{values}];\nconst shown = (v) => util.inspect(v, {{ depth: 9 }}).replace(/\\n +at .*/g, '');\nconst same = (a, b) => {{ D(a, b); S(shown(a), shown(b)); }};\nexpected.forEach((value, number) => {{\n  same(f(number), value);\n  same(echo(value), value);\n  const kept = [value, value];\n  append(kept);\n  assert(kept[2] === kept && Object.is(kept[0], value) && Object.is(kept[1], value));\n}});\n"
            );
            let solution = format!(
                "var values = [\n{values}];\nfunction f(number) {{ return values[number]; }}\nfunction echo(value) {{ return value; }}\nfunction append(kept) {{ kept.push(kept); }}\n"
            );
            Case { name: format!("seed {seed}"), solution, tests }
        })
        .collect();
    if let Some(differing) = differing(TaskLanguage::JavaScript, &cases) {
        assert!(differing.is_empty(), "{differing:#?}");
    }
}
