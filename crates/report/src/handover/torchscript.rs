//! A model as a TorchScript archive, for programs that have libtorch and not us: `forward(tokens [batch, length]) -> logits`.
//!
//! The code is written out as TorchScript's own serialisation would be, a line for each operator, layers one after the other. Floats are
//! multiplied as they are stored, bytes by `_weight_int8pack_mm` (also those whose activations our own engine rounds), 4-bit weights as
//! the bfloat16 that they stand for.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use autotune_compress::convert::{ConvertError, floats_of};
use autotune_core::atomic_file;
use autotune_model::torchscript::{Attribute, Element, TensorPickle, write as write_archive};
use autotune_model::{
    Architecture, Checkpoint, DYNAMIC_SCALES, GgmlType, LayerShape, RopePairing, SCALES, float_bytes,
};

/// Positions that are turned by angles of their own, at most.
const LONGEST: u32 = 8192;

/// A module in the making.
struct Script<'a> {
    checkpoint: &'a Checkpoint,
    attributes: Vec<Attribute<'a>>,
    code: String,
}

/// Writes the checkpoint as an archive; returns its size in bytes.
///
/// # Errors
/// A type that has no operator, or a disk that refuses.
pub fn write(checkpoint: &Checkpoint, out: &Path) -> Result<u64, ConvertError> {
    let fail = |e: io::Error| ConvertError::Write { path: out.to_owned(), cause: e.to_string() };
    let mut script = Script { checkpoint, attributes: Vec::new(), code: String::new() };
    let body = script.body()?;
    let code = script.class(&body);
    atomic_file::write_with(out, |file| write_archive(file, &code, &script.attributes)).map_err(fail)?;
    Ok(std::fs::metadata(out).map_err(fail)?.len())
}

impl<'a> Script<'a> {
    fn class(&self, body: &str) -> String {
        let mut code =
            "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n".to_owned();
        for attribute in &self.attributes {
            let _ = writeln!(code, "  {} : Tensor", attribute.name);
        }
        let _ = write!(
            code,
            "  def norm(self: __torch__.M,\n    x: Tensor,\n    w: Tensor) -> Tensor:\n    \
             square = torch.mean(torch.pow(x, 2), [-1], True)\n    \
             return torch.mul(torch.mul(x, torch.rsqrt(torch.add(square, {:e}))), w)\n",
            self.checkpoint.eps()
        );
        let half = self.checkpoint.arch().head_dim / 2;
        let [a, b] = match self.checkpoint.rope().pairing {
            RopePairing::Halves => [
                format!("torch.slice(x, -1, 0, {half})"),
                format!("torch.slice(x, -1, {half}, {})", 2 * half),
            ],
            RopePairing::Neighbours => {
                [0, 1].map(|from| format!("torch.slice(x, -1, {from}, {}, 2)", 2 * half))
            }
        };
        let _ = write!(
            code,
            "  def turn(self: __torch__.M,\n    x: Tensor,\n    c: Tensor,\n    s: Tensor) -> Tensor:\n    \
             a = {a}\n    b = {b}\n    \
             return torch.cat([torch.sub(torch.mul(a, c), torch.mul(b, s)), torch.add(torch.mul(a, s), torch.mul(b, c))], -1)\n"
        );
        code + "  def forward(self: __torch__.M,\n    tokens: Tensor) -> Tensor:\n" + body
    }

    fn body(&mut self) -> Result<String, ConvertError> {
        let arch = self.checkpoint.arch().clone();
        let rope = self.checkpoint.rope().for_context(u64::from(arch.context_length));
        let (frequencies, temperature) = rope.frequencies(arch.head_dim);
        let positions = arch.context_length.min(LONGEST);
        let angles = |of: fn(f64) -> f64| -> Vec<f32> {
            (0..positions)
                .flat_map(|p| frequencies.iter().map(move |f| (f64::from(p) * f, of)))
                .map(|(angle, of)| (of(angle) * temperature) as f32)
                .collect()
        };
        let shape = vec![u64::from(positions), u64::from(arch.head_dim / 2)];
        self.constant("cos", angles(f64::cos), shape.clone());
        self.constant("sin", angles(f64::sin), shape);
        self.code += "    b = torch.size(tokens, 0)\n    n = torch.size(tokens, 1)\n";
        self.code += "    c = torch.unsqueeze(torch.slice(self.cos, 0, 0, n), 1)\n";
        self.code += "    s = torch.unsqueeze(torch.slice(self.sin, 0, 0, n), 1)\n";
        let table = self.matrix("token_embd.weight")?;
        let rows = match self.scales("token_embd.weight")? {
            Some(scales) => format!(
                "torch.mul(torch.to(torch.embedding(self.{table}, tokens), 6), torch.embedding(torch.unsqueeze(self.{scales}, 1), tokens))"
            ),
            None => format!("torch.to(torch.embedding(self.{table}, tokens), 6)"),
        };
        let _ = writeln!(self.code, "    x = {rows}");
        for (i, layer) in arch.layers.iter().enumerate() {
            self.layer(i, *layer, &arch)?;
        }
        let norm = self.vector("output_norm.weight")?;
        let _ = writeln!(self.code, "    h = (self).norm(x, self.{norm}, )");
        let output = if arch.tied { "token_embd" } else { "output" };
        let logits = self.product(output, "h", arch.hidden, arch.vocab)?;
        let _ = writeln!(self.code, "    return {logits}");
        Ok(std::mem::take(&mut self.code))
    }

    fn layer(&mut self, i: usize, shape: LayerShape, arch: &Architecture) -> Result<(), ConvertError> {
        let name = |part: &str| format!("blk.{i}.{part}");
        let head = arch.head_dim;
        if shape.heads > 0 {
            let norm = self.vector(&name("attn_norm.weight"))?;
            let _ = writeln!(self.code, "    h = (self).norm(x, self.{norm}, )");
            for (part, heads) in [("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads)] {
                let product = self.product(&name(&format!("attn_{part}")), "h", arch.hidden, heads * head)?;
                let split = format!("torch.view({product}, [b, n, {heads}, {head}])");
                let turned = if part == "v" { split } else { format!("(self).turn({split}, c, s, )") };
                let group = shape.group();
                let ready = match part {
                    "q" => format!("torch.transpose({turned}, 1, 2)"),
                    _ => format!("torch.repeat_interleave(torch.transpose({turned}, 1, 2), {group}, 1)"),
                };
                let _ = writeln!(self.code, "    {part} = {ready}");
            }
            self.code += "    o = torch.scaled_dot_product_attention(q, k, v, None, 0., True)\n";
            let width = shape.heads * head;
            let _ = writeln!(self.code, "    o = torch.reshape(torch.transpose(o, 1, 2), [b, n, {width}])");
            let product = self.product(&name("attn_output"), "o", width, arch.hidden)?;
            let _ = writeln!(self.code, "    x = torch.add(x, {product})");
        }
        if shape.ffn > 0 {
            let norm = self.vector(&name("ffn_norm.weight"))?;
            let _ = writeln!(self.code, "    h = (self).norm(x, self.{norm}, )");
            let gate = self.product(&name("ffn_gate"), "h", arch.hidden, shape.ffn)?;
            let up = self.product(&name("ffn_up"), "h", arch.hidden, shape.ffn)?;
            let _ = writeln!(self.code, "    g = torch.mul(torch.silu({gate}), {up})");
            let down = self.product(&name("ffn_down"), "g", shape.ffn, arch.hidden)?;
            let _ = writeln!(self.code, "    x = torch.add(x, {down})");
        }
        Ok(())
    }

    /// The product of a variable with a matrix, as an expression in f32.
    fn product(&mut self, name: &str, x: &str, row: u32, rows: u32) -> Result<String, ConvertError> {
        let weight = format!("{name}.weight");
        let matrix = self.matrix(&weight)?;
        let bias = format!("{name}.bias");
        let bias = self.checkpoint.find(&bias).is_some().then(|| self.vector(&bias)).transpose()?;
        if let Some(scales) = self.scales(&weight)? {
            let flat = format!("torch.to(torch.reshape({x}, [-1, {row}]), 15)");
            let product =
                format!("torch._weight_int8pack_mm({flat}, self.{matrix}, torch.to(self.{scales}, 15))");
            let product = format!("torch.reshape(torch.to({product}, 6), [b, n, {rows}])");
            return Ok(match bias {
                Some(bias) => format!("torch.add({product}, self.{bias})"),
                None => product,
            });
        }
        let element = self.element_of(&matrix);
        let bias = |cast: &str| match &bias {
            Some(bias) if cast.is_empty() => format!(", self.{bias}"),
            Some(bias) => format!(", torch.to(self.{bias}, {cast})"),
            None => String::new(),
        };
        Ok(match element {
            Element::Bf16 => {
                format!("torch.to(torch.linear(torch.to({x}, 15), self.{matrix}{}), 6)", bias("15"))
            }
            _ => format!("torch.linear({x}, self.{matrix}{})", bias("")),
        })
    }

    fn element_of(&self, attribute: &str) -> Element {
        let found = self.attributes.iter().find(|a| a.name == attribute);
        found.map_or(Element::F32, |a| a.tensor.element)
    }

    /// A tensor of our own.
    fn constant(&mut self, name: &str, values: Vec<f32>, shape: Vec<u64>) {
        let bytes = float_bytes(&values, GgmlType::F32);
        self.attributes.push(Attribute {
            name: name.to_owned(),
            tensor: TensorPickle { element: Element::F32, shape },
            make: Box::new(move || Ok(Cow::Owned(bytes.clone()))),
        });
    }

    /// The attribute of a vector, as f32.
    fn vector(&mut self, name: &str) -> Result<String, ConvertError> {
        let raw = self.checkpoint.require(name)?;
        let values = floats_of(self.checkpoint, name, &raw)?;
        let attribute = attribute_name(name);
        self.constant(&attribute, values, raw.dims.clone());
        Ok(attribute)
    }

    /// The attribute of a matrix: bytes and bfloat16 as they are stored, f16 as f32, blocks as bfloat16.
    fn matrix(&mut self, name: &str) -> Result<String, ConvertError> {
        let attribute = attribute_name(name);
        if self.attributes.iter().any(|a| a.name == attribute) {
            return Ok(attribute);
        }
        let checkpoint = self.checkpoint;
        let raw = checkpoint.require(name)?;
        let (element, ty) = match raw.ty {
            GgmlType::I8 => (Element::I8, GgmlType::I8),
            GgmlType::F32 | GgmlType::F16 => (Element::F32, GgmlType::F32),
            _ => (Element::Bf16, GgmlType::Bf16),
        };
        let shape = raw.dims.iter().rev().copied().collect();
        // Known to be possible before anything is written.
        if raw.ty != ty && raw.ty != GgmlType::F16 && cfg!(not(feature = "llama")) {
            floats_of(checkpoint, name, &raw)?;
        }
        let name = name.to_owned();
        let make = move || -> io::Result<Cow<'a, [u8]>> {
            if raw.ty == ty {
                return Ok(Cow::Borrowed(raw.bytes));
            }
            let values = floats_of(checkpoint, &name, &raw).map_err(io::Error::other)?;
            Ok(Cow::Owned(float_bytes(&values, ty)))
        };
        let tensor = TensorPickle { element, shape };
        self.attributes.push(Attribute { name: attribute.clone(), tensor, make: Box::new(make) });
        Ok(attribute)
    }

    /// The attribute of the scales of a matrix of bytes.
    fn scales(&mut self, name: &str) -> Result<Option<String>, ConvertError> {
        for suffix in [SCALES, DYNAMIC_SCALES] {
            let scales = format!("{name}{suffix}");
            if self.checkpoint.find(&scales).is_some() {
                let attribute = attribute_name(&scales);
                let known = self.attributes.iter().any(|a| a.name == attribute);
                return Ok(Some(if known { attribute } else { self.vector(&scales)? }));
            }
        }
        Ok(None)
    }
}

/// `blk.3.attn_q.weight` as a name in the code.
fn attribute_name(tensor: &str) -> String {
    tensor.replace('.', "_")
}
