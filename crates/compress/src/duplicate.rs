//! Embeddings that a file stores twice: as `token_embd.weight` and, in another type, as `output.weight`, although the model ties them.

use half::{bf16, f16};

use autotune_model::GgmlType;
use autotune_model::gguf::{Gguf, TensorInfo};

/// Rows that are compared, evenly spread over the vocabulary.
const ROWS: u64 = 64;
/// Rounding to four bits leaves a cosine of about 0.995; matrices that were trained apart are far below this.
const LEAST_COSINE: f64 = 0.99;

/// The parameters that a file holds twice: those of the embedding, where its output matrix is the same up to rounding. None where the
/// file has one of them only, where they differ, or where this build cannot read their types.
#[must_use]
pub fn duplicated_embedding(gguf: &Gguf) -> Option<u64> {
    let (embd, output) = (gguf.tensor("token_embd.weight")?, gguf.tensor("output.weight")?);
    if embd.dims != output.dims {
        return None;
    }
    let (rows, step) = (embd.n_rows(), embd.n_rows().div_ceil(ROWS).max(1));
    let (mut product, mut a_square, mut b_square) = (0.0f64, 0.0f64, 0.0f64);
    for row in (0..rows).step_by(usize::try_from(step).ok()?) {
        let (a, b) = (floats(gguf, embd, row)?, floats(gguf, output, row)?);
        for (x, y) in a.iter().zip(&b).map(|(x, y)| (f64::from(*x), f64::from(*y))) {
            product += x * y;
            a_square += x * x;
            b_square += y * y;
        }
    }
    let cosine = product / (a_square * b_square).sqrt();
    // The same direction in another scale is another matrix.
    let scale = (a_square / b_square).sqrt();
    (cosine > LEAST_COSINE && (0.9..1.1).contains(&scale)).then(|| embd.elements())
}

/// One row as floats; none where this build cannot read the type.
fn floats(gguf: &Gguf, tensor: &TensorInfo, row: u64) -> Option<Vec<f32>> {
    let width = usize::try_from(tensor.ty.row_bytes(tensor.n_per_row())?).ok()?;
    let start = usize::try_from(row).ok()?.checked_mul(width)?;
    let bytes = gguf.bytes(tensor).get(start..start.checked_add(width)?)?;
    let halves = || bytes.as_chunks::<2>().0.iter().copied();
    match tensor.ty {
        GgmlType::F32 => Some(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        GgmlType::F16 => Some(halves().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        GgmlType::Bf16 => Some(halves().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        #[cfg(feature = "llama")]
        ty => autotune_engine::ggml::dequantize(ty, bytes, usize::try_from(tensor.n_per_row()).ok()?).ok(),
        #[cfg(not(feature = "llama"))]
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_model::gguf::{GgufWriter, MetaValue};
    use autotune_model::synthetic::Shapes;
    use autotune_model::{ArchKind, Architecture, ModelFacts};

    #[test]
    fn an_output_matrix_that_is_the_embedding_is_found_and_another_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let shapes = Shapes { tied: false, ..Shapes::tiny(ArchKind::Llama) };
        shapes.write(&at("untied.gguf"), GgmlType::F16, 1, None).unwrap();
        let untied = Gguf::open(&at("untied.gguf")).unwrap();
        assert_eq!(duplicated_embedding(&untied), None);
        shapes.write_with_duplicate(&at("twice.gguf"), GgmlType::F16, 1).unwrap();
        let twice = Gguf::open(&at("twice.gguf")).unwrap();
        assert_eq!(duplicated_embedding(&twice), Some(320 * 256));
        let parameters = |gguf: &Gguf| {
            let duplicated = duplicated_embedding(gguf).unwrap_or(0);
            ModelFacts::new(gguf, &Architecture::read(gguf).unwrap(), duplicated).parameters
        };
        assert_eq!(parameters(&untied) - parameters(&twice), 320 * 256);
        let tied = Shapes::tiny(ArchKind::Llama);
        tied.write(&at("tied.gguf"), GgmlType::F16, 1, None).unwrap();
        assert_eq!(duplicated_embedding(&Gguf::open(&at("tied.gguf")).unwrap()), None);
    }

    #[test]
    fn a_file_is_named_by_its_file_type_and_not_by_its_commonest_tensor_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let shapes = Shapes::tiny(ArchKind::Llama);
        let named = |ty: GgmlType, file_type: Option<u32>| {
            let mut metadata = shapes.metadata(None);
            match file_type {
                Some(n) => metadata.set("general.file_type", MetaValue::U32(n)),
                None => metadata.remove("general.file_type"),
            }
            let tensors = shapes.tensors(ty);
            let mut writer = GgufWriter::create(&path, &metadata, &tensors).unwrap();
            for tensor in &tensors {
                writer.write(&vec![0; tensor.bytes().unwrap() as usize]).unwrap();
            }
            writer.finish(false).unwrap();
            let gguf = Gguf::open(&path).unwrap();
            ModelFacts::new(&gguf, &Architecture::read(&gguf).unwrap(), 0).file_type
        };
        assert_eq!(named(GgmlType::Q5_0, Some(15)), "Q4_K_M");
        assert_eq!(named(GgmlType::Q8_0, Some(7 + 1024)), "Q8_0", "llama.cpp marks a guess");
        assert_eq!(named(GgmlType::Q5_0, None), "Q5_0");
        assert_eq!(named(GgmlType::Q5_0, Some(1)), "Q5_0", "no file of F16 has quantized matrices");
        assert_eq!(named(GgmlType::F16, Some(15)), "F16", "nor is one of floats Q4_K_M");
    }
}
