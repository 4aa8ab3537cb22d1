//! A function-preserving random rescaling of the weights.
//!
//! A quantized file re-quantized to its own type comes out almost unharmed, because its weights lie on that type's grid: a search on it
//! would "discover" the type that the model was shipped in. Scaling a channel up on one side of a place where the network is linear and
//! down on the other leaves the function as it is and takes the weights off the grid (the freedom that SmoothQuant uses;
//! Xiao et al. 2022, arXiv:2211.10438):
//!
//! - gains of an RMSNorm against the columns of the matrices that read it;
//! - rows of the FFN's up projection against columns of the down projection (the gate passes a nonlinearity and stays);
//! - rows of V against the columns of the output projection that read them, for all query heads of the group;
//! - the last norm against the output matrix, unless it serves as embedding, too.
//!
//! The same freedom can help instead: columns that meet large activations are made larger before they are rounded, and what feeds them
//! smaller, so that the grid is finest where it counts (AWQ; Lin et al. 2023, arXiv:2306.00978).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use autotune_model::ActivationStats;
use autotune_model::{Architecture, TensorName, TensorRole};

/// Factors are log-uniform between these two: mild, so that F16 loses nothing by them.
const LEAST: f32 = 0.8;
const MOST: f32 = 1.25;

/// What a tensor is multiplied with: each row by a factor, each column by a factor. A vector has columns only.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Factors {
    pub rows: Option<Vec<f32>>,
    pub cols: Option<Vec<f32>>,
}

/// Where factors come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale<'a> {
    /// At random, by a seed.
    Random(u64),
    /// From the activations that the columns of a joint's reader meet: their root mean square to this power, about a mean of one.
    Activations(&'a ActivationStats, f32),
}

/// Factors by activations lie between this and its inverse.
const WIDEST: f32 = 16.0;

/// The power that builders scale with: of a quarter and a half the better one for each type of four bits and less, and of use for all
/// types (docs/src/project/benchmarks/compression.md).
pub(super) const POWER: f32 = 0.25;

/// A place where channels can be scaled.
#[derive(Clone, Copy)]
enum Joint {
    AttnNorm,
    FfnNorm,
    Up,
    Value,
    OutputNorm,
}

/// The factors of a joint: the same for every tensor that asks.
fn draw(seed: u64, joint: Joint, layer: u32, n: u32) -> Vec<f32> {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update([joint as u8]);
    hash.update(layer.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(hash.finalize().into());
    let (low, high) = (LEAST.ln(), MOST.ln());
    (0..n).map(|_| (low + (high - low) * rng.random::<f32>()).exp()).collect()
}

/// The factors of a joint by what its reader meets; ones where nothing is known of it.
fn by_activations(
    stats: &ActivationStats,
    power: f32,
    joint: Joint,
    layer: u32,
    n: u32,
    group: usize,
    head: usize,
) -> Vec<f32> {
    let n = n as usize;
    let reader = match joint {
        Joint::AttnNorm => "attn_q",
        Joint::FfnNorm => "ffn_gate",
        Joint::Up => "ffn_down",
        Joint::Value => "attn_output",
        Joint::OutputNorm => return vec![1.0; n],
    };
    let Some(squares) = stats.mean_square.get(&format!("blk.{layer}.{reader}.weight")) else {
        return vec![1.0; n];
    };
    // The heads of a group read the same values.
    let squares: Vec<f32> = match joint {
        Joint::Value => squares
            .chunks(head * group.max(1))
            .flat_map(|heads| {
                (0..head).map(move |i| heads.iter().skip(i).step_by(head).sum::<f32>() / group.max(1) as f32)
            })
            .collect(),
        _ => squares.clone(),
    };
    if squares.len() != n {
        return vec![1.0; n];
    }
    let logs: Vec<f32> = squares.iter().map(|s| s.max(1e-12).ln()).collect();
    let mean = logs.iter().sum::<f32>() / n.max(1) as f32;
    logs.iter().map(|l| ((mean - l) * power / 2.0).exp().clamp(WIDEST.recip(), WIDEST)).collect()
}

fn inverse(factors: Vec<f32>) -> Vec<f32> {
    factors.into_iter().map(f32::recip).collect()
}

/// The factors of one tensor.
pub(super) fn factors(arch: &Architecture, scale: Scale<'_>, name: TensorName) -> Factors {
    use TensorRole as R;
    let layer = name.layer.unwrap_or(0);
    let Some(shape) = arch.layers.get(layer as usize).copied() else { return Factors::default() };
    let of = |joint, n| match scale {
        Scale::Random(seed) => draw(seed, joint, layer, n),
        Scale::Activations(stats, power) => {
            let (group, head) = (shape.group() as usize, arch.head_dim as usize);
            by_activations(stats, power, joint, layer, n, group, head)
        }
    };
    let norm = |joint| of(joint, arch.hidden);
    let up = || of(Joint::Up, shape.ffn);
    let value = || of(Joint::Value, shape.kv_heads * arch.head_dim);
    let (rows, cols) = match name.role {
        R::AttnNorm => (None, Some(norm(Joint::AttnNorm))),
        R::FfnNorm => (None, Some(norm(Joint::FfnNorm))),
        R::OutputNorm if !arch.tied => (None, Some(norm(Joint::OutputNorm))),
        R::Output if !arch.tied => (None, Some(inverse(norm(Joint::OutputNorm)))),
        R::AttnQ | R::AttnK => (None, Some(inverse(norm(Joint::AttnNorm)))),
        R::AttnV => (Some(value()), Some(inverse(norm(Joint::AttnNorm)))),
        R::FfnGate => (None, Some(inverse(norm(Joint::FfnNorm)))),
        R::FfnUp => (Some(up()), Some(inverse(norm(Joint::FfnNorm)))),
        R::FfnDown => (None, Some(inverse(up()))),
        R::AttnOutput => {
            let (head, group) = (arch.head_dim as usize, shape.group() as usize);
            let heads = inverse(value());
            let all = heads.chunks(head).flat_map(|kv| kv.repeat(group)).collect();
            (None, Some(all))
        }
        R::TokenEmbd | R::RopeFreqs | R::Other | R::OutputNorm | R::Output => (None, None),
    };
    // A bias is an output like a row; it does not see the inputs' scale.
    if name.is_bias { Factors { rows: None, cols: rows } } else { Factors { rows, cols } }
}

impl Factors {
    /// Whether nothing changes.
    pub(super) fn is_nothing(&self) -> bool {
        self.rows.is_none() && self.cols.is_none()
    }

    /// Applies the factors to rows of `columns` elements whose numbers are `rows`.
    pub(super) fn apply(&self, values: &mut [f32], columns: usize, rows: impl Iterator<Item = u64>) {
        for (row, number) in values.chunks_mut(columns.max(1)).zip(rows) {
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            if let Some(factor) = self.rows.as_ref().and_then(|r| r.get(number)) {
                row.iter_mut().for_each(|x| *x *= factor);
            }
            if let Some(cols) = &self.cols {
                row.iter_mut().zip(cols).for_each(|(x, f)| *x *= f);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_model::{ArchKind, LayerShape};

    #[test]
    fn factors_cancel_at_every_joint() {
        let arch = Architecture {
            kind: ArchKind::Qwen2,
            hidden: 16,
            head_dim: 4,
            layers: vec![LayerShape { heads: 4, kv_heads: 2, ffn: 32 }; 2],
            vocab: 10,
            context_length: 10,
            tied: true,
            qkv_bias: true,
            rope_base: 1e4,
        };
        let of = |name: &str| factors(&arch, Scale::Random(9), TensorName::parse(name));
        let is_one = |a: &[f32], b: &[f32]| {
            assert_eq!(a.len(), b.len());
            assert!(a.iter().zip(b).all(|(x, y)| (x * y - 1.0).abs() < 1e-6));
        };
        let norm = of("blk.1.attn_norm.weight").cols.unwrap();
        assert!(norm.iter().all(|f| (LEAST..=MOST).contains(f)) && norm[0] != norm[1]);
        for reader in ["attn_q", "attn_k", "attn_v"] {
            is_one(&norm, &of(&format!("blk.1.{reader}.weight")).cols.unwrap());
        }
        is_one(&of("blk.1.ffn_up.weight").rows.unwrap(), &of("blk.1.ffn_down.weight").cols.unwrap());
        assert_eq!(of("blk.1.ffn_gate.weight").rows, None);
        let v = of("blk.1.attn_v.weight").rows.unwrap();
        assert_eq!(of("blk.1.attn_v.bias").cols.unwrap(), v);
        assert_eq!(of("blk.1.attn_q.bias"), Factors::default());
        let o = of("blk.1.attn_output.weight").cols.unwrap();
        for head in 0..4 {
            is_one(&o[head * 4..head * 4 + 4], &v[head / 2 * 4..head / 2 * 4 + 4]);
        }
        assert_ne!(of("blk.0.attn_v.weight").rows, of("blk.1.attn_v.weight").rows);
        assert_eq!(of("output_norm.weight"), Factors::default());
    }

    #[test]
    fn columns_that_meet_large_activations_grow() {
        let arch = Architecture {
            kind: ArchKind::Llama,
            hidden: 4,
            head_dim: 2,
            layers: vec![LayerShape { heads: 4, kv_heads: 2, ffn: 3 }],
            vocab: 10,
            context_length: 10,
            tied: true,
            qkv_bias: false,
            rope_base: 1e4,
        };
        let mut stats = ActivationStats::default();
        let mut set = |name: &str, squares: &[f32]| stats.mean_square.insert(name.into(), squares.to_vec());
        set("blk.0.ffn_down.weight", &[1.0, 100.0, 0.01]);
        set("blk.0.attn_output.weight", &[1.0, 1.0, 1.0, 1.0, 9.0, 1.0, 7.0, 1.0]);
        let of = |name: &str| factors(&arch, Scale::Activations(&stats, 0.5), TensorName::parse(name));
        let down = of("blk.0.ffn_down.weight").cols.unwrap();
        assert!(down[1] > down[0] && down[0] > down[2], "{down:?}");
        // Ten times the activation, to the power of a half, about the mean.
        assert!((down[1] / down[0] - 10f32.sqrt()).abs() < 1e-3, "{down:?}");
        let up = of("blk.0.ffn_up.weight").rows.unwrap();
        assert!(up.iter().zip(&down).all(|(a, b)| (a * b - 1.0).abs() < 1e-5));
        let output = of("blk.0.attn_output.weight").cols.unwrap();
        assert_eq!((output.len(), output[4] == output[6], output[4] > output[0]), (8, true, true));
        assert_eq!(of("blk.0.attn_q.weight").cols.unwrap(), [1.0; 4], "nothing is known of it");
    }
}
