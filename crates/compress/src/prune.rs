//! Which layers, KV groups and FFN channels stay.
//!
//! Scores are compared over all layers: the least important go first, wherever they are, down to a floor in each
//! layer. FFN channels go in blocks of 32 or 256, so that the widths suit the storage types.

use serde::{Deserialize, Serialize};

use super::{CompressError, Importance};
use autotune_model::{Architecture, LayerShape};

/// What is to be pruned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PruneRequest {
    /// Fraction of all KV groups to keep, in (0, 1].
    pub keep_kv_heads: f64,
    /// Fraction of all FFN channels to keep, in (0, 1].
    pub keep_ffn: f64,
    /// Whole layers to drop; the first and the last always stay.
    pub drop_layers: u32,
    /// FFN widths are cut to multiples of this.
    pub ffn_multiple: u32,
}

impl PruneRequest {
    /// Whether nothing is removed.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.keep_kv_heads >= 1.0 && self.keep_ffn >= 1.0 && self.drop_layers == 0
    }
}

/// What stays of one layer; numbers are those of the source, in rising order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLayer {
    /// The layer's number in the source.
    pub source: u32,
    /// KV heads.
    pub kv_heads: Vec<u32>,
    /// FFN channels.
    pub ffn: Vec<u32>,
}

/// What stays of a model, layer by layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunePlan {
    /// The kept layers in order.
    pub layers: Vec<KeptLayer>,
}

/// A layer below half of the fraction asked of the whole is spoilt more than the global comparison shows.
const FLOOR_OF_FRACTION: f64 = 0.5;

impl PrunePlan {
    /// Everything stays.
    #[must_use]
    pub fn full(arch: &Architecture) -> Self {
        let layers = arch.layers.iter().enumerate().map(|(i, l)| KeptLayer {
            source: i as u32,
            kv_heads: (0..l.kv_heads).collect(),
            ffn: (0..l.ffn).collect(),
        });
        Self { layers: layers.collect() }
    }

    /// Chooses by importance.
    ///
    /// # Errors
    /// More layers are to go than there are between the first and the last, or something is to be pruned without importance.
    pub fn choose(
        arch: &Architecture,
        importance: Option<&Importance>,
        request: &PruneRequest,
    ) -> Result<Self, CompressError> {
        if request.is_nothing() {
            return Ok(Self::full(arch));
        }
        let importance =
            importance.filter(|i| i.layers.len() == arch.layers.len()).ok_or(CompressError::NeedsStats)?;
        let layers = kept_layers(arch, importance, request.drop_layers)?;
        let shapes: Vec<LayerShape> = layers.iter().map(|&i| arch.layers[i]).collect();
        let groups: Vec<Ranking> =
            layers.iter().map(|&i| Ranking::new(&importance.layers[i].kv_groups)).collect();
        let channels: Vec<Ranking> =
            layers.iter().map(|&i| Ranking::new(&importance.layers[i].ffn)).collect();
        let kv = keep_best(&groups, 1, request.keep_kv_heads, 0.0);
        let ffn =
            keep_best(&channels, request.ffn_multiple.max(1) as usize, request.keep_ffn, FLOOR_OF_FRACTION);
        let kept = (0..layers.len()).map(|i| KeptLayer {
            source: layers[i] as u32,
            kv_heads: groups[i].best(kv[i], shapes[i].kv_heads),
            ffn: channels[i].best(ffn[i], shapes[i].ffn),
        });
        Ok(Self { layers: kept.collect() })
    }

    /// The shapes of the kept layers.
    #[must_use]
    pub fn shapes(&self, arch: &Architecture) -> Vec<LayerShape> {
        let shape = |l: &KeptLayer| {
            let kv_heads = l.kv_heads.len() as u32;
            let group = arch.layers.get(l.source as usize).map_or(0, |s| s.group());
            LayerShape { heads: kv_heads * group, kv_heads, ffn: l.ffn.len() as u32 }
        };
        self.layers.iter().map(shape).collect()
    }
}

/// The layers that stay: the least important between the first and the last go.
fn kept_layers(arch: &Architecture, importance: &Importance, drop: u32) -> Result<Vec<usize>, CompressError> {
    let n = arch.layers.len();
    if drop as usize > n.saturating_sub(2) {
        return Err(CompressError::Depth { asked: drop, layers: n });
    }
    let mut inner: Vec<usize> = (1..n.saturating_sub(1)).collect();
    inner.sort_by(|&a, &b| importance.layers[a].layer.total_cmp(&importance.layers[b].layer).then(a.cmp(&b)));
    let gone = &inner[..drop as usize];
    Ok((0..n).filter(|i| !gone.contains(i)).collect())
}

/// The units of one layer, best first.
struct Ranking {
    order: Vec<u32>,
    scores: Vec<f32>,
}

impl Ranking {
    fn new(scores: &[f32]) -> Self {
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
        let scores = order.iter().map(|&i| scores[i as usize]).collect();
        Self { order, scores }
    }

    /// The numbers of the best `n` units, rising; all when `n` covers all whole blocks.
    fn best(&self, n: Option<usize>, all: u32) -> Vec<u32> {
        match n {
            None => (0..all).collect(),
            Some(n) => {
                let mut best = self.order[..n.min(self.order.len())].to_vec();
                best.sort_unstable();
                best
            }
        }
    }
}

/// How many units each layer keeps, in whole blocks of `multiple`; `None` keeps a layer as it is. A layer keeps at least one block, and
/// at least the fraction times `floor` of its own.
fn keep_best(layers: &[Ranking], multiple: usize, fraction: f64, floor: f64) -> Vec<Option<usize>> {
    if fraction >= 1.0 {
        return vec![None; layers.len()];
    }
    let blocks: Vec<usize> = layers.iter().map(|l| l.order.len() / multiple).collect();
    let total: usize = blocks.iter().sum();
    let floors: Vec<usize> =
        blocks.iter().map(|&n| (((n as f64) * fraction * floor).round() as usize).max(1).min(n)).collect();
    let wanted = ((total as f64) * fraction).round() as usize;
    let mut free = wanted.saturating_sub(floors.iter().sum());
    let mut kept = floors.clone();
    let mut candidates: Vec<(f32, usize, usize)> = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        for (b, block) in layer.scores.chunks_exact(multiple).enumerate().skip(floors[i]) {
            candidates.push((block.iter().sum(), i, b));
        }
    }
    // Within a layer scores fall with the block's number, so taking the best overall takes a prefix of every layer.
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.2, a.1).cmp(&(b.2, b.1))));
    for (_, layer, _) in candidates {
        if free == 0 {
            break;
        }
        kept[layer] += 1;
        free -= 1;
    }
    kept.iter().zip(&blocks).map(|(&k, &n)| (k < n).then_some(k * multiple)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::LayerScores;
    use super::*;
    use autotune_model::ArchKind;

    fn arch(layers: usize, kv: u32, ffn: u32) -> Architecture {
        Architecture {
            kind: ArchKind::Llama,
            hidden: 64,
            head_dim: 16,
            layers: vec![LayerShape { heads: kv * 3, kv_heads: kv, ffn }; layers],
            vocab: 10,
            context_length: 10,
            tied: true,
            qkv_bias: false,
            rope_base: 1e4,
        }
    }

    fn importance(arch: &Architecture, seed: u32) -> Importance {
        let noise = |i: u32| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 7) % 1000) as f32 / 1000.0;
        let layers = arch.layers.iter().enumerate().map(|(i, l)| LayerScores {
            kv_groups: (0..l.kv_heads).map(|g| noise(g + 31 * i as u32)).collect(),
            ffn: (0..l.ffn).map(|c| noise(c + 1009 * i as u32)).collect(),
            layer: noise(77 + i as u32),
        });
        Importance { layers: layers.collect() }
    }

    fn request(kv: f64, ffn: f64, drop: u32) -> PruneRequest {
        PruneRequest { keep_kv_heads: kv, keep_ffn: ffn, drop_layers: drop, ffn_multiple: 32 }
    }

    #[test]
    fn nothing_asked_keeps_everything_even_without_statistics() {
        let a = arch(4, 3, 128);
        let plan = PrunePlan::choose(&a, None, &request(1.0, 1.0, 0)).unwrap();
        assert_eq!(plan, PrunePlan::full(&a));
        assert_eq!(plan.shapes(&a), a.layers);
        assert!(matches!(PrunePlan::choose(&a, None, &request(0.9, 1.0, 0)), Err(CompressError::NeedsStats)));
    }

    #[test]
    fn the_least_important_go() {
        let a = arch(3, 4, 128);
        let mut scores = importance(&a, 1);
        for l in &mut scores.layers {
            l.kv_groups.fill(0.25);
            l.ffn.fill(0.5);
        }
        scores.layers[1].kv_groups[2] = 0.01;
        scores.layers[2].ffn[..32].fill(0.001);
        scores.layers[1].layer = 0.0;
        let plan = PrunePlan::choose(&a, Some(&scores), &request(11.0 / 12.0, 11.0 / 12.0, 0)).unwrap();
        assert_eq!(plan.layers[1].kv_heads, [0, 1, 3]);
        assert_eq!(plan.layers[0].kv_heads.len(), 4);
        assert_eq!(plan.layers[2].ffn, (32..128).collect::<Vec<u32>>());
        let plan = PrunePlan::choose(&a, Some(&scores), &request(1.0, 1.0, 1)).unwrap();
        assert_eq!(plan.layers.iter().map(|l| l.source).collect::<Vec<_>>(), [0, 2]);
        let e = PrunePlan::choose(&a, Some(&scores), &request(1.0, 1.0, 2)).unwrap_err();
        assert_eq!(e.to_string(), "2 layers cannot be dropped from 3: the first and the last stay");
    }

    proptest! {
        #[test]
        fn fractions_floors_and_multiples_hold(
            n in 3usize..9, kv in 1u32..6, blocks in 1u32..12, seed: u32,
            keep_kv in 0.05f64..1.0, keep_ffn in 0.05f64..1.0, drop in 0u32..3,
        ) {
            let a = arch(n, kv, blocks * 32);
            prop_assume!((drop as usize) < n - 1);
            let plan = PrunePlan::choose(&a, Some(&importance(&a, seed)), &request(keep_kv, keep_ffn, drop)).unwrap();
            let left = n - drop as usize;
            prop_assert_eq!(plan.layers.len(), left);
            prop_assert_eq!(plan.layers[0].source, 0);
            prop_assert_eq!(plan.layers[left - 1].source as usize, n - 1);
            for l in &plan.layers {
                prop_assert!(!l.kv_heads.is_empty() && !l.ffn.is_empty());
                prop_assert!(l.ffn.len().is_multiple_of(32));
                prop_assert!(l.ffn.is_sorted() && l.kv_heads.is_sorted());
            }
            let heads: usize = plan.layers.iter().map(|l| l.kv_heads.len()).sum();
            let all = left * kv as usize;
            prop_assert_eq!(heads, ((all as f64 * keep_kv).round() as usize).max(left));
        }
    }
}
