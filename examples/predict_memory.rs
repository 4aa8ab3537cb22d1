//! Predicted peak memory against measured, over random candidates of a space.
//!
//! ```text
//! cargo run --release --example predict_memory -- MODEL.gguf [CANDIDATES] [WORK_FOLDER] [SPACE] [SEED]
//! ```
//!
//! Every candidate is built, loaded and run in a worker with one prompt and a few tokens (the peak needs no more), as a trial runs it.
//! Prints each candidate and the distribution of the errors; budgets are tried on both sides of each measured peak.
//! `target/release/autotune` must be built: it is the worker.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use autotune::engine::EngineKind;
use autotune::measure::artifact::{Request, measure, timing_run};
use autotune::measure::protocol::{Job, TimingPlan};
use autotune::measure::stats::{quantile_sorted, sorted};
use autotune::measure::supervisor::{End, Limits, Supervisor};
use autotune::measure::workload::Workload;
use autotune::search::Random;
use autotune::space::{Config, LoadedSpace, SpaceFacts, load_space};
use autotune::study::kit::{self, Materials};
use autotune::study::predict::peak_memory_bytes;
use autotune::study::prepare::timing_text;
use autotune::units::Bytes;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let model = PathBuf::from(args.next().context("name a model")?);
    let count: usize = args.next().map_or(Ok(40), |t| t.parse())?;
    let work = PathBuf::from(args.next().unwrap_or_else(|| "results/predict_memory".to_owned()));
    let space = args.next().unwrap_or_else(|| "laptop".to_owned());
    let seed: u64 = args.next().map_or(Ok(1), |t| t.parse())?;
    std::fs::create_dir_all(work.join("cache"))?;
    let work = std::path::absolute(work)?;
    let kit = kit::open(EngineKind::LlamaCpp, &model)?;
    let workload: Workload = "512:128:4".parse()?;
    let facts = SpaceFacts {
        usable_threads: 2,
        model: Some(kit.facts()),
        workload_context_tokens: workload.context_tokens(),
        workload_requests: workload.requests,
    };
    let LoadedSpace { space, .. } = load_space(&space, &facts)?;
    let supervisor = Supervisor::new(std::path::absolute("target/release/autotune")?);
    let limits = Limits { time: Duration::from_secs(3600), memory_bytes: None };
    let reference = match kit.reference_job(&work.join("reference.gguf"), 1) {
        None => model,
        Some(job) => {
            supervisor.run(&job, &limits, &|| false, &mut |_| {})?;
            work.join("reference.gguf")
        }
    };
    let materials = Materials { reference, stats: None, tensors: work.join("cache"), threads: 2 };
    let mut random = Random::new(seed, 0, 0);
    let (mut errors, mut times) = (Vec::new(), Vec::new());
    let (mut accepted_over, mut refused_under) = (0, 0);
    while errors.len() < count {
        let point: Vec<usize> = space.params.iter().map(|p| random.below(p.levels.len())).collect();
        let Some(candidate) = space.candidate(&point) else { continue };
        let config = Config::from_candidate(&candidate)?;
        let begun = Instant::now();
        let predicted = peak_memory_bytes(&kit.shape(&config)?, &config);
        times.push(begun.elapsed().as_secs_f64() * 1e6);
        let artifact = work.join("candidate.gguf");
        let request = kit.build_request(&config, &materials, &artifact);
        let built = supervisor.run(&Job::Build { request }, &limits, &|| false, &mut |_| {})?;
        if built.end != End::Done {
            println!("not built: {:?}", built.end);
            continue;
        }
        let request = Request {
            engine: EngineKind::LlamaCpp,
            artifact,
            run: timing_run(&config, &workload),
            workload,
            text: timing_text(),
            plan: TimingPlan::Parts { rounds: 1, prompt_tokens: 512, steps: 2 },
            budget_bytes: None,
            timeout: Duration::from_secs(3600),
        };
        let measured = measure(&supervisor, request, &|| false, &mut |_| {})?;
        let Some(peak) = measured.outcome.peak_bytes.filter(|_| measured.outcome.end == End::Done) else {
            println!("not measured: {:?}", measured.outcome.end);
            continue;
        };
        let error = predicted as f64 / peak as f64 - 1.0;
        // A budget anywhere between the two decides wrongly; so do those within the error beside the peak.
        accepted_over += usize::from(error < 0.0);
        refused_under += usize::from(error > 0.02);
        println!(
            "{:>3}  predicted {:>8}  measured {:>8}  {:+.2} %  {}",
            errors.len() + 1,
            Bytes(predicted).to_string(),
            Bytes(peak).to_string(),
            100.0 * error,
            autotune::study::describe(&candidate)
        );
        errors.push(error);
    }
    let absolute = sorted(&errors.iter().map(|e| e.abs()).collect::<Vec<_>>());
    let signed = sorted(&errors);
    println!(
        "{count} candidates: median error {:.2} %, 95th percentile {:.2} %, largest {:.2} %; from {:+.2} % to {:+.2} %",
        100.0 * quantile_sorted(&absolute, 0.5),
        100.0 * quantile_sorted(&absolute, 0.95),
        100.0 * absolute.last().copied().unwrap_or(0.0),
        100.0 * signed.first().copied().unwrap_or(0.0),
        100.0 * signed.last().copied().unwrap_or(0.0)
    );
    println!(
        "predicted below the peak (a budget between would accept what does not fit, which the watchdog then stops): {accepted_over}; \
         more than 2 % above it: {refused_under}; one prediction in {:.0} µs",
        quantile_sorted(&sorted(&times), 0.5)
    );
    Ok(())
}
