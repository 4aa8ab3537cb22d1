//! Sensitivities: the divergence that each choice of a space causes on its own, on a few tokens of held-out code, before the first trial.
//!
//! Small errors of independent causes add up in the divergence, to second order: it is a quadratic form of them, and their products cancel
//! in the mean. So the sum of what a candidate's choices cost one by one orders the space long before grades can. Where it misleads, the
//! sampler's models without it win (docs/src/explanation/search.md).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::context::StudyContext;
use super::event::{Event, Observer};
use super::prepare::{Prepared, grading_run, held_out};
use autotune_core::atomic_file::temp_beside;
use autotune_core::space::{Candidate, Config, KvType, Space, WeightPlan};
use autotune_engine::{EngineKind, RunConfig};
use autotune_store::{Store, StudyId};
use autotune_worker::protocol::{Job, Message};
use autotune_worker::supervisor::Limits;

/// The key of a study's note that holds its sensitivities.
pub const SENSITIVITY_NOTE: &str = "sensitivity";
/// Windows of held-out code, one of each language, and their tokens.
const WINDOWS: u32 = 2;
const WINDOW_TOKENS: u32 = 128;
/// Of a study's time, so much may be spent on probes; where they would take longer, there are none.
const SHARE: f64 = 0.1;
/// No probe takes less, in seconds, unless the model is a toy.
const LEAST_S: f64 = 3.0;
/// The time of the remaining probes is estimated after this many.
const FEW: f64 = 4.0;
/// Groups of parameters whose choices change what a model says.
const GROUPS: [&str; 3] = ["weights.", "kv.", "prune."];

/// What the choices of a space cost on their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sensitivities {
    /// By parameter: its levels, in the space's order.
    pub by: BTreeMap<String, Vec<Choice>>,
}

/// What one level of a parameter costs while all others are the reference's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The level.
    pub level: String,
    /// The mean divergence from the reference, in nats a token.
    pub kl: f64,
}

impl Sensitivities {
    /// The sum over a point's choices; none where one of its parameters was not probed.
    #[must_use]
    pub fn of(&self, space: &Space, point: &[usize]) -> Option<f64> {
        let probed = space.params.iter().zip(point).filter(|(param, _)| is_probed(&param.name));
        probed.map(|(param, level)| Some(self.by.get(&param.name)?.get(*level)?.kl)).sum()
    }

    /// Those that a study was started with; none where it has none.
    ///
    /// # Errors
    /// The database cannot be read, or the note is damaged.
    pub fn known(store: &Store, id: StudyId) -> anyhow::Result<Option<Self>> {
        let note = store.note(id, SENSITIVITY_NOTE)?;
        Ok(note.map(|text| serde_json::from_str(&text)).transpose()?)
    }
}

fn is_probed(name: &str) -> bool {
    GROUPS.iter().any(|group| name.starts_with(group))
}

/// What probes run on.
pub struct Probing<'a> {
    /// The study's surroundings.
    pub cx: StudyContext<'a>,
    /// The space.
    pub space: &'a Space,
    /// What was prepared.
    pub prepared: &'a Prepared,
}

/// A choice that is probed.
struct Probe {
    key: String,
    config: Config,
}

impl Probing<'_> {
    /// The sensitivities of the study: as it was started with, else probed now, if it has no trials yet and the time allows. What was probed of
    /// a model once is kept with its other files.
    ///
    /// # Errors
    /// The database or the disk refuses, or the user stopped it. A probe that fails ends the probing with a remark.
    pub fn run(&self, observer: &mut dyn Observer) -> anyhow::Result<Option<Sensitivities>> {
        let known = Sensitivities::known(self.cx.store, self.cx.id)?;
        let begun = !self.cx.store.trials(self.cx.id)?.is_empty();
        // Presets come first, and need none.
        let only_presets =
            self.cx.settings.trials.is_some_and(|n| n <= self.cx.kit.presets().len() as u64 + 1);
        if known.is_some() || begun || only_presets || self.cx.kit.engine() == EngineKind::Mock {
            return Ok(known);
        }
        let (mut by, mut probes) = (BTreeMap::new(), Vec::new());
        for param in self.space.params.iter().filter(|p| is_probed(&p.name)) {
            let mut keys = Vec::new();
            for level in &param.levels {
                let candidate = Candidate::default().with(&param.name, level.clone());
                let (key, config) = (format!("{} {level}", param.name), Config::from_candidate(&candidate)?);
                if !self.is_float(&config) {
                    probes.push(Probe { key: key.clone(), config });
                }
                keys.push((level.to_string(), key));
            }
            by.insert(param.name.clone(), keys);
        }
        let Some(found) = self.probe(&probes, observer)? else { return Ok(None) };
        let of = |levels: Vec<(String, String)>| {
            let choice = |(level, key)| Choice { level, kl: found.get(&key).copied().unwrap_or(0.0) };
            levels.into_iter().map(choice).collect()
        };
        let sensitivities =
            Sensitivities { by: by.into_iter().map(|(name, levels)| (name, of(levels))).collect() };
        self.cx.store.save_note(self.cx.id, SENSITIVITY_NOTE, &serde_json::to_string(&sensitivities)?)?;
        Ok(Some(sensitivities))
    }

    /// Whether a candidate is the reference in the engine's float type, or runs as that would.
    fn is_float(&self, config: &Config) -> bool {
        let WeightPlan::PerGroup(slots) = &config.weights else { return false };
        let plain = |ty: KvType| matches!(ty, KvType::F16 | KvType::F32);
        !config.is_pruned()
            && plain(config.kv_k)
            && plain(config.kv_v)
            && slots.iter().all(|(_, ty)| ty == self.cx.kit.float_type() || ty == "F32")
    }

    /// The divergence of each probe by its key; none where they would take too long, or one failed.
    fn probe(
        &self,
        probes: &[Probe],
        observer: &mut dyn Observer,
    ) -> anyhow::Result<Option<BTreeMap<String, f64>>> {
        let file = self.file()?;
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        // A file that is damaged is made anew.
        let mut found: BTreeMap<String, f64> = serde_json::from_str(&text).unwrap_or_default();
        let missing: Vec<&Probe> = probes.iter().filter(|p| !found.contains_key(&p.key)).collect();
        let allowed =
            self.cx.settings.time_s.map_or(Duration::MAX, |s| Duration::from_secs(s).mul_f64(SHARE));
        if missing.len() as f64 * LEAST_S > allowed.as_secs_f64() {
            return Ok(None);
        }
        let (total, mut spent) = (missing.len() as u64, Duration::ZERO);
        for (done, probe) in missing.iter().enumerate() {
            // The first one also makes the predictions to compare with.
            let (left, counted) = ((missing.len() - done) as f64, done.saturating_sub(1) as f64);
            let each = spent.as_secs_f64() / counted;
            // A few are not representative: some types are rounded ten times as slowly as others.
            if counted >= FEW && each * left > allowed.as_secs_f64() {
                let text = format!(
                    "the sensitivity of single choices is not probed: {left} probes of {each:.1} s would take over {:.0} % of the study's time; \
                     what was probed is kept for later studies",
                    100.0 * SHARE
                );
                observer.hear(&Event::Remark { text });
                return Ok(None);
            }
            let clock = Instant::now();
            if done == 0 {
                let what = format!("{total} probes of the sensitivity of single choices");
                observer.hear(&Event::Preparing { what });
            }
            let what = "probes".to_owned();
            observer.hear(&Event::Progress { trial: 0, what, done: done as u64, total });
            match self.one(&probe.config)? {
                Ok(kl) => found.insert(probe.key.clone(), kl),
                Err(reason) => {
                    let text = format!(
                        "the sensitivity of single choices is not known: the probe of {} failed: {reason}",
                        probe.key
                    );
                    observer.hear(&Event::Remark { text });
                    return Ok(None);
                }
            };
            let text = serde_json::to_string_pretty(&found)?;
            autotune_core::atomic_file::write(&file, text.as_bytes())?;
            if done > 0 {
                spent += clock.elapsed();
            }
        }
        Ok(Some(found))
    }

    /// Where what was probed of this model is kept: named by all its inputs except the choice.
    fn file(&self) -> anyhow::Result<PathBuf> {
        let s = self.cx.settings;
        let text = self.prepared.calibration.as_str();
        let of = format!("{:?} {:?} {text} {}", s.importance, s.scaling, held_out().concat());
        let digest = Sha256::digest(of.as_bytes());
        let name: String = autotune_core::hex::encode(&digest[..8]);
        let engine = self.cx.kit.engine().name();
        Ok(self.folder()?.join(format!("sensitivity-{engine}-{name}.json")))
    }

    fn folder(&self) -> anyhow::Result<&Path> {
        self.prepared.predictions.parent().ok_or_else(|| anyhow::anyhow!("the predictions have no folder"))
    }

    /// The divergence that a candidate causes, or why it is not known.
    fn one(&self, config: &Config) -> anyhow::Result<Result<f64, String>> {
        let materials = &self.prepared.materials;
        let predictions = self.folder()?.join(format!(
            "few-{}",
            self.prepared.predictions.file_name().map_or_else(Default::default, |n| n.to_string_lossy())
        ));
        let run = |kv_k, kv_v| RunConfig {
            sequences: WINDOWS,
            ..grading_run(materials.threads, kv_k, kv_v, false)
        };
        if !predictions.is_file() {
            let job = Job::Reference {
                engine: self.cx.kit.engine(),
                artifact: materials.reference.clone(),
                run: run(KvType::F16, KvType::F16),
                texts: held_out(),
                windows: WINDOWS,
                window_tokens: WINDOW_TOKENS,
                out: predictions.clone(),
            };
            if let Err(reason) = self.work(&job, &mut |_| {})? {
                return Ok(Err(reason));
            }
        }
        // Another process may probe the same model.
        let artifact = temp_beside(&self.folder()?.join(format!("probe.{}", self.cx.kit.extension())));
        // What only changes the cache runs the reference.
        let built = config.is_pruned() || !matches!(&config.weights, WeightPlan::PerGroup(s) if s.is_empty());
        if built {
            let request = self.cx.kit.build_request(config, materials, &artifact);
            if let Err(reason) = self.work(&Job::Build { request }, &mut |_| {})? {
                return Ok(Err(reason));
            }
        }
        let job = Job::Assess {
            engine: self.cx.kit.engine(),
            artifact: if built { artifact.clone() } else { materials.reference.clone() },
            run: run(config.kv_k, config.kv_v),
            reference: Some(predictions),
            prompts: Vec::new(),
            tasks: Vec::new(),
        };
        let mut kl = None;
        let outcome = self.work(&job, &mut |message| {
            if let Message::Diverged { divergence, .. } = message {
                kl = Some(divergence.kl_mean.value);
            }
        })?;
        if built {
            // It can be built again.
            let _ = std::fs::remove_file(&artifact);
        }
        Ok(outcome.and_then(|()| kl.ok_or_else(|| "no divergence was reported".to_owned())))
    }

    fn work(&self, job: &Job, each: &mut dyn FnMut(Message)) -> anyhow::Result<Result<(), String>> {
        let limits = Limits {
            time: Duration::from_secs(self.cx.settings.rung_timeout_s),
            memory_bytes: Some(self.cx.machine_bytes),
        };
        let outcome = self.cx.supervisor.run(job, &limits, self.cx.cancelled, each)?;
        super::done_or_why(outcome.end, &format!("probe the sensitivity of a choice ({})", job.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_core::space::{Param, ParamKind, Value};

    #[test]
    fn a_point_costs_what_its_choices_cost() {
        let param = |name: &str, levels: &[&str]| Param {
            name: name.into(),
            kind: ParamKind::Ordinal,
            levels: levels.iter().map(|l| Value::Text((*l).into())).collect(),
        };
        let params = vec![
            param("weights.ffn", &["Q4_0", "Q8_0"]),
            param("threads", &["1", "2"]),
            param("kv.k", &["q8_0", "f16"]),
        ];
        let space = Space { name: "s".into(), description: String::new(), params };
        let mut s = Sensitivities::default();
        let of = |kl: [f64; 2]| kl.map(|kl| Choice { level: String::new(), kl }).to_vec();
        s.by.insert("weights.ffn".into(), of([0.25, 0.01]));
        assert_eq!(s.of(&space, &[0, 0, 0]), None, "kv.k was not probed");
        s.by.insert("kv.k".into(), of([0.5, 0.0]));
        assert_eq!(s.of(&space, &[0, 1, 0]), Some(0.75));
        assert_eq!(s.of(&space, &[1, 0, 1]), Some(0.01));
        assert_eq!(s.of(&space, &[1, 0, 2]), None);
    }
}
