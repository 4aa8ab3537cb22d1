//! Predicted peak memory and latency against measured, over random candidates of a space.
//!
//! ```text
//! cargo run --release --example predict_memory -- MODEL.gguf [CANDIDATES] [WORK_FOLDER] [SPACE] [SEED] [SECONDS]
//! ```
//!
//! Every candidate is built, loaded and run in a worker with one prompt and a few steps (the peak needs no more), as a trial runs it; the
//! latency of the workload is put together from them, as at a study's end.
//! Each is a line of `rows-SPACE-SEED.jsonl` in the work folder, and what is there is not measured again; after so many SECONDS none is
//! begun. Prints the distribution of the errors, and what budgets all over the range would decide by the prediction.
//! `target/release/autotune` must be built: it is the worker.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use autotune::engine::EngineKind;
use autotune::host::{ProbeOptions, default_cache_dir, probe};
use autotune::search::Random;
use autotune::space::{Config, LoadedSpace, SpaceFacts, load_space};
use autotune::stats::{quantile_sorted, sorted};
use autotune::study::kit;
use autotune::study::kit::Materials;
use autotune::study::predict::{Ceiling, peak_memory_bytes};
use autotune::study::prepare::timing_text;
use autotune::study::rates::Cache;
use autotune::study::{Bounds, Ceilings, Correction, Cost, Quality, StudyProblem, objectives};
use autotune::units::Bytes;
use autotune::worker::artifact::{Request, measure, timing_run};
use autotune::worker::protocol::{ImportanceSource, Job, TimingPlan};
use autotune::worker::supervisor::{End, Limits, Supervisor};
use autotune::worker::workload::Workload;
use serde::{Deserialize, Serialize};

/// One candidate. The prediction is made anew each time, so that rows outlive a change of it.
#[derive(Serialize, Deserialize)]
struct Row {
    /// Its number among the points drawn.
    drawn: usize,
    /// Measured peak in bytes; none where it was not built or did not run.
    peak: Option<u64>,
    anonymous: Option<u64>,
    /// Latency of the workload, in milliseconds.
    latency_ms: Option<f64>,
    why: String,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let model = PathBuf::from(args.next().context("name a model")?);
    let count: usize = args.next().map_or(Ok(40), |t| t.parse())?;
    let work = PathBuf::from(args.next().unwrap_or_else(|| "results/predict_memory".to_owned()));
    let space_name = args.next().unwrap_or_else(|| "laptop".to_owned());
    let seed: u64 = args.next().map_or(Ok(1), |t| t.parse())?;
    let time = Duration::from_secs(args.next().map_or(Ok(24 * 3600), |t| t.parse())?);
    std::fs::create_dir_all(work.join("cache"))?;
    let work = std::path::absolute(work)?;
    let kit = kit::open(EngineKind::LlamaCpp, &model)?;
    let workload: Workload = "512:128:4".parse()?;
    let facts = SpaceFacts {
        usable_threads: 2,
        model: Some(kit.facts()),
        workload_context_tokens: workload.context_tokens(),
        workload_requests: workload.requests,
        device_layers: 0,
        block_caches: kit.has_block_caches(),
    };
    let LoadedSpace { space, .. } = load_space(&space_name, &facts)?;
    let supervisor = Supervisor::new(std::path::absolute("target/release/autotune")?);
    let limits = Limits { time: Duration::from_secs(3600), memory_bytes: None };
    let reference = match kit.reference_job(&work.join("reference.gguf"), 1) {
        None => std::path::absolute(model)?,
        Some(_) if work.join("reference.gguf").exists() => work.join("reference.gguf"),
        Some(job) => {
            supervisor.run(&job, &limits, &|| false, &mut |_| {})?;
            work.join("reference.gguf")
        }
    };
    // What pruned candidates are cut by; which channels they lose does not matter to their size.
    let stats = work.join("activations.json");
    if !stats.exists() {
        let job = Job::Activations {
            model: reference.clone(),
            text: timing_text(),
            max_tokens: 512,
            threads: 2,
            out: stats.clone(),
        };
        supervisor.run(&job, &limits, &|| false, &mut |_| {})?;
    }
    let materials = Materials {
        reference,
        stats: Some(stats),
        importance: ImportanceSource::default(),
        scale: false,
        tensors: work.join("cache"),
        threads: 2,
    };
    let host = probe(&ProbeOptions::default())?;
    let request = kit.rates_request(2).context("a model without kernels")?;
    let folder = default_cache_dir();
    let cache = Cache { folder: folder.as_deref(), fingerprint: &host.fingerprint };
    let fresh = || cache.measured(&supervisor, EngineKind::LlamaCpp, request, &|| false, &mut |_, _| {});
    let rates = cache.kept(EngineKind::LlamaCpp, &request).or_else(fresh).map(|found| found.rates);
    let c = &host.ceilings;
    let ceilings = Ceilings {
        one: Ceiling {
            bytes_per_s: c.read_bytes_per_s_one_thread,
            flops: c.multiply_add_flop_per_s_one_thread,
        },
        all: Ceiling { bytes_per_s: c.read_bytes_per_s, flops: c.multiply_add_flop_per_s },
        threads: host.usable_threads(),
    };
    let goals = objectives(Cost::default(), Quality::default(), &Bounds::default());
    let problem =
        StudyProblem::new(&space, kit.as_ref(), workload, ceilings, u64::MAX, &goals).with_rates(rates);
    let mut seen: Vec<(Config, f64, f64)> = Vec::new();
    let mut latency = Vec::new();
    let path = work.join(format!("rows-{}-{seed}.jsonl", stem(&space_name)));
    let known: Vec<Row> = std::fs::read_to_string(&path)
        .unwrap_or_default()
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
    let mut random = Random::new(seed, 0, 0);
    let (mut pairs, mut times) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for drawn in 0.. {
        let point: Vec<usize> = space.params.iter().map(|p| random.below(p.levels.len())).collect();
        if pairs.len() >= count {
            break;
        }
        let Some(candidate) = space.candidate(&point) else { continue };
        let config = Config::from_candidate(&candidate)?;
        let clock = Instant::now();
        let predicted = peak_memory_bytes(&kit.shape(&config)?, &config);
        times.push(clock.elapsed().as_secs_f64() * 1e6);
        let measured;
        let row = match known.iter().find(|r| r.drawn == drawn) {
            Some(row) => row,
            None if begun.elapsed() > time => break,
            None => {
                let artifact = work.join("candidate.gguf");
                let request = kit.build_request(&config, &materials, &artifact);
                let built = supervisor.run(&Job::Build { request }, &limits, &|| false, &mut |_| {})?;
                let request = Request {
                    engine: EngineKind::LlamaCpp,
                    artifact,
                    run: timing_run(&config, &workload),
                    workload,
                    text: timing_text(),
                    plan: TimingPlan::Parts { rounds: 1, prompt_tokens: 512, steps: 12 },
                    budget_bytes: None,
                    timeout: Duration::from_secs(3600),
                };
                measured = match built.end {
                    End::Done => {
                        let m = measure(&supervisor, request, &|| false, &mut |_| {})?;
                        let peak = m.outcome.peak_bytes.filter(|_| m.outcome.end == End::Done);
                        let anonymous = m.outcome.split_bytes.map(|s| s.0);
                        let latency_ms = m.samples.as_ref().map(|s| s.latency_from_parts_ms(&workload));
                        Row { drawn, peak, anonymous, latency_ms, why: format!("{:?}", m.outcome.end) }
                    }
                    end => {
                        let why = format!("not built: {end:?}");
                        Row { drawn, peak: None, anonymous: None, latency_ms: None, why }
                    }
                };
                writeln!(file, "{}", serde_json::to_string(&measured)?)?;
                &measured
            }
        };
        let Some(peak) = row.peak else {
            println!("     not measured: {}", row.why);
            continue;
        };
        pairs.push((predicted as f64, peak as f64));
        if let (Some(measured), Some(foreseen)) = (row.latency_ms, problem.foresee(&config)) {
            let plain = foreseen.latency_ms;
            let corrected = plain * Correction::fit(&problem, &seen).factor(&problem, &config);
            latency.push([plain, corrected].map(|p| 100.0 * (p / measured - 1.0)));
            println!(
                "     latency {measured:.0} ms, predicted {plain:.0} ({:+.1} %), corrected {corrected:.0} ({:+.1} %)",
                100.0 * (plain / measured - 1.0),
                100.0 * (corrected / measured - 1.0)
            );
            seen.push((config.clone(), plain, measured));
        }
        println!(
            "{:>3}  predicted {:>8}  measured {:>8} (anonymous {:>8})  {:+.2} %  {}",
            pairs.len(),
            Bytes(predicted).to_string(),
            Bytes(peak).to_string(),
            Bytes(row.anonymous.unwrap_or(0)).to_string(),
            100.0 * (predicted as f64 / peak as f64 - 1.0),
            autotune::study::describe(&candidate)
        );
    }
    tell(&pairs, &times);
    errors("latency before any trial", latency.iter().map(|e| e[0]));
    errors("latency after ten trials", latency.iter().skip(10).map(|e| e[1]));
    Ok(())
}

fn errors(what: &str, signed: impl Iterator<Item = f64>) {
    let signed = sorted(&signed.collect::<Vec<_>>());
    let absolute = sorted(&signed.iter().map(|e| e.abs()).collect::<Vec<_>>());
    println!(
        "{what} ({}): median error {:.1} %, 95th percentile {:.1} %; from {:+.1} % to {:+.1} %",
        signed.len(),
        quantile_sorted(&absolute, 0.5),
        quantile_sorted(&absolute, 0.95),
        quantile_sorted(&signed, 0.0),
        quantile_sorted(&signed, 1.0)
    );
}

fn stem(space: &str) -> String {
    Path::new(space).file_stem().map_or_else(|| "space".to_owned(), |s| s.to_string_lossy().into_owned())
}

fn tell(pairs: &[(f64, f64)], times: &[f64]) {
    let signed = sorted(&pairs.iter().map(|(p, m)| 100.0 * (p / m - 1.0)).collect::<Vec<_>>());
    let absolute = sorted(&signed.iter().map(|e| e.abs()).collect::<Vec<_>>());
    println!(
        "{} candidates: median error {:.2} %, 95th percentile {:.2} %, largest {:.2} %; from {:+.2} % to {:+.2} %",
        pairs.len(),
        quantile_sorted(&absolute, 0.5),
        quantile_sorted(&absolute, 0.95),
        quantile_sorted(&absolute, 1.0),
        quantile_sorted(&signed, 0.0),
        quantile_sorted(&signed, 1.0),
    );
    // Budgets from the smallest peak to the largest, in equal ratios.
    const BUDGETS: i32 = 1000;
    let (least, most) =
        pairs.iter().fold((f64::INFINITY, 0.0f64), |(low, high), (_, m)| (low.min(*m), high.max(*m)));
    let (mut under, mut refused, mut over, mut tried) = (0u64, 0u64, 0u64, 0u64);
    for step in 0..=BUDGETS {
        let budget = least * (most / least).powf(f64::from(step) / f64::from(BUDGETS));
        for (predicted, measured) in pairs {
            if *measured <= budget {
                under += 1;
                refused += u64::from(*predicted > budget);
            } else {
                over += 1;
                tried += u64::from(*predicted <= budget);
            }
        }
    }
    println!(
        "{} budgets from {} to {}: of candidates that fit, the prediction refuses {:.2} %; of those that do not, it lets {:.2} % be built, \
         which the measurement then ends; one prediction in {:.0} µs",
        BUDGETS + 1,
        Bytes(least as u64),
        Bytes(most as u64),
        100.0 * refused as f64 / under.max(1) as f64,
        100.0 * tried as f64 / over.max(1) as f64,
        quantile_sorted(&sorted(times), 0.5)
    );
}
