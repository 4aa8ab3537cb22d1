//! Float tensors in chunks of rows: positional reads, so that a model larger than memory passes through a small buffer.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::CompressError;
use autotune_model::GgmlType;
use autotune_model::gguf::{Gguf, TensorInfo};

/// Elements of a chunk, at least one row: 16 MiB as f32.
const CHUNK: u64 = 4 << 20;

/// Rows of a chunk for rows of `n_per_row` elements.
pub(super) fn rows_per_chunk(n_per_row: u64) -> u64 {
    (CHUNK / n_per_row.max(1)).max(1)
}

/// Decodes F32, F16 or BF16 into `out`, which has one place for each element. Other types are refused.
pub(super) fn decode(ty: GgmlType, bytes: &[u8], out: &mut Vec<f32>, halves: &mut Vec<u16>) -> Option<()> {
    out.clear();
    match ty {
        GgmlType::F32 => out.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
        GgmlType::F16 | GgmlType::Bf16 => {
            halves.clear();
            halves.extend(bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)));
            out.resize(halves.len(), 0.0);
            use half::slice::HalfBitsSliceExt;
            if ty == GgmlType::F16 {
                halves.reinterpret_cast::<f16>().convert_to_f32_slice(out);
            } else {
                halves.reinterpret_cast::<bf16>().convert_to_f32_slice(out);
            }
        }
        _ => return None,
    }
    Some(())
}

/// Reads rows of one float tensor.
pub(super) struct RowReader<'a> {
    gguf: &'a Gguf,
    tensor: &'a TensorInfo,
    row_bytes: u64,
    bytes: Vec<u8>,
    halves: Vec<u16>,
    values: Vec<f32>,
}

impl<'a> RowReader<'a> {
    pub(super) fn new(gguf: &'a Gguf, tensor: &'a TensorInfo) -> Result<Self, CompressError> {
        let row_bytes = tensor.ty.row_bytes(tensor.n_per_row()).filter(|_| tensor.ty.is_float());
        let Some(row_bytes) = row_bytes else {
            return Err(CompressError::NotFloat {
                path: gguf.path().to_owned(),
                tensor: tensor.name.clone(),
                ty: tensor.ty,
            });
        };
        Ok(Self { gguf, tensor, row_bytes, bytes: Vec::new(), halves: Vec::new(), values: Vec::new() })
    }

    /// The rows numbered by `rows`, in that order, one after the other.
    pub(super) fn rows(&mut self, rows: impl Iterator<Item = u64>) -> Result<&mut [f32], CompressError> {
        self.bytes.clear();
        let mut rows = rows.peekable();
        while let Some(first) = rows.next() {
            let mut run = 1;
            while rows.next_if(|r| *r == first + run).is_some() {
                run += 1;
            }
            let at = self.bytes.len();
            // A run lies inside the tensor or `read_at` says so; its size was computed from the file's own header.
            self.bytes.resize(at + usize::try_from(run * self.row_bytes).unwrap_or(usize::MAX), 0);
            self.gguf.read_at(self.tensor, first * self.row_bytes, &mut self.bytes[at..])?;
        }
        // The constructor admitted float types only.
        let _ = decode(self.tensor.ty, &self.bytes, &mut self.values, &mut self.halves);
        Ok(&mut self.values)
    }
}

/// The squared norm of each column of a float matrix.
pub(super) fn column_norms(gguf: &Gguf, tensor: &TensorInfo) -> Result<Vec<f64>, CompressError> {
    let columns = usize::try_from(tensor.n_per_row()).unwrap_or(usize::MAX);
    let mut sums = vec![0.0f64; columns];
    let mut partial = vec![0.0f32; columns];
    let mut reader = RowReader::new(gguf, tensor)?;
    let (n, step) = (tensor.n_rows(), rows_per_chunk(tensor.n_per_row()));
    let mut at = 0;
    while at < n {
        let end = (at + step).min(n);
        let values = reader.rows(at..end)?;
        // f32 sums over 64 rows keep their precision and are several times faster than f64 throughout.
        for block in values.chunks(columns * 64) {
            partial.fill(0.0);
            for row in block.chunks_exact(columns) {
                partial.iter_mut().zip(row).for_each(|(s, x)| *s += x * x);
            }
            sums.iter_mut().zip(&partial).for_each(|(s, p)| *s += f64::from(*p));
        }
        at = end;
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_model::float_bytes;
    use autotune_model::gguf::{GgufWriter, Metadata, TensorDecl};

    #[test]
    fn rows_come_in_the_order_asked_and_norms_add_up() {
        let dir = tempfile::tempdir().unwrap();
        for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16] {
            let path = dir.path().join("t.gguf");
            let decl = TensorDecl { name: "t".into(), dims: vec![3, 100], ty };
            let mut w = GgufWriter::create(&path, &Metadata::default(), &[decl]).unwrap();
            let values: Vec<f32> = (0..300).map(|i| (i % 128) as f32).collect();
            w.write(&float_bytes(&values, ty)).unwrap();
            w.finish(false).unwrap();
            let g = Gguf::open(&path).unwrap();
            let t = g.tensor("t").unwrap();
            let mut reader = RowReader::new(&g, t).unwrap();
            assert_eq!(reader.rows([2, 3, 0].into_iter()).unwrap(), [6., 7., 8., 9., 10., 11., 0., 1., 2.]);
            assert!(reader.rows(99..101).is_err());
            let norms = column_norms(&g, t).unwrap();
            let expected: f64 = values.iter().skip(1).step_by(3).map(|v| f64::from(*v).powi(2)).sum();
            assert!((norms[1] - expected).abs() < 1e-6 * expected);
        }
    }
}
