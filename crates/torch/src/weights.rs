//! Tensors out of a checkpoint: mapped where they can be used as they are, else read and converted.
#![allow(unsafe_code)]

use tch::{Device, Kind, TchError, Tensor};

use super::error::text;
use autotune_engine::EngineError;
use autotune_model::{
    Checkpoint, DYNAMIC_SCALES, GgmlType, INT4_GROUP, LEVELS, NF4_GROUP, SCALES, TWO_OF_FOUR,
};

/// The kind of a storage type that libtorch has, too.
pub(super) fn kind_of(ty: GgmlType) -> Option<Kind> {
    match ty {
        GgmlType::F32 => Some(Kind::Float),
        GgmlType::F16 => Some(Kind::Half),
        GgmlType::Bf16 => Some(Kind::BFloat16),
        GgmlType::I8 => Some(Kind::Int8),
        _ => None,
    }
}

/// Reads tensors of one checkpoint. Tensors that it maps must not outlive the checkpoint.
pub(super) struct Reader<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) device: Device,
}

/// A matrix as it is stored: floats, or packed integers with their scales.
pub(super) enum Stored {
    /// [out, in].
    Float(Tensor),
    /// Bytes [out, in] and a scale for each row; `dynamic` where activations are to be rounded, too.
    Int8 { bytes: Tensor, scales: Tensor, dynamic: bool },
    /// Weights of 4 bits [out, in] as whole numbers, and scale and zero for each group [in / group, out, 2].
    Int4 { weights: Tensor, scales_and_zeros: Tensor },
    /// Two codes a byte, of each group those of its first half low [out, in / group, group / 2], the scale of each group
    /// [out, in / group, 1], and the value of each code.
    Nf4 { codes: Tensor, scales: Tensor, levels: Tensor },
    /// Floats [out, in] with two zeros in four neighbours.
    Sparse(Tensor),
}

impl Reader<'_> {
    fn fail(&self, detail: String) -> EngineError {
        EngineError::Load { path: self.checkpoint.path().display().to_string(), detail }
    }

    fn torch(&self) -> impl Fn(TchError) -> EngineError + '_ {
        |error| self.fail(text(&error))
    }

    /// A tensor in the memory map, in its own kind, dimensions in libtorch's order. On a GPU it is a copy.
    pub(super) fn mapped(&self, name: &str) -> Result<Tensor, EngineError> {
        let raw = self.checkpoint.require(name).map_err(|e| self.fail(e.to_string()))?;
        let kind = kind_of(raw.ty).ok_or_else(|| {
            self.fail(format!(
                "the tensor `{name}` has the type {}; the torch engine reads F32, F16, BF16 and its own artifacts",
                raw.ty
            ))
        })?;
        let dims = shape(&raw.dims);
        let size = dims.iter().product::<i64>() as usize * kind.elt_size_in_bytes();
        if raw.bytes.len() != size || raw.bytes.as_ptr().align_offset(kind.elt_size_in_bytes()) != 0 {
            return self.copied(name, &dims, kind);
        }
        // SAFETY: the bytes are as many as the shape needs, aligned for the kind, and stay mapped as long as the checkpoint, which the
        // session keeps until its tensors are gone. The map is private and nothing writes to these tensors.
        let mapped = unsafe { Tensor::f_from_blob(raw.bytes.as_ptr(), &dims, &[], kind, Device::Cpu) };
        let mapped = mapped.map_err(self.torch())?;
        if self.device == Device::Cpu {
            Ok(mapped)
        } else {
            mapped.f_to_device(self.device).map_err(self.torch())
        }
    }

    /// A tensor read into memory of its own.
    fn copied(&self, name: &str, dims: &[i64], kind: Kind) -> Result<Tensor, EngineError> {
        let bytes = self.checkpoint.read(name).map_err(|e| self.fail(e.to_string()))?;
        let tensor = Tensor::f_from_data_size(&bytes, dims, kind).map_err(self.torch())?;
        tensor.f_to_device(self.device).map_err(self.torch())
    }

    /// A float tensor in the kind asked for: mapped where it is stored so, else read and converted, which leaves the map untouched.
    pub(super) fn float(&self, name: &str, kind: Kind) -> Result<Tensor, EngineError> {
        let raw = self.checkpoint.require(name).map_err(|e| self.fail(e.to_string()))?;
        let stored = kind_of(raw.ty).filter(|k| *k != Kind::Int8);
        match stored {
            Some(own) if own != kind => {
                let dims = shape(&raw.dims);
                self.copied(name, &dims, own)?.f_to_kind(kind).map_err(self.torch())
            }
            _ => self.mapped(name),
        }
    }

    /// A vector that may be missing, as f32.
    pub(super) fn optional(&self, name: &str) -> Result<Option<Tensor>, EngineError> {
        match self.checkpoint.find(name) {
            Some(_) => Ok(Some(self.float(name, Kind::Float)?)),
            None => Ok(None),
        }
    }

    /// A matrix as it is stored; floats in `kind`, or in their own where none is asked for.
    pub(super) fn matrix(&self, name: &str, kind: Option<Kind>) -> Result<Stored, EngineError> {
        let raw = self.checkpoint.require(name).map_err(|e| self.fail(e.to_string()))?;
        match raw.ty {
            GgmlType::Q4_1 => self.int4(name),
            GgmlType::Q4_0 if self.checkpoint.find(&format!("{name}{LEVELS}")).is_some() => self.nf4(name),
            GgmlType::I8 => {
                let dynamic_scales = format!("{name}{DYNAMIC_SCALES}");
                let dynamic = self.checkpoint.find(&dynamic_scales).is_some();
                // FBGEMM packs a copy: the map is better left alone.
                let bytes = if dynamic {
                    self.copied(name, &shape(&raw.dims), Kind::Int8)?
                } else {
                    self.mapped(name)?
                };
                let scales = if dynamic { dynamic_scales } else { format!("{name}{SCALES}") };
                Ok(Stored::Int8 { bytes, scales: self.mapped(&scales)?, dynamic })
            }
            _ => {
                let floats = match kind {
                    Some(kind) => self.float(name, kind)?,
                    // Products of f16 are many times slower than of f32 on a processor.
                    None if raw.ty == GgmlType::F16 && self.device == Device::Cpu => {
                        self.float(name, Kind::Float)?
                    }
                    None => self.mapped(name)?,
                };
                let sparse = self.checkpoint.find(&format!("{name}{TWO_OF_FOUR}")).is_some();
                Ok(if sparse { Stored::Sparse(floats) } else { Stored::Float(floats) })
            }
        }
    }

    /// A matrix of NormalFloat's codes in the layout of Q4_0, with what they stand for.
    fn nf4(&self, name: &str) -> Result<Stored, EngineError> {
        const BLOCK: usize = 18;
        let raw = self.checkpoint.require(name).map_err(|e| self.fail(e.to_string()))?;
        let dims = shape(&raw.dims);
        let &[rows, row] = dims.as_slice() else {
            return Err(self.fail(format!(
                "the tensor `{name}` of codes has the shape {dims:?}, which is not a matrix"
            )));
        };
        let levels = self.float(&format!("{name}{LEVELS}"), Kind::Float)?;
        if levels.size() != [16] {
            let found = levels.size();
            return Err(
                self.fail(format!("`{name}{LEVELS}` has the shape {found:?}, but there are 16 codes"))
            );
        }
        let bytes = self.checkpoint.read(name).map_err(|e| self.fail(e.to_string()))?;
        let (mut codes, mut scales) = (Vec::with_capacity(bytes.len()), Vec::new());
        for block in bytes.chunks_exact(BLOCK) {
            scales.push(half::f16::from_le_bytes([block[0], block[1]]).to_f32());
            codes.extend_from_slice(&block[2..]);
        }
        let groups = row / NF4_GROUP as i64;
        let place = |t: Tensor| t.f_to_device(self.device).map_err(self.torch());
        let shape = [rows, groups, NF4_GROUP as i64 / 2];
        let codes = Tensor::f_from_data_size(&codes, &shape, Kind::Uint8).map_err(self.torch())?;
        let scales = Tensor::from_slice(&scales).f_view([rows, groups, 1]).map_err(self.torch())?;
        Ok(Stored::Nf4 {
            codes: place(codes)?,
            scales: place(scales.f_to_kind(Kind::BFloat16).map_err(self.torch())?)?,
            levels: place(levels)?,
        })
    }

    /// A matrix of 4 bits out of blocks of Q4_1: 32 weights as a scale d, an offset m and nibbles q, w = d q + m; the low nibbles are
    /// the first half.
    fn int4(&self, name: &str) -> Result<Stored, EngineError> {
        const BLOCK: usize = 20;
        let raw = self.checkpoint.require(name).map_err(|e| self.fail(e.to_string()))?;
        let dims = shape(&raw.dims);
        let &[rows, row] = dims.as_slice() else {
            return Err(self.fail(format!(
                "the tensor `{name}` of type Q4_1 has the shape {dims:?}, which is not a matrix"
            )));
        };
        let bytes = self.checkpoint.read(name).map_err(|e| self.fail(e.to_string()))?;
        let groups = (row / INT4_GROUP as i64) as usize;
        let mut weights = Vec::with_capacity((rows * row) as usize);
        let mut scales = vec![0f32; groups * rows as usize * 2];
        for (r, line) in bytes.chunks_exact(groups * BLOCK).enumerate() {
            for (g, block) in line.chunks_exact(BLOCK).enumerate() {
                let half = |at: usize| half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
                let (d, m) = (half(0), half(2));
                weights.extend(block[4..].iter().map(|b| b & 15));
                weights.extend(block[4..].iter().map(|b| b >> 4));
                // libtorch's weight is (q - 8) scale + zero.
                let at = (g * rows as usize + r) * 2;
                scales[at] = d;
                scales[at + 1] = m + 8.0 * d;
            }
        }
        let place = |t: Tensor| t.f_to_device(self.device).map_err(self.torch());
        let weights = Tensor::f_from_data_size(&weights, &dims, Kind::Uint8).map_err(self.torch())?;
        let scales = Tensor::from_slice(&scales).f_view([groups as i64, rows, 2]).map_err(self.torch())?;
        Ok(Stored::Int4 {
            weights: place(weights)?,
            scales_and_zeros: place(scales.f_to_kind(Kind::BFloat16).map_err(self.torch())?)?,
        })
    }
}

/// Dimensions in libtorch's order.
fn shape(dims: &[u64]) -> Vec<i64> {
    dims.iter().rev().map(|d| *d as i64).collect()
}
