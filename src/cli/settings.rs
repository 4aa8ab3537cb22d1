//! From what the user said to what a study needs: parsed, resolved, checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{CostAxis, DEFAULT_SPACE, QualityAxis, SandboxMode, TuneArgs};
use super::printer::Printer;
use super::{bounds, budget};
use crate::duration::parse_duration;
use crate::engine::draw::Draws;
use crate::engine::{Device, EngineKind, find_device};
use crate::exit::Expected;
use crate::model::locate::{DEMO_VARIABLE, LocateError, locate};
use crate::quality::tasks::WARMUP;
use crate::sandbox::Mode;
use crate::search::SamplerKind;
use crate::space::preset_names;
use crate::study::{Cost, DEFAULT_TIME, ImportanceBy, Quality, Settings};
use crate::units::parse_bytes;
use crate::worker::timing::TimingLimits;
use crate::worker::workload::Workload;

/// Default sampling parameters: the temperature that HumanEval's authors found best for large k, and the usual nucleus.
const TEMPERATURE: f64 = 0.8;
const TOP_P: f64 = 0.95;

/// Resolves the flags of `tune`.
///
/// # Errors
/// A value that cannot be used, each with what was found and what to write.
pub fn resolve(args: &TuneArgs, printer: &Printer) -> anyhow::Result<Settings> {
    let stated_bytes = args.budget.as_deref().map(budget_bytes).transpose()?;
    let workload: Workload =
        args.workload.parse().map_err(|e| Expected::usage(format!("--workload: {e}")))?;
    let time = args.time.as_deref().map(|t| duration("--time", t)).transpose()?;
    let time = time.or_else(|| args.trials.is_none().then_some(DEFAULT_TIME));
    let sampler: SamplerKind =
        args.sampler.parse().map_err(|e| Expected::usage(format!("--sampler: {e}")))?;
    if let Some(path) = &args.calibration
        && !path.is_file()
    {
        return Err(Expected::usage(format!("--calibration: there is no file {}", path.display())).into());
    }
    let quality = match args.quality {
        QualityAxis::Pass1 => Quality::Pass1,
        QualityAxis::Pass10 => Quality::Pass10,
        QualityAxis::Codebleu => Quality::CodeBleu,
        QualityAxis::Kl => Quality::Kl,
    };
    let engine: EngineKind = args.engine.into();
    let recover_s =
        args.recover.as_deref().map(|t| duration("--recover", t)).transpose()?.map_or(0, |d| d.as_secs());
    if engine != EngineKind::Torch
        && (recover_s > 0 || ImportanceBy::from(args.importance) == ImportanceBy::Gradient)
    {
        EngineKind::Torch.version().map_err(|e| {
            Expected::environment(format!("--recover and --importance gradient need torch: {e}"))
        })?;
    }
    let cost = match args.cost {
        CostAxis::Latency => Cost::Latency,
        CostAxis::Energy => Cost::Energy,
    };
    let on = device(&args.device, engine)?;
    let cap_s = duration("--timing-cap", &args.timing_cap)?.as_secs_f64();
    let model_path = model_path(args.model.as_deref())?;
    let bounds = bounds::resolve(args, quality)?;
    let (draws, battery_wh) = (draws(args, quality)?, battery(args.battery_wh)?);
    let rung_timeout_s = duration("--rung-timeout", &args.rung_timeout)?.as_secs();
    // Last, so that a wrong flag is the only thing that is printed.
    let budget_bytes = stated_bytes.map_or_else(|| budget::default_bytes(printer), Ok)?;
    let defaults = Settings::new(model_path, budget_bytes);
    Ok(Settings {
        model: args.model.clone().unwrap_or_else(|| "demo".to_owned()),
        engine,
        device: on,
        space: absolute_space(space_for(engine, on, &args.space)),
        workload,
        tasks: absolute_tasks(&args.tasks),
        task_limit: args.task_limit,
        calibration: args.calibration.as_deref().map(absolute),
        importance: args.importance.into(),
        scaling: args.scaling.into(),
        recover_s,
        recover_on: args.recover_on.into(),
        sampler,
        seed: args.seed,
        trials: args.trials,
        time_s: time.map(|t| t.as_secs()),
        sandbox: if args.allow_unsandboxed { Mode::Off } else { args.sandbox.into() },
        quality,
        cost,
        battery_wh,
        bounds,
        draws,
        timing: TimingLimits { cap_s, ..defaults.timing },
        rung_timeout_s,
        reports: args.reports.clone(),
        ..defaults
    })
}

/// Reads `--device`.
///
/// # Errors
/// An invalid device, one that the engine does not support, or one that does not exist.
pub fn device(text: &str, engine: EngineKind) -> Result<Device, Expected> {
    let device = text.parse().map_err(|e| Expected::usage(format!("--device: {e}")))?;
    if device != Device::Cpu && engine != EngineKind::Torch {
        let text = format!("--device {device} is for --engine torch, but the engine is {}", engine.name());
        return Err(Expected::usage(text));
    }
    find_device(device).map_err(Expected::environment)?;
    Ok(device)
}

/// The space that is searched unless another is named: an engine's weight types are its own, and some are for a GPU.
pub fn space_for(engine: EngineKind, device: Device, named: &str) -> String {
    let name = match (engine, device) {
        (EngineKind::Torch, Device::Cpu) if named == DEFAULT_SPACE => "torch",
        (EngineKind::Torch, _) if named == DEFAULT_SPACE => "torch-gpu",
        _ => named,
    };
    name.to_owned()
}

/// Parameters of the completions that are sampled in addition to the greedy one.
fn draws(args: &TuneArgs, quality: Quality) -> Result<Option<Draws>, Expected> {
    let (samples, least) = (args.samples, quality.least_samples());
    if samples < least {
        let text = format!(
            "--quality pass@{least} needs at least {least} answers of each task, but --samples is {samples}"
        );
        return Err(Expected::usage(format!("{text}; write --samples {least}")));
    }
    if samples == 0 {
        let idle = [("--temperature", args.temperature), ("--top-p", args.top_p)];
        return match idle.into_iter().find(|(_, value)| value.is_some()) {
            Some((flag, _)) => Err(Expected::usage(format!(
                "{flag} applies to sampled completions, but --samples is 0; write for example --samples 10"
            ))),
            None => Ok(None),
        };
    }
    let (temperature, top_p) = (args.temperature.unwrap_or(TEMPERATURE), args.top_p.unwrap_or(TOP_P));
    if !(temperature > 0.0 && temperature <= 10.0) {
        return Err(Expected::usage(format!(
            "--temperature is {temperature}; give a number over 0 and up to 10 (the greedy answer, which is temperature 0, is always graded)"
        )));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(Expected::usage(format!("--top-p is {top_p}; give a share over 0 and up to 1")));
    }
    Ok(Some(Draws { samples, temperature, top_p, seed: args.seed }))
}

impl From<SandboxMode> for Mode {
    fn from(mode: SandboxMode) -> Self {
        match mode {
            SandboxMode::Auto => Self::Auto,
            SandboxMode::Strict => Self::Strict,
            SandboxMode::Off => Self::Off,
        }
    }
}

/// Reads `--battery-wh`.
///
/// # Errors
/// No capacity.
pub fn battery(watt_hours: Option<f64>) -> Result<Option<f64>, Expected> {
    match watt_hours {
        Some(wh) if !(wh > 0.0 && wh.is_finite()) => Err(Expected::usage(format!(
            "--battery-wh: invalid capacity {wh}: a phone has 10 to 20 watt-hours, a laptop 40 to 100"
        ))),
        stated => Ok(stated),
    }
}

/// A path that holds from another folder, too, where a study may be resumed; as it was given where the system refuses.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn absolute_tasks(tasks: &str) -> String {
    match tasks {
        "" | WARMUP => tasks.to_owned(),
        file => absolute(Path::new(file)).to_str().unwrap_or(file).to_owned(),
    }
}

/// A space file's path that holds from another folder, too; a preset's name as it is.
fn absolute_space(space: String) -> String {
    match Path::new(&space) {
        file if !preset_names().any(|name| name == space) && file.is_file() => {
            absolute(file).to_str().map_or(space.clone(), str::to_owned)
        }
        _ => space,
    }
}

/// Reads `--budget`.
///
/// # Errors
/// No size.
pub fn budget_bytes(text: &str) -> Result<u64, Expected> {
    parse_bytes(text).map_err(|e| Expected::usage(format!("--budget: {e}")))
}

/// Reads a duration of at least a second.
///
/// # Errors
/// No duration.
pub fn duration(flag: &str, text: &str) -> Result<Duration, Expected> {
    match parse_duration(text) {
        Ok(d) if d >= Duration::from_secs(1) => Ok(d),
        Ok(_) => Err(Expected::usage(format!(
            "{flag}: `{text}` is less than a second; write for example 90s, 30m or 2h"
        ))),
        Err(error) => Err(Expected::usage(format!("{flag}: {error}"))),
    }
}

/// Finds the model's file, as an absolute path, so that a resume from another folder finds it too.
///
/// # Errors
/// There is none.
pub fn model_path(model: Option<&str>) -> Result<PathBuf, Expected> {
    let path = locate(model).map_err(|e| match e {
        e if e.is_environment() => Expected::environment(e.to_string()),
        LocateError::Missing(_) if model.is_none() => Expected::usage(format!("{DEMO_VARIABLE}: {e}")),
        e => Expected::usage(e.to_string()),
    })?;
    std::path::absolute(&path).map_err(|e| Expected::usage(format!("{}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    #[test]
    fn the_defaults_of_the_flags_are_those_of_the_library() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.gguf");
        std::fs::write(&model, "GGUF").unwrap();
        let words = ["autotune", "tune", "--budget", "1GB", "--model", model.to_str().unwrap()];
        let Some(Command::Tune(args)) = Cli::parse_from(words).command else { panic!("it is `tune`") };
        assert_eq!(resolve(&args, &Printer::new(true)).unwrap(), Settings::new(model, 1_000_000_000));
    }
}
