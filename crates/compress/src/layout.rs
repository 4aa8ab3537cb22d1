//! The tensors of an artifact: names, shapes and types, before any weight is read.

use super::presets::TensorShape;
use super::types::WeightTypes;
use super::{CompressError, Fallback, Preset, PrunePlan, fit_type};
use autotune_model::gguf::{TensorDecl, TensorInfo};
use autotune_model::{ArchKind, Architecture, LayerShape, TensorName, TensorRole};

/// How types are chosen.
#[derive(Clone, Debug)]
pub(super) enum Typing {
    /// By group and depth.
    Slots(WeightTypes),
    /// As llama.cpp's quantizer mixes them.
    Preset(Preset),
}

impl Typing {
    /// The multiple that pruned FFN widths must have.
    pub(super) fn ffn_multiple(&self) -> u32 {
        match self {
            Typing::Slots(types) => types.ffn_multiple(),
            Typing::Preset(preset) => preset.ffn_multiple(),
        }
    }
}

/// One tensor of the artifact.
#[derive(Clone, Debug)]
pub(super) struct LayoutTensor {
    /// Its place among the source's tensors.
    pub source: usize,
    /// Name, shape and type in the artifact.
    pub decl: TensorDecl,
}

/// A kept layer: its number in the source, and its new sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptShape {
    pub source: u32,
    pub shape: LayerShape,
}

/// The kept layers of a plan with their sizes.
pub(super) fn kept_shapes(plan: &PrunePlan, arch: &Architecture) -> Vec<KeptShape> {
    let sources = plan.layers.iter().map(|l| l.source);
    sources.zip(plan.shapes(arch)).map(|(source, shape)| KeptShape { source, shape }).collect()
}

/// All tensors of the artifact.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The graph that runs it.
    pub kind: ArchKind,
    /// Sizes of its layers.
    pub shapes: Vec<LayerShape>,
    /// The tensors in file order.
    pub tensors: Vec<LayoutTensor>,
    /// Tensors that could not take the type asked for.
    pub fallbacks: Vec<Fallback>,
}

/// The source's tensors with their names taken apart, once for all candidates.
#[derive(Clone, Debug)]
pub(super) struct SourceTensors {
    pub infos: Vec<TensorInfo>,
    pub names: Vec<TensorName>,
}

impl SourceTensors {
    pub(super) fn new(infos: &[TensorInfo]) -> Self {
        let names = infos.iter().map(|t| TensorName::parse(&t.name)).collect();
        Self { infos: infos.to_vec(), names }
    }
}

/// The graph that can run layers of these sizes: the source's own where it can, `deci` where it cannot.
pub(super) fn result_kind(arch: &Architecture, shapes: &[LayerShape]) -> ArchKind {
    let uniform = shapes.windows(2).all(|w| w[0] == w[1]);
    let full_heads = shapes.iter().all(|s| s.heads * arch.head_dim == arch.hidden);
    match arch.kind {
        ArchKind::Llama if uniform => ArchKind::Llama,
        // The qwen2 loader takes the attention's width from the hidden size.
        ArchKind::Qwen2 if uniform && full_heads => ArchKind::Qwen2,
        _ => ArchKind::Deci,
    }
}

impl Layout {
    /// Lays out an artifact whose layers are `kept`. Tied, the output matrix (the one of the two copies that sources round less) takes the
    /// embedding's place, and its own is empty. `has_imatrix` tells whether there
    /// are importance data for a tensor of the source.
    pub(super) fn new(
        source: &SourceTensors,
        arch: &Architecture,
        kept: &[KeptShape],
        typing: &Typing,
        tie: bool,
        has_imatrix: impl Fn(&str) -> bool,
    ) -> Result<Self, CompressError> {
        let shapes: Vec<LayerShape> = kept.iter().map(|k| k.shape).collect();
        let kind = result_kind(arch, &shapes);
        let mut place = vec![None; arch.layers.len()];
        for (i, layer) in kept.iter().enumerate() {
            if let Some(slot) = place.get_mut(layer.source as usize) {
                *slot = Some(i);
            }
        }
        let output =
            source.names.iter().position(|n| n.role == TensorRole::Output && !n.is_bias).filter(|_| tie);
        let mut layout = Layout { kind, shapes, tensors: Vec::new(), fallbacks: Vec::new() };
        for (index, (info, name)) in source.infos.iter().zip(&source.names).enumerate() {
            let layer = match name.layer {
                None => None,
                Some(l) => match place.get(l as usize).copied().flatten() {
                    Some(i) => Some(i),
                    None => continue,
                },
            };
            layout.check_known(arch, info, *name, layer)?;
            if output == Some(index) {
                continue;
            }
            if let Some(output) = output.filter(|_| name.role == TensorRole::TokenEmbd) {
                let shared = &source.infos[output];
                let decl = TensorDecl { name: info.name.clone(), dims: shared.dims.clone(), ty: shared.ty };
                layout.tensors.push(LayoutTensor { source: output, decl });
                continue;
            }
            let dims = match layer {
                Some(i) => layer_dims(info, *name, arch, layout.shapes[i]),
                None => info.dims.clone(),
            };
            let decl = TensorDecl { name: renumbered(&info.name, *name, layer), dims, ty: info.ty };
            layout.tensors.push(LayoutTensor { source: index, decl });
        }
        match typing {
            Typing::Slots(types) => layout.type_by_slots(source, arch, types, has_imatrix),
            Typing::Preset(preset) => layout.type_by_preset(*preset, arch),
        }
        Ok(layout)
    }

    /// Refuses tensors that the new graph has no place for or that we would not know how to cut.
    fn check_known(
        &self,
        arch: &Architecture,
        info: &TensorInfo,
        name: TensorName,
        layer: Option<usize>,
    ) -> Result<(), CompressError> {
        let moved = self.kind != arch.kind;
        let cut = layer.zip(name.layer).is_some_and(|(i, l)| self.shapes[i] != arch.layers[l as usize]);
        let output_bias = name.role == TensorRole::Output && name.is_bias;
        let unknown = name.layer.is_some() && name.role == TensorRole::Other;
        if (moved && output_bias) || ((moved || cut) && unknown) {
            return Err(CompressError::NotInDeci { tensor: info.name.clone() });
        }
        Ok(())
    }

    fn type_by_slots(
        &mut self,
        source: &SourceTensors,
        arch: &Architecture,
        types: &WeightTypes,
        has_imatrix: impl Fn(&str) -> bool,
    ) {
        for t in &mut self.tensors {
            let Some(asked) = types.asked(source.names[t.source], arch.layers.len()) else { continue };
            let row = t.decl.dims.first().copied().unwrap_or(1);
            let got = fit_type(asked, row, has_imatrix(&source.infos[t.source].name));
            t.decl.ty = got;
            if got != asked {
                self.fallbacks.push(Fallback { tensor: t.decl.name.clone(), asked, got });
            }
        }
    }

    fn type_by_preset(&mut self, preset: Preset, arch: &Architecture) {
        let shapes: Vec<TensorShape<'_>> = self
            .tensors
            .iter()
            .map(|t| TensorShape { name: &t.decl.name, dims: &t.decl.dims, ty: t.decl.ty })
            .collect();
        let first = self.shapes.first().copied().unwrap_or(LayerShape { heads: 1, kv_heads: 1, ffn: 0 });
        let (types, fallbacks) = preset.types(&shapes, first, self.shapes.len(), arch.kind);
        for (t, ty) in self.tensors.iter_mut().zip(types) {
            t.decl.ty = ty;
        }
        self.fallbacks = fallbacks;
    }
}

fn renumbered(name: &str, parsed: TensorName, layer: Option<usize>) -> String {
    match (parsed.layer, layer) {
        (Some(old), Some(new)) if old as usize != new => {
            let rest = name.strip_prefix(&format!("blk.{old}.")).unwrap_or(name);
            format!("blk.{new}.{rest}")
        }
        _ => name.to_owned(),
    }
}

/// The shape of a layer's tensor when the layer has the sizes `shape`.
fn layer_dims(info: &TensorInfo, name: TensorName, arch: &Architecture, shape: LayerShape) -> Vec<u64> {
    use TensorRole as R;
    let q = u64::from(shape.heads) * u64::from(arch.head_dim);
    let kv = u64::from(shape.kv_heads) * u64::from(arch.head_dim);
    let ffn = u64::from(shape.ffn);
    // Rows of a matrix and its bias shrink with the outputs, the row length with the inputs.
    let (inputs, outputs) = match name.role {
        R::AttnQ => (None, Some(q)),
        R::AttnK | R::AttnV => (None, Some(kv)),
        R::AttnOutput => (Some(q), None),
        R::FfnGate | R::FfnUp => (None, Some(ffn)),
        R::FfnDown => (Some(ffn), None),
        _ => (None, None),
    };
    let mut dims = info.dims.clone();
    let last = dims.len() - 1;
    if let Some(n) = outputs {
        dims[last] = n;
    }
    if let Some(n) = inputs
        && last > 0
    {
        dims[0] = n;
    }
    dims
}

/// Bytes of the tensors with their padding. Rows are whole blocks: types were fitted to them.
pub(super) fn data_bytes(tensors: &[LayoutTensor], alignment: u64) -> u64 {
    let size = |t: &LayoutTensor| {
        let bytes = t.decl.bytes().unwrap_or(0);
        autotune_model::gguf::padded(bytes, alignment)
    };
    tensors.iter().map(size).sum()
}
