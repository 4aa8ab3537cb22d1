//! Whether an artifact that the user names is the file that was measured, where something says what that was.

use std::path::Path;

use crate::exit::{Exit, Expected};
use crate::host::identity::sha256_file;
use crate::model::gguf::Gguf;
use crate::report::handover::damaged_tensors;
use crate::store::{DATABASE_FILE, Store};

/// Refuses a file whose hash differs from the one in the database or in its own metadata. A file without a recorded hash passes.
///
/// # Errors
/// The file is damaged (exit code 6), or cannot be read.
pub(super) fn refuse_damaged(artifact: &Path) -> anyhow::Result<()> {
    let rejected = |text: String| Expected { exit: Exit::Rejected, text };
    if let Some((study, trial, measured)) = recorded(artifact) {
        let found = sha256_file(artifact)?;
        if found != measured {
            return Err(rejected(format!(
                "{} has the SHA-256 {found}, but trial {trial} of study {study} was measured with {measured}: it was changed or damaged; \
                 `autotune export {study} --trial {trial}` rebuilds it",
                artifact.display()
            ))
            .into());
        }
    }
    if artifact.extension().is_some_and(|e| e == "gguf")
        && let Ok(gguf) = Gguf::open(artifact)
        && let Some((stated, found)) = damaged_tensors(&gguf)?
    {
        return Err(rejected(format!(
            "the tensors of {} have the SHA-256 {found}, but the file was exported with {stated}: it was changed or damaged, export the trial \
             again",
            artifact.display()
        ))
        .into());
    }
    Ok(())
}

/// The trial whose artifact a file in a results folder is, and the SHA-256 that it was measured with.
fn recorded(artifact: &Path) -> Option<(String, u64, String)> {
    let path = std::path::absolute(artifact).ok()?;
    let folder = path.parent()?;
    let results = folder.parent()?;
    let database = results.join(DATABASE_FILE);
    if !database.is_file() {
        return None;
    }
    let relative = path.strip_prefix(results).ok()?.to_str()?.to_owned();
    // A database that cannot be read holds no hash of the file.
    Store::open_existing(&database).ok()?.recorded_artifact(&relative).ok()?
}
