//! The size of an artifact before anything is read: exact for tensor data, near enough for the header.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use super::layout::{KeptShape, Layout, SourceTensors, Typing, data_bytes, kept_shapes};
use super::recipe::{added_bytes, recipe_json};
use super::types::WeightTypes;
use super::{AS_SHIPPED, CompressError, Fallback, Importance, PrunePlan, PruneRequest};
use autotune_core::space::{Config, WeightPlan};
use autotune_model::ActivationStats;
use autotune_model::gguf::{Gguf, TensorDecl, header_bytes, padded};
use autotune_model::{ArchKind, Architecture, GgmlType, LayerShape};

/// Sums the matrices that are multiplied with by type: those of the layers, and the output (the embeddings where they are tied).
fn matrix_bytes<'t>(
    tied: bool,
    tensors: impl Iterator<Item = (&'t str, usize, GgmlType, Option<u64>)>,
) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for (name, dims, ty, bytes) in tensors {
        let multiplied =
            name.starts_with("blk.") || name == "output.weight" || (tied && name == "token_embd.weight");
        if multiplied && dims >= 2 {
            *sums.entry(ty.name()).or_default() += bytes.unwrap_or(0);
        }
    }
    sums
}

/// The matrix that gives the logits, with its bytes: the embeddings where they are tied.
fn output_matrix<'t>(
    tied: bool,
    mut tensors: impl Iterator<Item = (&'t str, usize, GgmlType, Option<u64>)>,
) -> Option<(GgmlType, u64)> {
    let name = if tied { "token_embd.weight" } else { "output.weight" };
    tensors.find(|t| t.0 == name).and_then(|(_, _, ty, bytes)| Some((ty, bytes?)))
}

/// What an artifact will be.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Of these, tensor data: exact.
    pub tensor_bytes: u64,
    /// The graph that will run it.
    pub kind: ArchKind,
    /// Its layers; the KV cache follows from them.
    pub layers: Vec<LayerShape>,
    /// Tensors that will not have the type asked for.
    pub fallbacks: Vec<Fallback>,
    /// Bytes of the matrices that are multiplied with, by the name of their type: what an engine may repack.
    pub matrix_bytes: BTreeMap<&'static str, u64>,
    /// Of these, the one that gives the logits: its type and bytes.
    pub output: Option<(GgmlType, u64)>,
}

/// Predicts sizes for one model. Cheap to ask: some hundred tensors are laid out by name and shape. Shares its rules with the builder;
/// for presets it restates llama.cpp's mixing.
#[derive(Debug)]
pub struct Predictor {
    source: SourceTensors,
    arch: Architecture,
    alignment: u64,
    header_bytes: u64,
    importance: Option<Importance>,
    weighted: BTreeSet<String>,
    shipped_bytes: Option<u64>,
    shipped_matrices: BTreeMap<&'static str, u64>,
    shipped_output: Option<(GgmlType, u64)>,
    /// Prune plans reduced to counts, by request: a search asks for few of them many times.
    counts: Mutex<HashMap<[u64; 4], Vec<KeptShape>>>,
}

impl Predictor {
    /// A predictor for artifacts built from `reference`. Without importance a pruned candidate is predicted with the cuts spread evenly,
    /// which gives the same total where a group has one type throughout.
    ///
    /// # Errors
    /// The reference is of no known architecture.
    pub fn new(
        reference: &Gguf,
        stats: Option<&ActivationStats>,
        importance: Option<Importance>,
    ) -> Result<Self, CompressError> {
        let arch = Architecture::read(reference)
            .map_err(|cause| CompressError::Arch { path: reference.path().to_owned(), cause })?;
        let tied = arch.tied;
        let decls: Vec<TensorDecl> = Vec::new();
        let alignment = reference.header().alignment;
        let shipped =
            || reference.tensors().iter().map(|t| (t.name.as_str(), t.dims.len(), t.ty, Some(t.bytes())));
        Ok(Self {
            source: SourceTensors::new(reference.tensors()),
            arch,
            alignment,
            header_bytes: header_bytes(reference.metadata(), &decls, alignment).len() as u64,
            importance,
            weighted: stats.map(|s| s.mean_square.keys().cloned().collect()).unwrap_or_default(),
            shipped_bytes: None,
            shipped_matrices: matrix_bytes(tied, shipped()),
            shipped_output: output_matrix(tied, shipped()),
            counts: Mutex::new(HashMap::new()),
        })
    }

    /// States the size of the user's own file, which `as-shipped` stands for.
    #[must_use]
    pub fn with_shipped(mut self, bytes: u64) -> Self {
        self.shipped_bytes = Some(bytes);
        self
    }

    /// The architecture of the reference.
    #[must_use]
    pub fn arch(&self) -> &Architecture {
        &self.arch
    }

    fn layout(&self, config: &Config) -> Result<Layout, CompressError> {
        let typing = match &config.weights {
            WeightPlan::Preset(name) => Typing::Preset(name.parse()?),
            WeightPlan::PerGroup(slots) => Typing::Slots(WeightTypes::new(slots)?),
        };
        let kept = self.kept(&prune_request(config, &typing))?;
        Layout::new(&self.source, &self.arch, &kept, &typing, config.tie, |name| self.weighted.contains(name))
    }

    /// The type of every tensor of a candidate's artifact, by its name there. `as-shipped` is not built and has none.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn types(&self, config: &Config) -> Result<Vec<(String, GgmlType)>, CompressError> {
        Ok(self.layout(config)?.tensors.into_iter().map(|t| (t.decl.name, t.decl.ty)).collect())
    }

    /// Predicts the artifact of a candidate.
    ///
    /// # Errors
    /// Unknown types, slots or presets, or more layers to drop than there are.
    pub fn predict(&self, config: &Config) -> Result<Prediction, CompressError> {
        if matches!(&config.weights, WeightPlan::Preset(name) if name == AS_SHIPPED) {
            return self.shipped();
        }
        let layout = self.layout(config)?;
        let tensor_bytes = data_bytes(&layout.tensors, self.alignment);
        let infos: u64 =
            layout.tensors.iter().map(|t| 24 + t.decl.name.len() as u64 + 8 * t.decl.dims.len() as u64).sum();
        let full = !config.is_pruned();
        let header = self.header_bytes + infos + added_bytes(&self.arch, &layout, full, &recipe_json(config));
        let tensors = || {
            layout
                .tensors
                .iter()
                .map(|t| (t.decl.name.as_str(), t.decl.dims.len(), t.decl.ty, t.decl.bytes()))
        };
        Ok(Prediction {
            bytes: padded(header, self.alignment) + tensor_bytes,
            tensor_bytes,
            kind: layout.kind,
            layers: layout.shapes,
            matrix_bytes: matrix_bytes(self.arch.tied || config.tie, tensors()),
            output: output_matrix(self.arch.tied || config.tie, tensors()),
            fallbacks: layout.fallbacks,
        })
    }

    fn shipped(&self) -> Result<Prediction, CompressError> {
        let bytes = self.shipped_bytes.ok_or(CompressError::NothingShipped)?;
        Ok(Prediction {
            bytes,
            tensor_bytes: bytes.saturating_sub(self.header_bytes),
            kind: self.arch.kind,
            layers: self.arch.layers.clone(),
            fallbacks: Vec::new(),
            matrix_bytes: self.shipped_matrices.clone(),
            output: self.shipped_output,
        })
    }

    /// The kept layers with their sizes.
    fn kept(&self, request: &PruneRequest) -> Result<Vec<KeptShape>, CompressError> {
        if request.is_nothing() {
            let layers = self.arch.layers.iter().enumerate();
            return Ok(layers.map(|(i, l)| KeptShape { source: i as u32, shape: *l }).collect());
        }
        let key = [
            request.keep_kv_heads.to_bits(),
            request.keep_ffn.to_bits(),
            u64::from(request.drop_layers),
            u64::from(request.ffn_multiple),
        ];
        if let Some(known) = self.counts.lock().ok().and_then(|c| c.get(&key).cloned()) {
            return Ok(known);
        }
        let even;
        let importance = match &self.importance {
            Some(importance) => importance,
            None => {
                even = Importance::even(&self.arch);
                &even
            }
        };
        let plan = PrunePlan::choose(&self.arch, Some(importance), request)?;
        let kept = kept_shapes(&plan, &self.arch);
        if let Ok(mut counts) = self.counts.lock() {
            counts.insert(key, kept.clone());
        }
        Ok(kept)
    }
}

/// What a candidate asks to be pruned.
pub(super) fn prune_request(config: &Config, typing: &Typing) -> PruneRequest {
    PruneRequest {
        keep_kv_heads: config.keep_kv_heads,
        keep_ffn: config.keep_ffn,
        drop_layers: config.drop_layers,
        ffn_multiple: typing.ffn_multiple(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::AS_SHIPPED;
    use super::*;
    use autotune_core::space::{Candidate, Value};
    use autotune_model::synthetic::Shapes;

    fn predictor(kind: ArchKind) -> (tempfile::TempDir, Predictor) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.gguf");
        Shapes::tiny(kind).write(&path, GgmlType::F16, 5, None).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        let p = Predictor::new(&gguf, None, None).unwrap().with_shipped(gguf.len());
        (dir, p)
    }

    fn config(pairs: &[(&str, Value)]) -> Config {
        let c = pairs.iter().fold(Candidate::default(), |c, (k, v)| c.with(k, v.clone()));
        Config::from_candidate(&c).unwrap()
    }

    fn text(s: &str) -> Value {
        Value::Text(s.into())
    }

    #[test]
    fn fewer_bits_and_fewer_parts_are_fewer_bytes() {
        let (_dir, p) = predictor(ArchKind::Llama);
        let bytes = |pairs: &[(&str, Value)]| p.predict(&config(pairs)).unwrap().tensor_bytes;
        let f16 = bytes(&[]);
        let q8 = bytes(&[("weights.attn", text("Q8_0")), ("weights.ffn", text("Q8_0"))]);
        let q4 = bytes(&[("weights.attn", text("Q8_0")), ("weights.ffn", text("Q4_K"))]);
        assert!(f16 > q8 && q8 > q4);
        // Two layers of gate, up and down, 256 x 512 each.
        assert_eq!(q8 - q4, 2 * 3 * (256 * 512) * 34 / 32 - 2 * 3 * (256 * 512) * 144 / 256);
        let pruned = bytes(&[("prune.keep_ffn", Value::Real(0.75))]);
        assert_eq!(f16 - pruned, 2 * 3 * (256 * 128) * 2);
        assert_eq!(bytes(&[("weights.preset", text("F16"))]), f16);
        assert!(bytes(&[("weights.preset", text("Q8_0"))]) < q8);
    }

    #[test]
    fn an_embedding_that_is_stored_once_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("twice.gguf");
        Shapes::tiny(ArchKind::Qwen2).write_with_duplicate(&path, GgmlType::F16, 5).unwrap();
        let p = Predictor::new(&Gguf::open(&path).unwrap(), None, None).unwrap();
        let whole = p.predict(&config(&[("weights.embd", text("Q8_0"))])).unwrap();
        let tied = p
            .predict(&config(&[("weights.embd", text("Q8_0")), ("weights.tie", Value::Bool(true))]))
            .unwrap();
        let embedding = 320 * 256 / 32 * 34;
        assert_eq!(whole.tensor_bytes - tied.tensor_bytes, embedding);
        assert_eq!((whole.output, tied.output), (Some((GgmlType::Q8_0, embedding)), tied.output));
        assert_eq!(whole.matrix_bytes, tied.matrix_bytes, "one of the two is multiplied with either way");
        let keys = [whole, tied].map(|p| p.kind);
        assert_eq!(keys, [ArchKind::Qwen2; 2]);
        let recipe = |tie| super::super::recipe_key(&config(&[("weights.tie", Value::Bool(tie))]));
        assert_eq!(recipe(false), super::super::recipe_key(&config(&[])));
        assert_ne!(recipe(true), recipe(false));
    }

    #[test]
    fn the_graph_follows_the_shapes() {
        let (_dir, qwen) = predictor(ArchKind::Qwen2);
        let kind = |p: &Predictor, pairs: &[(&str, Value)]| p.predict(&config(pairs)).unwrap().kind;
        assert_eq!(kind(&qwen, &[("prune.keep_ffn", Value::Real(0.75))]), ArchKind::Qwen2);
        assert_eq!(kind(&qwen, &[("prune.keep_kv_heads", Value::Real(0.5))]), ArchKind::Deci);
        let (_dir, llama) = predictor(ArchKind::Llama);
        assert_eq!(kind(&llama, &[("prune.keep_kv_heads", Value::Real(0.5))]), ArchKind::Llama);
        assert_eq!(kind(&llama, &[("prune.keep_kv_heads", Value::Real(0.75))]), ArchKind::Deci);
    }

    #[test]
    fn the_shipped_file_is_as_large_as_it_is() {
        let (dir, p) = predictor(ArchKind::Llama);
        let size = std::fs::metadata(dir.path().join("t.gguf")).unwrap().len();
        assert_eq!(p.predict(&config(&[("weights.preset", text(AS_SHIPPED))])).unwrap().bytes, size);
        let e = p.predict(&config(&[("weights.preset", text("Q9"))])).unwrap_err();
        assert!(e.to_string().starts_with("unknown preset `Q9`: expected one of F16"));
    }
}
