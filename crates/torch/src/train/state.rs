//! A stopped recovery on the disk: what was trained, the optimizer's moments, and how far it was.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

use super::optimizer::Adam;
use autotune_core::atomic_file;
use autotune_engine::lab::RecoverProgress;

/// How far it was, and of what.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stopped {
    pub(super) progress: RecoverProgress,
    /// What was trained, so that another recovery's state is not taken for this one's.
    pub(super) of: String,
}

const TENSORS: &str = "tensors.safetensors";
const PROGRESS: &str = "progress.json";

/// Writes a state into a folder, the progress last: without it there is no state.
pub(super) fn save(
    folder: &Path,
    stopped: &Stopped,
    tensors: &BTreeMap<String, Tensor>,
    adam: &Adam,
) -> Result<(), TchError> {
    std::fs::create_dir_all(folder)?;
    let mut all: Vec<(String, Tensor)> = Vec::new();
    for (name, (m, v)) in &adam.moments {
        all.push((format!("m.{name}"), m.shallow_clone()));
        all.push((format!("v.{name}"), v.shallow_clone()));
        if let Some(tensor) = tensors.get(name) {
            all.push((format!("w.{name}"), tensor.detach()));
        }
    }
    let partial = folder.join(format!("{TENSORS}.partial"));
    Tensor::write_safetensors(&all, &partial)?;
    atomic_file::publish(&partial, &folder.join(TENSORS))?;
    let text = serde_json::to_string(stopped).map_err(|e| TchError::FileFormat(e.to_string()))?;
    Ok(atomic_file::write(&folder.join(PROGRESS), text.as_bytes())?)
}

/// Takes up a state, where there is one of the same recovery.
pub(super) fn take_up(
    folder: &Path,
    of: &str,
    tensors: &mut BTreeMap<String, Tensor>,
    adam: &mut Adam,
) -> Result<Option<RecoverProgress>, TchError> {
    let Ok(text) = std::fs::read_to_string(folder.join(PROGRESS)) else { return Ok(None) };
    let Some(stopped) = serde_json::from_str::<Stopped>(&text).ok().filter(|s| s.of == of) else {
        return Ok(None);
    };
    let _guard = tch::no_grad_guard();
    let mut first = BTreeMap::new();
    let mut second = BTreeMap::new();
    for (name, saved) in Tensor::read_safetensors(folder.join(TENSORS))? {
        match name.split_once('.') {
            Some(("m", name)) => drop(first.insert(name.to_owned(), saved)),
            Some(("v", name)) => drop(second.insert(name.to_owned(), saved)),
            Some(("w", name)) => {
                if let Some(tensor) = tensors.get_mut(name) {
                    tensor.f_copy_(&saved)?;
                }
            }
            _ => {}
        }
    }
    for (name, m) in first {
        if let Some(v) = second.remove(&name) {
            adam.moments.insert(name, (m, v));
        }
    }
    adam.steps = stopped.progress.steps;
    Ok(Some(stopped.progress))
}

/// Removes what is no longer needed.
pub(super) fn clear(folder: &Path) {
    for name in [PROGRESS, TENSORS] {
        // What stays is overwritten by the next.
        let _ = std::fs::remove_file(folder.join(name));
    }
    let _ = std::fs::remove_dir(folder);
}
