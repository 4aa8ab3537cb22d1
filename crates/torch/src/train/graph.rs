//! The graph of the llama family over whole windows, with gradients, in f32.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

use super::super::net::{Angles, rms_norm};
use super::super::weights::Reader;
use autotune_engine::EngineError;
use autotune_model::{Checkpoint, LayerShape};

/// Factors of one that stand where a part of a layer is added, so that the gradient of a factor tells what the part is worth.
pub(super) struct Gates {
    /// `[KV heads]`.
    pub(super) kv_groups: Tensor,
    /// `[FFN channels]`.
    pub(super) ffn: Tensor,
    /// `[1]`.
    pub(super) layer: Tensor,
}

impl Gates {
    pub(super) fn new(shape: LayerShape, device: Device) -> Self {
        let ones = |n: u32| Tensor::ones([i64::from(n)], (Kind::Float, device)).set_requires_grad(true);
        Self { kv_groups: ones(shape.kv_heads), ffn: ones(shape.ffn), layer: ones(1) }
    }
}

/// How a matrix is seen when it is multiplied with: as it is, or rounded.
pub(super) type Lens<'a> = &'a dyn Fn(&str, &Tensor) -> Result<Tensor, TchError>;

/// Weights by their GGUF names, and what the graph needs beside.
pub(super) struct Graph {
    /// Every tensor in f32.
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) shapes: Vec<LayerShape>,
    tied: bool,
    angles: Angles,
    eps: f64,
    head: i64,
    device: Device,
}

impl Graph {
    /// Reads a model; `owned`: into memory of its own, which can be trained.
    pub(super) fn load(
        checkpoint: &Checkpoint,
        window: i64,
        owned: bool,
        device: Device,
    ) -> Result<Self, EngineError> {
        let reader = Reader { checkpoint, device };
        let arch = checkpoint.arch();
        let mut names: Vec<String> = arch.weight_shapes().map(|(name, _)| name).collect();
        for (i, layer) in arch.layers.iter().enumerate() {
            if layer.heads > 0 {
                names.push(format!("blk.{i}.attn_norm.weight"));
            }
            let biases = arch.bias_widths(*layer).map(|(role, _)| format!("blk.{i}.{role}.bias"));
            names.extend(biases.into_iter().filter(|name| checkpoint.find(name).is_some()));
            names.extend((layer.ffn > 0).then(|| format!("blk.{i}.ffn_norm.weight")));
        }
        names.push("output_norm.weight".to_owned());
        let mut tensors = BTreeMap::new();
        for name in names {
            let tensor = reader.float(&name, Kind::Float)?;
            tensors.insert(name, if owned { tensor.copy().set_requires_grad(true) } else { tensor });
        }
        let angles =
            Angles::new(checkpoint, window, device).map_err(super::failed("the rotary embedding"))?;
        Ok(Self {
            tensors,
            shapes: arch.layers.clone(),
            tied: arch.tied,
            angles,
            eps: f64::from(checkpoint.eps()),
            head: i64::from(arch.head_dim),
            device,
        })
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, TchError> {
        self.tensors.get(name).ok_or_else(|| TchError::Kind(format!("no tensor {name}")))
    }

    /// Tokens [windows, length] to the residual stream [windows, length, hidden].
    pub(super) fn embed(&self, tokens: &Tensor) -> Result<Tensor, TchError> {
        Tensor::f_embedding(self.tensor("token_embd.weight")?, tokens, -1, false, false)
    }

    /// One layer.
    pub(super) fn layer(
        &self,
        i: usize,
        x: &Tensor,
        lens: Lens<'_>,
        gates: Option<&Gates>,
    ) -> Result<Tensor, TchError> {
        let shape = self.shapes[i];
        let name = |part: &str| format!("blk.{i}.{part}");
        let product = |part: &str, x: &Tensor| {
            let weight = name(&format!("{part}.weight"));
            let seen = lens(&weight, self.tensor(&weight)?)?;
            x.f_linear(&seen, self.tensors.get(&name(&format!("{part}.bias"))))
        };
        let gated = |part: Tensor| match gates {
            Some(gates) => part.f_mul(&gates.layer),
            None => Ok(part),
        };
        let (windows, length, _) = x.size3()?;
        let mut x = x.shallow_clone();
        if shape.heads > 0 {
            let normed = rms_norm(&x, self.tensor(&name("attn_norm.weight"))?, self.eps)?;
            let (heads, kv_heads) = (i64::from(shape.heads), i64::from(shape.kv_heads));
            let split = |t: Tensor, n: i64| t.f_view([windows, length, n, self.head]);
            let positions = Tensor::f_arange(length, (Kind::Int64, self.device))?;
            let (cos, sin) = self.angles.at(&positions)?;
            let q = self.angles.turn(&split(product("attn_q", &normed)?, heads)?, &cos, &sin)?;
            let k = self.angles.turn(&split(product("attn_k", &normed)?, kv_heads)?, &cos, &sin)?;
            let v = split(product("attn_v", &normed)?, kv_heads)?;
            let repeated =
                |t: Tensor| t.f_transpose(1, 2)?.f_repeat_interleave_self_int(heads / kv_heads, 1, None);
            let attended = Tensor::f_scaled_dot_product_attention(
                &q.f_transpose(1, 2)?,
                &repeated(k)?,
                &repeated(v)?,
                None::<Tensor>,
                0.0,
                true,
                None,
                false,
            )?;
            // [windows, length, KV heads, the elements of a group].
            let mut attended = attended.f_transpose(1, 2)?.f_reshape([
                windows,
                length,
                kv_heads,
                heads / kv_heads * self.head,
            ])?;
            if let Some(gates) = gates {
                attended = attended.f_mul(&gates.kv_groups.f_unsqueeze(1)?)?;
            }
            let out = product("attn_output", &attended.f_reshape([windows, length, heads * self.head])?)?;
            x = x.f_add(&gated(out)?)?;
        }
        if shape.ffn > 0 {
            let normed = rms_norm(&x, self.tensor(&name("ffn_norm.weight"))?, self.eps)?;
            let mut inner = product("ffn_gate", &normed)?.f_silu()?.f_mul(&product("ffn_up", &normed)?)?;
            if let Some(gates) = gates {
                inner = inner.f_mul(&gates.ffn)?;
            }
            x = x.f_add(&gated(product("ffn_down", &inner)?)?)?;
        }
        Ok(x)
    }

    /// The residual stream behind the last layer, of tokens [windows, length]: [windows, length, hidden].
    pub(super) fn stream(&self, tokens: &Tensor, lens: Lens<'_>) -> Result<Tensor, TchError> {
        let mut x = self.embed(tokens)?;
        for i in 0..self.shapes.len() {
            x = self.layer(i, &x, lens, None)?;
        }
        Ok(x)
    }

    /// Bytes of activations that libtorch keeps for the gradients of all layers, about: counted in vectors of the stream's and the FFN's
    /// width that enter the products, norms and rotations of a layer.
    pub(super) fn kept_bytes(&self, tokens: usize) -> usize {
        let hidden = self.tensors.get("output_norm.weight").map_or(0, Tensor::numel);
        let of_layer =
            |s: &LayerShape| 14 * hidden.max((i64::from(s.heads) * self.head) as usize) + 6 * s.ffn as usize;
        4 * tokens * self.shapes.iter().map(of_layer).sum::<usize>()
    }

    /// Where it is computed.
    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// The logits of rows of the residual stream [rows, hidden]: [rows, vocabulary].
    pub(super) fn logits(&self, x: &Tensor, lens: Lens<'_>) -> Result<Tensor, TchError> {
        let normed = rms_norm(x, self.tensor("output_norm.weight")?, self.eps)?;
        let name = if self.tied { "token_embd.weight" } else { "output.weight" };
        normed.f_linear(&lens(name, self.tensor(name)?)?, None::<Tensor>)
    }
}

/// Sees every matrix as it is.
pub(super) fn plain(_: &str, weight: &Tensor) -> Result<Tensor, TchError> {
    Ok(weight.shallow_clone())
}
