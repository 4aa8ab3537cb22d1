//! Recovery: a candidate that is pruned, or of few bits, is trained towards the reference before it is quantized.
//!
//! What is trained depends on what is pruned and on the types of few bits alone, so candidates that differ in the rest share one
//! recovery, which stays in the model's cache. Presets are what people use as they are, and are never trained unless they are pruned.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::event::{Event, Observer};
use super::halt::Halt;
use super::kit::{Kit, Materials};
use super::settings::Settings;
use super::trial::Climb;
use autotune_core::space::{Config, WeightPlan, WeightSlot};
use autotune_engine::Device;
use autotune_engine::lab::{RecoverProgress, RecoverRequest, Rounding};
use autotune_worker::protocol::{Built, ImportanceSource, Job, Message, Recovery};
use autotune_worker::supervisor::Limits;

/// Tokens of a window, and windows of a step.
const WINDOW: u32 = 256;
const WINDOWS_PER_STEP: u32 = 2;
/// Largest learning rate.
const RATE: f64 = 2e-4;
/// Steps between two roundings of matrices that are seen rounded.
const ROUND_EVERY: u32 = 4;
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

/// Whether a candidate is trained before it is quantized.
pub(super) fn is_trained(settings: &Settings, kit: &dyn Kit, config: &Config) -> bool {
    settings.recover_s > 0 && (config.is_pruned() || !low_slots(kit, config).is_empty())
}

/// The weights of the layers that are of few bits, by slot with their types; slots that make an exception from one of these are floats.
/// Empty where no bits are few.
fn low_slots(kit: &dyn Kit, config: &Config) -> Vec<(WeightSlot, String)> {
    let WeightPlan::PerGroup(slots) = &config.weights else { return Vec::new() };
    let of_layers = || slots.iter().filter(|(slot, _)| slot.role != "embd");
    let low = |role: &str| of_layers().any(|(slot, ty)| slot.role == role && kit.is_low(ty));
    of_layers()
        .filter(|(slot, ty)| kit.is_low(ty) || (slot.depth.is_some() && low(&slot.role)))
        .map(|(slot, ty)| {
            let ty = if kit.is_low(ty) { ty.as_str() } else { kit.float_type() };
            (slot.clone(), ty.to_owned())
        })
        .collect()
}

/// A configuration of a model that is pruned already.
fn whole(config: &Config) -> Config {
    Config { keep_kv_heads: 1.0, keep_ffn: 1.0, drop_layers: 0, ..config.clone() }
}

impl Climb<'_> {
    /// The trained model of a candidate, made where it is not there yet; none where nothing is to be recovered.
    pub(super) fn recovered(
        &self,
        number: u64,
        config: &Config,
        observer: &mut dyn Observer,
    ) -> Result<Option<Recovered>, Halt> {
        if !is_trained(self.cx.settings, self.cx.kit, config) {
            return Ok(None);
        }
        let materials = &self.prepared.materials;
        let low = low_slots(self.cx.kit, config);
        let folder = self.recovery_folder(config, &low);
        std::fs::create_dir_all(&folder)?;
        let model = folder.join("model.gguf");
        let facts = folder.join("recovery.json");
        let known = std::fs::read_to_string(&facts)
            .ok()
            .and_then(|t| serde_json::from_str::<(Recovery, String)>(&t).ok());
        // What is trained rounded is rounded by the same statistics when it is stored.
        let stats =
            if config.is_pruned() { Some(folder.join("activations.json")) } else { materials.stats.clone() };
        let (recovery, kept) = match known.filter(|_| model.is_file()) {
            Some(known) => known,
            None => {
                let (student, kept) = self.student(number, config, &folder, observer)?;
                let rounding = if low.is_empty() {
                    None
                } else {
                    let from = Materials {
                        reference: student.clone(),
                        stats: stats.clone(),
                        scale: false,
                        ..materials.clone()
                    };
                    self.collect(number, &from, observer)?;
                    Some(self.rounding(number, config, &low, &from, &folder, observer)?)
                };
                let recovery = self.train(number, &student, rounding.clone(), &model, observer)?;
                let text = serde_json::to_string(&(&recovery, &kept)).map_err(anyhow::Error::from)?;
                autotune_core::atomic_file::write(&facts, text.as_bytes())?;
                // They can be built again.
                let own = (student != materials.reference).then_some(student);
                for path in own.into_iter().chain(rounding.map(|r| r.like)) {
                    let _ = std::fs::remove_file(path);
                }
                (recovery, kept)
            }
        };
        let importance = ImportanceSource::default();
        // What was trained rounded stays on the grid that it was trained for.
        let scale = materials.scale && low.is_empty();
        let materials = Materials { reference: model, stats, importance, scale, ..materials.clone() };
        self.collect(number, &materials, observer)?;
        Ok(Some(Recovered { materials, config: whole(config), recovery, kept }))
    }

    /// The floats that are trained, and what pruning kept of them: the reference, where nothing is pruned.
    fn student(
        &self,
        number: u64,
        config: &Config,
        folder: &Path,
        observer: &mut dyn Observer,
    ) -> Result<(PathBuf, String), Halt> {
        let materials = &self.prepared.materials;
        if !config.is_pruned() {
            return Ok((materials.reference.clone(), String::new()));
        }
        let student = folder.join("student.gguf");
        let floats = Config { weights: WeightPlan::PerGroup(Vec::new()), ..config.clone() };
        let built = self.built(self.cx.kit.build_request(&floats, materials, &student), number, observer)?;
        Ok((student, built.kept))
    }

    /// Builds what the student would be untrained, for the types of its matrices.
    fn rounding(
        &self,
        number: u64,
        config: &Config,
        low: &[(WeightSlot, String)],
        student: &Materials,
        folder: &Path,
        observer: &mut dyn Observer,
    ) -> Result<Rounding, Halt> {
        let like = folder.join("like.gguf");
        let config = Config { weights: WeightPlan::PerGroup(low.to_vec()), ..whole(config) };
        self.built(self.cx.kit.build_request(&config, student, &like), number, observer)?;
        Ok(Rounding { like, stats: student.stats.clone(), every: ROUND_EVERY })
    }

    /// Activation statistics of a model, where they are not there yet.
    fn collect(&self, number: u64, of: &Materials, observer: &mut dyn Observer) -> Result<(), Halt> {
        let Some(out) = of.stats.clone().filter(|path| !path.is_file() && self.cx.kit.wants_activations())
        else {
            return Ok(());
        };
        let job = Job::Activations {
            model: of.reference.clone(),
            text: self.prepared.calibration.clone(),
            max_tokens: Settings::CALIBRATION_TOKENS,
            threads: self.cx.threads,
            out,
        };
        let outcome = self.work(&job, number, observer, &mut |_| {})?;
        self.settle(number, &outcome, "collect activations of", None, observer)
    }

    /// Beside the other things that are kept of the model; named by what is pruned, by what, which bits are few, and how long is trained on
    /// what.
    fn recovery_folder(&self, config: &Config, low: &[(WeightSlot, String)]) -> PathBuf {
        let mut of = format!(
            "{} {} {} {:?} {} {}",
            config.keep_kv_heads,
            config.keep_ffn,
            config.drop_layers,
            self.cx.settings.importance,
            self.cx.settings.recover_s,
            self.prepared.recovery_text,
        );
        for (slot, ty) in low {
            of += &format!(" {}.{:?} {ty}", slot.role, slot.depth);
        }
        let name: String = autotune_core::hex::encode(&Sha256::digest(of.as_bytes())[..8]);
        let cache = self.prepared.materials.tensors.with_file_name("recovered");
        cache.join(name)
    }

    fn train(
        &self,
        number: u64,
        student: &Path,
        rounding: Option<Rounding>,
        out: &Path,
        observer: &mut dyn Observer,
    ) -> Result<Recovery, Halt> {
        let time_s = self.cx.settings.recover_s;
        let request = RecoverRequest {
            student: student.to_owned(),
            teacher: self.prepared.materials.reference.clone(),
            text: self.prepared.recovery_text.clone(),
            out: out.to_owned(),
            state: out.with_file_name("state"),
            time_s: time_s as f64,
            most_steps: u64::MAX,
            window: WINDOW,
            windows_per_step: WINDOWS_PER_STEP,
            rate: RATE,
            rounding,
            seed: self.cx.settings.seed,
            threads: self.cx.threads,
            device: Device::Cpu,
        };
        let limits = Limits { time: Duration::from_secs(time_s).saturating_add(SLACK), memory_bytes: None };
        let (mut first, mut last) = (None, RecoverProgress::default());
        let job = Job::Recover { request };
        let outcome = self.cx.supervisor.run(&job, &limits, self.cx.cancelled, &mut |message| {
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
        self.settle(number, &outcome, "recover", None, observer)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit;
    use autotune_core::space::{Candidate, Value};
    use autotune_engine::EngineKind;
    use autotune_model::synthetic::Shapes;
    use autotune_model::{ArchKind, GgmlType};

    fn low(engine: EngineKind, pairs: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.gguf");
        Shapes::tiny(ArchKind::Llama).write(&path, GgmlType::F16, 3, None).unwrap();
        let kit = kit::open(engine, &path).unwrap();
        let text = |s: &str| Value::Text(s.into());
        let candidate = pairs.iter().fold(Candidate::default(), |c, (k, v)| c.with(k, text(v)));
        let slots = low_slots(kit.as_ref(), &Config::from_candidate(&candidate).unwrap());
        let name = |(slot, ty): &(WeightSlot, String)| match &slot.depth {
            Some(depth) => format!("{}.{depth} {ty}", slot.role),
            None => format!("{} {ty}", slot.role),
        };
        slots.iter().map(name).collect()
    }

    #[test]
    fn few_bits_in_layers_are_trained_and_the_rest_is_shared() {
        let llama = |pairs: &[(&str, &str)]| low(EngineKind::LlamaCpp, pairs);
        assert_eq!(llama(&[("weights.attn", "Q8_0"), ("weights.ffn", "Q4_K")]), ["ffn Q4_K"]);
        assert_eq!(llama(&[("weights.attn", "Q6_K"), ("weights.ffn", "Q4_K")]), ["ffn Q4_K"]);
        assert!(llama(&[("weights.ffn", "Q5_K"), ("weights.embd", "Q4_0")]).is_empty());
        assert!(llama(&[("weights.preset", "Q4_0")]).is_empty(), "presets stay as people use them");
        let exception =
            [("weights.ffn", "Q3_K"), ("weights.ffn.late", "Q8_0"), ("weights.attn.late", "Q8_0")];
        let mut found = llama(&exception);
        found.sort();
        assert_eq!(found, ["ffn Q3_K", "ffn.late F16"]);
        let torch = low(EngineKind::Torch, &[("weights.attn", "INT8"), ("weights.ffn", "INT4")]);
        assert_eq!(torch, ["ffn INT4"]);
    }
}
