//! Rows for the tests of this crate.

use super::{NewStudy, Store, StudyId};

/// Creates a study of a mock model about which nothing is known.
pub(crate) fn study(store: &Store, name: &str) -> StudyId {
    let json = || "{}".to_owned();
    let new = NewStudy {
        name: name.into(),
        command: String::new(),
        settings_json: json(),
        space_json: json(),
        seed: 1,
        budget_bytes: 1,
        model_path: String::new(),
        model_hash: String::new(),
        engine: "mock".into(),
        objectives_json: json(),
        host_fingerprint: String::new(),
        host_json: json(),
        versions_json: json(),
    };
    store.create_study(&new).unwrap()
}
