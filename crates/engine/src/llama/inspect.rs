//! Reading a model file without its weights: what `llama_model_params::no_alloc` does. Vocabulary, metadata, and the names and shapes of
//! all tensors are checked as in a real load, in a fraction of a second whatever the model's size.

use std::path::Path;

use llama_cpp_sys_2 as ffi;

use super::log;
use super::session::{Model, load_with, make_context};
use crate::{EngineError, FlashAttention, Inspection, RunConfig};
use autotune_core::space::KvType;

/// Warnings of the library that say that the model will answer worse than it could.
const SERIOUS: [&str; 2] = ["pre-tokenizer", "DEGRADED"];

/// Reads a file; with `caches`, also tries which cache types a context can be made with.
pub(super) fn inspect(artifact: &Path, caches: bool) -> Result<Inspection, EngineError> {
    let model = load_with(artifact, |params| {
        params.n_gpu_layers = 0;
        params.load_mode = ffi::LLAMA_LOAD_MODE_NONE;
        params.use_extra_bufts = false;
        params.no_alloc = true;
    })?;
    let warnings = log::lines().into_iter().filter(|line| SERIOUS.iter().any(|word| line.contains(word)));
    let warnings = warnings.map(|line| line.trim_matches(|c: char| c == '*' || c.is_whitespace()).to_owned());
    let mut found = Inspection { warnings: warnings.collect(), ..Inspection::default() };
    // SAFETY: a plain getter on a live vocabulary.
    let tokens = unsafe { ffi::llama_vocab_n_tokens(model.vocab()) };
    found.vocabulary = usize::try_from(tokens).unwrap_or(0);
    // Where not even floats make a context, the refusals would say nothing of the types.
    if caches && refusal(&model, KvType::F16, KvType::F16).is_none() {
        let all = || KvType::ALL.into_iter();
        found.refused_k = all().filter_map(|ty| Some((ty, refusal(&model, ty, KvType::F16)?))).collect();
        found.refused_v = all().filter_map(|ty| Some((ty, refusal(&model, KvType::F16, ty)?))).collect();
    }
    Ok(found)
}

/// Why no context can be made with these cache types, as timed runs and grading would make it; none where it can.
fn refusal(model: &Model, kv_k: KvType, kv_v: KvType) -> Option<String> {
    // A quantized K without flash attention is laid out in rows of all heads, which the library does not check: it would abort.
    let quantized = kv_k.is_quantized() || kv_v.is_quantized();
    let flash = if quantized { FlashAttention::On } else { FlashAttention::Off };
    let run = RunConfig { kv_k, kv_v, flash, max_outputs: 1, ..RunConfig::least() };
    match make_context(model, &run) {
        Ok(_) => None,
        Err(EngineError::Context { detail, .. }) => Some(detail),
        Err(other) => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llama::LlamaCpp;
    use autotune_model::synthetic::Shapes;
    use autotune_model::{ArchKind, GgmlType};

    #[test]
    fn a_head_that_blocks_do_not_divide_refuses_quantized_caches() {
        let _backend = LlamaCpp::new();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let refused = |head_dim: u32| {
            let shapes = Shapes { head_dim, heads: 2, kv_heads: 2, ..Shapes::tiny(ArchKind::Llama) };
            shapes.write(&path, GgmlType::F16, 1, None).unwrap();
            let found = inspect(&path, true).unwrap();
            assert_eq!(found.vocabulary, 320);
            let types = |list: &[(KvType, String)]| list.iter().map(|(ty, _)| *ty).collect::<Vec<_>>();
            (types(&found.refused_k), types(&found.refused_v))
        };
        assert_eq!(refused(64), (vec![], vec![]));
        let quantized = vec![KvType::Q8_0, KvType::Q4_0];
        assert_eq!(refused(100), (quantized.clone(), quantized));
    }

    #[test]
    fn shapes_that_the_library_refuses_are_told_without_the_weights() {
        let _backend = LlamaCpp::new();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let shapes = Shapes { vocab: 384, ..Shapes::tiny(ArchKind::Llama) };
        shapes.write(&path, GgmlType::F16, 1, None).unwrap();
        assert_eq!(inspect(&path, false).unwrap().vocabulary, 384);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 4096]).unwrap();
        let error = inspect(&path, false).unwrap_err().to_string();
        assert!(error.contains("m.gguf"), "{error}");
    }
}
