//! How long ggml's own kernels take on this machine: matrix products by weight type, attention by cache type, and what is left of a
//! layer. A graph of the operation alone is computed by the CPU backend, as llama.cpp computes a model's.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::time::Instant;

use llama_cpp_sys_2 as ffi;

use super::ggml::quantize;
use autotune_core::space::KvType;
use autotune_model::GgmlType;

/// The shape of a layer, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerKernel {
    /// Width of the residual stream.
    pub hidden: u32,
    /// Query heads.
    pub heads: u32,
    /// KV heads.
    pub kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// FFN width.
    pub ffn: u32,
}

/// Rows and caches of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerCall {
    /// Tokens computed together, over all sequences.
    pub rows: u32,
    /// Sequences, each with a cache of its own.
    pub streams: u32,
    /// Positions in each cache.
    pub positions: u32,
    /// Type of the K cache.
    pub kv_k: KvType,
    /// Type of the V cache.
    pub kv_v: KvType,
}

/// The library refused: no memory, or an operation that it does not have for a type.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("ggml cannot compute {0}")]
pub struct KernelError(&'static str);

/// Computations of each graph behind the first, which warms up; the fastest counts, for other programs can only slow it down.
const REPEATS: u32 = 2;

struct Context(NonNull<ffi::ggml_context>);

impl Context {
    fn new(tensors: usize) -> Result<Self, KernelError> {
        // SAFETY: plain look-ups.
        let (tensor, graph) = unsafe { (ffi::ggml_tensor_overhead(), ffi::ggml_graph_overhead()) };
        let params = ffi::ggml_init_params {
            mem_size: tensor * (tensors + 8) + 2 * graph,
            mem_buffer: ptr::null_mut(),
            no_alloc: true,
        };
        // SAFETY: the library allocates its own memory of the size asked for; tensors hold no data.
        NonNull::new(unsafe { ffi::ggml_init(params) }).map(Self).ok_or(KernelError("a context"))
    }

    fn raw(&self) -> *mut ffi::ggml_context {
        self.0.as_ptr()
    }

    fn tensor(&self, ty: ffi::ggml_type, shape: [u32; 4]) -> *mut ffi::ggml_tensor {
        let [a, b, c, d] = shape.map(i64::from);
        // SAFETY: the context has room (see `new`'s callers); shapes are positive.
        unsafe { ffi::ggml_new_tensor_4d(self.raw(), ty, a, b, c, d) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `ggml_init`, freed only here.
        unsafe { ffi::ggml_free(self.raw()) };
    }
}

struct Buffer(NonNull<ffi::ggml_backend_buffer>);

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: made by an allocation of the library, freed only here.
        unsafe { ffi::ggml_backend_buffer_free(self.0.as_ptr()) };
    }
}

/// The CPU backend with a number of threads.
pub struct Kernels {
    backend: NonNull<ffi::ggml_backend>,
}

impl Drop for Kernels {
    fn drop(&mut self) {
        // SAFETY: made by `ggml_backend_cpu_init`, freed only here.
        unsafe { ffi::ggml_backend_free(self.backend.as_ptr()) };
    }
}

impl Kernels {
    /// Kernels that compute with `threads` threads.
    ///
    /// # Errors
    /// The library has no CPU backend.
    pub fn new(threads: u32) -> Result<Self, KernelError> {
        // SAFETY: makes an object that `Drop` frees.
        let backend =
            NonNull::new(unsafe { ffi::ggml_backend_cpu_init() }).ok_or(KernelError("on the CPU"))?;
        let threads = c_int::try_from(threads.max(1)).unwrap_or(1);
        // SAFETY: the backend is live and the CPU's.
        unsafe { ffi::ggml_backend_cpu_set_n_threads(backend.as_ptr(), threads) };
        Ok(Self { backend })
    }

    /// Nanoseconds for each weight of a matrix product, for each of several numbers of rows, with weights of a type, `columns` long each,
    /// streamed from `bytes` of memory. `repacked`: in the layout that the library prefers on this CPU; empty where it has none for
    /// the type.
    ///
    /// # Errors
    /// The library lacks memory.
    pub fn matmul_ns(
        &self,
        ty: GgmlType,
        columns: u32,
        rows: &[u32],
        bytes: u64,
        repacked: bool,
    ) -> Result<Vec<f64>, KernelError> {
        const MATRIX_ROWS: u32 = 1024;
        let one = ty.row_bytes(u64::from(columns)).ok_or(KernelError("rows of this length"))?;
        let matrix = one * u64::from(MATRIX_ROWS);
        let copies = usize::try_from((bytes / matrix).clamp(1, 512)).unwrap_or(1);
        let weights = Context::new(copies)?;
        let tensors: Vec<_> =
            (0..copies).map(|_| weights.tensor(ty.id(), [columns, MATRIX_ROWS, 1, 1])).collect();
        let Some(kind) = (if repacked { repack_buffer() } else { plain_buffer() }) else {
            return Ok(Vec::new());
        };
        // SAFETY: the tensors of the context have no memory yet; the buffer outlives their use in this function.
        let buffer = unsafe { ffi::ggml_backend_alloc_ctx_tensors_from_buft(weights.raw(), kind) };
        let _buffer = NonNull::new(buffer).map(Buffer).ok_or(KernelError("without memory"))?;
        // A type that the layout does not have gets no traits, and setting its data would crash.
        // SAFETY: the tensors are live.
        if repacked && tensors.iter().any(|t| unsafe { (**t).extra.is_null() }) {
            return Ok(Vec::new());
        }
        let data = sample(ty, columns, MATRIX_ROWS)?;
        for tensor in &tensors {
            // SAFETY: the data has exactly the tensor's size.
            unsafe {
                ffi::ggml_backend_tensor_set(*tensor, data.as_ptr().cast::<c_void>(), 0, data.len());
            }
        }
        let count = f64::from(columns) * f64::from(MATRIX_ROWS) * copies as f64;
        let product = |&rows: &u32| {
            let context = Context::new(2 * copies + 2)?;
            let input = context.tensor(ffi::GGML_TYPE_F32, [columns, rows, 1, 1]);
            // SAFETY: shapes agree in their first dimension.
            let outputs: Vec<_> =
                tensors.iter().map(|w| unsafe { ffi::ggml_mul_mat(context.raw(), *w, input) }).collect();
            Ok(self.fastest(&context, &outputs, &[input])? * 1e9 / count)
        };
        rows.iter().map(product).collect()
    }

    /// Nanoseconds for one layer without its matrix products: norms, rotary embedding, cache writes, attention, activation, sums.
    ///
    /// # Errors
    /// The library lacks memory.
    pub fn layer_ns(&self, layer: &LayerKernel, call: &LayerCall) -> Result<f64, KernelError> {
        // Several layers in one graph, so that starting the threads weighs little.
        let layers: usize = if call.rows > 16 { 2 } else { 8 };
        let f32t = ffi::GGML_TYPE_F32;
        let (head, heads, kv) = (layer.head_dim, layer.heads, layer.kv_heads);
        let per_stream = (call.rows / call.streams.max(1)).max(1);
        let rows = per_stream * call.streams;
        let (k_type, v_type) = (cache_type(call.kv_k), cache_type(call.kv_v));
        let context = Context::new(64 * layers)?;
        let c = context.raw();
        let mut inputs = Vec::new();
        let mut input = |ty, shape| {
            let tensor = context.tensor(ty, shape);
            inputs.push(tensor);
            tensor
        };
        let x = input(f32t, [layer.hidden, rows, 1, 1]);
        let gain = input(f32t, [layer.hidden, 1, 1, 1]);
        let (gate, up) = (input(f32t, [layer.ffn, rows, 1, 1]), input(f32t, [layer.ffn, rows, 1, 1]));
        let q_raw = input(f32t, [head, heads, rows, 1]);
        let k_raw = input(f32t, [head, kv, rows, 1]);
        let flat = input(f32t, [head * kv, rows, 1, 1]);
        let q_all = input(f32t, [head, heads, per_stream, call.streams]);
        let positions = input(ffi::GGML_TYPE_I32, [rows, 1, 1, 1]);
        let places = input(ffi::GGML_TYPE_I64, [rows, 1, 1, 1]);
        let mask = input(ffi::GGML_TYPE_F16, [call.positions, per_stream.div_ceil(64) * 64, 1, call.streams]);
        let mut caches = Vec::new();
        for _ in 0..layers {
            let shape = [head * kv, call.positions * call.streams, 1, 1];
            caches.push((input(k_type, shape), input(v_type, shape)));
        }
        let mut outputs = Vec::new();
        let scale = 1.0 / (head as f32).sqrt();
        for (k_cache, v_cache) in caches {
            // SAFETY: all tensors belong to the live context, and their shapes are those that llama.cpp's graph of a layer has.
            unsafe {
                for _ in 0..2 {
                    let norm = ffi::ggml_mul(c, ffi::ggml_rms_norm(c, x, 1e-5), gain);
                    outputs.extend([norm, ffi::ggml_add(c, x, norm)]);
                }
                for raw in [q_raw, k_raw] {
                    outputs.push(ffi::ggml_rope_ext(
                        c,
                        raw,
                        positions,
                        ptr::null_mut(),
                        head as c_int,
                        0,
                        4096,
                        1e4,
                        1.0,
                        0.0,
                        1.0,
                        32.0,
                        1.0,
                    ));
                }
                outputs.push(ffi::ggml_set_rows(c, k_cache, flat, places));
                outputs.push(ffi::ggml_set_rows(c, v_cache, flat, places));
                let view = |cache: *mut ffi::ggml_tensor| {
                    let [_, row, ..] = (*cache).nb;
                    let head_bytes = row / kv as usize;
                    let stream = row * call.positions as usize;
                    let (a, b, n, s) = (head.into(), kv.into(), call.positions.into(), call.streams.into());
                    let whole = ffi::ggml_view_4d(c, cache, a, b, n, s, head_bytes, row, stream, 0);
                    ffi::ggml_permute(c, whole, 0, 2, 1, 3)
                };
                let q = ffi::ggml_permute(c, q_all, 0, 2, 1, 3);
                let (k, v) = (view(k_cache), view(v_cache));
                outputs.push(ffi::ggml_flash_attn_ext(c, q, k, v, mask, scale, 0.0, 0.0));
                outputs.push(ffi::ggml_swiglu_split(c, gate, up));
            }
        }
        let seconds = self.fastest(&context, &outputs, &inputs)?;
        Ok(seconds * 1e9 / layers as f64)
    }

    /// Seconds of the fastest of some computations. The inputs are filled with zeros (places and positions 0, a mask that hides nothing).
    fn fastest(
        &self,
        context: &Context,
        outputs: &[*mut ffi::ggml_tensor],
        inputs: &[*mut ffi::ggml_tensor],
    ) -> Result<f64, KernelError> {
        let backend = self.backend.as_ptr();
        // SAFETY: gives every tensor of the context memory that lives until the buffer is dropped, after the computations.
        let buffer = unsafe { ffi::ggml_backend_alloc_ctx_tensors(context.raw(), backend) };
        let _buffer = NonNull::new(buffer).map(Buffer).ok_or(KernelError("without memory"))?;
        for input in inputs {
            // SAFETY: the tensor has memory of this size.
            unsafe {
                ffi::ggml_backend_tensor_memset(*input, 0, 0, ffi::ggml_nbytes(*input));
            }
        }
        // SAFETY: the context has room for a graph of the default size, which exceeds the outputs' number; all nodes have memory.
        let graph = unsafe {
            let graph = ffi::ggml_new_graph(context.raw());
            for output in outputs {
                ffi::ggml_build_forward_expand(graph, *output);
            }
            graph
        };
        let mut best = f64::INFINITY;
        for _ in 0..=REPEATS {
            let started = Instant::now();
            // SAFETY: backend and graph are live.
            let status = unsafe { ffi::ggml_backend_graph_compute(backend, graph) };
            if status != ffi::GGML_STATUS_SUCCESS {
                return Err(KernelError("this graph"));
            }
            best = best.min(started.elapsed().as_secs_f64());
        }
        Ok(best)
    }
}

/// Weights of a type: some rows quantized, and repeated.
fn sample(ty: GgmlType, columns: u32, rows: u32) -> Result<Vec<u8>, KernelError> {
    const DISTINCT: u32 = 8;
    let count = (columns * DISTINCT) as usize;
    let wave: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin() * 0.1).collect();
    let ones = vec![1.0; columns as usize];
    let part = quantize(ty, &wave, columns as usize, Some(&ones), 1).map_err(|_| KernelError("this type"))?;
    Ok(part.repeat((rows / DISTINCT) as usize))
}

fn cache_type(kv: KvType) -> ffi::ggml_type {
    match kv {
        KvType::F32 => ffi::GGML_TYPE_F32,
        KvType::F16 => ffi::GGML_TYPE_F16,
        KvType::Bf16 => ffi::GGML_TYPE_BF16,
        KvType::Q8_0 => ffi::GGML_TYPE_Q8_0,
        KvType::Q4_0 => ffi::GGML_TYPE_Q4_0,
    }
}

fn plain_buffer() -> Option<ffi::ggml_backend_buffer_type_t> {
    // SAFETY: a static object.
    Some(unsafe { ffi::ggml_backend_cpu_buffer_type() }).filter(|b| !b.is_null())
}

/// The first of the CPU's extra buffer types that is there: the repacking one, on CPUs without AMX.
fn repack_buffer() -> Option<ffi::ggml_backend_buffer_type_t> {
    // SAFETY: static objects; the address is that of a function of the named type, as llama.cpp's own loader uses it; the list that it
    // returns ends with null.
    unsafe {
        let registry = ffi::ggml_backend_cpu_reg();
        let name = c"ggml_backend_dev_get_extra_bufts".as_ptr();
        let address = ffi::ggml_backend_reg_get_proc_address(registry, name);
        if address.is_null() {
            return None;
        }
        let get: ffi::ggml_backend_dev_get_extra_bufts_t = std::mem::transmute(address);
        let list = get?(ffi::ggml_backend_reg_dev_get(registry, 0));
        if list.is_null() {
            return None;
        }
        let first = *list;
        (!first.is_null()).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_takes_some_time() {
        let kernels = Kernels::new(2).unwrap();
        for ty in [GgmlType::F16, GgmlType::Q8_0, GgmlType::Q4_K, GgmlType::Q4_0, GgmlType::Q5_1] {
            let all = kernels.matmul_ns(ty, 256, &[1, 4, 32], 1 << 20, false).unwrap();
            assert!(all.len() == 3 && all.iter().all(|ns| *ns > 0.0 && *ns < 1e5), "{ty}: {all:?}");
        }
        assert!(kernels.matmul_ns(GgmlType::Q5_1, 256, &[1], 1 << 20, true).unwrap().is_empty());
        assert!(kernels.matmul_ns(GgmlType::Q4_K, 100, &[1], 1 << 20, false).is_err());
        let layer = LayerKernel { hidden: 128, heads: 4, kv_heads: 2, head_dim: 32, ffn: 256 };
        for kv in KvType::ALL {
            for (rows, streams) in [(1, 1), (4, 4), (64, 1)] {
                let call = LayerCall { rows, streams, positions: 256, kv_k: kv, kv_v: kv };
                let ns = kernels.layer_ns(&layer, &call).unwrap();
                assert!(ns > 0.0 && ns.is_finite(), "{kv:?} {rows}: {ns}");
            }
        }
    }
}
