//! The worker's side: one job from standard input, messages to standard output.
//!
//! Standard input stays open as a lifeline: when the study dies, it closes, and the worker ends at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::next_line::{Window, complete};
use crate::fault::{is_machines, told};
use crate::memory::resident;
use crate::protocol::{Job, Message, TimingPlan};
use crate::timing::Timed;
use crate::turns;
use crate::turns::Player;
use autotune_core::atomic_file;
use autotune_core::logits::argmax;
use autotune_core::os::process::exit_now;
use autotune_engine::exercise::exercise;
use autotune_engine::finite::NOT_A_NUMBER;
use autotune_engine::generate::{Prompt, generate_until};
use autotune_engine::lab::Lab;
use autotune_engine::{EngineError, EngineKind, OpenEngine, Row, RunConfig, Session, Token, check_finite};
use autotune_quality::divergence::{KEPT, Reference, Top, UNSCORED, summarize};
use autotune_quality::extract::is_finished;
use autotune_quality::tasks::Task;

/// Where messages go.
struct Line<W: Write>(W);

impl<W: Write> Line<W> {
    fn say(&mut self, message: &Message) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.0, message)?;
        self.0.write_all(b"\n")?;
        Ok(self.0.flush()?)
    }
}

/// Reads a job, does it with the engines that `open` opens and with `lab` where it needs gradients, reports; returns whether it succeeded.
pub fn run(open: OpenEngine, lab: Option<&dyn Lab>) -> bool {
    let mut line = Line(protocol_output());
    let mut text = String::new();
    let read = io::stdin().lock().read_line(&mut text);
    std::thread::spawn(end_with_the_study);
    let outcome = match read {
        Ok(_) => serde_json::from_str::<Job>(&text)
            .map_err(|e| anyhow::anyhow!("the worker got no job: {e}"))
            .and_then(|job| work(job, open, lab, &mut line)),
        Err(error) => Err(error.into()),
    };
    let message = match outcome {
        Ok(scripted) => {
            let memory = resident(std::process::id());
            Message::Done {
                peak_rss_bytes: memory.map(|m| m.peak),
                anonymous_bytes: memory.map(|m| m.anonymous),
                file_bytes: memory.map(|m| m.file),
                scripted_peak_bytes: scripted.peak_bytes,
                scripted_joules: scripted.joules,
            }
        }
        Err(error) => Message::Failed { error: told(&error), machine: is_machines(error.as_ref()) },
    };
    let succeeded = matches!(message, Message::Done { .. });
    line.say(&message).is_ok() && succeeded
}

/// Standard output, moved away so that a native library that prints cannot break the protocol.
fn protocol_output() -> Box<dyn Write> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let moved = io::stdout().as_fd().try_clone_to_owned();
        let sink = File::options().write(true).open("/dev/null");
        if let (Ok(moved), Ok(sink)) = (moved, sink)
            && nix::unistd::dup2_stdout(sink).is_ok()
        {
            return Box::new(BufWriter::new(File::from(moved)));
        }
    }
    Box::new(io::stdout())
}

/// Waits for standard input to close, then ends the process, whatever native code is doing: without its destructors, which would run
/// beside it, and could wait for it.
fn end_with_the_study() {
    let mut byte = [0];
    while matches!(io::stdin().lock().read(&mut byte), Ok(n) if n > 0) {}
    exit_now(3);
}

/// What a scripted engine pretends.
#[derive(Default)]
struct Scripted {
    peak_bytes: Option<u64>,
    joules: Option<f64>,
}

impl Scripted {
    fn of(session: &dyn Session) -> Self {
        Self { peak_bytes: session.scripted_peak_bytes(), joules: session.scripted_joules() }
    }
}

/// Does the job; returns what a scripted engine pretends.
fn work<W: Write>(
    job: Job,
    open: OpenEngine,
    lab: Option<&dyn Lab>,
    line: &mut Line<W>,
) -> anyhow::Result<Scripted> {
    match job {
        Job::Build { request } => {
            let built = crate::build::build(&request, &mut |done, total| {
                // A closed pipe shows again at the next message that matters.
                let _ = line.say(&Message::Progress { what: "tensors".to_owned(), done, total });
            })?;
            line.say(&Message::Built(built))?;
            Ok(Scripted::default())
        }
        Job::Inspect { engine, artifact, caches } => {
            let found = open(engine)?.inspect(&artifact, caches)?;
            line.say(&Message::Inspected(found))?;
            Ok(Scripted::default())
        }
        Job::CheckValues { engine, artifact, run, text } => {
            let report = crate::values::check(&artifact, run.threads as usize, &mut |_, _| {})?;
            if let Some(text) = text {
                let mut session = load(open, engine, &artifact, &run, line)?;
                let mut tokens = session.tokenize(&text, true)?;
                tokens.truncate(run.context.min(session.info().context) as usize);
                score_window(session.as_mut(), &tokens, 0, 0, &run, |_, _| {})?;
            }
            line.say(&Message::ValuesChecked(report))?;
            Ok(Scripted::default())
        }
        Job::Activations { model, text, max_tokens, threads, out } => {
            crate::build::activations(&model, &text, max_tokens, threads, &out)?;
            Ok(Scripted::default())
        }
        Job::Gradients { model, text, max_tokens, threads, out } => {
            let lab = lab.ok_or(EngineError::Elsewhere)?;
            let scores = lab.gradients(&model, &text, max_tokens, threads)?;
            for (layer, s) in scores.iter().enumerate() {
                let finite = s.kv_groups.iter().chain(&s.ffn).chain([&s.layer]).all(|x| x.is_finite());
                anyhow::ensure!(
                    finite,
                    "{}the gradients of layer {layer} hold NaN or infinity",
                    NOT_A_NUMBER
                );
            }
            atomic_file::write_with::<anyhow::Error>(&out, |file| Ok(serde_json::to_writer(file, &scores)?))?;
            Ok(Scripted::default())
        }
        Job::Recover { request } => {
            let lab = lab.ok_or(EngineError::Elsewhere)?;
            let end = lab.recover(&request, &mut |progress| {
                // Nobody listens: what was learnt is saved.
                line.say(&Message::Recovering(progress)).is_ok()
            })?;
            line.say(&Message::Recovering(end))?;
            Ok(Scripted::default())
        }
        Job::Measure { engine, artifact, run, workload, text, plan } => {
            let mut session = load(open, engine, &artifact, &run, line)?;
            let tokens = session.tokenize(&text, true)?;
            let timed = Timed {
                session: session.as_mut(),
                text: &tokens,
                workload,
                slots: run.sequences,
                chunk: run.batch_tokens,
            };
            let samples = match plan {
                TimingPlan::Requests { limits } => timed.requests(&limits)?,
                TimingPlan::Parts { rounds, prompt_tokens, steps } => {
                    turns::alone(timed, rounds, prompt_tokens, steps)?
                }
            };
            line.say(&Message::Measured(Box::new(samples)))?;
            Ok(Scripted::of(session.as_ref()))
        }
        Job::Turns { engine, sides, workload, text, first, rounds, time_s } => {
            let engine = open(engine)?;
            let loaded = sides.iter().map(|side| {
                let session = engine.load(&side.artifact, &side.run)?;
                let tokens = session.tokenize(&text, true)?;
                Ok((session, tokens))
            });
            let mut loaded = loaded.collect::<Result<Vec<_>, EngineError>>()?;
            let players = loaded.iter_mut().zip(&sides).map(|((session, text), side)| {
                let (slots, chunk) = (side.run.sequences, side.run.ubatch.min(side.run.batch_tokens));
                let timed = Timed { session: session.as_mut(), text, workload, slots, chunk };
                Player::new(timed, side.prompt_tokens, side.steps)
            });
            let mut players = players.collect::<Result<Vec<_>, _>>()?;
            let time = Duration::try_from_secs_f64(time_s).unwrap_or(Duration::MAX);
            let mut said = Ok(());
            turns::take(&mut players, first, rounds, time, |round, sides| {
                said = line.say(&Message::Round { round, sides });
                said.is_ok()
            })?;
            said?;
            Ok(Scripted::default())
        }
        Job::Rates { engine, request } => {
            crate::kernel_rates::measure(engine, request, &mut |message| line.say(message))?;
            Ok(Scripted::default())
        }
        Job::Reference { engine, artifact, run, texts, windows, window_tokens, out } => {
            let mut session = load(open, engine, &artifact, &run, line)?;
            let windows = cut_windows(session.as_ref(), &texts, windows, window_tokens)?;
            let vocabulary = session.info().vocabulary as u32;
            let mut tops = Vec::new();
            for (i, window) in windows.iter().enumerate() {
                session.forget(None);
                score_window(session.as_mut(), window, 0, i, &run, |_, logits| {
                    tops.push(Top::of(logits, KEPT))
                })?;
                let progress = Message::Progress {
                    what: "windows".to_owned(),
                    done: i as u64 + 1,
                    total: windows.len() as u64,
                };
                line.say(&progress)?;
            }
            let reference = Reference { vocabulary, windows, tops };
            atomic_file::write_with::<anyhow::Error>(&out, |file| Ok(reference.write(file)?))?;
            Ok(Scripted::default())
        }
        Job::Assess { engine, artifact, run, reference, prompts, tasks } => {
            let mut session = load(open, engine, &artifact, &run, line)?;
            if let Some(path) = reference {
                diverge(session.as_mut(), &path, &run, line)?;
            }
            if !prompts.is_empty() {
                let mut said = Ok(());
                let tasks: HashMap<&str, &Task> = tasks.iter().map(|task| (task.id.as_str(), task)).collect();
                let ends = |prompt: &Prompt, text: &str| {
                    tasks.get(prompt.id.as_str()).is_none_or(|task| is_finished(task, text))
                };
                let (slots, call) = (run.sequences, run.batch_tokens);
                generate_until(session.as_mut(), &prompts, slots, call, &ends, |generation| {
                    said = line.say(&Message::Generated(generation));
                    said.is_ok()
                })?;
                said?;
            }
            Ok(Scripted::of(session.as_ref()))
        }
        Job::Exercise { engine, artifact, run, exercises } => {
            let mut session = load(open, engine, &artifact, &run, line)?;
            for each in &exercises {
                let result = exercise(session.as_mut(), each, run.batch_tokens);
                line.say(&Message::Exercised(result))?;
            }
            Ok(Scripted::of(session.as_ref()))
        }
    }
}

fn load<W: Write>(
    open: OpenEngine,
    engine: EngineKind,
    artifact: &Path,
    run: &RunConfig,
    line: &mut Line<W>,
) -> anyhow::Result<Box<dyn Session>> {
    let engine = open(engine)?;
    let started = std::time::Instant::now();
    let session = engine.load(artifact, run)?;
    line.say(&Message::Loaded {
        info: session.info().clone(),
        load_ms: started.elapsed().as_secs_f64() * 1e3,
        version: engine.version(),
    })?;
    Ok(session)
}

/// Takes windows from each text in turn, so that every language has its share.
fn cut_windows(
    session: &dyn Session,
    texts: &[String],
    windows: u32,
    length: u32,
) -> anyhow::Result<Vec<Vec<Token>>> {
    let length = length.min(session.info().context) as usize;
    let mut tokenized = Vec::new();
    for text in texts {
        tokenized.push(session.tokenize(text, false)?);
    }
    let mut cut = Vec::new();
    for round in 0..windows as usize {
        for tokens in &tokenized {
            if cut.len() < windows as usize
                && let Some(window) = tokens.get(round * length..(round + 1) * length)
            {
                cut.push(window.to_vec());
            }
        }
    }
    anyhow::ensure!(!cut.is_empty(), "the held-out texts are shorter than one window of {length} tokens");
    Ok(cut)
}

/// Decodes a window into an empty sequence and hands each scored position with its logits, which are finite, to `each`. `number` is
/// the window's, from 0.
fn score_window(
    session: &mut dyn Session,
    window: &[Token],
    sequence: u32,
    number: usize,
    run: &RunConfig,
    mut each: impl FnMut(usize, &[f32]),
) -> anyhow::Result<()> {
    let chunk = run.batch_tokens.max(1) as usize;
    for (c, part) in window.chunks(chunk).enumerate() {
        let start = c * chunk;
        let rows: Vec<Row> = part
            .iter()
            .enumerate()
            .map(|(i, &token)| {
                let position = start + i;
                let logits = position >= UNSCORED && position + 1 < window.len();
                Row { token, position: position as u32, sequence, logits }
            })
            .collect();
        session.decode(&rows)?;
        for (i, row) in rows.iter().enumerate() {
            if row.logits {
                let logits = session.logits(i)?;
                check_finite(logits, || {
                    format!("at position {} of window {} of the held-out text", start + i, number + 1)
                })?;
                each(start + i, logits);
            }
        }
    }
    Ok(())
}

fn diverge<W: Write>(
    session: &mut dyn Session,
    path: &Path,
    run: &RunConfig,
    line: &mut Line<W>,
) -> anyhow::Result<()> {
    let reference = Reference::read(&mut io::BufReader::new(File::open(path)?))?;
    let vocabulary = session.info().vocabulary as u32;
    anyhow::ensure!(
        reference.vocabulary == vocabulary,
        "the artifact's vocabulary has {vocabulary} tokens, the reference's {}",
        reference.vocabulary
    );
    let mut tops = reference.tops.iter();
    let (mut positions, mut lines) = (Vec::new(), Vec::new());
    let slots = run.sequences.max(1) as usize;
    for (g, group) in reference.windows.chunks(slots).enumerate() {
        session.forget(None);
        let mut windows = Vec::new();
        for (sequence, tokens) in group.iter().enumerate() {
            let mut window = Window::new(tokens);
            score_window(session, tokens, sequence as u32, g * slots + sequence, run, |position, logits| {
                if let Some(top) = tops.next() {
                    positions.push(top.compare(logits, tokens[position + 1]));
                    window.likeliest[position + 1] = Some(argmax(logits));
                }
            })?;
            windows.push(window);
        }
        lines.extend(complete(session, &windows)?);
    }
    anyhow::ensure!(!positions.is_empty(), "the reference's predictions hold no position to compare");
    line.say(&Message::Diverged { divergence: summarize(&positions), lines })
}
