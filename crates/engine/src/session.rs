//! The two traits of an engine: one loads artifacts, the other runs a loaded one.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{EngineError, Inspection, RunConfig, Token};
use autotune_core::space::KvType;

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
    /// There is no such row, it did not request logits, or the call failed.
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
