//! Statistics of a model's activations, collected through llama.cpp's evaluation callback.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2 as ffi;

use super::session::{Context, Model, load_model};
use super::{LlamaCpp, log};
use crate::{Device, EngineError, FlashAttention, RunConfig, Token};
use autotune_core::space::KvType;
use autotune_model::ActivationStats;

/// Tokens of one independent piece of text; each piece begins with an empty cache.
const PIECE: usize = 512;

/// Runs `text` through the model at `path`, at most `max_tokens` of it in pieces of 512 tokens, and returns the mean squared input of
/// each weight matrix by column, and the mean cosine between each layer's input and output.
///
/// # Errors
/// The model does not load, the text is empty, or decoding fails.
pub fn collect(
    path: &Path,
    text: &str,
    max_tokens: usize,
    threads: u32,
) -> Result<ActivationStats, EngineError> {
    let _backend = LlamaCpp::new();
    let run = RunConfig {
        threads,
        sequences: 1,
        context: PIECE as u32,
        batch_tokens: PIECE as u32,
        ubatch: PIECE as u32,
        max_outputs: 0,
        kv_k: KvType::F16,
        kv_v: KvType::F16,
        flash: FlashAttention::Off,
        repack: false,
        gpu_layers: 0,
        device: Device::Cpu,
    };
    let model = load_model(path, &run)?;
    let mut tokens = model.tokenize(text, true)?;
    if tokens.is_empty() {
        return Err(EngineError::Tokenize(format!("a text of {} bytes gives no tokens", text.len())));
    }
    tokens.truncate(max_tokens.max(1));
    let mut watch = Box::new(Watch::default());
    let context = make_context(&model, &run, &mut watch)?;
    for piece in tokens.chunks(PIECE) {
        decode(&context, piece)?;
        if let Some(detail) = watch.trouble.take() {
            return Err(EngineError::Decode { rows: piece.len(), detail });
        }
        watch.streams.clear();
    }
    drop(context);
    Ok(watch.finish(tokens.len() as u64))
}

fn make_context(model: &Model, run: &RunConfig, watch: &mut Watch) -> Result<Context, EngineError> {
    log::clear();
    // SAFETY: the model outlives the context; `watch` is boxed by the caller and outlives the context, too, which alone calls back
    // (on this thread, inside `llama_decode`).
    let raw = unsafe {
        let mut params = ffi::llama_context_default_params();
        params.n_ctx = run.context;
        params.n_batch = run.batch_tokens;
        params.n_ubatch = run.ubatch;
        params.n_threads = i32::try_from(run.threads).unwrap_or(1);
        params.n_threads_batch = params.n_threads;
        params.flash_attn_type = ffi::LLAMA_FLASH_ATTN_TYPE_DISABLED;
        params.no_perf = true;
        params.cb_eval = Some(on_node);
        params.cb_eval_user_data = std::ptr::from_mut(watch).cast::<c_void>();
        ffi::llama_init_from_model(model.0.as_ptr(), params)
    };
    NonNull::new(raw).map(Context).ok_or_else(|| EngineError::Context {
        sequences: run.sequences,
        context: run.context,
        kv_k: run.kv_k.name(),
        kv_v: run.kv_v.name(),
        detail: log::last(),
    })
}

/// Decodes one piece from an empty cache. All rows ask for logits: otherwise the last layer sees only the rows that do.
fn decode(context: &Context, piece: &[Token]) -> Result<(), EngineError> {
    let n = i32::try_from(piece.len()).unwrap_or(i32::MAX);
    // SAFETY: the batch is allocated for `n` tokens of one sequence, filled within those bounds, used by one call and freed.
    let code = unsafe {
        ffi::llama_memory_clear(ffi::llama_get_memory(context.0.as_ptr()), false);
        let mut batch = ffi::llama_batch_init(n, 0, 1);
        for (i, token) in piece.iter().enumerate() {
            *batch.token.add(i) = *token;
            *batch.pos.add(i) = i as i32;
            *batch.n_seq_id.add(i) = 1;
            **batch.seq_id.add(i) = 0;
            *batch.logits.add(i) = 1;
        }
        batch.n_tokens = n;
        let code = ffi::llama_decode(context.0.as_ptr(), batch);
        ffi::llama_batch_free(batch);
        code
    };
    match code {
        0 => Ok(()),
        code => {
            Err(EngineError::Decode { rows: piece.len(), detail: format!("code {code}: {}", log::last()) })
        }
    }
}

/// What the callback has seen.
#[derive(Default)]
struct Watch {
    /// Sum of squares by column, and rows, by weight name.
    squares: BTreeMap<String, (Vec<f64>, u64)>,
    /// The residual stream before layer 0 (key 0) and after layer `i` (key `i + 1`), of the piece in progress.
    streams: BTreeMap<usize, Vec<f32>>,
    /// Sum of cosines and rows, by layer.
    cosines: BTreeMap<usize, (f64, u64)>,
    /// Sum of squares and elements of the stream behind each layer.
    energies: BTreeMap<usize, (f64, u64)>,
    buffer: Vec<f32>,
    trouble: Option<String>,
}

/// What a node of the graph means to us.
enum Interest {
    /// A product with the weight of this name.
    Product(String),
    /// The residual stream at this place.
    Stream(usize),
}

/// Called by the scheduler for each node: with `ask`, whether we want it; without, with its data. Returning true goes on.
unsafe extern "C" fn on_node(node: *mut ffi::ggml_tensor, ask: bool, data: *mut c_void) -> bool {
    // SAFETY: the library passes a live node; `data` is the `Watch` set in `make_context`, which no one else touches meanwhile.
    let (node, watch) = unsafe { (&*node, &mut *data.cast::<Watch>()) };
    let Some(interest) = interest(node) else { return !ask };
    if !ask && watch.trouble.is_none() {
        watch.see(node, interest);
    }
    true
}

fn name_of(tensor: &ffi::ggml_tensor) -> String {
    // SAFETY: ggml keeps names NUL-terminated inside the fixed array.
    unsafe { CStr::from_ptr(tensor.name.as_ptr()) }.to_string_lossy().into_owned()
}

fn interest(node: &ffi::ggml_tensor) -> Option<Interest> {
    if node.op == ffi::GGML_OP_MUL_MAT {
        // SAFETY: a product has two live sources.
        let weight = unsafe { node.src[0].as_ref() }.map(name_of)?;
        let known = weight.ends_with(".weight");
        return known.then_some(Interest::Product(weight));
    }
    let name = name_of(node);
    match name.strip_prefix("l_out-") {
        Some(layer) => layer.parse().ok().map(|i: usize| Interest::Stream(i + 1)),
        None => (name == "embd").then_some(Interest::Stream(0)),
    }
}

impl Watch {
    fn see(&mut self, node: &ffi::ggml_tensor, interest: Interest) {
        match interest {
            Interest::Product(weight) => {
                // SAFETY: a product has two live sources.
                let Some(input) = (unsafe { node.src[1].as_ref() }) else { return };
                let Some(columns) = self.read(input) else { return };
                let (sums, rows) = self.squares.entry(weight).or_insert_with(|| (vec![0.0; columns], 0));
                for row in self.buffer.chunks_exact(columns) {
                    for (sum, x) in sums.iter_mut().zip(row) {
                        *sum += f64::from(*x) * f64::from(*x);
                    }
                    *rows += 1;
                }
            }
            Interest::Stream(place) => {
                let Some(columns) = self.read(node) else { return };
                if let Some(before) = place.checked_sub(1).and_then(|layer| self.streams.remove(&layer)) {
                    let (sum, rows) = self.cosines.entry(place - 1).or_default();
                    for (a, b) in before.chunks_exact(columns).zip(self.buffer.chunks_exact(columns)) {
                        *sum += cosine(a, b);
                        *rows += 1;
                    }
                }
                if let Some(layer) = place.checked_sub(1) {
                    let (sum, elements) = self.energies.entry(layer).or_default();
                    *sum += self.buffer.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
                    *elements += self.buffer.len() as u64;
                }
                self.streams.insert(place, self.buffer.clone());
            }
        }
    }

    /// Copies a tensor into the buffer (from whatever memory it lives in) and returns its row length.
    fn read(&mut self, tensor: &ffi::ggml_tensor) -> Option<usize> {
        // SAFETY: pure look-ups on a live tensor.
        let (n, contiguous) = unsafe { (ffi::ggml_nelements(tensor), ffi::ggml_is_contiguous(tensor)) };
        if tensor.type_ != ffi::GGML_TYPE_F32 || !contiguous {
            self.trouble = Some(format!("activation `{}` is not plain f32", name_of(tensor)));
            return None;
        }
        let n = usize::try_from(n).ok()?;
        self.buffer.resize(n, 0.0);
        // SAFETY: the tensor is computed and holds `n` floats; the buffer has room for them.
        unsafe { ffi::ggml_backend_tensor_get(tensor, self.buffer.as_mut_ptr().cast::<c_void>(), 0, n * 4) };
        usize::try_from(tensor.ne[0]).ok().filter(|c| *c > 0)
    }

    fn finish(self, tokens: u64) -> ActivationStats {
        let mean = |(sums, rows): (Vec<f64>, u64)| -> Vec<f32> {
            sums.into_iter().map(|s| (s / rows.max(1) as f64) as f32).collect()
        };
        let layers = self.cosines.keys().next_back().map_or(0, |last| last + 1);
        let cosine =
            |i: usize| self.cosines.get(&i).map_or(0.0, |(sum, n)| (sum / (*n).max(1) as f64) as f32);
        ActivationStats {
            tokens,
            mean_square: self.squares.into_iter().map(|(name, s)| (name, mean(s))).collect(),
            layer_cosine: (0..layers).map(cosine).collect(),
            stream_square: (0..layers)
                .map(|i| self.energies.get(&i).map_or(1.0, |(s, n)| (s / (*n).max(1) as f64) as f32))
                .collect(),
        }
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut dot, mut aa, mut bb) = (0.0f64, 0.0f64, 0.0f64);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x), f64::from(*y));
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa > 0.0 && bb > 0.0 { dot / (aa.sqrt() * bb.sqrt()) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_model::synthetic::Shapes;
    use autotune_model::{ArchKind, GgmlType};

    #[test]
    fn more_tokens_than_bytes_are_tokens_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes.gguf");
        Shapes::tiny(ArchKind::Llama).write(&path, GgmlType::F16, 1, None).unwrap();
        let stats = collect(&path, &"a b ".repeat(20), 1000, 1).unwrap();
        assert!(stats.tokens > 80, "{}", stats.tokens);
    }
}
