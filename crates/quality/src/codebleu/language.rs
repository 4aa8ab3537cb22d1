//! The languages and their grammars.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use super::error::CodeBleuError;

/// A language that can be graded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// Python 3.
    Python,
    /// JavaScript, JSX included.
    JavaScript,
    /// TypeScript.
    TypeScript,
    /// TypeScript with JSX.
    Tsx,
    /// Java.
    Java,
    /// Go.
    Go,
    /// Rust.
    Rust,
    /// C.
    C,
    /// C++.
    Cpp,
    /// C#.
    CSharp,
    /// PHP, with or without an opening tag.
    Php,
    /// Ruby.
    Ruby,
}

impl Language {
    /// All languages, in the order in which they are listed to users.
    pub const ALL: [Self; 12] = [
        Self::Python,
        Self::JavaScript,
        Self::TypeScript,
        Self::Tsx,
        Self::Java,
        Self::Go,
        Self::Rust,
        Self::C,
        Self::Cpp,
        Self::CSharp,
        Self::Php,
        Self::Ruby,
    ];

    /// The name that `--lang` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Tsx => "tsx",
            Self::Java => "java",
            Self::Go => "go",
            Self::Rust => "rust",
            Self::C => "c",
            Self::Cpp => "cpp",
            Self::CSharp => "c_sharp",
            Self::Php => "php",
            Self::Ruby => "ruby",
        }
    }

    /// Whether PyPI `codebleu` 0.7.0 knows the language; only then [`super::Mode::Published`] has a meaning.
    #[must_use]
    pub const fn is_published(self) -> bool {
        !matches!(self, Self::TypeScript | Self::Tsx)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Language {
    type Err = CodeBleuError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let lower = name.to_ascii_lowercase();
        let language = match lower.as_str() {
            "js" | "jsx" => Some(Self::JavaScript),
            "ts" => Some(Self::TypeScript),
            "py" => Some(Self::Python),
            "c++" => Some(Self::Cpp),
            "c#" | "csharp" | "cs" => Some(Self::CSharp),
            "rb" => Some(Self::Ruby),
            "golang" => Some(Self::Go),
            "rs" => Some(Self::Rust),
            name => Self::ALL.into_iter().find(|language| language.name() == name),
        };
        language.ok_or_else(|| CodeBleuError::UnknownLanguage(name.to_owned()))
    }
}

/// A grammar: a language's own, and PHP's second one for code without an opening tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The language's only grammar (for PHP the one that starts as HTML).
    Main(Language),
    /// PHP from its first character.
    PhpOnly,
}

impl Dialect {
    /// How many dialects there are.
    pub(super) const COUNT: usize = Language::ALL.len() + 1;

    /// A number below [`Self::COUNT`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Main(language) => language as usize,
            Self::PhpOnly => Language::ALL.len(),
        }
    }

    /// The grammar, loaded once.
    pub(super) fn grammar(self) -> &'static Grammar {
        static GRAMMARS: [OnceLock<Grammar>; Dialect::COUNT] = [const { OnceLock::new() }; Dialect::COUNT];
        GRAMMARS[self.index()].get_or_init(|| Grammar::new(self))
    }
}

/// A grammar with its names at hand.
#[derive(Debug)]
pub(super) struct Grammar {
    /// What the parser is given.
    pub(super) language: tree_sitter::Language,
    kinds: Vec<&'static str>,
    named: Vec<bool>,
    fields: Vec<&'static str>,
}

/// The parser's number for an error node.
const ERROR: u16 = u16::MAX;

impl Grammar {
    fn new(dialect: Dialect) -> Self {
        let source = match dialect {
            Dialect::PhpOnly => tree_sitter_php::LANGUAGE_PHP_ONLY,
            Dialect::Main(language) => match language {
                Language::Python => tree_sitter_python::LANGUAGE,
                Language::JavaScript => tree_sitter_javascript::LANGUAGE,
                Language::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT,
                Language::Tsx => tree_sitter_typescript::LANGUAGE_TSX,
                Language::Java => tree_sitter_java::LANGUAGE,
                Language::Go => tree_sitter_go::LANGUAGE,
                Language::Rust => tree_sitter_rust::LANGUAGE,
                Language::C => tree_sitter_c::LANGUAGE,
                Language::Cpp => tree_sitter_cpp::LANGUAGE,
                Language::CSharp => tree_sitter_c_sharp::LANGUAGE,
                Language::Php => tree_sitter_php::LANGUAGE_PHP,
                Language::Ruby => tree_sitter_ruby::LANGUAGE,
            },
        };
        let language = tree_sitter::Language::new(source);
        // The names live as long as the grammar, which is never dropped; a copy each is leaked once so that they can be 'static.
        let keep = |name: Option<&str>| -> &'static str { Box::leak(name.unwrap_or_default().into()) };
        let kinds =
            (0..language.node_kind_count()).map(|id| keep(language.node_kind_for_id(id as u16))).collect();
        let fields =
            (0..=language.field_count()).map(|id| keep(language.field_name_for_id(id as u16))).collect();
        let named =
            (0..language.node_kind_count()).map(|id| language.node_kind_is_named(id as u16)).collect();
        Self { language, kinds, named, fields }
    }

    /// The name of a node kind.
    pub(super) fn kind(&self, id: u16) -> &'static str {
        self.kinds.get(usize::from(id)).copied().unwrap_or("ERROR")
    }

    /// Whether a kind has a name; the parser's error node counts as named.
    pub(super) fn is_named(&self, id: u16) -> bool {
        self.named.get(usize::from(id)).copied().unwrap_or(true)
    }

    /// All node kinds by their numbers.
    pub(super) fn kinds(&self) -> &[&'static str] {
        &self.kinds
    }

    /// All field names by their numbers; the first stands for no field.
    pub(super) fn fields(&self) -> &[&'static str] {
        &self.fields
    }

    /// The number of a field's name, or 0 (no field) when this grammar lacks it.
    pub(super) fn field(&self, name: &str) -> u16 {
        self.fields.iter().skip(1).position(|field| *field == name).map_or(0, |at| at as u16 + 1)
    }

    /// Whether a kind is the parser's error node.
    pub(super) fn is_error(id: u16) -> bool {
        id == ERROR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for language in Language::ALL {
            assert_eq!(language.name().parse::<Language>().unwrap(), language);
            assert_eq!(Language::ALL[language as usize], language);
        }
        assert_eq!("C#".parse::<Language>().unwrap(), Language::CSharp);
        let text = "cobol".parse::<Language>().unwrap_err().to_string();
        assert!(text.contains("cobol") && text.contains("c_sharp"), "{text}");
    }

    #[test]
    fn every_grammar_is_accepted_by_the_parser() {
        for dialect in Language::ALL.map(Dialect::Main).into_iter().chain([Dialect::PhpOnly]) {
            let grammar = dialect.grammar();
            tree_sitter::Parser::new().set_language(&grammar.language).unwrap();
            assert!(grammar.kinds().len() > 50);
        }
        assert_ne!(Dialect::Main(Language::Python).grammar().field("left"), 0);
        assert_eq!(Dialect::Main(Language::Python).grammar().field("nothing"), 0);
    }
}
