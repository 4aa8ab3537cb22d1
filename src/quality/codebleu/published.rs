//! The score of PyPI `codebleu` 0.7.0, with the one thing that it leaves to chance (the order of parent variables, which follows the
//! interpreter's hash seed) fixed to first occurrence.

use super::dataflow::published::Relations;
use super::keywords::is_keyword;
use super::language::{Dialect, Language};
use super::ngram::{ALL_ORDERS, Grams, Token, bleu, published_weighted_penalty, weighted_recall};
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
}

/// A source in the forms that are compared.
#[derive(Debug)]
struct Parsed {
    subtrees: Subtrees,
    relations: Relations,
}

impl Parsed {
    fn new(language: Language, stripped: &str) -> Self {
        let tree = Tree::parse(Dialect::Main(language), stripped);
        Self { subtrees: Subtrees::printed(&tree), relations: Relations::extract(language, &tree) }
    }
}

fn grams(language: Language, source: &str) -> Grams {
    let tokens: Vec<Token> =
        python_split(source).map(|text| Token::new(text, is_keyword(language, text))).collect();
    Grams::new(&tokens)
}

/// References, prepared.
#[derive(Debug)]
pub(super) struct References {
    language: Language,
    grams: Vec<Grams>,
    parsed: Vec<Parsed>,
}

impl References {
    pub(super) fn new<S: AsRef<str>>(language: Language, references: &[S]) -> Self {
        let sources: Vec<&str> = references.iter().map(|r| python_strip(r.as_ref())).collect();
        Self {
            language,
            grams: sources.iter().map(|source| grams(language, source)).collect(),
            parsed: sources
                .iter()
                .map(|source| Parsed::new(language, &strip_comments(language, source)))
                .collect(),
        }
    }

    pub(super) fn score(&self, prediction: &str) -> Components {
        let prediction = python_strip(prediction);
        let grams = grams(self.language, prediction);
        let references = self.grams.iter();
        let mut subtrees = Ratio::default();
        let mut relations = Ratio::default();
        // The package strips the prediction again for each reference, from what the last round left; comments that only
        // then become comments go, too.
        let mut source = strip_comments(self.language, prediction);
        let mut parsed = Parsed::new(self.language, &source);
        for (round, reference) in self.parsed.iter().enumerate() {
            if round > 0 {
                let again = strip_comments(self.language, &source);
                if again != source {
                    parsed = Parsed::new(self.language, &again);
                    source = again;
                }
            }
            subtrees.add(reference.subtrees.occurring_in(&parsed.subtrees), reference.subtrees.len());
            relations.add(reference.relations.in_common(&parsed.relations), reference.relations.len());
        }
        Components {
            ngram: bleu(&grams, references.clone(), ALL_ORDERS),
            weighted_ngram: weighted_recall(&grams, references, ALL_ORDERS, 1.0)
                * published_weighted_penalty(&grams),
            syntax: subtrees.value(),
            dataflow: relations.value(),
        }
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
    use serde_json::Value;

    #[test]
    fn parity() {
        let text = std::fs::read_to_string(
            std::env::var("CB_ROWS").unwrap_or("../shared/data/codebleu/reference.jsonl".into()),
        )
        .unwrap();
        let mut bad = 0;
        let mut n = 0;
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let lang: Language = row["lang"].as_str().unwrap().parse().unwrap();
            let refs: Vec<&str> =
                row["references"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
            let c = References::new(lang, &refs).score(row["prediction"].as_str().unwrap());
            let s = &row["scores"];
            let got = [c.ngram, c.weighted_ngram, c.syntax, c.dataflow];
            let want = ["ngram_match", "weighted_ngram_match", "syntax_match", "dataflow_match"]
                .map(|k| s[k].as_f64().unwrap());
            n += 1;
            if got.iter().zip(&want).any(|(a, b)| (a - b).abs() > 1e-6) {
                bad += 1;
                if bad < 30 {
                    println!("{} {} {got:?} {want:?}", row["id"], row["mutation"]);
                }
            }
        }
        println!("bad {bad} of {n}");
        assert_eq!(bad, 0);
    }
}
