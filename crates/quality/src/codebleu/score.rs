//! What callers use: weights, modes, prepared references, scores.

use serde::Serialize;

use super::error::CodeBleuError;
use super::language::Language;
use super::{published, sound};

/// Which rules score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Rules that rank answers as their users would (`docs/src/explanation/codebleu.md` lists the differences from the published ones).
    #[default]
    Sound,
    /// The rules of PyPI `codebleu` 0.7.0, for comparison with published numbers.
    Published,
}

/// The weights of the four components.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    ngram: f64,
    weighted_ngram: f64,
    syntax: f64,
    dataflow: f64,
}

impl Default for Weights {
    /// A quarter each.
    fn default() -> Self {
        Self { ngram: 0.25, weighted_ngram: 0.25, syntax: 0.25, dataflow: 0.25 }
    }
}

impl Weights {
    /// Weights of n-gram, weighted n-gram, syntax and data flow.
    ///
    /// # Errors
    /// When there are not four, or one is negative or not finite, or all are 0.
    pub fn new(weights: &[f64]) -> Result<Self, CodeBleuError> {
        match *weights {
            [ngram, weighted_ngram, syntax, dataflow]
                if weights.iter().all(|w| w.is_finite() && *w >= 0.0) && weights.iter().any(|w| *w > 0.0) =>
            {
                Ok(Self { ngram, weighted_ngram, syntax, dataflow })
            }
            _ => Err(CodeBleuError::Weights(weights.to_vec())),
        }
    }
}

/// A score and its components, each from 0 to 1 (the total of [`Mode::Published`] is a plain weighted sum).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CodeBleu {
    /// The weighted total.
    pub total: f64,
    /// BLEU over tokens.
    pub ngram: f64,
    /// Recall of n-grams, keywords weighing five times as much as other unigrams.
    pub weighted_ngram: f64,
    /// Share of subtrees.
    pub syntax: f64,
    /// Share of value relations; none when the references have no data flow to compare.
    pub dataflow: Option<f64>,
    /// Whether the prediction parses without errors, as [`syntax_valid`] tells ([`Mode::Published`]: after its comments were
    /// stripped).
    pub syntax_valid: bool,
}

/// The references of one task, parsed once for all its predictions.
#[derive(Debug)]
pub struct References {
    language: Language,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Sound(Vec<sound::Reference>),
    Published(published::References),
}

impl References {
    /// Prepares references for any number of predictions.
    ///
    /// # Errors
    /// Without a reference, and for a language that the published package does not know in [`Mode::Published`].
    pub fn new<S: AsRef<str>>(
        language: Language,
        mode: Mode,
        references: &[S],
    ) -> Result<Self, CodeBleuError> {
        if references.is_empty() {
            return Err(CodeBleuError::NoReference);
        }
        let inner = match mode {
            Mode::Sound => {
                Inner::Sound(references.iter().map(|r| sound::Reference::new(language, r.as_ref())).collect())
            }
            Mode::Published if !language.is_published() => return Err(CodeBleuError::NotPublished(language)),
            Mode::Published => Inner::Published(published::References::new(language, references)),
        };
        Ok(Self { language, inner })
    }

    /// The language.
    #[must_use]
    pub fn language(&self) -> Language {
        self.language
    }

    /// Scores one prediction. In [`Mode::Sound`] the components are those of the reference that it is closest to.
    #[must_use]
    pub fn score(&self, prediction: &str, weights: &Weights) -> CodeBleu {
        match &self.inner {
            Inner::Published(references) => {
                let parts = references.score(prediction);
                // The package takes "nothing matched" for "nothing to match" and gives full marks.
                let dataflow = if parts.dataflow == 0.0 { 1.0 } else { parts.dataflow };
                CodeBleu {
                    total: weights.ngram * parts.ngram
                        + weights.weighted_ngram * parts.weighted_ngram
                        + weights.syntax * parts.syntax
                        + weights.dataflow * dataflow,
                    ngram: parts.ngram,
                    weighted_ngram: parts.weighted_ngram,
                    syntax: parts.syntax,
                    dataflow: Some(parts.dataflow),
                    syntax_valid: parts.syntax_valid,
                }
            }
            Inner::Sound(references) => {
                let own;
                let known = references.iter().find_map(|reference| reference.prepared(prediction));
                let prediction = match known {
                    Some(prepared) => prepared,
                    None => {
                        own = sound::Prepared::new(self.language, prediction);
                        &own
                    }
                };
                let scores =
                    references.iter().map(|reference| sound_total(weights, reference.score(prediction)));
                // `References::new` saw to it that there is one.
                scores
                    .reduce(|best, next| if next.total > best.total { next } else { best })
                    .unwrap_or(NOTHING)
            }
        }
    }
}

const NOTHING: CodeBleu = CodeBleu {
    total: 0.0,
    ngram: 0.0,
    weighted_ngram: 0.0,
    syntax: 0.0,
    dataflow: None,
    syntax_valid: false,
};

/// The weighted mean of the components that there are.
fn sound_total(weights: &Weights, parts: sound::Components) -> CodeBleu {
    let mut terms = vec![
        (weights.ngram, parts.ngram),
        (weights.weighted_ngram, parts.weighted_ngram),
        (weights.syntax, parts.syntax),
    ];
    terms.extend(parts.dataflow.map(|dataflow| (weights.dataflow, dataflow)));
    let mut all: f64 = terms.iter().map(|(weight, _)| weight).sum();
    if all == 0.0 {
        // Only the data flow was to count, and there is none: the others count alike.
        terms.iter_mut().for_each(|(weight, _)| *weight = 1.0);
        all = terms.len() as f64;
    }
    CodeBleu {
        total: terms.iter().map(|(weight, value)| weight * value).sum::<f64>() / all,
        ngram: parts.ngram,
        weighted_ngram: parts.weighted_ngram,
        syntax: parts.syntax,
        dataflow: parts.dataflow,
        syntax_valid: parts.syntax_valid,
    }
}

/// Scores one prediction against its references by the sound rules, each component weighing alike. Without a reference there is
/// nothing to earn: 0.
///
/// Callers with several predictions for a task prepare [`References`] once; there the mode and the weights can be chosen, too.
///
/// # Examples
/// ```
/// use autotune_quality::codebleu::{self, Language};
///
/// let reference = "def add(a, b):\n    return a + b\n";
/// let total = |prediction| codebleu::score(Language::Python, prediction, &[reference]).total;
///
/// assert_eq!(total(reference), 1.0);
/// assert_eq!(total("def add( a,b ):\n  return (a+b)  # sum").round(), 1.0);
/// assert!(total("def add(a, b):\n    return a - b\n") < 0.9);
/// assert!(total("def add(a, b):\n    print(a)\n") < 0.7);
/// assert_eq!(total(""), 0.0);
/// ```
#[must_use]
pub fn score<S: AsRef<str>>(language: Language, prediction: &str, references: &[S]) -> CodeBleu {
    References::new(language, Mode::Sound, references)
        .map_or(NOTHING, |references| references.score(prediction, &Weights::default()))
}

/// Whether a source is free of syntax errors: its tree has no error and nothing was added to make it whole. An empty source is valid.
///
/// ```
/// use autotune_quality::codebleu::{Language, syntax_valid};
///
/// assert!(syntax_valid(Language::Go, "package main\nfunc main() { x := 1; _ = x }"));
/// assert!(!syntax_valid(Language::Go, "package main\nfunc main() { x := }"));
/// ```
#[must_use]
pub fn syntax_valid(language: Language, code: &str) -> bool {
    super::tree::is_valid(sound::dialect(language, code), code)
}
