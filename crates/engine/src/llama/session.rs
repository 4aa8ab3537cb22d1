//! A loaded model with its context.

use std::ffi::{CString, c_char};
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2 as ffi;

use super::log;
use crate::{EngineError, FlashAttention, Row, RunConfig, Session, SessionInfo, Token};
use autotune_core::space::KvType;

/// Owns a model; freed when dropped.
pub(super) struct Model(pub(super) NonNull<ffi::llama_model>);

impl Model {
    /// The vocabulary, which lives as long as the model.
    pub(super) fn vocab(&self) -> *const ffi::llama_vocab {
        // SAFETY: the model is live.
        unsafe { ffi::llama_model_get_vocab(self.0.as_ptr()) }
    }

    /// The tokens of a text, which is taken literally; `begin` puts the token of beginning first where the model has one.
    pub(super) fn tokenize(&self, text: &str, begin: bool) -> Result<Vec<Token>, EngineError> {
        let length = i32::try_from(text.len())
            .map_err(|_| EngineError::Tokenize(format!("a text of {} bytes is too long", text.len())))?;
        let mut tokens: Vec<Token> = vec![0; text.len() + 8];
        for _ in 0..2 {
            let room = i32::try_from(tokens.len()).unwrap_or(i32::MAX);
            // SAFETY: the text has `length` bytes and the buffer has room for `room` tokens.
            let n = unsafe {
                ffi::llama_tokenize(
                    self.vocab(),
                    text.as_ptr().cast::<c_char>(),
                    length,
                    tokens.as_mut_ptr(),
                    room,
                    begin,
                    false,
                )
            };
            if let Ok(n) = usize::try_from(n) {
                tokens.truncate(n);
                return Ok(tokens);
            }
            // A negative count is the room that it needs: a tokenizer of bytes makes three tokens of a space.
            tokens.resize(n.unsigned_abs() as usize, 0);
        }
        Err(EngineError::Tokenize(format!("the library refused a text of {} bytes", text.len())))
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the loader and is freed only here.
        unsafe { ffi::llama_model_free(self.0.as_ptr()) };
    }
}

/// Owns a context; freed when dropped, always before its model.
pub(super) struct Context(pub(super) NonNull<ffi::llama_context>);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `llama_init_from_model` and is freed only here.
        unsafe { ffi::llama_free(self.0.as_ptr()) };
    }
}

/// Owns a batch of fixed capacity; freed when dropped.
struct Batch {
    raw: ffi::llama_batch,
    capacity: usize,
}

impl Batch {
    fn new(capacity: u32) -> Self {
        let tokens = i32::try_from(capacity).unwrap_or(i32::MAX);
        // SAFETY: allocates arrays of `tokens` entries with one sequence id each.
        let raw = unsafe { ffi::llama_batch_init(tokens, 0, 1) };
        Self { raw, capacity: tokens as usize }
    }

    fn fill(&mut self, rows: &[Row]) {
        debug_assert!(rows.len() <= self.capacity);
        for (i, row) in rows.iter().enumerate().take(self.capacity) {
            // SAFETY: `i` is below the capacity that every array was allocated with, and each `seq_id[i]` has room for one id.
            unsafe {
                *self.raw.token.add(i) = row.token;
                *self.raw.pos.add(i) = row.position as i32;
                *self.raw.n_seq_id.add(i) = 1;
                **self.raw.seq_id.add(i) = row.sequence as i32;
                *self.raw.logits.add(i) = i8::from(row.logits);
            }
        }
        self.raw.n_tokens = rows.len().min(self.capacity) as i32;
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: the batch came from `llama_batch_init` and is freed only here.
        unsafe { ffi::llama_batch_free(self.raw) };
    }
}

/// A loaded artifact. Fields drop in order: the context before the model.
pub struct LlamaSession {
    context: Context,
    model: Model,
    vocab: NonNull<ffi::llama_vocab>,
    batch: Batch,
    sequences: u32,
    max_outputs: usize,
    wanted: Vec<bool>,
    info: SessionInfo,
}

fn ggml_type(kv: KvType) -> ffi::ggml_type {
    match kv {
        KvType::F32 => ffi::GGML_TYPE_F32,
        KvType::F16 => ffi::GGML_TYPE_F16,
        KvType::Bf16 => ffi::GGML_TYPE_BF16,
        KvType::Q8_0 => ffi::GGML_TYPE_Q8_0,
        KvType::Q4_0 => ffi::GGML_TYPE_Q4_0,
    }
}

impl LlamaSession {
    /// Loads a GGUF (memory-mapped) and makes a context with one KV stream per sequence.
    pub fn load(artifact: &Path, run: &RunConfig) -> Result<Self, EngineError> {
        log::clear_buffers();
        let model = load_model(artifact, run)?;
        let context = make_context(&model, run)?;
        let vocab = NonNull::new(model.vocab().cast_mut()).ok_or_else(|| EngineError::Load {
            path: artifact.display().to_string(),
            detail: "it has no vocabulary".to_owned(),
        })?;
        // SAFETY: plain getters on live objects.
        let info = unsafe {
            SessionInfo {
                vocabulary: usize::try_from(ffi::llama_vocab_n_tokens(vocab.as_ptr())).unwrap_or(0),
                parameters: ffi::llama_model_n_params(model.0.as_ptr()),
                weight_bytes: ffi::llama_model_size(model.0.as_ptr()),
                trained_context: u32::try_from(ffi::llama_model_n_ctx_train(model.0.as_ptr())).unwrap_or(0),
                context: ffi::llama_n_ctx_seq(context.0.as_ptr()),
                buffers: log::buffers(),
            }
        };
        let batch = Batch::new(run.batch_tokens.max(1));
        let max_outputs = match run.max_outputs {
            0 => usize::MAX,
            most => most as usize,
        };
        let sequences = run.sequences;
        Ok(Self { context, model, vocab, batch, sequences, max_outputs, wanted: Vec::new(), info })
    }
}

/// Loads a model's weights, mapped where they stay in this process.
pub(super) fn load_model(artifact: &Path, run: &RunConfig) -> Result<Model, EngineError> {
    load_with(artifact, |params| {
        params.n_gpu_layers = i32::try_from(run.gpu_layers).unwrap_or(i32::MAX);
        // What goes to a device would stay mapped here, too.
        params.load_mode =
            if run.gpu_layers > 0 { ffi::LLAMA_LOAD_MODE_NONE } else { ffi::LLAMA_LOAD_MODE_MMAP };
        params.use_extra_bufts = run.repack;
    })
}

/// Loads a model with the library's default parameters as `set` changes them.
pub(super) fn load_with(
    artifact: &Path,
    set: impl FnOnce(&mut ffi::llama_model_params),
) -> Result<Model, EngineError> {
    let fail = |detail: String| EngineError::Load { path: artifact.display().to_string(), detail };
    let path = CString::new(artifact.as_os_str().as_encoded_bytes())
        .map_err(|_| fail("its path holds a NUL byte".to_owned()))?;
    log::clear();
    // SAFETY: default parameters are plain data; no pointer in them outlives the call; the path is NUL-terminated.
    let raw = unsafe {
        let mut params = ffi::llama_model_default_params();
        set(&mut params);
        ffi::llama_model_load_from_file(path.as_ptr(), params)
    };
    NonNull::new(raw).map(Model).ok_or_else(|| fail(log::reason()))
}

pub(super) fn make_context(model: &Model, run: &RunConfig) -> Result<Context, EngineError> {
    log::clear();
    // SAFETY: the model is loaded and outlives the context (field order of the session); no pointers are set in the parameters.
    let raw = unsafe {
        let mut params = ffi::llama_context_default_params();
        params.n_ctx = run.context.saturating_mul(run.sequences);
        params.n_batch = run.batch_tokens;
        params.n_ubatch = run.ubatch.min(run.batch_tokens);
        params.n_seq_max = run.sequences;
        params.n_outputs_max = run.max_outputs;
        let threads = i32::try_from(run.threads).unwrap_or(i32::MAX);
        params.n_threads = threads;
        params.n_threads_batch = threads;
        params.type_k = ggml_type(run.kv_k);
        params.type_v = ggml_type(run.kv_v);
        params.flash_attn_type = match run.flash {
            FlashAttention::Auto => ffi::LLAMA_FLASH_ATTN_TYPE_AUTO,
            FlashAttention::On => ffi::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            FlashAttention::Off => ffi::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        };
        params.kv_unified = false;
        params.offload_kqv = run.gpu_layers > 0;
        params.op_offload = run.gpu_layers > 0;
        params.no_perf = true;
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

impl LlamaSession {
    /// Tokens of a sequence in the KV cache.
    fn length(&self, sequence: u32) -> u32 {
        // SAFETY: the memory belongs to the live context; the caller has checked the sequence. Minus one means empty.
        let last = unsafe {
            let memory = ffi::llama_get_memory(self.context.0.as_ptr());
            ffi::llama_memory_seq_pos_max(memory, sequence as i32)
        };
        u32::try_from(last.saturating_add(1)).unwrap_or(0)
    }
}

impl Session for LlamaSession {
    fn info(&self) -> &SessionInfo {
        &self.info
    }

    fn tokenize(&self, text: &str, begin: bool) -> Result<Vec<Token>, EngineError> {
        self.model.tokenize(text, begin)
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        // The library throws through us where the token is none.
        if usize::try_from(token).map_or(true, |t| t >= self.info.vocabulary) {
            return Vec::new();
        }
        let mut buffer = vec![0u8; 64];
        for _ in 0..2 {
            let room = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
            // SAFETY: the buffer has `room` bytes; the token is one of the vocabulary.
            let n = unsafe {
                ffi::llama_token_to_piece(
                    self.vocab.as_ptr(),
                    token,
                    buffer.as_mut_ptr().cast::<c_char>(),
                    room,
                    0,
                    false,
                )
            };
            if let Ok(n) = usize::try_from(n) {
                buffer.truncate(n);
                return buffer;
            }
            buffer.resize(n.unsigned_abs() as usize, 0);
        }
        Vec::new()
    }

    fn is_end(&self, token: Token) -> bool {
        // SAFETY: a plain look-up in the vocabulary.
        unsafe { ffi::llama_vocab_is_eog(self.vocab.as_ptr(), token) }
    }

    fn decode(&mut self, rows: &[Row]) -> Result<(), EngineError> {
        let fail = |detail: String| EngineError::Decode { rows: rows.len(), detail };
        // What an earlier call computed is not to be taken for this one's, should this one fail.
        self.wanted.clear();
        let outputs = rows.iter().filter(|r| r.logits).count();
        if rows.is_empty() {
            return Err(fail("there are no rows".to_owned()));
        }
        if outputs > self.max_outputs {
            return Err(fail(format!("{outputs} rows request logits, at most {} may", self.max_outputs)));
        }
        if rows.len() > self.batch.capacity {
            return Err(fail(format!("a call takes at most {}", self.batch.capacity)));
        }
        let vocabulary = self.info.vocabulary as i64;
        let mut next: Vec<Option<u32>> = vec![None; self.sequences as usize];
        for row in rows {
            if row.sequence >= self.sequences {
                return Err(fail(format!("sequence {} of {}", row.sequence, self.sequences)));
            }
            if row.position >= self.info.context {
                return Err(fail(format!("position {} in a context of {}", row.position, self.info.context)));
            }
            if i64::from(row.token) >= vocabulary || row.token < 0 {
                return Err(fail(format!("token {} of a vocabulary of {vocabulary}", row.token)));
            }
            // The library takes any first position of an empty sequence.
            let due = next[row.sequence as usize].unwrap_or_else(|| self.length(row.sequence));
            if row.position != due {
                return Err(fail(format!("position {} after {due} tokens", row.position)));
            }
            next[row.sequence as usize] = Some(due + 1);
        }
        self.batch.fill(rows);
        log::clear();
        // SAFETY: the context is live and the batch holds `n_tokens` filled entries.
        let code = unsafe { ffi::llama_decode(self.context.0.as_ptr(), self.batch.raw) };
        match code {
            0 => {
                self.wanted = rows.iter().map(|r| r.logits).collect();
                Ok(())
            }
            1 => Err(fail("the KV cache is full".to_owned())),
            code => Err(fail(format!("code {code}: {}", log::last()))),
        }
    }

    fn logits(&mut self, index: usize) -> Result<&[f32], EngineError> {
        if self.wanted.get(index) != Some(&true) {
            return Err(EngineError::Misuse(format!("row {index} did not request logits")));
        }
        let row = i32::try_from(index).unwrap_or(i32::MAX);
        // SAFETY: the row asked for logits, so the library holds one float per vocabulary entry for it, valid until the next
        // decode call, which needs `&mut self` as well.
        unsafe {
            let pointer = ffi::llama_get_logits_ith(self.context.0.as_ptr(), row);
            if pointer.is_null() {
                return Err(EngineError::Misuse(format!("the library has no logits for row {index}")));
            }
            Ok(std::slice::from_raw_parts(pointer, self.info.vocabulary))
        }
    }

    fn forget(&mut self, sequence: Option<u32>) {
        // SAFETY: the memory belongs to the live context; a sequence of -1 never occurs here.
        unsafe {
            let memory = ffi::llama_get_memory(self.context.0.as_ptr());
            match sequence {
                // The library ends the process where the sequence is none.
                Some(s) if s >= self.sequences => {}
                Some(s) => {
                    ffi::llama_memory_seq_rm(memory, s as i32, -1, -1);
                }
                None => ffi::llama_memory_clear(memory, false),
            }
        }
    }

    fn truncate(&mut self, sequence: u32, length: u32) -> Result<(), EngineError> {
        if sequence >= self.sequences {
            return Err(EngineError::Misuse(format!("sequence {sequence} of {}", self.sequences)));
        }
        let from = i32::try_from(length).unwrap_or(i32::MAX);
        // SAFETY: the memory belongs to the live context, and the sequence is one of it.
        let cut = unsafe {
            let memory = ffi::llama_get_memory(self.context.0.as_ptr());
            ffi::llama_memory_seq_rm(memory, sequence as i32, from, -1)
        };
        if cut {
            Ok(())
        } else {
            Err(EngineError::Misuse(format!("this model cannot drop tokens from position {length} on")))
        }
    }

    fn copy(&mut self, from: u32, to: u32) -> Result<(), EngineError> {
        if from >= self.sequences || to >= self.sequences {
            return Err(EngineError::Misuse(format!("sequence {from} or {to} of {}", self.sequences)));
        }
        if from != to {
            // SAFETY: as in `truncate`; separate streams can only be copied whole, which these bounds ask for.
            unsafe {
                let memory = ffi::llama_get_memory(self.context.0.as_ptr());
                ffi::llama_memory_seq_rm(memory, to as i32, -1, -1);
                ffi::llama_memory_seq_cp(memory, from as i32, to as i32, -1, -1);
            }
        }
        Ok(())
    }
}

// The model is only read through the context; keep the compiler from calling the field unused.
impl std::fmt::Debug for LlamaSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LlamaSession").field("model", &self.model.0).field("info", &self.info).finish()
    }
}
