//! Unstructured sparsity, for study: zeros in place of the least important weights of each row.
//!
//! Neither engine has kernels that skip single zeros, so the model is as large and as slow as before (docs/src/project/benchmarks/compression.md); what is shown
//! is what the zeros alone cost.

use std::path::Path;

use super::CompressError;
use super::floats::{RowReader, rows_per_chunk};
use autotune_model::ActivationStats;
use autotune_model::gguf::{Gguf, GgufWriter, TensorDecl, TensorInfo};
use autotune_model::{TensorName, WeightGroup, float_bytes};

/// Bytes that are copied at once.
const COPIED_AT_ONCE: usize = 4 << 20;

/// Writes a float model with `share` of the weights of every row of the layers' matrices set to zero: the smallest, or with `stats` those
/// whose size times the norm of their input is the smallest (Wanda; Sun et al. 2023, arXiv:2306.11695). Returns how many.
///
/// # Errors
/// Statistics of another model, a model that is not of floats, or files that cannot be read or written.
pub fn sparsify(
    source: &Gguf,
    stats: Option<&ActivationStats>,
    share: f64,
    out: &Path,
) -> Result<u64, CompressError> {
    let decl = |t: &TensorInfo| TensorDecl { name: t.name.clone(), dims: t.dims.clone(), ty: t.ty };
    let decls: Vec<TensorDecl> = source.tensors().iter().map(decl).collect();
    let mut writer = GgufWriter::create(out, source.metadata(), &decls)?;
    let mut zeros = 0;
    for info in source.tensors() {
        let group = TensorName::parse(&info.name).group();
        if !matches!(group, Some(WeightGroup::Attn | WeightGroup::Ffn)) {
            for start in (0..info.bytes()).step_by(COPIED_AT_ONCE) {
                let mut bytes = vec![0; COPIED_AT_ONCE.min((info.bytes() - start) as usize)];
                source.read_at(info, start, &mut bytes)?;
                writer.write(&bytes)?;
            }
            continue;
        }
        let columns = info.n_per_row() as usize;
        let norms = match stats {
            Some(stats) => Some(input_norms(stats, info)?),
            None => None,
        };
        let dropped = (columns as f64 * share.clamp(0.0, 1.0)) as usize;
        let mut reader = RowReader::new(source, info)?;
        let step = rows_per_chunk(info.n_per_row());
        let (mut values, mut order) = (Vec::new(), Vec::new());
        for start in (0..info.n_rows()).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            values.clear();
            values.extend_from_slice(reader.rows(start..(start + step).min(info.n_rows()))?);
            for row in values.chunks_mut(columns) {
                let score = |i: usize| row[i].abs() * norms.as_ref().map_or(1.0, |n| n[i]);
                order.clear();
                order.extend((0..columns).map(|i| (score(i), i)));
                if dropped > 0 {
                    order.select_nth_unstable_by(dropped - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                }
                order[..dropped].iter().for_each(|(_, i)| row[*i] = 0.0);
                zeros += dropped as u64;
            }
            writer.write(&float_bytes(&values, info.ty))?;
        }
    }
    writer.finish(false)?;
    Ok(zeros)
}

fn input_norms(stats: &ActivationStats, info: &TensorInfo) -> Result<Vec<f32>, CompressError> {
    let tensor = info.name.clone();
    let Some(squares) = stats.mean_square.get(&tensor) else { return Err(CompressError::NoStats { tensor }) };
    if squares.len() as u64 != info.n_per_row() {
        return Err(CompressError::Stats { tensor, found: squares.len(), expected: info.n_per_row() });
    }
    Ok(squares.iter().map(|s| s.sqrt()).collect())
}

#[cfg(test)]
mod tests {
    use super::super::importance::tests::made_up;
    use super::*;
    use autotune_model::synthetic::Shapes;
    use autotune_model::{ArchKind, Architecture, GgmlType};

    #[test]
    fn the_smallest_go_and_loud_inputs_save_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let (path, out) = (dir.path().join("t.gguf"), dir.path().join("s.gguf"));
        Shapes::tiny(ArchKind::Llama).write(&path, GgmlType::F32, 5, None).unwrap();
        let source = Gguf::open(&path).unwrap();
        let floats = |gguf: &Gguf, name: &str| -> Vec<f32> {
            let bytes = gguf.bytes(gguf.tensor(name).unwrap());
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let name = "blk.1.ffn_down.weight";
        let exact = floats(&source, name);
        let zeros = sparsify(&source, None, 0.5, &out).unwrap();
        let sparse = Gguf::open(&out).unwrap();
        let arch = Architecture::read(&sparse).unwrap();
        let weights: u64 =
            arch.weight_shapes().filter(|(n, _)| n.starts_with("blk")).map(|(_, [a, b])| a * b).sum();
        assert_eq!(zeros, weights / 2);
        for (row, before) in floats(&sparse, name).chunks(512).zip(exact.chunks(512)) {
            let kept = row.iter().filter(|v| **v != 0.0).fold(f32::INFINITY, |m, v| m.min(v.abs()));
            let gone = row.iter().zip(before).filter(|(v, _)| **v == 0.0);
            let gone = gone.fold(0f32, |m, (_, b)| m.max(b.abs()));
            assert!(gone <= kept, "{gone} {kept}");
        }
        assert_eq!(floats(&sparse, "token_embd.weight"), floats(&source, "token_embd.weight"));
        // One input is loud: its column stays whole.
        let mut stats = made_up(&arch);
        let loud = stats.mean_square.get_mut(name).unwrap();
        loud.fill(1e-6);
        loud[9] = 1e6;
        sparsify(&source, Some(&stats), 0.5, &out).unwrap();
        let sparse = floats(&Gguf::open(&out).unwrap(), name);
        assert!((0..256).all(|row| sparse[row * 512 + 9] == exact[row * 512 + 9]));
        stats.mean_square.remove(name);
        assert!(sparsify(&source, Some(&stats), 0.5, &out).is_err());
    }
}
