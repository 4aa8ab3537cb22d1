//! Measurements as lines of JSON in a file, so that a run that stops can go on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Lines that are there, and a place for more.
pub struct Rows<T> {
    /// All, in the order in which they were measured.
    pub all: Vec<T>,
    file: Option<File>,
}

impl<T: Serialize + DeserializeOwned> Rows<T> {
    /// Reads a file, which need not exist; without one, lines live in memory alone.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self { all: Vec::new(), file: None }) };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let all = text
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display())))
            .collect::<Result<_>>()?;
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { all, file: Some(file.with_context(|| path.display().to_string())?) })
    }

    /// Adds a line, at once.
    pub fn push(&mut self, row: T) -> Result<()> {
        if let Some(file) = &mut self.file {
            writeln!(file, "{}", serde_json::to_string(&row)?)?;
        }
        self.all.push(row);
        Ok(())
    }
}
