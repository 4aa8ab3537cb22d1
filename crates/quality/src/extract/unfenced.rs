//! Code between prose without fences: the longest run of lines around the function's definition that is a program.

use super::{python, syntax::Program};
use crate::tasks::TaskLanguage;

/// Lines that may fail to extend a run before the search for its end is given up: a literal or a bracket of so many lines may be open.
const DOWN: usize = 80;
const UP: usize = 40;
/// Longest run, in lines.
const LONGEST: usize = 600;

/// The runs of code that define `name`, in the text's order.
pub(super) fn runs(language: TaskLanguage, text: &str, name: &str) -> Vec<Program> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut found = Vec::new();
    let mut behind = 0;
    for at in 0..lines.len() {
        if at >= behind
            && may_define(lines[at], name)
            && let Some((end, program)) = run(language, &lines, at, name)
        {
            behind = end;
            found.push(program);
        }
    }
    found
}

/// Whether a line may define `name`: the name stands on it behind a word that defines, or before an equals sign.
fn may_define(line: &str, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let line = line.trim_start();
    let starts_word = ["def", "async", "class", "function", "const", "let", "var", "export", name]
        .iter()
        .any(|word| line.strip_prefix(word).is_some_and(|rest| !rest.starts_with(is_word)));
    starts_word
        && line
            .match_indices(name)
            .any(|(at, _)| !line[..at].ends_with(is_word) && !line[at + name.len()..].starts_with(is_word))
}

/// The run around line `at`, and the line behind it.
fn run(language: TaskLanguage, lines: &[&str], at: usize, name: &str) -> Option<(usize, Program)> {
    let program = |start: usize, end: usize| {
        let text = lines[start..end].concat();
        let text = if language == TaskLanguage::Python { python::dedented(&text) } else { text };
        let program = Program::new(language, &text);
        (program.is_code() && program.definition(name).is_some()).then_some(program)
    };
    let mut best = None;
    let mut failed = 0;
    for end in at + 1..=lines.len().min(at + LONGEST) {
        if best.is_some() && lines[end - 1].trim().is_empty() {
            continue;
        }
        match program(at, end) {
            Some(found) => {
                best = Some((end, found));
                failed = 0;
            }
            None => failed += 1,
        }
        if best.is_some() && failed > DOWN {
            break;
        }
    }
    let (end, mut program_found) = best?;
    failed = 0;
    for start in (at.saturating_sub(LONGEST)..at).rev() {
        if lines[start].trim().is_empty() {
            continue;
        }
        match program(start, end) {
            Some(found) => {
                program_found = found;
                failed = 0;
            }
            None => failed += 1,
        }
        if failed > UP {
            break;
        }
    }
    Some((end, program_found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(language: TaskLanguage, text: &str) -> Vec<String> {
        runs(language, text, "f").into_iter().map(|program| program.text).collect()
    }

    #[test]
    fn a_program_is_found_between_prose() {
        let code = "from math import (\n    pi,\n)\n\n@cache\ndef f(x):\n    '''Don't\n\n    say.'''\n    return x\n\n\nclass A:\n    pass\n";
        let text = format!("From what you say, don't I know (that\n\nUse:\n\n{code}\nDone\nThat's it.\n");
        assert_eq!(texts(TaskLanguage::Python, &text), [code]);
        let code = "const a = 1;\nconst f = (x) =>\n  x\n    + a;\n\nfunction g() {\n  return `\n}`;\n}\n";
        let text = format!("Here's it:\n{code}\nIt adds (what it's given.\n");
        assert_eq!(texts(TaskLanguage::JavaScript, &text), [code]);
    }

    #[test]
    fn an_indented_program_is_moved_to_the_margin() {
        let text = "1. Do:\n\n    def f(x):\n        return x\n\n2. Done.\n";
        assert_eq!(texts(TaskLanguage::Python, text), ["def f(x):\n    return x\n"]);
    }

    #[test]
    fn each_definition_is_found() {
        let text = "def f(x):\n    return 1\n\nThat is wrong.\n\ndef f(x):\n    return 2\n";
        assert_eq!(texts(TaskLanguage::Python, text).len(), 2);
        assert!(texts(TaskLanguage::Python, "The function f adds.\nf = ?\n").is_empty());
    }
}
