//! Inputs that all trials of a model share, made once and cached by content: the reference, activation statistics, the reference's predictions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::context::StudyContext;
use super::event::{Event, Observer};
use super::generated;
use super::kit::Materials;
use super::settings::{ImportanceBy, RecoveryText, Scaling, Settings};
use autotune_core::space::KvType;
use autotune_engine::{Device, FlashAttention, RunConfig, finite};
use autotune_worker::protocol::{ImportanceSource, Job, Message};
use autotune_worker::supervisor::{End, Limits};

/// Our own code, shipped with the program: what activations are collected on.
const CALIBRATION: [&str; 2] =
    [include_str!("corpus/calibration_python.txt"), include_str!("corpus/calibration_javascript.txt")];
/// Held-out code of our own: what divergence is measured on.
const HELD_OUT: [&str; 2] =
    [include_str!("corpus/heldout_python.txt"), include_str!("corpus/heldout_javascript.txt")];

/// The held-out code, a text each language.
#[must_use]
pub fn held_out() -> Vec<String> {
    HELD_OUT.iter().map(|&t| t.to_owned()).collect()
}

/// The text that timed prompts are cut from.
#[must_use]
pub fn timing_text() -> String {
    CALIBRATION.concat()
}

/// Preparing may take this long for each step: large models on slow machines.
const STEP_LIMIT: Duration = Duration::from_secs(4 * 3600);

/// What the trials work from.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Files to build from.
    pub materials: Materials,
    /// The reference's predictions on held-out code.
    pub predictions: PathBuf,
    /// Text that timed prompts are cut from.
    pub timing_text: String,
    /// Text that activations and gradients rest on.
    pub calibration: String,
    /// Text that recovery reads.
    pub recovery_text: String,
}

/// The settings under which divergence and generation are observed: the same for every candidate, chosen so that results do not
/// depend on what shares a batch (one KV stream per sequence, flash attention off unless a quantized V needs it).
#[must_use]
pub fn grading_run(threads: u32, kv_k: KvType, kv_v: KvType, repack: bool) -> RunConfig {
    RunConfig {
        threads,
        sequences: Settings::GRADING_SLOTS,
        context: Settings::GRADING_CONTEXT,
        batch_tokens: Settings::WINDOW_TOKENS,
        ubatch: Settings::WINDOW_TOKENS,
        max_outputs: 0,
        kv_k,
        kv_v,
        flash: if kv_v.is_quantized() { FlashAttention::On } else { FlashAttention::Off },
        repack,
        gpu_layers: 0,
        device: Device::Cpu,
    }
}

/// Runs the steps that no earlier run has done.
pub struct Preparation<'a> {
    /// The study's surroundings.
    pub cx: StudyContext<'a>,
}

impl Preparation<'_> {
    /// Makes what is missing.
    ///
    /// # Errors
    /// A step failed, or the user stopped it.
    pub fn run(&self, observer: &mut dyn Observer) -> anyhow::Result<Prepared> {
        let folder = self.cx.results.join("cache").join(short(self.cx.kit.hash()));
        let tensors = folder.join("tensors");
        std::fs::create_dir_all(&tensors)
            .with_context(|| format!("failed to create {}", tensors.display()))?;
        for folder in [&self.cx.results.join("artifacts"), &folder] {
            super::clear_leftovers(folder);
        }
        let reference = self.reference(&folder, observer)?;
        let stats = self.activations(&folder, &reference, observer)?;
        let importance = self.importance(&folder, &reference, observer)?;
        let predictions = self.predictions(&folder, &reference, observer)?;
        let scale = self.cx.settings.scaling == Scaling::Activations;
        let materials = Materials { reference, stats, importance, scale, tensors, threads: self.cx.threads };
        let calibration = self.calibration()?;
        let recovery_text = self.recovery_text(&folder, &materials.reference, &calibration, observer)?;
        Ok(Prepared { materials, predictions, timing_text: timing_text(), calibration, recovery_text })
    }

    fn reference(&self, folder: &Path, observer: &mut dyn Observer) -> anyhow::Result<PathBuf> {
        // Engines of one format share their reference.
        let extension = self.cx.kit.extension().rsplit('.').next().unwrap_or_default();
        // References of older versions rescaled the two copies of an embedding apart, so that they could not be tied again.
        let name = if self.cx.kit.facts().duplicated_embedding { "reference-tieable" } else { "reference" };
        let out = folder.join(format!("{name}.{extension}"));
        if let Some(text) = self.cx.kit.remark() {
            observer.hear(&Event::Remark { text });
        }
        if let Some(kind) = self.cx.kit.shipped_quantized() {
            observer.hear(&Event::Remark {
                text: format!(
                    "the model file is already quantized ({kind}): re-quantizing it would favour that type, so the file is a separate \
                     preset (as-shipped), and the reference is its weights in F16 after a rescaling that leaves the function as it is"
                ),
            });
        }
        match self.cx.kit.reference_job(&out, self.cx.settings.seed) {
            None => Ok(self.cx.settings.model_path.clone()),
            Some(job) => {
                self.step(&job, &out, "the float reference", observer)?;
                Ok(out)
            }
        }
    }

    fn activations(
        &self,
        folder: &Path,
        reference: &Path,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<Option<PathBuf>> {
        if !self.cx.kit.wants_activations() {
            return Ok(None);
        }
        let text = self.calibration()?;
        let out = folder.join(format!("activations-{}.json", short(&text_hash(&text))));
        let job = Job::Activations {
            model: reference.to_owned(),
            text,
            max_tokens: Settings::CALIBRATION_TOKENS,
            threads: self.cx.threads,
            out: out.clone(),
        };
        self.step(&job, &out, "activation statistics on calibration code", observer)?;
        Ok(Some(out))
    }

    /// The calibration text: the user's, or the one that is shipped.
    fn calibration(&self) -> anyhow::Result<String> {
        match &self.cx.settings.calibration {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("failed to read the calibration text {}", path.display())),
            None => Ok(CALIBRATION.concat()),
        }
    }

    fn importance(
        &self,
        folder: &Path,
        reference: &Path,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<ImportanceSource> {
        match self.cx.settings.importance {
            ImportanceBy::Activation => Ok(ImportanceSource::Activations),
            ImportanceBy::Magnitude => Ok(ImportanceSource::Magnitude),
            ImportanceBy::Gradient => {
                let text = self.calibration()?;
                let out = folder.join(format!("gradients-{}.json", short(&text_hash(&text))));
                let job = Job::Gradients {
                    model: reference.to_owned(),
                    text,
                    max_tokens: Settings::CALIBRATION_TOKENS,
                    threads: self.cx.threads,
                    out: out.clone(),
                };
                self.step(&job, &out, "gradients on calibration code", observer)?;
                Ok(ImportanceSource::Gradients(out))
            }
        }
    }

    /// Training text of recovery: the calibration text, or that and what the reference makes of it.
    fn recovery_text(
        &self,
        folder: &Path,
        reference: &Path,
        calibration: &str,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<String> {
        if self.cx.settings.recover_s == 0 || self.cx.settings.recover_on == RecoveryText::Calibration {
            return Ok(calibration.to_owned());
        }
        let out = folder.join(format!(
            "generated-{}-{}.txt",
            short(&text_hash(calibration)),
            self.cx.settings.seed
        ));
        if let Ok(known) = std::fs::read_to_string(&out) {
            return Ok(known);
        }
        let prompts = generated::prompts(calibration, self.cx.settings.seed);
        let job = Job::Assess {
            engine: self.cx.kit.engine(),
            artifact: reference.to_owned(),
            run: grading_run(self.cx.threads, KvType::F16, KvType::F16, false),
            reference: None,
            prompts: prompts.clone(),
            tasks: Vec::new(),
        };
        let total = prompts.iter().map(|p| u64::from(p.samples())).sum();
        let mut generations = Vec::new();
        self.work(&job, "text by the reference for recovery", observer, &mut |message, observer| {
            if let Message::Generated(generation) = message {
                generations.push(generation);
                let (what, done) = ("continuations".to_owned(), generations.len() as u64);
                observer.hear(&Event::Progress { trial: 0, what, done, total });
            }
        })?;
        let text = generated::joined(&prompts, &generations, calibration);
        autotune_core::atomic_file::write(&out, text.as_bytes())?;
        Ok(text)
    }

    fn predictions(
        &self,
        folder: &Path,
        reference: &Path,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<PathBuf> {
        let out = folder.join(format!("predictions-{}.bin", short(&text_hash(&HELD_OUT.concat()))));
        let mut run = grading_run(self.cx.threads, KvType::F16, KvType::F16, false);
        run.sequences = 1;
        let job = Job::Reference {
            engine: self.cx.kit.engine(),
            artifact: reference.to_owned(),
            run,
            texts: held_out(),
            windows: Settings::WINDOWS,
            window_tokens: Settings::WINDOW_TOKENS,
            out: out.clone(),
        };
        self.step(&job, &out, "the reference's predictions on held-out code", observer)?;
        Ok(out)
    }

    fn step(&self, job: &Job, out: &Path, what: &str, observer: &mut dyn Observer) -> anyhow::Result<()> {
        if out.exists() {
            return Ok(());
        }
        self.work(job, what, observer, &mut |message, observer| {
            if let Message::Progress { what, done, total } = message {
                observer.hear(&Event::Progress { trial: 0, what, done, total });
            }
        })
    }

    fn work(
        &self,
        job: &Job,
        what: &str,
        observer: &mut dyn Observer,
        each: &mut dyn FnMut(Message, &mut dyn Observer),
    ) -> anyhow::Result<()> {
        observer.hear(&Event::Preparing { what: what.to_owned() });
        let limits = Limits { time: STEP_LIMIT, memory_bytes: None };
        let mut hear = |message: Message| each(message, observer);
        let outcome = self.cx.supervisor.run(job, &limits, self.cx.cancelled, &mut hear)?;
        if let Some(warning) = outcome.warning {
            observer.hear(&Event::Remark { text: format!("{what}: {warning}") });
        }
        match outcome.end {
            End::Done => Ok(()),
            End::Cancelled => Err(super::Stopped.into()),
            End::Refused(reason) => Err(super::MachineFault { step: format!("make {what}"), reason }.into()),
            // No trial could be compared with a reference that gives no numbers.
            End::Failed(error) if finite::tells_of(&error) => {
                let why = error.replacen(finite::NOT_A_NUMBER, "", 1);
                let text = format!("the uncompressed model gives no numbers: failed to make {what}: {why}");
                Err(super::Unusable { text }.into())
            }
            End::Failed(error) | End::Crashed(error) => anyhow::bail!("failed to make {what}: {error}"),
            End::TimedOut | End::OverMemory => anyhow::bail!("failed to make {what}: it was stopped"),
        }
    }
}

/// The first 16 digits of a hash.
fn short(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

fn text_hash(text: &str) -> String {
    autotune_core::hex::encode(Sha256::digest(text.as_bytes()))
}
