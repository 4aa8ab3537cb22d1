//! Programming tasks: what the model continues, and the tests that its program must pass.
//!
//! [`load`] reads the tasks shipped with the binary ([`warmup`]) and the files people have: HumanEval, MBPP (full and sanitized),
//! HumanEval-X, HumanEval-Infilling, BigCodeBench and MultiPL-E rows, as `.jsonl` or `.jsonl.gz`. Nothing here runs code; see
//! [`autotune_sandbox`], and [`crate::proof`] for whether the tests of a task test anything.

mod calls;
mod fields;
mod formats;
mod imports;
mod language;
mod program;
mod samples;
pub mod stops;
pub mod warmup;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use autotune_sandbox::{Program, TaskLanguage};
pub use imports::imported;
pub use program::{program, whole_program};
pub use samples::{Answer, Sample, SampleError, canonical_samples, read_samples};

/// The name that stands for the shipped tasks.
pub const WARMUP: &str = "warmup";

/// Longest accepted task file after decompression, in bytes: a small archive must not fill the memory.
const MAX_TASK_FILE_BYTES: u64 = 1 << 30;

/// How prompt and completion make a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The program is the prompt followed by the completion (HumanEval: a signature and its body).
    Continuation,
    /// The completion is a whole program; the prompt only describes it (MBPP).
    Standalone,
}

/// Why a task cannot be judged as its row says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A field would change what is asked or what passes, and is not understood.
    Field(String),
    /// A test function takes what only another tool gives it: its name and parameters.
    TestFunction(String),
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Unique within its set, as samples files name it (`HumanEval/0`).
    pub id: String,
    /// What executes it.
    pub language: TaskLanguage,
    /// The language's name as CodeBLEU knows it (`python`, `javascript`, `rust`, ...).
    pub language_name: String,
    /// The text that the model continues. Generate from [`Task::generation_prompt`].
    pub prompt: String,
    /// The text behind the completion, where the task is to fill a gap; mostly empty.
    pub suffix: String,
    /// How prompt and completion make a program.
    pub kind: Kind,
    /// Trusted code that runs after the program and before the tests (MBPP's `test_setup_code`).
    pub setup: String,
    /// The tests, complete: running them to their end means that the program is right.
    pub tests: String,
    /// The function under test; empty when the row names none.
    pub entry_point: String,
    /// A completion that passes, where the data set has one.
    pub canonical: Option<String>,
    /// Texts that end a raw continuation and do not belong to it.
    pub stop: Vec<String>,
    /// Texts that end a raw continuation and still belong to it (JavaScript's closing brace).
    pub closing: Vec<String>,
    /// Why it cannot be judged.
    pub refusal: Option<Refusal>,
}

impl Task {
    /// The prompt as a tokenizer should see it: without trailing white space, which would split the first token of the body.
    #[must_use]
    pub fn generation_prompt(&self) -> &str {
        self.prompt.trim_end()
    }
}

/// Tasks in a fixed order, with unique ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSet {
    /// `warmup`, or the file's name.
    pub name: String,
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Fields of the rows of which nothing is known, and which are not read.
    pub unread: Vec<String>,
}

impl TaskSet {
    /// The task of this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == id)
    }
}

/// Why tasks could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// No such file, or not readable.
    #[error(
        "failed to read tasks from {path}: {source} (write `{WARMUP}` for the shipped tasks, or a .jsonl or .jsonl.gz file)"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line that is no JSON object.
    #[error("{path}, line {line}: broken JSON: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A JSON object that is no task of a known format.
    #[error("{path}, line {line}: {reason}")]
    Row {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is missing.
        reason: String,
    },
    /// Two tasks of one id.
    #[error("{path}, line {line}: the task id `{id}` was already used on line {first}")]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The line that used it first.
        first: usize,
        /// The id.
        id: String,
    },
    /// Nothing in the file.
    #[error("{path} holds no tasks")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The shipped tasks are broken: a bug, kept from users by a test.
    #[error("the shipped task file is broken: {0}")]
    Warmup(String),
}

/// Loads tasks: `warmup` for the shipped ones, else a file (`.jsonl`, or `.jsonl.gz`: gzip is recognised by its first bytes).
/// `limit` keeps the first so many; 0 keeps all.
///
/// # Errors
/// An unreadable file, a line that is no task (with its number), an id used twice, no tasks at all.
pub fn load(spec: &str, limit: usize) -> Result<TaskSet, TaskError> {
    let mut set = if spec == WARMUP {
        TaskSet { name: WARMUP.to_owned(), tasks: warmup::tasks()?, unread: Vec::new() }
    } else {
        read_file(Path::new(spec))?
    };
    if limit > 0 {
        set.tasks.truncate(limit);
    }
    Ok(set)
}

/// One line of a task file.
///
/// # Errors
/// What is wrong with it, without the line's number.
pub fn parse_line(text: &str) -> Result<Task, String> {
    let row = serde_json::from_str(text).map_err(|e| format!("broken JSON: {e}"))?;
    formats::task(row).map(|(task, _)| task)
}

/// Opens a text file, decompressing gzip, and gives its lines; both limits and errors are the caller's to report.
fn open(path: &Path) -> io::Result<impl BufRead> {
    let mut file = BufReader::new(File::open(path)?);
    let gzip = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read> =
        if gzip { Box::new(flate2::bufread::MultiGzDecoder::new(file)) } else { Box::new(file) };
    Ok(BufReader::new(reader.take(MAX_TASK_FILE_BYTES)))
}

/// The numbered lines of a file, plain or compressed. A byte order mark is passed over, and an error tells its line.
pub(crate) fn numbered_lines(path: &Path) -> io::Result<impl Iterator<Item = (usize, io::Result<String>)>> {
    Ok((1..).zip(open(path)?.lines()).map(|(number, line)| {
        let line = line.map_err(|error| io::Error::new(error.kind(), format!("line {number}: {error}")));
        let unmarked = |text: String| text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        (number, if number == 1 { line.map(unmarked) } else { line })
    }))
}

fn read_file(path: &Path) -> Result<TaskSet, TaskError> {
    let read_error = |source| TaskError::Read { path: path.to_owned(), source };
    let mut tasks: Vec<Task> = Vec::new();
    let mut first_lines = std::collections::HashMap::new();
    let mut unread = std::collections::BTreeSet::new();
    for (line, text) in numbered_lines(path).map_err(read_error)? {
        let text = text.map_err(read_error)?;
        if text.trim().is_empty() {
            continue;
        }
        let row = serde_json::from_str(&text).map_err(|source| TaskError::Json {
            path: path.to_owned(),
            line,
            source,
        })?;
        let (task, unknown) =
            formats::task(row).map_err(|reason| TaskError::Row { path: path.to_owned(), line, reason })?;
        unread.extend(unknown);
        if let Some(first) = first_lines.insert(task.id.clone(), line) {
            return Err(TaskError::Duplicate { path: path.to_owned(), line, first, id: task.id });
        }
        tasks.push(task);
    }
    if tasks.is_empty() {
        return Err(TaskError::Empty { path: path.to_owned() });
    }
    let name =
        path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
    Ok(TaskSet { name, tasks, unread: unread.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn load_text(text: &str) -> Result<TaskSet, TaskError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        load(file.path().to_str().unwrap(), 0)
    }

    const ROW: &str = r#"{"task_id":"T/0","prompt":"def f():\n","canonical_solution":"    return 1\n","test":"def check(c):\n    assert c() == 1\n","entry_point":"f"}"#;

    #[test]
    fn broken_json_is_reported_with_its_line() {
        let error = load_text(&format!("{ROW}\n\n{{oops\n")).unwrap_err().to_string();
        assert!(error.contains("line 3: broken JSON"), "{error}");
    }

    #[test]
    fn a_row_of_no_format_names_what_it_has() {
        let error = load_text(r#"{"id": 3, "question": "?"}"#).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("id, question"), "{error}");
    }

    #[test]
    fn duplicate_ids_and_empty_files_are_refused() {
        let error = load_text(&format!("{ROW}\n{ROW}\n")).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("already used on line 1"), "{error}");
        assert!(matches!(load_text("\n"), Err(TaskError::Empty { .. })));
        assert!(matches!(load("/nonexistent.jsonl", 0), Err(TaskError::Read { .. })));
    }

    #[test]
    fn gzip_is_read_whatever_the_name() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(ROW.as_bytes()).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&encoder.finish().unwrap()).unwrap();
        let set = load(file.path().to_str().unwrap(), 0).unwrap();
        assert_eq!(set.tasks[0].id, "T/0");
        assert!(set.get("T/0").is_some() && set.get("T/1").is_none());
    }

    #[test]
    fn limit_keeps_the_first() {
        assert_eq!(load(WARMUP, 7).unwrap().tasks.len(), 7);
    }
}
