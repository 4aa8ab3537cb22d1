//! The float model that candidates are built from and measured against.

use std::path::{Path, PathBuf};

use super::CompressError;
use super::floats::rows_per_chunk;
use super::rescale::{Scale, factors};
use crate::duplicated_embedding;
use autotune_engine::ggml;
use autotune_model::gguf::{Gguf, GgufWriter, MetaValue, TensorDecl, TensorInfo};
use autotune_model::{Architecture, GgmlType, TensorName, is_quantized};

/// The float reference of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The file: the source itself when that is float.
    pub path: PathBuf,
    /// Whether the source was quantized: then the reference is its dequantized and rescaled twin, not the model as trained.
    pub from_quantized: bool,
}

/// The float reference of `source`. A float file is its own. A quantized one is dequantized to F16 at `out` under a random rescaling that
/// preserves its function, so that no type gains from having been the source's.
///
/// # Errors
/// An unknown architecture, a type that cannot be dequantized, or files that cannot be read or written.
pub fn make_reference(
    source: &Gguf,
    out: &Path,
    seed: u64,
    threads: usize,
) -> Result<Reference, CompressError> {
    let arch = Architecture::read(source)
        .map_err(|e| CompressError::Arch { path: source.path().to_owned(), cause: e })?;
    // Copies of one matrix must stay copies, so that a candidate can store it once.
    let arch = Architecture { tied: arch.tied || duplicated_embedding(source).is_some(), ..arch };
    if !is_quantized(source) {
        let path = if source.metadata().says_split() {
            copy_without_split(source, out)?;
            out.to_owned()
        } else {
            source.path().to_owned()
        };
        return Ok(Reference { path, from_quantized: false });
    }
    let mut metadata = source.metadata().clone();
    metadata.remove_split();
    metadata.set("general.file_type", MetaValue::U32(1));
    metadata.set("autotune.reference.seed", MetaValue::U64(seed));
    let decls: Vec<TensorDecl> = source
        .tensors()
        .iter()
        .map(|t| {
            let ty = if t.dims.len() > 1 { GgmlType::F16 } else { GgmlType::F32 };
            TensorDecl { name: t.name.clone(), dims: t.dims.clone(), ty }
        })
        .collect();
    let mut writer = GgufWriter::create(out, &metadata, &decls)?;
    for (info, decl) in source.tensors().iter().zip(&decls) {
        rewrite(source, info, decl.ty, &arch, seed, threads, &mut writer)?;
    }
    writer.finish(false)?;
    Ok(Reference { path: out.to_owned(), from_quantized: true })
}

/// Copies a file that says to be one of several parts although it holds all tensors, without saying so.
///
/// # Errors
/// Files that cannot be read or written.
pub(super) fn copy_without_split(source: &Gguf, out: &Path) -> Result<u64, CompressError> {
    let mut metadata = source.metadata().clone();
    metadata.remove_split();
    let decls: Vec<TensorDecl> = source
        .tensors()
        .iter()
        .map(|t| TensorDecl { name: t.name.clone(), dims: t.dims.clone(), ty: t.ty })
        .collect();
    let mut writer = GgufWriter::create(out, &metadata, &decls)?;
    let mut file = std::fs::File::open(source.path())
        .map_err(|cause| CompressError::Io { path: source.path().to_owned(), cause })?;
    for info in source.tensors() {
        writer.copy_from(&mut file, info.range.start, info.bytes())?;
    }
    Ok(writer.finish(false)?)
}

/// Dequantizes, rescales and writes one tensor in chunks of rows.
fn rewrite(
    source: &Gguf,
    info: &TensorInfo,
    ty: GgmlType,
    arch: &Architecture,
    seed: u64,
    threads: usize,
    writer: &mut GgufWriter,
) -> Result<(), CompressError> {
    let fail =
        |e: ggml::GgmlError| CompressError::Convert { tensor: info.name.clone(), detail: e.to_string() };
    let factors = factors(arch, Scale::Random(seed), TensorName::parse(&info.name));
    let columns = usize::try_from(info.n_per_row()).unwrap_or(usize::MAX);
    let row_bytes = info.bytes() / info.n_rows().max(1);
    let (mut bytes, mut values) = (Vec::new(), Vec::new());
    let (rows, step) = (info.n_rows(), rows_per_chunk(info.n_per_row()));
    let mut at = 0;
    while at < rows {
        let n = step.min(rows - at);
        bytes.resize(usize::try_from(n * row_bytes).unwrap_or(usize::MAX), 0);
        values.resize(usize::try_from(n).unwrap_or(usize::MAX) * columns, 0.0);
        source.read_at(info, at * row_bytes, &mut bytes)?;
        ggml::dequantize_into(info.ty, &bytes, &mut values, threads).map_err(fail)?;
        factors.apply(&mut values, columns, at..at + n);
        writer.write(&ggml::quantize(ty, &values, columns, None, threads).map_err(fail)?)?;
        at += n;
    }
    Ok(())
}
