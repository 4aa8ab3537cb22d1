//! Completions in, scores out: tasks and their tests, Pass@k, the sandbox in which model-written code runs. Knows no engine.

pub mod extract;
pub mod passk;
pub mod sandbox;
pub mod tasks;
