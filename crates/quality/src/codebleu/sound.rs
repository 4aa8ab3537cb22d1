//! The sound score: see `docs/src/explanation/codebleu.md` for each difference from the published one, with examples.

use super::dataflow::sound::{Matching, Variables};
use super::language::{Dialect, Language};
use super::lexer::{Layout, Lexeme};
use super::ngram::{Counted, Grams, Token, bleu, filled_orders, weighted_recall};
use super::syntax::Subtrees;
use super::tree::Tree;

/// The four components against one reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Components {
    pub(super) ngram: f64,
    pub(super) weighted_ngram: f64,
    pub(super) syntax: f64,
    /// None when the reference has no data flow.
    pub(super) dataflow: Option<f64>,
    pub(super) syntax_valid: bool,
}

/// A reference, prepared.
#[derive(Debug)]
pub(super) struct Reference {
    source: String,
    code: Prepared,
    counted: Counted,
}

/// A source in the forms that are compared.
#[derive(Debug)]
pub(super) struct Prepared {
    lexemes: Vec<Lexeme>,
    grams: Grams,
    subtrees: Subtrees,
    variables: Variables,
    valid: bool,
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
        let layout = Layout::new(language, dialect, &tree);
        let (variables, of_nodes) = Variables::extract(language, dialect, &tree, layout.ignored());
        let lexemes = layout.lexemes(&of_nodes);
        let left_out = |at: u32| layout.ignored()[at as usize] || layout.is_quote(at);
        Self {
            grams: Grams::new(&spelled(&lexemes)),
            subtrees: Subtrees::of_program(&tree, left_out, |at| layout.is_redundant_bracket(at)),
            lexemes,
            variables,
            valid: tree.is_valid,
        }
    }

    fn relabelled(&self, labels: &[u64]) -> Vec<Token> {
        let token = |lexeme: &Lexeme| match labels.get(lexeme.variable as usize) {
            Some(label) => Token::variable(*label),
            None => lexeme.token,
        };
        self.lexemes.iter().map(token).collect()
    }
}

/// The tokens as they are written.
fn spelled(lexemes: &[Lexeme]) -> Vec<Token> {
    lexemes.iter().map(|lexeme| lexeme.token).collect()
}

impl Reference {
    pub(super) fn new(language: Language, source: &str) -> Self {
        let code = Prepared::new(language, source);
        Self { source: source.to_owned(), counted: Counted::new(&spelled(&code.lexemes)), code }
    }

    /// What became of this source, if it is spelled like the reference.
    pub(super) fn prepared(&self, source: &str) -> Option<&Prepared> {
        (self.source == source).then_some(&self.code)
    }

    /// Scores a prediction against this reference.
    pub(super) fn score(&self, prediction: &Prepared) -> Components {
        let own = &self.code;
        let has_dataflow = own.variables.edges() > 0;
        if prediction.lexemes.is_empty() || own.lexemes.is_empty() {
            // Nothing is right only where nothing was asked for.
            let value = if prediction.lexemes.len() == own.lexemes.len() { 1.0 } else { 0.0 };
            let dataflow = has_dataflow.then_some(value);
            let syntax_valid = prediction.valid;
            return Components { ngram: value, weighted_ngram: value, syntax: value, dataflow, syntax_valid };
        }
        let syntax = balanced(
            own.subtrees.in_common(&prediction.subtrees),
            own.subtrees.len(),
            prediction.subtrees.len(),
        );
        let dataflow = has_dataflow.then(|| {
            let common = own.variables.edges_in_common(&prediction.variables);
            balanced(common, own.variables.edges(), prediction.variables.edges())
        });
        let spelled = NgramScores::new(&prediction.grams, &self.counted);
        // As far as values flow alike, other names are a matter of taste.
        let trust = dataflow.unwrap_or(0.0);
        let named = if trust > 0.0 { self.renamed(prediction, spelled) } else { spelled };
        let toward = |spelled: f64, named: f64| spelled + trust * (named - spelled).max(0.0);
        Components {
            ngram: toward(spelled.ngram, named.ngram),
            weighted_ngram: toward(spelled.weighted, named.weighted),
            syntax,
            dataflow,
            syntax_valid: prediction.valid,
        }
    }

    /// The n-gram scores when matched variables are given common names, in the better matching.
    fn renamed(&self, prediction: &Prepared, spelled: NgramScores) -> NgramScores {
        let (own, others) = (&self.code.variables, &prediction.variables);
        let scores = |matching| {
            let reference = Counted::new(&self.code.relabelled(&own.labels(others, matching)));
            let prediction = Grams::new(&prediction.relabelled(&others.labels(own, matching)));
            NgramScores::new(&prediction, &reference)
        };
        // With equal names the matching by name is the spelling, and with an equal order the other matching is, too.
        let by_name = if own.same_names(others) { spelled } else { scores(Matching::Name) };
        if by_name.ngram >= 1.0 || own.same_order(others) {
            by_name
        } else {
            by_name.better(scores(Matching::Order))
        }
    }
}

/// The two n-gram components.
#[derive(Debug, Clone, Copy)]
struct NgramScores {
    ngram: f64,
    weighted: f64,
}

impl NgramScores {
    fn new(prediction: &Grams, reference: &Counted) -> Self {
        let of_reference = filled_orders(reference.tokens());
        let of_either = filled_orders(reference.tokens().max(prediction.tokens()));
        let common = reference.in_common(prediction);
        Self {
            // A prediction too short for an order misses what the reference has there.
            ngram: bleu(prediction, &common, std::iter::once(reference.tokens()), of_either),
            weighted: weighted_recall(std::iter::once((reference, &common)), of_reference, 0.0),
        }
    }

    fn better(self, other: Self) -> Self {
        if other.ngram + other.weighted > self.ngram + self.weighted { other } else { self }
    }
}

/// The harmonic mean of precision and recall (Dice's coefficient of two multisets).
fn balanced(common: usize, a: usize, b: usize) -> f64 {
    if a + b == 0 { 1.0 } else { 2.0 * common as f64 / (a + b) as f64 }
}
