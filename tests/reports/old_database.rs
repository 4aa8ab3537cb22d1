//! A database of an earlier version: it opens, resumes and reports as it did.
//!
//! `tests/data/schema-2.db.gz` was made with the mock engine by the last version whose schema was 2: six trials, the paths of its inputs under
//! `/srv/study`, and the host of `tests/data/host.json`.

use std::io::Read;
use std::path::Path;

use autotune::store::{DATABASE_FILE, NewStudy, Store, StudyState};
use serde_json::{Value, json};

use crate::bench::{Bench, tasks};

/// The model that the study of the database was begun with, byte for byte.
const MODEL: &str = "{\"mock\": 1, \"peak_bytes_f16\": 300000000, \"layers\": 12, \"kv_heads\": 4, \"ffn\": 1024, \"scripts\": []}\n";

pub fn new_study() -> NewStudy {
    let json = || "{}".to_owned();
    NewStudy {
        name: "s".into(),
        command: String::new(),
        settings_json: json(),
        space_json: json(),
        seed: 1,
        budget_bytes: 1,
        model_path: String::new(),
        model_hash: String::new(),
        engine: "mock".into(),
        objectives_json: "[]".into(),
        host_fingerprint: String::new(),
        host_json: json(),
        versions_json: json(),
    }
}

/// A folder with the old database and the inputs of its study, of this machine or of the one that it was made on.
fn old(here: bool) -> Bench {
    let bench = Bench::new(json!([]));
    bench.write("mock.json", MODEL);
    std::fs::copy(tasks(), bench.path("tasks.jsonl")).unwrap();
    std::fs::create_dir(bench.path("results")).unwrap();
    let database = bench.path("results").join(DATABASE_FILE);
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/schema-2.db.gz");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(packed).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    std::fs::write(&database, bytes).unwrap();
    let connection = rusqlite::Connection::open(&database).unwrap();
    let folder = bench.path("").display().to_string();
    let update = "UPDATE study SET settings_json = replace(settings_json, '/srv/study', ?1)";
    connection.execute(update, [folder.trim_end_matches('/')]).unwrap();
    if here {
        let said = bench.run(&["probe", "--json"]).code(0);
        let probed: Value = serde_json::from_str(&said.stdout).unwrap();
        let print = probed["fingerprint"].as_str().unwrap();
        connection.execute("UPDATE host SET fingerprint = ?1, json = ?2", [print, &said.stdout]).unwrap();
    }
    bench
}

#[test]
fn a_database_of_schema_2_opens_resumes_and_reports_as_it_did() {
    let bench = old(true);
    let connection = rusqlite::Connection::open(bench.path("results").join(DATABASE_FILE)).unwrap();
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 2);
    drop(connection);
    let csv = bench.run(&["trials", "--csv", "--results", "results"]).code(0).stdout;
    assert_eq!(csv.lines().count(), 7);
    let front: Vec<&str> =
        csv.lines().skip(1).filter(|l| l.contains(",true,")).map(|l| l.split(',').next().unwrap()).collect();
    assert!(front.starts_with(&["1", "2"]), "{front:?}");
    bench.run(&["report", "--results", "results", "--out", "before.html"]).code(0);
    let before = bench.finished();
    assert_eq!(before.len(), 6);
    assert!(before.iter().all(|t| t.state == "complete"));
    assert_eq!(bench.store().study(None).unwrap().state, StudyState::Finished);

    // What is not known of it is said once, and recorded; it is the same study, in the same segment.
    let said = bench.run(&["resume", "--results", "results", "--trials", "8"]).code(0);
    let said = said.names("did not record what its numbers depend on");
    assert!(!said.stderr.contains("segment"), "{}", said.stderr);
    let after = bench.finished();
    assert_eq!(after[..6], before[..]);
    assert_eq!(after.len(), 8);
    let study = bench.store().study(None).unwrap();
    assert_eq!((study.segment, study.segments.len()), (1, 1));
    let said = bench.run(&["resume", "--results", "results", "--trials", "8"]).code(0);
    assert!(!said.stderr.contains("did not record"), "{}", said.stderr);
    bench.write("tasks.jsonl", "");
    bench.run(&["resume", "--results", "results", "--trials", "9"]).code(2).names("the task file differs");
}

#[test]
fn an_old_study_is_resumed_with_its_own_model_alone() {
    let bench = old(true);
    bench.write("mock.json", MODEL.replace("1024", "1025"));
    bench.run(&["resume", "--results", "results"]).code(2).names("no longer the model");
}

#[test]
fn an_old_study_of_another_machine_goes_on_in_a_segment_of_its_own() {
    let bench = old(false);
    let said = bench.run(&["resume", "--results", "results", "--trials", "2"]).code(0);
    said.names("segment 2").names("the processor differs").names("Ryzen");
    assert_eq!(bench.trials().len(), 2);
    assert_eq!(bench.store().study(Some("1.1")).unwrap().trial_count(), 6);
}

#[test]
fn a_database_of_schema_1_opens_too() {
    let bench = old(true);
    let path = bench.path("results").join(DATABASE_FILE);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch("DROP TABLE repeat_measurement; DROP TABLE repeat; PRAGMA user_version = 1")
        .unwrap();
    drop(connection);
    bench.run(&["trials", "--results", "results"]).code(0);
    bench.run(&["resume", "--results", "results", "--trials", "7"]).code(0);
    assert_eq!(bench.finished().len(), 7);
}

#[test]
fn what_is_left_of_a_damaged_database_of_schema_2_is_saved() {
    let bench = old(true);
    bench.run(&["salvage", "results/autotune.db", "--out", "saved/autotune.db"]).code(0);
    let store = Store::open_existing(&bench.path("saved/autotune.db")).unwrap();
    let study = store.study(None).unwrap();
    assert_eq!(study.trial_count(), 6);
    assert_eq!(store.trials(study.id).unwrap()[0].artifact.as_ref().unwrap().sha256, None);
}
