//! First-order importance (Molchanov et al. 2019, arXiv:1906.10771): the squared gradient of the loss by a factor of one at each part,
//! window by window, which is the squared change of the loss that removing the part would make if the loss were linear in it.

use std::path::Path;

use tch::{Device, Kind, Reduction, TchError, Tensor};

use super::graph::{Gates, Graph, plain};
use super::{failed, open};
use autotune_engine::EngineError;
use autotune_engine::lab::LayerGradients;

/// Tokens of a window.
const WINDOW: usize = 256;

pub(super) fn gradients(
    model: &Path,
    text: &str,
    max_tokens: u32,
    threads: u32,
) -> Result<Vec<LayerGradients>, EngineError> {
    tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
    let (checkpoint, tokens) = open(model, text)?;
    let graph = Graph::load(&checkpoint, WINDOW as i64, false, Device::Cpu)?;
    let mut sums: Vec<[Vec<f64>; 3]> = graph
        .shapes
        .iter()
        .map(|s| [vec![0.0; s.kv_heads as usize], vec![0.0; s.ffn as usize], vec![0.0]])
        .collect();
    let most = max_tokens as usize / WINDOW;
    let mut windows = 0;
    for window in tokens.chunks_exact(WINDOW).take(most.max(1)) {
        add_window(&graph, window, &mut sums).map_err(failed("gradients"))?;
        windows += 1;
    }
    if windows == 0 {
        return Err(EngineError::Misuse(format!("the calibration text has fewer than {WINDOW} tokens")));
    }
    let mean = |sums: &[f64]| sums.iter().map(|s| (s / f64::from(windows)) as f32).collect::<Vec<f32>>();
    let layer = |[kv_groups, ffn, layer]: &[Vec<f64>; 3]| LayerGradients {
        kv_groups: mean(kv_groups),
        ffn: mean(ffn),
        layer: mean(layer)[0],
    };
    Ok(sums.iter().map(layer).collect())
}

/// Adds the squared gradients of one window.
fn add_window(graph: &Graph, window: &[i32], sums: &mut [[Vec<f64>; 3]]) -> Result<(), TchError> {
    let tokens: Vec<i64> = window.iter().map(|t| i64::from(*t)).collect();
    let (input, target) = (&tokens[..tokens.len() - 1], &tokens[1..]);
    let gates: Vec<Gates> = graph.shapes.iter().map(|s| Gates::new(*s, Device::Cpu)).collect();
    let mut x = graph.embed(&Tensor::from_slice(input).f_unsqueeze(0)?)?;
    for (i, gates) in gates.iter().enumerate() {
        x = graph.layer(i, &x, &plain, Some(gates))?;
    }
    let logits = graph.logits(&x.f_squeeze_dim(0)?, &plain)?;
    let loss = logits.f_cross_entropy_loss(
        &Tensor::from_slice(target),
        None::<Tensor>,
        Reduction::Mean,
        -100,
        0.0,
    )?;
    loss.f_backward()?;
    for (gates, sums) in gates.iter().zip(sums) {
        for (gate, sum) in [&gates.kv_groups, &gates.ffn, &gates.layer].into_iter().zip(sums) {
            let gradient = gate.f_grad()?;
            if !gradient.defined() {
                continue;
            }
            let values = Vec::<f64>::try_from(gradient.f_to_kind(Kind::Double)?)?;
            sum.iter_mut().zip(values).for_each(|(s, g)| *s += g * g);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_model::synthetic::Shapes;
    use autotune_model::{ArchKind, Checkpoint, GgmlType};

    #[test]
    fn the_gradient_of_a_gate_is_the_change_of_the_loss() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.gguf");
        Shapes::tiny(ArchKind::Llama).write(&path, GgmlType::F32, 4, None).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        let graph = Graph::load(&checkpoint, 64, false, Device::Cpu).unwrap();
        let window: Vec<i32> = (0..33).map(|i| 3 + i * 7 % 200).collect();
        let mut sums: Vec<[Vec<f64>; 3]> = vec![[vec![0.0; 2], vec![0.0; 512], vec![0.0]]; 2];
        add_window(&graph, &window, &mut sums).unwrap();
        // The loss with one gate moved, in double steps about one.
        let loss = |layer: usize, group: i64, by: f64| {
            let gates: Vec<Gates> = graph.shapes.iter().map(|s| Gates::new(*s, Device::Cpu)).collect();
            let tokens: Vec<i64> = window.iter().map(|t| i64::from(*t)).collect();
            tch::no_grad(|| {
                let _ = gates[layer].kv_groups.select(0, group).fill_(1.0 + by);
                let mut x = graph.embed(&Tensor::from_slice(&tokens[..32]).unsqueeze(0)).unwrap();
                for (i, gates) in gates.iter().enumerate() {
                    x = graph.layer(i, &x, &plain, Some(gates)).unwrap();
                }
                let logits = graph.logits(&x.squeeze_dim(0), &plain).unwrap();
                f64::try_from(logits.cross_entropy_for_logits(&Tensor::from_slice(&tokens[1..]))).unwrap()
            })
        };
        for (layer, group) in [(0, 0), (0, 1), (1, 1)] {
            let slope = (loss(layer, group, 0.05) - loss(layer, group, -0.05)) / 0.1;
            let squared = sums[layer][0][group as usize];
            assert!((slope * slope - squared).abs() < 0.05 * squared + 1e-9, "{} {squared}", slope * slope);
        }
        assert!(sums.iter().all(|s| s.iter().flatten().all(|v| v.is_finite())));
    }
}
