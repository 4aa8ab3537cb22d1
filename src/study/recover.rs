//! Recovery: a pruned candidate is trained towards the reference before it is quantized.
//!
//! What is trained depends on what is pruned alone, so candidates that differ in types share one recovery, which stays in the model's cache.

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::event::{Event, Observer};
use super::kit::Materials;
use super::trial::{Climb, Halt};
use crate::engine::Device;
use crate::engine::lab::{RecoverProgress, RecoverRequest};
use crate::measure::protocol::{Built, ImportanceSource, Job, Message, Recovery};
use crate::measure::supervisor::Limits;
use crate::space::{Config, WeightPlan};

/// Tokens of a window, and windows of a step.
const WINDOW: u32 = 256;
const WINDOWS_PER_STEP: u32 = 2;
/// Largest learning rate.
const RATE: f64 = 2e-4;
/// Beside the training itself: loading, measuring, writing.
const SLACK: Duration = Duration::from_secs(3600);

/// What is built from in place of the reference.
pub(super) struct Recovered {
    pub(super) materials: Materials,
    pub(super) config: Config,
    pub(super) recovery: Recovery,
    /// What pruning kept, for people.
    pub(super) kept: String,
}

impl Climb<'_> {
    /// The trained model of a pruned candidate, made where it is not there yet; none where nothing is to be recovered.
    pub(super) fn recovered(
        &self,
        number: u64,
        config: &Config,
        observer: &mut dyn Observer,
    ) -> Result<Option<Recovered>, Halt> {
        if self.settings.recover_s == 0 || !config.is_pruned() {
            return Ok(None);
        }
        let materials = &self.prepared.materials;
        let folder = self.recovery_folder(config);
        std::fs::create_dir_all(&folder)?;
        let student = folder.join("student.gguf");
        let model = folder.join("model.gguf");
        let facts = folder.join("recovery.json");
        let known = std::fs::read_to_string(&facts)
            .ok()
            .and_then(|t| serde_json::from_str::<(Recovery, String)>(&t).ok());
        let (recovery, kept) = match known.filter(|_| model.is_file()) {
            Some(known) => known,
            None => {
                let floats = Config { weights: WeightPlan::PerGroup(Vec::new()), ..config.clone() };
                let request = self.kit.build_request(&floats, materials, &student);
                let built = self.built(request, number, observer)?;
                let recovery = self.train(number, &student, &model, observer)?;
                let text = serde_json::to_string(&(&recovery, &built.kept)).map_err(anyhow::Error::from)?;
                std::fs::write(&facts, text)?;
                // It can be built again.
                let _ = std::fs::remove_file(&student);
                (recovery, built.kept)
            }
        };
        let stats = folder.join("activations.json");
        if !stats.is_file() && self.kit.wants_activations() {
            let job = Job::Activations {
                model: model.clone(),
                text: self.prepared.calibration.clone(),
                max_tokens: super::Settings::CALIBRATION_TOKENS,
                threads: self.threads,
                out: stats.clone(),
            };
            let outcome = self.work(&job, number, observer, &mut |_| {})?;
            self.settle(number, &outcome, "collect activations of", None)?;
        }
        Ok(Some(Recovered {
            materials: Materials {
                reference: model,
                stats: Some(stats),
                importance: ImportanceSource::default(),
                ..materials.clone()
            },
            config: Config { keep_kv_heads: 1.0, keep_ffn: 1.0, drop_layers: 0, ..config.clone() },
            recovery,
            kept,
        }))
    }

    /// Beside the other things that are kept of the model; named by what is pruned, by what, and how long is trained.
    fn recovery_folder(&self, config: &Config) -> PathBuf {
        let of = format!(
            "{} {} {} {:?} {} {}",
            config.keep_kv_heads,
            config.keep_ffn,
            config.drop_layers,
            self.settings.importance,
            self.settings.recover_s,
            self.prepared.calibration,
        );
        let name: String = Sha256::digest(of.as_bytes()).iter().take(8).map(|b| format!("{b:02x}")).collect();
        let cache = self.prepared.materials.tensors.with_file_name("recovered");
        cache.join(name)
    }

    fn train(
        &self,
        number: u64,
        student: &std::path::Path,
        out: &std::path::Path,
        observer: &mut dyn Observer,
    ) -> Result<Recovery, Halt> {
        let time_s = self.settings.recover_s;
        let request = RecoverRequest {
            student: student.to_owned(),
            teacher: self.prepared.materials.reference.clone(),
            text: self.prepared.calibration.clone(),
            out: out.to_owned(),
            state: out.with_file_name("state"),
            time_s: time_s as f64,
            most_steps: u64::MAX,
            window: WINDOW,
            windows_per_step: WINDOWS_PER_STEP,
            rate: RATE,
            fake_bits: None,
            seed: self.settings.seed,
            threads: self.threads,
            device: Device::Cpu,
        };
        let limits = Limits { time: Duration::from_secs(time_s).saturating_add(SLACK), memory_bytes: None };
        let (mut first, mut last) = (None, RecoverProgress::default());
        let job = Job::Recover { request };
        let outcome = self.supervisor.run(&job, &limits, self.cancelled, &mut |message| {
            if let Message::Recovering(progress) = message {
                if first.is_none() {
                    first = progress.held_out;
                }
                last = progress;
                let what = format!("recovery, KL {:.3}", progress.loss);
                let done = (progress.spent_s as u64).min(time_s);
                observer.hear(&Event::Progress { trial: number, what, done, total: time_s });
            }
        })?;
        self.settle(number, &outcome, "recover", None)?;
        let after = last.held_out.unwrap_or(last.loss);
        Ok(Recovery { spent_s: last.spent_s, steps: last.steps, before: first.unwrap_or(after), after })
    }
}

impl Recovered {
    /// Tells of the recovery in what was built.
    pub(super) fn tell(self, built: Built) -> Built {
        Built { kept: self.kept, recovery: Some(self.recovery), ..built }
    }
}
