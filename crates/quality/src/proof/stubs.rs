//! Programs that are wrong whatever the task is.
//!
//! In Python the function under test is defined anew behind the task's own solution, so that all other names that the tests use are still
//! there, and a stub fails by what it gives alone. JavaScript's constants cannot be defined anew: there the stub is the whole program.

use tree_sitter::{Node, Parser};

use crate::tasks::{Program, Task, TaskLanguage, program, whole_program};

/// A wrong program.
pub(super) struct Stub {
    /// What it does, behind "a program that ...".
    pub name: &'static str,
    pub program: Program,
}

/// Bodies of Python functions, by what they do.
const PYTHON: [(&str, &str); 4] = [
    ("returns None", "return None"),
    ("returns an unrelated string", "return '\\x00 no answer \\x00'"),
    ("returns an unrelated number", "return -7.30000171e+211"),
    ("raises NotImplementedError", "raise NotImplementedError('no answer')"),
];

/// Values of JavaScript functions. Two: a program costs the start of a process.
const JAVASCRIPT: [(&str, &str); 2] =
    [("returns undefined", "undefined"), ("returns an unrelated string", "'\\x00 no answer \\x00'")];

/// The wrong programs for a task.
pub(super) fn programs(task: &Task) -> Vec<Stub> {
    match task.language {
        TaskLanguage::Python => {
            let own = task
                .canonical
                .as_deref()
                .map(|solution| program(task, solution).solution)
                .unwrap_or_default();
            let names = match task.entry_point.as_str() {
                "" => top_level(&own),
                name => vec![name.to_owned()],
            };
            let stub = |(name, body): (&'static str, &str)| {
                let functions = names.iter().map(|f| format!("\n\ndef {f}(*_args, **_named):\n    {body}\n"));
                // Without a name to define anew, the stub defines nothing.
                let before = if names.is_empty() { "" } else { own.as_str() };
                let solution = format!("{before}{}", functions.collect::<String>());
                Stub { name, program: whole_program(task, solution) }
            };
            PYTHON.into_iter().map(stub).collect()
        }
        TaskLanguage::JavaScript | TaskLanguage::TypeScript => {
            let stub = |(name, value): (&'static str, &str)| {
                let function = &task.entry_point;
                let solution = match function.as_str() {
                    "" => String::new(),
                    _ => format!("var {function} = function () {{ return {value}; }};\n"),
                };
                Stub { name, program: whole_program(task, solution) }
            };
            JAVASCRIPT.into_iter().map(stub).collect()
        }
        TaskLanguage::Other => Vec::new(),
    }
}

/// The functions and classes that Python code defines at its margin.
fn top_level(source: &str) -> Vec<String> {
    let mut parser = Parser::new();
    let set = parser.set_language(&tree_sitter_python::LANGUAGE.into());
    let Some(tree) = set.ok().and_then(|()| parser.parse(source, None)) else { return Vec::new() };
    let root = tree.root_node();
    let name = |node: Node<'_>| {
        let node = node.child_by_field_name("definition").unwrap_or(node);
        let defines = ["function_definition", "class_definition"].contains(&node.kind());
        let name = node.child_by_field_name("name").filter(|_| defines)?;
        Some(source[name.byte_range()].to_owned())
    };
    root.children(&mut root.walk()).filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::parse_line;

    #[test]
    fn a_python_stub_replaces_the_function_and_keeps_its_helpers() {
        let row = r#"{"task_id":"a","prompt":"LIMIT = 3\ndef f(x):\n","canonical_solution":"    return LIMIT","test":"assert f(1) == LIMIT","entry_point":"f"}"#;
        let stubs = programs(&parse_line(row).unwrap());
        assert_eq!(stubs.len(), 4);
        assert!(stubs[0].program.solution.starts_with("LIMIT = 3\ndef f(x):\n    return LIMIT\n\ndef f("));
        assert!(stubs[0].program.solution.ends_with("return None\n"));
    }

    #[test]
    fn what_follows_the_gap_is_replaced_too() {
        let row = r#"{"task_id":"a","prompt":"def f(x):\n","suffix":"\n    return y\n","canonical_solution":"    y = 1","test":"assert f(1) == 1","entry_point":"f"}"#;
        let stubs = programs(&parse_line(row).unwrap());
        assert!(stubs[0].program.solution.contains("return y\n\n\ndef f("), "{}", stubs[0].program.solution);
    }

    #[test]
    fn without_an_entry_point_all_that_the_solution_defines_is_replaced() {
        let row = r#"{"task_id":1,"text":"t","code":"import math\nclass A:\n    def m(self):\n        return 1\n@cache\ndef g():\n    return 2","test_list":["x = [A().m()]"]}"#;
        let mut task = parse_line(row).unwrap();
        task.entry_point = String::new();
        let solution = &programs(&task)[0].program.solution;
        assert!(
            solution.contains("def A(")
                && solution.contains("\ndef g(*_args")
                && !solution.contains("def m(*")
        );
    }
}
