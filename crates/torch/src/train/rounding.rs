//! Matrices as they will be stored: rounded by the quantizer that will store them while the loss is computed, with the gradient passed
//! straight through (Bengio et al. 2013, arXiv:1308.3432; for quantization Jacob et al. 2017, arXiv:1712.05877).
//!
//! The quantizer is ggml's own with its importance data, so that what is trained is what is built. It searches for its scales, which takes
//! time, so a matrix is rounded anew only every few steps and moves with the error of the last rounding in between: steps are far
//! smaller than the grid.

use autotune_engine::ggml;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;

use tch::{TchError, Tensor};

use autotune_engine::EngineError;
use autotune_engine::lab::Rounding;
use autotune_model::ActivationStats;
use autotune_model::GgmlType;
use autotune_model::gguf::Gguf;

/// A matrix that is rounded.
struct Matrix {
    ty: GgmlType,
    /// Mean squared input of each column.
    importance: Option<Vec<f32>>,
    /// What the last rounding changed, in the matrix's shape [out, in].
    change: Option<Tensor>,
}

/// The matrices that are seen rounded, by name.
pub(super) struct Rounded {
    matrices: BTreeMap<String, Matrix>,
    every: u64,
    threads: usize,
}

impl Rounded {
    /// Looks up which of the student's matrices are quantized in the artifact to be.
    pub(super) fn open(
        rounding: &Rounding,
        student: &BTreeMap<String, Tensor>,
        threads: u32,
    ) -> Result<Self, EngineError> {
        let fail = |detail: String| EngineError::Load { path: rounding.like.display().to_string(), detail };
        let like = Gguf::open(&rounding.like).map_err(|e| fail(e.to_string()))?;
        let stats = match &rounding.stats {
            Some(path) => {
                let file = File::open(path).map_err(|e| fail(format!("{}: {e}", path.display())))?;
                let read: ActivationStats = serde_json::from_reader(BufReader::new(file))
                    .map_err(|e| fail(format!("{} is damaged: {e}; delete it", path.display())))?;
                Some(read)
            }
            None => None,
        };
        let mut matrices = BTreeMap::new();
        for info in like.tensors().iter().filter(|t| t.ty.is_quantized() && t.name.starts_with("blk.")) {
            let found = student.get(&info.name).map(Tensor::size).unwrap_or_default();
            let expected: Vec<i64> = info.dims.iter().rev().map(|d| *d as i64).collect();
            if found != expected {
                return Err(fail(format!(
                    "`{}` has the shape {expected:?} there and {found:?} in the student",
                    info.name
                )));
            }
            // Bytes are rounded without importance data, as by the builder.
            let of_columns = stats.as_ref().filter(|_| info.ty != GgmlType::Q8_0);
            let importance = of_columns.and_then(|s| s.mean_square.get(&info.name)).cloned();
            if let Some(n) = importance.as_ref().map(Vec::len).filter(|n| *n as u64 != info.n_per_row()) {
                return Err(fail(format!(
                    "the statistics of `{}` have {n} columns, its rows {}",
                    info.name,
                    info.n_per_row()
                )));
            }
            matrices.insert(info.name.clone(), Matrix { ty: info.ty, importance, change: None });
        }
        let every = u64::from(rounding.every.max(1));
        Ok(Self { matrices, every, threads: threads.max(1) as usize })
    }

    /// Rounds all matrices where step `step` is one of those that begin with it.
    pub(super) fn step(&mut self, step: u64, student: &BTreeMap<String, Tensor>) -> Result<(), TchError> {
        let fresh = self.matrices.values().all(|m| m.change.is_some());
        if fresh && !step.is_multiple_of(self.every) { Ok(()) } else { self.round(student) }
    }

    /// Rounds all matrices as they are now.
    pub(super) fn round(&mut self, student: &BTreeMap<String, Tensor>) -> Result<(), TchError> {
        let _guard = tch::no_grad_guard();
        for (name, matrix) in &mut self.matrices {
            let Some(weight) = student.get(name) else { continue };
            let (rows, row) = weight.size2()?;
            let mut values = Vec::<f32>::try_from(weight.detach().f_flatten(0, 1)?)?;
            quantized(matrix, &mut values, row as usize, self.threads)
                .map_err(|detail| TchError::Kind(format!("`{name}` as {}: {detail}", matrix.ty)))?;
            let rounded = Tensor::f_from_slice(&values)?.f_view([rows, row])?.f_to_device(weight.device())?;
            matrix.change = Some(rounded.f_sub(weight)?);
        }
        Ok(())
    }

    /// A matrix as the loss sees it; its gradient is that of the matrix itself.
    pub(super) fn seen(&self, name: &str, weight: &Tensor) -> Result<Tensor, TchError> {
        match self.matrices.get(name).and_then(|m| m.change.as_ref()) {
            Some(change) => weight.f_add(change),
            None => Ok(weight.shallow_clone()),
        }
    }
}

/// Rounds values in rows of `row` elements to what the stored matrix would hold.
fn quantized(matrix: &Matrix, values: &mut [f32], row: usize, threads: usize) -> Result<(), String> {
    let stored = ggml::quantize(matrix.ty, values, row, matrix.importance.as_deref(), threads);
    stored
        .and_then(|bytes| ggml::dequantize_into(matrix.ty, &bytes, values, threads))
        .map_err(|e| e.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use autotune_model::ArchKind;
    use autotune_model::synthetic::Shapes;
    use tch::{Device, Kind};

    const NAME: &str = "blk.1.ffn_down.weight";

    /// A tiny model in Q4_0 as what the student is to become.
    fn rounding(folder: &std::path::Path) -> Rounding {
        let (floats, like) = (folder.join("floats.gguf"), folder.join("like.gguf"));
        Shapes::tiny(ArchKind::Llama).write(&floats, GgmlType::F16, 3, None).unwrap();
        // LLAMA_FTYPE_MOSTLY_Q4_0.
        autotune_engine::quantize::quantize_file(&floats, &like, 2, 1).unwrap();
        Rounding { like, stats: None, every: 3 }
    }

    #[test]
    fn rounding_is_the_quantizers_and_passes_the_gradient_straight_through() {
        let folder = tempfile::tempdir().unwrap();
        let rounding = rounding(folder.path());
        let weight = Tensor::randn([256, 512], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let mut student = BTreeMap::new();
        for info in Gguf::open(&rounding.like).unwrap().tensors() {
            let size: Vec<i64> = info.dims.iter().rev().map(|d| *d as i64).collect();
            student.insert(info.name.clone(), Tensor::zeros(size, (Kind::Float, Device::Cpu)));
        }
        student.insert(NAME.to_owned(), weight.shallow_clone());
        let mut rounded = Rounded::open(&rounding, &student, 1).unwrap();
        rounded.step(1, &student).unwrap();
        let seen = rounded.seen(NAME, &weight).unwrap();
        let values = Vec::<f32>::try_from(weight.detach().flatten(0, 1)).unwrap();
        let stored = ggml::quantize(GgmlType::Q4_0, &values, 512, None, 1).unwrap();
        let exact = ggml::dequantize(GgmlType::Q4_0, &stored, values.len()).unwrap();
        assert!(seen.flatten(0, 1).allclose(&Tensor::from_slice(&exact), 1e-5, 1e-6, false));
        seen.square().sum(Kind::Float).backward();
        assert!(weight.grad().allclose(&(seen.detach() * 2.0), 1e-5, 1e-6, false));
        // Between two roundings a matrix moves with the last one's error; what is not quantized is seen as it is.
        let _ = tch::no_grad(|| weight.shallow_clone().f_add_scalar_(0.125)).unwrap();
        rounded.step(2, &student).unwrap();
        let moved = rounded.seen(NAME, &weight).unwrap();
        assert!(moved.allclose(&(&seen + 0.125), 1e-4, 1e-5, false));
        rounded.step(3, &student).unwrap();
        assert!(!rounded.seen(NAME, &weight).unwrap().allclose(&moved, 1e-4, 1e-5, false));
        assert!(rounded.seen("output_norm.weight", &weight).unwrap().allclose(&weight, 0.0, 0.0, false));
    }

    #[test]
    fn another_shape_is_told_with_both() {
        let folder = tempfile::tempdir().unwrap();
        let rounding = rounding(folder.path());
        let student =
            BTreeMap::from([(NAME.to_owned(), Tensor::zeros([256, 480], (Kind::Float, Device::Cpu)))]);
        let error = Rounded::open(&rounding, &student, 1).err().unwrap().to_string();
        assert!(error.contains("like.gguf") && error.contains("in the student"), "{error}");
    }
}
