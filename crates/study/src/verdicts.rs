//! From judged answers to rows: every generation with its verdict, and the scores of the trial with their intervals.

use autotune_core::metric::names;
use std::collections::BTreeMap;

use super::grading::Graded;
use super::metrics;
use autotune_core::stats::{Interval, wilson};
use autotune_engine::generate::Generation;
use autotune_quality::accuracy::ratio;
use autotune_quality::codebleu::CodeBleu;
use autotune_quality::passk::{TaskCount, pass_at_k};
use autotune_quality::tasks::{Task, TaskLanguage};
use autotune_sandbox::{Judgement, Verdict};
use autotune_store::{NewGeneration, NewMeasurement};

/// The values of k that are reported, where there are as many samples.
const KS: [u64; 4] = [1, 5, 10, 100];

/// One continuation of one task.
pub(super) struct Answer<'a> {
    pub(super) task: &'a Task,
    pub(super) generation: &'a Generation,
    /// What counts as the answer.
    pub(super) text: String,
    /// Whether prompt and answer parse.
    pub(super) valid: bool,
    /// Against the task's own solution.
    pub(super) codebleu: Option<CodeBleu>,
}

/// Sums up answers in the order of their tasks and samples. The greedy answers (sample 0) make pass@1, CodeBLEU and syntax validity; the
/// sampled ones make pass@k.
pub(super) fn collect(answers: &[Answer<'_>], judgements: &[Option<Judgement>]) -> Graded {
    let mut graded = Graded::default();
    for (answer, judgement) in answers.iter().zip(judgements) {
        graded.generations.push(NewGeneration {
            task: answer.task.id.clone(),
            sample: answer.generation.sample,
            completion: answer.text.clone(),
            verdict: judgement
                .as_ref()
                .map_or_else(|| NewGeneration::NOT_EXECUTED.to_owned(), |j| name_of(j.verdict)),
            detail: judgement.as_ref().map_or_else(String::new, |j| j.detail.clone()),
            codebleu_json: answer.codebleu.as_ref().and_then(|s| serde_json::to_string(s).ok()),
        });
    }
    let pairs = || answers.iter().zip(judgements).filter_map(|(a, j)| Some((a, j.as_ref()?)));
    let greedy: Vec<&Answer<'_>> = answers.iter().filter(|answer| answer.generation.sample == 0).collect();
    let executed: Vec<(&Answer<'_>, &Judgement)> =
        pairs().filter(|(answer, _)| answer.generation.sample == 0).collect();
    graded.measurements = passed(&executed);
    graded.measurements.extend(valid(&greedy));
    graded.measurements.extend(similar(&greedy));
    graded.measurements.extend(foreseen(&greedy));
    graded.measurements.extend(drawn(pairs()));
    let solved = executed.iter().filter(|(_, j)| j.verdict.is_pass()).count();
    graded.summary = format!("pass@1 {solved}/{}", executed.len());
    if executed.len() < greedy.len() {
        graded.summary += &format!(", {} not executed", greedy.len() - executed.len());
    }
    for (k, row) in KS.iter().filter_map(|k| {
        let name = sampled(*k);
        Some((k, graded.measurements.iter().find(|m| m.metric == name)?))
    }) {
        if *k > 1 {
            graded.summary += &format!(", pass@{k} {:.1} %", 100.0 * row.value.unwrap_or(f64::NAN));
        }
    }
    graded
}

/// pass@1 of all executed tasks and of each language; nothing where none is executed.
fn passed(greedy: &[(&Answer<'_>, &Judgement)]) -> Vec<NewMeasurement> {
    let mut tallies: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (answer, judgement) in greedy {
        for name in ["", language(answer.task.language)] {
            let tally = tallies.entry(name).or_default();
            tally.0 += u64::from(judgement.verdict.is_pass());
            tally.1 += 1;
        }
    }
    tallies
        .iter()
        .map(|(name, (passed, n))| {
            let metric =
                if name.is_empty() { names::PASS_AT_1.to_owned() } else { format!("pass_at_1_{name}") };
            metrics::row(&metric, "fraction", &wilson(*passed, *n))
        })
        .collect()
}

/// The share that parses.
fn valid(greedy: &[&Answer<'_>]) -> Option<NewMeasurement> {
    let valid = greedy.iter().filter(|answer| answer.valid).count() as u64;
    (!greedy.is_empty())
        .then(|| metrics::row(names::SYNTAX_VALID, "fraction", &wilson(valid, greedy.len() as u64)))
}

/// Means of CodeBLEU and its parts over tasks.
fn similar(greedy: &[&Answer<'_>]) -> Vec<NewMeasurement> {
    type Part = fn(&CodeBleu) -> Option<f64>;
    const PARTS: [(&str, Part); 5] = [
        (names::CODEBLEU, |s| Some(s.total)),
        ("codebleu_ngram", |s| Some(s.ngram)),
        ("codebleu_weighted_ngram", |s| Some(s.weighted_ngram)),
        ("codebleu_syntax", |s| Some(s.syntax)),
        ("codebleu_dataflow", |s| s.dataflow),
    ];
    let scores: Vec<&CodeBleu> = greedy.iter().filter_map(|answer| answer.codebleu.as_ref()).collect();
    let mean = |(metric, part): (&str, Part)| {
        let values: Vec<f64> = scores.iter().filter_map(|s| part(s)).collect();
        (!values.is_empty()).then(|| metrics::row(metric, "score", &mean(&values)))
    };
    PARTS.into_iter().filter_map(mean).collect()
}

/// How well the tasks' own solutions were predicted, token by token.
fn foreseen(greedy: &[&Answer<'_>]) -> Vec<NewMeasurement> {
    let scored: Vec<_> = greedy.iter().filter_map(|answer| answer.generation.foreseen).collect();
    if scored.is_empty() {
        return Vec::new();
    }
    let likeliest: Vec<(f64, f64)> = scored.iter().map(|f| (f.likeliest as f64, f.tokens as f64)).collect();
    let nll: Vec<(f64, f64)> = scored.iter().map(|f| (f.nll, f.tokens as f64)).collect();
    let mut likeliest = ratio(&likeliest);
    likeliest.low = likeliest.low.max(0.0);
    likeliest.high = likeliest.high.min(1.0);
    let mut nll = ratio(&nll);
    nll.low = nll.low.max(0.0);
    vec![
        metrics::row(names::CANONICAL_ACCURACY, "fraction", &likeliest),
        metrics::row(names::CANONICAL_NLL, "nats", &nll),
    ]
}

/// pass@k of the sampled completions.
fn drawn<'a>(pairs: impl Iterator<Item = (&'a Answer<'a>, &'a Judgement)>) -> Vec<NewMeasurement> {
    let mut counts: Vec<TaskCount> = Vec::new();
    for (answer, judgement) in pairs.filter(|(answer, _)| answer.generation.sample > 0) {
        if counts.last().is_none_or(|last| last.task_id != answer.task.id) {
            counts.push(TaskCount { task_id: answer.task.id.clone(), samples: 0, passed: 0 });
        }
        if let Some(count) = counts.last_mut() {
            count.samples += 1;
            count.passed += u64::from(judgement.verdict.is_pass());
        }
    }
    KS.iter()
        .filter_map(|&k| {
            // Too few samples for this k: it was not requested.
            let score = pass_at_k(&counts, k).ok()?;
            let (low, high) = (score.interval.low, score.interval.high);
            Some(NewMeasurement::interval(&sampled(k), "fraction", score.mean, low, high, score.samples))
        })
        .collect()
}

/// The metric of sampled completions; `pass_at_1` is that of the greedy ones.
fn sampled(k: u64) -> String {
    if k == 1 { names::PASS_AT_1_SAMPLED.to_owned() } else { format!("pass_at_{k}") }
}

/// The verdict's name as the database keeps it.
fn name_of(verdict: Verdict) -> String {
    match serde_json::to_value(verdict) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{verdict:?}").to_lowercase(),
    }
}

/// The mean over tasks with a normal 95 % interval of the mean, within [0, 1].
fn mean(values: &[f64]) -> Interval {
    let weighted: Vec<(f64, f64)> = values.iter().map(|&v| (v, 1.0)).collect();
    let mut interval = ratio(&weighted);
    interval.low = interval.low.max(0.0);
    interval.high = interval.high.min(1.0);
    interval
}

fn language(language: TaskLanguage) -> &'static str {
    match language {
        TaskLanguage::Python => "python",
        TaskLanguage::JavaScript => "javascript",
        TaskLanguage::TypeScript => "typescript",
        TaskLanguage::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_engine::generate::{Finish, Foreseen};
    use autotune_quality::tasks::{WARMUP, load};

    fn judgement(passed: bool) -> Judgement {
        let verdict = if passed { Verdict::Passed } else { Verdict::Failed };
        Judgement { verdict, detail: String::new(), cpu_ms: 1.0, wall_ms: 1.0 }
    }

    #[test]
    fn greedy_and_drawn_answers_are_scored_apart() {
        let set = load(WARMUP, 2).unwrap();
        let generations: Vec<Generation> = (0..2)
            .flat_map(|task| {
                let id = set.tasks[task].id.clone();
                (0..=10).map(move |sample| Generation {
                    id: id.clone(),
                    sample,
                    text: String::new(),
                    tokens: 1,
                    finish: Finish::End,
                    foreseen: (sample == 0).then_some(Foreseen { tokens: 10, likeliest: 8, nll: 5.0 }),
                })
            })
            .collect();
        let answers: Vec<Answer<'_>> = generations
            .iter()
            .enumerate()
            .map(|(i, generation)| Answer {
                task: &set.tasks[i / 11],
                generation,
                text: String::new(),
                valid: i == 0,
                codebleu: None,
            })
            .collect();
        // Greedy: one of two. Drawn: 5 of 10 and 0 of 10.
        let judgements: Vec<Option<Judgement>> = (0..22).map(|i| Some(judgement(i < 6))).collect();
        let graded = collect(&answers, &judgements);
        let value = |metric: &str| {
            let row = graded.measurements.iter().find(|m| m.metric == metric);
            row.map(|m| (m.value.unwrap(), m.low.unwrap() <= m.value.unwrap(), m.samples))
        };
        assert_eq!(value("pass_at_1"), Some((0.5, true, 2)));
        assert_eq!(value("pass_at_1_sampled"), Some((0.25, true, 20)));
        assert_eq!(value("pass_at_10"), Some((0.5, true, 20)));
        assert_eq!(value("pass_at_100"), None);
        assert_eq!(value("syntax_valid"), Some((0.5, true, 2)));
        assert_eq!(value("canonical_accuracy"), Some((0.8, true, 20)));
        assert_eq!(value("canonical_nll"), Some((0.5, true, 20)));
        assert_eq!(graded.generations.len(), 22);
        assert!(graded.summary.starts_with("pass@1 1/2, pass@5"), "{}", graded.summary);
    }

    #[test]
    fn what_is_not_executed_counts_in_no_pass_rate() {
        let set = load(WARMUP, 2).unwrap();
        let generation = |task: &Task| Generation {
            id: task.id.clone(),
            sample: 0,
            text: String::new(),
            tokens: 1,
            finish: Finish::End,
            foreseen: None,
        };
        let generations: Vec<Generation> = set.tasks.iter().map(generation).collect();
        let answers: Vec<Answer<'_>> = set
            .tasks
            .iter()
            .zip(&generations)
            .map(|(task, generation)| Answer {
                task,
                generation,
                text: String::new(),
                valid: true,
                codebleu: None,
            })
            .collect();
        let graded = collect(&answers, &[Some(judgement(true)), None]);
        let value = |metric: &str| {
            graded.measurements.iter().find(|m| m.metric == metric).map(|m| (m.value.unwrap(), m.samples))
        };
        assert_eq!((value("pass_at_1"), value("syntax_valid")), (Some((1.0, 1)), Some((1.0, 2))));
        assert_eq!(
            (graded.summary.as_str(), graded.generations[1].verdict.as_str()),
            ("pass@1 1/1, 1 not executed", NewGeneration::NOT_EXECUTED)
        );
        let graded = collect(&answers, &[None, None]);
        assert!(graded.measurements.iter().all(|m| !m.metric.starts_with("pass_at")));
    }
}
