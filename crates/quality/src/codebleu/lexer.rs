//! The tokens of a program as its own grammar cuts them, for the sound score: how a source is laid out, whether strings stand in single
//! or double quotes, and what comments say does not matter.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::keywords::is_keyword;
use super::language::{Dialect, Language};
use super::ngram::Token;
use super::tree::{NONE, Tree};

/// What a kind of node means for the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Other,
    Comma,
    Semicolon,
    Parenthesis,
    /// `)`, `]`, `}`, `>`.
    OtherCloser,
    Quote,
    /// The start or end of a Python string, prefix and quotes.
    StringEdge,
    /// A string as a whole.
    String,
    /// A part of a string that one of the two quotes allows and the other does not.
    Escape,
    ParenthesizedExpression,
    ExpressionStatement,
    Tuple,
    /// Where a semicolon separates parts or is the statement.
    NeedsSemicolon,
    Identifier,
}

/// What the kinds of a grammar mean for the layout.
#[derive(Debug)]
struct Kinds {
    kinds: Vec<Kind>,
    /// Parents that parentheses can protect an expression from: operators, calls, accesses.
    binding: Vec<bool>,
}

/// Parts of the names of kinds in which parentheses decide what belongs together.
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
];

impl Kinds {
    fn of(dialect: Dialect) -> &'static Self {
        static KINDS: [OnceLock<Kinds>; Dialect::COUNT] = [const { OnceLock::new() }; Dialect::COUNT];
        KINDS[dialect.index()].get_or_init(|| {
            let names = dialect.grammar().kinds();
            Self {
                kinds: names.iter().map(|name| Kind::named(name)).collect(),
                binding: names.iter().map(|name| BINDING.iter().any(|part| name.contains(part))).collect(),
            }
        })
    }
}

impl Kind {
    fn named(name: &str) -> Self {
        match name {
            "," => Self::Comma,
            ";" => Self::Semicolon,
            "(" | ")" => Self::Parenthesis,
            "]" | "}" | ">" => Self::OtherCloser,
            "\"" | "'" => Self::Quote,
            "string_start" | "string_end" => Self::StringEdge,
            "string" | "concatenated_string" => Self::String,
            "interpolation" | "escape_sequence" => Self::Escape,
            "parenthesized_expression" => Self::ParenthesizedExpression,
            "expression_statement" => Self::ExpressionStatement,
            "tuple" | "tuple_pattern" | "tuple_expression" | "tuple_type" => Self::Tuple,
            "for_statement" | "for_clause" | "empty_statement" => Self::NeedsSemicolon,
            "identifier" => Self::Identifier,
            _ => Self::Other,
        }
    }
}

/// How one source is laid out.
#[derive(Debug)]
pub(super) struct Layout<'a, 't> {
    language: Language,
    tree: &'a Tree<'t>,
    kinds: &'static Kinds,
    ignored: Vec<bool>,
}

/// A token and, if it is a bound variable, its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexeme {
    /// The token as it is spelled.
    pub(super) token: Token,
    /// The variable, or [`NONE`].
    pub(super) variable: u32,
}

impl<'a, 't> Layout<'a, 't> {
    /// Looks at a tree of a dialect of the language.
    pub(super) fn new(language: Language, dialect: Dialect, tree: &'a Tree<'t>) -> Self {
        let mut this = Self { language, tree, kinds: Kinds::of(dialect), ignored: Vec::new() };
        for at in 0..tree.nodes.len() as u32 {
            let node = tree.node(at);
            let inherited = node.parent != NONE && this.ignored[node.parent as usize];
            let comment = node.extra && !super::language::Grammar::is_error(node.kind);
            let ignored = inherited || comment || this.is_docstring(at) || this.is_punctuation_to_taste(at);
            this.ignored.push(ignored);
        }
        this
    }

    fn kind(&self, at: u32) -> Kind {
        self.kinds.kinds.get(usize::from(self.tree.node(at).kind)).copied().unwrap_or(Kind::Other)
    }

    /// For each node whether it is no part of the program: comments, docstrings, trailing commas, optional semicolons, brackets
    /// around a whole expression.
    pub(super) fn ignored(&self) -> &[bool] {
        &self.ignored
    }

    /// Whether a leaf is a quote, which the syntax match passes over.
    pub(super) fn is_quote(&self, at: u32) -> bool {
        self.kind(at) == Kind::Quote
    }

    /// Whether a node only brackets an expression that would mean the same without: where no operator, call or access is around it,
    /// a formatter puts parentheses and takes them away.
    pub(super) fn is_redundant_bracket(&self, at: u32) -> bool {
        let parent = self.tree.node(at).parent;
        self.kind(at) == Kind::ParenthesizedExpression && parent != NONE && {
            let binding = self.kinds.binding.get(usize::from(self.tree.node(parent).kind));
            // What stands in an error is not understood.
            binding == Some(&false)
        }
    }

    /// A statement of Python that consists of a string: it documents and computes nothing.
    fn is_docstring(&self, at: u32) -> bool {
        self.language == Language::Python
            && self.kind(at) == Kind::ExpressionStatement
            && self.tree.has_children(at)
            && self.tree.children(at).all(|child| self.kind(child) == Kind::String)
    }

    fn is_punctuation_to_taste(&self, at: u32) -> bool {
        let node = self.tree.node(at);
        if self.tree.has_children(at) || node.named {
            return false;
        }
        match self.kind(at) {
            Kind::Parenthesis => node.parent != NONE && self.is_redundant_bracket(node.parent),
            Kind::Comma => self.is_trailing_comma(at),
            Kind::Semicolon => self.is_optional_semicolon(at),
            // Go's grammar shows line ends.
            _ => self.tree.source(at).chars().all(char::is_whitespace),
        }
    }

    /// A comma before a closing bracket, unless it makes a tuple of one.
    fn is_trailing_comma(&self, at: u32) -> bool {
        let parent = self.tree.node(at).parent;
        let mut next = self.tree.node(at).next_sibling;
        while next != NONE && self.tree.node(next).extra {
            next = self.tree.node(next).next_sibling;
        }
        let closes = next != NONE && matches!(self.kind(next), Kind::Parenthesis | Kind::OtherCloser);
        let named_siblings =
            || self.tree.children(parent).filter(|child| self.tree.node(*child).named).count();
        closes && !(parent != NONE && self.kind(parent) == Kind::Tuple && named_siblings() == 1)
    }

    /// A semicolon that the language would put there itself.
    fn is_optional_semicolon(&self, at: u32) -> bool {
        use Language::{Go, JavaScript, Python, Ruby, Tsx, TypeScript};
        let parent = self.tree.node(at).parent;
        matches!(self.language, Go | JavaScript | Python | Ruby | Tsx | TypeScript)
            && !(parent != NONE && self.kind(parent) == Kind::NeedsSemicolon)
    }

    /// The tokens, in order. `variables` tells which nodes are which bound variables.
    pub(super) fn lexemes(&self, variables: &[u32]) -> Vec<Lexeme> {
        let tree = self.tree;
        let mut lexemes = Vec::with_capacity(tree.nodes.len() / 2);
        let mut inside_until = 0;
        for at in 0..tree.nodes.len() as u32 {
            let variable = variables[at as usize];
            let is_token = !tree.has_children(at) || variable != NONE;
            if at < inside_until || self.ignored[at as usize] || !is_token {
                continue;
            }
            inside_until = tree.node(at).end;
            let text = self.spelling(at);
            if !text.is_empty() {
                let named = self.kind(at) == Kind::Identifier || variable != NONE;
                lexemes.push(Lexeme {
                    token: Token::new(&text, !named && is_keyword(self.language, &text)),
                    variable,
                });
            }
        }
        lexemes
    }

    /// A leaf's text, with the choice between two kinds of quotes undone.
    fn spelling(&self, at: u32) -> Cow<'t, str> {
        let text = self.tree.source(at);
        match self.kind(at) {
            Kind::Quote if self.quotes_are_alike(at) => "'".into(),
            Kind::StringEdge if self.language == Language::Python && text.contains('"') => {
                text.replace('"', "'").into()
            }
            _ => text.into(),
        }
    }

    /// Whether a quote could as well be the other one.
    fn quotes_are_alike(&self, at: u32) -> bool {
        use Language::{JavaScript, Ruby, Tsx, TypeScript};
        let parent = self.tree.node(at).parent;
        match self.language {
            JavaScript | TypeScript | Tsx => true,
            Ruby => parent != NONE && !self.tree.children(parent).any(|part| self.kind(part) == Kind::Escape),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sound;
    use super::*;

    fn tokens(language: Language, source: &str) -> Vec<Token> {
        let dialect = sound::dialect(language, source);
        let tree = Tree::parse(dialect, source);
        let layout = Layout::new(language, dialect, &tree);
        layout.lexemes(&vec![NONE; tree.nodes.len()]).into_iter().map(|lexeme| lexeme.token).collect()
    }

    #[test]
    fn layout_and_taste_make_no_difference() {
        for (language, a, b) in [
            (Language::Python, "x = ['a', 1]\nreturn x", "x=[ \"a\",\n  1, # one\n]\nreturn (x)"),
            (Language::Python, "def f():\n  return 1", "def f():\n    '''Doc.'''\n    return 1;"),
            (Language::JavaScript, "let s = 'a'\nf(s)", "let s = \"a\"; // s\nf(\n  s,\n);"),
            (Language::Go, "x := 1\ny := 2", "x := 1; y := 2"),
            (Language::Ruby, "x = 'a'", "x = \"a\";"),
            (Language::Php, "$x = [1];", "$x = [ 1, ]; /* c */"),
        ] {
            assert_eq!(tokens(language, a), tokens(language, b), "{language}: {a} | {b}");
        }
    }

    #[test]
    fn what_means_something_stays() {
        for (language, a, b) in [
            (Language::Python, "x = (1,)", "x = (1)"),
            (Language::Python, "x = (a + b) * c", "x = a + b * c"),
            (Language::C, "char c = 'a';", "char c = \"a\";"),
            (Language::Rust, "fn f() -> i32 { 1 }", "fn f() -> i32 { 1; }"),
            (Language::JavaScript, "for (;;) f()", "for (;) f()"),
            (Language::Ruby, "x = \"#{y}\"", "x = '#{y}'"),
        ] {
            assert_ne!(tokens(language, a), tokens(language, b), "{language}: {a} | {b}");
        }
    }

    #[test]
    fn keywords_are_the_grammars_own() {
        let keywords = |source| tokens(Language::Python, source).iter().filter(|token| token.keyword).count();
        // `match` is a keyword before a subject and a name elsewhere.
        assert_eq!((keywords("match x:\n  case 1: pass"), keywords("match = None")), (3, 1));
    }
}
