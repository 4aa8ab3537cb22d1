//! The tokens of a program as its own grammar cuts them, for the sound score: how a source is laid out, whether strings stand in single
//! or double quotes, and what comments say does not matter.

use std::borrow::Cow;

use super::keywords::is_keyword;
use super::language::Language;
use super::ngram::Token;
use super::tree::{NONE, Tree};

/// Whether a node only brackets an expression that would mean the same without: where no operator, call or access is around it, a
/// formatter puts parentheses and takes them away.
pub(super) fn is_redundant_bracket(tree: &Tree<'_>, at: u32) -> bool {
    const BINDING: &[&str] = &[
        "binary",
        "unary",
        "operator",
        "attribute",
        "member",
        "subscript",
        "call",
        "await",
        "conditional",
        "field",
        "index",
        "cast",
        "lambda",
        "arrow_function",
        "ternary",
        "range",
        "update",
        "selector",
        "access",
        "invocation",
        "generator",
        "as_expression",
        "reference",
        "try_expression",
        "error",
        "ERROR",
    ];
    let parent = tree.node(at).parent;
    tree.kind(at) == "parenthesized_expression"
        && parent != NONE
        && !BINDING.iter().any(|kind| tree.kind(parent).contains(kind))
}

/// For each node whether it is no part of the program: comments, docstrings, layout, trailing commas, optional semicolons.
pub(super) fn ignored(language: Language, tree: &Tree<'_>) -> Vec<bool> {
    let mut ignored = vec![false; tree.nodes.len()];
    for at in 0..tree.nodes.len() as u32 {
        let node = tree.node(at);
        let inherited = node.parent != NONE && ignored[node.parent as usize];
        ignored[at as usize] = inherited
            || (node.extra && node.kind != u16::MAX)
            || is_docstring(language, tree, at)
            || is_layout(language, tree, at);
    }
    ignored
}

/// A statement of Python that consists of a string: it documents and computes nothing.
fn is_docstring(language: Language, tree: &Tree<'_>, at: u32) -> bool {
    let is_string = |child: u32| matches!(tree.kind(child), "string" | "concatenated_string");
    language == Language::Python
        && tree.kind(at) == "expression_statement"
        && tree.children(at).all(is_string)
        && tree.has_children(at)
}

fn is_layout(language: Language, tree: &Tree<'_>, at: u32) -> bool {
    let node = tree.node(at);
    if tree.has_children(at) || node.named {
        return false;
    }
    match tree.kind(at) {
        "(" | ")" => node.parent != NONE && is_redundant_bracket(tree, node.parent),
        "," => is_trailing_comma(tree, at),
        ";" => is_optional_semicolon(language, tree, at),
        // Go's grammar shows line ends.
        _ => tree.source(at).chars().all(char::is_whitespace),
    }
}

/// A comma before a closing bracket, unless it makes a tuple of one.
fn is_trailing_comma(tree: &Tree<'_>, at: u32) -> bool {
    let node = tree.node(at);
    let closes = node.next_sibling != NONE && matches!(tree.kind(node.next_sibling), ")" | "]" | "}" | ">");
    closes
        && !(node.parent != NONE && {
            let tuple = matches!(
                tree.kind(node.parent),
                "tuple" | "tuple_pattern" | "tuple_expression" | "tuple_type"
            );
            tuple && tree.children(node.parent).filter(|child| tree.node(*child).named).count() == 1
        })
}

/// A semicolon that the language would put there itself.
fn is_optional_semicolon(language: Language, tree: &Tree<'_>, at: u32) -> bool {
    use Language::{Go, JavaScript, Python, Ruby, Tsx, TypeScript};
    let parent = tree.node(at).parent;
    matches!(language, Go | JavaScript | Python | Ruby | Tsx | TypeScript)
        && !(parent != NONE
            && matches!(tree.kind(parent), "for_statement" | "for_clause" | "empty_statement"))
}

/// A token and, if it is a bound variable, its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexeme {
    /// The token as it is spelled.
    pub(super) token: Token,
    /// The variable, or [`NONE`].
    pub(super) variable: u32,
}

/// The tokens, in order. `variables` tells which nodes are which bound variables.
pub(super) fn lexemes(
    language: Language,
    tree: &Tree<'_>,
    ignored: &[bool],
    variables: &[u32],
) -> Vec<Lexeme> {
    let mut lexemes = Vec::with_capacity(tree.nodes.len() / 2);
    let mut inside_until = 0;
    for at in 0..tree.nodes.len() as u32 {
        let variable = variables[at as usize];
        let is_token = !tree.has_children(at) || variable != NONE;
        if at < inside_until || ignored[at as usize] || !is_token {
            continue;
        }
        inside_until = tree.node(at).end;
        let text = spelling(language, tree, at);
        if !text.is_empty() {
            let keyword = tree.kind(at) != "identifier" && variable == NONE && is_keyword(language, &text);
            lexemes.push(Lexeme { token: Token::new(&text, keyword), variable });
        }
    }
    lexemes
}

/// A leaf's text, with the choice between two kinds of quotes undone.
fn spelling<'t>(language: Language, tree: &Tree<'t>, at: u32) -> Cow<'t, str> {
    let text = tree.source(at);
    match tree.kind(at) {
        "\"" if quotes_are_alike(language, tree, at) => "'".into(),
        "string_start" | "string_end" if language == Language::Python => text.replace('"', "'").into(),
        _ => text.into(),
    }
}

/// Whether a quote could as well be the other one.
fn quotes_are_alike(language: Language, tree: &Tree<'_>, at: u32) -> bool {
    use Language::{JavaScript, Ruby, Tsx, TypeScript};
    let parent = tree.node(at).parent;
    let plain = |string: u32| {
        !tree.children(string).any(|c| matches!(tree.kind(c), "interpolation" | "escape_sequence"))
    };
    match language {
        JavaScript | TypeScript | Tsx => true,
        Ruby => parent != NONE && plain(parent),
        _ => false,
    }
}

/// Whether a leaf is a quote, which the syntax match passes over.
pub(super) fn is_quote(tree: &Tree<'_>, at: u32) -> bool {
    matches!(tree.kind(at), "\"" | "'")
}
