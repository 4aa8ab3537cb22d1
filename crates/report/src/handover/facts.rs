//! The facts of a trial in an export, in one place for metadata, README and Modelfile.

use crate::{Analysis, Commands, Comparison, Pick, file_stem};
use autotune_core::space::{Config, ConfigError, WeightPlan};
use autotune_store::TrialRecord;

/// A trial with everything that is said of it.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The study.
    pub analysis: &'a Analysis,
    /// The trial.
    pub trial: &'a TrialRecord,
    /// Its candidate, typed.
    pub config: Config,
    /// Name of the model file, `study-trial.gguf`.
    pub file: String,
    /// Commands that run the file from the folder that it lies in.
    pub commands: Commands,
    /// What it gains over the preset that most people take, or the nearest, when it is one of the recommended few.
    pub comparison: Option<&'a Comparison>,
}

impl<'a> Facts<'a> {
    /// Gathers what there is to say.
    ///
    /// # Errors
    /// The stored candidate is none that this version knows.
    pub fn new(analysis: &'a Analysis, trial: &'a TrialRecord, extension: &str) -> Result<Self, ConfigError> {
        let config = Config::from_candidate(&trial.candidate)?;
        let file = format!("{}-{}.{extension}", file_stem(&analysis.study.name), trial.number);
        let commands = analysis.commands(trial).for_file(&analysis.study, trial, &file);
        let pick = analysis.recommendation.picks.iter().find(|p| p.number == trial.number);
        let comparison = pick.and_then(Pick::lead);
        Ok(Self { analysis, trial, config, file, commands, comparison })
    }

    /// How the weights are stored: `Q4_K_M`, or `attn Q5_K, ffn Q4_K, embd Q8_0`.
    #[must_use]
    pub fn weights(&self) -> String {
        match &self.config.weights {
            WeightPlan::Preset(name) => name.clone(),
            WeightPlan::PerGroup(groups) if groups.is_empty() => "F16".to_owned(),
            WeightPlan::PerGroup(_) => {
                let types = self.trial.candidate.0.iter();
                let parts: Vec<String> = types
                    .filter(|(name, _)| name.as_str() != "weights.tie")
                    .filter_map(|(name, value)| Some(format!("{} {value}", name.strip_prefix("weights.")?)))
                    .collect();
                parts.join(", ")
            }
        }
    }

    /// What was removed: `2 layers, 5 % of KV heads`; none for a whole model.
    #[must_use]
    pub fn pruning(&self) -> Option<String> {
        let c = &self.config;
        let share = |kept: f64| format!("{:.0} %", 100.0 * (1.0 - kept));
        let mut parts = Vec::new();
        if c.drop_layers > 0 {
            parts.push(format!("{} layers", c.drop_layers));
        }
        if c.keep_kv_heads < 1.0 {
            parts.push(format!("{} of the KV head groups", share(c.keep_kv_heads)));
        }
        if c.keep_ffn < 1.0 {
            parts.push(format!("{} of the FFN channels", share(c.keep_ffn)));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
