//! Folders of Hugging Face where a GGUF is worked with: converted for a study and for `bench`, outlined for `plan`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::preflight;
use crate::compress::convert::{ConvertError, convert, outline};
use crate::exit::Expected;
use crate::report::file_stem;
use crate::study::Observer;

/// The GGUF of what the user named. One that was made now is removed again when this is dropped, unless it is to be kept.
pub(crate) struct Converted {
    pub(crate) path: PathBuf,
    made: bool,
}

impl Converted {
    pub(crate) fn of(named: &Path, results: &Path, observer: &mut dyn Observer) -> anyhow::Result<Self> {
        let (path, made) = made_gguf(named, results, observer)?;
        Ok(Self { path, made })
    }

    /// A study needs it from now on.
    pub(crate) fn keep(mut self) {
        self.made = false;
    }
}

impl Drop for Converted {
    fn drop(&mut self) {
        if self.made {
            preflight::discard(&self.path);
        }
    }
}

/// A Hugging Face model directory as a GGUF among the results, made when it is not there yet or the folder has changed; any other path as it is.
///
/// # Errors
/// The folder cannot be converted, or the disk refuses.
pub(crate) fn as_gguf(model: &Path, results: &Path, observer: &mut dyn Observer) -> anyhow::Result<PathBuf> {
    Ok(made_gguf(model, results, observer)?.0)
}

/// As [`as_gguf`]; also returns whether the file was written now.
fn made_gguf(model: &Path, results: &Path, observer: &mut dyn Observer) -> anyhow::Result<(PathBuf, bool)> {
    if !model.is_dir() {
        return Ok((model.to_owned(), false));
    }
    let mut files: Vec<String> = std::fs::read_dir(model)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let data = entry.metadata().ok()?;
            Some(format!("{:?} {} {:?}", entry.file_name(), data.len(), data.modified().ok()))
        })
        .collect();
    files.sort();
    let digest = Sha256::digest(format!("{} {}", model.display(), files.join("\n")).as_bytes());
    let key: String = crate::hex::encode(&digest[..8]);
    let name = model.file_name().map_or_else(|| "model".into(), |n| n.to_string_lossy().into_owned());
    let folder = std::path::absolute(results)?.join("cache").join("converted");
    let out = folder.join(format!("{}-{key}.gguf", file_stem(&name)));
    let made = !out.is_file();
    if made {
        observer.remark(&format!("converting {} to GGUF", model.display()));
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        match convert(model, &out, None) {
            Ok(done) => done.remarks.iter().for_each(|remark| observer.remark(remark)),
            Err(error) => {
                preflight::discard(&out);
                return Err(refused(error));
            }
        }
    }
    Ok((out, made))
}

/// A file that is removed when it is no longer needed: the GGUF that a folder would become, without its weights.
#[derive(Debug)]
pub(crate) struct Outline(PathBuf);

impl Outline {
    /// Writes the outline of a Hugging Face model directory among the temporary files; none for any other path.
    ///
    /// # Errors
    /// The folder cannot be converted, or the disk refuses.
    pub(crate) fn of(model: &Path) -> anyhow::Result<Option<Self>> {
        if !model.is_dir() {
            return Ok(None);
        }
        let path = crate::atomic_file::temp_beside(&std::env::temp_dir().join("autotune-outline"));
        // Made first, so that a half-written file is removed, too.
        let made = Self(path);
        outline(model, &made.0).map_err(refused)?;
        Ok(Some(made))
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Outline {
    fn drop(&mut self) {
        // A temporary file that stays behind is the system's to clear.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Distinguishes errors of the disk from errors of the folder.
fn refused(error: ConvertError) -> anyhow::Error {
    if crate::worker::fault::is_machines(&error) || matches!(error, ConvertError::Write { .. }) {
        return Expected::environment(error.to_string()).into();
    }
    Expected::usage(error.to_string()).into()
}
