//! FBGEMM's int8 product with activations rounded as they come, which tch does not bind.
//!
//! Registered operators are reached through TorchScript: a small archive, written here, whose methods call them.

use autotune_model::torchscript;
use tch::{CModule, IValue, TchError, Tensor};

const SOURCE: &str = "\
class M(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  def pack(self: __torch__.M,
    w: Tensor,
    b: Optional[Tensor]) -> __torch__.torch.classes.quantized.LinearPackedParamsBase:
    return ops.quantized.linear_prepack(w, b)
  def run(self: __torch__.M,
    x: Tensor,
    p: __torch__.torch.classes.quantized.LinearPackedParamsBase) -> Tensor:
    return ops.quantized.linear_dynamic(x, p, True)
";

/// Calls with fewer rows are single steps, where the first token of a text does not occur.
const FEW: i64 = 16;
/// A row is loud when its largest element is so many times that of the median row.
const LOUD: f32 = 3.0;

/// The operators.
#[derive(Debug)]
pub(super) struct Fbgemm(CModule);

/// A matrix in FBGEMM's own layout.
#[derive(Debug)]
pub(super) struct Packed(IValue);

impl Fbgemm {
    /// Loads the archive.
    pub(super) fn new() -> Result<Self, TchError> {
        // Every call has other shapes; specialising on them costs more than it gives.
        tch::jit::f_set_graph_executor_optimize(false)?;
        let mut archive = Vec::new();
        torchscript::write(&mut archive, SOURCE, &[])?;
        Ok(Self(CModule::load_data(&mut archive.as_slice())?))
    }

    /// Packs a matrix of signed bytes [out, in] with a scale for each row, and a bias.
    pub(super) fn pack(
        &self,
        bytes: &Tensor,
        scales: &Tensor,
        bias: Option<Tensor>,
    ) -> Result<Packed, TchError> {
        let zeros = Tensor::f_zeros_like(&scales.f_to_kind(tch::Kind::Int64)?)?;
        let quantized = bytes.f_internal_make_per_channel_quantized_tensor(
            &scales.f_to_kind(tch::Kind::Double)?,
            &zeros,
            0,
        )?;
        let bias = bias.map_or(IValue::None, IValue::Tensor);
        Ok(Packed(self.0.method_is("pack", &[IValue::Tensor(quantized), bias])?))
    }

    /// The product of activations (f32, [rows, in]) with a packed matrix: [rows, out].
    ///
    /// All rows of a call share one scale, and the first token of a text can be a hundred times as loud as the others: loud rows are
    /// multiplied apart.
    pub(super) fn run(&self, x: &Tensor, matrix: &Packed) -> Result<Tensor, TchError> {
        let rows = x.size2()?.0;
        if rows < FEW {
            return self.product(x, matrix);
        }
        let peaks = Vec::<f32>::try_from(x.f_abs()?.f_amax([1i64].as_slice(), false)?)?;
        let mut sorted = peaks.clone();
        sorted.sort_by(f32::total_cmp);
        let limit = LOUD * sorted[sorted.len() / 2];
        let (loud, calm): (Vec<i64>, Vec<i64>) = (0..rows).partition(|row| peaks[*row as usize] > limit);
        if loud.is_empty() || calm.is_empty() {
            return self.product(x, matrix);
        }
        let part = |which: &[i64]| self.product(&x.f_index_select(0, &Tensor::from_slice(which))?, matrix);
        let together = Tensor::f_cat(&[part(&loud)?, part(&calm)?], 0)?;
        let mut order = vec![0; rows as usize];
        loud.iter().chain(&calm).enumerate().for_each(|(place, row)| order[*row as usize] = place as i64);
        together.f_index_select(0, &Tensor::from_slice(&order))
    }

    /// Activations are rounded to seven bits, so that pairs of products cannot overflow the 16 bits that AVX2 adds them in.
    fn product(&self, x: &Tensor, matrix: &Packed) -> Result<Tensor, TchError> {
        let x = IValue::Tensor(x.shallow_clone());
        match self.0.method_is("run", &[&x, &matrix.0])? {
            IValue::Tensor(product) => Ok(product),
            other => Err(TchError::Kind(format!("linear_dynamic gave {other:?}"))),
        }
    }
}
