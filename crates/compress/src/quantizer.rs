//! Converts tensors of the source: rows and columns picked, quantized, each combination once.

use std::sync::Mutex;

use sha2::{Digest, Sha256};

use super::CompressError;
use super::cache::{Entry, Hash, SourceHashes, TensorCache, hash_tensor};
use super::floats::{RowReader, rows_per_chunk};
use super::pick::Picks;
use super::rescale::{Factors, POWER, Scale, factors};
use autotune_engine::ggml;
use autotune_model::ActivationStats;
use autotune_model::gguf::{Gguf, TensorInfo};
use autotune_model::{Architecture, GgmlType, TensorName};

/// The source with its cache.
#[derive(Debug)]
pub(super) struct Quantizer<'a> {
    source: &'a Gguf,
    cache: TensorCache,
    hashes: Mutex<SourceHashes>,
    threads: usize,
    stats: Option<ActivationStats>,
    /// Of what, when channels are scaled by the activations that they meet.
    scaled: Option<Architecture>,
}

/// A quantized tensor, and whether it had to be made.
pub(super) struct Quantized {
    pub entry: Entry,
    pub fresh: bool,
}

impl<'a> Quantizer<'a> {
    pub(super) fn new(
        source: &'a Gguf,
        cache: TensorCache,
        threads: usize,
        stats: Option<ActivationStats>,
    ) -> Result<Self, CompressError> {
        let hashes = Mutex::new(SourceHashes::load(&cache, source)?);
        Ok(Self { source, cache, hashes, threads: threads.max(1), stats, scaled: None })
    }

    pub(super) fn source(&self) -> &'a Gguf {
        self.source
    }

    pub(super) fn cache(&self) -> &TensorCache {
        &self.cache
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    pub(super) fn stats(&self) -> Option<&ActivationStats> {
        self.stats.as_ref()
    }

    /// Scales channels by the activations that they meet from now on.
    pub(super) fn scale(&mut self, arch: &Architecture) {
        self.scaled = Some(arch.clone());
    }

    /// What a tensor is multiplied with before anything else.
    pub(super) fn factors(&self, info: &TensorInfo) -> Factors {
        match (&self.scaled, &self.stats) {
            (Some(arch), Some(stats)) => {
                factors(arch, Scale::Activations(stats, POWER), TensorName::parse(&info.name))
            }
            _ => Factors::default(),
        }
    }

    /// Whether there are importance data for a tensor.
    pub(super) fn has_imatrix(&self, name: &str) -> bool {
        self.stats.as_ref().is_some_and(|s| s.mean_square.contains_key(name))
    }

    /// The SHA-256 of a tensor of the source.
    pub(super) fn source_hash(&self, info: &TensorInfo) -> Result<Hash, CompressError> {
        match self.hashes.lock() {
            Ok(mut hashes) => hashes.get(self.source, info),
            Err(_) => hash_tensor(self.source, info),
        }
    }

    /// Keeps the hashes for the next process.
    pub(super) fn save_hashes(&self) -> Result<(), CompressError> {
        match self.hashes.lock() {
            Ok(mut hashes) => hashes.save(),
            Err(_) => Ok(()),
        }
    }

    /// The quantized tensor of `bytes` bytes from the cache, made if it is not there.
    pub(super) fn quantized(
        &self,
        info: &TensorInfo,
        picks: &Picks,
        ty: GgmlType,
        bytes: u64,
    ) -> Result<Quantized, CompressError> {
        let factors = self.factors(info);
        let imatrix = self.imatrix(info, picks, ty, &factors)?;
        let key = self.key(info, picks, ty, imatrix.as_deref(), &factors)?;
        if let Some(entry) = self.cache.get(&key, bytes) {
            return Ok(Quantized { entry, fresh: false });
        }
        let mut writer = self.cache.begin(&key)?;
        self.convert(info, picks, ty, imatrix.as_deref(), |bytes| writer.write(bytes))?;
        Ok(Quantized { entry: writer.finish()?, fresh: true })
    }

    /// The importance data of the picked columns, for types that use them. A column that is made larger meets activations that are smaller
    /// by as much.
    fn imatrix(
        &self,
        info: &TensorInfo,
        picks: &Picks,
        ty: GgmlType,
        factors: &Factors,
    ) -> Result<Option<Vec<f32>>, CompressError> {
        let unused = ty == GgmlType::Q8_0 || !ty.is_quantized();
        let known = self.stats.as_ref().and_then(|s| s.mean_square.get(&info.name));
        let Some(all) = known.filter(|_| !unused) else { return Ok(None) };
        if all.len() as u64 != info.n_per_row() {
            return Err(CompressError::Stats {
                tensor: info.name.clone(),
                found: all.len(),
                expected: info.n_per_row(),
            });
        }
        let of = |c: usize| match &factors.cols {
            Some(scale) => all[c] / (scale[c] * scale[c]),
            None => all[c],
        };
        Ok(Some(match &picks.cols {
            Some(cols) => cols.iter().map(|c| of(*c as usize)).collect(),
            None => (0..all.len()).map(of).collect(),
        }))
    }

    /// The name of a quantized tensor: a hash of all that decides its bytes.
    fn key(
        &self,
        info: &TensorInfo,
        picks: &Picks,
        ty: GgmlType,
        imatrix: Option<&[f32]>,
        factors: &Factors,
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
        for list in [&factors.rows, &factors.cols].into_iter().flatten() {
            h.update((list.len() as u64).to_le_bytes());
            list.iter().for_each(|f| h.update(f.to_le_bytes()));
        }
        Ok(h.finalize().into())
    }

    /// Reads, scales, cuts and converts a tensor in chunks of rows, handing each chunk's bytes to `sink`.
    pub(super) fn convert(
        &self,
        info: &TensorInfo,
        picks: &Picks,
        ty: GgmlType,
        imatrix: Option<&[f32]>,
        mut sink: impl FnMut(&[u8]) -> Result<(), CompressError>,
    ) -> Result<(), CompressError> {
        let mut reader = RowReader::new(self.source, info)?;
        let factors = self.factors(info);
        let rows = picks.rows.as_ref().map_or(info.n_rows(), |r| r.len() as u64);
        let step = rows_per_chunk(info.n_per_row());
        let columns = usize::try_from(info.n_per_row()).unwrap_or(usize::MAX);
        let mut cut = Vec::new();
        let mut at = 0;
        while at < rows {
            let end = (at + step).min(rows);
            let numbers = |at: u64| match &picks.rows {
                Some(list) => u64::from(list[at as usize]),
                None => at,
            };
            let values = reader.rows((at..end).map(numbers))?;
            factors.apply(values, columns, (at..end).map(numbers));
            let (values, width) = match &picks.cols {
                Some(cols) => {
                    cut.clear();
                    for row in values.chunks_exact(columns) {
                        cut.extend(cols.iter().map(|c| row[*c as usize]));
                    }
                    (cut.as_slice(), cols.len())
                }
                None => (&*values, columns),
            };
            let bytes = ggml::quantize(ty, values, width, imatrix, self.threads)
                .map_err(|e| CompressError::Convert { tensor: info.name.clone(), detail: e.to_string() })?;
            sink(&bytes)?;
            at = end;
        }
        Ok(())
    }
}
