//! `autotune score passk`: Pass@k of samples against the tests of tasks.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Duration,
};

use anyhow::Context;
use serde::Serialize;
use serde_json::json;

use super::{
    args::{AnswerStyle, PasskArgs, SandboxMode},
    printer::Printer,
};
use crate::exit::{Exit, Expected};
use crate::quality::extract::{Style, completion};
use crate::quality::passk::{Method, PassAtK, PasskError, TaskCount, pass_at_k};
use crate::quality::proof::{Proof, Reason, Summary};
use crate::quality::tasks;
use crate::quality::tasks::{Answer, Sample, TaskLanguage, TaskSet};
use crate::sandbox::{Judge, Judgement, Layers, Limits, Sandbox, SandboxError, Settings, Verdict};
use crate::tuner::task_checks;

/// The word in place of a samples file that grades the tasks' own solutions.
const CANONICAL: &str = "canonical";

/// Samples judged between two remarks on progress.
const BATCH: usize = 256;

/// More programs at once than this for each processor only wait for each other, and take memory.
const JOBS_PER_PROCESSOR: usize = 16;

/// Within less no program can do anything, and every one would be called slow.
const LEAST_TIMEOUT_S: f64 = 0.01;

/// All that the command has to say.
#[derive(Debug, Serialize)]
struct Scores<'a> {
    tasks: &'a str,
    pass_at_k: Vec<PassAtK>,
    verdicts: BTreeMap<String, u64>,
    left_out: Vec<LeftOut>,
    tasks_checked: Summary,
    sandbox: Layers,
    cpu_s: f64,
}

/// Tasks that were not executed, and why.
#[derive(Debug, Serialize)]
struct LeftOut {
    language: TaskLanguage,
    tasks: usize,
    reason: String,
}

/// Runs the command.
///
/// # Errors
/// Wrong input, or a machine without the requested protection.
pub fn run(args: &PasskArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let limits = limits(args)?;
    let jobs = jobs(args.jobs)?;
    let set = tasks::load(&args.tasks, 0).map_err(usage)?;
    let samples = if args.samples == Path::new(CANONICAL) {
        tasks::canonical_samples(&set)
    } else {
        tasks::read_samples(&args.samples, &set).map(|samples| extracted(args.answers, &set, samples))
    }
    .map_err(usage)?;
    check_k(&set, &samples, &args.k)?;

    if !set.unread.is_empty() {
        printer.remark(&format!("fields of {} that are not read: {}", set.name, set.unread.join(", ")));
    }
    let mut sandbox =
        Sandbox::new(Settings { mode: args.sandbox.into(), limits, jobs }).map_err(environment)?;
    let left_out = unexecuted(&set, &mut sandbox);
    for out in &left_out {
        printer.warn(&format!("left out {} tasks: {}", out.tasks, out.reason));
    }
    let executed = |task: usize| left_out.iter().all(|out| out.language != set.tasks[task].language);
    if !(0..set.tasks.len()).any(executed) {
        return Err(Expected::environment("none of the tasks can be executed on this machine").into());
    }
    if args.sandbox == SandboxMode::Off && !sandbox.layers().is_strict() {
        printer.warn(&format!("running untrusted code without {}", sandbox.layers().missing()));
    }
    let (sound, tasks_checked) = sound(&set, &executed, &mut sandbox, printer)?;
    let samples: Vec<&Sample> = samples.iter().filter(|sample| sound[sample.task]).collect();
    let judgements = judge(&mut sandbox, &set, &samples, printer)?;
    if let Some(path) = &args.verdicts {
        write_verdicts(path, &set, &samples, &judgements)?;
    }
    let left_out = (left_out, tasks_checked);
    let scores = scores(args, &set, &samples, &judgements, left_out, sandbox.layers())?;
    print(args, &scores, printer)?;
    Ok(Exit::Success)
}

/// Which tasks samples are judged by: those that are executed and distinguish right from wrong programs. The others are named.
fn sound(
    set: &TaskSet,
    executed: &dyn Fn(usize) -> bool,
    sandbox: &mut Sandbox,
    printer: &mut Printer,
) -> anyhow::Result<(Vec<bool>, Summary)> {
    let places: Vec<usize> = (0..set.tasks.len()).filter(|&place| executed(place)).collect();
    let tasks: Vec<_> = places.iter().map(|&place| set.tasks[place].clone()).collect();
    let (proofs, summary) = task_checks::check(&tasks, sandbox, printer).map_err(environment)?;
    for line in summary.lines() {
        printer.warn(&line);
    }
    if let Some(text) = task_checks::packages(&tasks, sandbox) {
        printer.remark(&text);
    }
    if summary.proven == 0 {
        let text = format!(
            "--tasks {}: none of {} tasks can distinguish a right program from a wrong one, so there is nothing to score by: {}",
            set.name,
            summary.checked,
            summary.reasons()
        );
        let missing = |proof: &Proof| matches!(proof, Proof::LeftOut(Reason::MissingModule { .. }));
        let machine = proofs.iter().all(missing);
        return Err(if machine { Expected::environment(text) } else { Expected::usage(text) }.into());
    }
    let mut sound = vec![false; set.tasks.len()];
    for (place, proof) in places.into_iter().zip(&proofs) {
        sound[place] = proof.is_sound();
    }
    Ok((sound, summary))
}

/// How many programs run at once; 0 stands for the usable processors.
///
/// # Errors
/// No program at once, or more than the processors can serve.
pub(super) fn jobs(given: Option<usize>) -> anyhow::Result<usize> {
    let most = JOBS_PER_PROCESSOR * std::thread::available_parallelism().map_or(1, usize::from);
    match given {
        Some(jobs) if jobs == 0 || jobs > most => Err(usage(format!(
            "--jobs is {jobs}; give 1 to {most} (the usable processors times {JOBS_PER_PROCESSOR}), or leave it out"
        ))),
        given => Ok(given.unwrap_or(0)),
    }
}

/// The completions in what models wrote.
fn extracted(answers: AnswerStyle, set: &TaskSet, mut samples: Vec<Sample>) -> Vec<Sample> {
    let style = match answers {
        AnswerStyle::Completion => return samples,
        AnswerStyle::Continuation => Style::Continuation,
        AnswerStyle::Chat => Style::Chat,
    };
    for sample in &mut samples {
        // A whole program is no answer that a completion would have to be found in.
        if let Answer::Completion(text) = &mut sample.answer {
            *text = completion(&set.tasks[sample.task], text, style);
        }
    }
    samples
}

fn usage(error: impl std::fmt::Display) -> anyhow::Error {
    Expected::usage(error.to_string()).into()
}

fn environment(error: SandboxError) -> anyhow::Error {
    match error {
        SandboxError::Broken { .. } => error.into(),
        _ => Expected::environment(error.to_string()).into(),
    }
}

fn limits(args: &PasskArgs) -> anyhow::Result<Limits> {
    if (LEAST_TIMEOUT_S..=3600.0).contains(&args.timeout_s) {
        Ok(Limits::with_timeout(Duration::from_secs_f64(args.timeout_s)))
    } else {
        Err(usage(format!("--timeout-s is {}; give {LEAST_TIMEOUT_S} to 3600 seconds", args.timeout_s)))
    }
}

/// Refuses a k that some task has too few samples for before anything runs.
fn check_k(set: &TaskSet, samples: &[Sample], ks: &[u64]) -> anyhow::Result<()> {
    let mut counts = vec![0u64; set.tasks.len()];
    for sample in samples {
        counts[sample.task] += 1;
    }
    for &k in ks {
        if k == 0 {
            return Err(usage(PasskError::ZeroK));
        }
        if let Some((task, &n)) = set.tasks.iter().zip(&counts).find(|(_, n)| **n < k) {
            return Err(usage(PasskError::TooFewSamples { k, task: task.id.clone(), n }));
        }
    }
    Ok(())
}

/// The languages of the set that cannot be executed here.
fn unexecuted(set: &TaskSet, sandbox: &mut Sandbox) -> Vec<LeftOut> {
    let mut counts: Vec<(TaskLanguage, usize)> = Vec::new();
    for task in &set.tasks {
        match counts.iter_mut().find(|(language, _)| *language == task.language) {
            Some((_, count)) => *count += 1,
            None => counts.push((task.language, 1)),
        }
    }
    counts
        .into_iter()
        .filter_map(|(language, tasks)| {
            let reason = sandbox.interpreter(language).err()?.to_string();
            Some(LeftOut { language, tasks, reason })
        })
        .collect()
}

fn judge(
    sandbox: &mut Sandbox,
    set: &TaskSet,
    samples: &[&Sample],
    printer: &Printer,
) -> anyhow::Result<Vec<Judgement>> {
    let mut judgements = Vec::with_capacity(samples.len());
    for batch in samples.chunks(BATCH) {
        let programs: Vec<_> = batch.iter().map(|s| s.answer.program(&set.tasks[s.task])).collect();
        judgements.extend(sandbox.judge(&programs).map_err(environment)?);
        if samples.len() > BATCH {
            printer.remark(&format!("judged {} of {} samples", judgements.len(), samples.len()));
        }
    }
    Ok(judgements)
}

fn write_verdicts(
    path: &Path,
    set: &TaskSet,
    samples: &[&Sample],
    judgements: &[Judgement],
) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for (sample, judgement) in samples.iter().zip(judgements) {
            let (field, text) = sample.answer.field();
            let line = json!({
                "task_id": set.tasks[sample.task].id,
                field: text,
                "verdict": judgement.verdict,
                "passed": judgement.verdict.is_pass(),
                "detail": judgement.detail,
                "cpu_ms": judgement.cpu_ms,
                "wall_ms": judgement.wall_ms,
            });
            writeln!(file, "{line}")?;
        }
        file.flush()
    };
    write().map_err(|e| {
        Expected::environment(format!("failed to write verdicts to {}: {e}", path.display())).into()
    })
}

fn scores<'a>(
    args: &PasskArgs,
    set: &'a TaskSet,
    samples: &[&Sample],
    judgements: &[Judgement],
    (left_out, tasks_checked): (Vec<LeftOut>, Summary),
    sandbox: Layers,
) -> anyhow::Result<Scores<'a>> {
    let mut counts: Vec<TaskCount> =
        set.tasks.iter().map(|task| TaskCount { task_id: task.id.clone(), samples: 0, passed: 0 }).collect();
    let mut verdicts = BTreeMap::new();
    for (sample, judgement) in samples.iter().zip(judgements) {
        counts[sample.task].samples += 1;
        counts[sample.task].passed += u64::from(judgement.verdict.is_pass());
        *verdicts.entry(name(judgement.verdict)?).or_insert(0) += 1;
    }
    counts.retain(|count| count.samples > 0);
    let pass_at_k = args.k.iter().map(|&k| pass_at_k(&counts, k)).collect::<Result<_, _>>().map_err(usage)?;
    let cpu_s = judgements.iter().map(|j| j.cpu_ms).sum::<f64>() / 1e3;
    Ok(Scores { tasks: &set.name, pass_at_k, verdicts, left_out, tasks_checked, sandbox, cpu_s })
}

/// A verdict's name as it is stored.
fn name(verdict: Verdict) -> anyhow::Result<String> {
    let value = serde_json::to_value(verdict).context("failed to name a verdict")?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

fn print(args: &PasskArgs, scores: &Scores<'_>, printer: &mut Printer) -> anyhow::Result<()> {
    if args.json {
        printer.data(&serde_json::to_string(scores).context("failed to write JSON")?);
        return Ok(());
    }
    for score in &scores.pass_at_k {
        let sampling =
            score.sampling_se.map_or(String::new(), |se| format!(", sampling error {:.1}", se * 100.0));
        let method = match score.interval.method {
            Method::Wilson => "Wilson",
            Method::TaskBootstrap => "bootstrap",
        };
        printer.data(&format!(
            "pass@{}  {:.1} %  (95 % interval over tasks {:.1} to {:.1}, {method}{sampling}; {} tasks, {} samples)",
            score.k,
            score.mean * 100.0,
            score.interval.low * 100.0,
            score.interval.high * 100.0,
            score.tasks,
            score.samples
        ));
    }
    let verdicts: Vec<String> =
        scores.verdicts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    printer.data(&format!("verdicts: {}", verdicts.join(", ")));
    Ok(())
}
