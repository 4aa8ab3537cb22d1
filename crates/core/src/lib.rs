//! What every crate of autotune stands on: units, statistics, the declared search space, and the calls into the operating system.

pub mod atomic_file;
pub mod carried;
pub mod duration;
pub mod hex;
pub mod linalg;
pub mod logits;
pub mod metric;
pub mod os;
pub mod shell;
pub mod space;
pub mod stats;
pub mod units;
