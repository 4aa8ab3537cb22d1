//! FBGEMM's int8 product with activations rounded as they come, which tch does not bind.
//!
//! Registered operators are reached through TorchScript: a small archive, written here, whose methods call them.

use autotune::model::torchscript;
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
    /// Activations are rounded to seven bits, so that pairs of products cannot overflow the 16 bits that AVX2 adds them in.
    pub(super) fn run(&self, x: &Tensor, matrix: &Packed) -> Result<Tensor, TchError> {
        let x = IValue::Tensor(x.shallow_clone());
        match self.0.method_is("run", &[&x, &matrix.0])? {
            IValue::Tensor(product) => Ok(product),
            other => Err(TchError::Kind(format!("linear_dynamic gave {other:?}"))),
        }
    }
}
