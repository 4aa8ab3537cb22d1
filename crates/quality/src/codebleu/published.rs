//! The score of PyPI `codebleu` 0.7.0, with the one thing that it leaves to chance (the order of parent variables, which follows the
//! interpreter's hash seed) fixed to first occurrence.

use std::borrow::Cow;

use super::dataflow::published::Relations;
use super::keywords::is_keyword;
use super::language::{Dialect, Language};
use super::ngram::{
    ALL_ORDERS, Counted, Grams, InCommon, Token, bleu, published_weighted_penalty, weighted_recall,
};
use super::strip::strip_comments;
use super::syntax::Subtrees;
use super::text::{python_split, python_strip};
use super::tree::Tree;

/// The four components.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Components {
    pub(super) ngram: f64,
    pub(super) weighted_ngram: f64,
    pub(super) syntax: f64,
    pub(super) dataflow: f64,
    pub(super) syntax_valid: bool,
}

/// A source in the forms that are compared.
#[derive(Debug, Clone)]
struct Parsed {
    subtrees: Subtrees,
    relations: Relations,
    valid: bool,
}

impl Parsed {
    /// `print_errors`: something with syntax errors will be compared with this.
    fn new(language: Language, stripped: &str, print_errors: bool) -> Self {
        let dialect = Dialect::Main(language);
        let tree = if print_errors {
            Tree::parse_printed(dialect, stripped)
        } else {
            Tree::parse(dialect, stripped)
        };
        Self {
            subtrees: Subtrees::printed(&tree),
            relations: Relations::extract(language, &tree),
            valid: tree.is_valid,
        }
    }
}

/// The n-grams of a reference, in which keywords weigh more.
fn reference_grams(language: Language, source: &str) -> Counted {
    let tokens: Vec<Token> =
        python_split(source).map(|text| Token::new(text, is_keyword(language, text))).collect();
    Counted::new(&tokens)
}

/// The n-grams of a prediction, whose keywords nobody asks for.
fn prediction_grams(source: &str) -> Grams {
    let tokens: Vec<Token> = python_split(source).map(|text| Token::new(text, false)).collect();
    Grams::new(&tokens)
}

/// References, prepared.
#[derive(Debug)]
pub(super) struct References {
    language: Language,
    grams: Vec<Counted>,
    /// The largest counts of all references, if there are several.
    largest: Option<Counted>,
    /// Each reference without comments, and what became of it.
    parsed: Vec<(String, Parsed)>,
}

impl References {
    pub(super) fn new<S: AsRef<str>>(language: Language, references: &[S]) -> Self {
        let sources: Vec<&str> = references.iter().map(|r| python_strip(r.as_ref())).collect();
        let grams: Vec<Counted> = sources.iter().map(|source| reference_grams(language, source)).collect();
        let parse = |source: &&str| {
            let stripped = strip_comments(language, source);
            let parsed = Parsed::new(language, &stripped, true);
            (stripped, parsed)
        };
        Self {
            language,
            largest: (grams.len() > 1).then(|| Counted::largest(&grams)),
            grams,
            parsed: sources.iter().map(parse).collect(),
        }
    }

    pub(super) fn score(&self, prediction: &str) -> Components {
        let prediction = python_strip(prediction);
        let grams = prediction_grams(prediction);
        let commons: Vec<InCommon> = self.grams.iter().map(|counted| counted.in_common(&grams)).collect();
        let largest = self.largest.as_ref().map(|counted| counted.in_common(&grams));
        let mut subtrees = Ratio::default();
        let mut relations = Ratio::default();
        // The package strips the prediction again for each reference, from what the last round left; comments that only
        // then become comments go, too.
        let mut source = strip_comments(self.language, prediction);
        let mut parsed = self.parse(&source);
        let syntax_valid = parsed.valid;
        for (round, (_, reference)) in self.parsed.iter().enumerate() {
            if round > 0 {
                let again = strip_comments(self.language, &source);
                if again != source {
                    parsed = self.parse(&again);
                    source = again;
                }
            }
            subtrees.add(reference.subtrees.occurring_in(&parsed.subtrees), reference.subtrees.len());
            relations.add(reference.relations.in_common(&parsed.relations), reference.relations.len());
        }
        let lengths = self.grams.iter().map(Counted::tokens);
        Components {
            ngram: bleu(&grams, largest.as_ref().unwrap_or(&commons[0]), lengths, ALL_ORDERS),
            weighted_ngram: weighted_recall(self.grams.iter().zip(&commons), ALL_ORDERS, 1.0)
                * published_weighted_penalty(&grams),
            syntax: subtrees.value(),
            dataflow: relations.value(),
            syntax_valid,
        }
    }

    /// A prediction without comments in the forms that are compared; one that a reference spells the same is not parsed again.
    fn parse(&self, stripped: &str) -> Cow<'_, Parsed> {
        if let Some((_, parsed)) = self.parsed.iter().find(|(source, _)| source == stripped) {
            return Cow::Borrowed(parsed);
        }
        let print_errors = self.parsed.iter().any(|(_, reference)| !reference.valid);
        Cow::Owned(Parsed::new(self.language, stripped, print_errors))
    }
}

#[derive(Debug, Default)]
struct Ratio {
    found: usize,
    all: usize,
}

impl Ratio {
    fn add(&mut self, found: usize, all: usize) {
        self.found += found;
        self.all += all;
    }

    fn value(&self) -> f64 {
        if self.all == 0 { 0.0 } else { self.found as f64 / self.all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(language: Language, prediction: &str, references: &[&str]) -> Components {
        References::new(language, references).score(prediction)
    }

    #[test]
    fn an_accent_shifts_the_rest_of_its_line() {
        // The column of `b` counts bytes and indexes characters, so `é = b + c` reads other names than `e = b + c`.
        let plain = score(Language::Python, "e = b + c\nd = e", &["e = b + c\nd = e"]);
        let shifted = score(Language::Python, "é = b + c\nd = é", &["e = b + c\nd = e"]);
        assert_eq!(plain.dataflow, 1.0);
        assert!(shifted.dataflow < 1.0, "{shifted:?}");
    }

    #[test]
    fn each_further_reference_strips_the_prediction_again() {
        // The first round leaves `"b"` in column 0, where the second takes it for a docstring.
        let twice = score(Language::Python, "\"a\"\"b\"\n", &["\"a\"\"b\"\n"; 2]);
        let once = score(Language::Python, "\"a\"\"b\"\n", &["\"a\"\"b\"\n"]);
        assert_eq!(once.syntax, 1.0);
        assert!(twice.syntax < 1.0, "{twice:?}");
    }

    #[test]
    fn errors_that_print_alike_match() {
        // Both print as `(compilation_unit (ERROR))`; only the second error has (nameless) children.
        assert_eq!(score(Language::CSharp, "x", &["[x"]).syntax, 0.5);
    }

    #[test]
    fn a_string_unpacked_into_as_many_names_as_it_has_parts_has_no_data_flow() {
        // The package matches the names up with the string's quotes and content, which it keeps no place of, and raises.
        let dataflow = |language, source| score(language, source, &[source]).dataflow;
        for source in
            ["a, b, c = 'xyz'\nd = a + b", "a, b = ''\nd = a + b", "for a, b, c in 'xyz':\n    d = a + b"]
        {
            assert_eq!(dataflow(Language::Python, source), 0.0, "{source}");
        }
        assert_eq!(dataflow(Language::Python, "a, b = 'xy'\nd = a + b"), 1.0);
        assert_eq!(dataflow(Language::Python, "a, b = 'x', 'y'\nd = a + b"), 1.0);
    }

    #[test]
    fn two_references_share_the_recall() {
        let both = score(Language::C, "int x = 1;", &["int x = 1;", "void g(char *s) { free(s); }"]);
        assert!(both.syntax < 0.6 && both.ngram == 1.0, "{both:?}");
    }

    #[test]
    fn what_python_could_not_recurse_into_has_no_data_flow() {
        let nested = |depth| format!("x = a\ny = {}x{}", "(".repeat(depth), ")".repeat(depth));
        let [shallow, deep] =
            [900, 1_000].map(|depth| score(Language::Python, &nested(depth), &[&nested(depth)]));
        assert_eq!((shallow.dataflow, deep.dataflow), (1.0, 0.0));
        assert_eq!(deep.syntax, 1.0);
    }
}
