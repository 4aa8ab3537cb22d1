//! From what a model wrote to the completion that is graded.
//!
//! Base models continue the prompt and run on: the text is cut at the task's stop texts. Chat models answer with prose and fenced
//! code: the block that defines the function under test is taken, and repeated signatures are merged with the prompt.

mod chat;

use crate::quality::tasks::{Kind, Task, TaskLanguage};

/// How the text was generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The model continued [`Task::generation_prompt`].
    Continuation,
    /// The model answered a chat message that held the prompt.
    Chat,
}

/// The completion in a raw text: what [`crate::quality::tasks::program`] expects.
#[must_use]
pub fn completion(task: &Task, raw: &str, style: Style) -> String {
    let raw = raw.replace("\r\n", "\n");
    match style {
        Style::Continuation => cut(task, &raw).to_owned(),
        Style::Chat => chat::completion(task, &raw),
    }
}

/// Whether a continuation is complete, so that generation may stop: a stop text has come.
#[must_use]
pub fn is_finished(task: &Task, raw: &str) -> bool {
    cut(task, raw).len() < raw.len() || task.closing.iter().any(|text| raw.contains(text.as_str()))
}

/// The continuation up to its first stop text; a closing text is kept.
#[must_use]
pub fn cut<'a>(task: &Task, raw: &'a str) -> &'a str {
    let exclusive = task.stop.iter().filter_map(|text| raw.find(text.as_str())).chain(dedent(task, raw));
    let inclusive = task.closing.iter().filter_map(|text| raw.find(text.as_str()).map(|at| at + text.len()));
    &raw[..exclusive.chain(inclusive).min().unwrap_or(raw.len())]
}

/// Where a Python body ends: at the first line, after some text, that is not indented.
fn dedent(task: &Task, raw: &str) -> Option<usize> {
    if !ends_at_dedent(task) {
        return None;
    }
    raw.match_indices('\n').map(|(at, _)| at).find(|&at| {
        let rest = &raw[at + 1..];
        !raw[..at].trim().is_empty() && rest.chars().next().is_some_and(|c| !c.is_whitespace())
    })
}

/// Whether the completion is the indented body of a Python function, so that the first line at the margin ends it.
#[must_use]
pub fn ends_at_dedent(task: &Task) -> bool {
    task.language == TaskLanguage::Python && task.kind == Kind::Continuation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::tasks::{WARMUP, load};

    fn task(id: &str) -> Task {
        load(WARMUP, 0).unwrap().get(id).unwrap().clone()
    }

    #[test]
    fn a_python_continuation_ends_with_its_function() {
        let task = task("warmup/python/add");
        let raw = "\n    c = a + b\n    return c\n\n\ndef test():\n    pass\n\nprint(add(1, 2))\n";
        assert_eq!(completion(&task, raw, Style::Continuation), "\n    c = a + b\n    return c\n\n");
        assert!(is_finished(&task, raw));
        assert!(!is_finished(&task, "\n    c = a + b\n    return"));
        let fenced = "\n    return a + b\n```\nThis function adds.";
        assert_eq!(completion(&task, fenced, Style::Continuation), "\n    return a + b");
        let special = "\n    return a + b<|endoftext|>";
        assert_eq!(completion(&task, special, Style::Continuation), "\n    return a + b");
    }

    #[test]
    fn a_javascript_continuation_keeps_its_brace() {
        let task = task("warmup/javascript/add");
        let raw = "\n  if (a) {\n    return a + b;\n  }\n  return b;\n}\n\nconsole.log(add(1, 2));\n";
        assert_eq!(
            completion(&task, raw, Style::Continuation),
            "\n  if (a) {\n    return a + b;\n  }\n  return b;\n}"
        );
        assert!(is_finished(&task, "\n  return a;\n}"));
        assert!(!is_finished(&task, "\n  return a;"));
    }

    #[test]
    fn windows_line_ends_do_not_hide_stop_texts() {
        let task = task("warmup/python/add");
        assert_eq!(
            completion(&task, "\r\n    return a\r\ndef x():\r\n", Style::Continuation),
            "\n    return a"
        );
    }
}
