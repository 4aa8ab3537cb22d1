//! Which rows and columns of a source tensor an artifact takes, in which order.

use super::KeptLayer;
use autotune_model::{ArchKind, Architecture, LayerShape, RopePairing, TensorName, TensorRole};

/// Rows and columns by number; none means all, in order. A bias has columns only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Picks {
    pub rows: Option<Vec<u32>>,
    pub cols: Option<Vec<u32>>,
}

impl Picks {
    /// Whether the tensor is taken as it is.
    pub(super) fn is_all(&self) -> bool {
        self.rows.is_none() && self.cols.is_none()
    }
}

/// Turns a list that names everything in order into none.
fn unless_all(list: Vec<u32>, n: u32) -> Option<Vec<u32>> {
    let all = list.len() == n as usize && list.iter().enumerate().all(|(i, v)| i == *v as usize);
    (!all).then_some(list)
}

/// The picks of a layer's tensor when `kept` stays and the graph becomes `kind`.
pub(super) fn picks(name: TensorName, arch: &Architecture, kept: &KeptLayer, kind: ArchKind) -> Picks {
    let Some(shape) = arch.layers.get(kept.source as usize).copied() else { return Picks::default() };
    let reorder =
        arch.kind.rope_pairing() == RopePairing::Halves && kind.rope_pairing() == RopePairing::Neighbours;
    let heads = Heads { shape, head_dim: arch.head_dim, kept };
    let outputs = match name.role {
        TensorRole::AttnQ => unless_all(heads.query(reorder), shape.heads * arch.head_dim),
        TensorRole::AttnK => unless_all(heads.kv(reorder), shape.kv_heads * arch.head_dim),
        TensorRole::AttnV => unless_all(heads.kv(false), shape.kv_heads * arch.head_dim),
        TensorRole::FfnGate | TensorRole::FfnUp => unless_all(kept.ffn.clone(), shape.ffn),
        _ => None,
    };
    let inputs = match name.role {
        TensorRole::AttnOutput => unless_all(heads.query(false), shape.heads * arch.head_dim),
        TensorRole::FfnDown => unless_all(kept.ffn.clone(), shape.ffn),
        _ => None,
    };
    // A bias belongs to the outputs; stored as one row, its elements are columns.
    if name.is_bias { Picks { rows: None, cols: outputs } } else { Picks { rows: outputs, cols: inputs } }
}

/// Elements of the kept heads.
struct Heads<'a> {
    shape: LayerShape,
    head_dim: u32,
    kept: &'a KeptLayer,
}

impl Heads<'_> {
    fn kv(&self, reorder: bool) -> Vec<u32> {
        self.kept.kv_heads.iter().flat_map(|h| self.elements(*h, reorder)).collect()
    }

    fn query(&self, reorder: bool) -> Vec<u32> {
        let group = self.shape.group();
        let heads = self.kept.kv_heads.iter().flat_map(|kv| kv * group..(kv + 1) * group);
        heads.flat_map(|h| self.elements(h, reorder)).collect()
    }

    /// The elements of one head. Reordered, the halves that rotate together become neighbours.
    fn elements(&self, head: u32, reorder: bool) -> impl Iterator<Item = u32> + use<> {
        let (start, half) = (head * self.head_dim, self.head_dim / 2);
        (0..self.head_dim).map(move |i| match reorder {
            true => start + i / 2 + (i % 2) * half,
            false => start + i,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arch(kind: ArchKind) -> Architecture {
        Architecture {
            kind,
            hidden: 24,
            head_dim: 4,
            layers: vec![LayerShape { heads: 6, kv_heads: 3, ffn: 64 }; 2],
            vocab: 10,
            context_length: 10,
            tied: true,
            qkv_bias: true,
            rope_base: 1e4,
        }
    }

    #[test]
    fn groups_take_their_query_heads_along() {
        let kept = KeptLayer { source: 1, kv_heads: vec![0, 2], ffn: (0..64).collect() };
        let p = |name| picks(TensorName::parse(name), &arch(ArchKind::Llama), &kept, ArchKind::Deci);
        assert_eq!(p("blk.1.attn_v.weight").rows, Some(vec![0, 1, 2, 3, 8, 9, 10, 11]));
        let q = p("blk.1.attn_q.weight").rows.unwrap();
        assert_eq!(q, (0..8).chain(16..24).collect::<Vec<u32>>());
        assert_eq!(p("blk.1.attn_output.weight"), Picks { rows: None, cols: Some(q) });
        assert_eq!(p("blk.1.attn_v.bias").cols, Some(vec![0, 1, 2, 3, 8, 9, 10, 11]));
        assert!(p("blk.1.ffn_down.weight").is_all());
        assert!(p("blk.1.attn_output.bias").is_all() && p("blk.1.attn_norm.weight").is_all());
    }

    #[test]
    fn rotary_halves_become_neighbours() {
        let a = arch(ArchKind::Qwen2);
        let kept = KeptLayer { source: 0, kv_heads: vec![0, 1, 2], ffn: (0..64).collect() };
        let k = picks(TensorName::parse("blk.0.attn_k.weight"), &a, &kept, ArchKind::Deci);
        assert_eq!(k.rows.unwrap(), [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11]);
        assert!(picks(TensorName::parse("blk.0.attn_v.weight"), &a, &kept, ArchKind::Deci).is_all());
        assert!(picks(TensorName::parse("blk.0.attn_k.weight"), &a, &kept, ArchKind::Qwen2).is_all());
    }
}
