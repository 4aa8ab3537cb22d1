//! The architecture of a model: read from metadata, checked against the tensors.

use super::gguf::{Gguf, MetaValue, Metadata, TensorInfo};
use super::{DYNAMIC_SCALES, FileKind, LEVELS, SCALES, TWO_OF_FOUR, TensorName, TensorRole};

/// The graphs that we can compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArchKind {
    /// `llama`: equal layers, rotary pairs of neighbours.
    Llama,
    /// `qwen2`: equal layers, biases on Q, K and V, rotary pairs half a head apart.
    Qwen2,
    /// `deci`: the llama graph with its own head counts and FFN width in each layer.
    Deci,
}

/// Which elements of a head the rotary embedding turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairing {
    /// Elements `2i` and `2i + 1` (llama.cpp's NORM).
    Neighbours,
    /// Elements `i` and `i + d/2` (llama.cpp's NEOX).
    Halves,
}

impl ArchKind {
    /// Every kind.
    pub const ALL: [ArchKind; 3] = [ArchKind::Llama, ArchKind::Qwen2, ArchKind::Deci];

    /// The name in `general.architecture`, which is also the prefix of the kind's keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ArchKind::Llama => "llama",
            ArchKind::Qwen2 => "qwen2",
            ArchKind::Deci => "deci",
        }
    }

    /// How the rotary embedding pairs elements.
    #[must_use]
    pub fn rope_pairing(self) -> RopePairing {
        match self {
            ArchKind::Llama | ArchKind::Deci => RopePairing::Neighbours,
            ArchKind::Qwen2 => RopePairing::Halves,
        }
    }
}

/// The sizes of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerShape {
    /// Query heads; 0 means a layer without attention.
    pub heads: u32,
    /// KV heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: u32,
    /// FFN channels.
    pub ffn: u32,
}

impl LayerShape {
    /// Query heads that share a KV head.
    #[must_use]
    pub fn group(self) -> u32 {
        self.heads.checked_div(self.kv_heads).unwrap_or(0)
    }
}

/// The sizes of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// The graph.
    pub kind: ArchKind,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Elements of a head, for Q, K and V alike.
    pub head_dim: u32,
    /// The layers, first to last.
    pub layers: Vec<LayerShape>,
    /// Rows of the embedding.
    pub vocab: u32,
    /// Longest context that the model was trained for, in tokens.
    pub context_length: u32,
    /// Whether the token embeddings serve as output matrix.
    pub tied: bool,
    /// Whether Q, K and V have biases.
    pub qkv_bias: bool,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
}

/// A model that we cannot compress, or whose metadata and tensors disagree.
#[derive(Debug, thiserror::Error, PartialEq)]
#[allow(missing_docs)]
pub enum ArchError {
    #[error("the architecture `{found}` is not known; known are {}", known())]
    Unknown { found: String },
    #[error("{0}")]
    OtherFile(FileKind),
    #[error(
        "the graph `{kind}` does not support {} (llama.cpp refuses such a file, and the model may behave differently without {}): use a file without them, or reconvert the model",
        names(tensors),
        if tensors.len() == 1 { "it" } else { "them" }
    )]
    Unplaced { kind: &'static str, tensors: Vec<String> },
    #[error("the metadata lack `{key}`")]
    Missing { key: String },
    #[error("the metadata have no usable `{key}`: {found}; expected {expected}")]
    Value { key: String, found: String, expected: &'static str },
    #[error("mixtures of experts are not supported ({experts} experts)")]
    Experts { experts: u64 },
    #[error("the tensor `{tensor}` is missing")]
    NoTensor { tensor: String },
    #[error("the tensor `{tensor}` has the shape {found:?}, but the metadata say {expected:?}")]
    Shape { tensor: String, found: Vec<u64>, expected: Vec<u64> },
}

/// Tensors by name, the first few of many.
fn names(tensors: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = tensors.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    let word = if tensors.len() == 1 { "the tensor" } else { "the tensors" };
    match tensors.len().saturating_sub(SHOWN) {
        0 => format!("{word} {}", shown.join(", ")),
        more => format!("{word} {} and {more} more", shown.join(", ")),
    }
}

fn known() -> String {
    ArchKind::ALL.map(ArchKind::name).join(", ")
}

/// Most layers that llama.cpp takes (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u64 = 512;

impl Architecture {
    /// Reads the architecture of a file.
    ///
    /// # Errors
    /// A file that is no language model, an unknown architecture, missing or impossible metadata, tensors of other shapes than the metadata
    /// say, or tensors that the graph has no place for.
    pub fn read(gguf: &Gguf) -> Result<Self, ArchError> {
        let kind = FileKind::of(gguf.metadata(), gguf.tensors());
        if kind != FileKind::LanguageModel {
            return Err(ArchError::OtherFile(kind));
        }
        let arch = Self::from_parts(gguf.metadata(), |name| gguf.tensor(name))?;
        arch.account(gguf.tensors().iter())?;
        Ok(arch)
    }

    /// Reads the architecture from metadata and a way to find tensors.
    ///
    /// # Errors
    /// As [`Architecture::read`].
    pub fn from_parts<'a>(
        metadata: &Metadata,
        find: impl Fn(&str) -> Option<&'a TensorInfo>,
    ) -> Result<Self, ArchError> {
        let key = "general.architecture";
        let name = metadata.get(key).ok_or_else(|| ArchError::Missing { key: key.into() })?;
        let kind = ArchKind::ALL.into_iter().find(|k| name.as_str() == Some(k.name()));
        let found = || name.as_str().map_or_else(|| format!("{:?}", name.ty()), str::to_owned);
        let kind = kind.ok_or_else(|| ArchError::Unknown { found: found() })?;
        let keys = Keys { metadata, prefix: kind.name() };
        if let Some(experts) = keys.optional("expert_count")?.filter(|n| *n > 0) {
            return Err(ArchError::Experts { experts });
        }
        let n_layers = keys.count("block_count", MAX_LAYERS)?;
        let hidden = keys.count("embedding_length", 1 << 20)? as u32;
        let heads = keys.per_layer("attention.head_count", n_layers, None)?;
        let kv_heads = keys.per_layer("attention.head_count_kv", n_layers, Some(&heads))?;
        let ffn = keys.per_layer("feed_forward_length", n_layers, None)?;
        let layers: Vec<_> = (0..n_layers as usize)
            .map(|i| LayerShape { heads: heads[i], kv_heads: kv_heads[i], ffn: ffn[i] })
            .collect();
        let head_dim = keys.head_dim(hidden, heads[0])?;
        for (i, layer) in layers.iter().enumerate() {
            keys.check_layer(kind, i, *layer)?;
        }
        let embd = find("token_embd.weight")
            .ok_or_else(|| ArchError::NoTensor { tensor: "token_embd.weight".into() })?;
        let arch = Architecture {
            kind,
            hidden,
            head_dim,
            layers,
            vocab: u32::try_from(embd.n_rows()).unwrap_or(u32::MAX),
            context_length: keys.count("context_length", u64::from(u32::MAX))? as u32,
            tied: find("output.weight").is_none(),
            qkv_bias: find("blk.0.attn_q.bias").is_some(),
            rope_base: metadata
                .get(&keys.name("rope.freq_base"))
                .and_then(MetaValue::as_f32)
                .unwrap_or(10_000.0),
        };
        arch.check_tensors(find)?;
        Ok(arch)
    }

    /// The largest FFN width, head counts and so on are per layer; this is whether all layers are alike.
    #[must_use]
    pub fn is_uniform(&self) -> bool {
        self.layers.windows(2).all(|w| w[0] == w[1])
    }

    /// KV heads over all layers.
    #[must_use]
    pub fn total_kv_heads(&self) -> u64 {
        self.layers.iter().map(|l| u64::from(l.kv_heads)).sum()
    }

    /// FFN channels over all layers.
    #[must_use]
    pub fn total_ffn(&self) -> u64 {
        self.layers.iter().map(|l| u64::from(l.ffn)).sum()
    }

    /// Elements of K (and as many of V) that the cache stores for one token, over all layers.
    #[must_use]
    pub fn kv_elements_per_token(&self) -> u64 {
        self.total_kv_heads() * u64::from(self.head_dim)
    }

    /// Name and shape (row length first) of every weight matrix that the architecture implies, biases and norms left out.
    pub fn weight_shapes(&self) -> impl Iterator<Item = (String, [u64; 2])> + '_ {
        let hidden = u64::from(self.hidden);
        let head_dim = u64::from(self.head_dim);
        let embd = [hidden, u64::from(self.vocab)];
        let global = std::iter::once(("token_embd.weight".to_owned(), embd))
            .chain((!self.tied).then(|| ("output.weight".to_owned(), embd)));
        let layers = self.layers.iter().enumerate().flat_map(move |(i, l)| {
            let (q, kv, ffn) =
                (u64::from(l.heads) * head_dim, u64::from(l.kv_heads) * head_dim, u64::from(l.ffn));
            let attn = [
                ("attn_q", [hidden, q]),
                ("attn_k", [hidden, kv]),
                ("attn_v", [hidden, kv]),
                ("attn_output", [q, hidden]),
            ];
            let mlp = [("ffn_gate", [hidden, ffn]), ("ffn_up", [hidden, ffn]), ("ffn_down", [ffn, hidden])];
            let attn = attn.into_iter().filter(|_| l.heads > 0);
            let mlp = mlp.into_iter().filter(|_| l.ffn > 0);
            attn.chain(mlp)
                .map(move |(role, dims)| (format!("blk.{i}.{role}.weight"), dims))
                .collect::<Vec<_>>()
        });
        global.chain(layers)
    }

    /// The projections of a layer that may have a bias, with its elements.
    #[must_use]
    pub fn bias_widths(&self, layer: LayerShape) -> [(&'static str, u64); 7] {
        let (hidden, head, ffn) = (u64::from(self.hidden), u64::from(self.head_dim), u64::from(layer.ffn));
        let (q, kv) = (u64::from(layer.heads) * head, u64::from(layer.kv_heads) * head);
        [
            ("attn_q", q),
            ("attn_k", kv),
            ("attn_v", kv),
            ("attn_output", hidden),
            ("ffn_gate", ffn),
            ("ffn_up", ffn),
            ("ffn_down", hidden),
        ]
    }

    /// Whether the graph, as llama.cpp has it, takes a tensor of this name. The loader refuses a file with any other.
    #[must_use]
    pub fn has_place(&self, name: &str) -> bool {
        // What the torch engine stores beside a rounded matrix.
        let name = [DYNAMIC_SCALES, SCALES, LEVELS, TWO_OF_FOUR]
            .iter()
            .find_map(|s| name.strip_suffix(s))
            .unwrap_or(name);
        let parsed = TensorName::parse(name);
        let rest = if parsed.is_bias { name.strip_suffix(".bias") } else { name.strip_suffix(".weight") };
        if rest.is_none() || parsed.layer.is_some_and(|i| i as usize >= self.layers.len()) {
            return false;
        }
        let own = self.kind != ArchKind::Qwen2;
        match (parsed.role, parsed.is_bias) {
            (TensorRole::Other, _) => {
                own && matches!(name, "rope_factors_long.weight" | "rope_factors_short.weight")
            }
            (TensorRole::RopeFreqs, bias) => own && !bias,
            (TensorRole::Output, true) => self.kind == ArchKind::Qwen2,
            (TensorRole::AttnQ | TensorRole::AttnK | TensorRole::AttnV, true) => true,
            (
                TensorRole::AttnOutput | TensorRole::FfnGate | TensorRole::FfnUp | TensorRole::FfnDown,
                true,
            ) => own,
            (_, bias) => !bias,
        }
    }

    /// Checks that the graph takes every tensor of a file, and that biases are as long as the outputs that they belong to.
    ///
    /// # Errors
    /// Tensors without a place, all of them by name, or a bias of another length.
    pub fn account<'a>(
        &self,
        tensors: impl Iterator<Item = &'a TensorInfo> + Clone,
    ) -> Result<(), ArchError> {
        let unplaced: Vec<String> =
            tensors.clone().filter(|t| !self.has_place(&t.name)).map(|t| t.name.clone()).collect();
        if !unplaced.is_empty() {
            return Err(ArchError::Unplaced { kind: self.kind.name(), tensors: unplaced });
        }
        for info in tensors {
            let name = TensorName::parse(&info.name);
            let Some(layer) = name.layer.filter(|_| name.is_bias).and_then(|i| self.layers.get(i as usize))
            else {
                continue;
            };
            let widths = self.bias_widths(*layer);
            let width = widths.iter().find(|(role, _)| info.name.ends_with(&format!(".{role}.bias")));
            if let Some((_, width)) = width.filter(|(_, width)| info.dims != [*width]) {
                let (tensor, found) = (info.name.clone(), info.dims.clone());
                return Err(ArchError::Shape { tensor, found, expected: vec![*width] });
            }
        }
        Ok(())
    }

    fn check_tensors<'a>(&self, find: impl Fn(&str) -> Option<&'a TensorInfo>) -> Result<(), ArchError> {
        for (name, dims) in self.weight_shapes() {
            let Some(info) = find(&name) else { return Err(ArchError::NoTensor { tensor: name }) };
            if info.dims != dims {
                return Err(ArchError::Shape {
                    tensor: name,
                    found: info.dims.clone(),
                    expected: dims.to_vec(),
                });
            }
        }
        let norms = |i: usize, l: &LayerShape| {
            [
                (l.heads > 0).then(|| format!("blk.{i}.attn_norm.weight")),
                (l.ffn > 0).then(|| format!("blk.{i}.ffn_norm.weight")),
            ]
        };
        let all = self.layers.iter().enumerate().flat_map(|(i, l)| norms(i, l)).flatten();
        for name in all.chain(["output_norm.weight".to_owned()]) {
            let Some(info) = find(&name) else { return Err(ArchError::NoTensor { tensor: name }) };
            if info.dims != [u64::from(self.hidden)] {
                let expected = vec![u64::from(self.hidden)];
                return Err(ArchError::Shape { tensor: name, found: info.dims.clone(), expected });
            }
        }
        Ok(())
    }
}

/// Typed access to the keys of one architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn wrong(&self, key: &str, found: impl Into<String>, expected: &'static str) -> ArchError {
        ArchError::Value { key: self.name(key), found: found.into(), expected }
    }

    fn optional(&self, key: &str) -> Result<Option<u64>, ArchError> {
        match self.metadata.get(&self.name(key)) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n) => Ok(Some(n)),
                None => Err(self.wrong(key, format!("{:?}", value.ty()), "an integer")),
            },
        }
    }

    fn count(&self, key: &str, limit: u64) -> Result<u64, ArchError> {
        match self.optional(key)? {
            None => Err(ArchError::Missing { key: self.name(key) }),
            Some(n) if n == 0 || n > limit => {
                Err(self.wrong(key, n.to_string(), "a plausible number above zero"))
            }
            Some(n) => Ok(n),
        }
    }

    /// A number for all layers, or an array with one for each.
    fn per_layer(&self, key: &str, n: u64, default: Option<&[u32]>) -> Result<Vec<u32>, ArchError> {
        let Some(value) = self.metadata.get(&self.name(key)) else {
            return match default {
                Some(values) => Ok(values.to_vec()),
                None => Err(ArchError::Missing { key: self.name(key) }),
            };
        };
        let values = match value.as_array() {
            None => value.as_u64().map(|v| vec![v; n as usize]),
            Some(array) if array.len() == n => array.to_u64(),
            Some(array) => {
                return Err(self.wrong(key, format!("{} values", array.len()), "one value for each layer"));
            }
        };
        let values: Option<Vec<u32>> = values
            .map(|v| v.into_iter().map(|x| u32::try_from(x).ok().filter(|x| *x < 1 << 24)).collect())
            .unwrap_or_default();
        values.ok_or_else(|| self.wrong(key, format!("{:?}", value.ty()), "integers"))
    }

    fn head_dim(&self, hidden: u32, heads: u32) -> Result<u32, ArchError> {
        let default = hidden.checked_div(heads).map(u64::from);
        let k = self.optional("attention.key_length")?.or(default);
        let v = self.optional("attention.value_length")?.or(default);
        let rope = self.optional("rope.dimension_count")?.or(k);
        match (k, v, rope) {
            (Some(k), Some(v), Some(r)) if k == v && k == r && k > 0 && k <= 1 << 16 && k % 2 == 0 => {
                Ok(k as u32)
            }
            _ => {
                let found = format!("key {k:?}, value {v:?}, rotary {rope:?}");
                Err(self.wrong("attention.key_length", found, "one even head size for key, value and rotary"))
            }
        }
    }

    fn check_layer(&self, kind: ArchKind, index: usize, layer: LayerShape) -> Result<(), ArchError> {
        let LayerShape { heads, kv_heads, ffn } = layer;
        let free = kind == ArchKind::Deci && index > 0;
        let no_attention = heads == 0 && kv_heads == 0 && free;
        if !no_attention && (heads == 0 || kv_heads == 0 || heads % kv_heads != 0) {
            let found = format!("{heads} heads on {kv_heads} KV heads in layer {index}");
            return Err(self.wrong("attention.head_count_kv", found, "heads in equal groups"));
        }
        if ffn == 0 && !free {
            return Err(self.wrong(
                "feed_forward_length",
                format!("0 in layer {index}"),
                "a width over zero",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::gguf::{Header, MetaArray, TensorDecl, header_bytes, parse_header};
    use super::super::synthetic::Shapes;
    use super::*;

    fn header(shapes: &Shapes, change: impl Fn(&mut Metadata, &mut Vec<TensorDecl>)) -> Header {
        let (mut metadata, mut decls) = (shapes.metadata(None), shapes.tensors(crate::GgmlType::F16));
        change(&mut metadata, &mut decls);
        let bytes = header_bytes(&metadata, &decls, 32);
        parse_header(&bytes, 1 << 40).unwrap()
    }

    fn read(
        shapes: &Shapes,
        change: impl Fn(&mut Metadata, &mut Vec<TensorDecl>),
    ) -> Result<Architecture, ArchError> {
        let h = header(shapes, change);
        Architecture::from_parts(&h.metadata, |name| h.tensors.iter().find(|t| t.name == name))
    }

    #[test]
    fn a_qwen2_of_three_billion() {
        let a = read(&Shapes::qwen2_5_coder_3b(), |_, _| ()).unwrap();
        assert_eq!((a.kind, a.hidden, a.head_dim, a.vocab), (ArchKind::Qwen2, 2048, 128, 151_936));
        assert_eq!(a.layers, vec![LayerShape { heads: 16, kv_heads: 2, ffn: 11008 }; 36]);
        assert!(a.tied && a.qkv_bias && a.is_uniform());
        assert_eq!(a.kv_elements_per_token(), 36 * 256);
        let weights: u64 = a.weight_shapes().map(|(_, d)| d[0] * d[1]).sum();
        assert_eq!(weights, 3_085_697_024);
    }

    #[test]
    fn per_layer_shapes_of_deci() {
        let shapes = Shapes::tiny(ArchKind::Deci);
        let a = read(&shapes, |_, _| ()).unwrap();
        assert!(a.is_uniform());
        let e = read(&shapes, |m, _| {
            m.set("deci.feed_forward_length", MetaValue::Array(MetaArray::from_u32(&[64, 96])));
        });
        assert!(
            matches!(e, Err(ArchError::Shape { ref tensor, .. }) if tensor == "blk.0.ffn_gate.weight"),
            "{e:?}"
        );
        let e = read(&shapes, |m, _| {
            m.set("deci.feed_forward_length", MetaValue::Array(MetaArray::from_u32(&[64])));
        });
        assert!(e.unwrap_err().to_string().contains("1 values"));
    }

    #[test]
    fn what_we_do_not_know_is_named() {
        let shapes = Shapes::tiny(ArchKind::Llama);
        let set = |key: &'static str, v: MetaValue| {
            read(&shapes, move |m, _| m.set(key, v.clone())).unwrap_err().to_string()
        };
        assert_eq!(
            set("general.architecture", MetaValue::Str("mamba".into())),
            "the architecture `mamba` is not known; known are llama, qwen2, deci"
        );
        assert!(set("llama.expert_count", MetaValue::U32(8)).contains("8 experts"));
        assert!(set("llama.block_count", MetaValue::U32(0)).contains("`llama.block_count`: 0"));
        assert!(set("llama.attention.head_count_kv", MetaValue::U32(3)).contains("4 heads on 3 KV heads"));
        assert!(set("llama.attention.key_length", MetaValue::U32(7)).contains("head size"));
        assert!(set("llama.embedding_length", MetaValue::Str("x".into())).contains("an integer"));
        let e = read(&shapes, |m, _| m.remove("llama.context_length"));
        assert_eq!(e.unwrap_err(), ArchError::Missing { key: "llama.context_length".into() });
        let e = read(&shapes, |_, t| t.retain(|d| d.name != "blk.1.ffn_norm.weight"));
        assert_eq!(e.unwrap_err(), ArchError::NoTensor { tensor: "blk.1.ffn_norm.weight".into() });
    }
}
