//! `autotune tune`: from settings to a study that runs, and what is said at its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::args::TuneArgs;
use super::converted::Converted;
use super::database::open_for_writing;
use super::exit::{Exit, Expected};
use super::graders::Graders;
use super::identity::Inputs;
use super::interrupt::Interrupt;
use super::live::Ends;
use super::printer::Printer;
use super::progress::Progress;
use super::{commands, preflight, rates, settings};
use crate::engine::{Device, EngineKind};
use crate::fault::told;
use crate::host::{self, HostInfo, ProbeOptions, energy};
use crate::identity::Guard;
use crate::measure::supervisor::Supervisor;
use crate::report;
use crate::search::SAMPLERS;
use crate::space::{LoadedSpace, Space, SpaceFacts, Value, load_space};
use crate::store::{NewStudy, Store, StudyRecord, StudyState, TrialState};
use crate::study::confirm::{self, Confirmation};
use crate::study::estimates::Known;
use crate::study::kit::Kit;
use crate::study::predict::Ceiling;
use crate::study::prepare::Preparation;
use crate::study::sensitivity::Probing;
use crate::study::{
    Ceilings, Cost, Event, Observer, ReferenceGrading, Settings, Stopped, Study, StudyEnd, StudyProblem,
    TaskGrading, Unusable, check_budget, importance, kit, leave_out_alike, objectives, region,
};

/// Artifacts may take this share of the disk that is free when the study begins.
const DISK_SHARE: f64 = 0.25;

/// Begins a study.
///
/// # Errors
/// Wrong flags, a wrong model, a budget that nothing meets, a broken disk or database.
pub fn tune(args: &TuneArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let (begun, graders) = Begun::new(args, printer)?;
    Run { searches: true, ..begun.run() }.go(graders, args.json, printer)
}

/// A study that was just created, with all that it needs.
pub(super) struct Begun {
    settings: Settings,
    kit: Box<dyn Kit>,
    host: HostInfo,
    space: Space,
    store: Store,
    record: StudyRecord,
    results: PathBuf,
    guard: Arc<Guard>,
}

impl Begun {
    /// Creates the study that the flags of `tune` describe.
    ///
    /// # Errors
    /// As for [`tune`].
    pub(super) fn new(args: &TuneArgs, printer: &mut Printer) -> anyhow::Result<(Self, Graders)> {
        let mut settings = settings::resolve(args)?;
        if settings.model_path.is_dir() {
            settings.model_source = Some(settings.model_path.clone());
        }
        let converted = Converted::of(&settings.model_path, &args.store.results, printer)?;
        settings.model_path.clone_from(&converted.path);
        let mut kit = open_kit(&settings)?;
        let inspection = preflight::source(settings.engine, &settings.model_path, printer)?;
        let host = probe(&args.store.results)?;
        let values = preflight::values(settings.engine, &settings.model_path, kit.as_ref(), &host, printer)?;
        let (budget_bytes, capped) = preflight::budget(settings.budget_bytes, &host);
        settings.budget_bytes = budget_bytes;
        if let Some(text) = capped {
            printer.remark(&text);
        }
        let unmeasurable = energy_unmeasurable(settings.engine);
        if settings.bounds.joules_per_token.is_some() && unmeasurable {
            let text = "--max-energy needs an energy counter, and this process may read none here (`autotune probe` shows it); leave the flag out";
            return Err(Expected::environment(text).into());
        }
        if settings.cost == Cost::Energy && unmeasurable {
            let text = "--cost energy: energy is not measurable here: neither the processor's counters (RAPL, /sys/class/powercap) nor those \
                        of an NVIDIA GPU can be read";
            return Err(Expected::environment(text.to_owned()).into());
        }
        settings.device_layers = device_layers(settings.engine, kit.as_ref());
        settings.rates = rates::for_study(settings.engine, kit.as_ref(), &host, printer)?;
        let LoadedSpace { mut space, notes } =
            load_space(&settings.space, &space_facts(&settings, kit.as_ref(), &host))
                .map_err(|e| Expected::usage(told(&e.into())))?;
        let refused = preflight::leave_out(&mut space, &inspection.unwrap_or_default(), &values);
        let alike = leave_out_alike(&mut space, kit.as_ref());
        for note in notes.iter().map(ToString::to_string).chain(refused).chain(alike) {
            printer.remark(&format!("space: {note}"));
        }
        check_types(&space, kit.as_ref(), settings.device)?;
        // Before anything is made: what is wrong with the call leaves no study behind, which a later `resume` would take up.
        check_budget(&problem(&settings, &space, kit.as_ref(), &host))?;
        let graders = Graders::new(&settings, printer)?;
        let inputs = Inputs::read(&settings, printer)?;
        let identity = inputs.with_surroundings(&settings, &host, &graders)?;
        kit.set_hash(inputs.model_sha256.clone());
        let new = new_study(&settings, &space, kit.as_ref(), &host)?;
        let store = open_for_writing(&args.store)?;
        let id = store.create_study(&new)?;
        graders.keep(&store, id)?;
        store.save_identity(id, &serde_json::to_string(&identity)?)?;
        let record = store.study_by_id(id)?;
        let (results, guard) = (args.store.results.clone(), inputs.guard());
        converted.keep();
        Ok((Self { settings, kit, host, space, store, record, results, guard }, graders))
    }

    /// It, ready to run.
    pub(super) fn run(&self) -> Run<'_> {
        Run {
            store: &self.store,
            record: &self.record,
            settings: &self.settings,
            space: &self.space,
            kit: self.kit.as_ref(),
            host: &self.host,
            results: &self.results,
            guard: Arc::clone(&self.guard),
            searches: false,
        }
    }
}

/// What is done with a study.
type Body<'b, T> =
    &'b mut dyn FnMut(&Study<'_>, &mut TaskGrading<'static>, &mut Progress<'_>) -> anyhow::Result<T>;

/// A study with its surroundings, ready to run.
pub(super) struct Run<'a> {
    pub(super) store: &'a Store,
    pub(super) record: &'a StudyRecord,
    pub(super) settings: &'a Settings,
    pub(super) space: &'a Space,
    pub(super) kit: &'a dyn Kit,
    pub(super) host: &'a HostInfo,
    pub(super) results: &'a Path,
    /// The files that must stay as they are.
    pub(super) guard: Arc<Guard>,
    /// Whether the study's own sampler chooses what is tried, by models.
    pub(super) searches: bool,
}

impl Run<'_> {
    pub(super) fn go(&self, graders: Graders, json: bool, printer: &mut Printer) -> anyhow::Result<Exit> {
        let interrupt = Interrupt::listen().context("failed to listen for Ctrl-C")?;
        let cancelled = || interrupt.is_set();
        let id = self.record.id;
        self.store.set_study_state(id, StudyState::Running, None)?;
        let ends = Ends { time: self.settings.time_s.map(Duration::from_secs), trials: self.settings.trials };
        let mut progress = Progress::new(printer, json, ends);
        progress.log_to(self.store, id);
        progress.say(&format!("model: {}", self.kit.describe()));
        let ended = self.record.trials.iter().filter(|(s, _)| s.is_ended()).map(|(_, n)| n).sum();
        progress.hear(&Event::StudyStarted {
            study: self.record.root.0,
            name: self.record.name.clone(),
            points: self.space.size().to_string(),
            ended,
        });
        let report = self.report_path();
        if self.settings.battery_wh.is_some() && energy_unmeasurable(self.settings.engine) {
            let text = "energy is not measurable here, so no share of the battery is told".to_owned();
            progress.hear(&Event::Remark { text });
        }
        if let Some(tasks) = graders.checked {
            progress.hear(&Event::TasksChecked { tasks });
        }
        for text in graders.left_out {
            progress.hear(&Event::Remark { text });
        }
        let outcome = self.run(graders.grading, &cancelled, &mut progress, &report);
        progress.finish();
        let end = match outcome {
            Ok(end) => end,
            Err(error) if error.is::<Stopped>() => StudyEnd::Paused("stopped by the user".to_owned()),
            Err(error) if error.is::<Unusable>() => {
                // No resume could go further: the model itself is wrong.
                self.store.set_study_state(id, StudyState::Finished, Some(&told(&error)))?;
                return Err(error);
            }
            Err(error) => {
                // What broke the study may refuse this, too; the first error is the one to tell.
                let _ = self.store.set_study_state(id, StudyState::Paused, Some(&told(&error)));
                let resume = commands::resume(self.record.root, self.results, None);
                let text = format!("study {} stopped; `{resume}` goes on", self.record.root.0);
                return Err(error.context(text));
            }
        };
        let end = match end {
            StudyEnd::Paused(_) if interrupt.is_set() => StudyEnd::Paused(interrupt.reason().to_owned()),
            end => end,
        };
        let (reason, paused) = match &end {
            StudyEnd::Finished(reason) => (reason.clone(), false),
            StudyEnd::Paused(reason) => (reason.clone(), true),
        };
        let state = if paused { StudyState::Paused } else { StudyState::Finished };
        self.store.set_study_state(id, state, Some(&reason))?;
        progress.hear(&Event::StudyEnded { reason, paused });
        self.tell_why()?;
        drop(progress);
        report::write(self.store, id, &report)?;
        self.conclude(&end, json, &report, printer)?;
        self.exit(cancelled())
    }

    /// Keeps for the report what moved the objectives, and the region that was searched.
    fn tell_why(&self) -> anyhow::Result<()> {
        let trials = self.store.trials(self.record.id)?;
        let known = Known::load(self.store, self.record.id)?;
        if let Some(found) = importance(self.record, &trials, &known)? {
            self.store.save_note(self.record.id, report::IMPORTANCE_NOTE, &serde_json::to_string(&found)?)?;
        }
        let bounds = region(self.record, &trials, &known)?;
        Ok(self.store.save_note(self.record.id, report::REGION_NOTE, &serde_json::to_string(&bounds)?)?)
    }

    fn run(
        &self,
        grading: TaskGrading<'static>,
        cancelled: &dyn Fn() -> bool,
        progress: &mut Progress<'_>,
        report: &Path,
    ) -> anyhow::Result<StudyEnd> {
        let begun = Instant::now();
        // A folder that cannot be written is known now, not after the first trial.
        report::write(self.store, self.record.id, report)?;
        self.with_study(grading, cancelled, progress, &mut |study, grading, progress| {
            let end = study
                .run(begun, grading, progress, &mut |store| Ok(report::write(store, study.id, report)?))?;
            if !cancelled() {
                let confirmation = Confirmation {
                    store: study.store,
                    id: study.id,
                    settings: study.settings,
                    kit: study.kit,
                    prepared: study.prepared,
                    supervisor: study.supervisor,
                    results: study.results,
                    machine_bytes: study.machine_bytes,
                    cancelled,
                };
                let time = match self.settings.time_s.map(Duration::from_secs) {
                    Some(limit) => {
                        limit.saturating_sub(begun.elapsed()).min(confirm::reserve(Duration::MAX / 2))
                    }
                    None => confirm::reserve(Duration::MAX / 2),
                };
                let again =
                    study.with_whole_artifacts(&report::to_recheck(study.store, study.id)?, progress)?;
                confirmation.run(&again, time, progress)?;
            }
            Ok(end)
        })
    }

    /// Prepares what the trials need, and hands the study to `body`.
    pub(super) fn with_study<T>(
        &self,
        mut grading: TaskGrading<'static>,
        cancelled: &dyn Fn() -> bool,
        progress: &mut Progress<'_>,
        body: Body<'_, T>,
    ) -> anyhow::Result<T> {
        let supervisor =
            Supervisor::of_this_program()?.on(self.settings.device).guarded_by(Arc::clone(&self.guard));
        let preparation = Preparation {
            kit: self.kit,
            settings: self.settings,
            supervisor: &supervisor,
            results: self.results,
            threads: self.host.usable_threads(),
            cancelled,
        };
        let problem = problem(self.settings, self.space, self.kit, self.host);
        let prepared = preparation.run(progress)?;
        let disk = self.host.disk.as_ref().map_or(u64::MAX, |d| d.free_bytes);
        let id = self.record.id;
        let reference = ReferenceGrading {
            store: self.store,
            id,
            problem: &problem,
            settings: self.settings,
            prepared: &prepared,
            supervisor: &supervisor,
            machine_bytes: self.host.usable_bytes(),
            cancelled,
        };
        reference.run(report::REFERENCE_NOTE, &mut grading, progress)?;
        let probing = Probing {
            store: self.store,
            id,
            settings: self.settings,
            space: self.space,
            kit: self.kit,
            prepared: &prepared,
            supervisor: &supervisor,
            machine_bytes: self.host.usable_bytes(),
            cancelled,
        };
        // Candidates that another program gives need none.
        let sensitivities =
            if self.searches && self.settings.sampler == SAMPLERS[0] { probing.run(progress)? } else { None };
        let problem = problem.with_sensitivities(sensitivities);
        let study = Study {
            store: self.store,
            id,
            settings: self.settings,
            kit: self.kit,
            prepared: &prepared,
            supervisor: &supervisor,
            results: self.results,
            problem: &problem,
            machine_bytes: self.host.usable_bytes(),
            artifact_bytes: (disk as f64 * DISK_SHARE) as u64,
            cancelled,
        };
        body(&study, &mut grading, progress)
    }

    pub(super) fn report_path(&self) -> PathBuf {
        report::default_path(&self.settings.reports, &self.record.name)
    }

    fn conclude(
        &self,
        end: &StudyEnd,
        json: bool,
        report: &Path,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        let summary = report::front_rows(self.store, self.record.id)?;
        if json {
            printer.data(&serde_json::to_string(&summary)?);
        } else {
            for line in summary.lines() {
                printer.data(&line);
            }
        }
        printer.remark(&format!("report: {}", report.display()));
        let more = match (end, self.settings.trials) {
            (StudyEnd::Finished(_), Some(trials)) => {
                // A limit below what is there already would do nothing.
                format!("--trials {}", trials.max(summary.trials).saturating_mul(2))
            }
            _ => "--time 10m".to_owned(),
        };
        let resume = commands::resume(self.record.root, self.results, Some(&more));
        printer.remark(&format!("go on: {resume}"));
        Ok(())
    }

    fn exit(&self, interrupted: bool) -> anyhow::Result<Exit> {
        if interrupted {
            return Ok(Exit::Interrupted);
        }
        let trials = self.store.trials(self.record.id)?;
        let any = |state| trials.iter().any(|t| t.state == state);
        if any(TrialState::Complete) {
            return Ok(Exit::Success);
        }
        if !trials.is_empty() && trials.iter().all(|t| t.state == TrialState::Infeasible) {
            let peak = |t: &crate::store::TrialRecord| {
                t.value("peak_memory_bytes").or_else(|| t.value("predicted_peak_memory_bytes"))
            };
            let least = trials.iter().filter_map(peak).fold(f64::INFINITY, f64::min);
            let text = format!(
                "no trial stayed within the budget of {}; the smallest needed {}",
                crate::units::Bytes(self.settings.budget_bytes),
                crate::units::Bytes(least as u64)
            );
            return Err(Expected { exit: Exit::Infeasible, text }.into());
        }
        if any(TrialState::Failed) {
            let text = "no trial completed; `autotune trials` tells why each failed".to_owned();
            return Err(Expected { exit: Exit::NoResult, text }.into());
        }
        Ok(Exit::Success)
    }
}

pub(super) fn problem<'a>(
    settings: &Settings,
    space: &'a Space,
    kit: &'a dyn Kit,
    host: &HostInfo,
) -> StudyProblem<'a> {
    let ceilings = ceilings(host);
    StudyProblem::new(
        space,
        kit,
        settings.workload,
        ceilings,
        settings.budget_bytes,
        &objectives(settings.cost, settings.quality, &settings.bounds),
    )
    .with_rates(settings.rates.clone())
    .with_device(settings.device_layers)
}

/// Layers that a GPU of this machine can take, the output matrix counted as one; 0 where the engine finds none.
pub(super) fn device_layers(engine: EngineKind, kit: &dyn Kit) -> u32 {
    let offloads = engine.open().is_ok_and(|e| e.offloads());
    if offloads { kit.facts().layers.saturating_add(1) } else { 0 }
}

/// Refuses a space of another engine's weight types, or of types that the device has no kernels for.
pub(super) fn check_types(space: &Space, kit: &dyn Kit, device: Device) -> Result<(), Expected> {
    let weights = space.params.iter().filter(|p| p.name.starts_with("weights."));
    for (param, level) in weights.flat_map(|p| p.levels.iter().map(move |l| (p, l))) {
        let Value::Text(name) = level else { continue };
        if device == Device::Cpu && kit.is_for_gpu(name) {
            return Err(Expected::usage(format!(
                "--space {}: {} has the type {name}, which no kernel of a processor multiplies with; it is for --device cuda:0",
                space.name, param.name
            )));
        }
        if !kit.has_type(name) {
            return Err(Expected::usage(format!(
                "--space {}: {} has the type {name}, which {} does not have; `--space torch` is for --engine torch, the others are for \
                 llama.cpp",
                space.name,
                param.name,
                kit.engine().name()
            )));
        }
    }
    Ok(())
}

/// The host with the ceilings that it had when the study began: what a sampler is told must not change under way, and ceilings are
/// measured anew when their cache is gone or was filled on a busy machine.
pub(super) fn as_begun(now: HostInfo, record: &StudyRecord) -> anyhow::Result<HostInfo> {
    let then: HostInfo = serde_json::from_str(&record.host.json)
        .with_context(|| format!("the host of study {} is damaged", record.root.0))?;
    Ok(HostInfo { ceilings: then.ceilings, ..now })
}

/// Opens the model; what is wrong with it is the user's to mend.
pub(super) fn open_kit(settings: &Settings) -> anyhow::Result<Box<dyn Kit>> {
    kit::open(settings.engine, &settings.model_path).map_err(|e| Expected::usage(told(&e)).into())
}

pub(super) fn probe(results: &Path) -> anyhow::Result<HostInfo> {
    let disk_path = results.ancestors().find(|p| p.exists()).unwrap_or(Path::new(".")).to_owned();
    let options = ProbeOptions { disk_path: Some(disk_path), ..ProbeOptions::default() };
    host::probe(&options).map_err(|e| Expected::environment(told(&e.into())).into())
}

/// Whether no energy counter can be read. The scripted engine brings its own.
fn energy_unmeasurable(engine: EngineKind) -> bool {
    engine != EngineKind::Mock && energy::machine(true).is_empty()
}

pub(super) fn ceilings(host: &HostInfo) -> Ceilings {
    let c = &host.ceilings;
    Ceilings {
        one: Ceiling {
            bytes_per_s: c.read_bytes_per_s_one_thread,
            flops: c.multiply_add_flop_per_s_one_thread,
        },
        all: Ceiling { bytes_per_s: c.read_bytes_per_s, flops: c.multiply_add_flop_per_s },
        threads: host.usable_threads(),
    }
}

pub(super) fn space_facts(settings: &Settings, kit: &dyn Kit, host: &HostInfo) -> SpaceFacts {
    SpaceFacts {
        usable_threads: host.usable_threads(),
        model: Some(kit.facts()),
        workload_context_tokens: settings.workload.context_tokens(),
        workload_requests: settings.workload.requests,
        device_layers: settings.device_layers,
        block_caches: kit.has_block_caches(),
    }
}

pub(super) fn new_study(
    settings: &Settings,
    space: &Space,
    kit: &dyn Kit,
    host: &HostInfo,
) -> anyhow::Result<NewStudy> {
    let stem = settings.model_path.file_stem().map(|s| s.to_string_lossy().trim().to_lowercase());
    // A bare number would be taken for a study's number.
    let stem = stem.filter(|s| !s.is_empty() && s.parse::<i64>().is_err());
    let version = settings.engine.version().map_err(|e| Expected::environment(e.to_string()))?;
    let versions = serde_json::json!({
        "autotune": env!("CARGO_PKG_VERSION"),
        settings.engine.name(): version,
    });
    Ok(NewStudy {
        name: stem.unwrap_or_else(|| "model".to_owned()),
        command: crate::shell::line(std::env::args_os()),
        settings_json: serde_json::to_string(settings)?,
        space_json: serde_json::to_string(space)?,
        seed: settings.seed,
        budget_bytes: settings.budget_bytes,
        model_path: settings.model.clone(),
        model_hash: kit.hash().to_owned(),
        engine: settings.engine.name().to_owned(),
        objectives_json: serde_json::to_string(&objectives(
            settings.cost,
            settings.quality,
            &settings.bounds,
        ))?,
        host_fingerprint: host.fingerprint.clone(),
        host_json: serde_json::to_string(host)?,
        versions_json: versions.to_string(),
    })
}
