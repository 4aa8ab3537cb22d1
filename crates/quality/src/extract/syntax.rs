//! The statements of a program: what each defines, what it uses, and whether it parses.

use std::collections::BTreeSet;

use tree_sitter::{Node, Parser, Tree};

use super::python;
use crate::tasks::TaskLanguage;

/// What a statement at the margin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Makes names of other modules known.
    Import,
    /// A function, a class or a type.
    Definition,
    /// Gives names values.
    Assignment,
    /// Says what a module hands out; without meaning inside a function.
    Export,
    /// A call, or another expression that may have an effect.
    Call,
    /// An assertion.
    Assertion,
    /// An expression without effect, an annotation without value, a statement that only functions may hold: in a text, prose.
    Idle,
    /// A loop, a condition, ...
    Compound,
}

/// Whether what a statement gives its names can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callable {
    /// A literal, or the result of an operator.
    No,
    /// What a call or another name gives.
    Maybe,
    /// A function or a class.
    Yes,
}

/// A statement at the margin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// Its first byte.
    pub(super) start: usize,
    /// The byte behind it.
    pub(super) end: usize,
    /// What it is.
    pub(super) kind: Kind,
    /// Names that it gives the module.
    pub(super) defines: BTreeSet<String>,
    /// Names that it uses and binds nowhere itself.
    pub(super) free: BTreeSet<String>,
    /// Methods of the class that it defines.
    pub(super) methods: BTreeSet<String>,
    /// Whether its names can be called.
    pub(super) callable: Callable,
    /// A function without a body worth the name.
    pub(super) is_stub: bool,
    /// It holds what the grammar does not know.
    pub(super) is_broken: bool,
    /// Behind the words that export what it defines.
    pub(super) exported: usize,
}

/// A program and its statements.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// The source.
    pub(super) text: String,
    /// The statements at the margin, in order.
    pub(super) statements: Vec<Statement>,
    /// All of it parses.
    pub(super) is_valid: bool,
}

impl Program {
    /// Parses a source. Languages that are not executed have no statements.
    pub(super) fn new(language: TaskLanguage, text: &str) -> Self {
        let mut program = Self { text: text.to_owned(), statements: Vec::new(), is_valid: false };
        if let Some(tree) = parse(language, text) {
            let root = tree.root_node();
            program.is_valid =
                !root.has_error() && (language != TaskLanguage::Python || python::is_indented_well(text));
            let mut cursor = root.walk();
            let nodes = root.children(&mut cursor).filter(|node| node.is_named() && !node.is_extra());
            program.statements = nodes.map(|node| Reader { text }.statement(node)).collect();
        }
        program
    }

    /// The last statement at the margin that defines a function `name`, one with a body if there is any.
    pub(super) fn definition(&self, name: &str) -> Option<&Statement> {
        let named = |statement: &&Statement| {
            statement.defines.contains(name)
                && statement.kind != Kind::Import
                && statement.callable != Callable::No
        };
        let mut all = self.statements.iter().filter(named);
        let last = all.next_back()?;
        Some(if last.is_stub { all.rfind(|statement| !statement.is_stub).unwrap_or(last) } else { last })
    }

    /// All names that its statements define.
    pub(super) fn defines(&self) -> BTreeSet<&str> {
        self.statements.iter().flat_map(|statement| &statement.defines).map(String::as_str).collect()
    }

    /// Whether every statement is one that a program has and prose has not.
    pub(super) fn is_code(&self) -> bool {
        let idle = |(at, statement): (usize, &Statement)| {
            // A text that stands first documents the module.
            statement.kind == Kind::Idle
                && !(at == 0 && self.text[statement.start..].starts_with(['"', '\'']))
        };
        self.is_valid && !self.statements.is_empty() && !self.statements.iter().enumerate().any(idle)
    }
}

/// The syntax tree of a source in an executed language.
pub(super) fn parse(language: TaskLanguage, text: &str) -> Option<Tree> {
    let grammar = match language {
        TaskLanguage::Python => tree_sitter_python::LANGUAGE,
        TaskLanguage::JavaScript => tree_sitter_javascript::LANGUAGE,
        TaskLanguage::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT,
        TaskLanguage::Other => return None,
    };
    let mut parser = Parser::new();
    parser.set_language(&grammar.into()).ok()?;
    parser.parse(text, None)
}

struct Reader<'a> {
    text: &'a str,
}

impl<'a> Reader<'a> {
    fn source(&self, node: Node<'_>) -> &'a str {
        &self.text[node.byte_range()]
    }

    fn statement(&self, node: Node<'_>) -> Statement {
        let inner = unwrapped(node);
        let kind = self.kind(node, inner);
        let mut defines = BTreeSet::new();
        self.defined(inner, &mut defines);
        let (mut used, mut bound) = (BTreeSet::new(), BTreeSet::new());
        for part in descendants(node) {
            if is_name(part) {
                let name = self.source(part).to_owned();
                if is_attribute(part) {
                    continue;
                }
                if is_binding(part) {
                    bound.insert(name);
                } else {
                    used.insert(name);
                }
            }
        }
        Statement {
            start: node.start_byte(),
            end: node.end_byte(),
            kind,
            free: used.difference(&bound).cloned().collect(),
            defines,
            methods: self.methods(inner),
            callable: self.callable(kind, inner),
            is_stub: self.is_stub(inner),
            is_broken: node.has_error(),
            exported: inner.start_byte(),
        }
    }

    fn kind(&self, node: Node<'_>, inner: Node<'_>) -> Kind {
        if node.kind() == "export_statement" && node.id() == inner.id() {
            return Kind::Export;
        }
        match inner.kind() {
            "import_statement" | "import_from_statement" | "future_import_statement" => Kind::Import,
            "function_definition"
            | "class_definition"
            | "decorated_definition"
            | "function_declaration"
            | "generator_function_declaration"
            | "class_declaration"
            | "abstract_class_declaration"
            | "interface_declaration"
            | "type_alias_declaration"
            | "type_alias_statement"
            | "enum_declaration"
            | "ambient_declaration"
            | "function_signature" => Kind::Definition,
            "lexical_declaration" | "variable_declaration" => self.declaration(inner),
            "assert_statement" => Kind::Assertion,
            "expression_statement" => self.expression(inner),
            "return_statement" | "break_statement" | "continue_statement" | "pass_statement" | "ERROR"
            | "empty_statement" | "labeled_statement" => Kind::Idle,
            "print_statement" | "exec_statement" => Kind::Call,
            _ => Kind::Compound,
        }
    }

    /// A declaration of variables: of functions, or of values.
    fn declaration(&self, node: Node<'_>) -> Kind {
        let functions = ["arrow_function", "function_expression", "generator_function", "class"];
        let value = named_children(node).find_map(|declarator| declarator.child_by_field_name("value"));
        if value.is_some_and(|value| functions.contains(&value.kind())) {
            return Kind::Definition;
        }
        Kind::Assignment
    }

    fn callable(&self, kind: Kind, node: Node<'_>) -> Callable {
        if kind == Kind::Definition {
            return Callable::Yes;
        }
        if kind != Kind::Assignment {
            return Callable::Maybe;
        }
        let value = match node.kind() {
            "expression_statement" => named_children(node).next().and_then(|inner| {
                if inner.kind().starts_with("augmented") { None } else { inner.child_by_field_name("right") }
            }),
            _ => named_children(node).find_map(|declarator| declarator.child_by_field_name("value")),
        };
        match value.map_or("", |value| value.kind()) {
            "lambda" | "arrow_function" | "function_expression" | "generator_function" | "class" => {
                Callable::Yes
            }
            "call"
            | "call_expression"
            | "attribute"
            | "member_expression"
            | "identifier"
            | "new_expression"
            | "subscript"
            | "subscript_expression"
            | "await"
            | "conditional_expression"
            | "ternary_expression"
            | "parenthesized_expression"
            | "tuple"
            | "expression_list"
            | "assignment"
            | "assignment_expression" => Callable::Maybe,
            _ => Callable::No,
        }
    }

    fn expression(&self, node: Node<'_>) -> Kind {
        let Some(inner) = named_children(node).next() else { return Kind::Idle };
        match inner.kind() {
            "assignment" if inner.child_by_field_name("right").is_none() => Kind::Idle,
            "assignment_expression" if self.is_export(inner) => Kind::Export,
            "assignment"
            | "augmented_assignment"
            | "assignment_expression"
            | "augmented_assignment_expression"
            | "named_expression" => Kind::Assignment,
            "call" | "call_expression" | "await" | "await_expression" | "new_expression" | "yield"
            | "update_expression" | "unary_expression" | "delete_expression" => Kind::Call,
            "string"
                if self.source(inner).starts_with("'use ") || self.source(inner).starts_with("\"use ") =>
            {
                Kind::Call
            }
            _ => Kind::Idle,
        }
    }

    /// `module.exports = ...`, `exports.name = ...`
    fn is_export(&self, assignment: Node<'_>) -> bool {
        let left = assignment.child_by_field_name("left").map_or("", |left| self.source(left));
        ["module.exports", "exports.", "globalThis.", "window."].iter().any(|prefix| left.starts_with(prefix))
    }

    /// The names that a statement gives the module, those of nested conditions and loops included.
    fn defined(&self, node: Node<'_>, names: &mut BTreeSet<String>) {
        let mut stack = vec![node];
        while let Some(node) = stack.pop() {
            match node.kind() {
                "function_definition"
                | "class_definition"
                | "function_declaration"
                | "generator_function_declaration"
                | "class_declaration"
                | "abstract_class_declaration"
                | "interface_declaration"
                | "type_alias_declaration"
                | "enum_declaration"
                | "function_signature" => {
                    names.extend(node.child_by_field_name("name").map(|name| self.source(name).to_owned()));
                }
                "import_statement" | "import_from_statement" => self.imported(node, names),
                "assignment" | "augmented_assignment" | "assignment_expression" => {
                    if let Some(left) = node.child_by_field_name("left") {
                        let targets = descendants(left).filter(|part| is_name(*part) && !is_attribute(*part));
                        let direct = targets.filter(|part| {
                            !within(
                                *part,
                                left,
                                &["subscript", "member_expression", "attribute", "subscript_expression"],
                            )
                        });
                        names.extend(direct.map(|name| self.source(name).to_owned()));
                    }
                    stack.extend(node.child_by_field_name("right"));
                }
                "variable_declarator" => {
                    if let Some(name) = node.child_by_field_name("name") {
                        let parts = descendants(name).filter(|part| is_name(*part));
                        names.extend(parts.map(|name| self.source(name).to_owned()));
                    }
                }
                // What these hold is not the module's.
                "lambda"
                | "arrow_function"
                | "function_expression"
                | "call"
                | "call_expression"
                | "string" => {}
                _ => stack.extend(named_children(node)),
            }
        }
    }

    fn imported(&self, node: Node<'_>, names: &mut BTreeSet<String>) {
        for part in descendants(node) {
            match part.kind() {
                "aliased_import" => {
                    names
                        .extend(part.child_by_field_name("alias").map(|alias| self.source(alias).to_owned()));
                }
                "dotted_name"
                    if part.parent().is_some_and(|parent| {
                        parent.id() == node.id()
                            && node
                                .child_by_field_name("module_name")
                                .is_none_or(|module| module.id() != part.id())
                    }) =>
                {
                    names.extend(self.source(part).split('.').next().map(|name| name.trim().to_owned()));
                }
                "import_specifier" => {
                    let name = part.child_by_field_name("alias").or_else(|| part.child_by_field_name("name"));
                    names.extend(name.map(|name| self.source(name).to_owned()));
                }
                "identifier"
                    if part
                        .parent()
                        .is_some_and(|p| ["import_clause", "namespace_import"].contains(&p.kind())) =>
                {
                    names.insert(self.source(part).to_owned());
                }
                _ => {}
            }
        }
    }

    fn methods(&self, node: Node<'_>) -> BTreeSet<String> {
        let class = match node.kind() {
            "decorated_definition" => node.child_by_field_name("definition").unwrap_or(node),
            _ => node,
        };
        if !["class_definition", "class_declaration"].contains(&class.kind()) {
            return BTreeSet::new();
        }
        let members = class.child_by_field_name("body").into_iter().flat_map(named_children).map(|member| {
            if member.kind() == "decorated_definition" {
                member.child_by_field_name("definition").unwrap_or(member)
            } else {
                member
            }
        });
        let functions =
            members.filter(|member| ["function_definition", "method_definition"].contains(&member.kind()));
        functions
            .filter_map(|member| member.child_by_field_name("name"))
            .map(|name| self.source(name).to_owned())
            .collect()
    }

    /// A function whose body does nothing: `pass`, `...`, a docstring, an exception that says so, or nothing at all.
    fn is_stub(&self, node: Node<'_>) -> bool {
        let function = match node.kind() {
            "decorated_definition" => node.child_by_field_name("definition"),
            "function_definition" | "function_declaration" => Some(node),
            "lexical_declaration" | "variable_declaration" => {
                named_children(node).find_map(|declarator| declarator.child_by_field_name("value"))
            }
            _ => None,
        };
        let Some(body) = function.and_then(|function| function.child_by_field_name("body")) else {
            return false;
        };
        if !["block", "statement_block"].contains(&body.kind()) {
            return false;
        }
        named_children(body).filter(|part| !part.is_extra()).all(|part| match part.kind() {
            "pass_statement" => true,
            "expression_statement" => named_children(part)
                .all(|inner| ["string", "ellipsis", "concatenated_string"].contains(&inner.kind())),
            "raise_statement" => self.source(part).contains("NotImplemented"),
            "throw_statement" => self.source(part).to_ascii_lowercase().contains("not implemented"),
            _ => false,
        })
    }
}

/// What an `export` statement exports.
fn unwrapped(node: Node<'_>) -> Node<'_> {
    if node.kind() == "export_statement" {
        return node
            .child_by_field_name("declaration")
            .or_else(|| {
                let functions = ["function_expression", "arrow_function", "class"];
                node.child_by_field_name("value").filter(|value| {
                    functions.contains(&value.kind()) && value.child_by_field_name("name").is_some()
                })
            })
            .unwrap_or(node);
    }
    node
}

pub(super) fn named_children(node: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    (0..node.named_child_count()).filter_map(move |at| node.named_child(at as u32))
}

/// All nodes below `node`, itself first; an explicit stack, as code nests as deep as it likes.
pub(super) fn descendants(node: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    let mut stack = vec![node];
    std::iter::from_fn(move || {
        let next = stack.pop()?;
        let mut cursor = next.walk();
        let children: Vec<Node<'_>> = next.children(&mut cursor).collect();
        stack.extend(children.into_iter().rev());
        Some(next)
    })
}

fn is_name(node: Node<'_>) -> bool {
    [
        "identifier",
        "shorthand_property_identifier",
        "shorthand_property_identifier_pattern",
        "type_identifier",
    ]
    .contains(&node.kind())
}

/// A name behind a dot, or of an argument: it stands for no variable.
fn is_attribute(node: Node<'_>) -> bool {
    let Some(parent) = node.parent() else { return false };
    let field = |name| parent.child_by_field_name(name).is_some_and(|child| child.id() == node.id());
    match parent.kind() {
        "attribute" => field("attribute"),
        "keyword_argument" => field("name"),
        _ => false,
    }
}

/// A name where it is given a value: a parameter, a target, a definition.
fn is_binding(node: Node<'_>) -> bool {
    let mut child = node;
    while let Some(parent) = child.parent() {
        let field = |name| parent.child_by_field_name(name).is_some_and(|part| part.id() == child.id());
        match parent.kind() {
            "parameters" | "lambda_parameters" | "formal_parameters" | "as_pattern_target"
            | "rest_pattern" => {
                return true;
            }
            "typed_parameter"
            | "typed_default_parameter"
            | "default_parameter"
            | "required_parameter"
            | "optional_parameter"
            | "assignment_pattern"
            | "object_assignment_pattern" => {
                if field("value") || field("type") || field("right") {
                    return false;
                }
            }
            "assignment" | "for_statement" | "for_in_clause" | "for_in_statement" => return field("left"),
            "named_expression"
            | "variable_declarator"
            | "function_definition"
            | "class_definition"
            | "function_declaration"
            | "generator_function_declaration"
            | "class_declaration"
            | "function_expression" => {
                return field("name");
            }
            "arrow_function" => return field("parameter"),
            "catch_clause" => return field("parameter"),
            "import_clause" | "import_specifier" | "namespace_import" | "dotted_name" | "aliased_import" => {
                return true;
            }
            "pattern_list"
            | "tuple_pattern"
            | "list_pattern"
            | "list_splat_pattern"
            | "dictionary_splat_pattern"
            | "object_pattern"
            | "array_pattern"
            | "pair_pattern" => {}
            _ => return false,
        }
        child = parent;
    }
    false
}

/// Whether a node of one of these kinds stands between `node` and `top`.
fn within(node: Node<'_>, top: Node<'_>, kinds: &[&str]) -> bool {
    let mut at = Some(node);
    while let Some(node) = at {
        if kinds.contains(&node.kind()) {
            return true;
        }
        if node.id() == top.id() {
            return false;
        }
        at = node.parent();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(language: TaskLanguage, text: &str) -> Vec<(Kind, String)> {
        let names = |s: &Statement| s.defines.iter().cloned().collect::<Vec<_>>().join(",");
        Program::new(language, text).statements.iter().map(|s| (s.kind, names(s))).collect()
    }

    #[test]
    fn python_statements_are_told_apart() {
        let text = "import os.path, re as r\nfrom a import (b, c as d)\n@x\ndef f(): pass\nclass C: pass\na, (b, *c) = 1, 2\nn: int = 1\nNote: this\nx[i] = 1\nf()\nword\nassert f\nfor q in []:\n    z = 1\ntwice = lambda x: x\n'''text'''\n";
        use Kind::*;
        let found = read(TaskLanguage::Python, text);
        let expected = [
            (Import, "os,r"),
            (Import, "b,d"),
            (Definition, "f"),
            (Definition, "C"),
            (Assignment, "a,b,c"),
            (Assignment, "n"),
            (Idle, "Note"),
            (Assignment, ""),
            (Call, ""),
            (Idle, ""),
            (Assertion, ""),
            (Compound, "z"),
            (Assignment, "twice"),
            (Idle, ""),
        ];
        assert_eq!(found, expected.map(|(kind, names)| (kind, names.to_owned())));
    }

    #[test]
    fn javascript_statements_are_told_apart() {
        let text = "import a, { b as c } from 'm';\nfunction f() {}\nconst g = () => 1, h = 2;\nlet { i, j: [k] } = {};\nexport const l = 1;\nexport { f };\nmodule.exports = { f };\nexports.f = f;\nf();\nclass D { m() {} }\nx = 1;\nword\n";
        use Kind::*;
        let found = read(TaskLanguage::JavaScript, text);
        let expected = [
            (Import, "a,c"),
            (Definition, "f"),
            (Definition, "g,h"),
            (Assignment, "i,k"),
            (Assignment, "l"),
            (Export, ""),
            (Export, ""),
            (Export, ""),
            (Call, ""),
            (Definition, "D"),
            (Assignment, "x"),
            (Idle, ""),
        ];
        let found: Vec<_> = found
            .into_iter()
            .map(|(kind, names)| if kind == Export { (kind, String::new()) } else { (kind, names) })
            .collect();
        assert_eq!(found, expected.map(|(kind, names)| (kind, names.to_owned())));
    }

    #[test]
    fn free_names_are_those_that_are_bound_nowhere() {
        let free = |text: &str| {
            Program::new(TaskLanguage::Python, text).statements[0]
                .free
                .iter()
                .cloned()
                .collect::<Vec<_>>()
                .join(",")
        };
        assert_eq!(
            free("def f(a, b=c, *d):\n    e = g(a).h\n    return [i for i in e if j(k=1)]\n"),
            "c,g,j"
        );
        assert_eq!(free("with open(p) as q:\n    q.read()\n"), "open,p");
    }

    #[test]
    fn a_stub_is_not_taken_for_a_solution() {
        let stub = |language, text: &str| Program::new(language, text).statements[0].is_stub;
        let python = |text| stub(TaskLanguage::Python, text);
        assert!(
            python("def f(x):\n    '''Doc.'''\n    ...\n")
                && python("def f():\n    raise NotImplementedError\n")
        );
        assert!(!python("def f(x):\n    '''Doc.'''\n    return 1\n"));
        let javascript = |text| stub(TaskLanguage::JavaScript, text);
        assert!(javascript("function f() { /* do it */ }") && javascript("const f = () => {};"));
        assert!(!javascript("const f = () => 1;") && !javascript("function f() { return 1; }"));
    }

    #[test]
    fn a_variable_of_the_functions_name_is_no_function() {
        let defines = |language, text: &str| Program::new(language, text).definition("f").map(|s| s.callable);
        let python = |text| defines(TaskLanguage::Python, text);
        assert_eq!(python("f = [1]\n"), None);
        assert_eq!(python("f += 1\n"), None);
        assert_eq!(python("f = lambda x: x\n"), Some(Callable::Yes));
        assert_eq!(python("f = max(l)\n"), Some(Callable::Maybe));
        let javascript = |text| defines(TaskLanguage::JavaScript, text);
        assert_eq!(javascript("let f = [];"), None);
        assert_eq!(javascript("const f = async (x) => x;"), Some(Callable::Yes));
        assert_eq!(javascript("f = function () { return 1; };"), Some(Callable::Yes));
    }

    #[test]
    fn prose_is_no_code() {
        for (text, is_code) in [
            ("Done", false),
            ("Thanks.", false),
            ("Note: this", false),
            ("x = 1", true),
            ("This adds two numbers.", false),
            ("def f():\n    return 1\nDone\n", false),
            ("'''Module.'''\ndef f():\n    return 1\n", true),
        ] {
            assert_eq!(Program::new(TaskLanguage::Python, text).is_code(), is_code, "{text}");
        }
    }
}
