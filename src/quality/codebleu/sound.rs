//! The sound score: see `docs/CODEBLEU.md` for each difference from the published one, with examples.

use super::dataflow::sound::Edges;
use super::language::{Dialect, Language};
use super::lexer;
use super::ngram::{Grams, bleu, filled_orders, weighted_recall};
use super::syntax::{Detail, Subtrees};
use super::tree::Tree;

/// The four components against one reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Components {
    pub(super) ngram: f64,
    pub(super) weighted_ngram: f64,
    pub(super) syntax: f64,
    /// None when the reference has no data flow.
    pub(super) dataflow: Option<f64>,
}

/// A source in the forms that are compared.
#[derive(Debug)]
pub(super) struct Prepared {
    grams: Grams,
    subtrees: Subtrees,
    edges: Edges,
}

/// The grammar for a source: PHP has one for code with an opening tag and one for code without.
pub(super) fn dialect(language: Language, source: &str) -> Dialect {
    if language == Language::Php && !source.contains("<?") {
        Dialect::PhpOnly
    } else {
        Dialect::Main(language)
    }
}

impl Prepared {
    pub(super) fn new(language: Language, source: &str) -> Self {
        let dialect = dialect(language, source);
        let tree = Tree::parse(dialect, source);
        let ignored = lexer::ignored(language, &tree);
        Self {
            grams: Grams::new(&lexer::tokens(language, &tree, &ignored)),
            subtrees: Subtrees::new(&tree, Detail::Tokens, |at| {
                ignored[at as usize] || (!tree.has_children(at) && lexer::is_quote(&tree, at))
            }),
            edges: Edges::extract(language, dialect, &tree, &ignored),
        }
    }

    /// Scores a prediction against this reference.
    pub(super) fn score(&self, prediction: &Self) -> Components {
        if prediction.grams.tokens() == 0 || self.grams.tokens() == 0 {
            // Nothing is right only where nothing was asked for.
            let value = if prediction.grams.tokens() == self.grams.tokens() { 1.0 } else { 0.0 };
            let dataflow = (self.edges.len() > 0).then_some(value);
            return Components { ngram: value, weighted_ngram: value, syntax: value, dataflow };
        }
        let orders = filled_orders(&prediction.grams, &self.grams);
        let reference = std::iter::once(&self.grams);
        Components {
            ngram: bleu(&prediction.grams, reference.clone(), orders),
            weighted_ngram: weighted_recall(&prediction.grams, reference, orders),
            syntax: balanced(
                self.subtrees.in_common(&prediction.subtrees),
                self.subtrees.len(),
                prediction.subtrees.len(),
            ),
            dataflow: (self.edges.len() > 0).then(|| {
                balanced(self.edges.in_common(&prediction.edges), self.edges.len(), prediction.edges.len())
            }),
        }
    }
}

/// The harmonic mean of precision and recall (Dice's coefficient of two multisets).
fn balanced(common: usize, a: usize, b: usize) -> f64 {
    if a + b == 0 { 1.0 } else { 2.0 * common as f64 / (a + b) as f64 }
}
