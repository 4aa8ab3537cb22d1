//! The row formats of the public data sets, recognised by their fields.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Kind, Refusal, Task, TaskLanguage, calls, fields, language, stops};

/// The fields of all known formats; each format uses some.
#[derive(Debug, Deserialize)]
struct Row {
    #[serde(default)]
    task_id: Value,
    prompt: Option<String>,
    #[serde(default, deserialize_with = "solution")]
    canonical_solution: Option<String>,
    test: Option<String>,
    entry_point: Option<String>,
    declaration: Option<String>,
    // HumanEvalPack
    test_setup: Option<String>,
    // HumanEval-Infilling
    suffix: Option<String>,
    // BigCodeBench
    complete_prompt: Option<String>,
    // MBPP
    text: Option<String>,
    #[serde(default, deserialize_with = "solution")]
    code: Option<String>,
    test_list: Option<Vec<String>>,
    test_setup_code: Option<String>,
    test_imports: Option<Vec<String>>,
    // MultiPL-E
    name: Option<String>,
    language: Option<String>,
    lang: Option<String>,
    tests: Option<String>,
    stop_tokens: Option<Vec<String>>,
}

/// A task and the names of its row's fields of which nothing is known.
pub(super) type Parsed = (Task, Vec<String>);

/// The task in a row. The error is a fragment that names what is missing.
pub(super) fn task(row: Map<String, Value>) -> Result<Parsed, String> {
    let names = row.keys().cloned().collect::<Vec<_>>().join(", ");
    let fields = fields::of(&row);
    let row: Row =
        serde_json::from_value(Value::Object(row)).map_err(|e| format!("a field has the wrong type: {e}"))?;
    let mut task = if row.test_list.is_some() {
        mbpp(row)?
    } else if row.tests.is_some() {
        multipl_e(row)?
    } else if row.test.is_some() {
        human_eval(row)?
    } else if let Some(field) = fields.refused {
        return Err(format!("the field `{field}` is not understood; {}", expected()));
    } else {
        return Err(format!("no task of a known format: found the fields {names}; {}", expected()));
    };
    if let Some(field) = fields.refused {
        task.refusal = Some(Refusal::Field(field));
    }
    Ok((task, fields.unknown))
}

/// A solution that holds no code is none: rows without one are often written with an empty text.
fn solution<'de, D: serde::Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(field)?.filter(|text| !text.trim().is_empty()))
}

fn expected() -> &'static str {
    "expected `test` (HumanEval, HumanEval-X, BigCodeBench), `test_list` (MBPP) or `tests` (MultiPL-E)"
}

fn id(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("`task_id` must be a text or a number, found {other}")),
    }
}

fn need<T>(field: Option<T>, name: &str, format: &str) -> Result<T, String> {
    field.ok_or_else(|| format!("a {format} row needs the field `{name}`"))
}

/// The task with the calls that its Python tests leave to their harness.
fn with_calls(mut task: Task) -> Result<Task, String> {
    if task.language != TaskLanguage::Python {
        return Ok(task);
    }
    let complete = calls::complete(&task.tests, &task.entry_point);
    if let (Some(test), None) = (complete.uncallable, &task.refusal) {
        // Of these everything but the function under test is there.
        if task.entry_point.is_empty() && test.starts_with("check(") {
            return Err("a HumanEval row needs the field `entry_point`".to_owned());
        }
        task.refusal = Some(Refusal::TestFunction(test));
    }
    task.tests = complete.tests;
    if let Some(setup) = complete.setup {
        task.setup = if task.setup.is_empty() { setup } else { format!("{}\n{setup}", task.setup) };
    }
    Ok(task)
}

/// HumanEval, HumanEval-X whose language stands before the id's slash, BigCodeBench.
fn human_eval(row: Row) -> Result<Task, String> {
    let id = id(&row.task_id)?;
    let prompt = need(row.prompt.or(row.complete_prompt), "prompt", "HumanEval")?;
    let tests = need(row.test, "test", "HumanEval")?;
    let suffix = row.suffix.unwrap_or_default();
    let named = row.language.as_deref().or(row.lang.as_deref());
    let whole = || format!("{prompt}{}{suffix}", row.canonical_solution.as_deref().unwrap_or_default());
    let (language, language_name) = match named {
        Some(name) => language::language_of(name),
        None => language::of_id(&id, &whole()),
    };
    let entry_point = row
        .entry_point
        .or_else(|| last_function(language, row.declaration.as_deref().unwrap_or(&prompt)))
        .unwrap_or_default();
    with_calls(Task {
        id,
        language,
        language_name,
        prompt,
        suffix,
        kind: Kind::Continuation,
        setup: row.test_setup.unwrap_or_default(),
        tests,
        entry_point,
        canonical: row.canonical_solution,
        stop: row
            .stop_tokens
            .filter(|tokens| !tokens.is_empty())
            .unwrap_or_else(|| stops::exclusive(language, false)),
        closing: stops::inclusive(language),
        refusal: None,
    })
}

/// MBPP, full (`text`), sanitized (`prompt`) and MBPP+ (`test` has all tests). The prompt is a docstring with the description and the first
/// test, as is usual for base models.
fn mbpp(row: Row) -> Result<Task, String> {
    let id = id(&row.task_id)?;
    let text = need(row.text.or(row.prompt), "text", "MBPP")?;
    let list = need(row.test_list, "test_list", "MBPP")?;
    let code = row.code.or(row.canonical_solution).map(|code| code.replace("\r\n", "\n"));
    let listed = list.join("\n");
    // The list shows what is asked; where there are more tests than it has, they judge.
    let tests = row.test.filter(|test| !test.trim().is_empty()).unwrap_or(listed).replace("\r\n", "\n");
    let imports = row.test_imports.unwrap_or_default().join("\n");
    let setup = format!("{imports}\n{}", row.test_setup_code.unwrap_or_default().replace("\r\n", "\n"));
    let first = list.first().map_or("", |test| test.trim());
    let called = || code.as_deref().and_then(|code| tested_function(code, &tests));
    let entry_point = row.entry_point.or_else(called).unwrap_or_default();
    let task = with_calls(Task {
        id,
        language: TaskLanguage::Python,
        language_name: "python".to_owned(),
        prompt: format!("\"\"\"\n{}\n{first}\n\"\"\"\n", text.trim()),
        suffix: String::new(),
        kind: Kind::Standalone,
        setup: setup.trim().to_owned(),
        tests,
        entry_point,
        canonical: code,
        stop: stops::exclusive(TaskLanguage::Python, true),
        closing: Vec::new(),
        refusal: None,
    })?;
    let infills = row.suffix.is_some_and(|suffix| !suffix.is_empty());
    Ok(Task { refusal: task.refusal.or(infills.then(|| Refusal::Field("suffix".to_owned()))), ..task })
}

/// MultiPL-E: `name` is `HumanEval_0_has_close_elements`, `tests` call the function by its name, `stop_tokens` end a completion.
fn multipl_e(row: Row) -> Result<Task, String> {
    let name = need(row.name, "name", "MultiPL-E")?;
    let prompt = need(row.prompt, "prompt", "MultiPL-E")?;
    let tests = need(row.tests, "tests", "MultiPL-E")?;
    let named = need(row.language.or(row.lang), "language", "MultiPL-E")?;
    let (language, language_name) = language::language_of(&named);
    let entry_point = name
        .split_once('_')
        .and_then(|(_, rest)| rest.split_once('_'))
        .map(|(_, function)| function.to_owned())
        .filter(|function| tests.contains(function.as_str()))
        .or_else(|| last_function(language, &prompt))
        .unwrap_or_default();
    let closing = stops::inclusive(language);
    let stop = match row.stop_tokens {
        Some(tokens) if !tokens.is_empty() => {
            tokens.into_iter().filter(|token| !closing.contains(token)).collect()
        }
        _ => stops::exclusive(language, false),
    };
    with_calls(Task {
        id: name,
        language,
        language_name,
        prompt,
        suffix: row.suffix.unwrap_or_default(),
        kind: Kind::Continuation,
        setup: String::new(),
        tests,
        entry_point,
        canonical: row.canonical_solution,
        stop,
        closing,
        refusal: None,
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn leading_name(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|&c| is_word(c)).collect();
    (!name.is_empty()).then_some(name)
}

/// The functions that a source defines at column 0, in order.
fn top_functions(language: TaskLanguage, source: &str) -> Vec<String> {
    let openers: &[&str] = match language {
        TaskLanguage::Python => &["def ", "async def ", "class "],
        _ => &["function ", "const ", "let ", "var ", "async function ", "export function "],
    };
    source
        .lines()
        .filter_map(|line| openers.iter().find_map(|opener| line.strip_prefix(opener)).and_then(leading_name))
        .collect()
}

fn last_function(language: TaskLanguage, source: &str) -> Option<String> {
    top_functions(language, source).pop()
}

/// The first function of `code` that `tests` call.
fn tested_function(code: &str, tests: &str) -> Option<String> {
    let called = |name: &String| {
        tests.match_indices(name.as_str()).any(|(at, _)| {
            !tests[..at].chars().next_back().is_some_and(is_word)
                && tests[at + name.len()..].trim_start().starts_with('(')
        })
    };
    let mut found: Vec<(usize, String)> = top_functions(TaskLanguage::Python, code)
        .into_iter()
        .filter(called)
        .filter_map(|name| tests.find(&name).map(|at| (at, name)))
        .collect();
    found.sort();
    found.into_iter().next().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Task, String> {
        task(serde_json::from_str(text).unwrap()).map(|(task, _)| task)
    }

    #[test]
    fn an_empty_solution_is_no_solution() {
        for empty in ["", " \n\t"] {
            let row = serde_json::json!({
                "task_id": "a", "prompt": "def f(x):\n", "canonical_solution": empty, "entry_point": "f",
                "test": "def check(c):\n    assert c(1) == 1\n",
            });
            assert_eq!(parse(&row.to_string()).unwrap().canonical, None);
        }
    }

    #[test]
    fn human_eval_calls_check_itself() {
        let task = parse(r#"{"task_id":"HumanEval/7","prompt":"def f():\n","canonical_solution":"  return 1","test":"def check(candidate):\n    assert candidate() == 1\n","entry_point":"f"}"#).unwrap();
        assert_eq!(task.language, TaskLanguage::Python);
        assert!(task.tests.ends_with("check(f)\n"));
        assert_eq!(task.canonical.as_deref(), Some("  return 1"));
    }

    #[test]
    fn human_eval_x_finds_the_function_in_its_declaration() {
        let task = parse(r#"{"task_id":"JavaScript/32","prompt":"const poly = 1\nconst findZero = (xs) => {\n","test":"findZero()","declaration":"\nconst poly = 1\nconst findZero = (xs) => {\n"}"#).unwrap();
        assert_eq!((task.language, task.entry_point.as_str()), (TaskLanguage::JavaScript, "findZero"));
        assert_eq!(task.closing, ["\n}"]);
        let rust = parse(r#"{"task_id":"Rust/1","prompt":"fn a() {","test":"x"}"#).unwrap();
        assert_eq!((rust.language, rust.language_name.as_str()), (TaskLanguage::Other, "rust"));
    }

    #[test]
    fn mbpp_is_a_whole_program_with_setup() {
        let task = parse(r#"{"task_id":11,"text":"Add.","code":"import math\r\ndef helper(): pass\r\ndef add (a):\r\n  return a","test_list":["assert add (1) == 1","assert add(2)==2"],"test_setup_code":"x = 1"}"#).unwrap();
        assert_eq!((task.id.as_str(), task.entry_point.as_str(), task.kind), ("11", "add", Kind::Standalone));
        assert!(task.prompt.contains("Add.\nassert add (1) == 1"));
        assert_eq!(task.setup, "x = 1");
        assert!(!task.canonical.unwrap().contains('\r'));
    }

    #[test]
    fn multipl_e_takes_its_own_stop_tokens() {
        let task = parse(r#"{"name":"HumanEval_23_strlen","language":"js","prompt":"function strlen(s){\n","tests":"const assert = require('node:assert');\nassert.deepEqual(strlen(''),0);","stop_tokens":["\nfunction ","\n}"]}"#).unwrap();
        assert_eq!((task.entry_point.as_str(), task.stop.len()), ("strlen", 1));
    }

    #[test]
    fn mbpp_plus_is_judged_by_all_of_its_tests() {
        let task = parse(r#"{"task_id":7,"prompt":"Square.","code":"def square(n):\n    return n * n","test_imports":["import math"],"test_list":["assert square(2) == 4"],"test":"for i in range(9):\n    assert square(i) == i * i\n"}"#).unwrap();
        assert!(task.tests.contains("range(9)") && !task.tests.contains("square(2)"));
        assert!(task.prompt.contains("assert square(2) == 4"));
        assert_eq!((task.entry_point.as_str(), task.setup.as_str()), ("square", "import math"));
    }

    #[test]
    fn infilling_keeps_what_follows() {
        let task = parse(r#"{"task_id":"SingleLineInfilling/HumanEval/0/L0","prompt":"def f(x):\n","suffix":"\n    return y\n","canonical_solution":"    y = x","test":"def check(c):\n    assert c(1) == 1\n","entry_point":"f"}"#).unwrap();
        assert_eq!(task.suffix, "\n    return y\n");
        assert_eq!(task.language, TaskLanguage::Python);
    }

    #[test]
    fn big_code_bench_is_asked_by_its_complete_prompt() {
        let task = parse(r#"{"task_id":"BigCodeBench/0","complete_prompt":"def task_func():\n","instruct_prompt":"Write.","canonical_solution":"    return 1\n","test":"import unittest\nclass TestCases(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(task_func(), 1)\n","entry_point":"task_func"}"#).unwrap();
        assert_eq!(task.prompt, "def task_func():\n");
        assert!(task.tests.contains("_autotune_run_unittest([TestCases])"));
    }

    #[test]
    fn fields_that_are_not_understood_are_named() {
        let row = r#"{"task_id":"a","prompt":"def f():\n","test":"assert f()","entry_point":"f","plus_input":[[1]]}"#;
        assert_eq!(parse(row).unwrap().refusal, Some(Refusal::Field("plus_input".to_owned())));
        let error = parse(r#"{"task_id":"a","prompt":"def f():\n","base_input":[[1]]}"#).unwrap_err();
        assert!(error.contains("`base_input`"), "{error}");
        let tests = r#"{"task_id":"a","prompt":"def f():\n","test":"def test_f(tmp_path):\n    assert f()","entry_point":"f"}"#;
        assert_eq!(parse(tests).unwrap().refusal, Some(Refusal::TestFunction("test_f(tmp_path)".to_owned())));
    }

    #[test]
    fn missing_fields_are_named() {
        assert!(parse(r#"{"task_id":"a","test":"x"}"#).unwrap_err().contains("`prompt`"));
        assert!(parse(r#"{"task_id":null,"test":"x","prompt":"p"}"#).unwrap_err().contains("`task_id`"));
        assert!(parse(r#"{"task_id":"a","test":5,"prompt":"p"}"#).unwrap_err().contains("wrong type"));
    }
}
