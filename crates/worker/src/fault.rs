//! What an error tells the user, and whose fault it is.

use std::error::Error;
use std::io;

use autotune_compress::CompressError;
use autotune_model::gguf::{Fault, GgufError};

/// An error and its causes in one line. A cause whose words its effect has already quoted is not told twice.
#[must_use]
pub fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Whether an error, or a cause of it, says that the machine lacks disk space or permission. Such a failure is nobody's measurement: it
/// passes when the user frees space or mends the permission.
#[must_use]
pub fn is_machines(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if itself_is_machines(cause) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// One error of a chain. Errors of model files and artifacts are whole in themselves and name no source: what they hold is looked at.
fn itself_is_machines(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return is_machines_kind(error.kind());
    }
    if let Some(error) = error.downcast_ref::<GgufError>() {
        return fault_is_machines(&error.fault);
    }
    match error.downcast_ref::<CompressError>() {
        Some(CompressError::Gguf(error)) => fault_is_machines(&error.fault),
        Some(CompressError::Cache { cause, .. } | CompressError::Io { cause, .. }) => {
            is_machines_kind(cause.kind())
        }
        _ => false,
    }
}

fn fault_is_machines(fault: &Fault) -> bool {
    match fault {
        Fault::NoSpace { .. } => true,
        Fault::Read(error) | Fault::Write(error) => is_machines_kind(error.kind()),
        _ => false,
    }
}

fn is_machines_kind(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge | K::ReadOnlyFilesystem | K::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_twice() {
        let error = Fault::Write(io::Error::from_raw_os_error(28)).at(std::path::Path::new("x.gguf"));
        let error = anyhow::Error::from(error).context("study 1 stopped");
        let text = told(&error);
        assert!(text.starts_with("study 1 stopped: ") && text.matches("os error 28").count() == 1, "{text}");
        assert_eq!(told(&anyhow::anyhow!("inner").context("outer")), "outer: inner");
    }

    #[test]
    fn the_kernels_codes_are_recognised_through_typed_errors() {
        for (code, machines) in [(28, true), (30, true), (13, true), (122, true), (2, false), (32, false)] {
            let io = || io::Error::from_raw_os_error(code);
            assert_eq!(is_machines(&io()), machines, "{code}");
            assert_eq!(is_machines(&Fault::Write(io()).at(std::path::Path::new("x"))), machines, "{code}");
            let wrapped = io::Error::other(io());
            assert!(wrapped.source().is_none() || is_machines(&wrapped) == machines);
        }
    }
}
