//! Fields of rows: those that are read, those that say nothing about the verdict, and those that would change it.

use serde_json::{Map, Value};

/// Read by [`super::formats`].
const READ: &[&str] = &[
    "task_id",
    "prompt",
    "canonical_solution",
    "test",
    "entry_point",
    "declaration",
    "language",
    "lang",
    "suffix",
    "text",
    "code",
    "test_list",
    "test_setup_code",
    "test_imports",
    "test_setup",
    "name",
    "tests",
    "stop_tokens",
    "complete_prompt",
];

/// Without a say in what is asked or in what passes.
const HARMLESS: &[&str] = &[
    // HumanEval-X, HumanEvalPack, MultiPL-E
    "example_test",
    "docstring",
    "signature",
    "instruction",
    "buggy_solution",
    "bug_type",
    "failure_symptoms",
    "import",
    "doctests",
    "original",
    "prompt_terminology",
    // MBPP and MBPP+
    "challenge_test_list",
    "source_file",
    "contract",
    // BigCodeBench
    "instruct_prompt",
    "code_prompt",
    "doc_struct",
    "libs",
    // Anybody's
    "id",
    "idx",
    "index",
    "title",
    "description",
    "difficulty",
    "level",
    "tags",
    "topic",
    "category",
    "source",
    "url",
    "license",
    "author",
    "split",
    "comment",
    "comments",
    "notes",
    "metadata",
    "version",
    "hash",
    "created_at",
    "date",
    "dataset",
];

/// Would change what is asked or what passes, and is not understood.
const MEANINGFUL: &[&str] = &[
    // EvalPlus: inputs whose results the reference solution decides
    "base_input",
    "plus_input",
    "atol",
    "assertion",
    // APPS, CodeContests, LiveCodeBench: programs that read standard input
    "input_output",
    "inputs",
    "outputs",
    "stdin",
    "stdout",
    "public_tests",
    "private_tests",
    "generated_tests",
    "public_test_cases",
    "private_test_cases",
    "test_cases",
    "input_output_pairs",
    "starter_code",
    "fn_name",
    "checker",
    // DS-1000, CruxEval, ODEX, ClassEval, repositories
    "code_context",
    "test_code",
    "test_inputs",
    "test_outputs",
    "test_start",
    "input",
    "output",
    "prefix",
    "class_name",
    "test_classes",
    "context",
    "patch",
    "test_patch",
    "repo",
    "base_commit",
    "files",
    "requirements",
    "dependencies",
    // Limits and rules of their own
    "time_limit",
    "memory_limit",
    "timeout",
    "time_limit_s",
    "stop",
    "stop_words",
    "stop_sequences",
    "rtol",
    "tolerance",
    "forbidden",
    "system_prompt",
];

/// What the fields of a row come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// The first that would change the meaning.
    pub refused: Option<String>,
    /// Those of which nothing is known.
    pub unknown: Vec<String>,
}

/// Sorts the fields of a row. One without content says nothing.
pub(super) fn of(row: &Map<String, Value>) -> Fields {
    let mut fields = Fields::default();
    for (name, _) in row.iter().filter(|(_, value)| has_content(value)) {
        let name = name.as_str();
        if MEANINGFUL.contains(&name) {
            fields.refused.get_or_insert_with(|| name.to_owned());
        } else if !READ.contains(&name) && !HARMLESS.contains(&name) && !name.starts_with('_') {
            fields.unknown.push(name.to_owned());
        }
    }
    fields
}

fn has_content(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(items) => !items.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(row: &Value) -> Fields {
        of(row.as_object().unwrap())
    }

    #[test]
    fn a_field_that_would_change_the_verdict_is_named() {
        assert_eq!(
            fields(&json!({"task_id": 1, "plus_input": [[1]], "test": "x"})).refused.as_deref(),
            Some("plus_input")
        );
        assert_eq!(
            fields(&json!({"starter_code": "class Solution:"})).refused.as_deref(),
            Some("starter_code")
        );
    }

    #[test]
    fn a_field_without_content_and_a_harmless_one_say_nothing() {
        let row = json!({"task_id": 1, "atol": 0, "starter_code": "", "base_input": [], "input_output": null, "difficulty": "hard"});
        assert_eq!(fields(&row), Fields::default());
        assert_eq!(fields(&json!({"colour": "red", "_note": "x"})).unknown, ["colour"]);
    }
}
