//! A loaded model as the rest of the house sees it.
#![allow(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use super::attention::{LayerCache, Plan, Segment};
use super::error::{decode as failed, text};
use super::net::Net;
use super::vocabulary::Vocabulary;
use autotune_core::space::KvType;
use autotune_engine::{EngineError, Row, RunConfig, Session, SessionInfo, Token};
use autotune_model::Checkpoint;

/// A loaded model with its cache. Fields drop in order: tensors before the files that they are mapped from.
pub(super) struct TorchSession {
    net: Net,
    caches: Vec<Option<LayerCache>>,
    /// Tokens that each sequence holds.
    lengths: Vec<u32>,
    vocabulary: Vocabulary,
    run: RunConfig,
    info: SessionInfo,
    /// The logits of the last call, and for each of its rows where they are.
    logits: Option<Tensor>,
    wanted: Vec<Option<usize>>,
    _checkpoint: Checkpoint,
}

/// Where the cache's elements are kept; blocks have no kernels in libtorch.
fn cache_kind(ty: KvType) -> Option<Kind> {
    match ty {
        KvType::F32 => Some(Kind::Float),
        KvType::F16 => Some(Kind::Half),
        KvType::Bf16 => Some(Kind::BFloat16),
        KvType::Q8_0 | KvType::Q4_0 => None,
    }
}

impl TorchSession {
    pub(super) fn load(artifact: &Path, run: &RunConfig, device: Device) -> Result<Self, EngineError> {
        let path = || artifact.display().to_string();
        let checkpoint = Checkpoint::open(artifact)
            .map_err(|e| EngineError::Load { path: path(), detail: e.to_string() })?;
        let facts =
            checkpoint.tokenizer().map_err(|e| EngineError::Load { path: path(), detail: e.to_string() })?;
        let vocabulary =
            Vocabulary::new(&facts).map_err(|e| EngineError::Load { path: path(), detail: e.to_string() })?;
        tch::set_num_threads(i32::try_from(run.threads.max(1)).unwrap_or(i32::MAX));
        let context_error = |detail: String| EngineError::Context {
            sequences: run.sequences,
            context: run.context,
            kv_k: run.kv_k.name(),
            kv_v: run.kv_v.name(),
            detail,
        };
        let (Some(k), Some(v)) = (cache_kind(run.kv_k), cache_kind(run.kv_v)) else {
            return Err(context_error("the torch engine keeps f32, f16 or bf16".to_owned()));
        };
        let arch = checkpoint.arch();
        let info = SessionInfo {
            vocabulary: arch.vocab as usize,
            parameters: parameters(&checkpoint),
            weight_bytes: checkpoint.total_bytes(),
            trained_context: arch.context_length,
            context: run.context,
            // libtorch tells no account of its memory.
            buffers: Vec::new(),
        };
        let (sequences, context) = (i64::from(run.sequences), i64::from(run.context));
        // Nothing here is trained.
        let _guard = tch::no_grad_guard();
        let net = Net::load(&checkpoint, None, context, device)?;
        let caches = net.caches(sequences * context, (k, v)).map_err(|e| context_error(text(&e)))?;
        Ok(Self {
            net,
            caches,
            lengths: vec![0; run.sequences as usize],
            vocabulary,
            run: run.clone(),
            info,
            logits: None,
            wanted: Vec::new(),
            _checkpoint: checkpoint,
        })
    }

    /// Refuses what cannot be decoded, before anything is changed.
    fn check(&self, rows: &[Row]) -> Result<(), String> {
        if rows.is_empty() {
            return Err("there are no rows".to_owned());
        }
        let most = self.run.batch_tokens.max(1) as usize;
        if rows.len() > most {
            return Err(format!("a call takes at most {most}"));
        }
        let outputs = rows.iter().filter(|r| r.logits).count();
        if self.run.max_outputs > 0 && outputs > self.run.max_outputs as usize {
            return Err(format!("{outputs} rows request logits, at most {} may", self.run.max_outputs));
        }
        let mut next: Vec<u32> = self.lengths.clone();
        for row in rows {
            let Some(due) = next.get_mut(row.sequence as usize) else {
                return Err(format!("sequence {} of {}", row.sequence, self.run.sequences));
            };
            if row.position >= self.run.context {
                return Err(format!("position {} in a context of {}", row.position, self.run.context));
            }
            if usize::try_from(row.token).map_or(true, |t| t >= self.info.vocabulary) {
                return Err(format!("token {} of a vocabulary of {}", row.token, self.info.vocabulary));
            }
            if row.position != *due {
                return Err(format!("position {} after {due} tokens", row.position));
            }
            *due += 1;
        }
        Ok(())
    }

    /// Computes some rows: the residual stream of those that want logits, in the order of `rows`, with their places in the call.
    fn compute(&mut self, rows: &[(usize, Row)]) -> Result<Option<(Tensor, Vec<usize>)>, tch::TchError> {
        let device = self.net.device;
        // By sequence, each in its own order.
        let mut sorted: Vec<&(usize, Row)> = rows.iter().collect();
        sorted.sort_by_key(|(_, row)| (row.sequence, row.position));
        let mut segments: Vec<Segment> = Vec::new();
        for (i, (_, row)) in sorted.iter().enumerate() {
            match segments.last_mut().filter(|s| s.sequence == i64::from(row.sequence)) {
                Some(segment) => segment.len += 1,
                None => segments.push(Segment {
                    sequence: i64::from(row.sequence),
                    start: i as i64,
                    len: 1,
                    past: i64::from(row.position),
                }),
            }
        }
        let numbers = |of: &dyn Fn(&Row) -> i64| {
            let all: Vec<i64> = sorted.iter().map(|(_, row)| of(row)).collect();
            Tensor::from_slice(&all).f_to_device(device)
        };
        let tokens = numbers(&|row| i64::from(row.token))?;
        let positions = numbers(&|row| i64::from(row.position))?;
        let kind = cache_kind(self.run.kv_k).unwrap_or(Kind::Float);
        let (sequences, context) = (i64::from(self.run.sequences), i64::from(self.run.context));
        let plan = Plan::new(&segments, sequences, context, kind, device)?;
        let x = self.net.run(&tokens, &positions, &plan, &mut self.caches)?;
        let outputs: Vec<(i64, usize)> = sorted
            .iter()
            .enumerate()
            .filter(|(_, (_, row))| row.logits)
            .map(|(i, (place, _))| (i as i64, *place))
            .collect();
        if outputs.is_empty() {
            return Ok(None);
        }
        let which: Vec<i64> = outputs.iter().map(|o| o.0).collect();
        let x = x.f_index_select(0, &Tensor::from_slice(&which).f_to_device(device)?)?;
        Ok(Some((self.net.logits(&x)?, outputs.into_iter().map(|o| o.1).collect())))
    }

    fn decode_all(&mut self, rows: &[Row]) -> Result<(), tch::TchError> {
        let _guard = tch::no_grad_guard();
        let mut wanted = vec![None; rows.len()];
        let mut parts = Vec::new();
        let mut outputs = 0;
        let numbered: Vec<(usize, Row)> = rows.iter().copied().enumerate().collect();
        for chunk in numbered.chunks(self.run.ubatch.max(1) as usize) {
            if let Some((logits, places)) = self.compute(chunk)? {
                for place in places {
                    wanted[place] = Some(outputs);
                    outputs += 1;
                }
                parts.push(logits);
            }
        }
        self.logits = match parts.len() {
            0 => None,
            1 => parts.pop(),
            _ => Some(Tensor::f_cat(&parts, 0)?),
        };
        self.wanted = wanted;
        Ok(())
    }

    fn has(&self, sequence: u32) -> Result<(), EngineError> {
        match self.lengths.get(sequence as usize) {
            Some(_) => Ok(()),
            None => Err(EngineError::Misuse(format!("sequence {sequence} of {}", self.run.sequences))),
        }
    }
}

/// Weights of the matrices and norms.
fn parameters(checkpoint: &Checkpoint) -> u64 {
    let arch = checkpoint.arch();
    let norms = (2 * arch.layers.len() as u64 + 1) * u64::from(arch.hidden);
    arch.weight_shapes().map(|(_, [a, b])| a * b).sum::<u64>() + norms
}

impl Session for TorchSession {
    fn info(&self) -> &SessionInfo {
        &self.info
    }

    fn tokenize(&self, text: &str, begin: bool) -> Result<Vec<Token>, EngineError> {
        self.vocabulary.encode(text, begin)
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        self.vocabulary.piece(token)
    }

    fn is_end(&self, token: Token) -> bool {
        self.vocabulary.is_end(token)
    }

    fn decode(&mut self, rows: &[Row]) -> Result<(), EngineError> {
        // What an earlier call computed is not to be taken for this one's, should this one fail.
        self.wanted.clear();
        self.logits = None;
        self.check(rows).map_err(|detail| EngineError::Decode { rows: rows.len(), detail })?;
        // What a failed call wrote lies behind the ends of its sequences, where the next call writes anew.
        self.decode_all(rows).map_err(failed(rows.len()))?;
        for row in rows {
            self.lengths[row.sequence as usize] += 1;
        }
        Ok(())
    }

    fn logits(&mut self, index: usize) -> Result<&[f32], EngineError> {
        let place = self.wanted.get(index).copied().flatten();
        let (Some(place), Some(logits)) = (place, &self.logits) else {
            return Err(EngineError::Misuse(format!("row {index} did not request logits")));
        };
        let n = self.info.vocabulary;
        let whole = logits.numel();
        if (place + 1) * n > whole {
            return Err(EngineError::Misuse(format!("the library has no logits for row {index}")));
        }
        // SAFETY: the tensor is contiguous, f32, on the processor, and has the rows that were just counted; it lives until the next
        // decode call, which needs `&mut self` as well.
        Ok(unsafe { std::slice::from_raw_parts(logits.data_ptr().cast::<f32>().add(place * n), n) })
    }

    fn forget(&mut self, sequence: Option<u32>) {
        match sequence {
            None => self.lengths.fill(0),
            Some(s) => {
                if let Some(length) = self.lengths.get_mut(s as usize) {
                    *length = 0;
                }
            }
        }
    }

    fn truncate(&mut self, sequence: u32, length: u32) -> Result<(), EngineError> {
        self.has(sequence)?;
        let held = &mut self.lengths[sequence as usize];
        *held = length.min(*held);
        Ok(())
    }

    fn copy(&mut self, from: u32, to: u32) -> Result<(), EngineError> {
        self.has(from)?;
        self.has(to)?;
        if from != to {
            let length = self.lengths[from as usize];
            let _guard = tch::no_grad_guard();
            for cache in self.caches.iter_mut().flatten() {
                cache
                    .copy(i64::from(from), i64::from(to), i64::from(length), i64::from(self.run.context))
                    .map_err(|e| EngineError::Misuse(text(&e)))?;
            }
            self.lengths[to as usize] = length;
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        if let Device::Cuda(device) = self.net.device {
            // Kernels run behind the program's back.
            tch::Cuda::synchronize(device as i64);
        }
        START.get_or_init(Instant::now).elapsed()
    }
}
