//! The row formats of the public data sets, recognised by their fields.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Kind, Task, TaskLanguage, stops};

/// The fields of all known formats; each format uses some.
#[derive(Debug, Deserialize)]
struct Row {
    #[serde(default)]
    task_id: Value,
    prompt: Option<String>,
    canonical_solution: Option<String>,
    test: Option<String>,
    entry_point: Option<String>,
    declaration: Option<String>,
    // MBPP
    text: Option<String>,
    code: Option<String>,
    test_list: Option<Vec<String>>,
    test_setup_code: Option<String>,
    test_imports: Option<Vec<String>>,
    // MultiPL-E
    name: Option<String>,
    language: Option<String>,
    tests: Option<String>,
    stop_tokens: Option<Vec<String>>,
}

/// The task in a row. The error is a fragment that names what is missing.
pub(super) fn task(row: Map<String, Value>) -> Result<Task, String> {
    let names = row.keys().cloned().collect::<Vec<_>>().join(", ");
    let row: Row =
        serde_json::from_value(Value::Object(row)).map_err(|e| format!("a field has the wrong type: {e}"))?;
    if row.test_list.is_some() {
        mbpp(row)
    } else if row.tests.is_some() {
        multipl_e(row)
    } else if row.test.is_some() {
        human_eval(row)
    } else {
        Err(format!(
            "no task of a known format: found the fields {names}; expected `test` (HumanEval, HumanEval-X), `test_list` (MBPP) or `tests` (MultiPL-E)"
        ))
    }
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

/// HumanEval, and HumanEval-X whose language stands before the id's slash.
fn human_eval(row: Row) -> Result<Task, String> {
    let id = id(&row.task_id)?;
    let prompt = need(row.prompt, "prompt", "HumanEval")?;
    let mut tests = need(row.test, "test", "HumanEval")?;
    let (language, language_name) = match (row.language.as_deref(), id.split_once('/')) {
        (Some(name), _) => language_of(name),
        (None, Some((prefix, _))) if language_of(prefix).1 != "unknown" => language_of(prefix),
        _ => language_of("python"),
    };
    let entry_point = row
        .entry_point
        .or_else(|| last_function(language, row.declaration.as_deref().unwrap_or(&prompt)))
        .unwrap_or_default();
    // HumanEval leaves the call of `check` to the harness; HumanEval-X brings its own.
    if language == TaskLanguage::Python
        && tests.contains("def check(")
        && !tests.lines().any(|line| line.starts_with("check("))
    {
        if entry_point.is_empty() {
            return Err("a HumanEval row needs the field `entry_point`".to_owned());
        }
        tests.push_str(&format!("\n\ncheck({entry_point})\n"));
    }
    Ok(Task {
        id,
        language,
        language_name,
        prompt,
        kind: Kind::Continuation,
        setup: String::new(),
        tests,
        entry_point,
        canonical: row.canonical_solution,
        stop: stops::exclusive(language, false),
        closing: stops::inclusive(language),
    })
}

/// MBPP, full (`text`) and sanitized (`prompt`). The prompt is a docstring with the description and the first test, as is usual for base models.
fn mbpp(row: Row) -> Result<Task, String> {
    let id = id(&row.task_id)?;
    let text = need(row.text.or(row.prompt), "text", "MBPP")?;
    let list = need(row.test_list, "test_list", "MBPP")?;
    let code = row.code.map(|code| code.replace("\r\n", "\n"));
    let tests = list.join("\n").replace("\r\n", "\n");
    let imports = row.test_imports.unwrap_or_default().join("\n");
    let setup = format!("{imports}\n{}", row.test_setup_code.unwrap_or_default().replace("\r\n", "\n"));
    let first = list.first().map_or("", |test| test.trim());
    let entry_point = code.as_deref().and_then(|code| tested_function(code, &tests)).unwrap_or_default();
    Ok(Task {
        id,
        language: TaskLanguage::Python,
        language_name: "python".to_owned(),
        prompt: format!("\"\"\"\n{}\n{first}\n\"\"\"\n", text.trim()),
        kind: Kind::Standalone,
        setup: setup.trim().to_owned(),
        tests,
        entry_point,
        canonical: code,
        stop: stops::exclusive(TaskLanguage::Python, true),
        closing: Vec::new(),
    })
}

/// MultiPL-E: `name` is `HumanEval_0_has_close_elements`, `tests` call the function by its name, `stop_tokens` end a completion.
fn multipl_e(row: Row) -> Result<Task, String> {
    let name = need(row.name, "name", "MultiPL-E")?;
    let prompt = need(row.prompt, "prompt", "MultiPL-E")?;
    let tests = need(row.tests, "tests", "MultiPL-E")?;
    let (language, language_name) = language_of(&need(row.language, "language", "MultiPL-E")?);
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
    Ok(Task {
        id: name,
        language,
        language_name,
        prompt,
        kind: Kind::Continuation,
        setup: String::new(),
        tests,
        entry_point,
        canonical: row.canonical_solution,
        stop,
        closing,
    })
}

/// What a data set's name of a language means: how it is executed, and CodeBLEU's name for it.
fn language_of(name: &str) -> (TaskLanguage, String) {
    let (language, canonical) = match name.to_ascii_lowercase().as_str() {
        "py" | "python" | "python3" | "humaneval" => (TaskLanguage::Python, "python"),
        "js" | "javascript" => (TaskLanguage::JavaScript, "javascript"),
        "ts" | "typescript" => (TaskLanguage::TypeScript, "typescript"),
        "java" => (TaskLanguage::Other, "java"),
        "go" | "go_test.go" => (TaskLanguage::Other, "go"),
        "rs" | "rust" => (TaskLanguage::Other, "rust"),
        "cpp" | "c++" => (TaskLanguage::Other, "cpp"),
        "c" => (TaskLanguage::Other, "c"),
        "cs" | "csharp" | "c_sharp" => (TaskLanguage::Other, "c_sharp"),
        "php" => (TaskLanguage::Other, "php"),
        "rb" | "ruby" => (TaskLanguage::Other, "ruby"),
        _ => (TaskLanguage::Other, "unknown"),
    };
    (language, canonical.to_owned())
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
        task(serde_json::from_str(text).unwrap())
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
    fn missing_fields_are_named() {
        assert!(parse(r#"{"task_id":"a","test":"x"}"#).unwrap_err().contains("`prompt`"));
        assert!(parse(r#"{"task_id":null,"test":"x","prompt":"p"}"#).unwrap_err().contains("`task_id`"));
        assert!(parse(r#"{"task_id":"a","test":5,"prompt":"p"}"#).unwrap_err().contains("wrong type"));
    }
}
