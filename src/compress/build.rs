//! The builder: from a candidate to a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cache::{Entry, Hash, SourceHashes, TensorCache, hash_tensor, hex};
use super::floats::{RowReader, rows_per_chunk};
use super::layout::{Layout, SourceTensors, Typing, kept_shapes};
use super::metadata::artifact_metadata;
use super::pick::{Picks, picks};
use super::predict::prune_request;
use super::recipe::recipe_json;
use super::types::WeightTypes;
use super::{AS_SHIPPED, ActivationStats, CompressError, Fallback, Importance, Preset, PrunePlan};
use crate::engine::ggml;
use crate::engine::quantize::quantize_file;
use crate::model::gguf::{Gguf, GgufWriter, Metadata, TensorInfo, header_bytes, temp_beside};
use crate::model::{ArchKind, Architecture, GgmlType, is_quantized};
use crate::space::{Config, WeightPlan};

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
    /// Tensors that were copied or cut without rounding.
    pub copied: usize,
    /// How long it took.
    pub duration: Duration,
}

/// Builds artifacts from one float model. Every (tensor, slice, type, importance) is quantized once and kept in the cache.
#[derive(Debug)]
pub struct Builder<'a> {
    reference: &'a Gguf,
    arch: Architecture,
    source: SourceTensors,
    cache: TensorCache,
    hashes: Mutex<SourceHashes>,
    threads: usize,
    stats: Option<ActivationStats>,
    importance: Option<Importance>,
    shipped: Option<PathBuf>,
}

impl<'a> Builder<'a> {
    /// A builder for candidates of `reference`, a float model, with its cache below `cache_dir`. `stats` guide low bits and are needed to
    /// prune; computing the importance reads two matrices of each layer.
    ///
    /// # Errors
    /// The reference is quantized or of an unknown architecture, the statistics belong to another model, or the cache cannot be made.
    pub fn new(
        reference: &'a Gguf,
        cache_dir: &Path,
        threads: usize,
        stats: Option<ActivationStats>,
    ) -> Result<Self, CompressError> {
        let arch = Architecture::read(reference)
            .map_err(|source| CompressError::Arch { path: reference.path().to_owned(), source })?;
        if is_quantized(reference) {
            let bad = reference.tensors().iter().find(|t| !t.ty.is_float());
            return Err(CompressError::NotFloat {
                path: reference.path().to_owned(),
                tensor: bad.map(|t| t.name.clone()).unwrap_or_default(),
                ty: bad.map_or(GgmlType::F32, |t| t.ty),
            });
        }
        let cache = TensorCache::open(cache_dir)?;
        let hashes = Mutex::new(SourceHashes::load(&cache, reference)?);
        let importance = match &stats {
            Some(stats) => Some(Importance::compute(reference, &arch, stats)?),
            None => None,
        };
        let source = SourceTensors::new(reference.tensors());
        Ok(Self {
            reference,
            arch,
            source,
            cache,
            hashes,
            threads: threads.max(1),
            stats,
            importance,
            shipped: None,
        })
    }

    /// Names the user's own file, which `as-shipped` stands for.
    #[must_use]
    pub fn with_shipped(mut self, path: &Path) -> Self {
        self.shipped = Some(path.to_owned());
        self
    }

    /// The architecture of the reference.
    #[must_use]
    pub fn arch(&self) -> &Architecture {
        &self.arch
    }

    /// The importance that pruning goes by, where there are statistics; for the predictor.
    #[must_use]
    pub fn importance(&self) -> Option<&Importance> {
        self.importance.as_ref()
    }

    /// Removes the cached tensors that were longest unused until at most `limit` bytes are left. Returns the bytes removed.
    ///
    /// # Errors
    /// The cache cannot be read or written.
    pub fn sweep_cache(&self, limit: u64) -> Result<u64, CompressError> {
        self.cache.sweep(limit)
    }

    /// What would be pruned for a candidate.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn plan(&self, config: &Config) -> Result<PrunePlan, CompressError> {
        self.plan_for(config, &typing(config)?)
    }

    fn plan_for(&self, config: &Config, typing: &Typing) -> Result<PrunePlan, CompressError> {
        PrunePlan::choose(&self.arch, self.importance.as_ref(), &prune_request(config, typing))
    }

    /// Builds the artifact of a candidate at `out`, which appears when it is complete. `as-shipped` makes no file: its artifact is the
    /// user's own.
    ///
    /// # Errors
    /// Unknown types, pruning without statistics, files that cannot be read or written.
    pub fn build(&self, config: &Config, out: &Path) -> Result<Artifact, CompressError> {
        let start = Instant::now();
        if matches!(&config.weights, WeightPlan::Preset(name) if name == AS_SHIPPED) {
            return self.shipped(start);
        }
        let typing = typing(config)?;
        let plan = self.plan_for(config, &typing)?;
        match typing {
            Typing::Preset(preset) => self.build_preset(config, preset, &plan, out, start),
            Typing::Slots(_) => self.assemble(config, &typing, &plan, out, start),
        }
    }

    fn shipped(&self, start: Instant) -> Result<Artifact, CompressError> {
        let path = self.shipped.clone().ok_or(CompressError::NothingShipped)?;
        let gguf = Gguf::open(&path)?;
        Ok(Artifact {
            bytes: gguf.len(),
            hash: hash_file(&gguf)?,
            path,
            fallbacks: Vec::new(),
            kept: self.kept(&PrunePlan::full(&self.arch)),
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
        start: Instant,
    ) -> Result<Artifact, CompressError> {
        let whole = *plan == PrunePlan::full(&self.arch);
        let layout = self.layout(&Typing::Preset(preset), plan)?;
        let pruned = temp_beside(out);
        let result = if whole {
            quantize_file(self.reference.path(), out, preset.ftype(), self.threads)
        } else {
            let float = Config { weights: WeightPlan::PerGroup(Vec::new()), ..config.clone() };
            self.assemble(&float, &Typing::Slots(WeightTypes::default()), plan, &pruned, start)?;
            let result = quantize_file(&pruned, out, preset.ftype(), self.threads);
            // Ours, and of no further use whether or not the quantizer made something of it.
            let _ = fs::remove_file(&pruned);
            result
        };
        result.map_err(|e| CompressError::Library(e.to_string()))?;
        let gguf = Gguf::open(out)?;
        let quantized = gguf.tensors().iter().filter(|t| t.ty.is_quantized()).count();
        Ok(Artifact {
            path: out.to_owned(),
            bytes: gguf.len(),
            hash: hash_file(&gguf)?,
            fallbacks: layout.fallbacks,
            kept: self.kept(plan),
            quantized,
            reused: 0,
            copied: gguf.tensors().len() - quantized,
            duration: start.elapsed(),
        })
    }

    fn layout(&self, typing: &Typing, plan: &PrunePlan) -> Result<Layout, CompressError> {
        let kept = kept_shapes(plan, &self.arch);
        let has = |name: &str| self.stats.as_ref().is_some_and(|s| s.mean_square.contains_key(name));
        Layout::new(&self.source, &self.arch, &kept, typing, has)
    }

    /// Puts an artifact together tensor by tensor.
    fn assemble(
        &self,
        config: &Config,
        typing: &Typing,
        plan: &PrunePlan,
        out: &Path,
        start: Instant,
    ) -> Result<Artifact, CompressError> {
        let layout = self.layout(typing, plan)?;
        let recipe = recipe_json(config);
        let metadata = artifact_metadata(self.reference.metadata(), &self.arch, &layout, plan, &recipe);
        let decls: Vec<_> = layout.tensors.iter().map(|t| t.decl.clone()).collect();
        let mut writer = GgufWriter::create(out, &metadata, &decls)?;
        let mut hasher = header_hasher(&metadata, &decls, self.reference.header().alignment);
        let mut source = self.open_source()?;
        let mut counts = [0usize; 3];
        for t in &layout.tensors {
            let info = &self.source.infos[t.source];
            let picks = self.picks(t.source, plan, layout.kind);
            let origin = if picks.is_all() && info.ty == t.decl.ty {
                writer.copy_from(&mut source, info.range.start, info.bytes())?;
                hasher.update(self.source_hash(info)?);
                Origin::Copied
            } else if t.decl.ty.is_quantized() {
                let (entry, origin) = self.cached(info, &picks, t.decl.ty)?;
                self.write_entry(&mut writer, entry, &mut hasher, t.decl.bytes().unwrap_or(0))?;
                origin
            } else {
                let mut content = Sha256::new();
                self.convert(info, &picks, t.decl.ty, None, |bytes| {
                    content.update(bytes);
                    writer.write(bytes).map_err(CompressError::from)
                })?;
                hasher.update(content.finalize());
                Origin::Copied
            };
            counts[origin as usize] += 1;
        }
        let bytes = writer.finish(false)?;
        if let Ok(mut hashes) = self.hashes.lock() {
            hashes.save()?;
        }
        Ok(Artifact {
            path: out.to_owned(),
            bytes,
            hash: hex(&hasher.finalize()),
            fallbacks: layout.fallbacks,
            kept: self.kept(plan),
            quantized: counts[Origin::Quantized as usize],
            reused: counts[Origin::Reused as usize],
            copied: counts[Origin::Copied as usize],
            duration: start.elapsed(),
        })
    }

    fn open_source(&self) -> Result<File, CompressError> {
        // A handle of our own: its position moves, and builders may run side by side.
        let path = self.reference.path();
        File::open(path).map_err(|source| CompressError::Io { path: path.to_owned(), source })
    }

    fn write_entry(
        &self,
        writer: &mut GgufWriter,
        mut entry: Entry,
        hasher: &mut Sha256,
        bytes: u64,
    ) -> Result<(), CompressError> {
        writer.copy_from(&mut entry.file, 0, bytes)?;
        hasher.update(entry.hash);
        Ok(())
    }

    fn picks(&self, source: usize, plan: &PrunePlan, kind: ArchKind) -> Picks {
        let name = self.source.names[source];
        match plan.layers.iter().find(|l| Some(l.source) == name.layer) {
            Some(kept) => picks(name, &self.arch, kept, kind),
            None => Picks::default(),
        }
    }

    fn source_hash(&self, info: &TensorInfo) -> Result<Hash, CompressError> {
        match self.hashes.lock() {
            Ok(mut hashes) => hashes.get(self.reference, info),
            Err(_) => hash_tensor(self.reference, info),
        }
    }

    /// The quantized tensor from the cache, made if it is not there.
    fn cached(
        &self,
        info: &TensorInfo,
        picks: &Picks,
        ty: GgmlType,
    ) -> Result<(Entry, Origin), CompressError> {
        let imatrix = self.imatrix(info, picks, ty)?;
        let key = self.key(info, picks, ty, imatrix.as_deref())?;
        let columns = picks.cols.as_ref().map_or(info.n_per_row(), |c| c.len() as u64);
        let rows = picks.rows.as_ref().map_or(info.n_rows(), |r| r.len() as u64);
        let bytes = ty.row_bytes(columns).unwrap_or(0) * rows;
        if let Some(entry) = self.cache.get(&key, bytes) {
            return Ok((entry, Origin::Reused));
        }
        let mut writer = self.cache.begin(&key)?;
        self.convert(info, picks, ty, imatrix.as_deref(), |bytes| writer.write(bytes))?;
        Ok((writer.finish()?, Origin::Quantized))
    }

    /// The importance data of the taken columns, for types that use them.
    fn imatrix(
        &self,
        info: &TensorInfo,
        picks: &Picks,
        ty: GgmlType,
    ) -> Result<Option<Vec<f32>>, CompressError> {
        let unused = matches!(ty, GgmlType::Q8_0 | GgmlType::Tq1_0 | GgmlType::Tq2_0) || !ty.is_quantized();
        let Some(all) = self.stats.as_ref().and_then(|s| s.mean_square.get(&info.name)).filter(|_| !unused)
        else {
            return Ok(None);
        };
        if all.len() as u64 != info.n_per_row() {
            return Err(CompressError::Stats {
                tensor: info.name.clone(),
                found: all.len(),
                expected: info.n_per_row(),
            });
        }
        Ok(Some(match &picks.cols {
            Some(cols) => cols.iter().map(|c| all[*c as usize]).collect(),
            None => all.clone(),
        }))
    }

    fn key(
        &self,
        info: &TensorInfo,
        picks: &Picks,
        ty: GgmlType,
        imatrix: Option<&[f32]>,
    ) -> Result<Hash, CompressError> {
        let mut h = Sha256::new();
        h.update(b"autotune tensor 1\0");
        h.update(ggml::version().as_bytes());
        h.update([0]);
        h.update(self.source_hash(info)?);
        h.update(info.ty.id().to_le_bytes());
        h.update(ty.id().to_le_bytes());
        h.update(info.n_per_row().to_le_bytes());
        for list in [&picks.rows, &picks.cols] {
            h.update(list.as_ref().map_or(u64::MAX, |l| l.len() as u64).to_le_bytes());
            list.iter().flatten().for_each(|i| h.update(i.to_le_bytes()));
        }
        h.update([u8::from(imatrix.is_some())]);
        imatrix.into_iter().flatten().for_each(|w| h.update(w.to_le_bytes()));
        Ok(h.finalize().into())
    }

    /// Reads, cuts and converts a tensor in chunks of rows, handing each chunk's bytes to `sink`.
    fn convert(
        &self,
        info: &TensorInfo,
        picks: &Picks,
        ty: GgmlType,
        imatrix: Option<&[f32]>,
        mut sink: impl FnMut(&[u8]) -> Result<(), CompressError>,
    ) -> Result<(), CompressError> {
        let mut reader = RowReader::new(self.reference, info)?;
        let rows = picks.rows.as_ref().map_or(info.n_rows(), |r| r.len() as u64);
        let step = rows_per_chunk(info.n_per_row());
        let columns = usize::try_from(info.n_per_row()).unwrap_or(usize::MAX);
        let mut cut = Vec::new();
        let mut at = 0;
        while at < rows {
            let end = (at + step).min(rows);
            let values = match &picks.rows {
                Some(list) => reader.rows(list[at as usize..end as usize].iter().map(|r| u64::from(*r)))?,
                None => reader.rows(at..end)?,
            };
            let (values, width) = match &picks.cols {
                Some(cols) => {
                    cut.clear();
                    for row in values.chunks_exact(columns) {
                        cut.extend(cols.iter().map(|c| row[*c as usize]));
                    }
                    (cut.as_slice(), cols.len())
                }
                None => (values, columns),
            };
            let bytes = ggml::quantize(ty, values, width, imatrix, self.threads)
                .map_err(|e| CompressError::Convert { tensor: info.name.clone(), detail: e.to_string() })?;
            sink(&bytes)?;
            at = end;
        }
        Ok(())
    }

    fn kept(&self, plan: &PrunePlan) -> Kept {
        Kept {
            layers: plan.layers.iter().map(|l| l.source).collect(),
            kv_heads: plan.layers.iter().map(|l| l.kv_heads.len() as u32).collect(),
            ffn: plan.layers.iter().map(|l| l.ffn.len() as u32).collect(),
        }
    }
}

/// Where a tensor of an artifact came from.
#[derive(Clone, Copy)]
enum Origin {
    Quantized = 0,
    Reused = 1,
    Copied = 2,
}

fn typing(config: &Config) -> Result<Typing, CompressError> {
    match &config.weights {
        // The user's own file is whole; nothing is typed for it.
        WeightPlan::Preset(name) if name == AS_SHIPPED => Ok(Typing::Slots(WeightTypes::default())),
        WeightPlan::Preset(name) => Ok(Typing::Preset(name.parse()?)),
        WeightPlan::PerGroup(slots) => Ok(Typing::Slots(WeightTypes::new(slots)?)),
    }
}

fn header_hasher(metadata: &Metadata, decls: &[crate::model::gguf::TensorDecl], alignment: u64) -> Sha256 {
    Sha256::new().chain_update(header_bytes(metadata, decls, alignment))
}

/// The hash of a file as [`Artifact::hash`] defines it.
fn hash_file(gguf: &Gguf) -> Result<String, CompressError> {
    let decls: Vec<_> = gguf
        .tensors()
        .iter()
        .map(|t| crate::model::gguf::TensorDecl { name: t.name.clone(), dims: t.dims.clone(), ty: t.ty })
        .collect();
    let mut hasher = header_hasher(gguf.metadata(), &decls, gguf.header().alignment);
    for tensor in gguf.tensors() {
        hasher.update(hash_tensor(gguf, tensor)?);
    }
    Ok(hex(&hasher.finalize()))
}
