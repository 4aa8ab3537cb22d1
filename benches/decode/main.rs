//! Decode speed through our engine against the bindings' plain loop, side by side in one run.
//!
//! `cargo bench --bench decode -- ARTIFACT.gguf [THREADS]`: for each of 9 rounds both decode the same number of tokens after the same
//! prompt, in alternating order, each in a context of its own; printed are the medians and the ratio of each round.
#![allow(unsafe_code, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::ffi::CString;
use std::path::Path;
use std::time::Instant;

use autotune_core::logits::argmax;
use autotune_core::space::KvType;
use autotune_core::stats::quantile_interval;
use autotune_engine::{Device, EngineKind, FlashAttention, Row, RunConfig, Session};
use llama_cpp_sys_2 as ffi;

const PROMPT: i32 = 64;
const STEPS: u32 = 128;
const ROUNDS: usize = 9;
const CONTEXT: u32 = 256;

fn ours(session: &mut dyn Session) -> f64 {
    session.forget(None);
    let rows: Vec<Row> = (0..PROMPT)
        .map(|i| Row { token: 100 + i, position: i as u32, sequence: 0, logits: i + 1 == PROMPT })
        .collect();
    session.decode(&rows).unwrap();
    let mut token = argmax(session.logits(rows.len() - 1).unwrap());
    let start = Instant::now();
    for step in 0..STEPS {
        let position = PROMPT as u32 + step;
        session.decode(&[Row { token, position, sequence: 0, logits: true }]).unwrap();
        token = argmax(session.logits(0).unwrap());
    }
    f64::from(STEPS) / start.elapsed().as_secs_f64()
}

/// What any user of the bindings writes first.
struct Plain {
    model: *mut ffi::llama_model,
    context: *mut ffi::llama_context,
    sampler: *mut ffi::llama_sampler,
}

impl Plain {
    fn load(path: &Path, threads: i32) -> Self {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: default parameters with plain fields set; the path is NUL-terminated; results are checked for null.
        unsafe {
            let model = ffi::llama_model_load_from_file(path.as_ptr(), ffi::llama_model_default_params());
            assert!(!model.is_null());
            let mut params = ffi::llama_context_default_params();
            params.n_ctx = CONTEXT;
            params.n_threads = threads;
            params.n_threads_batch = threads;
            let context = ffi::llama_init_from_model(model, params);
            assert!(!context.is_null());
            Self { model, context, sampler: ffi::llama_sampler_init_greedy() }
        }
    }

    fn run(&mut self) -> f64 {
        // SAFETY: all pointers are live; `llama_batch_get_one` borrows the tokens for the call that follows.
        unsafe {
            ffi::llama_memory_clear(ffi::llama_get_memory(self.context), false);
            let mut prompt: Vec<i32> = (100..100 + PROMPT).collect();
            assert_eq!(
                ffi::llama_decode(self.context, ffi::llama_batch_get_one(prompt.as_mut_ptr(), PROMPT)),
                0
            );
            let mut token = ffi::llama_sampler_sample(self.sampler, self.context, -1);
            let start = Instant::now();
            for _ in 0..STEPS {
                assert_eq!(ffi::llama_decode(self.context, ffi::llama_batch_get_one(&mut token, 1)), 0);
                token = ffi::llama_sampler_sample(self.sampler, self.context, -1);
            }
            f64::from(STEPS) / start.elapsed().as_secs_f64()
        }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // SAFETY: each pointer came from the library and is freed once, the context before its model.
        unsafe {
            ffi::llama_sampler_free(self.sampler);
            ffi::llama_free(self.context);
            ffi::llama_model_free(self.model);
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let Some(path) = arguments.first() else {
        println!("usage: cargo bench --bench decode -- ARTIFACT.gguf [THREADS]");
        return;
    };
    let threads: u32 = arguments.get(1).map_or(2, |t| t.parse().unwrap());
    let run = RunConfig {
        threads,
        sequences: 1,
        context: CONTEXT,
        batch_tokens: 512,
        ubatch: 512,
        max_outputs: 1,
        kv_k: KvType::F16,
        kv_v: KvType::F16,
        flash: FlashAttention::Auto,
        repack: true,
        gpu_layers: 0,
        device: Device::Cpu,
    };
    let mut session = EngineKind::LlamaCpp.open().unwrap().load(Path::new(path), &run).unwrap();
    let mut plain = Plain::load(Path::new(path), threads as i32);
    ours(session.as_mut());
    plain.run();
    let (mut a, mut b, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (x, y) = if round % 2 == 0 {
            let x = ours(session.as_mut());
            (x, plain.run())
        } else {
            let y = plain.run();
            (ours(session.as_mut()), y)
        };
        a.push(x);
        b.push(y);
        ratios.push(x / y);
    }
    let show = |name: &str, values: &[f64]| {
        let i = quantile_interval(values, 0.5);
        println!("{name:<24} {:>8.3}  (95 % {:.3} to {:.3}, {ROUNDS} rounds)", i.value, i.low, i.high);
    };
    println!("{path}, {threads} threads, {STEPS} tokens after {PROMPT}");
    show("autotune, tok/s", &a);
    show("plain loop, tok/s", &b);
    show("ratio", &ratios);
}
