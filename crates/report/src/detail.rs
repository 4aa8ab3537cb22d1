//! What the drill-down of a trial needs beyond its row: raw samples, generations, the layers of its artifact.

use autotune_core::metric::names;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Analysis, Result};
use autotune_store::{EventKind, Generation, Store};

/// The most trials with a drill-down, which are the front and the presets.
const MOST: usize = 40;

/// One trial in depth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detail {
    /// Latency of every request, in milliseconds.
    pub latency_ms: Vec<f64>,
    /// Duration of every decode step, in milliseconds.
    pub step_ms: Vec<f64>,
    /// What it wrote, graded.
    pub generations: Vec<Generation>,
    /// The layers of its artifact, where they were recorded.
    pub layers: Option<LayerStrip>,
}

/// The layers of an artifact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerStrip {
    /// The trial's number.
    pub trial: u64,
    /// Type of the embedding.
    pub embedding: String,
    /// From the first to the last.
    pub layers: Vec<LayerShape>,
}

/// One layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerShape {
    /// The layer's number in the source, from 0.
    pub source: u32,
    /// Query heads.
    pub heads: u32,
    /// KV heads.
    pub kv_heads: u32,
    /// FFN channels.
    pub ffn: u32,
    /// The type that holds most bytes of its attention.
    pub attn: String,
    /// The type that holds most bytes of its FFN.
    pub ffn_type: String,
}

impl Analysis {
    /// Reads the details of the front and of the presets.
    pub(super) fn load_details(&mut self, store: &Store) -> Result<()> {
        let mut strips: BTreeMap<u64, LayerStrip> = BTreeMap::new();
        for event in store.events(self.study.id, 0)?.into_iter().filter(|e| e.kind == EventKind::Layers) {
            if let Ok(strip) = serde_json::from_str::<LayerStrip>(&event.json) {
                strips.insert(strip.trial, strip);
            }
        }
        let presets = self.trials.iter().filter(|t| t.origin.preset_name().is_some()).map(|t| t.number);
        let picked = self.recommendation.picks.iter().map(|p| p.number);
        let mut numbers: Vec<u64> =
            picked.chain(self.recommendation.front.iter().copied()).chain(presets).collect();
        let mut seen = std::collections::BTreeSet::new();
        numbers.retain(|n| seen.insert(*n));
        for number in numbers.into_iter().take(MOST) {
            let Some(id) = self.trial(number).filter(|t| t.rung.is_some()).map(|t| t.id) else { continue };
            let detail = Detail {
                latency_ms: store.raw_samples(id, names::REQUEST_LATENCY_P50_MS)?,
                step_ms: store.raw_samples(id, names::TPOT_P50_MS)?,
                generations: store.generations(id)?,
                layers: strips.remove(&number),
            };
            self.details.insert(number, detail);
        }
        self.reference = ["F16", "F32", "as-shipped", "Q8_0"].iter().find_map(|name| {
            let graded = |n: u64| self.details.get(&n).is_some_and(|d| !d.generations.is_empty());
            let trial =
                self.trials.iter().find(|t| t.origin.preset_name() == Some(name) && graded(t.number))?;
            Some(trial.number)
        });
        Ok(())
    }
}
