//! Tasks as the study's grader: prompts for the model, verdicts from the sandbox.

use std::collections::BTreeMap;

use super::grading::{Graded, Grading};
use super::metrics;
use crate::engine::generate::{Generation, Prompt};
use crate::measure::stats::{Interval, wilson};
use crate::quality::codebleu::{self, CodeBleu, References, Weights, syntax_valid};
use crate::quality::extract::{Style, completion, ends_at_dedent};
use crate::quality::sandbox::{Judge, Judgement, Verdict};
use crate::quality::tasks::{Task, TaskLanguage, TaskSet, program};
use crate::store::{NewGeneration, NewMeasurement};

/// A completion may be this many times as long as the canonical one, counting four bytes a token (code has three to four) ...
const LENGTH_FACTOR: usize = 2;
/// ... and this many tokens longer,
const LENGTH_MARGIN: u32 = 24;
/// but never longer than this, in tokens.
const LONGEST: u32 = 384;

/// A task set with the judge that runs its programs.
pub struct TaskGrading<'a> {
    tasks: TaskSet,
    prompts: Vec<Prompt>,
    references: Vec<Option<References>>,
    judge: Box<dyn Judge + 'a>,
}

impl<'a> TaskGrading<'a> {
    /// The tasks in their order, each continued once, greedily.
    #[must_use]
    pub fn new(tasks: TaskSet, judge: Box<dyn Judge + 'a>) -> Self {
        let prompts = tasks.tasks.iter().map(prompt).collect();
        let references = tasks.tasks.iter().map(reference).collect();
        Self { tasks, prompts, references, judge }
    }
}

/// The task's own solution, parsed once for all comparisons.
fn reference(task: &Task) -> Option<References> {
    let language = task.language_name.parse().ok()?;
    let whole = format!("{}{}", task.prompt, task.canonical.as_ref()?);
    References::new(language, codebleu::Mode::Sound, &[whole]).ok()
}

fn prompt(task: &Task) -> Prompt {
    let usual = task.canonical.as_ref().map_or(600, String::len);
    let max_tokens = (LENGTH_FACTOR * usual / 4) as u32 + LENGTH_MARGIN;
    let mut stop: Vec<String> = task.stop.iter().chain(&task.closing).cloned().collect();
    if ends_at_dedent(task) {
        stop.extend((b'!'..=b'~').map(|c| format!("\n{}", char::from(c))));
    }
    Prompt {
        id: task.id.clone(),
        text: task.generation_prompt().to_owned(),
        stop,
        max_tokens: max_tokens.min(LONGEST),
    }
}

impl Grading for TaskGrading<'_> {
    fn prompts(&self) -> &[Prompt] {
        &self.prompts
    }

    fn grade(&mut self, generations: &[Generation]) -> anyhow::Result<Graded> {
        let by_id: BTreeMap<&str, &Generation> = generations.iter().map(|g| (g.id.as_str(), g)).collect();
        let mut written: Vec<(&Task, String)> = Vec::new();
        for task in &self.tasks.tasks {
            let raw = by_id.get(task.id.as_str()).map_or("", |g| g.text.as_str());
            written.push((task, completion(task, raw, Style::Continuation)));
        }
        let programs: Vec<_> = written.iter().map(|(task, text)| program(task, text)).collect();
        let judgements = self.judge.judge(&programs)?;
        anyhow::ensure!(
            judgements.len() == programs.len(),
            "the sandbox gave {} verdicts for {} programs",
            judgements.len(),
            programs.len()
        );
        Ok(collect(&written, &self.references, &judgements))
    }
}

fn collect(
    written: &[(&Task, String)],
    references: &[Option<References>],
    judgements: &[Judgement],
) -> Graded {
    let mut graded = Graded::default();
    let mut tallies: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let (mut valid, mut similarities) = (0u64, Vec::new());
    for (((task, text), reference), judgement) in written.iter().zip(references).zip(judgements) {
        for name in ["", language(task.language)] {
            let tally = tallies.entry(name).or_default();
            tally.0 += u64::from(judgement.verdict.is_pass());
            tally.1 += 1;
        }
        let whole = format!("{}{text}", task.prompt);
        valid += u64::from(task.language_name.parse().is_ok_and(|l| syntax_valid(l, &whole)));
        let scores: Option<CodeBleu> = reference.as_ref().map(|r| r.score(&whole, &Weights::default()));
        similarities.extend(scores.as_ref().map(|s| s.total));
        graded.generations.push(NewGeneration {
            task: task.id.clone(),
            sample: 0,
            completion: text.clone(),
            verdict: name_of(judgement.verdict),
            detail: judgement.detail.clone(),
            codebleu_json: scores.and_then(|s| serde_json::to_string(&s).ok()),
        });
    }
    for (name, (passed, n)) in &tallies {
        let metric = if name.is_empty() { "pass_at_1".to_owned() } else { format!("pass_at_1_{name}") };
        graded.measurements.push(metrics::row(&metric, "fraction", &wilson(*passed, *n)));
    }
    let n = written.len() as u64;
    graded.measurements.push(metrics::row("syntax_valid", "fraction", &wilson(valid, n)));
    if !similarities.is_empty() {
        graded.measurements.push(mean_row("codebleu", &similarities));
    }
    let (passed, n) = tallies.get("").copied().unwrap_or_default();
    graded.summary = format!("pass@1 {passed}/{n}");
    graded
}

/// The verdict's name as the database keeps it.
fn name_of(verdict: Verdict) -> String {
    match serde_json::to_value(verdict) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{verdict:?}").to_lowercase(),
    }
}

/// The mean over tasks with a normal 95 % interval of the mean.
fn mean_row(metric: &str, values: &[f64]) -> NewMeasurement {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let half = 1.96 * (variance / n).sqrt();
    let interval =
        Interval { value: mean, low: mean - half, high: mean + half, samples: values.len() as u64 };
    metrics::row(metric, "score", &interval)
}

fn language(language: TaskLanguage) -> &'static str {
    match language {
        TaskLanguage::Python => "python",
        TaskLanguage::JavaScript => "javascript",
        TaskLanguage::TypeScript => "typescript",
        TaskLanguage::Other => "other",
    }
}
