//! Artifacts of the torch engine: a GGUF whose matrices are floats, Q4_1 (libtorch's 4 bits), bytes with a scale for each row, codes of
//! NormalFloat in the layout of Q4_0 with their values beside them, or floats with two zeros in four and a mark.
//!
//! Pruning, floats and `INT4` are the builder's work as for llama.cpp; the rest is packed here, out of the builder's floats.

mod nf4;
mod two_of_four;

use std::path::Path;

use sha2::{Digest, Sha256};

use super::CompressError;
use super::floats::{RowReader, rows_per_chunk};
use autotune_core::space::{Config, WeightPlan, WeightSlot};
use autotune_model::gguf::{Gguf, GgufWriter, TensorDecl, header_bytes};
use autotune_model::{
    DYNAMIC_SCALES, GgmlType, LEVELS, NF4_LEVELS, SCALES, TWO_OF_FOUR, TensorName, TorchType, WeightGroup,
    float_bytes,
};

/// Bytes that are copied at once.
const COPIED_AT_ONCE: usize = 4 << 20;

/// The float type that a reference's matrices have, which is what bytes are packed from.
fn float_of(reference: &Gguf) -> GgmlType {
    let of = |ty: GgmlType| -> u64 {
        reference.tensors().iter().filter(|t| t.ty == ty && t.dims.len() > 1).map(|t| t.elements()).sum()
    };
    [GgmlType::F16, GgmlType::Bf16, GgmlType::F32]
        .into_iter()
        .max_by_key(|ty| of(*ty))
        .unwrap_or(GgmlType::F16)
}

/// The types that a candidate asks for, by group and third of the depth.
#[derive(Clone, Debug)]
pub struct TorchTypes {
    slots: Vec<(WeightSlot, TorchType)>,
}

impl TorchTypes {
    /// Reads a candidate; a preset's name is one type for everything.
    ///
    /// # Errors
    /// A name that is no type of the torch engine.
    pub fn new(config: &Config) -> Result<Self, CompressError> {
        let parse = |name: &str| -> Result<TorchType, CompressError> { Ok(name.parse()?) };
        let slots = match &config.weights {
            WeightPlan::Preset(name) => {
                let ty = parse(name)?;
                let slot = |role: &str| (WeightSlot { role: role.to_owned(), depth: None }, ty);
                [WeightGroup::Attn, WeightGroup::Ffn, WeightGroup::Embd].map(|g| slot(g.name())).to_vec()
            }
            WeightPlan::PerGroup(slots) => slots
                .iter()
                .map(|(slot, name)| Ok((slot.clone(), parse(name)?)))
                .collect::<Result<_, CompressError>>()?,
        };
        Ok(Self { slots })
    }

    /// The type asked for a tensor of a model with so many layers; none for tensors that keep theirs, F32 where the candidate is silent.
    #[must_use]
    pub fn asked(&self, name: TensorName, layers: usize) -> Option<TorchType> {
        let group = name.group()?.name();
        let third = name.layer.map(|l| ["early", "middle", "late"][(l as usize * 3 / layers.max(1)).min(2)]);
        let find = |depth: Option<&str>| {
            self.slots.iter().find(|(s, _)| s.role == group && s.depth.as_deref() == depth).map(|s| s.1)
        };
        Some(third.and_then(|t| find(Some(t))).or_else(|| find(None)).unwrap_or(TorchType::F32))
    }

    /// The candidate as the builder is to make it: bytes as the reference's floats, 4 bits as Q4_1.
    fn base(&self, config: &Config, reference: &Gguf) -> Config {
        let float = float_of(reference);
        let ty = |ty: TorchType, role: &str| match ty {
            TorchType::F32 => GgmlType::F32,
            TorchType::Bf16 => GgmlType::Bf16,
            TorchType::F16 => GgmlType::F16,
            TorchType::Int4 if role != WeightGroup::Embd.name() => GgmlType::Q4_1,
            TorchType::Int4
            | TorchType::Int8
            | TorchType::Int8Dynamic
            | TorchType::Nf4
            | TorchType::Sparse24 => float,
        };
        let mut slots: Vec<(WeightSlot, String)> =
            self.slots.iter().map(|(slot, t)| (slot.clone(), ty(*t, &slot.role).name().to_owned())).collect();
        for group in [WeightGroup::Attn, WeightGroup::Ffn, WeightGroup::Embd] {
            if !slots.iter().any(|(s, _)| s.role == group.name() && s.depth.is_none()) {
                let slot = WeightSlot { role: group.name().to_owned(), depth: None };
                slots.push((slot, GgmlType::F32.name().to_owned()));
            }
        }
        Config { weights: WeightPlan::PerGroup(slots), ..config.clone() }
    }
}

/// What the builder is to make for a candidate, before anything is packed.
///
/// # Errors
/// A name that is no type of the torch engine.
pub fn base_config(config: &Config, reference: &Gguf) -> Result<Config, CompressError> {
    Ok(TorchTypes::new(config)?.base(config, reference))
}

/// How a matrix is to be packed; none where it stays as it was built.
fn packs(types: &TorchTypes, info: &autotune_model::gguf::TensorInfo, layers: usize) -> Option<TorchType> {
    let name = TensorName::parse(&info.name);
    let looked_up = name.group() == Some(WeightGroup::Embd);
    let rows = info.n_rows();
    let ty = types.asked(name, layers)?.fit(info.n_per_row(), rows, looked_up);
    let packed = match ty {
        TorchType::Int8 | TorchType::Int8Dynamic | TorchType::Nf4 | TorchType::Sparse24 => true,
        TorchType::F32 | TorchType::Bf16 | TorchType::F16 | TorchType::Int4 => false,
    };
    (packed && info.ty.is_float()).then_some(ty)
}

/// Packs the matrices of a built file that are to be bytes, codes or sparse, into `out`. Returns its size and hash; none where nothing is to be packed.
///
/// # Errors
/// A file that cannot be read or written.
pub fn pack(config: &Config, built: &Gguf, out: &Path) -> Result<Option<(u64, String)>, CompressError> {
    let types = TorchTypes::new(config)?;
    let layers = built
        .tensors()
        .iter()
        .filter_map(|t| TensorName::parse(&t.name).layer)
        .max()
        .map_or(0, |l| l as usize + 1);
    let plan: Vec<Option<TorchType>> = built.tensors().iter().map(|t| packs(&types, t, layers)).collect();
    if plan.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut decls = Vec::new();
    for (info, ty) in built.tensors().iter().zip(&plan) {
        let decl = |name: String, dims: Vec<u64>, ty: GgmlType| TensorDecl { name, dims, ty };
        match ty {
            None => decls.push(decl(info.name.clone(), info.dims.clone(), info.ty)),
            Some(ty) => {
                let (stored, beside, n) = match ty {
                    TorchType::Nf4 => (GgmlType::Q4_0, LEVELS, NF4_LEVELS.len() as u64),
                    TorchType::Sparse24 => (info.ty, TWO_OF_FOUR, 1),
                    TorchType::Int8Dynamic => (GgmlType::I8, DYNAMIC_SCALES, info.n_rows()),
                    _ => (GgmlType::I8, SCALES, info.n_rows()),
                };
                decls.push(decl(info.name.clone(), info.dims.clone(), stored));
                decls.push(decl(format!("{}{beside}", info.name), vec![n], GgmlType::F32));
            }
        }
    }
    let mut digest =
        Sha256::new().chain_update(header_bytes(built.metadata(), &decls, built.header().alignment));
    let mut writer = GgufWriter::create(out, built.metadata(), &decls)?;
    for (info, ty) in built.tensors().iter().zip(&plan) {
        let mut put = |bytes: &[u8]| -> Result<(), CompressError> {
            digest.update(bytes);
            Ok(writer.write(bytes)?)
        };
        let Some(ty) = ty else {
            for start in (0..info.bytes()).step_by(COPIED_AT_ONCE) {
                let mut bytes = vec![0; COPIED_AT_ONCE.min((info.bytes() - start) as usize)];
                built.read_at(info, start, &mut bytes)?;
                put(&bytes)?;
            }
            continue;
        };
        let mut reader = RowReader::new(built, info)?;
        let mut beside: Vec<f32> = match ty {
            TorchType::Nf4 => NF4_LEVELS.to_vec(),
            TorchType::Sparse24 => vec![0.0],
            _ => Vec::new(),
        };
        let step = rows_per_chunk(info.n_per_row());
        for start in (0..info.n_rows()).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let floats = reader.rows(start..(start + step).min(info.n_rows()))?;
            let mut packed = Vec::with_capacity(floats.len());
            for line in floats.chunks_mut(info.n_per_row() as usize) {
                match ty {
                    TorchType::Nf4 => nf4::pack_row(line, &mut packed),
                    TorchType::Sparse24 => {
                        two_of_four::thin(line);
                        packed.extend(float_bytes(line, info.ty));
                    }
                    _ => beside.push(pack_row(line, &mut packed)),
                }
            }
            put(&packed)?;
        }
        put(&float_bytes(&beside, GgmlType::F32))?;
    }
    let bytes = writer.finish(false)?;
    Ok(Some((bytes, autotune_core::hex::encode(digest.finalize()))))
}

/// Rounds a row to signed bytes, symmetric about zero; returns its scale.
fn pack_row(row: &[f32], out: &mut Vec<u8>) -> f32 {
    let largest = row.iter().fold(0f32, |m, v| m.max(v.abs()));
    let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    out.extend(row.iter().map(|v| (v / scale).round().clamp(-127.0, 127.0) as i8 as u8));
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_core::space::{Candidate, Value};
    use autotune_model::ArchKind;
    use autotune_model::synthetic::Shapes;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let text = |s: &str| Value::Text(s.into());
        let candidate = pairs.iter().fold(Candidate::default(), |c, (k, v)| c.with(k, text(v)));
        Config::from_candidate(&candidate).unwrap()
    }

    #[test]
    fn types_are_looked_up_by_depth_then_by_group() {
        let types =
            TorchTypes::new(&config(&[("weights.ffn", "INT4"), ("weights.ffn.late", "BF16")])).unwrap();
        let asked = |name: &str| types.asked(TensorName::parse(name), 30);
        assert_eq!(asked("blk.0.ffn_up.weight"), Some(TorchType::Int4));
        assert_eq!(asked("blk.29.ffn_up.weight"), Some(TorchType::Bf16));
        assert_eq!(asked("blk.0.attn_q.weight"), Some(TorchType::F32));
        assert_eq!(asked("blk.0.attn_norm.weight"), None);
        let whole = TorchTypes::new(&config(&[("weights.preset", "INT8")])).unwrap();
        assert_eq!(whole.asked(TensorName::parse("token_embd.weight"), 30), Some(TorchType::Int8));
        let error = TorchTypes::new(&config(&[("weights.attn", "Q8_0")])).unwrap_err();
        assert!(error.to_string().contains("no weight type `Q8_0`"), "{error}");
    }

    #[test]
    fn packed_rows_are_within_half_a_step() {
        let dir = tempfile::tempdir().unwrap();
        let (source, out) = (dir.path().join("s.gguf"), dir.path().join("o.gguf"));
        Shapes::tiny(ArchKind::Llama).write(&source, GgmlType::F32, 3, None).unwrap();
        let gguf = Gguf::open(&source).unwrap();
        let dynamic = config(&[("weights.attn", "INT8"), ("weights.ffn", "INT8_DYN")]);
        let (bytes, hash) = pack(&dynamic, &gguf, &out).unwrap().unwrap();
        let packed = Gguf::open(&out).unwrap();
        assert_eq!((bytes, hash.len()), (packed.len(), 64));
        let floats = |gguf: &Gguf, name: &str| -> Vec<f32> {
            let bytes = gguf.bytes(gguf.tensor(name).unwrap());
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        for (name, scales) in [("blk.1.attn_k.weight", SCALES), ("blk.0.ffn_down.weight", DYNAMIC_SCALES)] {
            let info = packed.tensor(name).unwrap();
            assert_eq!(info.ty, GgmlType::I8);
            let row = info.n_per_row() as usize;
            let scales = floats(&packed, &format!("{name}{scales}"));
            let exact = floats(&gguf, name);
            for (i, byte) in packed.bytes(info).iter().enumerate() {
                let scale = scales[i / row];
                let back = f32::from(*byte as i8) * scale;
                assert!((back - exact[i]).abs() <= 0.5001 * scale, "{name} {i}");
            }
        }
        assert_eq!(packed.tensor("token_embd.weight").unwrap().ty, GgmlType::F32);
        assert!(autotune_model::Architecture::read(&packed).is_ok());
        assert!(pack(&config(&[("weights.preset", "BF16")]), &gguf, &out).unwrap().is_none());
    }
}
