//! The completion in a chat answer: prose, fenced code, repeated signatures, examples of use.

use super::cut;
use crate::quality::tasks::{Kind, Task, TaskLanguage};

/// The completion in an answer whose line ends are plain.
pub(super) fn completion(task: &Task, answer: &str) -> String {
    let blocks = fenced_blocks(answer);
    let code = blocks
        .iter()
        .find(|(_, body)| definition(task, body).is_some())
        .or_else(|| blocks.first())
        .map(|(_, body)| body.as_str());
    let bare;
    let source = match code {
        Some(code) => code,
        None => {
            bare = without_prose(task, answer);
            bare.as_str()
        }
    };
    let source = source.trim_start_matches('\n');
    let python = task.language == TaskLanguage::Python;
    match definition(task, source) {
        _ if task.kind == Kind::Standalone => cut(task, source).to_owned(),
        // The answer repeats the function. In Python the prompt is one already (its docstring is a body), and the later one overrides.
        Some(_) if python => format!("{}pass\n\n{source}", python_indent(task)),
        Some(line_end) => {
            delegated(task, source).unwrap_or_else(|| cut(task, &source[line_end..]).to_owned())
        }
        None if python => indent_body(cut(task, source)),
        None => cut(task, source).to_owned(),
    }
}

/// A fenced block: the word after the fence and its text, without the fence's own indentation (of a list, say). A fence that is never
/// closed ends with the answer.
fn fenced_blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    let mut indent = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        match (trimmed.strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(tag), None) => {
                indent = line.len() - trimmed.len();
                open = Some((tag.trim().to_ascii_lowercase(), String::new()));
            }
            (None, Some((tag, mut body))) => {
                let own = line.len() - line.trim_start_matches([' ', '\t']).len();
                body.push_str(&line[indent.min(own)..]);
                open = Some((tag, body));
            }
            (None, None) => {}
        }
    }
    blocks.extend(open);
    blocks
}

/// What may stand before a function's name where it is defined.
fn openers(language: TaskLanguage) -> &'static [&'static str] {
    match language {
        TaskLanguage::Python => &["def ", "async def "],
        _ => &["function ", "function* ", "async function ", "const ", "let ", "var "],
    }
}

/// Where the line ends that defines the task's function, at the margin.
fn definition(task: &Task, source: &str) -> Option<usize> {
    let mut end = 0;
    source.split_inclusive('\n').find_map(|line| {
        end += line.len();
        defines(task, line).then_some(end)
    })
}

fn defines(task: &Task, line: &str) -> bool {
    let name = task.entry_point.as_str();
    let line = exported(line);
    let named = |opener: &&str| {
        let rest = line.strip_prefix(*opener).and_then(|rest| rest.trim_start().strip_prefix(name));
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$'))
    };
    !name.is_empty() && openers(task.language).iter().any(named)
}

/// A line without the word that exports what it defines.
fn exported(line: &str) -> &str {
    ["export default ", "export "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line)
}

/// The code of an answer that has no fences: from the first line that is code, or the whole answer if none defines the function.
fn without_prose(task: &Task, answer: &str) -> String {
    let mut lines = answer.split_inclusive('\n').skip_while(|line| !begins_code(task, line)).peekable();
    if !answer.split_inclusive('\n').any(|line| defines(task, line)) {
        return answer.to_owned();
    }
    let mut code = String::new();
    let mut defined = false;
    while let Some(line) = lines.next_if(|line| {
        let at_margin = line.starts_with(|c: char| !c.is_whitespace());
        !defined || !at_margin || begins_code(task, line) || line.starts_with(['}', ')', ']'])
    }) {
        defined |= defines(task, line);
        code.push_str(line);
    }
    code
}

fn begins_code(task: &Task, line: &str) -> bool {
    let others: &[&str] = match task.language {
        TaskLanguage::Python => &["import ", "from ", "class ", "@", "#"],
        _ => &["import ", "class ", "//", "/*", "'use strict'", "\"use strict\""],
    };
    let line = exported(line);
    // Prose begins with such a word, too; code after it names something.
    let from = line.strip_prefix("from ").is_none_or(|rest| rest.contains(" import "));
    from && openers(task.language).iter().chain(others).any(|word| line.starts_with(word))
}

/// A body for the function that the prompt has opened: the answer's functions inside it, and a call of the one under test. So the answer may
/// name parameters and helpers as it likes. None when the prompt's parameters cannot be passed on.
fn delegated(task: &Task, source: &str) -> Option<String> {
    let opening = task.prompt.lines().rev().find(|line| defines(task, line))?;
    let arguments = arguments(opening)?;
    let mut body = String::new();
    for line in source.lines() {
        let exports = ["module.exports", "exports.", "export {", "export default "];
        if exports.iter().any(|text| line.starts_with(text)) && !defines(task, line) {
            continue;
        }
        body.push_str(exported(line));
        body.push('\n');
    }
    Some(format!("  {{\n{body}  return {}({});\n  }}\n}}", task.entry_point, arguments.join(", ")))
}

/// The names between a JavaScript function's brackets as its arguments; None for patterns.
fn arguments(opening: &str) -> Option<Vec<String>> {
    let from = opening.find('(')? + 1;
    let (mut depth, mut start) = (0u32, from);
    let mut parts = Vec::new();
    for (at, c) in opening[from..].char_indices().map(|(at, c)| (from + at, c)) {
        match c {
            ')' | ',' if depth == 0 => {
                parts.push(&opening[start..at]);
                start = at + 1;
                if c == ')' {
                    break;
                }
            }
            '(' | '[' | '{' | '<' => depth += 1,
            // An arrow closes nothing.
            ')' | ']' | '}' | '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    let argument = |part: &&str| {
        let name = part.split([':', '=']).next().unwrap_or_default().trim().trim_end_matches('?');
        let word = name.strip_prefix("...").unwrap_or(name);
        let sound = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
        sound.then(|| name.to_owned())
    };
    parts.iter().filter(|part| !part.trim().is_empty()).map(argument).collect()
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
    use super::super::{Style, completion};
    use super::*;
    use crate::quality::tasks::{WARMUP, load};

    fn task(id: &str) -> Task {
        load(WARMUP, 0).unwrap().get(id).unwrap().clone()
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
        assert_eq!(
            completion(&task, raw, Style::Chat),
            "  {\nfunction add(a, b) {\n  return a + b;\n}\n  return add(a, b);\n  }\n}"
        );
    }

    #[test]
    fn a_javascript_answer_may_be_spelled_in_its_own_way() {
        let task = task("warmup/javascript/add");
        for answer in [
            "const add = (x, y) => x + y;",
            "function add(\n  x,\n  y\n) {\n  return x + y;\n}",
            "export default function add(x, y) { return x + y; }\nexport { add };",
            "const a = (x, y) => x + y;\nconst add = a;\nmodule.exports = add;",
        ] {
            let text = completion(&task, &format!("```js\n{answer}\n```"), Style::Chat);
            assert!(text.ends_with("\n  return add(a, b);\n  }\n}"), "{text}");
            assert!(!text.contains("export"), "{text}");
        }
    }

    #[test]
    fn parameters_are_passed_on_by_name() {
        let names = |line| arguments(line).map(|names| names.join(","));
        assert_eq!(names("const f = (a, b) => {").as_deref(), Some("a,b"));
        assert_eq!(
            names("function f(a: Map<string, number>, b?: number, ...c: any[]): void {").as_deref(),
            Some("a,b,...c")
        );
        assert_eq!(names("function f(a = g(1, 2), b = [3, 4]) {").as_deref(), Some("a,b"));
        assert_eq!(names("const f = () => {").as_deref(), Some(""));
        assert_eq!(names("const f = ({ a, b }) => {"), None);
        assert_eq!(names("const f = a => {"), None);
    }

    #[test]
    fn a_fence_in_a_list_is_not_part_of_the_code() {
        let task = task("warmup/python/add");
        let raw = "1. Like this:\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n";
        let text = completion(&task, raw, Style::Chat);
        assert!(text.ends_with("\ndef add(a, b):\n    return a + b\n"), "{text}");
    }

    #[test]
    fn code_without_fences_is_found_between_prose() {
        let python = task("warmup/python/add");
        let raw = "From what you say I take that you want this:\n\nfrom math import pi\n\ndef add(a, b):\n    return a + b\n\nThis adds.\n";
        let text = completion(&python, raw, Style::Chat);
        assert!(
            text.ends_with("pass\n\nfrom math import pi\n\ndef add(a, b):\n    return a + b\n\n"),
            "{text}"
        );
        let javascript = task("warmup/javascript/add");
        let raw = "Sure:\n\nfunction add(a, b) {\n  return a + b;\n}\n\nIt adds.";
        let text = completion(&javascript, raw, Style::Chat);
        assert!(text.starts_with("  {\nfunction add") && !text.contains("It adds"), "{text}");
    }
}
