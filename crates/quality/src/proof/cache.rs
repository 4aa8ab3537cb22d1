//! Proofs that were found before, in a file of JSON lines.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Proof, Reason};
use crate::tasks::{Task, TaskLanguage};

/// Raised when stubs or calls change, so that what was found before is found anew.
const VERSION: u32 = 1;
/// A file that has grown over this is begun anew, in bytes: some 100,000 tasks.
const LARGEST: u64 = 16 << 20;

/// What a proof depends on besides the task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The limits of a program.
    pub limits: String,
    /// The program that judges: another build may judge otherwise.
    pub judge: String,
    /// The interpreter of each language, with what it can import.
    pub interpreters: Vec<(TaskLanguage, String)>,
}

/// Known proofs. A file that cannot be read or written only costs time.
#[derive(Debug, Default)]
pub struct Cache {
    context: Context,
    known: HashMap<String, Kept>,
    file: Option<File>,
}

/// What is kept: only what does not change by itself. A package can be installed, a busy machine becomes idle.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Proven,
    StubsFail,
    NothingAsserted { stub: String },
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    proof: Kept,
}

impl Cache {
    /// One that knows and keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The cache in a file, which need not exist yet; `None` keeps nothing.
    #[must_use]
    pub fn open(path: Option<&Path>, context: Context) -> Self {
        let Some(path) = path else { return Self { context, ..Self::default() } };
        let known = read(path);
        Self { context, known, file: appending(path).ok() }
    }

    /// What is known of a task.
    #[must_use]
    pub fn get(&self, task: &Task) -> Option<Proof> {
        if self.known.is_empty() {
            return None;
        }
        Some(match self.known.get(&self.key(task))? {
            Kept::Proven => Proof::Proven,
            Kept::StubsFail => Proof::StubsFail,
            Kept::NothingAsserted { stub } => Proof::LeftOut(Reason::NothingAsserted { stub: stub.clone() }),
        })
    }

    /// Keeps what was found.
    pub fn put(&mut self, task: &Task, proof: &Proof) {
        let proof = match proof {
            Proof::Proven => Kept::Proven,
            Proof::StubsFail => Kept::StubsFail,
            Proof::LeftOut(Reason::NothingAsserted { stub }) => Kept::NothingAsserted { stub: stub.clone() },
            _ => return,
        };
        let line = Line { key: self.key(task), proof };
        if let (Some(file), Ok(mut text)) = (&mut self.file, serde_json::to_string(&line)) {
            text.push('\n');
            // One write of a short line: several processes may append at once.
            let _ = file.write_all(text.as_bytes());
        }
        self.known.insert(line.key, line.proof);
    }

    fn key(&self, task: &Task) -> String {
        let interpreter = self.context.interpreters.iter().find(|(language, _)| *language == task.language);
        let all = (VERSION, &self.context.limits, &self.context.judge, interpreter, task);
        // Plain data always serializes.
        Sha256::digest(serde_json::to_vec(&all).unwrap_or_default())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn read(path: &Path) -> HashMap<String, Kept> {
    let Ok(file) = File::open(path) else { return HashMap::new() };
    if file.metadata().is_ok_and(|m| m.len() > LARGEST) {
        let _ = fs::remove_file(path);
        return HashMap::new();
    }
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    lines
        .filter_map(|line| serde_json::from_str::<Line>(&line).ok())
        .map(|line| (line.key, line.proof))
        .collect()
}

fn appending(path: &Path) -> std::io::Result<File> {
    fs::create_dir_all(path.parent().map_or_else(PathBuf::new, Path::to_path_buf))?;
    File::options().create(true).append(true).open(path)
}
