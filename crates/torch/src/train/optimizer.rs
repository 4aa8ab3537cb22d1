//! Adam (Kingma and Ba 2015, arXiv:1412.6980).

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.95;
const EPSILON: f64 = 1e-8;

/// First and second moments of what is trained, by name.
#[derive(Default)]
pub(super) struct Adam {
    pub(super) moments: BTreeMap<String, (Tensor, Tensor)>,
    pub(super) steps: u64,
}

impl Adam {
    /// Moves every tensor that has a gradient, and clears the gradients. Gradients are scaled down to a norm of one where theirs is larger.
    pub(super) fn step(&mut self, tensors: &mut BTreeMap<String, Tensor>, rate: f64) -> Result<(), TchError> {
        let _guard = tch::no_grad_guard();
        self.steps += 1;
        let mut gradients = Vec::new();
        let mut square = 0.0;
        for (name, tensor) in tensors.iter() {
            let gradient = tensor.f_grad()?;
            if gradient.defined() {
                square += f64::try_from(gradient.f_square()?.f_sum(tch::Kind::Double)?)?;
                gradients.push((name.clone(), gradient));
            }
        }
        let norm = square.sqrt();
        let scale = if norm > 1.0 { 1.0 / norm } else { 1.0 };
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let (correct1, correct2) = (1.0 - BETA1.powi(steps), 1.0 - BETA2.powi(steps));
        for (name, mut gradient) in gradients {
            let Some(tensor) = tensors.get_mut(&name) else { continue };
            let scaled = gradient.f_mul_scalar(scale)?;
            let (m, v) = match self.moments.remove(&name) {
                Some(moments) => moments,
                None => (scaled.f_zeros_like()?, scaled.f_zeros_like()?),
            };
            let m = m.f_lerp(&scaled, 1.0 - BETA1)?;
            let v = v.f_lerp(&scaled.f_square()?, 1.0 - BETA2)?;
            let root = v.f_div_scalar(correct2)?.f_sqrt()?.f_add_scalar(EPSILON)?;
            let change = m.f_div(&root)?.f_mul_scalar(-rate / correct1)?;
            let _ = tensor.f_add_(&change)?;
            let _ = gradient.f_zero_()?;
            self.moments.insert(name, (m, v));
        }
        Ok(())
    }
}
