//! Quantizing and dequantizing rows with ggml, behind safe functions.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::sync::Mutex;

use llama_cpp_sys_2 as ffi;

use autotune_model::GgmlType;

/// What the linked library says of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// Its name there (`q4_K`).
    pub name: String,
    /// Elements a block.
    pub block_len: u64,
    /// Bytes a block.
    pub block_bytes: u64,
    /// Whether weights are stored in blocks.
    pub is_quantized: bool,
    /// Whether quantizing aborts without importance data.
    pub needs_imatrix: bool,
}

/// Why rows could not be converted.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum GgmlError {
    /// Lengths that do not belong together.
    #[error("{elements} elements in rows of {row} do not fill whole blocks of {block} for type {ty}")]
    Shape {
        /// Elements passed.
        elements: usize,
        /// Row length in elements.
        row: usize,
        /// Elements a block.
        block: u64,
        /// Type.
        ty: GgmlType,
    },
    /// The byte count does not fit the element count.
    #[error("{found} bytes of type {ty}, where {expected} are expected")]
    Bytes {
        /// Bytes passed.
        found: usize,
        /// Bytes that the elements take.
        expected: u64,
        /// Type.
        ty: GgmlType,
    },
    /// The library cannot convert to or from the type.
    #[error("type {0} cannot be converted")]
    Unsupported(GgmlType),
    /// A type that needs importance data came without.
    #[error("type {0} needs importance data")]
    NeedsImatrix(GgmlType),
    /// Importance data of another length than a row.
    #[error("importance data for {found} columns, but rows have {row}")]
    Imatrix {
        /// Entries passed.
        found: usize,
        /// Row length.
        row: usize,
    },
    /// A weight that is infinite or no number; several quantizers abort on those.
    #[error("not a number: a weight is {0}; the source model is damaged")]
    NotFinite(f32),
    /// The library's own check of the result failed.
    #[error(
        "not a number: quantizing to {0} gives an infinite scale: the weights are beyond the range of the type"
    )]
    Invalid(GgmlType),
}

/// The version of the linked ggml and the commit it was built from.
#[must_use]
pub fn version() -> String {
    // SAFETY: both are static, NUL-terminated strings.
    let (version, commit) =
        unsafe { (CStr::from_ptr(ffi::ggml_version()), CStr::from_ptr(ffi::ggml_commit())) };
    format!("ggml {} {}", version.to_string_lossy(), commit.to_string_lossy())
}

/// What the library says of a type.
#[must_use]
pub fn type_info(ty: GgmlType) -> TypeInfo {
    let id = ty.id();
    // SAFETY: every number in the table of `GgmlType` is below GGML_TYPE_COUNT of the pinned library; the functions are pure
    // look-ups, and the name is a static string.
    unsafe {
        TypeInfo {
            name: CStr::from_ptr(ffi::ggml_type_name(id)).to_string_lossy().into_owned(),
            block_len: u64::try_from(ffi::ggml_blck_size(id)).unwrap_or(0),
            block_bytes: ffi::ggml_type_size(id) as u64,
            is_quantized: ffi::ggml_is_quantized(id),
            needs_imatrix: ffi::ggml_quantize_requires_imatrix(id),
        }
    }
}

/// Quantizes whole rows of `n_per_row` elements to `ty`, rows spread over `threads`. `imatrix` weighs the columns (mean squared
/// activations). The result does not depend on the number of threads.
///
/// # Errors
/// Shapes that do not fit, weights that are not finite, or a type that needs an `imatrix` without one.
pub fn quantize(
    ty: GgmlType,
    src: &[f32],
    n_per_row: usize,
    imatrix: Option<&[f32]>,
    threads: usize,
) -> Result<Vec<u8>, GgmlError> {
    if !ty.is_target() {
        return Err(GgmlError::Unsupported(ty));
    }
    let shape = GgmlError::Shape { elements: src.len(), row: n_per_row, block: ty.block_len(), ty };
    let Some(row_bytes) = ty.row_bytes(n_per_row as u64).and_then(|n| usize::try_from(n).ok()) else {
        return Err(shape);
    };
    if n_per_row == 0 || !src.len().is_multiple_of(n_per_row) {
        return Err(shape);
    }
    match imatrix {
        Some(w) if w.len() != n_per_row => {
            return Err(GgmlError::Imatrix { found: w.len(), row: n_per_row });
        }
        Some(w) => check_finite(w)?,
        None if ty.needs_imatrix() => return Err(GgmlError::NeedsImatrix(ty)),
        None => {}
    }
    check_finite(src)?;
    let mut out = vec![0u8; src.len() / n_per_row * row_bytes];
    // Chunks of some 16 thousand elements: large enough to amortise the lock, small enough to keep all threads busy to the end.
    let rows = (1usize << 14).div_ceil(n_per_row);
    let work = Mutex::new(src.chunks(rows * n_per_row).zip(out.chunks_mut(rows * row_bytes)));
    let valid = spread(threads, &work, |(from, to)| quantize_rows(ty, from, to, n_per_row, imatrix));
    if valid { Ok(out) } else { Err(GgmlError::Invalid(ty)) }
}

/// Runs `job` on all items over several threads; true when every job was. A poisoned lock (a panicked job) counts as failed.
fn spread<T: Send>(
    threads: usize,
    work: &Mutex<impl Iterator<Item = T> + Send>,
    job: impl Fn(T) -> bool + Sync,
) -> bool {
    let run = || {
        loop {
            let Ok(mut queue) = work.lock() else { return false };
            let Some(item) = queue.next() else { return true };
            drop(queue);
            if !job(item) {
                return false;
            }
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(run)).collect();
        let mine = run();
        others.into_iter().all(|t| t.join().unwrap_or(false)) && mine
    })
}

/// Quantizes some rows; false when the library rejects the result.
fn quantize_rows(
    ty: GgmlType,
    src: &[f32],
    dst: &mut [u8],
    n_per_row: usize,
    imatrix: Option<&[f32]>,
) -> bool {
    let rows = src.len() / n_per_row;
    let weights = imatrix.map_or(std::ptr::null(), <[f32]>::as_ptr);
    // SAFETY: `src` holds `rows * n_per_row` floats, `dst` the rows' bytes (both sliced in `quantize`), `weights` is null or holds
    // `n_per_row` floats and is given where the type requires it. Numbers are finite, so that no quantizer aborts. The library
    // guards its tables with a lock of its own.
    unsafe {
        let written = ffi::ggml_quantize_chunk(
            ty.id(),
            src.as_ptr(),
            dst.as_mut_ptr().cast::<c_void>(),
            0,
            rows as i64,
            n_per_row as i64,
            weights,
        );
        written == dst.len() && ffi::ggml_validate_row_data(ty.id(), dst.as_ptr().cast::<c_void>(), dst.len())
    }
}

/// Whether the library takes whole blocks of a type for sound: no scale is NaN or infinite. Empty for types that are no weights.
#[must_use]
pub fn is_valid(ty: GgmlType, blocks: &[u8]) -> bool {
    // SAFETY: the pointer and the length belong to one slice; a length that is no whole number of blocks is refused by the library.
    unsafe { ffi::ggml_validate_row_data(ty.id(), blocks.as_ptr().cast::<c_void>(), blocks.len()) }
}

fn check_finite(values: &[f32]) -> Result<(), GgmlError> {
    match values.iter().find(|v| !v.is_finite()) {
        Some(v) => Err(GgmlError::NotFinite(*v)),
        None => Ok(()),
    }
}

/// Dequantizes `bytes` of type `ty` to `n` numbers.
///
/// # Errors
/// As [`dequantize_into`].
pub fn dequantize(ty: GgmlType, bytes: &[u8], n: usize) -> Result<Vec<f32>, GgmlError> {
    let mut out = vec![0.0; n];
    dequantize_into(ty, bytes, &mut out, 1)?;
    Ok(out)
}

/// Dequantizes `bytes` of type `ty` into `out`, spread over `threads`.
///
/// # Errors
/// A type that has no dequantizer, or a byte count that does not fit `out`.
pub fn dequantize_into(ty: GgmlType, bytes: &[u8], out: &mut [f32], threads: usize) -> Result<(), GgmlError> {
    let n = out.len();
    let Some(expected) = ty.row_bytes(n as u64) else {
        return Err(GgmlError::Shape { elements: n, row: n, block: ty.block_len(), ty });
    };
    if bytes.len() as u64 != expected {
        return Err(GgmlError::Bytes { found: bytes.len(), expected, ty });
    }
    if ty == GgmlType::F32 {
        for (to, from) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *to = f32::from_le_bytes(*from);
        }
        return Ok(());
    }
    // SAFETY: a look-up in a static table; the number is in range (see `type_info`).
    let to_float = unsafe { (*ffi::ggml_get_type_traits(ty.id())).to_float };
    let Some(to_float) = to_float else { return Err(GgmlError::Unsupported(ty)) };
    if !(bytes.as_ptr() as usize).is_multiple_of(4) {
        return Err(GgmlError::Unsupported(ty));
    }
    // Blocks of 256 elements begin at even byte offsets in every type, so chunks stay aligned to the 2 bytes that blocks need.
    let blocks = 64 * 256 / ty.block_len() as usize;
    let sources = bytes.chunks(blocks * ty.block_bytes() as usize);
    let targets = out.chunks_mut(blocks * ty.block_len() as usize);
    let work = Mutex::new(sources.zip(targets));
    let done = spread(threads, &work, |(from, to)| {
        // SAFETY: `from` holds exactly the blocks of `to.len()` elements; the function reads the one and writes the other.
        unsafe { to_float(from.as_ptr().cast::<c_void>(), to.as_mut_ptr(), to.len() as i64) };
        true
    });
    if done { Ok(()) } else { Err(GgmlError::Unsupported(ty)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 0.37).sin() * (1.0 + (i % 7) as f32)).collect()
    }

    /// Root mean square error over that of the values, by bits an element. Named for what a sine wave may lose.
    fn tolerance(ty: GgmlType) -> f64 {
        match ty.bits() {
            b if b >= 32.0 => 0.0,
            b if b >= 16.0 => 4e-3,
            b if b >= 8.0 => 8e-3,
            b if b >= 6.5 => 0.025,
            b if b >= 5.5 => 0.05,
            b if b >= 4.0 => 0.11,
            b if b >= 3.0 => 0.25,
            b if b >= 2.0 => 0.45,
            _ => 0.95,
        }
    }

    #[test]
    fn every_target_type_round_trips_within_its_bits() {
        let src = wave(4 * 512);
        let ones = vec![1.0; 512];
        for ty in GgmlType::all().filter(|t| t.is_target()) {
            let bytes = quantize(ty, &src, 512, Some(&ones), 2).unwrap();
            assert_eq!(Some(bytes.len() as u64), ty.row_bytes(512).map(|b| b * 4), "{ty}");
            let back = dequantize(ty, &bytes, src.len()).unwrap();
            let error: f64 = src.iter().zip(&back).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let power: f64 = src.iter().map(|a| f64::from(*a).powi(2)).sum();
            let relative = (error / power).sqrt();
            assert!(relative <= tolerance(ty), "{ty}: {relative}");
        }
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let src = wave(64 * 1024);
        for ty in [GgmlType::Q4_K, GgmlType::Q8_0, GgmlType::F16] {
            let one = quantize(ty, &src, 1024, None, 1).unwrap();
            assert_eq!(one, quantize(ty, &src, 1024, None, 3).unwrap(), "{ty}");
            let mut back = vec![0.0; src.len()];
            dequantize_into(ty, &one, &mut back, 3).unwrap();
            assert_eq!(back, dequantize(ty, &one, src.len()).unwrap());
        }
    }

    #[test]
    fn what_would_abort_is_an_error() {
        let src = wave(512);
        assert!(matches!(
            quantize(GgmlType::Q4_K, &src, 128, None, 1),
            Err(GgmlError::Shape { row: 128, .. })
        ));
        assert!(matches!(quantize(GgmlType::Q4_K, &src[1..], 256, None, 1), Err(GgmlError::Shape { .. })));
        assert_eq!(
            quantize(GgmlType::Iq2Xxs, &src, 256, None, 1),
            Err(GgmlError::NeedsImatrix(GgmlType::Iq2Xxs))
        );
        assert_eq!(quantize(GgmlType::I32, &src, 256, None, 1), Err(GgmlError::Unsupported(GgmlType::I32)));
        let short = [1.0; 9];
        assert!(matches!(
            quantize(GgmlType::Q4_0, &src, 256, Some(&short), 1),
            Err(GgmlError::Imatrix { .. })
        ));
        let mut broken = src.clone();
        broken[77] = f32::INFINITY;
        assert_eq!(
            quantize(GgmlType::Iq3Xxs, &broken, 256, None, 1),
            Err(GgmlError::NotFinite(f32::INFINITY))
        );
        assert!(matches!(dequantize(GgmlType::Q8_0, &[0; 33], 32), Err(GgmlError::Bytes { .. })));
        assert_eq!(dequantize(GgmlType::I32, &[0; 4], 1), Err(GgmlError::Unsupported(GgmlType::I32)));
    }

    #[test]
    fn failures_of_numbers_are_told_from_others() {
        use crate::finite::tells_of;
        assert!(tells_of(&GgmlError::NotFinite(1.0).to_string()));
        assert!(tells_of(&GgmlError::Invalid(GgmlType::Q8_0).to_string()));
        assert!(!tells_of(&GgmlError::Unsupported(GgmlType::Q8_0).to_string()));
    }

    #[test]
    fn the_table_is_ggmls() {
        for t in GgmlType::all() {
            let info = type_info(t);
            assert_eq!(info.name.to_ascii_uppercase(), t.name());
            assert_eq!((info.block_len, info.block_bytes), (t.block_len(), t.block_bytes()), "{t}");
            assert_eq!(info.needs_imatrix, t.needs_imatrix(), "{t}");
            assert_eq!(info.is_quantized, t.is_quantized(), "{t}");
        }
    }

    #[test]
    fn the_types_hold_the_same_weights() {
        use autotune_model::ArchKind;
        use autotune_model::gguf::Gguf;
        use autotune_model::synthetic::Shapes;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        let read = |ty: GgmlType| {
            Shapes::tiny(ArchKind::Llama).write(&path, ty, 1, None).unwrap();
            let g = Gguf::open(&path).unwrap();
            let t = g.tensor("blk.1.attn_k.weight").unwrap();
            assert_eq!(t.ty, ty);
            dequantize(ty, g.bytes(t), t.elements() as usize).unwrap()
        };
        let exact = read(GgmlType::F32);
        for (ty, tolerance) in [(GgmlType::F16, 1e-4), (GgmlType::Bf16, 1e-3), (GgmlType::Q8_0, 1e-3)] {
            let worst = read(ty).iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < tolerance, "{ty}: {worst}");
        }
    }
}
