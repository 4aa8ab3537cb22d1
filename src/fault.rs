//! Whose fault an input/output error is.

use std::error::Error;
use std::io;

/// Whether an error, or a cause of it, says that the machine lacks disk space or permission. Such a failure is nobody's measurement: it
/// passes when the user frees space or mends the permission.
#[must_use]
pub fn is_machines(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<io::Error>().is_some_and(|e| is_machines_kind(e.kind())) {
            return true;
        }
        next = cause.source();
    }
    false
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
    use crate::model::gguf::Fault;

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
