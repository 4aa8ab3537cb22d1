//! The folder that `autotune export --to` leaves.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::checksum::SUMS_FILE;
use super::modelfile::modelfile;
use super::readme::readme;
use super::{Facts, SourceFacts, TENSORS_SHA256, stamp, stamped, tensors_sha256};
use crate::{replace_file, trial_json};
use autotune_host::identity::sha256_file;
use autotune_model::gguf::{Gguf, GgufError, MetaValue};

const README: &str = "README.md";
const MODELFILE: &str = "Modelfile";
const TRIAL: &str = "trial.json";

/// Why no hand-over could be written.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The folder holds something that no export wrote.
    #[error("{} holds `{found}`, which no export of this trial wrote; name a new or an empty folder", folder.display())]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// What lies in it.
        found: String,
    },
    /// A file cannot be written.
    #[error("failed to write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The artifact cannot be read, or its copy not written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

/// A hand-over in the making.
#[derive(Debug)]
pub struct Package<'a> {
    folder: &'a Path,
    facts: &'a Facts<'a>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageFiles {
    /// The model.
    pub model: PathBuf,
    /// Size of the model in bytes.
    pub bytes: u64,
    /// All files, the list of checksums last.
    pub files: Vec<PathBuf>,
}

impl<'a> Package<'a> {
    /// Makes the folder; one that holds an earlier export of the same trial may be written again.
    ///
    /// # Errors
    /// Something else lies in the folder, or it cannot be made.
    pub fn new(folder: &'a Path, facts: &'a Facts<'a>) -> Result<Self, PackageError> {
        let fail = |source| PackageError::Write { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(fail)?;
        let ours = BTreeSet::from([facts.file.as_str(), README, MODELFILE, TRIAL, SUMS_FILE]);
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
            if !ours.contains(name.as_str()) && !name.starts_with('.') {
                return Err(PackageError::Occupied { folder: folder.to_owned(), found: name });
            }
        }
        Ok(Self { folder, facts })
    }

    /// Where the model goes.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.folder.join(&self.facts.file)
    }

    /// Writes all files from a built artifact. The checksums come last: a folder without them is unfinished.
    ///
    /// # Errors
    /// The artifact cannot be read, or a file cannot be written.
    pub fn write(&self, artifact: &Path) -> Result<PackageFiles, PackageError> {
        let model = self.model();
        let sums = self.folder.join(SUMS_FILE);
        if let Err(source) = std::fs::remove_file(&sums)
            && source.kind() != io::ErrorKind::NotFound
        {
            return Err(PackageError::Write { path: sums, source });
        }
        let (bytes, source) = write_model(artifact, &model, self.facts)?;
        let mut files = vec![model.clone()];
        let mut texts = vec![(README, readme(self.facts, &source, bytes))];
        if self.facts.commands.run.is_some() {
            texts.push((MODELFILE, modelfile(self.facts, &source)));
        }
        let json = predictions_apart(trial_json(self.facts.analysis, self.facts.trial));
        texts.push((TRIAL, format!("{json:#}\n")));
        for (name, text) in texts {
            files.push(self.text(name, &text)?);
        }
        let mut list = String::new();
        for file in &files {
            let sum =
                sha256_file(file).map_err(|source| PackageError::Write { path: file.clone(), source })?;
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            list.push_str(&format!("{sum}  {name}\n"));
        }
        files.push(self.text(SUMS_FILE, &list)?);
        Ok(PackageFiles { model, bytes, files })
    }

    fn text(&self, name: &str, text: &str) -> Result<PathBuf, PackageError> {
        let path = self.folder.join(name);
        replace_file(&path, text.as_bytes())
            .map_err(|source| PackageError::Write { path: path.clone(), source })?;
        Ok(path)
    }
}

/// Whether a metric was predicted and not measured.
pub(super) fn is_prediction(metric: &str) -> bool {
    ["predicted_", "corrected_"].iter().any(|beginning| metric.starts_with(beginning))
}

/// Moves what was predicted out of the measurements of a trial: next to them it would be mistaken for one of them.
fn predictions_apart(mut trial: Value) -> Value {
    if let Some(measurements) = trial.get_mut("measurements").and_then(Value::as_object_mut) {
        let names: Vec<String> = measurements.keys().filter(|m| is_prediction(m)).cloned().collect();
        let apart: serde_json::Map<String, Value> =
            names.into_iter().filter_map(|name| measurements.remove_entry(&name)).collect();
        trial["predictions"] = Value::Object(apart);
    }
    trial
}

/// Writes the model under its full metadata; an artifact of another format is copied as it is. Returns its size in bytes and what it
/// says of its source.
///
/// # Errors
/// The artifact cannot be read, or the file not written.
pub fn write_model(
    artifact: &Path,
    out: &Path,
    facts: &Facts<'_>,
) -> Result<(u64, SourceFacts), PackageError> {
    if artifact.extension().is_some_and(|e| e == "gguf") || facts.analysis.study.engine == "llama.cpp" {
        let gguf = Gguf::open(artifact)?;
        let mut metadata = stamped(gguf.metadata(), facts);
        metadata.set(TENSORS_SHA256, MetaValue::Str(tensors_sha256(&gguf)?));
        return Ok((stamp(&gguf, &metadata, out)?, SourceFacts::of(&metadata)));
    }
    let fail = |source| PackageError::Write { path: out.to_owned(), source };
    let content = std::fs::read(artifact)
        .map_err(|source| PackageError::Write { path: artifact.to_owned(), source })?;
    replace_file(out, &content).map_err(fail)?;
    Ok((content.len() as u64, SourceFacts::default()))
}
