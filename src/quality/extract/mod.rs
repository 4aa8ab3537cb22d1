//! From what a model wrote to the completion that is graded.
//!
//! Base models continue the prompt and run on: the text is cut at the task's stop texts. Chat models answer with prose and fenced
//! code: the block that defines the function under test is taken, and repeated signatures are merged with the prompt.

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
        Style::Chat => chat(task, &raw),
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

/// A fenced block: the word after the fence and its text. A fence that is never closed ends with the answer.
fn fenced_blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.split_inclusive('\n') {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, open.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(tag), None) => open = Some((tag.trim().to_ascii_lowercase(), String::new())),
            (None, Some((tag, mut body))) => {
                body.push_str(line);
                open = Some((tag, body));
            }
            (None, None) => {}
        }
    }
    blocks.extend(open);
    blocks
}

/// Where `source` defines the task's function: the byte of the line's begin and the byte after its line.
fn definition(task: &Task, source: &str) -> Option<(usize, usize)> {
    let name = task.entry_point.as_str();
    let mut begin = 0;
    for line in source.split_inclusive('\n') {
        let text = line.trim_start();
        let openers: &[&str] = match task.language {
            TaskLanguage::Python => &["def ", "async def "],
            _ => &[
                "function ",
                "const ",
                "let ",
                "var ",
                "export function ",
                "export const ",
                "async function ",
            ],
        };
        let named = |opener: &&str| {
            text.strip_prefix(*opener)
                .and_then(|rest| rest.trim_start().strip_prefix(name))
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$'))
        };
        if !name.is_empty() && line.len() == text.len() && openers.iter().any(named) {
            return Some((begin, begin + line.len()));
        }
        begin += line.len();
    }
    None
}

fn chat(task: &Task, raw: &str) -> String {
    let blocks = fenced_blocks(raw);
    let source = blocks
        .iter()
        .find(|(_, body)| definition(task, body).is_some())
        .or_else(|| blocks.first())
        .map_or(raw, |(_, body)| body.as_str());
    let source = source.trim_start_matches('\n');
    if task.kind == Kind::Standalone {
        return cut(task, source).to_owned();
    }
    match definition(task, source) {
        // The answer repeats the function: it replaces the prompt's beginning of it. The prompt is a complete function in Python
        // (its docstring is a body) that the later definition overrides; in JavaScript the prompt's must be closed first.
        Some(_) if task.language == TaskLanguage::Python => {
            format!("{}pass\n\n{source}", python_indent(task))
        }
        Some((begin, end)) => {
            let body = &source[end..];
            let before = &source[..begin];
            // Only the body is wanted: the prompt already has the signature. Helpers before it would be lost, so they follow.
            let cut = cut(task, body);
            if before.trim().is_empty()
                || before.trim_start().starts_with("//")
                || before.trim_start().starts_with("/*")
            {
                cut.to_owned()
            } else {
                format!("{cut}\n{before}")
            }
        }
        None => {
            let body = cut(task, source);
            if task.language == TaskLanguage::Python { indent_body(body) } else { body.to_owned() }
        }
    }
}

/// The indentation of the prompt's last line with text in a function: four spaces when there is none.
fn python_indent(task: &Task) -> String {
    let last = task.prompt.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
    let indent: String = last.chars().take_while(|c| c.is_whitespace()).collect();
    if indent.is_empty() { "    ".to_owned() } else { indent }
}

/// A bare body at column 0 (chat models dedent it) is indented; one that is indented already is kept.
fn indent_body(body: &str) -> String {
    match body.lines().find(|line| !line.trim().is_empty()) {
        Some(first) if !first.starts_with([' ', '\t']) => body
            .split_inclusive('\n')
            .map(|line| if line.trim().is_empty() { line.to_owned() } else { format!("    {line}") })
            .collect(),
        _ => body.to_owned(),
    }
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

    #[test]
    fn a_chat_answer_gives_the_block_that_defines_the_function() {
        let task = task("warmup/python/add");
        let raw = "Sure! First install:\n```bash\npip install x\n```\nThen:\n```python\nimport math\n\ndef add(a, b):\n    return a + b\n```\nThis works.";
        let text = completion(&task, raw, Style::Chat);
        assert!(text.contains("import math\n\ndef add(a, b):\n    return a + b\n"), "{text}");
        assert!(text.starts_with("    pass\n") && !text.contains("pip"));
    }

    #[test]
    fn a_chat_answer_of_a_bare_body_is_indented() {
        let task = task("warmup/python/add");
        assert_eq!(completion(&task, "```python\nreturn a + b\n```", Style::Chat), "    return a + b\n");
        assert_eq!(completion(&task, "```\n    return a + b\n```", Style::Chat), "    return a + b\n");
        assert_eq!(completion(&task, "return a + b", Style::Chat), "    return a + b");
    }

    #[test]
    fn an_unclosed_fence_is_read_to_its_end() {
        let task = task("warmup/python/add");
        let text = completion(&task, "Here:\n```python\ndef add(a, b):\n    return a + b", Style::Chat);
        assert!(text.ends_with("def add(a, b):\n    return a + b"), "{text}");
    }

    #[test]
    fn a_chat_answer_in_javascript_gives_the_body() {
        let task = task("warmup/javascript/add");
        let raw = "Here it is:\n```javascript\nfunction add(a, b) {\n  return a + b;\n}\n```\n";
        assert_eq!(completion(&task, raw, Style::Chat), "  return a + b;\n}");
    }
}
