//! TorchScript archives: a module's attributes as a pickle, its code as text, tensors as raw records, all in a zip of stored entries.

mod pickle;
mod zip;

use std::borrow::Cow;
use std::io::{self, Write};

pub use pickle::{Element, TensorPickle};

/// A tensor of a module, whose bytes are made when they are written.
pub struct Attribute<'a> {
    /// Its name in the code.
    pub name: String,
    /// Type and shape.
    pub tensor: TensorPickle,
    /// The bytes, in rows; or why they cannot be made.
    pub make: Box<dyn Fn() -> io::Result<Cow<'a, [u8]>> + 'a>,
}

/// Writes the archive of a module `__torch__.M`: `code` is its class, the attributes are its tensors beside `training`.
///
/// # Errors
/// The writer refuses, or the archive would pass 4 GiB.
pub fn write(out: &mut dyn Write, code: &str, attributes: &[Attribute<'_>]) -> io::Result<()> {
    let tensors: Vec<(&str, &TensorPickle)> =
        attributes.iter().map(|a| (a.name.as_str(), &a.tensor)).collect();
    let mut zip = zip::Zip::new(out);
    zip.add("m/data.pkl", &pickle::module(&tensors))?;
    zip.add("m/code/__torch__.py", code.as_bytes())?;
    zip.add("m/constants.pkl", pickle::NO_CONSTANTS)?;
    for (i, attribute) in attributes.iter().enumerate() {
        let bytes = (attribute.make)()?;
        if bytes.len() as u64 != attribute.tensor.bytes() {
            let (found, expected) = (bytes.len(), attribute.tensor.bytes());
            return Err(io::Error::other(format!("{} has {found} bytes, not {expected}", attribute.name)));
        }
        zip.add(&format!("m/data/{i}"), &bytes)?;
    }
    zip.add("m/version", b"3\n")?;
    zip.finish()
}
