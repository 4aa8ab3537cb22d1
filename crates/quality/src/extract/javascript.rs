//! Programs in JavaScript and TypeScript, placed inside the function that the prompt has opened.

use tree_sitter::Node;

use super::{
    scan::Scan,
    syntax::{Kind, Program, descendants, named_children, parse},
};
use crate::tasks::TaskLanguage;

/// The body of the prompt's function that holds `program` and calls its function `name`; none where the prompt opens no such function, or
/// its parameters cannot be passed on. The answer may so name parameters and helpers as it likes.
pub(super) fn delegating_body(
    language: TaskLanguage,
    prompt: &str,
    program: &str,
    name: &str,
) -> Option<String> {
    let opened = opened(language, prompt, name)?;
    let arguments = opened.arguments.join(", ");
    let call = if opened.is_generator { "yield* " } else { "" };
    let program = inner(language, program);
    let line_end = if program.ends_with('\n') { "" } else { "\n" };
    Some(format!(
        "{}  {{\n{program}{line_end}  return {call}{name}({arguments});\n  }}\n{}",
        opened.line_end, opened.closing
    ))
}

/// What a program is inside a function: without the words that export, and with `require` for `import`.
fn inner(language: TaskLanguage, text: &str) -> String {
    let program = Program::new(language, text);
    let mut out = String::new();
    let mut at = 0;
    for statement in &program.statements {
        let source = &text[statement.start..statement.end];
        let replacement = match statement.kind {
            Kind::Export => String::new(),
            Kind::Import => required(language, source).unwrap_or_else(|| source.to_owned()),
            _ if statement.exported > statement.start => text[statement.exported..statement.end].to_owned(),
            _ => continue,
        };
        out.push_str(&text[at..statement.start]);
        out.push_str(&replacement);
        at = statement.end;
    }
    out.push_str(&text[at..]);
    out
}

/// An `import` as a call of `require`.
fn required(language: TaskLanguage, source: &str) -> Option<String> {
    let tree = parse(language, source)?;
    let import = tree.root_node().named_child(0)?;
    let text = |node: Node<'_>| &source[node.byte_range()];
    let module = text(import.child_by_field_name("source")?);
    let Some(clause) = named_children(import).find(|child| child.kind() == "import_clause") else {
        return Some(format!("require({module});"));
    };
    let mut out = String::new();
    for part in named_children(clause) {
        let target = match part.kind() {
            "identifier" => text(part).to_owned(),
            "namespace_import" => text(part.named_child(0)?).to_owned(),
            "named_imports" => {
                let names =
                    named_children(part).filter(|part| part.kind() == "import_specifier").map(|part| {
                        let name = part.child_by_field_name("name").map_or("", text);
                        match part.child_by_field_name("alias") {
                            Some(alias) => format!("{name}: {}", text(alias)),
                            None => name.to_owned(),
                        }
                    });
                format!("{{ {} }}", names.collect::<Vec<_>>().join(", "))
            }
            _ => return None,
        };
        out.push_str(&format!("const {target} = require({module}); "));
    }
    Some(out)
}

/// The function that a prompt leaves open.
struct Opened {
    /// Its parameters as the arguments of a call.
    arguments: Vec<String>,
    is_generator: bool,
    /// A line end, where the prompt has none.
    line_end: &'static str,
    /// What closes it, and all brackets around it.
    closing: String,
}

fn opened(language: TaskLanguage, prompt: &str, name: &str) -> Option<Opened> {
    let closing = Scan::new(language, prompt).closing(prompt);
    if !closing.contains('}') {
        return None;
    }
    let whole = format!("{prompt}\n{closing}");
    let tree = parse(language, &whole)?;
    let text = |node: Node<'_>| &whole[node.byte_range()];
    let statement = named_children(tree.root_node()).filter(|node| !node.is_extra()).last()?;
    let function = descendants(statement).find(|node| {
        let functions = [
            "function_declaration",
            "generator_function_declaration",
            "arrow_function",
            "function_expression",
            "generator_function",
        ];
        functions.contains(&node.kind())
    })?;
    let named = function.child_by_field_name("name").or_else(|| {
        function.parent().filter(|parent| parent.kind() == "variable_declarator")?.child_by_field_name("name")
    })?;
    if text(named) != name {
        return None;
    }
    let parameters: Vec<Node<'_>> = match function.child_by_field_name("parameters") {
        Some(list) => named_children(list).filter(|node| !node.is_extra()).collect(),
        None => function.child_by_field_name("parameter").into_iter().collect(),
    };
    let arguments =
        parameters.into_iter().map(|parameter| argument(parameter, &whole)).collect::<Option<_>>()?;
    Some(Opened {
        arguments,
        is_generator: function.kind().starts_with("generator"),
        line_end: if prompt.ends_with('\n') { "" } else { "\n" },
        closing,
    })
}

/// A parameter as the argument that gives it its value again.
fn argument(node: Node<'_>, source: &str) -> Option<String> {
    let text = |node: Node<'_>| source[node.byte_range()].to_owned();
    let field = |name| node.child_by_field_name(name);
    let list = |separated: Option<Vec<String>>| separated.map(|parts| parts.join(", "));
    match node.kind() {
        "identifier" | "shorthand_property_identifier_pattern" | "property_identifier" => Some(text(node)),
        "required_parameter" | "optional_parameter" => argument(field("pattern")?, source),
        "assignment_pattern" | "object_assignment_pattern" => argument(field("left")?, source),
        "rest_pattern" => argument(node.named_child(0)?, source).map(|inner| format!("...{inner}")),
        "pair_pattern" => argument(field("value")?, source)
            .map(|value| format!("{}: {value}", field("key").map_or_else(String::new, text))),
        "object_pattern" => list(named_children(node).map(|part| argument(part, source)).collect())
            .map(|inner| format!("{{ {inner} }}")),
        "array_pattern" if !source[node.byte_range()].contains(",,") => {
            list(named_children(node).map(|part| argument(part, source)).collect())
                .map(|inner| format!("[{inner}]"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(prompt: &str) -> Option<String> {
        opened(TaskLanguage::TypeScript, prompt, "f").map(|opened| opened.arguments.join(", "))
    }

    #[test]
    fn parameters_are_passed_on_by_name() {
        for (prompt, expected) in [
            ("const f = (a, b) => {", Some("a, b")),
            ("function f(a: Map<string, number>, b?: number, ...c: any[]): void {\n", Some("a, b, ...c")),
            ("function f(a = g(1, 2), b = [3, 4]) {", Some("a, b")),
            ("const f = () => {", Some("")),
            ("const f = ({ a, b: [c, d] = [], ...e }) => {", Some("{ a, b: [c, d], ...e }")),
            ("const f = a => {", Some("a")),
            ("const f = async function (a) {", Some("a")),
            ("// f(x)\nfunction g() { return '}'; }\nexport function f(a) {\n  // begin\n", Some("a")),
            ("function g(a) {", None),
            ("// nothing", None),
        ] {
            assert_eq!(arguments(prompt).as_deref(), expected, "{prompt}");
        }
    }

    #[test]
    fn a_module_becomes_the_inside_of_a_function() {
        let text = "import fs, { a as b } from 'm';\nimport * as n from \"n\";\nexport const f = () => 1;\nexport default f;\nmodule.exports = { f };\n";
        let expected = "const fs = require('m'); const { a: b } = require('m'); \nconst n = require(\"n\"); \nconst f = () => 1;\n\n\n";
        assert_eq!(inner(TaskLanguage::JavaScript, text), expected);
    }
}
