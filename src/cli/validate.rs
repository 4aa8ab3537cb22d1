//! `autotune validate`: is an artifact fit for a tier? For people, and for a pipeline by exit code and JSON.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use super::args::ValidateArgs;
use super::integrity::refuse_damaged;
use super::interrupt::Interrupt;
use super::printer::Printer;
use super::scratch::Scratch;
use super::settings;
use crate::engine::EngineKind;
use crate::exit::{Exit, Expected};
use crate::host::Tier;
use crate::model::gguf::{Gguf, MetaValue};
use crate::quality::proof::Summary;
use crate::report::handover::{SUMS_FILE, SourceFacts, SumError, check_sums};
use crate::report::validate::{Bench, Plan, Status, Subject, Verdicts, judge};
use crate::report::{Align, table};
use crate::sandbox::Mode;
use crate::space::{Candidate, Config, KvType};
use crate::study::{Grading, Stopped};
use crate::tuner::graders::Graders;
use crate::tuner::{parts, preflight};
use crate::units::parse_bytes;
use crate::worker::supervisor::Supervisor;
use crate::worker::timing::TimingLimits;

/// Observes artifact and reference, judges, prints.
///
/// # Errors
/// The command line is wrong, a file is missing, or the machine lacks something.
pub fn run(args: &ValidateArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let engine: EngineKind = args.engine.into();
    let (artifact, listed) = find(&args.artifact)?;
    refuse_damaged(&artifact)?;
    let (artifact, trained) = subject(engine, artifact)?;
    let scratch = Scratch::new("validate")?;
    let converted = match &args.reference {
        Some(path) => {
            let named = settings::model_path(Some(path))?;
            Some(crate::tuner::converted::Converted::of(&named, &scratch.0, printer)?)
        }
        None => None,
    };
    let reference = converted.as_ref().map(|made| plain(engine, made.path.clone())).transpose()?;
    for subject in std::iter::once(&artifact).chain(&reference) {
        let found = preflight::load(engine, &subject.path, engine == EngineKind::LlamaCpp, printer)?;
        if let Some(why) = preflight::refused_cache(&found, subject.kv_k, subject.kv_v) {
            let (path, k, v) = (subject.path.display(), subject.kv_k.name(), subject.kv_v.name());
            let text = format!(
                "model file {path}: no context with a cache of {k} and {v} can be made for it: {why}"
            );
            return Err(Expected::usage(text).into());
        }
    }
    let mut plan = plan(args)?;
    let threads = parts::probe(Path::new("."))?.usable_threads();
    for text in plan.fit(threads, trained) {
        printer.remark(&text);
    }
    let sandbox = if args.allow_unsandboxed { Mode::Off } else { args.sandbox.into() };
    let graders = (reference.is_some() && args.task_limit > 0)
        .then(|| Graders::of(&args.tasks, args.task_limit, sandbox, None, printer))
        .transpose()?;
    let checked = graders.as_ref().and_then(|graders| graders.checked.clone());
    for text in graders.iter().flat_map(|graders| &graders.left_out) {
        printer.remark(text);
    }
    let mut grading = graders.map(|graders| graders.grading);
    let supervisor = Supervisor::of_this_program()?;
    let interrupt = Interrupt::listen().context("failed to listen for Ctrl-C")?;
    let cancelled = || interrupt.is_set();
    let bench = Bench {
        supervisor: &supervisor,
        engine,
        plan: &plan,
        timing: TimingLimits {
            cap_s: settings::duration("--timing-cap", &args.timing_cap)?.as_secs_f64(),
            ..TimingLimits::default()
        },
        patience: settings::duration("--step-timeout", &args.step_timeout)?,
        scratch: &scratch.0,
        cancelled: &cancelled,
    };
    let mut observe = |subject: &Subject, who: &str, is_reference: bool| {
        let mut tell = |what: &str| printer.remark(&format!("{who}: {what}"));
        let grading = grading.as_mut().map(|g| g as &mut dyn Grading);
        match is_reference {
            true => bench.reference(subject, grading, &mut tell),
            false => bench.artifact(subject, grading, &mut tell),
        }
    };
    let seen = reference
        .as_ref()
        .map(|r| observe(r, "reference", true))
        .transpose()
        .and_then(|theirs| Ok((theirs, observe(&artifact, "artifact", false)?)));
    let (theirs, ours) = match seen {
        Err(error) if error.is::<Stopped>() => return Ok(Exit::Interrupted),
        other => other?,
    };
    let verdicts = judge(&plan, &ours, theirs.as_ref());
    show(args, &plan, (&artifact.path, listed), checked.as_ref(), &verdicts, printer)?;
    Ok(if verdicts.passed { Exit::Success } else { Exit::Rejected })
}

fn show(
    args: &ValidateArgs,
    plan: &Plan,
    (artifact, listed): (&Path, Option<usize>),
    tasks: Option<&Summary>,
    verdicts: &Verdicts,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    if args.json {
        let value = json!({
            "artifact": artifact,
            "reference": args.reference,
            "checksums": listed,
            "plan": plan,
            "tasks": tasks,
            "passed": verdicts.passed,
            "checks": verdicts.checks,
        });
        printer.data(&serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    let head = [("", Align::Left), ("check", Align::Left), ("finding", Align::Left)];
    let word = |status| match status {
        Status::Pass => "pass",
        Status::Fail => "FAIL",
        Status::Skip => "skip",
    };
    let rows: Vec<Vec<String>> = verdicts
        .checks
        .iter()
        .map(|c| vec![word(c.status).to_owned(), c.name.clone(), c.text.clone()])
        .collect();
    for line in table(&head, &rows) {
        printer.data(&line);
    }
    let count = |status| verdicts.count(status);
    printer.data(&format!(
        "{}: {} passed, {} failed, {} skipped for tier {}",
        if verdicts.passed { "fit" } else { "not fit" },
        count(Status::Pass),
        count(Status::Fail),
        count(Status::Skip),
        plan.tier
    ));
    Ok(())
}

/// The tier's plan with the bounds of the flags.
fn plan(args: &ValidateArgs) -> anyhow::Result<Plan> {
    let mut plan = Plan::of(match args.tier {
        super::args::TierName::Mobile => Tier::Mobile,
        super::args::TierName::Edge => Tier::Edge,
        super::args::TierName::Desktop => Tier::Desktop,
        super::args::TierName::Server => Tier::Server,
    });
    let allowed = &mut plan.allowed;
    let percent = |flag: &str, given: Option<f64>, bound: &mut f64| match given {
        Some(p) if !p.is_finite() => Err(Expected::usage(format!("{flag}: invalid percentage `{p}`"))),
        Some(p) => {
            *bound = p / 100.0;
            Ok(())
        }
        None => Ok(()),
    };
    percent("--max-latency-loss", args.max_latency_loss, &mut allowed.latency_loss)?;
    percent("--max-quality-loss", args.max_quality_loss, &mut allowed.quality_loss)?;
    percent("--min-memory-gain", args.min_memory_gain, &mut allowed.memory_gain)?;
    percent("--min-same-tokens", args.min_same_tokens, &mut allowed.same_tokens)?;
    percent("--min-top1", args.min_top1, &mut allowed.top1)?;
    if let Some(kl) = args.max_kl {
        allowed.kl = kl;
    }
    if let Some(text) = &args.max_memory {
        allowed.memory_bytes =
            parse_bytes(text).map_err(|e| Expected::usage(format!("--max-memory: {e}")))?;
    }
    if let Some(context) = args.context {
        plan.context = context;
    }
    Ok(plan)
}

/// The model file of what the user named; of an exported folder also how many checksums were right.
fn find(named: &Path) -> anyhow::Result<(PathBuf, Option<usize>)> {
    let missing = || Expected::usage(format!("there is no artifact at {}", named.display()));
    if !named.is_dir() {
        return if named.is_file() { Ok((named.to_owned(), None)) } else { Err(missing().into()) };
    }
    let models: Vec<PathBuf> = std::fs::read_dir(named)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| {
            let name = p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            p.is_file() && (name.ends_with(".gguf") || name.ends_with(".json")) && name != "trial.json"
        })
        .collect();
    let [model] = models.as_slice() else {
        let text = format!("{} holds {} models; name one file", named.display(), models.len());
        return Err(Expected::usage(text).into());
    };
    if !named.join(SUMS_FILE).exists() {
        return Ok((model.clone(), None));
    }
    let checked = check_sums(named).map_err(|e| match e {
        SumError::Read { .. } => Expected::environment(e.to_string()),
        _ => Expected { exit: Exit::Rejected, text: e.to_string() },
    })?;
    Ok((model.clone(), Some(checked)))
}

/// An artifact is run with the KV types of the trial that it came from, when it says so; also returns the context that it was trained for.
fn subject(engine: EngineKind, path: PathBuf) -> anyhow::Result<(Subject, Option<u64>)> {
    if engine == EngineKind::Mock {
        return Ok((plain(engine, path)?, None));
    }
    let gguf = Gguf::open(&path).map_err(|e| Expected::usage(e.to_string()))?;
    let trained = SourceFacts::of(gguf.metadata()).context;
    let told = gguf.metadata().get("autotune.candidate").and_then(MetaValue::as_str);
    let candidate: Option<Candidate> = told.and_then(|text| serde_json::from_str(text).ok());
    let config = candidate.and_then(|c| Config::from_candidate(&c).ok());
    let subject = match config {
        Some(c) => Subject { path, kv_k: c.kv_k, kv_v: c.kv_v, repack: c.repack },
        None => Subject { path, kv_k: KvType::F16, kv_v: KvType::F16, repack: true },
    };
    Ok((subject, trained))
}

fn plain(engine: EngineKind, path: PathBuf) -> anyhow::Result<Subject> {
    if engine == EngineKind::LlamaCpp {
        Gguf::open(&path).map_err(|e| Expected::usage(e.to_string()))?;
    }
    Ok(Subject { path, kv_k: KvType::F16, kv_v: KvType::F16, repack: true })
}
