//! A against itself, and against something that is slower: how often comparisons in turns are right.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use autotune::engine::EngineKind;
use autotune::host::busy::Look;
use autotune::space::{Candidate, Config};
use autotune::stats::{quantile_interval, wilson};
use autotune::study::prepare::timing_text;
use autotune::study::presets::context_for;
use autotune::worker::artifact::timing_run;
use autotune::worker::protocol::{Job, Message};
use autotune::worker::recheck::{Comparison, Standing, ratio_of};
use autotune::worker::supervisor::{End, Limits};
use autotune::worker::timing::TimingSamples;
use autotune::worker::turns::Side;
use autotune::worker::workload::Workload;
use serde::{Deserialize, Serialize};

use super::Options;
use super::rows::Rows;

/// One round: what was timed of each side, in milliseconds.
#[derive(Serialize, Deserialize)]
struct Round {
    repeat: u64,
    round: u64,
    first: f64,
    again: f64,
    other: f64,
}

pub fn run(options: &Options) -> Result<()> {
    let (repeats, rounds) = (options.number("repeats", 40)?, options.number("rounds", 16)?);
    let workload: Workload = options.text("workload").unwrap_or("96:31:1").parse()?;
    let longer = |n: u32| (f64::from(n) * 1.05).round() as u32;
    // The first step of a round is not timed.
    let steps = workload.output_tokens.saturating_sub(1).max(2);
    let more = Workload {
        prompt_tokens: longer(workload.prompt_tokens),
        output_tokens: 2 + longer(steps - 1),
        ..workload
    };
    let a = options.file(1).context("name an artifact")?;
    let config = Config {
        threads: u32::try_from(options.number("threads", 2)?)?,
        context: context_for(&more),
        batch: workload.requests.min(4),
        ..Config::from_candidate(&Candidate::default())?
    };
    let side = |artifact: &PathBuf, prompt_tokens: u32, steps: u32| Side {
        artifact: artifact.clone(),
        run: timing_run(&config, &more),
        prompt_tokens,
        steps,
    };
    let same = side(&a, workload.prompt_tokens, steps);
    let other = match options.file(2) {
        Some(artifact) => side(&artifact, workload.prompt_tokens, steps),
        None => side(&a, more.prompt_tokens, 1 + longer(steps - 1)),
    };
    let mut rows: Rows<Round> = Rows::open(options.text("rows").map(std::path::Path::new))?;
    let first = rows.all.len() as u64;
    let job = Job::Turns {
        engine: EngineKind::LlamaCpp,
        sides: vec![same.clone(), same, other],
        workload: more,
        text: timing_text(),
        first,
        rounds: (repeats * rounds).saturating_sub(first),
        time_s: options.time()?.as_secs_f64(),
    };
    let limits = Limits { time: Duration::from_secs(24 * 3600), memory_bytes: None };
    let mut kept = Ok(());
    let look = Look::now();
    let outcome = options.supervisor()?.run(&job, &limits, &|| false, &mut |message| {
        let Message::Round { round, sides } = message else { return };
        // Not scaled: a side with more work shows it.
        let took = |s: &TimingSamples| s.prompt_ms.iter().sum::<f64>() + s.step_ms.iter().sum::<f64>();
        if let [first, again, other] = &sides.iter().map(took).collect::<Vec<_>>()[..] {
            let (repeat, round) = (round / rounds, round % rounds);
            let row = Round { repeat, round, first: *first, again: *again, other: *other };
            kept = std::mem::replace(&mut kept, Ok(())).and_then(|()| rows.push(row));
        }
    })?;
    kept?;
    if outcome.end != End::Done {
        bail!("{:?}", outcome.end);
    }
    let others = Look::now().since(&look, outcome.cpu).others_share;
    let whole = rows.all.len() as u64 / rounds;
    println!("{whole} of {repeats} comparisons of {rounds} rounds");
    table(&rows.all, whole, "the same artifact again: called different", |r| (r.again, r.first), false)?;
    table(&rows.all, whole, "the slower one: called slower", |r| (r.other, r.first), true)?;
    println!("others used {:.1} % of the cores meanwhile", 100.0 * others);
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
