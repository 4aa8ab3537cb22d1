//! The builder: from a candidate to a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cache::{TensorCache, hash_tensor, hex};
use super::layout::{Layout, LayoutTensor, SourceTensors, Typing, data_bytes, kept_shapes};
use super::metadata::artifact_metadata;
use super::pick::{Picks, picks};
use super::predict::prune_request;
use super::quantizer::Quantizer;
use super::recipe::recipe_json;
use super::reference::copy_without_split;
use super::types::WeightTypes;
use super::{AS_SHIPPED, CompressError, Fallback, Importance, Preset, PrunePlan};
use autotune_core::atomic_file::temp_beside;
use autotune_core::space::{Config, WeightPlan};
use autotune_engine::quantize::quantize_file;
use autotune_model::ActivationStats;
use autotune_model::gguf::{
    DEFAULT_ALIGNMENT, Gguf, GgufWriter, Metadata, TensorDecl, check_space, header_bytes, remove_leftovers,
};
use autotune_model::{ArchKind, Architecture, GgmlType, is_quantized};

/// What stays of the model in an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The kept layers, by their number in the source.
    pub layers: Vec<u32>,
    /// KV heads of each kept layer.
    pub kv_heads: Vec<u32>,
    /// FFN channels of each kept layer.
    pub ffn: Vec<u32>,
}

impl From<&PrunePlan> for Kept {
    fn from(plan: &PrunePlan) -> Self {
        Self {
            layers: plan.layers.iter().map(|l| l.source).collect(),
            kv_heads: plan.layers.iter().map(|l| l.kv_heads.len() as u32).collect(),
            ffn: plan.layers.iter().map(|l| l.ffn.len() as u32).collect(),
        }
    }
}

/// A built candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 over the header and the SHA-256 of each tensor, in hexadecimal: equal for equal content, however it was made.
    pub hash: String,
    /// Tensors that have another type than asked for.
    pub fallbacks: Vec<Fallback>,
    /// What stays of the model.
    pub kept: Kept,
    /// Tensors that were quantized for this artifact.
    pub quantized: usize,
    /// Tensors that came from the cache.
    pub reused: usize,
    /// Tensors that were copied or cut without rounding to blocks.
    pub copied: usize,
    /// How long it took.
    pub duration: Duration,
}

/// Hears how many tensors are done, and of how many. llama.cpp's own quantizer tells nothing, so presets come as one step.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// Builds artifacts from one float model. Every (tensor, slice, type, importance) is quantized once and kept in the cache.
#[derive(Debug)]
pub struct Builder<'a> {
    arch: Architecture,
    source: SourceTensors,
    quantizer: Quantizer<'a>,
    importance: OnceLock<Importance>,
    shipped: Option<PathBuf>,
}

impl<'a> Builder<'a> {
    /// A builder for candidates of `reference`, a float model, with its cache below `cache_dir`. `stats` guide low bits and are needed to
    /// prune.
    ///
    /// # Errors
    /// The reference is quantized or of an unknown architecture, or the cache cannot be made.
    pub fn new(
        reference: &'a Gguf,
        cache_dir: &Path,
        threads: usize,
        stats: Option<ActivationStats>,
    ) -> Result<Self, CompressError> {
        let arch = Architecture::read(reference)
            .map_err(|cause| CompressError::Arch { path: reference.path().to_owned(), cause })?;
        if is_quantized(reference) {
            let bad = reference.tensors().iter().find(|t| !t.ty.is_float());
            return Err(CompressError::NotFloat {
                path: reference.path().to_owned(),
                tensor: bad.map(|t| t.name.clone()).unwrap_or_default(),
                ty: bad.map_or(GgmlType::F32, |t| t.ty),
            });
        }
        let quantizer = Quantizer::new(reference, TensorCache::open(cache_dir)?, threads, stats)?;
        let source = SourceTensors::new(reference.tensors());
        Ok(Self { arch, source, quantizer, importance: OnceLock::new(), shipped: None })
    }

    /// Names the user's own file, which `as-shipped` stands for.
    #[must_use]
    pub fn with_shipped(mut self, path: &Path) -> Self {
        self.shipped = Some(path.to_owned());
        self
    }

    /// Names the importance that pruning goes by, in place of that from activations.
    #[must_use]
    pub fn with_importance(self, importance: Importance) -> Self {
        // The first one set is the one that counts.
        let _ = self.importance.set(importance);
        self
    }

    /// Where `scale` says so, scales channels by the activations that they meet before they are rounded, and what feeds them by the inverse: the function is the
    /// same, and the grid is finest where it counts (AWQ; Lin et al. 2023, arXiv:2306.00978). Nothing changes without statistics, and in
    /// presets that are not pruned.
    #[must_use]
    pub fn with_scaling(mut self, scale: bool) -> Self {
        if scale {
            self.quantizer.scale(&self.arch);
        }
        self
    }

    /// The architecture of the reference.
    #[must_use]
    pub fn arch(&self) -> &Architecture {
        &self.arch
    }

    /// The importance that pruning goes by, where there are statistics; for the predictor, too. Computed when first asked for, which reads
    /// two matrices of each layer, and kept in the cache.
    ///
    /// # Errors
    /// The statistics belong to another model, or files cannot be read or written.
    pub fn importance(&self) -> Result<Option<&Importance>, CompressError> {
        if let (None, Some(stats)) = (self.importance.get(), self.quantizer.stats()) {
            let reference = self.quantizer.source();
            let computed = self
                .quantizer
                .cache()
                .importance(reference, stats, || Importance::compute(reference, &self.arch, stats))?;
            // Another thread may have been first; its result is the same.
            let _ = self.importance.set(computed);
        }
        Ok(self.importance.get())
    }

    /// Removes the cached tensors that were longest unused until at most `limit` bytes are left, and what interrupted builds left in the
    /// cache. Returns the bytes removed.
    ///
    /// # Errors
    /// The cache cannot be read or written.
    pub fn sweep_cache(&self, limit: u64) -> Result<u64, CompressError> {
        self.quantizer.cache().sweep(limit)
    }

    /// What would be pruned for a candidate.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn plan(&self, config: &Config) -> Result<PrunePlan, CompressError> {
        self.plan_for(config, &typing(config)?)
    }

    fn plan_for(&self, config: &Config, typing: &Typing) -> Result<PrunePlan, CompressError> {
        let request = prune_request(config, typing);
        let importance = if request.is_nothing() { None } else { self.importance()? };
        PrunePlan::choose(&self.arch, importance, &request)
    }

    /// Builds the artifact of a candidate at `out`, which appears when it is complete. `as-shipped` makes no file: its artifact is the
    /// user's own, unless that says to be one of several parts.
    ///
    /// # Errors
    /// Unknown types, pruning without statistics, files that cannot be read or written.
    pub fn build(&self, config: &Config, out: &Path) -> Result<Artifact, CompressError> {
        self.build_with_progress(config, out, &mut |_, _| ())
    }

    /// As [`Builder::build`], telling how far it is.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn build_with_progress(
        &self,
        config: &Config,
        out: &Path,
        progress: Progress<'_>,
    ) -> Result<Artifact, CompressError> {
        let start = Instant::now();
        if matches!(&config.weights, WeightPlan::Preset(name) if name == AS_SHIPPED) {
            return self.shipped(start, out);
        }
        let typing = typing(config)?;
        let plan = self.plan_for(config, &typing)?;
        if let Some(folder) = out.parent() {
            remove_leftovers(folder);
        }
        let mut artifact = match typing {
            Typing::Preset(preset) => self.build_preset(config, preset, &plan, out, progress)?,
            Typing::Slots(_) => self.assemble(config, &typing, &plan, out, progress)?,
        };
        artifact.duration = start.elapsed();
        Ok(artifact)
    }

    fn shipped(&self, start: Instant, out: &Path) -> Result<Artifact, CompressError> {
        let mut path = self.shipped.clone().ok_or(CompressError::NothingShipped)?;
        let mut gguf = Gguf::open(&path)?;
        if gguf.metadata().says_split() {
            // llama.cpp would look for the other parts.
            copy_without_split(&gguf, out)?;
            out.clone_into(&mut path);
            gguf = Gguf::open(&path)?;
        }
        Ok(Artifact {
            bytes: gguf.len(),
            hash: hash_file(&gguf)?,
            path,
            fallbacks: Vec::new(),
            kept: Kept::from(&PrunePlan::full(&self.arch)),
            quantized: 0,
            reused: 0,
            copied: gguf.tensors().len(),
            duration: start.elapsed(),
        })
    }

    /// Lets llama.cpp make its own mix, of the pruned float model where something is pruned.
    fn build_preset(
        &self,
        config: &Config,
        preset: Preset,
        plan: &PrunePlan,
        out: &Path,
        progress: Progress<'_>,
    ) -> Result<Artifact, CompressError> {
        let whole = *plan == PrunePlan::full(&self.arch) && !config.tie;
        let layout = self.layout(&Typing::Preset(preset), plan, config.tie)?;
        let threads = self.quantizer.threads();
        // The library would say "iostream error" after filling the disk.
        check_space(out, data_bytes(&layout.tensors, DEFAULT_ALIGNMENT))?;
        let made = if whole {
            quantize_file(self.quantizer.source().path(), out, preset.ftype(), threads)
        } else {
            let pruned = temp_beside(out);
            let float = Config { weights: WeightPlan::PerGroup(Vec::new()), ..config.clone() };
            self.assemble(&float, &Typing::Slots(WeightTypes::default()), plan, &pruned, progress)?;
            let made = quantize_file(&pruned, out, preset.ftype(), threads);
            // Ours, and of no further use whether or not the quantizer made something of it.
            let _ = fs::remove_file(&pruned);
            made
        };
        made.map_err(|e| CompressError::Library(e.to_string()))?;
        let gguf = Gguf::open(out)?;
        let quantized = gguf.tensors().iter().filter(|t| t.ty.is_quantized()).count();
        progress(gguf.tensors().len() as u64, gguf.tensors().len() as u64);
        Ok(Artifact {
            path: out.to_owned(),
            bytes: gguf.len(),
            hash: hash_file(&gguf)?,
            fallbacks: layout.fallbacks,
            kept: Kept::from(plan),
            quantized,
            reused: 0,
            copied: gguf.tensors().len() - quantized,
            duration: Duration::ZERO,
        })
    }

    fn layout(&self, typing: &Typing, plan: &PrunePlan, tie: bool) -> Result<Layout, CompressError> {
        let kept = kept_shapes(plan, &self.arch);
        Layout::new(&self.source, &self.arch, &kept, typing, tie, |name| self.quantizer.has_imatrix(name))
    }

    /// Puts an artifact together tensor by tensor.
    fn assemble(
        &self,
        config: &Config,
        typing: &Typing,
        plan: &PrunePlan,
        out: &Path,
        progress: Progress<'_>,
    ) -> Result<Artifact, CompressError> {
        let reference = self.quantizer.source();
        let layout = self.layout(typing, plan, config.tie)?;
        let recipe = recipe_json(config);
        let metadata = artifact_metadata(reference.metadata(), &self.arch, &layout, plan, &recipe);
        let decls: Vec<_> = layout.tensors.iter().map(|t| t.decl.clone()).collect();
        let mut output = Output {
            hasher: header_hasher(&metadata, &decls, reference.header().alignment),
            writer: GgufWriter::create(out, &metadata, &decls)?,
            // A handle of our own: its position moves, and builders may run side by side.
            source: File::open(reference.path())
                .map_err(|cause| CompressError::Io { path: reference.path().to_owned(), cause })?,
        };
        let (mut quantized, mut reused, mut copied) = (0, 0, 0);
        for (done, t) in layout.tensors.iter().enumerate() {
            progress(done as u64, layout.tensors.len() as u64);
            match self.put(&mut output, t, &self.picks(t.source, plan, layout.kind))? {
                Origin::Quantized => quantized += 1,
                Origin::Reused => reused += 1,
                Origin::Copied => copied += 1,
            }
        }
        let bytes = output.writer.finish(false)?;
        self.quantizer.save_hashes()?;
        Ok(Artifact {
            path: out.to_owned(),
            bytes,
            hash: hex(output.hasher.finalize()),
            fallbacks: layout.fallbacks,
            kept: Kept::from(plan),
            quantized,
            reused,
            copied,
            duration: Duration::ZERO,
        })
    }

    fn picks(&self, source: usize, plan: &PrunePlan, kind: ArchKind) -> Picks {
        let name = self.source.names[source];
        match plan.layers.iter().find(|l| Some(l.source) == name.layer) {
            Some(kept) => picks(name, &self.arch, kept, kind),
            None => Picks::default(),
        }
    }

    /// Writes one tensor by the cheapest way there is: copied in the kernel, from the source or from the cache, or converted.
    fn put(&self, output: &mut Output, t: &LayoutTensor, picks: &Picks) -> Result<Origin, CompressError> {
        let info = &self.source.infos[t.source];
        let scaled = !self.quantizer.factors(info).is_nothing();
        if picks.is_all() && info.ty == t.decl.ty && !scaled {
            output.writer.copy_from(&mut output.source, info.range.start, info.bytes())?;
            output.hasher.update(self.quantizer.source_hash(info)?);
            return Ok(Origin::Copied);
        }
        // Scaled floats are the same for every candidate, too.
        if t.decl.ty.is_quantized() || scaled {
            // The writer has refused declarations without a size.
            let bytes = t.decl.bytes().unwrap_or(0);
            let mut made = self.quantizer.quantized(info, picks, t.decl.ty, bytes)?;
            output.writer.copy_from(&mut made.entry.file, 0, bytes)?;
            output.hasher.update(made.entry.hash);
            return Ok(match made.fresh {
                _ if !t.decl.ty.is_quantized() => Origin::Copied,
                true => Origin::Quantized,
                false => Origin::Reused,
            });
        }
        let mut content = Sha256::new();
        self.quantizer.convert(info, picks, t.decl.ty, None, |bytes| {
            content.update(bytes);
            Ok(output.writer.write(bytes)?)
        })?;
        output.hasher.update(content.finalize());
        Ok(Origin::Copied)
    }
}

/// An artifact in the making.
struct Output {
    writer: GgufWriter,
    hasher: Sha256,
    source: File,
}

/// Where a tensor of an artifact came from.
enum Origin {
    Quantized,
    Reused,
    Copied,
}

fn typing(config: &Config) -> Result<Typing, CompressError> {
    match &config.weights {
        // The user's own file is whole; nothing is typed for it.
        WeightPlan::Preset(name) if name == AS_SHIPPED => Ok(Typing::Slots(WeightTypes::default())),
        WeightPlan::Preset(name) => Ok(Typing::Preset(name.parse()?)),
        WeightPlan::PerGroup(slots) => Ok(Typing::Slots(WeightTypes::new(slots)?)),
    }
}

fn header_hasher(metadata: &Metadata, decls: &[TensorDecl], alignment: u64) -> Sha256 {
    Sha256::new().chain_update(header_bytes(metadata, decls, alignment))
}

/// The hash of a file as [`Artifact::hash`] defines it.
fn hash_file(gguf: &Gguf) -> Result<String, CompressError> {
    let decls: Vec<_> = gguf
        .tensors()
        .iter()
        .map(|t| TensorDecl { name: t.name.clone(), dims: t.dims.clone(), ty: t.ty })
        .collect();
    let mut hasher = header_hasher(gguf.metadata(), &decls, gguf.header().alignment);
    for tensor in gguf.tensors() {
        hasher.update(hash_tensor(gguf, tensor)?);
    }
    Ok(hex(hasher.finalize()))
}
