//! `autotune export`: a trial's artifact with its figures, and the command lines that run it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::args::{ExportArgs, ExportFormat};
use super::database::{expected, open_for_reading};
use super::printer::Printer;
use super::trials::report_error;
use crate::atomic_file::temp_beside;
use crate::compress::convert::{ConvertError, convert};
use crate::exit::{Exit, Expected};
use crate::host;
use crate::host::identity::{Hashes, sha256_file};
use crate::model::Checkpoint;
use crate::report::Analysis;
use crate::report::handover::{Facts, Package, PackageError, torchscript, write_model};
use crate::space::Config;
use crate::store::{Artifact, Store, StudyRecord, TrialRecord, TrialState};
use crate::study::prepare::Preparation;
use crate::study::{Event, Kept, MachineFault, Settings, StudyContext};
use crate::tuner::parts;
use crate::worker::protocol::{Job, Message};
use crate::worker::supervisor::{End, Limits, Supervisor};

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
            "trial {} is {}{why}; its artifact is exported anyway",
            trial.number, trial.state
        ));
    }
    if let Some(out) = args.out.as_deref().filter(|out| out.is_dir()) {
        let text = format!("--out: {} is a folder; name a file in it, or write --to", out.display());
        return Err(Expected::usage(text).into());
    }
    let analysis = Analysis::load(&store, study.id).map_err(report_error)?;
    let extension = Path::new(&artifact.path).extension().map_or("gguf".into(), |e| e.to_string_lossy());
    let facts = Facts::new(&analysis, &trial, &extension)?;
    let package = match &args.to {
        Some(folder) => Some(Package::new(folder, &facts).map_err(refused)?),
        None => None,
    };
    let model = package.as_ref().map(Package::model).or_else(|| args.out.clone()).unwrap_or_default();
    let built = source(&store, &study, &trial, artifact, &model, args, printer)?;
    if args.format != ExportFormat::Gguf {
        make_folder(&model)?;
        let failed = |e: ConvertError| match e {
            ConvertError::Write { .. } => Expected::environment(e.to_string()),
            e => Expected::usage(e.to_string()),
        };
        if args.format == ExportFormat::Safetensors {
            convert(built.path(), &model, None).map_err(failed)?;
        } else {
            let checkpoint = Checkpoint::open(built.path())?;
            torchscript::write(&checkpoint, &model).map_err(failed)?;
        }
        printer.data(&model.display().to_string());
        return Ok(Exit::Success);
    }
    match &package {
        Some(package) => {
            let written = package.write(built.path()).map_err(refused)?;
            for file in &written.files {
                printer.data(&file.display().to_string());
            }
        }
        None => {
            make_folder(&model)?;
            write_model(built.path(), &model, &facts).map_err(refused)?;
            printer.data(&model.display().to_string());
        }
    }
    let commands = analysis.commands(&trial).for_file(&study, &trial, &model);
    for line in [commands.run, commands.chat].into_iter().flatten() {
        printer.data(&line);
    }
    Ok(Exit::Success)
}

/// The artifact that was measured: as it was kept, else built again. Nothing else is handed over.
fn source(
    store: &Store,
    study: &StudyRecord,
    trial: &TrialRecord,
    artifact: &Artifact,
    model: &Path,
    args: &ExportArgs,
    printer: &mut Printer,
) -> anyhow::Result<Source> {
    let kept = args.store.results.join(&artifact.path);
    let unreadable = |e| Expected::environment(format!("failed to read {}: {e}", kept.display()));
    match Kept::of(&args.store.results, artifact).map_err(unreadable)? {
        Kept::Whole => return Ok(Source::Kept(kept)),
        Kept::Unrecorded(found) => {
            printer.warn(&format!(
                "trial {} was built by a version that recorded no SHA-256 of its artifact: {} is taken as it is now, SHA-256 {found}",
                trial.number,
                kept.display()
            ));
            return Ok(Source::Kept(kept));
        }
        Kept::Missing => printer.remark("the artifact was cleaned up; rebuilding it"),
        Kept::Differs(found) => printer.warn(&format!(
            "{} is not the file that trial {} was measured with: its SHA-256 is {found}, and was {}; rebuilding it",
            kept.display(),
            trial.number,
            artifact.sha256.as_deref().unwrap_or_default()
        )),
    }
    let built = Source::Built(rebuild(store, study, trial, model, args, printer)?);
    let found = sha256_file(built.path())?;
    match &artifact.sha256 {
        Some(measured) if *measured != found => Err(Expected::usage(format!(
            "the artifact of trial {} cannot be reproduced: rebuilding gives a file with the SHA-256 {found}, but {measured} was measured              (another version of this program or of its engine, or training, makes another file); resume the study with --new-segment              to measure what this version builds",
            trial.number
        ))
        .into()),
        _ => Ok(built),
    }
}

/// Where the model is taken from; what was built for this export alone is removed behind it.
enum Source {
    Kept(PathBuf),
    Built(PathBuf),
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Source::Kept(path) | Source::Built(path) => path,
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Source::Built(path) = self {
            // A left-over next to the export is removed by the next one.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Classifies an error as the user's or the machine's.
fn refused(error: PackageError) -> anyhow::Error {
    match error {
        PackageError::Occupied { .. } => Expected::usage(error.to_string()).into(),
        PackageError::Write { .. } => Expected::environment(error.to_string()).into(),
        PackageError::Gguf(error) => error.into(),
    }
}

fn make_folder(file: &Path) -> anyhow::Result<()> {
    if let Some(folder) = file.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|e| Expected::environment(format!("failed to create {}: {e}", folder.display())))?;
    }
    Ok(())
}

/// Rebuilds the artifact next to its destination; returns its path.
fn rebuild(
    store: &Store,
    study: &StudyRecord,
    trial: &TrialRecord,
    model: &Path,
    args: &ExportArgs,
    printer: &mut Printer,
) -> anyhow::Result<PathBuf> {
    let settings: Settings = serde_json::from_str(&study.settings_json)
        .with_context(|| format!("the settings of study {} are damaged", study.root.0))?;
    let mut kit = parts::open_kit(&settings)?;
    let sha256 = Hashes::kept_in(host::default_cache_dir()).of(&settings.model_path)?.sha256;
    if study.model_hash == sha256 {
        kit.set_hash(sha256);
    }
    // Earlier versions hashed samples of the file.
    if kit.hash() != study.model_hash {
        return Err(Expected::usage(format!(
            "{} is no longer the model of study {}: the artifact cannot be rebuilt from it",
            settings.model_path.display(),
            study.name
        ))
        .into());
    }
    make_folder(model)?;
    let built = temp_beside(model);
    let host = parts::probe(&args.store.results)?;
    let supervisor = Supervisor::of_this_program()?;
    let never = || false;
    let cx = StudyContext {
        store,
        id: study.id,
        settings: &settings,
        kit: kit.as_ref(),
        supervisor: &supervisor,
        results: &args.store.results,
        threads: host.usable_threads(),
        machine_bytes: host.usable_bytes(),
        cancelled: &never,
    };
    let prepared = Preparation { cx }.run(&mut |event: &Event| {
        if let Event::Preparing { what } = event {
            printer.remark(&format!("making {what}"));
        }
    })?;
    let config = Config::from_candidate(&trial.candidate)?;
    let request = kit.build_request(&config, &prepared.materials, &built);
    let limits = Limits { time: Duration::from_secs(settings.rung_timeout_s), memory_bytes: None };
    let outcome = supervisor.run(&Job::Build { request }, &limits, &never, &mut |_: Message| {})?;
    if let Some(warning) = &outcome.warning {
        printer.warn(warning);
    }
    match outcome.end {
        End::Done => Ok(built),
        End::Refused(reason) => {
            Err(MachineFault { step: format!("build {}", model.display()), reason }.into())
        }
        end => anyhow::bail!("failed to build the artifact of trial {}: {end:?}", trial.number),
    }
}
