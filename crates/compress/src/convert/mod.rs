//! Checkpoints from one format to the other: a GGUF file and a Hugging Face model directory.
//!
//! llama.cpp turns neighbouring elements of a head together, Hugging Face elements half a head apart: the rows of Q and K of the llama
//! graph change places on the way. Weights keep their type unless another is asked for; blocks of a quantized GGUF become F16.

mod to_gguf;
mod to_hf;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::CompressError;
use super::floats::decode;
use autotune_model::hf::HfError;
use autotune_model::tokenizer::TokenizerError;
use autotune_model::{
    Checkpoint, CheckpointError, DYNAMIC_SCALES, GgmlType, LEVELS, RawTensor, SCALES, TensorName, TensorRole,
    float_bytes,
};

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The GGUF file, or the folder.
    pub path: PathBuf,
    /// Tensors in it.
    pub tensors: usize,
    /// Bytes of the weights.
    pub bytes: u64,
    /// Tensors that were quantized in the source and are F16 now.
    pub dequantized: usize,
    /// What the user should know of how the source was read.
    pub remarks: Vec<String>,
}

/// A checkpoint that cannot be converted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConvertError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Hf(#[from] HfError),
    #[error("the tokenizer cannot be converted: {0}")]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Compress(#[from] CompressError),
    #[error(
        "the layers have different sizes (pruned head by head or channel by channel), which config.json cannot express; export it as GGUF"
    )]
    Layers,
    #[error(
        "the rotary embedding has factors of its own (rope_freqs.weight) that no setting of Llama 3 gives, which config.json cannot express"
    )]
    Factors,
    #[error(
        "the GGUF file states {}, which config.json cannot express; the directory would hold a different model",
        keys.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
    )]
    Keys { keys: Vec<String> },
    #[error("{}: `chat_template` is neither a text nor a list of named templates: {found}", folder.display())]
    Template { folder: PathBuf, found: String },
    #[error("`{tensor}` is stored as {ty}; {remedy}")]
    Type { tensor: String, ty: GgmlType, remedy: &'static str },
    #[error("{} is there already; name another, or delete it", .0.display())]
    Occupied(PathBuf),
    #[error("failed to write {}: {cause}", path.display())]
    Write { path: PathBuf, cause: String },
}

/// Writes the checkpoint at `source` in the other format at `out`; floats as `ty` where one is asked for.
///
/// # Errors
/// A source that cannot be read or has no counterpart, or a disk that refuses.
pub fn convert(source: &Path, out: &Path, ty: Option<GgmlType>) -> Result<Converted, ConvertError> {
    let checkpoint = Checkpoint::open(source)?;
    if out.exists() && std::fs::read_dir(out).map_or(true, |mut entries| entries.next().is_some()) {
        return Err(ConvertError::Occupied(out.to_owned()));
    }
    match &checkpoint {
        Checkpoint::Gguf { .. } => to_hf::write(&checkpoint, out, ty),
        Checkpoint::Hf(model) => to_gguf::write(&checkpoint, model, out, ty),
    }
}

/// Writes the GGUF that a Hugging Face model directory would become, with a hole in place of the weights: names, types, shapes and metadata are
/// there, which is all that a prediction needs.
///
/// # Errors
/// As for [`convert`].
pub fn outline(source: &Path, out: &Path) -> Result<(), ConvertError> {
    let checkpoint = Checkpoint::open(source)?;
    match &checkpoint {
        Checkpoint::Gguf { .. } => Err(ConvertError::Occupied(source.to_owned())),
        Checkpoint::Hf(model) => to_gguf::outline(&checkpoint, model, out),
    }
}

/// Which way the rows of a head go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As they are.
    Same,
    /// Pairs of neighbours to halves of a head.
    ToHalves,
    /// Halves of a head to pairs of neighbours.
    ToNeighbours,
}

impl Order {
    /// The row of the source that stands at `row` in the result.
    fn source(self, row: usize, head: usize) -> usize {
        let (first, within) = (row / head * head, row % head);
        let half = head / 2;
        first
            + match self {
                Order::Same => within,
                Order::ToHalves => within % half * 2 + within / half,
                Order::ToNeighbours => within % 2 * half + within / 2,
            }
    }
}

/// Whether a tensor's rows (or elements, of a bias) are those of turned heads.
fn is_turned(name: &str) -> bool {
    matches!(TensorName::parse(name).role, TensorRole::AttnQ | TensorRole::AttnK)
}

/// The type of a tensor in the result.
fn result_type(raw: &RawTensor<'_>, matrix: bool, asked: Option<GgmlType>) -> GgmlType {
    match asked {
        Some(ty) if matrix => ty,
        _ if raw.ty.is_float() => raw.ty,
        _ => GgmlType::F16,
    }
}

/// A tensor's bytes in another type, its rows in another order.
fn rewritten<'a>(
    name: &str,
    raw: &RawTensor<'a>,
    ty: GgmlType,
    order: Order,
    checkpoint: &Checkpoint,
) -> Result<Cow<'a, [u8]>, ConvertError> {
    let bytes: Cow<'a, [u8]> = if raw.ty == ty {
        Cow::Borrowed(raw.bytes)
    } else {
        let floats = floats_of(checkpoint, name, raw)?;
        Cow::Owned(float_bytes(&floats, ty))
    };
    if order == Order::Same || !is_turned(name) {
        return Ok(bytes);
    }
    let rows: usize = match raw.dims.as_slice() {
        [n] => *n as usize,
        dims => dims.iter().skip(1).product::<u64>() as usize,
    };
    let (width, head) = (bytes.len() / rows.max(1), checkpoint.arch().head_dim as usize);
    let mut turned = Vec::with_capacity(bytes.len());
    for row in 0..rows {
        let from = order.source(row, head) * width;
        turned.extend_from_slice(&bytes[from..from + width]);
    }
    Ok(Cow::Owned(turned))
}

/// The floats that a tensor stands for: bytes by the scales of their rows, blocks as llama.cpp reads them.
///
/// # Errors
/// A type that has no floats, or a build that cannot read it.
pub fn floats_of(checkpoint: &Checkpoint, name: &str, raw: &RawTensor<'_>) -> Result<Vec<f32>, ConvertError> {
    let mut out = Vec::new();
    if raw.ty == GgmlType::I8 {
        let scales = [SCALES, DYNAMIC_SCALES].iter().find_map(|s| checkpoint.find(&format!("{name}{s}")));
        let scales =
            scales.map(|s| s.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect());
        let scales: Vec<f32> = scales.unwrap_or_default();
        let row = raw.dims.first().map_or(1, |n| *n as usize).max(1);
        if scales.len() * row != raw.bytes.len() {
            let remedy = "it has no scale for each row";
            return Err(ConvertError::Type { tensor: name.to_owned(), ty: raw.ty, remedy });
        }
        let by_row = raw.bytes.chunks(row).zip(scales);
        return Ok(by_row
            .flat_map(|(row, scale)| row.iter().map(move |b| f32::from(*b as i8) * scale))
            .collect());
    }
    if let Some(levels) = checkpoint.find(&format!("{name}{LEVELS}")) {
        return nf4_floats(raw, &levels).ok_or_else(|| ConvertError::Type {
            tensor: name.to_owned(),
            ty: raw.ty,
            remedy: "it has no value for each of its codes",
        });
    }
    if decode(raw.ty, raw.bytes, &mut out, &mut Vec::new()).is_some() {
        return Ok(out);
    }
    let fail = |remedy| ConvertError::Type { tensor: name.to_owned(), ty: raw.ty, remedy };
    #[cfg(feature = "llama")]
    {
        let n = raw.dims.iter().product::<u64>() as usize;
        autotune_engine::ggml::dequantize(raw.ty, raw.bytes, n).map_err(|_| fail("it has no floats"))
    }
    #[cfg(not(feature = "llama"))]
    Err(fail("build with `--features llama`, whose dequantizers it needs"))
}

/// Codes in the layout of Q4_0 as what they name; none where anything is missing.
fn nf4_floats(raw: &RawTensor<'_>, levels: &RawTensor<'_>) -> Option<Vec<f32>> {
    const BLOCK: usize = 18;
    let levels: Vec<f32> = levels.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let levels: [f32; 16] = levels.try_into().ok()?;
    if raw.ty != GgmlType::Q4_0 {
        return None;
    }
    let mut out = Vec::with_capacity(raw.bytes.len() / BLOCK * 32);
    for block in raw.bytes.chunks_exact(BLOCK) {
        let scale = half::f16::from_le_bytes([block[0], block[1]]).to_f32();
        let value = |code: u8| scale * levels[usize::from(code)];
        out.extend(block[2..].iter().map(|b| value(b & 15)));
        out.extend(block[2..].iter().map(|b| value(b >> 4)));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_model::ArchKind;
    use autotune_model::gguf::{Gguf, GgufWriter, TensorDecl};
    use autotune_model::synthetic::Shapes;

    #[test]
    fn a_tensor_that_has_no_floats_is_an_error_and_no_gap_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        Shapes::tiny(ArchKind::Llama).write(&at("whole.gguf"), GgmlType::F16, 1, None).unwrap();
        let whole = Gguf::open(&at("whole.gguf")).unwrap();
        let bytes_without_scales = |name: &str| name == "blk.0.ffn_up.weight";
        let decls: Vec<TensorDecl> = whole
            .tensors()
            .iter()
            .map(|t| TensorDecl {
                name: t.name.clone(),
                dims: t.dims.clone(),
                ty: if bytes_without_scales(&t.name) { GgmlType::I8 } else { t.ty },
            })
            .collect();
        let mut writer = GgufWriter::create(&at("broken.gguf"), whole.metadata(), &decls).unwrap();
        for tensor in whole.tensors() {
            let bytes = whole.bytes(tensor);
            let half = if bytes_without_scales(&tensor.name) { bytes.len() / 2 } else { bytes.len() };
            writer.write(&bytes[..half]).unwrap();
        }
        writer.finish(false).unwrap();
        let error = convert(&at("broken.gguf"), &at("hf"), None).unwrap_err().to_string();
        assert!(error.contains("blk.0.ffn_up.weight") && error.contains("no scale for each row"), "{error}");
        // Without llama.cpp it is known before the folder is made.
        assert_eq!(std::fs::read_dir(at("hf")).map_or(0, Iterator::count), 0);
    }

    #[test]
    fn both_orders_undo_each_other() {
        let head = 8;
        let order = |o: Order| (0..16).map(|r| o.source(r, head)).collect::<Vec<_>>();
        assert_eq!(order(Order::ToHalves)[..8], [0, 2, 4, 6, 1, 3, 5, 7]);
        assert_eq!(order(Order::ToNeighbours)[8..], [8, 12, 9, 13, 10, 14, 11, 15]);
        for row in 0..16 {
            assert_eq!(Order::ToHalves.source(Order::ToNeighbours.source(row, head), head), row);
        }
    }
}
