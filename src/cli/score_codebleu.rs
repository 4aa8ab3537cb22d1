//! `autotune score codebleu`: a line of JSON in, a line of JSON out.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::args::CodebleuArgs;
use super::printer::Printer;
use crate::exit::{Exit, Expected};
use crate::quality::codebleu::{CodeBleu, CodeBleuError, Language, Mode, References, Weights};

/// A line of the input. Other keys are the user's own.
#[derive(Debug, Deserialize)]
struct Pair {
    prediction: String,
    references: Vec<String>,
}

/// A line of the output.
#[derive(Debug, Serialize)]
struct Row {
    codebleu: f64,
    ngram: f64,
    weighted_ngram: f64,
    syntax: f64,
    dataflow: Option<f64>,
    syntax_valid: bool,
}

/// Runs the command.
pub(super) fn run(args: &CodebleuArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let language: Language =
        args.lang.parse().map_err(|e: CodeBleuError| Expected::usage(format!("--lang: {e}")))?;
    let weights = Weights::new(&args.weights).map_err(|e| Expected::usage(format!("--weights: {e}")))?;
    let mode = if args.published { Mode::Published } else { Mode::Sound };
    if args.published && !language.is_published() {
        return Err(Expected::usage(format!("--published: {}", CodeBleuError::NotPublished(language))).into());
    }
    let mut mean = Mean::default();
    // Neighbouring lines often are samples of one task; its references are prepared once.
    let mut prepared: Option<(Vec<String>, References)> = None;
    for (number, line) in (1u64..).zip(open(&args.pairs)?.lines()) {
        let place = || format!("{}:{number}", args.pairs.display());
        let line = line.map_err(|e| Expected::usage(format!("{}: {e}", place())))?;
        if line.trim().is_empty() {
            continue;
        }
        let pair: Pair = serde_json::from_str(&line).map_err(|e| {
            let wanted = "expected one object a line: {\"prediction\": \"...\", \"references\": [\"...\"]}";
            // The place in serde's text counts lines of this one line.
            let text = e.to_string();
            let text = text.split(" at line 1 column").next().unwrap_or_default();
            Expected::usage(format!("{}:{}: {text}; {wanted}", place(), e.column()))
        })?;
        let references = match prepared.take() {
            Some((texts, references)) if texts == pair.references => (texts, references),
            _ => {
                let references = References::new(language, mode, &pair.references)
                    .map_err(|e| Expected::usage(format!("{}: {e}", place())))?;
                (pair.references, references)
            }
        };
        let score = references.1.score(&pair.prediction, &weights);
        prepared = Some(references);
        mean.add(&score);
        let row = Row {
            codebleu: score.total,
            ngram: score.ngram,
            weighted_ngram: score.weighted_ngram,
            syntax: score.syntax,
            dataflow: score.dataflow,
            syntax_valid: score.syntax_valid,
        };
        printer.data(&serde_json::to_string(&row)?);
        if printer.is_closed() {
            return Ok(Exit::Success);
        }
    }
    mean.print(printer);
    Ok(Exit::Success)
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file =
        File::open(path).map_err(|e| Expected::usage(format!("cannot read {}: {e}", path.display())))?;
    Ok(Box::new(BufReader::new(file)))
}

/// Sums over the pairs.
#[derive(Debug, Default)]
struct Mean {
    pairs: u64,
    total: f64,
}

impl Mean {
    fn add(&mut self, score: &CodeBleu) {
        self.pairs += 1;
        self.total += score.total;
    }

    fn print(&self, printer: &Printer) {
        match self.pairs {
            0 => printer.warn("no pairs: the input has no lines"),
            pairs => {
                let mean = self.total / pairs as f64;
                let noun = if pairs == 1 { "pair" } else { "pairs" };
                printer.remark(&format!("mean CodeBLEU {mean:.4} over {pairs} {noun}"));
            }
        }
    }
}
