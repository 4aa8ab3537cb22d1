//! Recovery: a student learns its teacher's predictions on code (Hinton et al. 2015, arXiv:1503.02531), the whole distribution of every
//! next token.
//!
//! Where the activations of all layers would be large, those of one layer at a time are kept for the gradient: inputs of the layers are
//! stored, and each layer is computed again on the way back (Chen et al. 2016, arXiv:1604.06174). Embedding and output matrix stay as they are. Matrices may be seen rounded while the
//! loss is computed ([`super::rounding`]).

use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, TchError, Tensor};

use super::graph::Graph;
use super::optimizer::Adam;
use super::rounding::Rounded;
use super::state::{self, Stopped};
use super::teacher::Teacher;
use super::{failed, open, write};
use autotune_engine::EngineError;
use autotune_engine::lab::{RecoverProgress, RecoverRequest};
use autotune_model::Checkpoint;

/// Rows whose logits are held at once.
const ROWS_AT_ONCE: i64 = 128;
/// Activations of all layers that are kept for the gradient, at most, in bytes.
const MOST_KEPT_BYTES: usize = 2 << 30;
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
    let windows: Vec<Vec<i64>> =
        tokens.chunks_exact(window).map(|w| w.iter().map(|t| i64::from(*t)).collect()).collect();
    if windows.len() < 2 {
        return Err(EngineError::Misuse(format!(
            "the text has {} tokens, fewer than two windows of {window}",
            tokens.len()
        )));
    }
    let mut student = Graph::load(&student, window as i64, true, device)?;
    for name in ["token_embd.weight", "output.weight"] {
        if let Some(tensor) = student.tensors.get_mut(name) {
            *tensor = tensor.set_requires_grad(false);
        }
    }
    let rounded = match &request.rounding {
        Some(rounding) => Some(Rounded::open(rounding, &student.tensors, request.threads)?),
        None => None,
    };
    let teacher = Teacher::new(Graph::load(&teacher, window as i64, false, device)?);
    let trained = windows.len() - (windows.len() / HELD_OUT).max(1);
    let adam = Adam::default();
    let mut training = Training {
        request,
        windows,
        trained,
        student,
        teacher,
        rounded,
        adam,
        device,
        most_kept_bytes: MOST_KEPT_BYTES,
    };
    let of = format!(
        "{} {} {:?} {}",
        request.student.display(),
        request.teacher.display(),
        request.rounding,
        request.seed
    );
    let taken_up = state::take_up(&request.state, &of, &mut training.student.tensors, &mut training.adam);
    let mut progress = taken_up.map_err(failed("the stopped recovery"))?.unwrap_or_default();
    let result = training.run(&mut progress, each, &of).map_err(failed("recovery"));
    let finished = result?;
    write::write(gguf, &training.student.tensors, &request.out)?;
    if finished {
        state::clear(&request.state);
    }
    Ok(progress)
}

struct Training<'a> {
    request: &'a RecoverRequest,
    /// All windows of the text; the first `trained` are trained on, the others held out.
    windows: Vec<Vec<i64>>,
    trained: usize,
    student: Graph,
    teacher: Teacher,
    rounded: Option<Rounded>,
    adam: Adam,
    device: Device,
    most_kept_bytes: usize,
}

impl Training<'_> {
    /// Trains until time or steps are up (true), or `each` says no (false).
    fn run(
        &mut self,
        progress: &mut RecoverProgress,
        each: &mut dyn FnMut(RecoverProgress) -> bool,
        of: &str,
    ) -> Result<bool, TchError> {
        let (time, most) = (self.request.time_s, self.request.most_steps);
        let before = progress.spent_s;
        let begun = Instant::now();
        let mut saved = before;
        if progress.steps == 0 {
            progress.held_out = Some(self.divergence()?);
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
                progress.held_out = Some(self.divergence()?);
                each(*progress);
                self.save(progress, of)?;
                return Ok(true);
            }
            if let Some(rounded) = &mut self.rounded {
                rounded.step(progress.steps, &self.student.tensors)?;
            }
            let batch = self.batch(progress.steps);
            let loss = self.gradients(&batch)?;
            self.adam.step(&mut self.student.tensors, rate(self.request.rate, done))?;
            progress.steps += 1;
            progress.tokens += batch.iter().map(|w| self.windows[*w].len() as u64).sum::<u64>();
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

    /// The windows of a step, by number: every epoch has an order of its own, which follows from the seed alone.
    fn batch(&self, step: u64) -> Vec<usize> {
        let n = (self.request.windows_per_step.max(1) as usize).min(self.trained);
        let per_epoch = (self.trained / n) as u64;
        let mut order: Vec<usize> = (0..self.trained).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(self.request.seed ^ (step / per_epoch).rotate_left(32)));
        let first = (step % per_epoch) as usize * n;
        order[first..first + n].to_vec()
    }

    /// The tokens of some windows [windows, length].
    fn tokens(&self, which: &[usize]) -> Result<Tensor, TchError> {
        let tokens: Vec<i64> = which.iter().flat_map(|w| self.windows[*w].iter().copied()).collect();
        Tensor::f_from_slice(&tokens)?.f_view([which.len() as i64, -1])?.f_to_device(self.device)
    }

    /// How a matrix is seen.
    fn seen(&self, name: &str, weight: &Tensor) -> Result<Tensor, TchError> {
        match &self.rounded {
            Some(rounded) => rounded.seen(name, weight),
            None => Ok(weight.shallow_clone()),
        }
    }

    /// Mean divergence on the windows that are held out, without training, matrices rounded as they are now.
    fn divergence(&mut self) -> Result<f64, TchError> {
        let _guard = tch::no_grad_guard();
        if let Some(rounded) = &mut self.rounded {
            rounded.round(&self.student.tensors)?;
        }
        let (mut sum, mut rows) = (0.0, 0);
        for window in self.trained..self.windows.len() {
            let teacher = self.teacher.stream(&self.windows, &[window])?;
            let lens = |name: &str, weight: &Tensor| self.seen(name, weight);
            let student = flat(&self.student.stream(&self.tokens(&[window])?, &lens)?)?;
            for (s, t) in chunks(&student)?.into_iter().zip(chunks(&teacher)?) {
                rows += s.size()[0];
                sum += f64::try_from(self.kl(&s, &t)?)?;
            }
        }
        Ok(sum / rows.max(1) as f64)
    }

    /// Sum over rows of the divergence of the student's predictions from the teacher's.
    fn kl(&self, student: &Tensor, teacher: &Tensor) -> Result<Tensor, TchError> {
        let lens = |name: &str, weight: &Tensor| self.seen(name, weight);
        let found = self.student.logits(student, &lens)?.f_log_softmax(-1, Kind::Float)?;
        found.f_kl_div(&self.teacher.expected(teacher)?, tch::Reduction::Sum, true)
    }

    /// Leaves the gradients of some windows at the student's tensors; returns the mean divergence.
    fn gradients(&mut self, which: &[usize]) -> Result<f64, TchError> {
        let teacher = self.teacher.stream(&self.windows, which)?;
        let tokens = self.tokens(which)?;
        let lens = |name: &str, weight: &Tensor| self.seen(name, weight);
        // Either the whole graph is kept for the way back, or the inputs of the layers.
        let mut inputs = Vec::new();
        let last = if self.student.kept_bytes(tokens.numel()) <= self.most_kept_bytes {
            self.student.stream(&tokens, &lens)?
        } else {
            tch::no_grad(|| -> Result<_, TchError> {
                let mut x = self.student.embed(&tokens)?;
                for i in 0..self.student.shapes.len() {
                    inputs.push(x.shallow_clone());
                    x = self.student.layer(i, &x, &lens, None)?;
                }
                Ok(x)
            })?
        };
        let rows = tokens.numel() as f64;
        let (mut loss, mut parts) = (0.0, Vec::new());
        for (s, t) in chunks(&flat(&last)?)?.into_iter().zip(chunks(&teacher)?) {
            let s = s.detach().set_requires_grad(true);
            let part = self.kl(&s, &t)?.f_div_scalar(rows)?;
            part.f_backward()?;
            loss += f64::try_from(&part.detach())?;
            parts.push(s.f_grad()?);
        }
        let mut gradient = Tensor::f_cat(&parts, 0)?.f_view_as(&last)?;
        if last.requires_grad() {
            last.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
        }
        for (i, input) in inputs.iter().enumerate().rev() {
            let input = input.detach().set_requires_grad(true);
            let output = self.student.layer(i, &input, &lens, None)?;
            output.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
            gradient = input.f_grad()?;
        }
        Ok(loss)
    }
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

#[cfg(test)]
mod tests {
    use super::super::graph::plain;
    use super::*;

    const TEXT: &str = "def add(a, b):\n    return a + b\n\n\ndef twice(x):\n    return x * 2\n\n\n";

    /// A teacher and a student of two tiny layers, and what is asked of them.
    fn pair(folder: &std::path::Path) -> RecoverRequest {
        use autotune_model::synthetic::Shapes;
        use autotune_model::{ArchKind, GgmlType};
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
            rounding: None,
            seed: 5,
            threads: 1,
            device: autotune_engine::Device::Cpu,
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
        let whole = autotune_model::gguf::Gguf::open(&request.out).unwrap();
        assert!(autotune_model::Architecture::read(&whole).is_ok());
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
        let windows: Vec<Vec<i64>> = (0..2).map(|w| (3 + 32 * w..35 + 32 * w).collect()).collect();
        let mut training = Training {
            request: &request,
            windows,
            trained: 2,
            student,
            teacher: Teacher::new(teacher),
            rounded: None,
            adam: Adam::default(),
            device: Device::Cpu,
            most_kept_bytes: 0,
        };
        let name = "blk.0.attn_k.weight";
        let found = [0, usize::MAX].map(|most| {
            training.most_kept_bytes = most;
            let loss = training.gradients(&[0, 1]).unwrap();
            let gradient = training.student.tensors[name].grad().copy();
            let _ = training.student.tensors[name].grad().zero_();
            (loss, gradient)
        });
        let tokens = training.tokens(&[0, 1]).unwrap();
        let s = flat(&training.student.stream(&tokens, &plain).unwrap()).unwrap();
        let t = training.teacher.stream(&training.windows, &[0, 1]).unwrap();
        let whole = training.kl(&s, &t).unwrap() / tokens.numel() as f64;
        whole.backward();
        let tensor = &training.student.tensors[name];
        for (loss, gradient) in found {
            assert!((f64::try_from(&whole.detach()).unwrap() - loss).abs() < 1e-5 * loss);
            assert!(gradient.allclose(&tensor.grad(), 1e-4, 1e-7, false));
            assert!(f64::try_from(gradient.abs().max()).unwrap() > 0.0);
        }
    }

    #[test]
    fn the_rate_rises_and_falls() {
        assert!(rate(1.0, 0.0) < rate(1.0, 0.04));
        assert!((rate(1.0, WARM_UP) - 1.0).abs() < 1e-9);
        assert!((rate(1.0, 1.0) - 0.1).abs() < 1e-9);
    }
}
