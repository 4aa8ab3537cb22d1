//! What a study's database tells: ranks that repeat, prediction errors, where the time went.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use autotune::space::Config;
use autotune::stats::quantile_interval;
use autotune::store::{DATABASE_FILE, Store, TrialRecord, TrialState};
use autotune::study::Settings;
use autotune::study::confirm::{PROMPT_TOKENS, STEPS};
use autotune::study::prepare::timing_text;
use autotune::worker::artifact::{Request, measure, timing_run};
use autotune::worker::protocol::{Job, Message, TimingPlan};
use autotune::worker::supervisor::{End, Limits};
use autotune::worker::turns::Side;
use serde::{Deserialize, Serialize};

use super::Options;
use super::rows::Rows;

const LATENCY: &str = "request_latency_p50_ms";

/// A trial measured once more.
#[derive(Serialize, Deserialize)]
struct Again {
    number: u64,
    latency_ms: f64,
    doubt: Option<String>,
}

fn open(options: &Options) -> Result<(PathBuf, Store, Vec<TrialRecord>)> {
    let results = options.file(1).context("name the folder of results")?;
    let store = Store::open_existing(&results.join(DATABASE_FILE))?;
    let trials = store.trials(store.study(None)?.id)?.to_vec();
    Ok((results, store, trials))
}

/// Measures the first trials that were timed once more, as the study did, and sets both rankings side by side.
pub fn again(options: &Options) -> Result<()> {
    let (results, store, trials) = open(options)?;
    let settings: Settings = serde_json::from_str(&store.study(None)?.settings_json)?;
    let most = usize::try_from(options.number("trials", 20)?)?;
    let trials: Vec<&TrialRecord> = trials.iter().filter(|t| t.value(LATENCY).is_some()).take(most).collect();
    let supervisor = options.supervisor()?;
    let mut rows: Rows<Again> = Rows::open(options.text("rows").map(Path::new))?;
    let (begun, time) = (Instant::now(), options.time()?);
    for trial in &trials {
        if rows.all.iter().any(|r| r.number == trial.number) {
            continue;
        }
        if begun.elapsed() > time {
            break;
        }
        let artifact = trial.artifact.as_ref().context("a timed trial has an artifact")?;
        let request = Request {
            engine: settings.engine,
            artifact: results.join(&artifact.path),
            run: timing_run(&Config::from_candidate(&trial.candidate)?, &settings.workload),
            workload: settings.workload,
            text: timing_text(),
            plan: TimingPlan::Requests { limits: settings.timing },
            budget_bytes: None,
            timeout: Duration::from_secs(settings.rung_timeout_s),
        };
        let measured = measure(&supervisor, request, &|| false, &mut |_| {})?;
        let Some(summary) = measured.summary(&settings.workload) else {
            bail!("trial {}: {:?}", trial.number, measured.outcome.end)
        };
        rows.push(Again {
            number: trial.number,
            latency_ms: summary.latency_p50_ms.value,
            doubt: measured.doubt(None),
        })?;
    }
    let mut pairs = Vec::new();
    for row in &rows.all {
        let trial = trials.iter().find(|t| t.number == row.number).context("rows of another study")?;
        let first = trial.value(LATENCY).context("a timed trial has a latency")?;
        println!(
            "trial {:>3}  {first:>8.0} ms  {:>8.0} ms  {:+.1} %  {}",
            row.number,
            row.latency_ms,
            100.0 * (row.latency_ms / first - 1.0),
            row.doubt.as_deref().unwrap_or("")
        );
        pairs.push((first, row.latency_ms));
    }
    tell_ranks(&pairs);
    Ok(())
}

fn tell_ranks(pairs: &[(f64, f64)]) {
    let off: Vec<f64> = pairs.iter().map(|(x, y)| 100.0 * (y / x - 1.0).abs()).collect();
    println!(
        "{} candidates measured twice: Kendall's tau {:.3}; median difference {:.1} %, largest {:.1} %",
        pairs.len(),
        kendall(pairs),
        quantile_interval(&off, 0.5).value,
        off.iter().copied().fold(0.0, f64::max)
    );
}

/// Ranks the first trials that were timed twice, each time in one worker that lets all of them take turns.
pub fn turns(options: &Options) -> Result<()> {
    let (results, store, trials) = open(options)?;
    let settings: Settings = serde_json::from_str(&store.study(None)?.settings_json)?;
    let most = usize::try_from(options.number("trials", 20)?)?;
    let rounds = options.number("rounds", 6)?;
    let trials: Vec<&TrialRecord> = trials.iter().filter(|t| t.value(LATENCY).is_some()).take(most).collect();
    let side = |trial: &&TrialRecord| -> Result<Side> {
        let artifact = trial.artifact.as_ref().context("a timed trial has an artifact")?;
        let run = timing_run(&Config::from_candidate(&trial.candidate)?, &settings.workload);
        Ok(Side { artifact: results.join(&artifact.path), run, prompt_tokens: PROMPT_TOKENS, steps: STEPS })
    };
    let sides = trials.iter().map(side).collect::<Result<Vec<_>>>()?;
    let once = || -> Result<Vec<f64>> {
        let job = Job::Turns {
            engine: settings.engine,
            sides: sides.clone(),
            workload: settings.workload,
            text: timing_text(),
            first: 0,
            rounds,
            time_s: options.time()?.as_secs_f64(),
        };
        let limits = Limits { time: Duration::from_secs(24 * 3600), memory_bytes: None };
        let mut seen = vec![Vec::new(); sides.len()];
        let outcome = options.supervisor()?.run(&job, &limits, &|| false, &mut |message| {
            let Message::Round { sides, .. } = message else { return };
            for (all, samples) in seen.iter_mut().zip(sides) {
                all.push(samples.latency_from_parts_ms(&settings.workload));
            }
        })?;
        if outcome.end != End::Done {
            bail!("{:?}", outcome.end);
        }
        Ok(seen.iter().map(|all: &Vec<f64>| quantile_interval(all, 0.5).value).collect())
    };
    let pairs: Vec<(f64, f64)> = once()?.into_iter().zip(once()?).collect();
    for (trial, (first, again)) in trials.iter().zip(&pairs) {
        let change = 100.0 * (again / first - 1.0);
        println!("trial {:>3}  {first:>8.0} ms  {again:>8.0} ms  {change:+.1} %", trial.number);
    }
    tell_ranks(&pairs);
    Ok(())
}

/// Kendall's tau-a.
fn kendall(pairs: &[(f64, f64)]) -> f64 {
    let (mut agree, mut all) = (0i64, 0i64);
    for (i, a) in pairs.iter().enumerate() {
        for b in &pairs[..i] {
            let sign = ((a.0 - b.0) * (a.1 - b.1)).partial_cmp(&0.0).map_or(0, |o| o as i64);
            agree += sign;
            all += 1;
        }
    }
    agree as f64 / all as f64
}

/// Prints prediction errors, the time of each rung and the tuner's own.
pub fn tell(options: &Options) -> Result<()> {
    let (_, _, trials) = open(options)?;
    let complete: Vec<&TrialRecord> = trials.iter().filter(|t| t.state == TrialState::Complete).collect();
    println!("{} of {} trials complete", complete.len(), trials.len());
    errors(&complete, "predicted_peak_memory_bytes", "peak_memory_bytes", 0);
    errors(&complete, "predicted_latency_ms", LATENCY, 0);
    for behind in [0, 3, 10] {
        errors(&complete, "corrected_latency_ms", LATENCY, behind);
    }
    let mut rungs: BTreeMap<&str, f64> = BTreeMap::new();
    let mut workers = 0.0;
    let mut add = |rung, seconds: f64| {
        *rungs.entry(rung).or_default() += seconds;
        workers += seconds;
    };
    for trial in &trials {
        let done: f64 = trial.rungs.iter().map(|rung| rung.duration.as_secs_f64()).sum();
        trial.rungs.iter().for_each(|rung| add(rung.rung.name(), rung.duration.as_secs_f64()));
        // A trial that did not complete was in its next rung, in a worker, when it ended.
        if let (false, Some(started), Some(ended)) =
            (trial.state == TrialState::Complete, trial.started, trial.ended)
        {
            let whole = (ended.as_millisecond() - started.as_millisecond()) as f64 / 1e3;
            add("unfinished", (whole - done).max(0.0));
        }
    }
    for (rung, seconds) in &rungs {
        println!("{rung:<10} {seconds:>8.1} s  {:>5.1} %", 100.0 * seconds / workers);
    }
    // A pause between two trials, until a resume, is no part of the study's time.
    const PAUSE_S: f64 = 30.0;
    let mut spans: Vec<(f64, f64)> = trials
        .iter()
        .filter_map(|t| {
            Some((t.started?.as_millisecond() as f64 / 1e3, t.ended?.as_millisecond() as f64 / 1e3))
        })
        .collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let inside: f64 = spans.iter().map(|(from, to)| to - from).sum();
    let between: f64 = spans.windows(2).map(|w| w[1].0 - w[0].1).filter(|gap| *gap < PAUSE_S).sum();
    let wall = inside + between;
    println!(
        "trials {inside:.1} s, between them {between:.1} s (pauses over {PAUSE_S} s left out); in rungs {workers:.1} s: the tuner's own {:.1} s are {:.1} %",
        wall - workers,
        100.0 * (wall - workers) / wall
    );
    Ok(())
}

fn errors(trials: &[&TrialRecord], predicted: &str, measured: &str, behind: u64) {
    let off: Vec<f64> = trials
        .iter()
        .filter(|t| t.number > behind)
        .filter_map(|t| Some(100.0 * (t.value(predicted)? / t.value(measured)? - 1.0)))
        .collect();
    let absolute: Vec<f64> = off.iter().map(|e| e.abs()).collect();
    println!(
        "{predicted}, trials behind number {behind} ({}): median error {:.1} %, largest {:.1} %; from {:+.1} % to {:+.1} %",
        off.len(),
        quantile_interval(&absolute, 0.5).value,
        absolute.iter().copied().fold(0.0, f64::max),
        off.iter().copied().fold(f64::INFINITY, f64::min),
        off.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    );
}
