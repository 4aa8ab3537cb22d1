//! Which language a row is in: by its field, else by an id as HumanEval-X has them, where the code agrees.

use super::TaskLanguage;
use crate::codebleu::{Language, syntax_valid};

/// The language of a row without a field for it: the one before the slash of its id (`JavaScript/3`), unless the code is Python by its
/// grammar and not that; Python where the id tells none. `code` is the prompt with the row's own solution, if it has one.
pub(super) fn of_id(id: &str, code: &str) -> (TaskLanguage, String) {
    let python = || language_of("python");
    let Some(named) = id.split_once('/').map(|(prefix, _)| language_of(prefix)) else { return python() };
    let (_, name) = &named;
    if name == "unknown" {
        return python();
    }
    let is = |language: Language, code: &str| syntax_valid(language, code);
    // A prompt may stop behind a signature.
    let is_python =
        is(Language::Python, code) || is(Language::Python, &format!("{}\n    pass\n", code.trim_end()));
    match name.parse::<Language>() {
        Ok(language) if is_python && language != Language::Python && !is(language, code) => python(),
        _ => named,
    }
}

/// What a data set's name of a language means: how it is executed, and CodeBLEU's name for it.
pub(super) fn language_of(name: &str) -> (TaskLanguage, String) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: &str, code: &str) -> String {
        of_id(id, code).1
    }

    #[test]
    fn an_id_that_only_looks_like_a_language_does_not_decide() {
        for id in ["C/1", "Go/12", "Rust/0", "Java/3", "js/1", "cs/2", "ts/9", "cpp/4"] {
            assert_eq!(name(id, "def f(x):\n    \"\"\"Doubles.\"\"\"\n    return 2 * x\n"), "python", "{id}");
            assert_eq!(name(id, "def f(x):\n"), "python", "{id}");
        }
        assert_eq!(name("F/1", "def f(x):\n"), "python");
        assert_eq!(name("12", "def f(x):\n"), "python");
    }

    #[test]
    fn ids_of_human_eval_x_tell_the_language() {
        assert_eq!(name("Python/0", "def f(x):\n    return x\n"), "python");
        assert_eq!(name("JavaScript/3", "const f = (x) => {\n  return x;\n}\n"), "javascript");
        assert_eq!(name("JavaScript/3", "const f = (x) => {\n"), "javascript");
        assert_eq!(name("Rust/1", "fn a() {"), "rust");
        assert_eq!(name("CPP/2", "int f(int x){\n  return x;\n}\n"), "cpp");
        assert_eq!(name("C/2", "int f(int x){\n  return x;\n}\n"), "c");
    }
}
