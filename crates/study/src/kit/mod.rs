//! What a study needs of a model, whatever its format: facts, exact sizes, and the jobs that build from it.

mod gguf;
mod mock;
mod torch;

use std::path::{Path, PathBuf};

use crate::predict::Shape;
use crate::presets;
use autotune_core::space::{Config, ModelFacts, WeightPlan};
use autotune_engine::EngineKind;
use autotune_model::GgmlType;
use autotune_worker::protocol::{BuildRequest, ImportanceSource, Job};
use autotune_worker::rates::RatesRequest;

/// Bits a weight that are few, scales included: four-bit types have up to five.
const LOW_BITS: f64 = 5.0;

/// Files that were made once for all trials of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Materials {
    /// The uncompressed model.
    pub reference: PathBuf,
    /// Activation statistics; none when nothing needs them.
    pub stats: Option<PathBuf>,
    /// Importance measure for pruning.
    pub importance: ImportanceSource,
    /// Whether candidates have their channels scaled before weights are rounded.
    pub scale: bool,
    /// Folder of tensors quantized before.
    pub tensors: PathBuf,
    /// Threads that build.
    pub threads: u32,
}

/// A model as the study sees it.
pub trait Kit {
    /// The engine that runs its artifacts.
    fn engine(&self) -> EngineKind;

    /// Shape, for the space.
    fn facts(&self) -> ModelFacts;

    /// Hash of the content, hexadecimal: of samples of it, until [`Kit::set_hash`] brings that of the whole.
    fn hash(&self) -> &str;

    /// Sets the hash of the whole content, by which what is made from the model is named from then on.
    fn set_hash(&mut self, hash: String);

    /// One line for people: architecture, parameters, size.
    fn describe(&self) -> String;

    /// The type that the file is already quantized to, when it is: then it is a preset of its own, and the reference is made from it.
    fn shipped_quantized(&self) -> Option<String>;

    /// Warnings about the file, in addition to its description.
    fn remark(&self) -> Option<String> {
        None
    }

    /// Exact sizes of a candidate, without reading weights.
    ///
    /// # Errors
    /// A type or a preset that is not known.
    fn shape(&self, config: &Config) -> anyhow::Result<Shape>;

    /// Whose kernels must be timed to predict latency; none where the engine has no kernels.
    fn rates_request(&self, threads: u32) -> Option<RatesRequest> {
        let _ = threads;
        None
    }

    /// The job that makes the uncompressed reference at `out`; none when the file itself is the reference.
    fn reference_job(&self, out: &Path, seed: u64) -> Option<Job>;

    /// Whether building needs activation statistics.
    fn wants_activations(&self) -> bool;

    /// The request that builds a candidate at `out`.
    fn build_request(&self, config: &Config, materials: &Materials, out: &Path) -> BuildRequest;

    /// The baselines that people use with this engine, the most used first.
    fn presets(&self) -> &'static [&'static str] {
        &presets::NAMES
    }

    /// Whether the engine has a weight type of this name.
    fn has_type(&self, name: &str) -> bool {
        name.parse::<GgmlType>().is_ok_and(GgmlType::is_target)
    }

    /// Whether a weight type is of use on a GPU only.
    fn is_for_gpu(&self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// Whether a weight type has so few bits that training mends what they cost.
    fn is_low(&self, name: &str) -> bool {
        name.parse::<GgmlType>().is_ok_and(|ty| ty.is_quantized() && ty.bits() <= LOW_BITS)
    }

    /// Whether a weight type rounds weights to steps.
    fn is_rounded(&self, name: &str) -> bool {
        name.parse::<GgmlType>().is_ok_and(GgmlType::is_quantized)
    }

    /// Whether a candidate of our own (not a preset, which stays as people use it) has weights that are rounded.
    fn has_rounded(&self, config: &Config) -> bool {
        matches!(&config.weights, WeightPlan::PerGroup(slots) if slots.iter().any(|(_, ty)| self.is_rounded(ty)))
    }

    /// Whether the engine has cache types that are stored in blocks.
    fn has_block_caches(&self) -> bool {
        true
    }

    /// The weight type that leaves weights as they are, or nearly so.
    fn float_type(&self) -> &'static str {
        "F16"
    }

    /// File name extension of an artifact.
    fn extension(&self) -> &'static str;
}

/// Opens a model file for an engine.
///
/// # Errors
/// The file cannot be read, or is not what the engine runs.
pub fn open(engine: EngineKind, path: &Path) -> anyhow::Result<Box<dyn Kit>> {
    match engine {
        EngineKind::Mock => Ok(Box::new(mock::MockKit::open(path)?)),
        EngineKind::LlamaCpp => Ok(Box::new(gguf::GgufKit::open(path)?)),
        EngineKind::Torch => Ok(Box::new(torch::TorchKit::open(path)?)),
    }
}
