//! What runs an artifact. The only crate that links llama.cpp; the bindings are its only `unsafe` code.
//!
//! An [`Engine`] loads an artifact for a [`RunConfig`] and gives a [`Session`]: tokens in, logits out, for several sequences at
//! once. Timing, generation and divergence are built on top, once for all engines, in the worker.

mod config;
mod device;
pub mod draw;
mod error;
pub mod exercise;
pub mod finite;
pub mod generate;
#[cfg(feature = "llama")]
pub mod ggml;
mod inspect;
mod kind;
pub mod lab;
#[cfg(feature = "llama")]
pub mod llama;
pub mod mock;
#[cfg(feature = "llama")]
pub mod quantize;
#[cfg(feature = "llama")]
pub mod rates;
mod session;

pub use autotune_core::logits::{Token, argmax, log_sum_exp};
pub use config::{FlashAttention, RunConfig};
pub use device::Device;
pub use error::{EngineError, check_finite};
pub use inspect::Inspection;
pub use kind::{EngineKind, LIBTORCH, OpenEngine, TORCH_WORKER, find_device, torch_worker};
#[cfg(feature = "llama")]
pub use llama::activations;
pub use session::{Engine, EngineBuffer, Row, Session, SessionInfo};
