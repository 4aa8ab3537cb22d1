//! From what a model wrote to the completion that is graded.
//!
//! Base models continue the prompt and run on: the text is cut where the function or program ends ([`cut()`]). Chat models answer with prose
//! and code: the program that defines the function under test is taken, and merged with the prompt (`chat`). What is code, a literal, a
//! comment or prose is decided by a tokenizer and the grammar of the language, not by looking for texts.

mod assemble;
mod chat;
mod cut;
mod drafts;
mod javascript;
mod markdown;
mod python;
mod scan;
mod syntax;
mod unfenced;

use crate::tasks::{Kind, Task, TaskLanguage};

/// How the text was generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The model continued [`Task::generation_prompt`].
    Continuation,
    /// The model answered a chat message that held the prompt.
    Chat,
}

/// The completion in a raw text: what [`crate::tasks::program`] expects.
#[must_use]
pub fn completion(task: &Task, raw: &str, style: Style) -> String {
    let raw = raw.replace("\r\n", "\n");
    match style {
        Style::Continuation => cut::joined(task, cut(task, &raw)),
        Style::Chat => chat::completion(task, raw.trim_start_matches('\u{feff}')),
    }
}

/// Whether a continuation is complete, so that generation may stop: its function has ended, or a stop text has come that the next
/// character cannot make part of a longer word.
#[must_use]
pub fn is_finished(task: &Task, raw: &str) -> bool {
    let raw = raw.replace("\r\n", "\n");
    let end = cut::cut(task, &raw);
    let rest = &raw[end.length..];
    let open_word = !ends_at_dedent(task)
        && rest.bytes().last().is_some_and(scan::is_word)
        && task.stop.iter().any(|stop| stop == rest);
    end.finished && !open_word
}

/// The task without what [`is_finished`] does not need: its tests and its solution.
#[must_use]
pub fn end_of(task: &Task) -> Task {
    Task { setup: String::new(), tests: String::new(), canonical: None, ..task.clone() }
}

/// The continuation up to the end of its function or its first stop text; a closing text is kept.
#[must_use]
pub fn cut<'a>(task: &Task, raw: &'a str) -> &'a str {
    &raw[..cut::cut(task, raw).length]
}

/// Whether the completion is the indented body of a Python function, so that the first line at the margin ends it.
#[must_use]
pub fn ends_at_dedent(task: &Task) -> bool {
    task.language == TaskLanguage::Python && task.kind == Kind::Continuation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{WARMUP, load};

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
    fn a_python_continuation_is_not_cut_inside_literals_comments_and_brackets() {
        let task = task("warmup/python/add");
        for body in [
            "\n    text = \"\"\"\ndef x():\nprint <|im_end|>\n```\n\"\"\"\n    return a + b",
            "\n    c = [\na,\n# last\nb]\n    return sum(c)",
            "\n    d = '<|' + \"<|endoftext|>\"  # <|x|> here\n    return a + b",
            "\n    c = a\n# now the sum\n    return c + b",
            "\n    c = a \\\n+ b\n    return c",
            "\n\n    '''It's\n\nprint(1)'''\n    return a + b",
        ] {
            let raw = format!("{body}\n\n# Example\nprint(add(1, 2))\n");
            assert_eq!(completion(&task, &raw, Style::Continuation), format!("{body}\n"), "{raw}");
            assert!(!is_finished(&task, body), "{body}");
            assert!(is_finished(&task, &raw), "{raw}");
        }
    }

    #[test]
    fn a_javascript_continuation_ends_where_its_function_does() {
        let task = task("warmup/javascript/add");
        for body in [
            "\n  const t = `\n}\n`;\n  return a + b;\n}",
            " return a + b; }",
            "\n  const o = {\n'a': a\n};\nreturn o.a + b;\n}",
            "\nconst c = a;\nlet d = b;\n// sum\n  return c + d;\n  }",
            "\n  if (/}/.test(a)) { return '}'; }\n  return a + b; // }\n}",
            "\n  /*\n}\n*/\n  return a + b; // <|x|> here\n}",
        ] {
            let raw = format!("{body}\n\nconst x = 1;\n}}\n");
            assert_eq!(completion(&task, &raw, Style::Continuation), body, "{raw}");
            assert!(!is_finished(&task, &body[..body.len() - 1]) && is_finished(&task, body), "{body}");
        }
    }

    #[test]
    fn a_stop_text_is_no_part_of_a_longer_word() {
        let row = r#"{"task_id": 1, "text": "Add.", "code": "def f(a): return a", "test_list": ["assert f(1) == 1"]}"#;
        let task = crate::tasks::parse_line(row).unwrap();
        let body = "def f(a):\n    return printed\nprinted = 3\nassertion = 4";
        let raw = format!("{body}\nprint(f(1))");
        assert_eq!(completion(&task, &raw, Style::Continuation), body);
        // While it is generated, the next character decides.
        assert!(!is_finished(&task, "def f(a):\n    return a\nprint"));
        assert!(!is_finished(&task, "def f(a):\n    return a\nprinted"));
        assert!(is_finished(&task, "def f(a):\n    return a\nprint("));
    }

    #[test]
    fn a_continuation_of_a_prompt_without_line_end_gets_one_where_it_needs_one() {
        let mut task = task("warmup/python/add");
        task.prompt = "def add(a, b):\n    '''Sum.'''".to_owned();
        assert_eq!(completion(&task, "    return a + b", Style::Continuation), "\n    return a + b");
        assert_eq!(completion(&task, "\n    return a + b", Style::Continuation), "\n    return a + b");
        task.prompt = "def add(a, b):\n    '''Sum.'''\n    ".to_owned();
        assert_eq!(completion(&task, "return a + b", Style::Continuation), "return a + b");
        assert_eq!(completion(&task, "    return a + b", Style::Continuation), "\n    return a + b");
        task.prompt = "def add(a, b):".to_owned();
        assert_eq!(completion(&task, " return a + b", Style::Continuation), " return a + b");
    }
}
