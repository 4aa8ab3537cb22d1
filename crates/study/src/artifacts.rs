//! Artifacts on the disk: their names by content, and which may go.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::kit::Kit;
use super::settings::{ImportanceBy, RecoveryText, Scaling, Settings};
use autotune_core::space::Config;
use autotune_store::{TrialRecord, TrialState};

/// The inputs of an artifact's content in addition to its configuration: the model; of pruned ones what pruning went by; of rounded ones
/// whether channels were scaled; of trained ones how long, and on what.
#[must_use]
pub fn origin(settings: &Settings, kit: &dyn Kit, config: &Config, trained: bool) -> String {
    let by = settings.importance;
    let mut origin = kit.hash().to_owned();
    if config.is_pruned() && (by != ImportanceBy::default() || trained) {
        origin += &format!(" {by:?} {}", settings.recover_s);
    } else if trained {
        origin += &format!(" trained {}", settings.recover_s);
    }
    if settings.scaling == Scaling::Activations && kit.has_rounded(config) {
        origin += " scaled";
    }
    if trained && settings.recover_on != RecoveryText::default() {
        origin += &format!(" {:?}", settings.recover_on);
    }
    origin
}

/// The name of the artifact of a configuration: a hash of what decides its content (the model, the weight types, what is pruned).
/// Candidates that only run differently share it.
#[must_use]
pub fn artifact_key(config: &Config, model_hash: &str) -> String {
    let content = (
        model_hash,
        &config.weights,
        config.keep_kv_heads.to_bits(),
        config.keep_ffn.to_bits(),
        config.drop_layers,
    );
    let text = serde_json::to_string(&content).unwrap_or_default();
    autotune_core::hex::encode(&Sha256::digest(text.as_bytes())[..8])
}

/// Deletes artifacts, those of the oldest trials first, until the rest take at most `most_bytes`; never those of `kept` trials (a
/// front) and of trials that have not ended. They can be built again. Returns the bytes freed; a file that cannot be deleted stays.
pub fn sweep(results: &Path, trials: &[TrialRecord], kept: &[u64], most_bytes: u64) -> u64 {
    let path_of = |t: &TrialRecord| t.artifact.as_ref().map(|a| results.join(&a.path));
    let protected: Vec<_> = trials
        .iter()
        .filter(|t| kept.contains(&t.number) || matches!(t.state, TrialState::Running | TrialState::Queued))
        .filter_map(path_of)
        .collect();
    let mut files: Vec<(std::path::PathBuf, u64)> = Vec::new();
    for path in trials.iter().filter_map(path_of) {
        if let Ok(data) = path.metadata()
            && !files.iter().any(|(p, _)| *p == path)
        {
            files.push((path, data.len()));
        }
    }
    let mut total: u64 = files.iter().map(|(_, n)| n).sum();
    let mut freed = 0;
    for (path, bytes) in files {
        if total <= most_bytes {
            break;
        }
        if !protected.contains(&path) && std::fs::remove_file(&path).is_ok() {
            total -= bytes;
            freed += bytes;
        }
    }
    freed
}

/// Deletes the unfinished files of processes that were killed: named after their process (`NAME.PID-N.part`), which is no more.
pub fn clear_leftovers(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(|e| Some(e.ok()?.path())) {
        let of_the_dead = path.to_str().and_then(writer_of).is_some_and(|pid| !is_running(pid));
        if of_the_dead {
            // It stays for the next time.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The process in the name of an unfinished file.
fn writer_of(name: &str) -> Option<i32> {
    let (_, process) = name.strip_suffix(".part")?.rsplit_once('.')?;
    process.split_once('-')?.0.parse().ok()
}

fn is_running(pid: i32) -> bool {
    // Another user's process answers EPERM.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit;
    use autotune_core::space::{Candidate, Value};
    use autotune_engine::EngineKind;
    use autotune_model::synthetic::Shapes;
    use autotune_model::{ArchKind, GgmlType};
    use autotune_worker::timing::TimingLimits;
    use autotune_worker::workload::Workload;

    #[test]
    fn only_the_unfinished_files_of_the_dead_go() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("a.gguf.999999999-0.part");
        let own = autotune_core::atomic_file::temp_beside(&folder.path().join("a.gguf"));
        let whole = folder.path().join("a.gguf");
        let foreign = folder.path().join("notes.part");
        for path in [&gone, &own, &whole, &foreign] {
            std::fs::write(path, "x").unwrap();
        }
        clear_leftovers(folder.path());
        assert_eq!([&gone, &own, &whole, &foreign].map(|p| p.exists()), [false, true, true, true]);
        clear_leftovers(&folder.path().join("none"));
    }

    #[test]
    fn scaled_and_unscaled_files_have_different_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.gguf");
        Shapes::tiny(ArchKind::Llama).write(&path, GgmlType::F16, 3, None).unwrap();
        let kit = kit::open(EngineKind::LlamaCpp, &path).unwrap();
        let workload: Workload = "512:128:4".parse().unwrap();
        // As studies were stored before there was a choice.
        let mut settings: Settings = serde_json::from_value(serde_json::json!({
            "model": "t", "model_path": path, "budget_bytes": 1, "engine": EngineKind::LlamaCpp, "space": "laptop",
            "workload": workload, "tasks": "warmup", "task_limit": 1, "sampler": "random", "seed": 1,
            "timing": TimingLimits::default(), "rung_timeout_s": 1, "reports": ".",
        }))
        .unwrap();
        assert_eq!(settings.scaling, Scaling::None);
        let mut of = |ty: &str, scaling: Scaling| {
            settings.scaling = scaling;
            let candidate = Candidate::default().with("weights.ffn", Value::Text(ty.into()));
            origin(&settings, kit.as_ref(), &Config::from_candidate(&candidate).unwrap(), false)
        };
        assert_ne!(of("Q4_0", Scaling::Activations), of("Q4_0", Scaling::None));
        assert_eq!(of("F16", Scaling::Activations), of("F16", Scaling::None));
    }

    #[test]
    fn only_what_changes_the_file_changes_its_name() {
        let base = Candidate::default().with("weights.ffn", Value::Text("Q4_K".into()));
        let key = |c: &Candidate| artifact_key(&Config::from_candidate(c).unwrap(), "model");
        assert_eq!(key(&base), key(&base.clone().with("threads", Value::Int(2))));
        assert_eq!(key(&base), key(&base.clone().with("kv.k", Value::Text("q8_0".into()))));
        assert_ne!(key(&base), key(&base.clone().with("prune.keep_ffn", Value::Real(0.9))));
        assert_ne!(key(&base), artifact_key(&Config::from_candidate(&base).unwrap(), "other"));
    }
}
