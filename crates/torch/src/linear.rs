//! A matrix product by whichever kernel its weights need.

use std::rc::Rc;

use tch::{Device, Kind, TchError, Tensor};

use super::fbgemm::{Fbgemm, Packed};
use super::weights::Stored;
use autotune_model::{INT4_GROUP, TorchType};

/// A matrix ready to be multiplied with.
pub(super) enum Linear {
    /// Floats [out, in].
    Float { weight: Tensor, bias: Option<Tensor> },
    /// Bytes with a scale for each row; activations in bfloat16.
    Int8 { weight: Tensor, scales: Tensor, bias: Option<Tensor> },
    /// Bytes in FBGEMM's layout; activations are rounded as they come.
    Dynamic { matrix: Packed, kernel: Rc<Fbgemm> },
    /// Four bits in libtorch's layout; activations in bfloat16.
    Int4 { weight: Tensor, scales_and_zeros: Tensor, bias: Option<Tensor> },
    /// Codes that are turned into floats for every product.
    Nf4 { codes: Tensor, scales: Tensor, levels: Tensor, bias: Option<Tensor> },
    /// Half of the weights, of such floats, in cuSPARSELt's layout.
    Sparse { compressed: Tensor, kind: Kind, bias: Option<Tensor> },
}

/// cuSPARSELt multiplies with columns in multiples of this.
const SPARSE_COLUMNS: i64 = 16;

/// `_convert_weight_to_int4pack` on CUDA works on tiles of sixteen times this.
const INNER_K_TILES: i64 = 2;

impl Linear {
    /// Makes a stored matrix ready. `fbgemm` multiplies matrices whose activations are rounded; without it they are not.
    pub(super) fn new(
        stored: Stored,
        bias: Option<Tensor>,
        fbgemm: Option<&Rc<Fbgemm>>,
    ) -> Result<Self, TchError> {
        match stored {
            Stored::Float(weight) => {
                let bias = bias.map(|b| b.f_to_kind(weight.kind())).transpose()?;
                Ok(Self::Float { weight, bias })
            }
            Stored::Int8 { bytes, scales, dynamic } => match fbgemm.filter(|_| dynamic) {
                Some(kernel) => Ok(Self::Dynamic {
                    matrix: kernel.pack(&bytes, &scales, bias)?,
                    kernel: Rc::clone(kernel),
                }),
                None => Ok(Self::Int8 { weight: bytes, scales: scales.f_to_kind(Kind::BFloat16)?, bias }),
            },
            Stored::Int4 { weights, scales_and_zeros } => Self::int4(&weights, scales_and_zeros, bias),
            Stored::Nf4 { codes, scales, levels } => Ok(Self::Nf4 { codes, scales, levels, bias }),
            // A processor has no kernel that skips them.
            Stored::Sparse(weight) if weight.device() == Device::Cpu => {
                Self::new(Stored::Float(weight), bias, fbgemm)
            }
            Stored::Sparse(weight) => Ok(Self::Sparse {
                compressed: weight.f_contiguous()?.f_internal_cslt_compress()?,
                kind: weight.kind(),
                bias,
            }),
        }
    }

    fn int4(weights: &Tensor, scales_and_zeros: Tensor, bias: Option<Tensor>) -> Result<Self, TchError> {
        let [rows, row] = <[i64; 2]>::try_from(weights.size()).unwrap_or([0, 0]);
        if !TorchType::packs_int4(row as u64, rows as u64) {
            // No kernel: the same weights as bfloat16.
            let weight = dequantize_int4(weights, &scales_and_zeros)?.f_to_kind(Kind::BFloat16)?;
            let bias = bias.map(|b| b.f_to_kind(Kind::BFloat16)).transpose()?;
            return Ok(Self::Float { weight, bias });
        }
        let weight = if weights.device() == Device::Cpu {
            weights.f_to_kind(Kind::Int)?.f_internal_convert_weight_to_int4pack_for_cpu(INNER_K_TILES)?
        } else {
            // On CUDA two weights share a byte, the even one high.
            let even = weights.f_slice(1, 0, None, 2)?.f_bitwise_left_shift_tensor_scalar(4)?;
            let packed = even.f_bitwise_or_tensor(&weights.f_slice(1, 1, None, 2)?)?;
            packed.f_internal_convert_weight_to_int4pack(INNER_K_TILES)?
        };
        Ok(Self::Int4 { weight, scales_and_zeros, bias })
    }

    /// The product of activations [rows, in] with the matrix: [rows, out], in the kind of the activations.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let kind = x.kind();
        match self {
            Self::Float { weight, bias } => in_kind(x, weight.kind(), |x| x.f_linear(weight, bias.as_ref())),
            Self::Int8 { weight, scales, bias } => {
                let product =
                    in_kind(x, Kind::BFloat16, |x| x.f_internal_weight_int8pack_mm(weight, scales))?;
                add_bias(product, bias.as_ref(), kind)
            }
            Self::Dynamic { matrix, kernel } => {
                in_kind(x, Kind::Float, |x| kernel.run(&x.f_contiguous()?, matrix))
            }
            Self::Int4 { weight, scales_and_zeros, bias } => {
                let group = INT4_GROUP as i64;
                let product = in_kind(x, Kind::BFloat16, |x| match x.device() {
                    Device::Cpu => x.f_internal_weight_int4pack_mm_for_cpu(weight, group, scales_and_zeros),
                    _ => x.f_internal_weight_int4pack_mm(weight, group, scales_and_zeros),
                })?;
                add_bias(product, bias.as_ref(), kind)
            }
            Self::Nf4 { codes, scales, levels, bias } => {
                let own = if x.device() == Device::Cpu { Kind::Float } else { Kind::BFloat16 };
                let weight = dequantize_nf4(codes, scales, levels)?.f_to_kind(own)?;
                let product = in_kind(x, own, |x| x.f_linear(&weight, None::<&Tensor>))?;
                add_bias(product, bias.as_ref(), kind)
            }
            Self::Sparse { compressed, kind: own, bias } => {
                let product = in_kind(x, *own, |x| sparse_product(compressed, x))?;
                add_bias(product, bias.as_ref(), kind)
            }
        }
    }
}

/// The product of activations [rows, in] with a matrix in cuSPARSELt's layout: [rows, out].
fn sparse_product(compressed: &Tensor, x: &Tensor) -> Result<Tensor, TchError> {
    let (rows, _) = x.size2()?;
    let padding = (SPARSE_COLUMNS - rows % SPARSE_COLUMNS) % SPARSE_COLUMNS;
    let columns = x.f_constant_pad_nd([0, 0, 0, padding])?.f_tr()?;
    let none = None::<&Tensor>;
    let product = Tensor::f_internal_cslt_sparse_mm(compressed, &columns, none, none, None, false, 0, 1, -1)?;
    product.f_tr()?.f_narrow(0, 0, rows)
}

/// Codes [rows, groups, group / 2] as bfloat16 [rows, row].
fn dequantize_nf4(codes: &Tensor, scales: &Tensor, levels: &Tensor) -> Result<Tensor, TchError> {
    let rows = codes.size3()?.0;
    let low = codes.f_bitwise_and(15)?;
    let high = codes.f_bitwise_right_shift_tensor_scalar(4)?;
    let codes = Tensor::f_cat(&[low, high], 2)?.f_to_kind(Kind::Int)?;
    let values = levels.f_to_kind(Kind::BFloat16)?.f_index_select(0, &codes.f_view([-1])?)?;
    values.f_view_as(&codes)?.f_mul(scales)?.f_view([rows, -1])
}

/// Calls with activations of another kind and turns the result back.
fn in_kind(
    x: &Tensor,
    kind: Kind,
    call: impl Fn(&Tensor) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    if x.kind() == kind { call(x) } else { call(&x.f_to_kind(kind)?)?.f_to_kind(x.kind()) }
}

fn add_bias(product: Tensor, bias: Option<&Tensor>, kind: Kind) -> Result<Tensor, TchError> {
    match bias {
        Some(bias) => product.f_add(&bias.f_to_kind(kind)?),
        None => Ok(product),
    }
}

/// Weights [rows, row] of 4 bits as f32; scales and zeros are [row / group, rows, 2].
fn dequantize_int4(weights: &Tensor, scales_and_zeros: &Tensor) -> Result<Tensor, TchError> {
    let (rows, row) = weights.size2()?;
    let by_row = scales_and_zeros.f_to_kind(Kind::Float)?.f_transpose(0, 1)?;
    let part = |which: i64| by_row.f_select(2, which)?.f_unsqueeze(2);
    let q = weights.f_to_kind(Kind::Float)?.f_sub_scalar(8)?.f_view([rows, -1, INT4_GROUP as i64])?;
    q.f_mul(&part(0)?)?.f_add(&part(1)?)?.f_view([rows, row])
}

/// Rows of a matrix that tokens are looked up in.
pub(super) enum Table {
    /// [vocabulary, hidden], in any float kind.
    Float(Tensor),
    /// Bytes [vocabulary, hidden] and a scale for each row.
    Int8(Tensor, Tensor),
    /// Four bits as whole numbers [vocabulary, hidden], and scale and zero for each group [hidden / group, vocabulary, 2].
    Int4(Tensor, Tensor),
}

impl Table {
    /// The rows of tokens `[n]`, as `[n, hidden]` in `kind`.
    pub(super) fn rows(&self, tokens: &Tensor, kind: Kind) -> Result<Tensor, TchError> {
        match self {
            Self::Float(table) => table.f_index_select(0, tokens)?.f_to_kind(kind),
            Self::Int8(bytes, scales) => {
                let scales = scales.f_index_select(0, tokens)?.f_unsqueeze(1)?;
                bytes.f_index_select(0, tokens)?.f_to_kind(Kind::Float)?.f_mul(&scales)?.f_to_kind(kind)
            }
            Self::Int4(weights, scales_and_zeros) => {
                let scales = scales_and_zeros.f_index_select(1, tokens)?;
                dequantize_int4(&weights.f_index_select(0, tokens)?, &scales)?.f_to_kind(kind)
            }
        }
    }
}
