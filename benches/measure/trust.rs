//! A against itself, and against something that is slower: how often comparisons in turns are right.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use autotune::engine::EngineKind;
use autotune::measure::artifact::{Request, measure, timing_run};
use autotune::measure::protocol::TimingPlan;
use autotune::measure::recheck::{Comparison, Standing, ratio_of};
use autotune::measure::stats::{quantile_interval, wilson};
use autotune::measure::supervisor::{End, Supervisor};
use autotune::measure::workload::Workload;
use autotune::space::{Candidate, Config};
use autotune::study::prepare::timing_text;
use autotune::study::presets::context_for;
use serde::{Deserialize, Serialize};

use super::Options;
use super::rows::Rows;

/// One round: what was timed of each side, in milliseconds, and how busy others were at worst.
#[derive(Serialize, Deserialize)]
struct Round {
    repeat: u64,
    round: u64,
    first: f64,
    again: f64,
    other: f64,
    others_share: f64,
}

struct Side {
    artifact: PathBuf,
    workload: Workload,
}

struct Bench {
    supervisor: Supervisor,
    threads: u32,
    context: u32,
}

impl Bench {
    /// What was timed, in milliseconds, not scaled: a side with more work shows it. With the share of the cores that others used.
    fn once(&self, side: &Side) -> Result<(f64, f64)> {
        let w = side.workload;
        let config = Config {
            threads: self.threads,
            context: self.context,
            batch: w.requests.min(4),
            ..Config::from_candidate(&Candidate::default())?
        };
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
            (End::Done, Some(samples)) => Ok((
                samples.prompt_ms.iter().sum::<f64>() + samples.step_ms.iter().sum::<f64>(),
                measured.machine.map_or(0.0, |m| m.disturbance.others_share),
            )),
            (end, _) => bail!("{}: {end:?}", side.artifact.display()),
        }
    }
}

pub fn run(options: &Options) -> Result<()> {
    let (repeats, rounds) = (options.number("repeats", 40)?, options.number("rounds", 8)?);
    let workload: Workload = options.text("workload").unwrap_or("160:42:1").parse()?;
    let longer = |n: u32| (f64::from(n) * 1.05).round() as u32;
    let more = Workload {
        prompt_tokens: longer(workload.prompt_tokens),
        // The prompt gives the first token, and the first step is not timed.
        output_tokens: 2 + longer(workload.output_tokens.saturating_sub(2)),
        ..workload
    };
    let a = options.file(1).context("name an artifact")?;
    let other = match options.file(2) {
        Some(artifact) => Side { artifact, workload },
        None => Side { artifact: a.clone(), workload: more },
    };
    let sides = [Side { artifact: a.clone(), workload }, Side { artifact: a, workload }, other];
    let bench = Bench {
        supervisor: options.supervisor()?,
        threads: u32::try_from(options.number("threads", 2)?)?,
        context: context_for(&more),
    };
    let mut rows: Rows<Round> = Rows::open(options.text("rows").map(std::path::Path::new))?;
    let (begun, time) = (Instant::now(), options.time()?);
    for number in rows.all.len() as u64..repeats * rounds {
        if begun.elapsed() > time {
            break;
        }
        let (repeat, round) = (number / rounds, number % rounds);
        let (mut times, mut busiest) = ([0.0; 3], 0.0f64);
        for turn in 0..3 {
            let place = if round % 2 == 0 { turn } else { 2 - turn };
            let (ms, others) = bench.once(&sides[place])?;
            times[place] = ms;
            busiest = busiest.max(others);
        }
        let [first, again, other] = times;
        rows.push(Round { repeat, round, first, again, other, others_share: busiest })?;
    }
    let whole = rows.all.len() as u64 / rounds;
    println!("{whole} of {repeats} comparisons of {rounds} rounds");
    table(&rows.all, whole, "the same artifact again: called different", |r| (r.again, r.first), false)?;
    table(&rows.all, whole, "the slower one: called slower", |r| (r.other, r.first), true)?;
    let busy: Vec<f64> = rows.all.iter().map(|r| r.others_share).collect();
    let shares = [0.5, 0.95].map(|q| 100.0 * quantile_interval(&busy, q).value);
    println!(
        "others used {:.1} % of the cores at the median round, {:.1} % at the 95th percentile",
        shares[0], shares[1]
    );
    Ok(())
}

fn table(
    rows: &[Round],
    repeats: u64,
    name: &str,
    pair: impl Fn(&Round) -> (f64, f64),
    slower: bool,
) -> Result<()> {
    let (mut called, mut ratios, mut widths, mut spread) = (0, Vec::new(), Vec::new(), Vec::new());
    for repeat in 0..repeats {
        let logs: Vec<f64> = rows
            .iter()
            .filter(|r| r.repeat == repeat)
            .map(|r| {
                let (x, y) = pair(r);
                (x / y).ln()
            })
            .collect();
        let Comparison { ratio, standing } = ratio_of(&logs).context("no rounds")?;
        called += u64::from(match standing {
            Standing::Slower => true,
            Standing::Faster => !slower,
            Standing::Indistinguishable | Standing::TooFew => false,
        });
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (logs.len() - 1) as f64;
        spread.push(variance.sqrt());
        widths.push((ratio.high - ratio.low) / 2.0);
        ratios.push(ratio.value);
    }
    let share = wilson(called, repeats);
    let middle = |values: &[f64]| quantile_interval(values, 0.5).value;
    let range = ratios.iter().fold((f64::INFINITY, 0.0f64), |(low, high), r| (low.min(*r), high.max(*r)));
    println!(
        "{name}: {called} of {repeats}, {:.1} % (95 % interval {:.1} to {:.1} %); ratio {:.4} at the median, {:.4} to {:.4}; \
         its interval ±{:.1} % at the median; standard deviation of a round's ratio {:.1} %",
        100.0 * share.value,
        100.0 * share.low,
        100.0 * share.high,
        middle(&ratios),
        range.0,
        range.1,
        100.0 * middle(&widths),
        100.0 * middle(&spread)
    );
    Ok(())
}
