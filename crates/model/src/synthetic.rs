//! Models made of seeded random numbers, in any shape: for tests, benches and trying a machine without a download.
//!
//! The weights have the scale of an initialised network (standard deviation `1/sqrt(fan-in)`), so that activations neither vanish nor
//! explode through tens of layers. Every tensor draws from its own generator, seeded by the model's seed and the tensor's name, so
//! that tensors can be made in any order. Data is written in chunks: memory does not depend on the model's size.

use std::path::Path;

use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::gguf::{Gguf, GgufError, GgufWriter, MetaArray, MetaValue, Metadata, TensorDecl};
use super::{ArchKind, GgmlType, TensorName, TensorRole, float_bytes};

/// The shape of a model to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Shapes {
    /// The graph.
    pub kind: ArchKind,
    /// Number of layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// FFN width.
    pub ffn: u32,
    /// Query heads.
    pub heads: u32,
    /// KV heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Vocabulary, at least 259 where the tokenizer is our own (bytes and three control tokens).
    pub vocab: u32,
    /// Whether the embeddings serve as output matrix.
    pub tied: bool,
    /// Context length that is stated.
    pub context_length: u32,
}

impl Shapes {
    /// The shapes of Qwen2.5-Coder-3B.
    #[must_use]
    pub fn qwen2_5_coder_3b() -> Self {
        Self {
            kind: ArchKind::Qwen2,
            layers: 36,
            hidden: 2048,
            ffn: 11008,
            heads: 16,
            kv_heads: 2,
            head_dim: 128,
            vocab: 151_936,
            tied: true,
            context_length: 32_768,
        }
    }

    /// Two small layers with four heads on two KV heads, for tests. Rows of 256 and 512 elements take K-quants.
    #[must_use]
    pub fn tiny(kind: ArchKind) -> Self {
        Self {
            kind,
            layers: 2,
            hidden: 256,
            ffn: 512,
            heads: 4,
            kv_heads: 2,
            head_dim: 64,
            vocab: 320,
            tied: true,
            context_length: 512,
        }
    }

    /// Metadata that llama.cpp loads. The tokenizer is borrowed from `tokenizer` where its vocabulary fits, else made of bytes.
    #[must_use]
    pub fn metadata(&self, tokenizer: Option<&Metadata>) -> Metadata {
        let mut m = Metadata::default();
        let prefix = self.kind.name();
        m.set("general.architecture", MetaValue::Str(prefix.to_owned()));
        m.set("general.name", MetaValue::Str(format!("synthetic {prefix}")));
        m.set("general.file_type", MetaValue::U32(1));
        let numbers = [
            ("block_count", self.layers),
            ("context_length", self.context_length),
            ("embedding_length", self.hidden),
            ("feed_forward_length", self.ffn),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("rope.dimension_count", self.head_dim),
        ];
        for (key, value) in numbers {
            m.set(&format!("{prefix}.{key}"), MetaValue::U32(value));
        }
        m.set(&format!("{prefix}.rope.freq_base"), MetaValue::F32(1e6));
        m.set(&format!("{prefix}.attention.layer_norm_rms_epsilon"), MetaValue::F32(1e-6));
        m.set(&format!("{prefix}.vocab_size"), MetaValue::U32(self.vocab));
        let fits = |t: &&Metadata| {
            let tokens = t.get("tokenizer.ggml.tokens").and_then(MetaValue::as_array);
            tokens.is_some_and(|a| a.len() <= u64::from(self.vocab))
        };
        match tokenizer.filter(fits) {
            Some(source) => borrow_tokenizer(&mut m, source, self.vocab),
            None => byte_tokenizer(&mut m, self.vocab),
        }
        m
    }

    /// The tensors: matrices of type `ty`, norms and biases in F32.
    #[must_use]
    pub fn tensors(&self, ty: GgmlType) -> Vec<TensorDecl> {
        let [hidden, ffn, q, kv, vocab] =
            [self.hidden, self.ffn, self.heads * self.head_dim, self.kv_heads * self.head_dim, self.vocab]
                .map(u64::from);
        let matrix = |name: String, row: u64, rows: u64| TensorDecl { name, dims: vec![row, rows], ty };
        let vector = |name: String, n: u64| TensorDecl { name, dims: vec![n], ty: GgmlType::F32 };
        let mut all = vec![matrix("token_embd.weight".into(), hidden, vocab)];
        for i in 0..self.layers {
            let name = |s: &str| format!("blk.{i}.{s}");
            all.push(vector(name("attn_norm.weight"), hidden));
            all.push(matrix(name("attn_q.weight"), hidden, q));
            all.push(matrix(name("attn_k.weight"), hidden, kv));
            all.push(matrix(name("attn_v.weight"), hidden, kv));
            if self.kind == ArchKind::Qwen2 {
                all.push(vector(name("attn_q.bias"), q));
                all.push(vector(name("attn_k.bias"), kv));
                all.push(vector(name("attn_v.bias"), kv));
            }
            all.push(matrix(name("attn_output.weight"), q, hidden));
            all.push(vector(name("ffn_norm.weight"), hidden));
            all.push(matrix(name("ffn_gate.weight"), hidden, ffn));
            all.push(matrix(name("ffn_up.weight"), hidden, ffn));
            all.push(matrix(name("ffn_down.weight"), ffn, hidden));
        }
        all.push(vector("output_norm.weight".into(), hidden));
        if !self.tied {
            all.push(matrix("output.weight".into(), hidden, vocab));
        }
        all
    }

    /// Writes an untied model whose output matrix is its embedding once more, as some files hold it; types as for [`Shapes::write`].
    ///
    /// # Errors
    /// As [`Shapes::write`].
    pub fn write_with_duplicate(&self, path: &Path, ty: GgmlType, seed: u64) -> Result<u64, GgufError> {
        let shapes = Self { tied: false, ..self.clone() };
        shapes.write_tensors(path, &shapes.metadata(None), &shapes.tensors(ty), seed, |name| {
            if name == "output.weight" { "token_embd.weight" } else { name }
        })
    }

    /// Writes the model with a bias on every projection, as the graph `llama` takes them; types as for [`Shapes::write`].
    ///
    /// # Errors
    /// As [`Shapes::write`].
    pub fn write_with_biases(&self, path: &Path, ty: GgmlType, seed: u64) -> Result<u64, GgufError> {
        let [hidden, ffn, q, kv] =
            [self.hidden, self.ffn, self.heads * self.head_dim, self.kv_heads * self.head_dim].map(u64::from);
        let widths = [
            ("attn_q", q),
            ("attn_k", kv),
            ("attn_v", kv),
            ("attn_output", hidden),
            ("ffn_gate", ffn),
            ("ffn_up", ffn),
            ("ffn_down", hidden),
        ];
        let mut tensors = self.tensors(ty);
        tensors.retain(|t| !t.name.ends_with(".bias"));
        for i in 0..self.layers {
            tensors.extend(widths.map(|(role, width)| TensorDecl {
                name: format!("blk.{i}.{role}.bias"),
                dims: vec![width],
                ty: GgmlType::F32,
            }));
        }
        self.write_tensors(path, &self.metadata(None), &tensors, seed, |name| name)
    }

    /// Writes the model with matrices of type `ty`: F32, F16, BF16 or Q8_0 (any other becomes F16). Returns the file's size in bytes.
    ///
    /// # Errors
    /// The file cannot be written, or rows are no whole blocks.
    pub fn write(
        &self,
        path: &Path,
        ty: GgmlType,
        seed: u64,
        tokenizer: Option<&Gguf>,
    ) -> Result<u64, GgufError> {
        let metadata = self.metadata(tokenizer.map(Gguf::metadata));
        let known = matches!(ty, GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16 | GgmlType::Q8_0);
        let tensors = self.tensors(if known { ty } else { GgmlType::F16 });
        self.write_tensors(path, &metadata, &tensors, seed, |name| name)
    }

    /// Writes these tensors, each with the numbers of the name that `drawn` gives.
    fn write_tensors(
        &self,
        path: &Path,
        metadata: &Metadata,
        tensors: &[TensorDecl],
        seed: u64,
        drawn: impl Fn(&str) -> &str,
    ) -> Result<u64, GgufError> {
        let mut writer = GgufWriter::create(path, metadata, tensors)?;
        let (mut values, mut bytes) = (Vec::new(), Vec::new());
        for t in tensors {
            let mut random = Weights::new(seed, &TensorDecl { name: drawn(&t.name).to_owned(), ..t.clone() });
            let mut left: u64 = t.dims.iter().product();
            while left > 0 {
                // A multiple of every block.
                let n = left.min(1 << 20);
                values.clear();
                values.extend((0..n).map(|_| random.draw()));
                bytes.clear();
                encode(t.ty, &values, &mut bytes);
                writer.write(&bytes)?;
                left -= n;
            }
        }
        writer.finish(false)
    }
}

/// Appends values as they are stored.
fn encode(ty: GgmlType, values: &[f32], out: &mut Vec<u8>) {
    match ty {
        GgmlType::Q8_0 => {
            for block in values.chunks(32) {
                let largest = block.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let scale = f16::from_f32(largest / 127.0);
                let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                out.extend(scale.to_le_bytes());
                out.extend(block.iter().map(|v| (v * inverse).round() as i8 as u8));
            }
        }
        _ => out.extend(float_bytes(values, ty)),
    }
}

/// The random numbers of one tensor.
struct Weights {
    rng: ChaCha8Rng,
    mean: f32,
    scale: f32,
}

impl Weights {
    fn new(seed: u64, t: &TensorDecl) -> Self {
        let name = TensorName::parse(&t.name);
        let digest =
            Sha256::new().chain_update(seed.to_le_bytes()).chain_update(t.name.as_bytes()).finalize();
        let norm = matches!(name.role, TensorRole::AttnNorm | TensorRole::FfnNorm | TensorRole::OutputNorm);
        let fan_in = t.dims.first().copied().unwrap_or(1) as f32;
        let (mean, scale) = match (norm, t.dims.len()) {
            (true, _) => (1.0, 0.1),
            (false, 1) => (0.0, 0.1),
            _ => (0.0, fan_in.sqrt().recip()),
        };
        Self { rng: ChaCha8Rng::from_seed(digest.into()), mean, scale }
    }

    /// The next number. The sum of four uniform bytes is near enough to normal, and fast.
    fn draw(&mut self) -> f32 {
        // Four bytes have the mean 510 and the standard deviation sqrt(4 * (256^2 - 1) / 12).
        const SUM_DEVIATION: f32 = 147.798;
        let bytes = self.rng.random::<u32>().to_le_bytes();
        let sum: u16 = bytes.iter().map(|b| u16::from(*b)).sum();
        self.mean + self.scale * (f32::from(sum) - 510.0) / SUM_DEVIATION
    }
}

/// Takes over the tokenizer's keys and fills the vocabulary up with unused tokens.
fn borrow_tokenizer(m: &mut Metadata, source: &Metadata, vocab: u32) {
    for (key, value) in source.iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
        m.set(key, value.clone());
    }
    let strings =
        |key: &str| m.get(key).and_then(MetaValue::as_array).map(|a| a.strings().collect::<Vec<_>>());
    if let Some(mut tokens) = strings("tokenizer.ggml.tokens") {
        let from = tokens.len() as u32;
        tokens.extend((from..vocab).map(|i| format!("[PAD{i}]")));
        m.set("tokenizer.ggml.tokens", MetaValue::Array(MetaArray::from_strings(&tokens)));
    }
    let types = m.get("tokenizer.ggml.token_type").and_then(MetaValue::as_array).and_then(MetaArray::to_u64);
    if let Some(types) = types {
        let mut types: Vec<i32> = types.into_iter().map(|t| t as i32).collect();
        types.resize(vocab as usize, UNUSED);
        m.set("tokenizer.ggml.token_type", MetaValue::Array(MetaArray::from_i32(&types)));
    }
    m.remove("tokenizer.ggml.scores");
}

/// Token types of GGUF.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// A SentencePiece-like tokenizer of the 256 bytes and three control tokens.
fn byte_tokenizer(m: &mut Metadata, vocab: u32) {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..=255u8).map(|b| format!("<0x{b:02X}>")));
    let mut types = vec![2, CONTROL, CONTROL];
    types.extend([BYTE; 256]);
    let named = tokens.len() as u32;
    tokens.extend((named..vocab).map(|i| format!("w{i}")));
    types.resize(vocab as usize, NORMAL);
    tokens.truncate(vocab as usize);
    let scores: Vec<f32> = (0..vocab).map(|i| -(i as f32)).collect();
    m.set("tokenizer.ggml.model", MetaValue::Str("llama".into()));
    m.set("tokenizer.ggml.tokens", MetaValue::Array(MetaArray::from_strings(&tokens)));
    m.set("tokenizer.ggml.scores", MetaValue::Array(MetaArray::from_f32(&scores)));
    m.set("tokenizer.ggml.token_type", MetaValue::Array(MetaArray::from_i32(&types)));
    for (key, id) in [("unknown", 0), ("bos", 1), ("eos", 2)] {
        m.set(&format!("tokenizer.ggml.{key}_token_id"), MetaValue::U32(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Architecture, ModelFacts};

    #[test]
    fn a_tiny_model_is_written_and_understood() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        let size = Shapes::tiny(ArchKind::Qwen2).write(&path, GgmlType::F16, 1, None).unwrap();
        let g = Gguf::open(&path).unwrap();
        let arch = Architecture::read(&g).unwrap();
        let facts = ModelFacts::new(&g, &arch, 0);
        assert_eq!((facts.layers, facts.file_bytes, facts.main_type.as_str()), (2, size, "F16"));
        assert!(!facts.already_quantized && arch.qkv_bias);
        let t = g.tensor("blk.0.ffn_down.weight").unwrap();
        let values: Vec<f32> =
            g.bytes(t).chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!((variance * 512.0 - 1.0).abs() < 0.03, "{variance}");
    }
}
