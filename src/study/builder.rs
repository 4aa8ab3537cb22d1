//! The worker's building jobs: from a request to an artifact.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::engine::mock::MockModel;
use crate::measure::protocol::{BuildRequest, Built};

/// Builds what is asked for; `progress` hears of tensors done and in all.
pub(super) fn build(request: &BuildRequest, _progress: &mut dyn FnMut(u64, u64)) -> anyhow::Result<Built> {
    match request {
        BuildRequest::Mock { model, config, out } => {
            let model: MockModel = serde_json::from_str(&std::fs::read_to_string(model)?)?;
            let text = serde_json::to_string(&model.artifact(config))?;
            std::fs::write(out, &text)?;
            let hash = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
            Ok(Built { bytes: text.len() as u64, hash, ..Built::default() })
        }
        BuildRequest::Reference { .. } | BuildRequest::Gguf { .. } => anyhow::bail!("not integrated"),
    }
}

/// Collects activation statistics.
pub(super) fn activations(
    _model: &Path,
    _text: &str,
    _max_tokens: u32,
    _threads: u32,
    _out: &Path,
) -> anyhow::Result<()> {
    anyhow::bail!("not integrated")
}
