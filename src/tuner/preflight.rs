//! Before a study, a measurement or a hand-over: can the model be loaded, are its weights numbers, and how much memory may be used?

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::engine::{EngineKind, Inspection};
use crate::host::{HostInfo, default_cache_dir};
use crate::model::{TensorName, WeightGroup};
use crate::space::{KvType, Space, Value};
use crate::study::Observer;
use crate::study::Preflight;
use crate::study::kit::Kit;
use crate::study::prepare::timing_text;
use crate::units::Bytes;
use crate::worker::protocol::ValueReport;
use crate::worker::supervisor::Supervisor;

/// Loads the model's vocabulary and shapes in a worker, as the engine would load them; says what the engine warns of.
///
/// # Errors
/// The engine cannot load it: wrong input, with the engine's own reason.
pub(crate) fn load(
    engine: EngineKind,
    model: &Path,
    caches: bool,
    observer: &mut dyn Observer,
) -> anyhow::Result<Inspection> {
    let supervisor = Supervisor::of_this_program()?;
    let found = Preflight { supervisor: &supervisor, engine, model, cancelled: &|| false }.load(caches)?;
    for warning in &found.warnings {
        observer.remark(&format!("{}: {} warns: {warning}", model.display(), engine.name()));
    }
    Ok(found)
}

/// The engine that loads a study's source model: candidates of the torch engine, too, are built from what llama.cpp reads.
pub(crate) fn source_engine(engine: EngineKind) -> Option<EngineKind> {
    match engine {
        EngineKind::Mock => None,
        EngineKind::LlamaCpp | EngineKind::Torch => Some(EngineKind::LlamaCpp),
    }
}

/// Checks a study's source model: loads it, then reads every weight, unless that was done before.
///
/// # Errors
/// A model that cannot be loaded, or whose weights or logits are NaN or infinite: wrong input.
pub(crate) fn source(
    engine: EngineKind,
    model: &Path,
    observer: &mut dyn Observer,
) -> anyhow::Result<Option<Inspection>> {
    source_engine(engine).map(|engine| load(engine, model, true, observer)).transpose()
}

/// Reads every weight of a study's source model once; what was found is kept under a name that changes with the file.
///
/// # Errors
/// As [`source`].
pub(crate) fn values(
    engine: EngineKind,
    model: &Path,
    kit: &dyn Kit,
    host: &HostInfo,
    observer: &mut dyn Observer,
) -> anyhow::Result<ValueReport> {
    let Some(engine) = source_engine(engine) else { return Ok(ValueReport::default()) };
    let stamp = stamp(model, kit.hash(), &engine.version().unwrap_or_default());
    let known = stamp.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
    if let Some(report) = known.and_then(|text| serde_json::from_str(&text).ok()) {
        return Ok(report);
    }
    observer.remark("reading every weight once to check for NaN and infinity");
    let supervisor = Supervisor::of_this_program()?;
    let preflight = Preflight { supervisor: &supervisor, engine, model, cancelled: &|| false };
    let (threads, memory) = (host.usable_threads(), host.usable_bytes());
    let report = preflight.values(&timing_text(), threads, memory, &mut |_, _| {})?;
    if let (Some(path), Ok(text)) = (stamp, serde_json::to_string(&report)) {
        // Without it the weights are read again.
        let _ = path.parent().map(std::fs::create_dir_all);
        let _ = std::fs::write(path, text);
    }
    Ok(report)
}

/// Where the report on a file's weights is kept; none without a cache folder.
fn stamp(model: &Path, hash: &str, version: &str) -> Option<PathBuf> {
    let file = std::fs::metadata(model).ok()?;
    let modified = file.modified().ok()?;
    let digest = Sha256::digest(format!("{hash} {} {modified:?} {version}", file.len()).as_bytes());
    let name: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    Some(default_cache_dir()?.join("weights").join(format!("{name}.json")))
}

/// Removes a file that was converted for a study which cannot be, and the folders that hold nothing else.
pub(crate) fn discard(converted: &Path) {
    let _ = std::fs::remove_file(converted);
    for folder in converted.ancestors().skip(1).take(3) {
        if std::fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

/// Takes out of a space the cache types that the engine refuses for a model, and half precision where the weights are beyond it; tells
/// what was left out, a line each.
pub(crate) fn leave_out(space: &mut Space, found: &Inspection, values: &ValueReport) -> Vec<String> {
    let mut told = Vec::new();
    for (name, refused) in [("kv.k", &found.refused_k), ("kv.v", &found.refused_v)] {
        for (ty, why) in refused {
            remove(
                space,
                name,
                ty.name(),
                &format!("the engine refuses it for this model: {why}"),
                &mut told,
            );
        }
    }
    for beyond in &values.beyond_f16 {
        let role = match TensorName::parse(&beyond.tensor).group() {
            Some(WeightGroup::Attn) => "attn",
            Some(WeightGroup::Ffn) => "ffn",
            Some(WeightGroup::Embd) => "embd",
            None => continue,
        };
        let why = format!(
            "{} holds {} beyond its range (up to {:.3e}), which would be infinite",
            beyond.tensor,
            if beyond.values == 1 { "1 weight".to_owned() } else { format!("{} weights", beyond.values) },
            beyond.largest
        );
        let prefix = format!("weights.{role}");
        let names: Vec<String> = space.params.iter().map(|p| p.name.clone()).collect();
        for name in names.iter().filter(|n| **n == prefix || n.starts_with(&format!("{prefix}."))) {
            remove(space, name, "F16", &why, &mut told);
        }
    }
    told
}

/// Removes a level, unless it is the last.
fn remove(space: &mut Space, param: &str, level: &str, why: &str, told: &mut Vec<String>) {
    let Some(param) = space.params.iter_mut().find(|p| p.name == param) else { return };
    let is_level = |value: &Value| matches!(value, Value::Text(name) if name == level);
    if param.levels.len() > 1 && param.levels.iter().any(is_level) {
        param.levels.retain(|value| !is_level(value));
        told.push(format!("`{}`: {level} left out: {why}", param.name));
    }
}

/// A cache type that a model's file or flags ask for and that the engine refuses, in words; none where it takes both.
pub(crate) fn refused_cache(found: &Inspection, kv_k: KvType, kv_v: KvType) -> Option<String> {
    let of = |list: &[(KvType, String)], ty: KvType| {
        list.iter().find(|(t, _)| *t == ty).map(|(_, why)| why.clone())
    };
    of(&found.refused_k, kv_k).or_else(|| of(&found.refused_v, kv_v))
}

/// The budget that can be kept here: no more than this process may have, with a remark where more was asked for.
pub(crate) fn budget(asked: u64, host: &HostInfo) -> (u64, Option<String>) {
    let memory = &host.memory;
    let usable = host.usable_bytes();
    if asked <= usable {
        return (asked, None);
    }
    let limit = |limit: Option<u64>| limit == Some(usable);
    let what = if limit(memory.cgroup_limit_bytes) {
        "the limit of its control group"
    } else if limit(memory.address_space_limit_bytes) {
        "the limit of its address space, ulimit -v"
    } else if limit(memory.data_limit_bytes) {
        "the limit of its data segment, ulimit -d"
    } else {
        "the memory of the machine"
    };
    let text = format!(
        "the budget of {} is more than this process may have here: {} ({what}), which is the budget now",
        Bytes(asked),
        Bytes(usable)
    );
    (usable, Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Param, ParamKind};
    use crate::worker::protocol::BeyondF16;

    #[test]
    fn what_the_engine_refuses_and_half_precision_cannot_hold_is_left_out() {
        let texts = |names: &[&str]| names.iter().map(|n| Value::Text((*n).into())).collect::<Vec<_>>();
        let param = |name: &str, names: &[&str]| Param {
            name: name.into(),
            kind: ParamKind::Ordinal,
            levels: texts(names),
        };
        let mut space = Space {
            name: "s".into(),
            description: String::new(),
            params: vec![
                param("weights.ffn.early", &["Q8_0", "F16"]),
                param("weights.attn", &["Q8_0", "F16"]),
                param("kv.k", &["q8_0", "f16"]),
                param("kv.v", &["q8_0"]),
            ],
        };
        let refused = vec![(KvType::Q8_0, "no".to_owned())];
        let found = Inspection { refused_k: refused.clone(), refused_v: refused, ..Inspection::default() };
        let beyond = BeyondF16 { tensor: "blk.0.ffn_up.weight".into(), values: 32, largest: 1e7 };
        let told = leave_out(&mut space, &found, &ValueReport { beyond_f16: vec![beyond] });
        assert_eq!(space.params[0].levels, texts(&["Q8_0"]));
        assert_eq!(space.params[1].levels, texts(&["Q8_0", "F16"]));
        assert_eq!(space.params[2].levels, texts(&["f16"]));
        assert_eq!(
            space.params[3].levels,
            texts(&["q8_0"]),
            "the last level stays, and is refused when it is asked"
        );
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].contains("blk.0.ffn_up.weight holds 32 weights"), "{told:?}");
        assert_eq!(refused_cache(&found, KvType::F16, KvType::Q8_0).as_deref(), Some("no"));
        assert_eq!(refused_cache(&found, KvType::F16, KvType::F16), None);
    }
}
