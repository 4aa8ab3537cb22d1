//! Weights that are not numbers, found by reading every tensor once; and floats that half precision cannot hold.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::protocol::{BeyondF16, ValueReport};
use autotune_engine::finite::NOT_A_NUMBER;
use autotune_model::GgmlType;
use autotune_model::gguf::{Gguf, TensorInfo};

/// Blocks read at a time: at least a mebibyte of any type.
const CHUNK_BLOCKS: u64 = 1 << 19;
/// The largest finite number of half precision.
const F16_MAX: f64 = 65_504.0;

/// What a stretch of weights holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Census {
    nan: u64,
    infinite: u64,
    /// Finite numbers that half precision cannot hold.
    beyond_f16: u64,
    /// The largest finite magnitude.
    largest: f64,
    /// Whether a block of a quantized type is one that the library rejects: its scale is no number.
    broken_blocks: bool,
}

impl Census {
    fn add(&mut self, x: f64) {
        if x.is_nan() {
            self.nan += 1;
        } else if x.is_infinite() {
            self.infinite += 1;
        } else {
            let magnitude = x.abs();
            self.beyond_f16 += u64::from(magnitude > F16_MAX);
            self.largest = self.largest.max(magnitude);
        }
    }

    fn merge(&mut self, other: Self) {
        self.nan += other.nan;
        self.infinite += other.infinite;
        self.beyond_f16 += other.beyond_f16;
        self.largest = self.largest.max(other.largest);
        self.broken_blocks |= other.broken_blocks;
    }

    /// What is wrong, as it follows a tensor's name; none where all are numbers.
    fn fault(&self) -> Option<String> {
        let values = |n: u64| if n == 1 { "1 value".to_owned() } else { format!("{n} values") };
        match (self.nan, self.infinite) {
            (0, 0) => self.broken_blocks.then(|| "holds blocks whose scale is NaN or infinite".to_owned()),
            (0, n) => Some(format!("holds infinity ({})", values(n))),
            (n, 0) => Some(format!("holds NaN ({})", values(n))),
            (n, m) => Some(format!("holds NaN ({}) and infinity ({})", values(n), values(m))),
        }
    }
}

/// Reads every weight of a file on so many threads; `progress` is told of bytes done and in all.
///
/// # Errors
/// A tensor that holds NaN or infinity, by name; a file that cannot be read.
pub(crate) fn check(
    path: &Path,
    threads: usize,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> anyhow::Result<ValueReport> {
    let gguf = Gguf::open(path)?;
    let all: Vec<&TensorInfo> = gguf.tensors().iter().collect();
    let found = census(&gguf, &all, threads, progress)?;
    let mut report = ValueReport::default();
    for (tensor, census) in all.iter().zip(found) {
        if let Some(fault) = census.fault() {
            anyhow::bail!("{NOT_A_NUMBER}tensor {} {fault}", tensor.name);
        }
        if census.beyond_f16 > 0 {
            report.beyond_f16.push(BeyondF16 {
                tensor: tensor.name.clone(),
                values: census.beyond_f16,
                largest: census.largest,
            });
        }
    }
    Ok(report)
}

/// Checks the floats of an artifact that was built: rounding to half precision makes infinity of what is beyond it. Blocks were checked
/// as they were quantized.
///
/// # Errors
/// As [`check`].
#[cfg(any(feature = "llama", test))]
pub(crate) fn check_built(path: &Path, threads: usize) -> anyhow::Result<()> {
    let gguf = Gguf::open(path)?;
    let floats: Vec<&TensorInfo> = gguf.tensors().iter().filter(|t| t.ty.is_float()).collect();
    let found = census(&gguf, &floats, threads, &mut |_, _| {})?;
    for (tensor, census) in floats.iter().zip(found) {
        if let Some(fault) = census.fault() {
            anyhow::bail!("{NOT_A_NUMBER}tensor {} {fault} as {}", tensor.name, tensor.ty);
        }
    }
    Ok(())
}

fn census(
    gguf: &Gguf,
    tensors: &[&TensorInfo],
    threads: usize,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> anyhow::Result<Vec<Census>> {
    let total: u64 = tensors.iter().map(|t| t.bytes()).sum();
    let next = AtomicUsize::new(0);
    let done = Mutex::new((0u64, progress));
    let work = || -> anyhow::Result<Vec<(usize, Census)>> {
        let (mut found, mut buffer) = (Vec::new(), Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(tensor) = tensors.get(number) else { return Ok(found) };
            found.push((number, of_tensor(gguf, tensor, &mut buffer)?));
            if let Ok(mut done) = done.lock() {
                done.0 += tensor.bytes();
                let bytes = done.0;
                (done.1)(bytes, total);
            }
        }
    };
    let mut all = vec![Census::default(); tensors.len()];
    let parts: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    for part in parts {
        let part = part.map_err(|_| anyhow::anyhow!("a thread that read the weights panicked"))?;
        for (number, census) in part? {
            all[number] = census;
        }
    }
    Ok(all)
}

fn of_tensor(gguf: &Gguf, tensor: &TensorInfo, buffer: &mut Vec<u8>) -> anyhow::Result<Census> {
    let chunk = CHUNK_BLOCKS * tensor.ty.block_bytes();
    let mut census = Census::default();
    let mut offset = 0;
    while offset < tensor.bytes() {
        let bytes = chunk.min(tensor.bytes() - offset);
        buffer.resize(usize::try_from(bytes)?, 0);
        gguf.read_at(tensor, offset, buffer)?;
        census.merge(of_bytes(tensor.ty, buffer));
        offset += bytes;
    }
    Ok(census)
}

fn of_bytes(ty: GgmlType, bytes: &[u8]) -> Census {
    let mut census = Census::default();
    match ty {
        GgmlType::F32 => {
            let values = || bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            // Most stretches hold nothing of note: their largest magnitude, found without branches, says so. NaN shows in the sum.
            let (sum, largest) =
                values().fold((0.0f32, 0.0f32), |(sum, most), x| (sum + x * 0.0, most.max(x.abs())));
            if sum == 0.0 && f64::from(largest) <= F16_MAX {
                census.largest = f64::from(largest);
            } else {
                values().for_each(|x| census.add(f64::from(x)));
            }
        }
        GgmlType::F16 | GgmlType::Bf16 => {
            let words = || bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b));
            // Without their sign, halves are ordered as whole numbers are.
            let largest = words().map(|w| w & 0x7fff).max().unwrap_or(0);
            let value = |w: u16| match ty {
                GgmlType::F16 => half::f16::from_bits(w).to_f64(),
                _ => half::bf16::from_bits(w).to_f64(),
            };
            if value(largest).is_finite() && value(largest) <= F16_MAX {
                census.largest = value(largest);
            } else {
                words().for_each(|w| census.add(value(w)));
            }
        }
        GgmlType::F64 => {
            bytes.as_chunks::<8>().0.iter().for_each(|b| census.add(f64::from_le_bytes(*b)));
        }
        GgmlType::I8 | GgmlType::I16 | GgmlType::I32 | GgmlType::I64 => {}
        #[cfg(feature = "llama")]
        blocks => census.broken_blocks = !autotune_engine::ggml::is_valid(blocks, bytes),
        #[cfg(not(feature = "llama"))]
        _ => {}
    }
    census
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_model::float_bytes;
    use autotune_model::gguf::{GgufWriter, Metadata, TensorDecl};

    /// A file of one tensor of so many numbers.
    fn file(folder: &Path, ty: GgmlType, values: &[f32]) -> std::path::PathBuf {
        let path = folder.join("w.gguf");
        let decl = TensorDecl { name: "blk.3.ffn_up.weight".into(), dims: vec![values.len() as u64], ty };
        let mut writer = GgufWriter::create(&path, &Metadata::default(), &[decl]).unwrap();
        writer.write(&float_bytes(values, ty)).unwrap();
        writer.finish(false).unwrap();
        path
    }

    #[test]
    fn nan_and_infinite_weights_are_named_with_their_number() {
        let dir = tempfile::tempdir().unwrap();
        for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16] {
            let mut values = vec![0.25f32; 4096];
            let mut quiet = |_: u64, _: u64| {};
            let report = check(&file(dir.path(), ty, &values), 2, &mut quiet).unwrap();
            assert_eq!(report, ValueReport::default(), "{ty}");
            values[7] = f32::NAN;
            values[4000] = -f32::NAN;
            let error = check(&file(dir.path(), ty, &values), 2, &mut quiet).unwrap_err().to_string();
            assert_eq!(error, "not a number: tensor blk.3.ffn_up.weight holds NaN (2 values)", "{ty}");
            values[9] = f32::NEG_INFINITY;
            let error = check(&file(dir.path(), ty, &values), 2, &mut quiet).unwrap_err().to_string();
            assert!(error.ends_with("holds NaN (2 values) and infinity (1 value)"), "{ty}: {error}");
        }
    }

    #[test]
    fn floats_beyond_half_precision_are_counted_and_no_fault() {
        let dir = tempfile::tempdir().unwrap();
        let mut values = vec![0.25f32; 1000];
        values[1] = 65_504.0;
        let mut quiet = |_: u64, _: u64| {};
        assert!(
            check(&file(dir.path(), GgmlType::F32, &values), 1, &mut quiet).unwrap().beyond_f16.is_empty()
        );
        values[2] = -1e7;
        values[3] = 7e4;
        let found = check(&file(dir.path(), GgmlType::F32, &values), 1, &mut quiet).unwrap().beyond_f16;
        assert_eq!(found[0].values, 2);
        assert_eq!(found[0].largest, 1e7);
        // The same numbers in half precision are infinite.
        let error = check_built(&file(dir.path(), GgmlType::F16, &values), 1).unwrap_err().to_string();
        assert!(error.contains("holds infinity (2 values) as F16"), "{error}");
    }

    #[cfg(feature = "llama")]
    #[test]
    fn a_block_with_a_scale_that_is_no_number_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q.gguf");
        let decl = TensorDecl { name: "blk.0.ffn_up.weight".into(), dims: vec![64], ty: GgmlType::Q8_0 };
        let mut bytes = autotune_engine::ggml::quantize(GgmlType::Q8_0, &[0.5; 64], 64, None, 1).unwrap();
        let write = |bytes: &[u8]| {
            let mut writer =
                GgufWriter::create(&path, &Metadata::default(), std::slice::from_ref(&decl)).unwrap();
            writer.write(bytes).unwrap();
            writer.finish(false).unwrap();
            check(&path, 1, &mut |_, _| {})
        };
        assert!(write(&bytes).is_ok());
        bytes[34..36].copy_from_slice(&half::f16::NAN.to_le_bytes());
        let error = write(&bytes).unwrap_err().to_string();
        assert!(error.contains("blk.0.ffn_up.weight holds blocks whose scale is NaN"), "{error}");
    }
}
