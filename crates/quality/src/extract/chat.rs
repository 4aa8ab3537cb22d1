//! The completion in a chat answer: prose, fenced code, repeated signatures, drafts, examples of use.
//!
//! Every way to read the answer gives candidates; which one is right shows in what they are: a candidate that parses and defines the
//! function under test comes before one that does not, a fenced one before one between prose, and a later one before an earlier one,
//! which it corrects.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{
    assemble::assembled,
    cut::{cut, joined},
    drafts::{before_special_token, without_drafts},
    javascript,
    markdown::{Part, Tag, html_blocks, parts, unescaped},
    python,
    scan::Scan,
    syntax::{self, Callable, Program},
    unfenced,
};
use crate::tasks::{Kind, Task, TaskLanguage};

/// The completion in an answer whose line ends are plain.
pub(super) fn completion(task: &Task, answer: &str) -> String {
    let answer = without_drafts(answer);
    let texts = [answer.text.as_str(), answer.drafts.as_str()];
    let texts: Vec<&str> = texts.into_iter().filter(|text| !text.trim().is_empty()).collect();
    let program = texts.iter().find_map(|text| program(task, text)).map(|program| completed(task, &program));
    program
        .or_else(|| texts.iter().find_map(|text| body(task, text)))
        .unwrap_or_else(|| unknown(task, texts.first().copied().unwrap_or_default()))
}

/// A reading of a part of the answer.
struct Candidate {
    program: Program,
    rank: Rank,
}

/// What makes one reading better than another, the weightiest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// It parses, and defines the function with a body.
    sound: bool,
    /// The function has a body.
    whole: bool,
    /// What has its name is a function for certain.
    certain: bool,
    /// The block is not said to be of another language.
    native: bool,
    /// The function stands at the margin, not in a class.
    direct: bool,
    /// It stands in a fence.
    fenced: bool,
    /// Where it ends in the answer.
    end: usize,
}

impl Rank {
    /// Whether no candidate outside fences can come before it.
    fn is_best_of_unfenced(self) -> bool {
        self.sound && self.whole && self.certain && self.native && self.direct && self.fenced
    }
}

/// The parts of an answer as code.
struct Block {
    program: Program,
    tag: Option<Tag>,
    end: usize,
}

/// The program in an answer that defines the function under test.
fn program(task: &Task, answer: &str) -> Option<String> {
    let blocks = blocks(task, answer);
    let mut candidates: Vec<Candidate> = Vec::new();
    let fenced = blocks.iter().filter(|block| block.tag.is_some());
    candidates.extend(fenced.filter_map(|block| candidate(task, block.program.clone(), block)));
    // What stands between prose takes longer to find, and cannot be better than this.
    let settled = candidates.iter().any(|Candidate { rank, .. }| rank.is_best_of_unfenced());
    for block in blocks.iter().filter(|_| !settled) {
        if block.tag.is_none() || !block.program.is_valid {
            let runs = unfenced::runs(task.language, &block.program.text, &task.entry_point);
            candidates.extend(runs.into_iter().filter_map(|run| candidate(task, run, block)));
        }
    }
    let best = candidates.into_iter().max_by_key(|candidate| candidate.rank)?;
    let fenced = blocks.iter().filter(|block| matches!(block.tag, Some(Tag::Own | Tag::Unknown)));
    let others: Vec<&Program> = fenced.map(|block| &block.program).collect();
    Some(assembled(task.language, &task.entry_point, &known(task), &best.program, &others))
}

fn candidate(task: &Task, program: Program, block: &Block) -> Option<Candidate> {
    let rank = |whole, direct, program: &Program| Rank {
        sound: program.is_valid && whole,
        whole,
        certain: program
            .definition(&task.entry_point)
            .is_none_or(|definition| definition.callable == Callable::Yes),
        native: block.tag != Some(Tag::Foreign),
        direct,
        fenced: block.tag.is_some(),
        end: block.end,
    };
    if task.entry_point.is_empty() {
        let defines = program.statements.iter().any(|statement| statement.kind == syntax::Kind::Definition);
        return defines.then(|| Candidate { rank: rank(true, true, &program), program });
    }
    if let Some(definition) = program.definition(&task.entry_point) {
        return Some(Candidate { rank: rank(!definition.is_stub, true, &program), program });
    }
    let program = unclassed(task, &program)?;
    Some(Candidate { rank: rank(true, false, &program), program })
}

/// A program whose class has the function as a method, with the function that calls it.
fn unclassed(task: &Task, program: &Program) -> Option<Program> {
    let name = &task.entry_point;
    let statement = program.statements.iter().rfind(|statement| statement.methods.contains(name))?;
    let class = statement.defines.first()?;
    let line = match task.language {
        TaskLanguage::Python => format!("{name} = {class}().{name}\n"),
        _ => format!("const {name} = (...args) => new {class}().{name}(...args);\n"),
    };
    Some(Program::new(task.language, &format!("{}\n\n{line}", program.text.trim_end())))
}

/// All readings of an answer: with fences inside literals taken for text and for fences, its HTML, and as a whole.
fn blocks(task: &Task, answer: &str) -> Vec<Block> {
    let mut all: Vec<Part> = parts(task.language, answer, true);
    for part in parts(task.language, answer, false) {
        if !all.contains(&part) {
            all.push(part);
        }
    }
    let html = html_blocks(answer).into_iter().map(|text| Part { tag: Some(Tag::Unknown), text, end: 0 });
    all.extend(html);
    all.push(Part { tag: None, text: answer.to_owned(), end: 0 });
    let block = |part: Part| Block { program: code(task.language, &part.text), tag: part.tag, end: part.end };
    all.into_iter().map(block).collect()
}

/// A part of an answer as a program: at the margin, without special tokens, entities and an interpreter's prompts.
fn code(language: TaskLanguage, text: &str) -> Program {
    let text = before_special_token(language, text);
    let text = unescaped(language, text);
    if language != TaskLanguage::Python {
        return Program::new(language, &text);
    }
    let text = python::dedented(&without_interpreter_prompts(&text));
    Program::new(language, text.trim_start_matches('\n'))
}

/// The statements typed into an interactive interpreter, without its prompts and answers.
fn without_interpreter_prompts(text: &str) -> String {
    if !text.trim_start().starts_with(">>> ") {
        return text.to_owned();
    }
    let typed = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let code = [">>> ", "... "].iter().find_map(|mark| line.strip_prefix(mark));
        code.or_else(|| (line == "...").then_some(""))
    });
    typed.map(|line| format!("{line}\n")).collect()
}

/// The names that a task's prompt defines.
fn known(task: &Task) -> BTreeSet<String> {
    if task.kind == Kind::Standalone {
        return BTreeSet::new();
    }
    let ending = match task.language {
        TaskLanguage::Python => python::ending(&task.prompt),
        _ => Scan::new(task.language, &task.prompt).closing(&task.prompt),
    };
    let program = Program::new(task.language, &format!("{}{ending}", task.prompt));
    program.defines().into_iter().filter(|name| *name != task.entry_point).map(str::to_owned).collect()
}

/// A program as the completion of the task's prompt.
fn completed(task: &Task, program: &str) -> String {
    match (task.kind, task.language) {
        (Kind::Standalone, _) => program.to_owned(),
        // The prompt is made whole; the program's function comes later and counts.
        (_, TaskLanguage::Python) => {
            format!("{}\n{}", python::ending(&task.prompt), without_future(program))
        }
        _ => {
            let delegating =
                javascript::delegating_body(task.language, &task.prompt, program, &task.entry_point);
            delegating.unwrap_or_else(|| behind_opening(task, program))
        }
    }
}

/// A program without imports from `__future__`, which may only stand at a file's start. Annotations that they leave unread are read now,
/// so that the usual names for them are imported.
fn without_future(program: &str) -> String {
    if !program.contains("__future__") {
        return program.to_owned();
    }
    let parsed = Program::new(TaskLanguage::Python, program);
    let future = |statement: &&syntax::Statement| {
        let source = &program[statement.start..statement.end];
        statement.kind == syntax::Kind::Import && source.starts_with("from __future__")
    };
    let mut text = program.to_owned();
    for statement in parsed.statements.iter().filter(future).rev() {
        text.replace_range(statement.start..statement.end, "from typing import *");
    }
    text
}

/// What stands behind the line that opens the function, for a prompt whose parameters cannot be passed on.
fn behind_opening(task: &Task, program: &str) -> String {
    let parsed = Program::new(task.language, program);
    let start = parsed.definition(&task.entry_point).map_or(0, |statement| statement.start);
    let body = program[start..].find('{').map_or(program, |at| &program[start + at + 1..]);
    body[..cut(task, body).length].to_owned()
}

/// A body without its function, as a completion that parses.
fn body(task: &Task, answer: &str) -> Option<String> {
    if task.kind == Kind::Standalone || !task.language.is_executed() {
        return None;
    }
    let mut bodies: Vec<String> = Vec::new();
    for part in parts(task.language, answer, true) {
        if part.tag != Some(Tag::Foreign) {
            bodies.push(unescaped(task.language, before_special_token(task.language, &part.text)));
        }
    }
    bodies.push(before_special_token(task.language, answer).to_owned());
    let sound = bodies.iter().filter_map(|body| sound_body(task, body));
    // A body gives something; what does not may be an example of use.
    sound.min_by_key(|body| Reverse(body.contains("return") || body.contains("yield")))
}

/// A body at the prompt's indentation, if the program is then whole.
fn sound_body(task: &Task, body: &str) -> Option<String> {
    let valid = |body: &str| Program::new(task.language, &format!("{}{body}", task.prompt)).is_valid;
    let line_end = if task.prompt.ends_with('\n') || task.prompt.is_empty() { "" } else { "\n" };
    if task.language != TaskLanguage::Python {
        let body = format!("{line_end}{body}");
        let body = &body[..cut(task, &body).length];
        let closing = Scan::new(task.language, &task.prompt).closing(&task.prompt);
        return [body.to_owned(), format!("{body}\n{closing}")].into_iter().find(|body| valid(body));
    }
    let body = python::dedented(body);
    let body = python::indented(body.trim_start_matches('\n'), &python::body_indent(&task.prompt));
    let body = format!("{line_end}{body}");
    let body = &body[..cut(task, &body).length];
    (!body.trim().is_empty() && valid(body)).then(|| body.to_owned())
}

/// The completion of an answer that holds neither the function nor a body that parses: its first block, or all of it, for the interpreter
/// to judge.
fn unknown(task: &Task, answer: &str) -> String {
    let parts = parts(task.language, answer, true);
    let block = parts.iter().find(|part| matches!(part.tag, Some(Tag::Own | Tag::Unknown)));
    let text = before_special_token(task.language, block.map_or(answer, |part| part.text.as_str()));
    let text = match task.language {
        TaskLanguage::Python if task.kind == Kind::Continuation => {
            python::indented(&python::dedented(text), &python::body_indent(&task.prompt))
        }
        _ => text.to_owned(),
    };
    joined(task, &text[..cut(task, &text).length])
}

#[cfg(test)]
mod tests {
    use super::super::{Style, completion};
    use crate::tasks::{Task, WARMUP, load};

    fn task(id: &str) -> Task {
        load(WARMUP, 0).unwrap().get(id).unwrap().clone()
    }

    #[test]
    fn a_chat_answer_gives_the_block_that_defines_the_function() {
        let task = task("warmup/python/add");
        let raw = "Sure! First install:\n```bash\npip install x\n```\nThen:\n```python\nimport math\n\ndef add(a, b):\n    return a + b\n```\nThis works.";
        let text = completion(&task, raw, Style::Chat);
        assert!(text.contains("import math\n\ndef add(a, b):\n    return a + b\n"), "{text}");
        assert!(!text.contains("pip") && !text.contains("Sure"), "{text}");
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
        assert!(text.ends_with("\nfrom math import pi\n\ndef add(a, b):\n    return a + b\n"), "{text}");
        let javascript = task("warmup/javascript/add");
        let raw = "Sure:\n\nfunction add(a, b) {\n  return a + b;\n}\n\nIt adds.";
        let text = completion(&javascript, raw, Style::Chat);
        assert!(text.starts_with("  {\nfunction add") && !text.contains("It adds"), "{text}");
    }
}
