//! How long a first build of a candidate takes, how long a second that shares all but one group of weights, and the peak memory of both.
//!
//! ```text
//! cargo run --release --example build_twice -- MODEL.gguf|synthetic-3b [WORK_FOLDER] [THREADS] [OTHER_GROUP] [PRESET]
//! ```
//!
//! A quantized model is first turned into its float reference. `synthetic-3b` writes a random model of Qwen2.5-Coder-3B's shapes (6.2 GB)
//! into the work folder unless it is there already. The first candidate is Q4_K for attention and FFN and Q6_K for the embeddings; the
//! second has attention in Q8_0 (or the named group: `attn`, `ffn`, `embd`), all else equal. The cache begins empty. With a
//! preset named, llama.cpp makes that, too, in the same process.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use autotune::compress::{Builder, Predictor, make_reference};
use autotune::model::GgmlType;
use autotune::model::gguf::Gguf;
use autotune::model::synthetic::Shapes;
use autotune::space::{Candidate, Config, Value};
use autotune::units::Bytes;

/// Peak resident set of this process in bytes, mapped files included.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Processor time of this process so far, user and system, in seconds: on a busy machine steadier than the clock on the wall.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    // Linux counts in hundredths of a second on every architecture that we run on.
    ticks as f64 / 100.0
}

fn candidate(other: Option<&str>) -> Result<Config> {
    let text = |s: &str| Value::Text(s.to_owned());
    let mut c = Candidate::default()
        .with("weights.attn", text("Q4_K"))
        .with("weights.ffn", text("Q4_K"))
        .with("weights.embd", text("Q6_K"));
    if let Some(group) = other {
        c = c.with(&format!("weights.{group}"), text("Q8_0"));
    }
    Ok(Config::from_candidate(&c)?)
}

fn reference(model: &str, work: &Path, threads: usize) -> Result<PathBuf> {
    let mut out = stdout().lock();
    if model == "synthetic-3b" {
        let path = work.join("synthetic-3b-f16.gguf");
        if !path.exists() {
            let start = Instant::now();
            let bytes = Shapes::qwen2_5_coder_3b().write(&path, GgmlType::F16, 1, None)?;
            writeln!(out, "wrote {} of random weights in {:.1?}", Bytes(bytes), start.elapsed())?;
        }
        return Ok(path);
    }
    let start = Instant::now();
    let made = make_reference(&Gguf::open(Path::new(model))?, &work.join("reference.gguf"), 1, threads)?;
    writeln!(out, "float reference in {:.1?}", start.elapsed())?;
    Ok(made.path)
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let model = args.next().context("name a model, or synthetic-3b")?;
    let work = PathBuf::from(args.next().unwrap_or_else(|| "results/build_twice".to_owned()));
    let threads: usize = args.next().map_or(Ok(2), |t| t.parse())?;
    let group = args.next().unwrap_or_else(|| "attn".to_owned());
    std::fs::create_dir_all(&work)?;
    let cache = work.join("cache");
    let _ = std::fs::remove_dir_all(&cache);
    let source = Gguf::open(&reference(&model, &work, threads)?)?;
    let predictor = Predictor::new(&source, None, None)?;
    let mut out = stdout().lock();
    let largest = source.tensors().iter().map(|t| t.elements()).max().unwrap_or(0) * 4;
    let started = Instant::now();
    (0..100).try_for_each(|_| {
        predictor.predict(&candidate(Some(&group))?).map(drop).map_err(anyhow::Error::from)
    })?;
    writeln!(out, "one prediction in {:.0?}", started.elapsed() / 100)?;
    writeln!(out, "largest tensor as f32 {}, peak memory before building {}", Bytes(largest), Bytes(peak()))?;
    let mut first = None;
    let mut builds = vec![("first", candidate(None)?), ("second", candidate(Some(&group))?)];
    if let Some(preset) = args.next() {
        let config = Candidate::default().with("weights.preset", Value::Text(preset));
        builds.push(("preset", Config::from_candidate(&config)?));
    }
    for (name, config) in builds {
        let builder = Builder::new(&source, &cache, threads, None)?;
        let path = work.join(format!("{name}.gguf"));
        let predicted = predictor.predict(&config)?.bytes;
        let before = cpu_s();
        let a = builder.build(&config, &path)?;
        let (seconds, cpu) = (a.duration.as_secs_f64(), cpu_s() - before);
        let first: &mut (f64, f64) = first.get_or_insert((seconds, cpu));
        let (share, cpu_share) = (seconds / first.0 * 100.0, cpu / first.1 * 100.0);
        writeln!(
            out,
            "{name}: {seconds:.2} s ({share:.1} % of the first), {cpu:.2} s of processor time ({cpu_share:.1} %), {} ({:+} bytes off the prediction), {} quantized, {} reused, {} copied, peak memory {}",
            Bytes(a.bytes),
            a.bytes as i64 - predicted as i64,
            a.quantized,
            a.reused,
            a.copied,
            Bytes(peak()),
        )?;
    }
    Ok(())
}
