//! What runs an artifact. The only room that links an inference library, and (with the sandbox) the only one with `unsafe`.
//!
//! An [`Engine`] loads an artifact for a [`RunConfig`] and gives a [`Session`]: tokens in, logits out, for several sequences at
//! once. Timing, generation and divergence are built on top, once for all engines, in `measure` and `quality`.

pub mod draw;
pub mod exercise;
pub mod finite;
pub mod generate;
#[cfg(feature = "llama")]
pub mod ggml;
mod inspect;
pub mod lab;
#[cfg(feature = "llama")]
pub mod llama;
pub mod mock;
#[cfg(feature = "llama")]
pub mod quantize;
#[cfg(feature = "llama")]
pub mod rates;

pub use autotune_core::logits::{Token, argmax, log_sum_exp};
pub use inspect::Inspection;
#[cfg(feature = "llama")]
pub use llama::activations;

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use autotune_core::space::KvType;

/// Which engine to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineKind {
    /// The embedded llama.cpp.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// libtorch; its worker is a program of its own.
    #[serde(rename = "torch")]
    Torch,
    /// Deterministic and scripted, for tests.
    #[serde(rename = "mock")]
    Mock,
}

/// The name of the program that runs the torch engine; it lies beside `autotune`.
pub const TORCH_WORKER: &str = "autotune-torch";

/// Opens engines: [`EngineKind::open`], or what knows one more.
pub type OpenEngine = fn(EngineKind) -> Result<Box<dyn Engine>, EngineError>;

impl EngineKind {
    /// The name that the command line and the store use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::LlamaCpp => "llama.cpp",
            EngineKind::Torch => "torch",
            EngineKind::Mock => "mock",
        }
    }

    /// The engine itself. Torch is not opened here, since whoever refers to it loads libtorch: see [`TORCH_WORKER`].
    ///
    /// # Errors
    /// The engine was not compiled in, or not into this program.
    pub fn open(self) -> Result<Box<dyn Engine>, EngineError> {
        match self {
            #[cfg(feature = "llama")]
            EngineKind::LlamaCpp => Ok(Box::new(llama::LlamaCpp::new())),
            #[cfg(not(feature = "llama"))]
            EngineKind::LlamaCpp => Err(EngineError::NotCompiled { engine: "llama.cpp", feature: "llama" }),
            EngineKind::Torch => Err(EngineError::Elsewhere),
            EngineKind::Mock => Ok(Box::new(mock::Mock)),
        }
    }
}

/// What the torch engine is built for, as its version tells it.
pub const LIBTORCH: &str = "libtorch 2.11";

impl EngineKind {
    /// The library's version and what it was built for, without loading it where it is another program's.
    ///
    /// # Errors
    /// The engine was not compiled in, or its program is not beside this one.
    pub fn version(self) -> Result<String, EngineError> {
        if self != EngineKind::Torch {
            return self.open().map(|engine| engine.version());
        }
        let here = std::env::current_exe().unwrap_or_default();
        match torch_worker(&here) {
            worker if worker.is_file() => Ok(LIBTORCH.to_owned()),
            worker => Err(EngineError::NoWorker { path: worker.display().to_string() }),
        }
    }
}

/// The torch engine's program, which lies beside `program`.
#[must_use]
pub fn torch_worker(program: &Path) -> std::path::PathBuf {
    program.with_file_name(format!("{TORCH_WORKER}{}", std::env::consts::EXE_SUFFIX))
}

/// Whether the torch engine finds a device; its program is asked.
///
/// # Errors
/// Why it does not, in words for the user.
pub fn find_device(device: Device) -> Result<(), String> {
    if device == Device::Cpu {
        return Ok(());
    }
    EngineKind::Torch.version().map_err(|e| e.to_string())?;
    let worker = torch_worker(&std::env::current_exe().map_err(|e| e.to_string())?);
    let asked = std::process::Command::new(worker).args(["device", &device.to_string()]).output();
    match asked.map_err(|e| e.to_string())? {
        found if found.status.success() => Ok(()),
        missing => Err(String::from_utf8_lossy(&missing.stderr).trim().to_owned()),
    }
}

/// Where an engine computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// A CUDA GPU, by its number.
    Cuda(u32),
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu => f.pad("cpu"),
            Device::Cuda(n) => f.pad(&format!("cuda:{n}")),
        }
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            other => other
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Device::Cuda)
                .ok_or_else(|| format!("`{other}` is no device; write cpu or cuda:0")),
        }
    }
}

/// How attention is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlashAttention {
    /// The engine decides.
    Auto,
    /// Always; needed when V is quantized.
    On,
    /// Never: results do not depend on what else is in the batch.
    Off,
}

/// How an artifact is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Compute threads.
    pub threads: u32,
    /// Sequences that can be in flight together.
    pub sequences: u32,
    /// Context of each sequence, in tokens.
    pub context: u32,
    /// Tokens handed to one decode call, at most.
    pub batch_tokens: u32,
    /// Tokens computed at once inside it.
    pub ubatch: u32,
    /// Rows of one decode call whose logits may be asked for; 0: all.
    pub max_outputs: u32,
    /// Type of the K cache.
    pub kv_k: KvType,
    /// Type of the V cache.
    pub kv_v: KvType,
    /// Attention kernel.
    pub flash: FlashAttention,
    /// Whether weights may be repacked for the CPU.
    pub repack: bool,
    /// Layers on the GPU; 0: none.
    pub gpu_layers: u32,
    /// Where the torch engine computes.
    #[serde(default)]
    pub device: Device,
}

impl RunConfig {
    /// The smallest run: one short sequence on one thread, an F16 cache, nothing repacked.
    #[must_use]
    pub fn least() -> Self {
        Self {
            threads: 1,
            sequences: 1,
            context: 256,
            batch_tokens: 32,
            ubatch: 32,
            max_outputs: 0,
            kv_k: KvType::F16,
            kv_v: KvType::F16,
            flash: FlashAttention::Off,
            repack: false,
            gpu_layers: 0,
            device: Device::Cpu,
        }
    }
}

/// One token to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The token.
    pub token: Token,
    /// Its position in its sequence, from 0.
    pub position: u32,
    /// The sequence, below [`RunConfig::sequences`].
    pub sequence: u32,
    /// Whether its logits are wanted.
    pub logits: bool,
}

/// Why an engine failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A build without this engine.
    #[error("this build has no {engine} engine; build with `--features {feature}`")]
    NotCompiled {
        /// The engine asked for.
        engine: &'static str,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The torch engine was asked of a program that does not hold it.
    #[error("the torch engine runs in {TORCH_WORKER} only")]
    Elsewhere,
    /// The torch engine's program is not where it belongs.
    #[error(
        "the torch engine's program is missing ({path}); `cargo build --release -p autotune-torch` makes it, and it belongs beside autotune"
    )]
    NoWorker {
        /// Where it would be.
        path: String,
    },
    /// The artifact does not load.
    #[error("failed to load {path}: {detail}")]
    Load {
        /// The artifact.
        path: String,
        /// The library's last words.
        detail: String,
    },
    /// No context for these settings.
    #[error("failed to create a context of {sequences} x {context} tokens (K {kv_k}, V {kv_v}): {detail}")]
    Context {
        /// Sequences asked for.
        sequences: u32,
        /// Tokens of each.
        context: u32,
        /// K type.
        kv_k: &'static str,
        /// V type.
        kv_v: &'static str,
        /// The library's last words.
        detail: String,
    },
    /// A decode call failed.
    #[error("failed to decode {rows} tokens: {detail}")]
    Decode {
        /// Rows in the call.
        rows: usize,
        /// What the library returned.
        detail: String,
    },
    /// A text or token that cannot be converted.
    #[error("failed to tokenize: {0}")]
    Tokenize(String),
    /// Logits that are NaN or infinite.
    #[error("{}the logits {place} hold {} (token {token} of the vocabulary)", finite::NOT_A_NUMBER, finite::word(f64::from(*value)))]
    NotFinite {
        /// Of what: "at position 7 of window 2".
        place: String,
        /// The first entry that is none.
        token: Token,
        /// Its value.
        value: f32,
    },
    /// A request that the session was not made for.
    #[error("{0}")]
    Misuse(String),
}

/// Refuses logits that are NaN or infinite; `place` follows "the logits".
///
/// # Errors
/// [`EngineError::NotFinite`].
pub fn check_finite(logits: &[f32], place: impl FnOnce() -> String) -> Result<(), EngineError> {
    match finite::first_in(logits) {
        None => Ok(()),
        Some((token, value)) => Err(EngineError::NotFinite { place: place(), token, value }),
    }
}

/// What an engine says of a loaded artifact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Vocabulary size, in tokens.
    pub vocabulary: usize,
    /// Parameters.
    pub parameters: u64,
    /// Size of the weights, in bytes.
    pub weight_bytes: u64,
    /// Longest context the model was trained for, in tokens.
    pub trained_context: u32,
    /// Usable context of each sequence, in tokens.
    pub context: u32,
    /// The engine's own account of its memory; empty where it gives none.
    #[serde(default)]
    pub buffers: Vec<EngineBuffer>,
}

/// A piece of memory that an engine says to have taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineBuffer {
    /// What for: `model`, `kv`, `compute`, `output`.
    pub what: String,
    /// Where, in the engine's words: `CPU`, `CPU_Mapped` (pages of the file), `CPU_REPACK`, `CUDA0`.
    pub place: String,
    /// Bytes.
    pub bytes: u64,
}

impl SessionInfo {
    /// Bytes that the engine says to have taken for something; none where it does not say.
    #[must_use]
    pub fn bytes_of(&self, what: &str) -> Option<u64> {
        let mut found = self.buffers.iter().filter(|b| b.what == what).map(|b| b.bytes).peekable();
        found.peek().is_some().then(|| found.sum())
    }
}

/// Loads artifacts.
pub trait Engine {
    /// The engine's name.
    fn name(&self) -> &'static str;

    /// The library's version and what it was built for.
    fn version(&self) -> String;

    /// Whether there is a device that layers can be put on.
    fn offloads(&self) -> bool {
        false
    }

    /// Loads an artifact and makes it ready to decode.
    ///
    /// # Errors
    /// The file does not load, or no context can be made for the settings.
    fn load(&self, artifact: &Path, run: &RunConfig) -> Result<Box<dyn Session>, EngineError>;

    /// Reads a model file as [`Engine::load`] would, without its weights where the library can: vocabulary, tensors and shapes.
    /// `caches`: also finds out which cache types the library refuses for it.
    ///
    /// # Errors
    /// The file does not load. Native code may end the process instead, so that this is called in a worker.
    fn inspect(&self, artifact: &Path, caches: bool) -> Result<Inspection, EngineError> {
        let _ = caches;
        // Floats of 32 bits are what every engine has a cache of.
        let run = RunConfig { kv_k: KvType::F32, kv_v: KvType::F32, ..RunConfig::least() };
        let session = self.load(artifact, &run)?;
        Ok(Inspection { vocabulary: session.info().vocabulary, ..Inspection::default() })
    }
}

/// A loaded artifact with its KV cache.
pub trait Session {
    /// What was loaded.
    fn info(&self) -> &SessionInfo;

    /// Text to tokens, with the model's own begin token where it has one and `begin` asks for it.
    ///
    /// # Errors
    /// The library refuses the text.
    fn tokenize(&self, text: &str, begin: bool) -> Result<Vec<Token>, EngineError>;

    /// The bytes of a token; a character may span several tokens. None for what is no token.
    fn piece(&self, token: Token) -> Vec<u8>;

    /// Whether a token ends the generation.
    fn is_end(&self, token: Token) -> bool;

    /// Decodes rows, appending to the KV cache.
    ///
    /// # Errors
    /// No rows or too many, more logits asked for than [`RunConfig::max_outputs`], a token, sequence or position that is none, a
    /// position that does not follow, or a failure of the library. Nothing of such a call is kept.
    fn decode(&mut self, rows: &[Row]) -> Result<(), EngineError>;

    /// The logits of row `index` of the last decode call (one that asked for them): one per vocabulary entry.
    ///
    /// # Errors
    /// There is no such row, it did not ask for logits, or the call failed.
    fn logits(&mut self, index: usize) -> Result<&[f32], EngineError>;

    /// Forgets one sequence, or all. One that does not exist has nothing to forget.
    fn forget(&mut self, sequence: Option<u32>);

    /// Forgets what a sequence holds from position `length` on, so that it can go on differently from there.
    ///
    /// # Errors
    /// There is no such sequence, or the model's memory cannot be cut (a recurrent state keeps no past).
    fn truncate(&mut self, sequence: u32, length: u32) -> Result<(), EngineError>;

    /// Makes sequence `to` hold what `from` holds, without computing anything again.
    ///
    /// # Errors
    /// One of them is none.
    fn copy(&mut self, from: u32, to: u32) -> Result<(), EngineError>;

    /// The clock that timings are taken with: real time, unless the engine is scripted.
    fn now(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    /// Peak memory that a scripted engine pretends to use, in bytes; none for real engines, whose memory is measured.
    fn scripted_peak_bytes(&self) -> Option<u64> {
        None
    }

    /// Energy that a scripted engine pretends to have used, in joules; none for real engines, and where it is not measurable.
    fn scripted_joules(&self) -> Option<f64> {
        None
    }
}
