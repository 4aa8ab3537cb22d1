//! The exported bundle: the artifact under its full name, its measurements, and the commands that run it.
//!
//! [`stamp()`] copies a GGUF with the study's facts in its metadata (tensor data untouched, so the logits are those that were measured);
//! [`Package`] writes the folder of `autotune export --to`: model, `README.md`, `Modelfile`, `trial.json`, `SHA256SUMS`. Reads reports and
//! models, knows no live study.

mod checksum;
mod facts;
mod integrity;
mod modelfile;
mod package;
mod readme;
mod stamp;
pub mod torchscript;

pub use checksum::{SUMS_FILE, SumError, check_sums};
pub use facts::Facts;
pub use integrity::{TENSORS_SHA256, damaged_tensors, tensors_sha256};
pub use package::{Package, PackageError, PackageFiles, write_model};
pub use stamp::{SourceFacts, stamp, stamped};
