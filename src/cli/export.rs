//! `autotune export`: a trial's artifact, and the command line that runs it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::args::ExportArgs;
use super::database::{expected, open_for_reading};
use super::exit::{Exit, Expected};
use super::printer::Printer;
use super::tune;
use crate::measure::protocol::{Job, Message};
use crate::measure::supervisor::{End, Limits, Supervisor};
use crate::model::gguf::temp_beside;
use crate::report::Commands;
use crate::space::Config;
use crate::store::{StudyRecord, TrialRecord, TrialState};
use crate::study::prepare::Preparation;
use crate::study::{Event, MachineFault, Settings};

/// Copies the artifact out; builds it again when it was cleaned away.
///
/// # Errors
/// No such study or trial, a trial that was never built, or a disk that refuses.
pub fn run(args: &ExportArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let store = open_for_reading(&args.store)?;
    let study = store.study(args.study.as_deref()).map_err(expected)?;
    let trial = store.trial(study.id, args.trial).map_err(expected)?;
    let Some(artifact) = &trial.artifact else {
        let why = trial.failure.as_ref().map_or(String::new(), |f| format!(": {}", f.text));
        return Err(Expected::usage(format!(
            "trial {} of study {} has no artifact ({}{why})",
            trial.number, study.name, trial.state
        ))
        .into());
    };
    if matches!(trial.state, TrialState::Failed | TrialState::Infeasible) {
        let why = trial.failure.as_ref().map_or(String::new(), |f| format!(": {}", f.text));
        printer.warn(&format!(
            "trial {} is {}{why}; its artifact is exported all the same",
            trial.number, trial.state
        ));
    }
    if args.out.is_dir() {
        let text = format!("--out: {} is a folder; name a file in it", args.out.display());
        return Err(Expected::usage(text).into());
    }
    let kept = args.store.results.join(&artifact.path);
    if kept.exists() {
        copy(&kept, &args.out)?;
    } else {
        rebuild(&study, &trial, args, printer)?;
    }
    printer.data(&args.out.display().to_string());
    let commands = Commands::new(&study, &trial, &args.store.results);
    if let Some(run) = &commands.run {
        let own = format!("{}-{}.gguf", crate::report::file_stem(&study.name), trial.number);
        printer.data(&run.replace(&own, &args.out.display().to_string()));
    }
    Ok(Exit::Success)
}

/// Copies under a temporary name, then renames: an interrupted export leaves no half file under the real name.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let failed = |e: std::io::Error| Expected::environment(format!("failed to write {}: {e}", to.display()));
    if let Some(folder) = to.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let partial = temp_beside(to);
    let copied = std::fs::copy(from, &partial).and_then(|_| std::fs::rename(&partial, to));
    if copied.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    Ok(copied.map_err(failed)?)
}

fn rebuild(
    study: &StudyRecord,
    trial: &TrialRecord,
    args: &ExportArgs,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    printer.remark("the artifact was cleaned away; building it again");
    let settings: Settings = serde_json::from_str(&study.settings_json)
        .with_context(|| format!("the settings of study {} are damaged", study.id.0))?;
    let kit = tune::open_kit(&settings)?;
    if kit.hash() != study.model_hash {
        return Err(Expected::usage(format!(
            "{} is no longer the model of study {}: the artifact cannot be built again from it",
            settings.model_path.display(),
            study.name
        ))
        .into());
    }
    if let Some(folder) = args.out.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    }
    let host = tune::probe(&args.store.results)?;
    let supervisor = Supervisor::of_this_program()?;
    let never = || false;
    let preparation = Preparation {
        kit: kit.as_ref(),
        settings: &settings,
        supervisor: &supervisor,
        results: &args.store.results,
        threads: host.usable_threads(),
        cancelled: &never,
    };
    let prepared = preparation.run(&mut |event: &Event| {
        if let Event::Preparing { what } = event {
            printer.remark(&format!("making {what}"));
        }
    })?;
    let config = Config::from_candidate(&trial.candidate)?;
    let request = kit.build_request(&config, &prepared.materials, &args.out);
    let limits = Limits { time: Duration::from_secs(settings.rung_timeout_s), memory_bytes: None };
    let outcome = supervisor.run(&Job::Build { request }, &limits, &never, &mut |_: Message| {})?;
    match outcome.end {
        End::Done => Ok(()),
        End::Refused(reason) => {
            Err(MachineFault { step: format!("build {}", args.out.display()), reason }.into())
        }
        end => anyhow::bail!("failed to build the artifact of trial {}: {end:?}", trial.number),
    }
}
