//! A GGUF file for the torch engine: references, statistics and pruning as for llama.cpp, weights in libtorch's own types.

use std::path::Path;

use super::gguf::GgufKit;
use super::{Kit, Materials};
use crate::predict::Shape;
use autotune_compress::torch::TorchTypes;
use autotune_core::space::{Config, ModelFacts, WeightPlan};
use autotune_engine::EngineKind;
use autotune_model::{Architecture, TensorName, TorchType, WeightGroup};
use autotune_worker::protocol::{BuildRequest, Job};

/// What libtorch takes before any model: its libraries' own pages and tables.
const LIBRARY_BYTES: u64 = 170 << 20;
/// FBGEMM pads rows to multiples of this.
const FBGEMM_ROW: u64 = 512;

/// The types that people use, each for all weights.
const PRESETS: [&str; 5] = ["BF16", "INT8_DYN", "F32", "INT8", "INT4"];

pub(super) struct TorchKit {
    gguf: GgufKit,
}

impl TorchKit {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { gguf: GgufKit::open(path)? })
    }
}

impl Kit for TorchKit {
    fn engine(&self) -> EngineKind {
        EngineKind::Torch
    }

    fn facts(&self) -> ModelFacts {
        // Tying is an artifact of llama.cpp's files.
        ModelFacts { duplicated_embedding: false, ..self.gguf.facts() }
    }

    fn hash(&self) -> &str {
        self.gguf.hash()
    }

    fn set_hash(&mut self, hash: String) {
        self.gguf.set_hash(hash);
    }

    fn describe(&self) -> String {
        self.gguf.describe()
    }

    fn shipped_quantized(&self) -> Option<String> {
        None
    }

    fn shape(&self, config: &Config) -> anyhow::Result<Shape> {
        let types = TorchTypes::new(config)?;
        let predictor = &self.gguf.predictor;
        // Sizes of what is kept do not depend on the types.
        let floats = Config { weights: WeightPlan::PerGroup(Vec::new()), ..config.clone() };
        let predicted = predictor.predict(&floats)?;
        let arch = Architecture { layers: predicted.layers, ..predictor.arch().clone() };
        let mut shape = Shape {
            vocabulary: u64::from(arch.vocab),
            hidden: u64::from(arch.hidden),
            layers: arch.layers.len() as f64,
            process_bytes: LIBRARY_BYTES,
            ..Shape::default()
        };
        for layer in &arch.layers {
            let kv = u64::from(layer.kv_heads) * u64::from(arch.head_dim);
            shape.k_elements += kv;
            shape.v_elements += kv;
            shape.ffn = shape.ffn.max(u64::from(layer.ffn));
            shape.heads = shape.heads.max(u64::from(layer.heads));
        }
        for (name, [row, rows]) in arch.weight_shapes() {
            let name = TensorName::parse(&name);
            let looked_up = name.group() == Some(WeightGroup::Embd);
            let asked = types.asked(name, arch.layers.len()).unwrap_or(TorchType::F32);
            let ty = asked.fit(row, rows, looked_up);
            shape.weight_bytes += match ty {
                TorchType::Int8Dynamic => row.next_multiple_of(FBGEMM_ROW) * rows + rows * 8,
                other => other.bytes(row, rows),
            };
            shape.active_weights += row * rows;
        }
        Ok(shape)
    }

    fn reference_job(&self, out: &Path, seed: u64) -> Option<Job> {
        self.gguf.reference_job(out, seed)
    }

    fn wants_activations(&self) -> bool {
        true
    }

    fn build_request(&self, config: &Config, materials: &Materials, out: &Path) -> BuildRequest {
        BuildRequest::Torch {
            reference: materials.reference.clone(),
            config: config.clone(),
            stats: materials.stats.clone(),
            importance: materials.importance.clone(),
            scale: materials.scale && self.has_rounded(config),
            cache: materials.tensors.clone(),
            out: out.to_owned(),
            threads: materials.threads,
        }
    }

    fn presets(&self) -> &'static [&'static str] {
        &PRESETS
    }

    fn has_type(&self, name: &str) -> bool {
        name.parse::<TorchType>().is_ok()
    }

    fn is_low(&self, name: &str) -> bool {
        name.parse() == Ok(TorchType::Int4)
    }

    fn is_for_gpu(&self, name: &str) -> bool {
        name.parse().is_ok_and(TorchType::is_for_gpu)
    }

    fn is_rounded(&self, name: &str) -> bool {
        use TorchType as T;
        matches!(name.parse(), Ok(T::Int8 | T::Int8Dynamic | T::Int4 | T::Nf4))
    }

    fn has_block_caches(&self) -> bool {
        false
    }

    fn float_type(&self) -> &'static str {
        TorchType::F32.name()
    }

    fn extension(&self) -> &'static str {
        "torch.gguf"
    }
}
