//! How far measurements can be trusted on this machine.
//!
//! ```text
//! cargo bench --bench measure -- aa A.gguf [OPTIONS]          the same artifact against itself
//! cargo bench --bench measure -- ab A.gguf B.gguf [OPTIONS]   two artifacts; without B: A against A with 5 % more work
//! cargo bench --bench measure -- rank DB_ONE DB_TWO           Kendall's tau of the latencies of two studies
//! cargo bench --bench measure -- shares DB                    time of each rung, and the tuner's own
//! ```
//!
//! Options of `aa` and `ab`: `--repeats N` (40), `--rounds N` (8), `--workload P:O:R` (160:42:1), `--threads N` (2), `--program PATH`
//! (the built `autotune`). Each repeat is one comparison as a study's end makes it (`measure::recheck`): so many rounds in turns, and the
//! signed-rank interval of the ratio. The slowdown of `ab` without B is real work: the workload's prompt and output are 5 % longer
//! (rounded), run by the same program.
//!
//! Rankings and shares read studies that exist; run the same twenty candidates twice with
//! `autotune tune --trials 20 --seed 1 --results one`, then `--results two`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use autotune::engine::EngineKind;
use autotune::measure::artifact::{Request, measure, timing_run};
use autotune::measure::protocol::TimingPlan;
use autotune::measure::recheck::{Standing, ratio_of};
use autotune::measure::stats::{quantile_interval, wilson};
use autotune::measure::supervisor::{End, Supervisor};
use autotune::measure::workload::Workload;
use autotune::space::{Candidate, Config};
use autotune::store::{Store, TrialState};
use autotune::study::prepare::timing_text;
use autotune::study::presets::context_for;

struct Options {
    files: Vec<String>,
    named: BTreeMap<String, String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Options { files: Vec::new(), named: BTreeMap::new() };
        let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
        while let Some(arg) = args.next() {
            match arg.strip_prefix("--") {
                Some(name) => {
                    options.named.insert(name.to_owned(), args.next().unwrap_or_default());
                }
                None => options.files.push(arg),
            }
        }
        options
    }

    fn number(&self, name: &str, default: usize) -> Result<usize> {
        self.named.get(name).map_or(Ok(default), |t| t.parse().with_context(|| format!("--{name} {t}")))
    }
}

/// One side of a comparison.
struct Side {
    artifact: PathBuf,
    workload: Workload,
}

struct Bench {
    supervisor: Supervisor,
    threads: u32,
    /// Prompt and output of a short measurement, for both sides alike unless one does more.
    context: u32,
}

impl Bench {
    fn once(&self, side: &Side) -> Result<f64> {
        let config = Config {
            threads: self.threads,
            context: self.context,
            batch: side.workload.requests.min(4),
            ..Config::from_candidate(&Candidate::default())?
        };
        let w = side.workload;
        let request = Request {
            engine: EngineKind::LlamaCpp,
            artifact: side.artifact.clone(),
            run: timing_run(&config, &w),
            workload: w,
            text: timing_text(),
            plan: TimingPlan::Parts { rounds: 1, prompt_tokens: w.prompt_tokens, steps: w.output_tokens },
            budget_bytes: None,
            timeout: Duration::from_secs(600),
        };
        let measured = measure(&self.supervisor, request, &|| false, &mut |_| {})?;
        match (&measured.outcome.end, &measured.samples) {
            (End::Done, Some(samples)) => {
                // What was timed, not scaled: a side with more work shows it.
                Ok(samples.prompt_ms.iter().sum::<f64>() + samples.step_ms.iter().sum::<f64>())
            }
            (end, _) => bail!("{}: {end:?}", side.artifact.display()),
        }
    }

    /// One comparison: the logarithms of the ratios, round by round; the order within a round alternates.
    fn compare(&self, a: &Side, b: &Side, rounds: usize) -> Result<Vec<f64>> {
        (0..rounds)
            .map(|round| {
                let (first, second) = if round % 2 == 0 { (a, b) } else { (b, a) };
                let (x, y) = (self.once(first)?, self.once(second)?);
                let (ours, theirs) = if round % 2 == 0 { (x, y) } else { (y, x) };
                Ok((ours / theirs).ln())
            })
            .collect()
    }
}

fn compare(options: &Options, same: bool) -> Result<()> {
    let repeats = options.number("repeats", 40)?;
    let rounds = options.number("rounds", 8)?;
    let text = options.named.get("workload").map_or("160:42:1", String::as_str);
    let workload: Workload = text.parse()?;
    let longer = |n: u32| (f64::from(n) * 1.05).round() as u32;
    let more = Workload {
        prompt_tokens: longer(workload.prompt_tokens),
        // The prompt gives the first token, and the first step is not timed.
        output_tokens: 2 + longer(workload.output_tokens.saturating_sub(2)),
        ..workload
    };
    let first = PathBuf::from(options.files.get(1).context("name an artifact")?);
    let a = Side { artifact: first.clone(), workload };
    let b = match options.files.get(2) {
        Some(other) => Side { artifact: other.into(), workload },
        None => Side { artifact: first, workload: if same { workload } else { more } },
    };
    let program = options.named.get("program").map_or("target/release/autotune", String::as_str);
    let bench = Bench {
        supervisor: Supervisor::new(std::path::absolute(program)?),
        threads: u32::try_from(options.number("threads", 2)?)?,
        context: context_for(&more),
    };
    let (mut different, mut right, mut ratios, mut spread) = (0u64, 0u64, Vec::new(), Vec::new());
    for repeat in 0..repeats {
        let logs = bench.compare(&a, &b, rounds)?;
        let c = ratio_of(&logs).context("no rounds")?;
        different += u64::from(matches!(c.standing, Standing::Faster | Standing::Slower));
        right += u64::from(c.standing == Standing::Faster);
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (logs.len() - 1) as f64;
        spread.push(variance.sqrt());
        println!(
            "{:>3}  {:.4} ({:.4} to {:.4})  {:?}",
            repeat + 1,
            c.ratio.value,
            c.ratio.low,
            c.ratio.high,
            c.standing
        );
        ratios.push(c.ratio.value);
    }
    let called = wilson(if same { different } else { right }, repeats as u64);
    let ratio = quantile_interval(&ratios, 0.5);
    println!(
        "{} {} of {repeats} comparisons of {rounds} rounds: {:.1} % (95 % interval {:.1} to {:.1} %); median ratio {:.4}; \
         standard deviation of a round's ratio {:.1} %",
        if same { "called different:" } else { "slowdown found:" },
        if same { different } else { right },
        100.0 * called.value,
        100.0 * called.low,
        100.0 * called.high,
        ratio.value,
        100.0 * quantile_interval(&spread, 0.5).value
    );
    Ok(())
}

fn latencies(path: &str) -> Result<BTreeMap<String, f64>> {
    let store = Store::open_existing(&PathBuf::from(path))?;
    let trials = store.trials(store.study(None)?.id)?;
    Ok(trials
        .into_iter()
        .filter_map(|t| Some((t.hash.clone(), t.value("request_latency_p50_ms")?)))
        .collect())
}

/// Kendall's tau-b of two lists of equal length (ties are not expected of latencies, and count as neither).
fn kendall(x: &[f64], y: &[f64]) -> f64 {
    let (mut agree, mut all) = (0i64, 0i64);
    for i in 0..x.len() {
        for j in 0..i {
            let sign = ((x[i] - x[j]) * (y[i] - y[j])).partial_cmp(&0.0).map_or(0, |o| o as i64);
            agree += sign;
            all += 1;
        }
    }
    agree as f64 / all as f64
}

fn rank(options: &Options) -> Result<()> {
    let [_, one, two] = &options.files[..] else { bail!("name two databases") };
    let (one, two) = (latencies(one)?, latencies(two)?);
    let pairs: Vec<(f64, f64)> = one.iter().filter_map(|(hash, x)| Some((*x, *two.get(hash)?))).collect();
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let off: Vec<f64> = pairs.iter().map(|(x, y)| 100.0 * (x / y - 1.0).abs()).collect();
    println!(
        "{} candidates measured in both: Kendall's tau {:.3}, median difference {:.1} %",
        pairs.len(),
        kendall(&x, &y),
        quantile_interval(&off, 0.5).value
    );
    Ok(())
}

fn shares(options: &Options) -> Result<()> {
    let store = Store::open_existing(&PathBuf::from(options.files.get(1).context("name a database")?))?;
    let id = store.study(None)?.id;
    let trials = store.trials(id)?;
    let mut rungs: BTreeMap<&str, f64> = BTreeMap::new();
    let (mut spans, mut inside) = (0.0, 0.0);
    for trial in trials.iter().filter(|t| t.state == TrialState::Complete) {
        for rung in &trial.rungs {
            *rungs.entry(rung.rung.name()).or_default() += rung.duration.as_secs_f64();
            inside += rung.duration.as_secs_f64();
        }
        if let (Some(begun), Some(ended)) = (trial.started, trial.ended) {
            spans += ended.duration_since(begun).as_secs_f64();
        }
    }
    for (rung, seconds) in &rungs {
        println!("{rung:<10} {seconds:>8.1} s  {:>5.1} %", 100.0 * seconds / inside);
    }
    let (first, last) =
        (trials.iter().filter_map(|t| t.started).min(), trials.iter().filter_map(|t| t.ended).max());
    if let (Some(first), Some(last)) = (first, last) {
        let wall = last.duration_since(first).as_secs_f64();
        println!(
            "trials took {spans:.1} s, of which {inside:.1} s in rungs; from the first trial's begin to the last one's end {wall:.1} s: \
             the tuner's own {:.1} s are {:.1} %",
            wall - inside,
            100.0 * (wall - inside) / wall
        );
    }
    Ok(())
}

fn main() -> Result<()> {
    let options = Options::read();
    match options.files.first().map(String::as_str) {
        Some("aa") => compare(&options, true),
        Some("ab") => compare(&options, false),
        Some("rank") => rank(&options),
        Some("shares") => shares(&options),
        _ => {
            eprintln!("aa, ab, rank or shares; see the head of benches/measure/main.rs");
            Ok(())
        }
    }
}
