//! Recovery: a student learns its teacher's predictions on code (Hinton et al. 2015, arXiv:1503.02531), the whole distribution of every
//! next token.
//!
//! Activations of one layer at a time are kept for the gradient: inputs of the layers are stored, and each layer is computed again on the
//! way back (Chen et al. 2016, arXiv:1604.06174). Embedding and output matrix stay as they are. Matrices may be seen rounded while the
//! loss is computed, with the gradient passed straight through (Bengio et al. 2013, arXiv:1308.3432).

use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, TchError, Tensor};

use super::graph::{Graph, plain};
use super::optimizer::Adam;
use super::state::{self, Stopped};
use super::{failed, open, write};
use autotune::engine::EngineError;
use autotune::engine::lab::{RecoverProgress, RecoverRequest};
use autotune::model::{Checkpoint, INT4_GROUP};

/// Rows whose logits are held at once.
const ROWS_AT_ONCE: i64 = 128;
/// One window of so many is not trained on.
const HELD_OUT: usize = 16;
/// Share of the training in which the rate rises.
const WARM_UP: f64 = 0.05;
/// The state is saved this often, in seconds.
const SAVE_EVERY: f64 = 120.0;

pub(super) fn recover(
    request: &RecoverRequest,
    each: &mut dyn FnMut(RecoverProgress) -> bool,
) -> Result<RecoverProgress, EngineError> {
    tch::set_num_threads(i32::try_from(request.threads.max(1)).unwrap_or(i32::MAX));
    let device = super::super::device(request.device).map_err(EngineError::Misuse)?;
    let (student, tokens) = open(&request.student, &request.text)?;
    let (teacher, _) = open(&request.teacher, "")?;
    let Checkpoint::Gguf { gguf, arch } = &student else {
        return Err(EngineError::Misuse(
            "a student is a GGUF of floats; `autotune convert` makes one".to_owned(),
        ));
    };
    if arch.vocab != teacher.arch().vocab {
        let (own, other) = (arch.vocab, teacher.arch().vocab);
        return Err(EngineError::Misuse(format!("the student has {own} tokens, the teacher {other}")));
    }
    let window = request.window.max(2) as usize;
    let mut windows: Vec<Vec<i64>> =
        tokens.chunks_exact(window).map(|w| w.iter().map(|t| i64::from(*t)).collect()).collect();
    if windows.len() < 2 {
        return Err(EngineError::Misuse(format!(
            "the text has {} tokens, fewer than two windows of {window}",
            tokens.len()
        )));
    }
    let held_out = windows.split_off(windows.len() - (windows.len() / HELD_OUT).max(1));
    let mut student = Graph::load(&student, window as i64, true, device)?;
    for name in ["token_embd.weight", "output.weight"] {
        if let Some(tensor) = student.tensors.get_mut(name) {
            *tensor = tensor.set_requires_grad(false);
        }
    }
    let teacher = Graph::load(&teacher, window as i64, false, device)?;
    let mut training = Training { request, student, teacher, adam: Adam::default(), device };
    let of = format!(
        "{} {} {:?} {}",
        request.student.display(),
        request.teacher.display(),
        request.fake_bits,
        request.seed
    );
    let taken_up = state::take_up(&request.state, &of, &mut training.student.tensors, &mut training.adam);
    let mut progress = taken_up.map_err(failed("the stopped recovery"))?.unwrap_or_default();
    let result = training.run(&windows, &held_out, &mut progress, each, &of).map_err(failed("recovery"));
    let finished = result?;
    write::write(gguf, &training.student.tensors, &request.out)?;
    if finished {
        state::clear(&request.state);
    }
    Ok(progress)
}

struct Training<'a> {
    request: &'a RecoverRequest,
    student: Graph,
    teacher: Graph,
    adam: Adam,
    device: Device,
}

impl Training<'_> {
    /// Trains until time or steps are up (true), or `each` says no (false).
    fn run(
        &mut self,
        windows: &[Vec<i64>],
        held_out: &[Vec<i64>],
        progress: &mut RecoverProgress,
        each: &mut dyn FnMut(RecoverProgress) -> bool,
        of: &str,
    ) -> Result<bool, TchError> {
        let (time, most) = (self.request.time_s, self.request.most_steps);
        let before = progress.spent_s;
        let begun = Instant::now();
        let mut saved = before;
        if progress.steps == 0 {
            progress.held_out = Some(self.divergence(held_out)?);
            progress.loss = progress.held_out.unwrap_or_default();
            if !each(*progress) {
                return Ok(false);
            }
        }
        loop {
            progress.spent_s = before + begun.elapsed().as_secs_f64();
            let done = (progress.spent_s / time.max(1e-9)).max(progress.steps as f64 / most.max(1) as f64);
            let finished = done >= 1.0;
            if finished {
                progress.held_out = Some(self.divergence(held_out)?);
                each(*progress);
                self.save(progress, of)?;
                return Ok(true);
            }
            let batch = self.batch(windows, progress.steps);
            let loss = self.gradients(&batch)?;
            self.adam.step(&mut self.student.tensors, rate(self.request.rate, done))?;
            progress.steps += 1;
            progress.tokens += batch.numel() as u64;
            // A running mean over some ten steps.
            progress.loss = if progress.steps == 1 { loss } else { 0.9 * progress.loss + 0.1 * loss };
            progress.held_out = None;
            progress.spent_s = before + begun.elapsed().as_secs_f64();
            let go_on = each(*progress);
            if !go_on || progress.spent_s - saved > SAVE_EVERY {
                self.save(progress, of)?;
                saved = progress.spent_s;
            }
            if !go_on {
                return Ok(false);
            }
        }
    }

    fn save(&self, progress: &RecoverProgress, of: &str) -> Result<(), TchError> {
        let stopped = Stopped { progress: *progress, of: of.to_owned() };
        state::save(&self.request.state, &stopped, &self.student.tensors, &self.adam)
    }

    /// The windows of a step: every epoch has an order of its own, which follows from the seed alone.
    fn batch(&self, windows: &[Vec<i64>], step: u64) -> Tensor {
        let n = (self.request.windows_per_step.max(1) as usize).min(windows.len());
        let per_epoch = (windows.len() / n) as u64;
        let mut order: Vec<usize> = (0..windows.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(self.request.seed ^ (step / per_epoch).rotate_left(32)));
        let first = (step % per_epoch) as usize * n;
        let tokens: Vec<i64> =
            order[first..first + n].iter().flat_map(|w| windows[*w].iter().copied()).collect();
        Tensor::from_slice(&tokens).view([n as i64, -1]).to_device(self.device)
    }

    /// How a matrix is seen.
    fn seen(&self, name: &str, weight: &Tensor) -> Result<Tensor, TchError> {
        match self.request.fake_bits {
            Some(bits) if name.starts_with("blk.") => rounded(weight, bits),
            _ => plain(name, weight),
        }
    }

    /// Mean divergence on windows, without training.
    fn divergence(&self, windows: &[Vec<i64>]) -> Result<f64, TchError> {
        let _guard = tch::no_grad_guard();
        let (mut sum, mut rows) = (0.0, 0);
        for window in windows {
            let tokens = Tensor::from_slice(window).f_unsqueeze(0)?.f_to_device(self.device)?;
            let lens = |name: &str, weight: &Tensor| self.seen(name, weight);
            let (s, t) = (stream(&self.student, &tokens, &lens)?, stream(&self.teacher, &tokens, &plain)?);
            for (s, t) in chunks(&flat(&s)?)?.into_iter().zip(chunks(&flat(&t)?)?) {
                rows += s.size()[0];
                sum += f64::try_from(self.kl(&s, &t)?)?;
            }
        }
        Ok(sum / rows.max(1) as f64)
    }

    /// Sum over rows of the divergence of the student's predictions from the teacher's.
    fn kl(&self, student: &Tensor, teacher: &Tensor) -> Result<Tensor, TchError> {
        let expected = tch::no_grad(|| self.teacher.logits(teacher, &plain)?.f_log_softmax(-1, Kind::Float))?;
        let lens = |name: &str, weight: &Tensor| self.seen(name, weight);
        let found = self.student.logits(student, &lens)?.f_log_softmax(-1, Kind::Float)?;
        found.f_kl_div(&expected, tch::Reduction::Sum, true)
    }

    /// Leaves the gradients of a batch at the student's tensors; returns the mean divergence.
    fn gradients(&self, tokens: &Tensor) -> Result<f64, TchError> {
        let lens = |name: &str, weight: &Tensor| self.seen(name, weight);
        let layers = self.student.shapes.len();
        let (mut inputs, teacher) = tch::no_grad(|| -> Result<_, TchError> {
            let mut inputs = vec![self.student.embed(tokens)?];
            for i in 0..layers {
                inputs.push(self.student.layer(i, &inputs[i], &lens, None)?);
            }
            Ok((inputs, stream(&self.teacher, tokens, &plain)?))
        })?;
        let last = inputs.pop().ok_or_else(|| TchError::Kind("no layers".to_owned()))?;
        let rows = tokens.numel() as f64;
        let (mut loss, mut parts) = (0.0, Vec::new());
        for (s, t) in chunks(&flat(&last)?)?.into_iter().zip(chunks(&flat(&teacher)?)?) {
            let s = s.detach().set_requires_grad(true);
            let part = self.kl(&s, &t)?.f_div_scalar(rows)?;
            part.f_backward()?;
            loss += f64::try_from(&part.detach())?;
            parts.push(s.f_grad()?);
        }
        let mut gradient = Tensor::f_cat(&parts, 0)?.f_view_as(&last)?;
        for (i, input) in inputs.iter().enumerate().rev() {
            let input = input.detach().set_requires_grad(true);
            let output = self.student.layer(i, &input, &lens, None)?;
            output.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
            gradient = input.f_grad()?;
        }
        Ok(loss)
    }
}

/// The residual stream behind the last layer.
fn stream(graph: &Graph, tokens: &Tensor, lens: super::graph::Lens<'_>) -> Result<Tensor, TchError> {
    let mut x = graph.embed(tokens)?;
    for i in 0..graph.shapes.len() {
        x = graph.layer(i, &x, lens, None)?;
    }
    Ok(x)
}

fn flat(x: &Tensor) -> Result<Tensor, TchError> {
    x.f_flatten(0, 1)
}

fn chunks(x: &Tensor) -> Result<Vec<Tensor>, TchError> {
    x.f_split(ROWS_AT_ONCE, 0)
}

/// Rises, then falls as a cosine to a tenth.
fn rate(largest: f64, done: f64) -> f64 {
    if done < WARM_UP {
        return largest * (done / WARM_UP).max(0.05);
    }
    let t = ((done - WARM_UP) / (1.0 - WARM_UP)).min(1.0);
    largest * (0.1 + 0.45 * (1.0 + (std::f64::consts::PI * t).cos()))
}

/// A matrix rounded to `bits` with scale and offset for each group, whose gradient is that of the matrix itself.
fn rounded(weight: &Tensor, bits: u32) -> Result<Tensor, TchError> {
    let (rows, row) = weight.size2()?;
    if row % INT4_GROUP as i64 != 0 {
        return Ok(weight.shallow_clone());
    }
    let change = tch::no_grad(|| -> Result<Tensor, TchError> {
        let groups = weight.f_view([rows, -1, INT4_GROUP as i64])?;
        let (low, high) =
            (groups.f_amin([-1i64].as_slice(), true)?, groups.f_amax([-1i64].as_slice(), true)?);
        let steps = f64::from((1u32 << bits.clamp(1, 16)) - 1);
        let scale = high.f_sub(&low)?.f_div_scalar(steps)?.f_clamp_min(1e-12)?;
        let q = groups.f_sub(&low)?.f_div(&scale)?.f_round()?;
        q.f_mul(&scale)?.f_add(&low)?.f_sub(&groups)?.f_view([rows, row])
    })?;
    weight.f_add(&change)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "def add(a, b):\n    return a + b\n\n\ndef twice(x):\n    return x * 2\n\n\n";

    /// A teacher and a student of two tiny layers, and what is asked of them.
    fn pair(folder: &std::path::Path) -> RecoverRequest {
        use autotune::model::synthetic::Shapes;
        use autotune::model::{ArchKind, GgmlType};
        let path = |name: &str| folder.join(name);
        for (name, seed) in [("teacher.gguf", 1), ("student.gguf", 2)] {
            Shapes::tiny(ArchKind::Qwen2).write(&path(name), GgmlType::F32, seed, None).unwrap();
        }
        RecoverRequest {
            student: path("student.gguf"),
            teacher: path("teacher.gguf"),
            text: TEXT.repeat(8),
            out: path("out.gguf"),
            state: path("state"),
            time_s: 1e6,
            most_steps: 24,
            window: 32,
            windows_per_step: 2,
            rate: 3e-3,
            fake_bits: None,
            seed: 5,
            threads: 1,
            device: autotune::engine::Device::Cpu,
        }
    }

    #[test]
    fn a_student_learns_and_goes_on_where_it_was_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let request = pair(folder.path());
        let mut first = None;
        let stopped = recover(&request, &mut |p| {
            first = first.or(p.held_out);
            p.steps < 9
        })
        .unwrap();
        assert_eq!(stopped.steps, 9);
        assert!(request.state.join("progress.json").is_file());
        let mut heard = Vec::new();
        let end = recover(&request, &mut |p| {
            heard.push(p.steps);
            true
        })
        .unwrap();
        assert_eq!((heard[0], end.steps), (10, 24));
        let (before, after) = (first.unwrap(), end.held_out.unwrap());
        assert!(after < 0.8 * before, "{before} to {after}");
        assert!(!request.state.exists(), "what is done needs no state");
        let whole = autotune::model::gguf::Gguf::open(&request.out).unwrap();
        assert!(autotune::model::Architecture::read(&whole).is_ok());
        // The same without a stop is the same training.
        let again = RecoverRequest { out: folder.path().join("again.gguf"), ..request };
        let straight = recover(&again, &mut |_| true).unwrap();
        assert!((straight.held_out.unwrap() - after).abs() < 1e-3 * after, "{straight:?} {after}");
    }

    #[test]
    fn layers_that_are_computed_again_give_the_gradient_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let request = pair(folder.path());
        let graph = |path: &std::path::Path, owned: bool| {
            let checkpoint = Box::leak(Box::new(Checkpoint::open(path).unwrap()));
            Graph::load(checkpoint, 32, owned, Device::Cpu).unwrap()
        };
        let (student, teacher) = (graph(&request.student, true), graph(&request.teacher, false));
        let training =
            Training { request: &request, student, teacher, adam: Adam::default(), device: Device::Cpu };
        let tokens = Tensor::from_slice(&(3..67).collect::<Vec<i64>>()).view([2, -1]);
        let loss = training.gradients(&tokens).unwrap();
        let name = "blk.0.attn_k.weight";
        let tensor = &training.student.tensors[name];
        let piecewise = tensor.grad().copy();
        let _ = tensor.grad().zero_();
        let s = flat(&stream(&training.student, &tokens, &plain).unwrap()).unwrap();
        let t = flat(&stream(&training.teacher, &tokens, &plain).unwrap()).unwrap();
        let whole = training.kl(&s, &t).unwrap() / tokens.numel() as f64;
        whole.backward();
        assert!((f64::try_from(&whole.detach()).unwrap() - loss).abs() < 1e-5 * loss);
        assert!(piecewise.allclose(&tensor.grad(), 1e-4, 1e-7, false));
        assert!(f64::try_from(piecewise.abs().max()).unwrap() > 0.0);
    }

    #[test]
    fn the_rate_rises_and_falls() {
        assert!(rate(1.0, 0.0) < rate(1.0, 0.04));
        assert!((rate(1.0, WARM_UP) - 1.0).abs() < 1e-9);
        assert!((rate(1.0, 1.0) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn rounding_passes_the_gradient_straight_through() {
        let w = Tensor::randn([4, 64], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let seen = rounded(&w, 4).unwrap();
        let values = Vec::<f32>::try_from(seen.narrow(0, 0, 1).narrow(1, 0, 32).flatten(0, 1)).unwrap();
        let mut distinct: Vec<u32> = values.iter().map(|v| (v * 1e4).round() as i32 as u32).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() <= 16, "{}", distinct.len());
        seen.square().sum(Kind::Float).backward();
        assert!(w.grad().allclose(&(seen * 2.0), 1e-5, 1e-6, false));
    }
}
