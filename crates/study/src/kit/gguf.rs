//! A GGUF file for llama.cpp.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::{Kit, Materials};
use crate::predict::{Matrices, Shape};
use autotune_compress::{Predictor, duplicated_embedding};
use autotune_core::space;
use autotune_core::space::Config;
use autotune_core::units::Bytes;
use autotune_engine::EngineKind;
use autotune_model::gguf::Gguf;
use autotune_model::{Architecture, GgmlType, ModelFacts};
use autotune_worker::protocol::{BuildRequest, Job};
use autotune_worker::rates::RatesRequest;

/// Matrices of these types are copied into another layout on CPUs with AVX2 (llama.cpp's `ggml-cpu/repack.cpp`).
const REPACKED: [&str; 3] = ["Q4_0", "Q4_K", "IQ4_NL"];
/// Stretches of the file that its hash samples, and their size in bytes.
const SAMPLES: u64 = 128;
const SAMPLE_BYTES: usize = 64 << 10;

pub(super) struct GgufKit {
    pub(super) path: PathBuf,
    hash: String,
    facts: ModelFacts,
    pub(super) predictor: Predictor,
}

impl GgufKit {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let gguf = Gguf::open(path)?;
        let arch = Architecture::read(&gguf).with_context(|| format!("cannot use {}", path.display()))?;
        let facts = ModelFacts::new(&gguf, &arch, duplicated_embedding(&gguf).unwrap_or(0));
        let mut predictor = Predictor::new(&gguf, None, None)?;
        if facts.already_quantized {
            predictor = predictor.with_shipped(gguf.len());
        }
        let hash =
            sampled_hash(path, gguf.len()).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(Self { path: path.to_owned(), hash, facts, predictor })
    }
}

/// SHA-256 over the length, the first mebibyte (the header) and evenly spaced stretches: a model of many gigabytes is distinguished from another
/// in milliseconds.
fn sampled_hash(path: &Path, length: u64) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let mut digest = Sha256::new();
    digest.update(length.to_le_bytes());
    let mut take = |start: u64, bytes: usize| -> std::io::Result<()> {
        let mut buffer = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.by_ref().take(bytes as u64).read_to_end(&mut buffer)?;
        digest.update(&buffer);
        Ok(())
    };
    take(0, 1 << 20)?;
    for i in 0..SAMPLES {
        take(length / SAMPLES * i, SAMPLE_BYTES)?;
    }
    take(length.saturating_sub(SAMPLE_BYTES as u64), SAMPLE_BYTES)?;
    Ok(autotune_core::hex::encode(digest.finalize()))
}

impl Kit for GgufKit {
    fn engine(&self) -> EngineKind {
        EngineKind::LlamaCpp
    }

    fn facts(&self) -> space::ModelFacts {
        space::ModelFacts {
            layers: self.facts.layers,
            heads: self.facts.heads,
            kv_heads: self.facts.kv_heads,
            ffn: self.facts.ffn,
            context_max: self.facts.context_length,
            head_dim: self.facts.head_dim,
            duplicated_embedding: self.facts.duplicated > 0,
        }
    }

    fn hash(&self) -> &str {
        &self.hash
    }

    fn set_hash(&mut self, hash: String) {
        self.hash = hash;
    }

    fn describe(&self) -> String {
        let f = &self.facts;
        let twice = match f.duplicated {
            0 => String::new(),
            n => format!(" (the embedding, {:.0} M, is stored twice and counted once)", n as f64 / 1e6),
        };
        format!(
            "{} ({}, {:.0} M parameters{twice}, {} layers, {} query and {} KV heads, {} file of {})",
            f.name,
            f.architecture,
            f.parameters as f64 / 1e6,
            f.layers,
            f.heads,
            f.kv_heads,
            f.file_type,
            Bytes(f.file_bytes)
        )
    }

    fn shipped_quantized(&self) -> Option<String> {
        self.facts.already_quantized.then(|| self.facts.file_type.clone())
    }

    fn shape(&self, config: &Config) -> anyhow::Result<Shape> {
        let predicted = self.predictor.predict(config)?;
        let arch = self.predictor.arch();
        let (hidden, head) = (u64::from(arch.hidden), u64::from(arch.head_dim));
        let mut shape = Shape {
            weight_bytes: predicted.bytes,
            vocabulary: u64::from(arch.vocab),
            hidden,
            active_weights: u64::from(arch.vocab) * hidden,
            repacked_bytes: REPACKED.iter().filter_map(|t| predicted.matrix_bytes.get(t)).sum(),
            ..Shape::default()
        };
        let (output, output_bytes) = predicted.output.unwrap_or((GgmlType::F32, 0));
        let weights = |ty: GgmlType, bytes: u64| bytes / ty.block_bytes() * ty.block_len();
        for (name, bytes) in &predicted.matrix_bytes {
            let Ok(ty) = name.parse::<GgmlType>() else { continue };
            let of_layers = bytes - if ty == output { output_bytes.min(*bytes) } else { 0 };
            shape.matrices.push(Matrices { ty, weights: weights(ty, of_layers), output: false });
        }
        shape.matrices.push(Matrices { ty: output, weights: weights(output, output_bytes), output: true });
        let widest = predicted.layers.iter().map(|l| l.heads).max().unwrap_or(1).max(1);
        for layer in &predicted.layers {
            shape.layers += f64::from(layer.heads) / f64::from(widest);
            let (heads, kv, ffn) = (u64::from(layer.heads), u64::from(layer.kv_heads), u64::from(layer.ffn));
            shape.active_weights += hidden * (2 * heads + 2 * kv) * head + 3 * hidden * ffn;
            shape.k_elements += kv * head;
            shape.v_elements += kv * head;
            shape.ffn = shape.ffn.max(ffn);
            shape.heads = shape.heads.max(heads);
        }
        Ok(shape)
    }

    fn rates_request(&self, threads: u32) -> Option<RatesRequest> {
        let arch = self.predictor.arch();
        let layer = arch.layers.iter().max_by_key(|l| l.heads)?;
        Some(RatesRequest {
            threads,
            hidden: arch.hidden,
            heads: layer.heads,
            kv_heads: layer.kv_heads,
            head_dim: arch.head_dim,
            ffn: layer.ffn,
        })
    }

    fn reference_job(&self, out: &Path, seed: u64) -> Option<Job> {
        (self.facts.already_quantized || self.facts.says_split).then(|| {
            let request = BuildRequest::Reference { source: self.path.clone(), out: out.to_owned(), seed };
            Job::Build { request }
        })
    }

    fn remark(&self) -> Option<String> {
        let n = self.facts.duplicated as f64 / 1e6;
        (self.facts.duplicated > 0).then(|| {
            format!(
                "the embedding is stored twice (token_embd and output, {n:.0} M parameters each, counted once); `weights.tie` in the space stores it once"
            )
        })
    }

    fn wants_activations(&self) -> bool {
        true
    }

    fn build_request(&self, config: &Config, materials: &Materials, out: &Path) -> BuildRequest {
        BuildRequest::Gguf {
            source: self.path.clone(),
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

    fn extension(&self) -> &'static str {
        "gguf"
    }
}
