//! The pickle (protocol 2) of a module with tensors, as `torch.jit.save` writes it.

/// What a tensor's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// bfloat16.
    Bf16,
    /// Signed bytes.
    I8,
}

impl Element {
    /// Bytes of one.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
            Element::I8 => 1,
        }
    }

    fn storage(self) -> &'static str {
        match self {
            Element::F32 => "FloatStorage",
            Element::F16 => "HalfStorage",
            Element::Bf16 => "BFloat16Storage",
            Element::I8 => "CharStorage",
        }
    }
}

/// A tensor's type and shape, the row length last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPickle {
    /// Its elements.
    pub element: Element,
    /// Its dimensions, in libtorch's order.
    pub shape: Vec<u64>,
}

impl TensorPickle {
    /// Bytes of its elements.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.elements() * self.element.bytes()
    }

    fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// An empty tuple.
pub(super) const NO_CONSTANTS: &[u8] = b"\x80\x02).";

/// `__torch__.M` with `training` set to false and tensors numbered by their place.
pub(super) fn module(tensors: &[(&str, &TensorPickle)]) -> Vec<u8> {
    let mut out = b"\x80\x02c__torch__\nM\n)\x81}(".to_vec();
    text(&mut out, "training");
    out.push(b'\x89');
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        text(&mut out, name);
        rebuilt(&mut out, tensor, i);
    }
    out.extend(b"ub.");
    out
}

fn rebuilt(out: &mut Vec<u8>, tensor: &TensorPickle, number: usize) {
    out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(out, "storage");
    out.extend(format!("ctorch\n{}\n", tensor.element.storage()).bytes());
    text(out, &number.to_string());
    text(out, "cpu");
    integer(out, tensor.elements());
    out.extend(b"tQ");
    integer(out, 0);
    tuple(out, &tensor.shape);
    let strides: Vec<u64> = (0..tensor.shape.len()).map(|i| tensor.shape[i + 1..].iter().product()).collect();
    tuple(out, &strides);
    out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}

fn tuple(out: &mut Vec<u8>, values: &[u64]) {
    out.push(b'(');
    values.iter().for_each(|v| integer(out, *v));
    out.push(b't');
}

fn integer(out: &mut Vec<u8>, value: u64) {
    match i32::try_from(value) {
        Ok(small) => {
            out.push(b'J');
            out.extend(small.to_le_bytes());
        }
        // LONG1 of eight bytes.
        Err(_) => {
            out.extend(b"\x8a\x08");
            out.extend(value.to_le_bytes());
        }
    }
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'X');
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value.bytes());
}
