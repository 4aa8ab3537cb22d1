//! Gathers what a study's numbers depend on, and compares it with what is stored.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::graders::Graders;
use crate::engine::EngineKind;
use crate::exit::Expected;
use crate::host;
use crate::host::HostInfo;
use crate::host::identity::{
    Component, Difference, FileIdentity, Guard, Hashes, Identity, OnChange, Part, files_of, host_parts,
    sha256_text,
};
use crate::quality::tasks;
use crate::quality::tasks::WARMUP;
use crate::sandbox::find_interpreter;
use crate::space::preset_names;
use crate::store::StudyRecord;
use crate::study::Observer;
use crate::study::kit::Kit;
use crate::study::{Grading, Settings, prepare};
use crate::units::Bytes;

/// Reading this many bytes takes long enough for a progress message.
const LARGE_BYTES: u64 = 2 << 30;

/// The files that the user named, read.
pub(crate) struct Inputs {
    /// Their identity.
    pub(crate) identity: Identity,
    /// Those that must stay as they are while a study runs.
    watched: Vec<(PathBuf, FileIdentity)>,
    /// SHA-256 of the model file.
    pub(crate) model_sha256: String,
}

impl Inputs {
    /// Reads the model, the tasks, the calibration text and the space file of a study.
    ///
    /// # Errors
    /// One of them is gone or cannot be read; a space file may be gone, since its levels are stored.
    pub(crate) fn read(settings: &Settings, observer: &mut dyn Observer) -> anyhow::Result<Self> {
        let hashes = Hashes::kept_in(host::default_cache_dir());
        let model = &settings.model_path;
        let bytes = model.metadata().map_or(0, |m| m.len());
        if bytes > LARGE_BYTES {
            observer.remark(&format!("model: checking its content ({})", Bytes(bytes)));
        }
        let model_file = read(&hashes, "model", model)?;
        let mut identity = Identity::default().with(Component::Model, part(model, &model_file));
        let mut watched = vec![(model.clone(), model_file.clone())];
        if let Some(folder) = settings.model_source.as_ref().filter(|f| f.is_dir()) {
            let (part, files) = folder_part(&hashes, folder)?;
            identity = identity.with(Component::ModelSource, part);
            watched.extend(files);
        }
        identity = identity.with(Component::Tasks, tasks_part(&hashes, &settings.tasks)?);
        let calibration = match &settings.calibration {
            Some(path) => part(path, &read(&hashes, "calibration text", path)?),
            None => Part::plain("as shipped with the program"),
        };
        identity = identity.with(Component::Calibration, calibration);
        let space = Path::new(&settings.space);
        if preset_names().any(|name| name == settings.space) {
            identity = identity.with(Component::Space, Part::plain(format!("the preset {}", settings.space)));
        } else if let Ok(file) = hashes.of(space) {
            identity = identity.with(Component::Space, part(space, &file));
        }
        Ok(Self { identity, watched, model_sha256: model_file.sha256 })
    }

    /// Their guard.
    pub(crate) fn guard(&self) -> Arc<Guard> {
        Arc::new(Guard::of(self.watched.clone()))
    }

    /// The identity with the machine, the engine, this program and what can be graded here.
    ///
    /// # Errors
    /// The engine does not report its version, or the tasks cannot be read.
    pub(crate) fn with_surroundings(
        &self,
        settings: &Settings,
        host: &HostInfo,
        graders: &Graders,
    ) -> anyhow::Result<Identity> {
        let version = settings.engine.version().map_err(|e| Expected::environment(e.to_string()))?;
        let (engine, kernels) = engine_parts(settings.engine, &version);
        let kernels = format!("{kernels}, device {}", settings.device);
        let texts = prepare::held_out().concat() + &prepare::timing_text();
        let prompts = graders.grading.prompts();
        let graded: Vec<_> = prompts.iter().map(|p| (&p.id, &p.text, p.max_tokens)).collect();
        let graded = Part::of_text(&serde_json::to_string(&graded)?, format!("{} tasks", prompts.len()));
        let mut identity = self
            .identity
            .clone()
            .with(Component::Workload, Part::plain(serde_json::to_string(&settings.workload)?))
            .with(Component::GradedTasks, graded)
            .with(Component::Interpreters, Part::plain(interpreters(&settings.tasks)?))
            .with(Component::Texts, Part::of_text(&texts, "shipped with the program"))
            .with(Component::Program, Part::plain(program()))
            .with(Component::Engine, Part::plain(engine))
            .with(Component::Kernels, Part::plain(kernels));
        for (component, part) in host_parts(host) {
            identity = identity.with(component, part);
        }
        Ok(identity)
    }
}

/// This program, distinguished from other builds of the same version by a hash of its sources.
fn program() -> String {
    format!("autotune {} (source {})", env!("CARGO_PKG_VERSION"), env!("AUTOTUNE_SOURCE"))
}

/// An engine's version, and what its kernels were built for and use here, from what it says of itself: `VERSION (FEATURES)`.
fn engine_parts(engine: EngineKind, version: &str) -> (String, String) {
    let (number, features) = match version.split_once(" (") {
        Some((number, features)) => (number, features.trim_end_matches(')')),
        None => (version, "as built"),
    };
    (format!("{} {number}", engine.name()), features.to_owned())
}

fn part(path: &Path, file: &FileIdentity) -> Part {
    Part::hashed(&file.sha256, format!("{} ({} bytes)", path.display(), file.stamp.bytes))
}

fn read(hashes: &Hashes, what: &str, path: &Path) -> Result<FileIdentity, Expected> {
    hashes.of(path).map_err(|e| {
        Expected::usage(format!(
            "the {what} {} cannot be read: {e}; put it back where it was, or start a new study",
            path.display()
        ))
    })
}

/// A folder by the names and contents of its files.
fn folder_part(hashes: &Hashes, folder: &Path) -> anyhow::Result<(Part, Vec<(PathBuf, FileIdentity)>)> {
    let names = files_of(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let (mut list, mut bytes, mut files) = (String::new(), 0, Vec::new());
    for path in names {
        let file = read(hashes, "model's file", &path)?;
        let name = path.strip_prefix(folder).unwrap_or(&path);
        list.push_str(&format!("{}  {}\n", file.sha256, name.display()));
        bytes += file.stamp.bytes;
        files.push((path, file));
    }
    let shown = format!("{} ({} files of {bytes} bytes)", folder.display(), files.len());
    Ok((Part::hashed(&sha256_text(&list), shown), files))
}

fn tasks_part(hashes: &Hashes, tasks: &str) -> Result<Part, Expected> {
    let path = Path::new(tasks);
    if tasks.is_empty() || tasks == WARMUP || !(path.is_absolute() || path.exists()) {
        let name = if tasks.is_empty() { WARMUP } else { tasks };
        return Ok(Part::plain(format!("{name}, as shipped with the program")));
    }
    Ok(part(path, &read(hashes, "task file", path)?))
}

/// The interpreters of the languages of the tasks, with their versions.
fn interpreters(tasks: &str) -> anyhow::Result<String> {
    let set = tasks::load(tasks, 0).map_err(|e| Expected::usage(format!("--tasks: {e}")))?;
    let mut languages = Vec::new();
    for task in &set.tasks {
        if task.language.is_executed() && !languages.contains(&task.language) {
            languages.push(task.language);
        }
    }
    let version = |&language: &_| match find_interpreter(language) {
        Ok(found) => format!("{language:?} {}", found.version),
        Err(_) => format!("{language:?}: none"),
    };
    let mut versions: Vec<String> = languages.iter().map(version).collect();
    versions.sort();
    Ok(if versions.is_empty() { "none".to_owned() } else { versions.join(", ") })
}

/// What is stored of a study; of one of an earlier version what its other columns tell, and whether it is such a one.
///
/// # Errors
/// A stored text is damaged.
pub(crate) fn stored(
    record: &StudyRecord,
    kit: &dyn Kit,
    model_sha256: &str,
) -> anyhow::Result<(Identity, bool)> {
    if let Some(text) = &record.identity_json {
        let identity = serde_json::from_str(text)
            .with_context(|| format!("the identity of study {} is damaged", record.selector()))?;
        return Ok((identity, true));
    }
    let host: HostInfo = serde_json::from_str(&record.host.json)
        .with_context(|| format!("the host of study {} is damaged", record.selector()))?;
    let mut identity = Identity::default();
    for (component, part) in host_parts(&host) {
        identity = identity.with(component, part);
    }
    // Earlier versions hashed samples of the file.
    if ![kit.hash(), model_sha256].contains(&record.model_hash.as_str()) {
        let part = Part::hashed(&record.model_hash, "the model by an earlier version's hash");
        identity = identity.with(Component::Model, part);
    }
    let versions: serde_json::Value = serde_json::from_str(&record.versions_json).unwrap_or_default();
    let version = |name: &str| versions.get(name).and_then(|v| v.as_str());
    if let Some(older) = version("autotune").filter(|v| *v != env!("CARGO_PKG_VERSION")) {
        identity = identity.with(Component::Program, Part::plain(format!("autotune {older}")));
    }
    let engine = [EngineKind::LlamaCpp, EngineKind::Torch, EngineKind::Mock];
    if let Some(engine) = engine.into_iter().find(|e| e.name() == record.engine)
        && let Some(version) = version(engine.name())
    {
        identity = identity.with(Component::Engine, Part::plain(engine_parts(engine, version).0));
    }
    Ok((identity, false))
}

/// Differences by what they mean.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// The study is not gone on with.
    pub(crate) refused: Vec<Difference>,
    /// It goes on in a new segment.
    pub(crate) segment: Vec<Difference>,
    /// It goes on.
    pub(crate) told: Vec<Difference>,
}

impl Compared {
    /// Sorts the differences of what is from what is stored.
    pub(crate) fn of(now: &Identity, stored: &Identity) -> Self {
        let mut compared = Self::default();
        for difference in now.differences(stored) {
            match difference.component.on_change() {
                OnChange::Refuse => compared.refused.push(difference),
                OnChange::Segment => compared.segment.push(difference),
                OnChange::Tell => compared.told.push(difference),
            }
        }
        compared
    }

    /// A Hugging Face folder that is gone is no reason to refuse: what was converted from it is there, and is compared.
    pub(crate) fn without_lost_source(mut self, settings: &Settings) -> Self {
        if settings.model_source.as_ref().is_some_and(|folder| !folder.exists()) {
            let lost = |d: &mut Difference| d.component == Component::ModelSource && d.now.is_none();
            self.told.extend(self.refused.extract_if(.., lost));
        }
        self
    }

    /// The refusal, where there is something to refuse.
    ///
    /// # Errors
    /// What differs, with the remedies.
    pub(crate) fn refuse(
        &self,
        record: &StudyRecord,
        settings: &Settings,
        results: &Path,
    ) -> Result<(), Expected> {
        if self.refused.is_empty() {
            return Ok(());
        }
        let study = record.root.0;
        let model = self.refused.iter().any(|d| d.component == Component::Model);
        let what = if model {
            format!(
                "{} is no longer the model that study {study} was started with",
                settings.model_path.display()
            )
        } else {
            format!("study {study} was started with other inputs")
        };
        let differences: Vec<String> = self.refused.iter().map(ToString::to_string).collect();
        Err(Expected::usage(format!(
            "{what}: {}. Restore it, start a new study, or run `{}` to continue separately from the \
             trials so far",
            differences.join("; "),
            super::commands::resume(record.root, results, Some("--new-segment"))
        )))
    }

    /// Why a new segment is opened, a sentence each.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.refused.iter().chain(&self.segment).chain(&self.told).map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(model: &Path) -> Settings {
        let workload: crate::worker::workload::Workload = "512:128:4".parse().unwrap();
        serde_json::from_value(serde_json::json!({
            "model": "m", "model_path": model, "budget_bytes": 1, "engine": EngineKind::Mock, "space": "smoke",
            "workload": workload, "tasks": "warmup", "task_limit": 1, "sampler": "random", "seed": 1,
            "timing": crate::worker::timing::TimingLimits::default(), "rung_timeout_s": 1, "reports": ".",
        }))
        .unwrap()
    }

    #[test]
    fn every_file_of_a_hugging_face_folder_is_compared_and_watched() {
        let folder = tempfile::tempdir().unwrap();
        let (model, source) = (folder.path().join("m.gguf"), folder.path().join("hf"));
        std::fs::write(&model, "converted").unwrap();
        std::fs::create_dir_all(source.join("part")).unwrap();
        let files = ["config.json", "model.safetensors", "tokenizer.json", "part/more.safetensors"];
        for file in files {
            std::fs::write(source.join(file), file).unwrap();
        }
        let settings = Settings { model_source: Some(source.clone()), ..settings(&model) };
        let mut observer = |_: &crate::study::Event| {};
        let begun = Inputs::read(&settings, &mut observer).unwrap();
        begun.guard().check().unwrap();
        for file in files {
            std::fs::write(source.join(file), file.replace('o', "0")).unwrap();
            assert!(begun.guard().check().is_err(), "{file}");
            let now = Inputs::read(&settings, &mut observer).unwrap();
            let compared = Compared::of(&now.identity, &begun.identity);
            let refused: Vec<_> = compared.refused.iter().map(|d| d.component).collect();
            assert_eq!(refused, [Component::ModelSource], "{file}");
            std::fs::write(source.join(file), file).unwrap();
            begun.guard().check().unwrap();
        }
        // One more file may be read by the next conversion; a hidden one is not.
        std::fs::write(source.join(".cache"), "x").unwrap();
        let same = Inputs::read(&settings, &mut observer).unwrap();
        assert!(Compared::of(&same.identity, &begun.identity).refused.is_empty());
        std::fs::write(source.join("merges.txt"), "x").unwrap();
        let more = Inputs::read(&settings, &mut observer).unwrap();
        assert_eq!(Compared::of(&more.identity, &begun.identity).refused.len(), 1);
        // What was converted is enough where the folder is gone.
        std::fs::remove_dir_all(&source).unwrap();
        let gone = Inputs::read(&settings, &mut observer).unwrap();
        let compared = Compared::of(&gone.identity, &begun.identity).without_lost_source(&settings);
        assert_eq!((compared.refused.len(), compared.told.len()), (0, 1));
    }

    #[test]
    fn an_engine_is_told_from_its_kernels() {
        let (engine, kernels) = engine_parts(EngineKind::LlamaCpp, "0.6.0-dev (CPU : AVX2 = 1 | FMA = 1)");
        assert_eq!((engine.as_str(), kernels.as_str()), ("llama.cpp 0.6.0-dev", "CPU : AVX2 = 1 | FMA = 1"));
        assert_eq!(
            engine_parts(EngineKind::Mock, "mock 1"),
            ("mock mock 1".to_owned(), "as built".to_owned())
        );
    }
}
