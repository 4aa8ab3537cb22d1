//! The teacher of a recovery: what it makes of each window is computed once and kept while there is room, since windows come again in
//! every epoch.

use std::collections::HashMap;

use tch::{Kind, TchError, Tensor};

use super::graph::{Graph, plain};

/// Bytes of kept streams, at most.
const MOST_BYTES: usize = 1 << 30;

pub(super) struct Teacher {
    graph: Graph,
    /// The residual stream behind the last layer [length, hidden], by the number of the window.
    kept: HashMap<usize, Tensor>,
    bytes: usize,
}

impl Teacher {
    pub(super) fn new(graph: Graph) -> Self {
        Self { graph, kept: HashMap::new(), bytes: 0 }
    }

    /// The residual stream behind the last layer for some windows of one length, their rows one after the other: [rows, hidden].
    pub(super) fn stream(&mut self, windows: &[Vec<i64>], which: &[usize]) -> Result<Tensor, TchError> {
        let _guard = tch::no_grad_guard();
        let mut parts = Vec::with_capacity(which.len());
        for &i in which {
            if let Some(known) = self.kept.get(&i) {
                parts.push(known.shallow_clone());
                continue;
            }
            let tokens = Tensor::f_from_slice(&windows[i])?.f_unsqueeze(0)?;
            let stream = self.graph.stream(&tokens.f_to_device(self.graph.device())?, &plain)?;
            let stream = stream.f_squeeze_dim(0)?;
            let bytes = stream.numel() * stream.kind().elt_size_in_bytes();
            if self.bytes + bytes <= MOST_BYTES {
                self.bytes += bytes;
                self.kept.insert(i, stream.shallow_clone());
            }
            parts.push(stream);
        }
        Tensor::f_cat(&parts, 0)
    }

    /// The logarithms of what it expects behind rows of its stream [rows, hidden]: [rows, vocabulary].
    pub(super) fn expected(&self, rows: &Tensor) -> Result<Tensor, TchError> {
        tch::no_grad(|| self.graph.logits(rows, &plain)?.f_log_softmax(-1, Kind::Float))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_model::synthetic::Shapes;
    use autotune_model::{ArchKind, Checkpoint, GgmlType};
    use tch::Device;

    #[test]
    fn windows_are_read_once_and_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.gguf");
        Shapes::tiny(ArchKind::Llama).write(&path, GgmlType::F32, 1, None).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        let mut teacher = Teacher::new(Graph::load(&checkpoint, 8, false, Device::Cpu).unwrap());
        let windows: Vec<Vec<i64>> = (0..3).map(|w| (0..8).map(|i| 3 + 10 * w + i).collect()).collect();
        let first = teacher.stream(&windows, &[2]).unwrap();
        let both = teacher.stream(&windows, &[0, 2]).unwrap();
        assert_eq!((both.size()[0], teacher.kept.len()), (16, 2));
        assert!(both.narrow(0, 8, 8).allclose(&first, 0.0, 0.0, false));
        assert!(!both.narrow(0, 0, 8).allclose(&first, 1e-3, 1e-3, false));
    }
}
