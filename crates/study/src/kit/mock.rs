//! The mock's model file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::{Kit, Materials};
use crate::predict::Shape;
use autotune_core::space::{Candidate, Config, ModelFacts};
use autotune_engine::EngineKind;
use autotune_engine::mock::MockModel;
use autotune_worker::protocol::{BuildRequest, Job};

pub(super) struct MockKit {
    path: PathBuf,
    model: MockModel,
    hash: String,
}

impl MockKit {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        let model =
            serde_json::from_str(&text).with_context(|| format!("{} is not a mock model", path.display()))?;
        let hash = autotune_core::hex::encode(Sha256::digest(text.as_bytes()));
        Ok(Self { path: path.to_owned(), model, hash })
    }
}

impl Kit for MockKit {
    fn engine(&self) -> EngineKind {
        EngineKind::Mock
    }

    fn facts(&self) -> ModelFacts {
        ModelFacts {
            layers: self.model.layers,
            heads: self.model.kv_heads * 2,
            kv_heads: self.model.kv_heads,
            ffn: self.model.ffn,
            context_max: 0,
            head_dim: self.model.head_dim,
            duplicated_embedding: false,
        }
    }

    fn hash(&self) -> &str {
        &self.hash
    }

    fn set_hash(&mut self, hash: String) {
        self.hash = hash;
    }

    fn describe(&self) -> String {
        format!("mock, {} layers", self.model.layers)
    }

    fn shipped_quantized(&self) -> Option<String> {
        None
    }

    fn shape(&self, config: &Config) -> anyhow::Result<Shape> {
        // Only the sum matters to a mock; the prediction adds process and buffers, which it has none of.
        Ok(Shape { weight_bytes: self.model.peak_bytes(config), ..Shape::default() })
    }

    fn reference_job(&self, out: &Path, _seed: u64) -> Option<Job> {
        let config = Config::from_candidate(&Candidate::default()).ok()?;
        let request = BuildRequest::Mock { model: self.path.clone(), config, out: out.to_owned() };
        Some(Job::Build { request })
    }

    fn wants_activations(&self) -> bool {
        false
    }

    fn build_request(&self, config: &Config, _materials: &Materials, out: &Path) -> BuildRequest {
        BuildRequest::Mock { model: self.path.clone(), config: config.clone(), out: out.to_owned() }
    }

    fn has_type(&self, _name: &str) -> bool {
        true
    }

    fn is_low(&self, _name: &str) -> bool {
        false
    }

    fn extension(&self) -> &'static str {
        "json"
    }
}
