//! The graph of the llama family over a cache.

use std::rc::Rc;

use tch::{Device, Kind, TchError, Tensor};

use super::attention::{LayerCache, Plan};
use super::error::text;
use super::fbgemm::Fbgemm;
use super::linear::{Linear, Table};
use super::weights::{Reader, Stored};
use autotune_engine::EngineError;
use autotune_model::{Checkpoint, RopePairing};

/// One layer; no attention or no FFN where it has none.
struct Layer {
    attention: Option<Attention>,
    ffn: Option<Ffn>,
}

struct Attention {
    norm: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    output: Linear,
    heads: i64,
    kv_heads: i64,
}

struct Ffn {
    norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// Cosines and sines by position, [context, head / 2].
pub(super) struct Angles {
    cos: Tensor,
    sin: Tensor,
    pairing: RopePairing,
}

/// A model ready to run. Its mapped tensors must not outlive the checkpoint that it was read from.
pub(super) struct Net {
    embedding: Table,
    layers: Vec<Layer>,
    norm: Tensor,
    output: Linear,
    angles: Angles,
    eps: f64,
    head_dim: i64,
    /// The kind of the residual stream.
    pub(super) kind: Kind,
    pub(super) device: Device,
}

impl Angles {
    /// For positions up to `context`.
    pub(super) fn new(checkpoint: &Checkpoint, context: i64, device: Device) -> Result<Self, TchError> {
        let rope = checkpoint.rope().for_context(u64::try_from(context).unwrap_or(0));
        let (frequencies, temperature) = rope.frequencies(checkpoint.arch().head_dim);
        let frequencies = Tensor::from_slice(&frequencies);
        let positions = Tensor::f_arange(context, (Kind::Double, Device::Cpu))?;
        let angles = positions.f_outer(&frequencies)?;
        let scaled = |t: Tensor| t.f_mul_scalar(temperature)?.f_to_kind(Kind::Float)?.f_to_device(device);
        Ok(Self { cos: scaled(angles.f_cos()?)?, sin: scaled(angles.f_sin()?)?, pairing: rope.pairing })
    }

    /// The rows of positions `[n]`, each `[n, 1, head / 2]`.
    pub(super) fn at(&self, positions: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        let row = |t: &Tensor| t.f_index_select(0, positions)?.f_unsqueeze(1);
        Ok((row(&self.cos)?, row(&self.sin)?))
    }

    /// Turns queries or keys [..., heads, head] by angles that broadcast over them. The pairs come out half a head apart, which is the
    /// same for queries and keys and so does not show in their products.
    pub(super) fn turn(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor, TchError> {
        let float = x.f_to_kind(Kind::Float)?;
        let (a, b) = match self.pairing {
            RopePairing::Halves => {
                let half = x.size().last().copied().unwrap_or(0) / 2;
                (float.f_narrow(-1, 0, half)?, float.f_narrow(-1, half, half)?)
            }
            RopePairing::Neighbours => (float.f_slice(-1, 0, None, 2)?, float.f_slice(-1, 1, None, 2)?),
        };
        let first = a.f_mul(cos)?.f_sub(&b.f_mul(sin)?)?;
        let second = a.f_mul(sin)?.f_add(&b.f_mul(cos)?)?;
        Tensor::f_cat(&[first, second], -1)?.f_to_kind(x.kind())
    }
}

/// RMS normalisation (Zhang and Sennrich 2019, arXiv:1910.07467), computed in f32.
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor, TchError> {
    let float = x.f_to_kind(Kind::Float)?;
    let square = float.f_square()?.f_mean_dim([-1i64].as_slice(), true, Kind::Float)?;
    let scale = square.f_add_scalar(eps)?.f_rsqrt()?;
    float.f_mul(&scale)?.f_mul(weight)?.f_to_kind(x.kind())
}

impl Net {
    /// Reads a model; floats in `kind`, or as they are stored where none is asked for.
    pub(super) fn load(
        checkpoint: &Checkpoint,
        kind: Option<Kind>,
        context: i64,
        device: Device,
    ) -> Result<Self, EngineError> {
        let reader = Reader { checkpoint, device };
        let fail = |e: TchError| EngineError::Load {
            path: checkpoint.path().display().to_string(),
            detail: text(&e),
        };
        let fbgemm = (device == Device::Cpu).then(Fbgemm::new).transpose().map_err(fail)?.map(Rc::new);
        let matrix = |name: &str| reader.matrix(&format!("{name}.weight"), kind);
        let linear = |name: &str| -> Result<Linear, EngineError> {
            let bias = reader.optional(&format!("{name}.bias"))?;
            Linear::new(matrix(name)?, bias, fbgemm.as_ref()).map_err(fail)
        };
        let vector = |name: &str| reader.float(name, Kind::Float);
        let arch = checkpoint.arch();
        let mut layers = Vec::with_capacity(arch.layers.len());
        for (i, shape) in arch.layers.iter().enumerate() {
            let name = |part: &str| format!("blk.{i}.{part}");
            let attention = match shape.heads {
                0 => None,
                heads => Some(Attention {
                    norm: vector(&name("attn_norm.weight"))?,
                    q: linear(&name("attn_q"))?,
                    k: linear(&name("attn_k"))?,
                    v: linear(&name("attn_v"))?,
                    output: linear(&name("attn_output"))?,
                    heads: i64::from(heads),
                    kv_heads: i64::from(shape.kv_heads),
                }),
            };
            let ffn = match shape.ffn {
                0 => None,
                _ => Some(Ffn {
                    norm: vector(&name("ffn_norm.weight"))?,
                    gate: linear(&name("ffn_gate"))?,
                    up: linear(&name("ffn_up"))?,
                    down: linear(&name("ffn_down"))?,
                }),
            };
            layers.push(Layer { attention, ffn });
        }
        let stored = matrix("token_embd")?;
        let embedding = match &stored {
            Stored::Float(table) | Stored::Sparse(table) => Table::Float(table.shallow_clone()),
            Stored::Nf4 { .. } => {
                return Err(fail(TchError::Kind(
                    "token_embd.weight cannot be looked up in as NF4".to_owned(),
                )));
            }
            // What FBGEMM packs is a copy; rows are looked up in the map.
            Stored::Int8 { scales, .. } => {
                Table::Int8(reader.mapped("token_embd.weight")?, scales.shallow_clone())
            }
            Stored::Int4 { weights, scales_and_zeros } => {
                Table::Int4(weights.shallow_clone(), scales_and_zeros.shallow_clone())
            }
        };
        let output = match arch.tied {
            true => Linear::new(stored, None, fbgemm.as_ref()).map_err(fail)?,
            false => linear("output")?,
        };
        // A GPU computes throughout in the kind of its weights, a processor is best at f32 outside of the products.
        let stream = match (device, &output) {
            (Device::Cpu, _) | (_, Linear::Dynamic { .. }) => Kind::Float,
            (_, Linear::Float { weight, .. }) => weight.kind(),
            _ => Kind::BFloat16,
        };
        Ok(Self {
            embedding,
            layers,
            norm: vector("output_norm.weight")?,
            output,
            angles: Angles::new(checkpoint, context, device).map_err(fail)?,
            eps: f64::from(checkpoint.eps()),
            head_dim: i64::from(arch.head_dim),
            kind: stream,
            device,
        })
    }

    /// An empty cache of `cells` tokens for each layer.
    pub(super) fn caches(&self, cells: i64, kind: (Kind, Kind)) -> Result<Vec<Option<LayerCache>>, TchError> {
        let cache = |layer: &Layer| {
            let attention = layer.attention.as_ref()?;
            Some(LayerCache::new(cells, attention.kv_heads, self.head_dim, kind, self.device))
        };
        self.layers.iter().map(|layer| cache(layer).transpose()).collect()
    }

    /// Runs rows of tokens at positions through all layers: the residual stream behind the last, [rows, hidden].
    pub(super) fn run(
        &self,
        tokens: &Tensor,
        positions: &Tensor,
        plan: &Plan,
        caches: &mut [Option<LayerCache>],
    ) -> Result<Tensor, TchError> {
        let mut x = self.embedding.rows(tokens, self.kind)?;
        let (cos, sin) = self.angles.at(positions)?;
        for (layer, cache) in self.layers.iter().zip(caches) {
            if let (Some(a), Some(cache)) = (&layer.attention, cache) {
                let normed = rms_norm(&x, &a.norm, self.eps)?;
                let split = |t: Tensor, heads: i64| t.f_view([-1, heads, self.head_dim]);
                let (q, k) =
                    (split(a.q.forward(&normed)?, a.heads)?, split(a.k.forward(&normed)?, a.kv_heads)?);
                // Together, since every call costs microseconds.
                let turned = self.angles.turn(&Tensor::f_cat(&[q, k], 1)?, &cos, &sin)?;
                let (q, k) = (turned.f_narrow(1, 0, a.heads)?, turned.f_narrow(1, a.heads, a.kv_heads)?);
                let v = split(a.v.forward(&normed)?, a.kv_heads)?;
                let attended = cache.attend(plan, &q, &k, &v)?.f_to_kind(self.kind)?;
                x = x.f_add(&a.output.forward(&attended)?)?;
            }
            if let Some(f) = &layer.ffn {
                let normed = rms_norm(&x, &f.norm, self.eps)?;
                let gated = f.gate.forward(&normed)?.f_silu()?.f_mul(&f.up.forward(&normed)?)?;
                x = x.f_add(&f.down.forward(&gated)?)?;
            }
        }
        Ok(x)
    }

    /// The logits of rows of the residual stream: [rows, vocabulary], f32 on the processor.
    pub(super) fn logits(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let normed = rms_norm(x, &self.norm, self.eps)?;
        self.output.forward(&normed)?.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?.f_contiguous()
    }
}
