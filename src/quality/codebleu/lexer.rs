//! The tokens of a program as its own grammar cuts them, for the sound score: how a source is laid out, whether strings stand in single
//! or double quotes, and what comments say does not matter.

use super::keywords::is_keyword;
use super::language::Language;
use super::ngram::Token;
use super::tree::{NONE, Tree};

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

/// The tokens, in order.
pub(super) fn tokens(language: Language, tree: &Tree<'_>, ignored: &[bool]) -> Vec<Token> {
    let leaves = (0..tree.nodes.len() as u32).filter(|at| !tree.has_children(*at) && !ignored[*at as usize]);
    leaves
        .filter_map(|at| {
            let text = tree.source(at);
            let text = if text == "\"" && quotes_are_alike(language, tree, at) { "'" } else { text };
            let unquoted = (language == Language::Python && tree.kind(at).starts_with("string_"))
                .then(|| text.replace('"', "'"))
                .filter(|_| tree.kind(at) != "string_content");
            let text = unquoted.as_deref().unwrap_or(text);
            let keyword = !tree.node(at).named && is_keyword(language, text);
            (!text.is_empty())
                .then(|| Token::new(text, keyword || is_named_keyword(tree, at, language, text)))
        })
        .collect()
}

/// Some keywords are nodes with a name: `None`, `int`, `self`.
fn is_named_keyword(tree: &Tree<'_>, at: u32, language: Language, text: &str) -> bool {
    tree.node(at).named && tree.kind(at) != "identifier" && is_keyword(language, text)
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
