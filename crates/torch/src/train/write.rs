//! A trained model as a GGUF like the one that it was read from.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Kind, Tensor};

use super::super::weights::kind_of;
use autotune_engine::EngineError;
use autotune_model::gguf::{Gguf, GgufError, GgufWriter, TensorDecl};

/// Writes `source` with the trained tensors in place of its own.
pub(super) fn write(
    source: &Gguf,
    trained: &BTreeMap<String, Tensor>,
    out: &Path,
) -> Result<(), EngineError> {
    let fail = |e: &dyn std::fmt::Display| EngineError::Misuse(format!("the trained model: {e}"));
    let gguf = |e: GgufError| fail(&e);
    let decl = |t: &autotune_model::gguf::TensorInfo| TensorDecl {
        name: t.name.clone(),
        dims: t.dims.clone(),
        ty: t.ty,
    };
    let decls: Vec<TensorDecl> = source.tensors().iter().map(decl).collect();
    let mut writer = GgufWriter::create(out, source.metadata(), &decls).map_err(gguf)?;
    for info in source.tensors() {
        let kind = kind_of(info.ty).filter(|k| *k != Kind::Int8);
        match (trained.get(&info.name), kind) {
            (Some(tensor), Some(kind)) => {
                let plain =
                    tensor.detach().f_to_kind(kind).and_then(|t| t.f_contiguous()).map_err(|e| fail(&e))?;
                let mut bytes = vec![0u8; info.bytes() as usize];
                plain.f_copy_data_u8(&mut bytes, plain.numel()).map_err(|e| fail(&e))?;
                writer.write(&bytes).map_err(gguf)?;
            }
            _ => writer.write(source.bytes(info)).map_err(gguf)?,
        }
    }
    writer.finish(true).map_err(gguf)?;
    Ok(())
}
