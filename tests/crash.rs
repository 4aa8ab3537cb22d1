//! What a study survives: damaged pages, jumping clocks, a machine that sleeps, disks that are full at any write, kills at any moment.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/bench.rs"]
mod bench;
#[path = "support/disk.rs"]
mod disk;
#[path = "support/fake_study.rs"]
mod fake_study;

use std::path::Path;
use std::time::Duration;

use autotune::report;
use autotune::report::Analysis;
use autotune::search::Random;
use autotune::store::{DATABASE_FILE, Store, salvage};
use bench::{Bench, Finished, Running, Said};
use disk::SmallDisk;
use nix::sys::signal::Signal;
use serde_json::json;

const PAGE: usize = 4096;

/// A results folder with a filled database, all of it in the one file.
fn filled() -> Bench {
    let bench = Bench::new(json!([]));
    std::fs::create_dir(bench.path("results")).unwrap();
    let store = fake_study::store(&bench.path("results").join(DATABASE_FILE));
    fake_study::fill(&store, "smollm2", 32, 30);
    drop(store);
    bench
}

/// Damages one page, in one of the ways that disks have.
fn damage(content: &[u8], page: usize, random: &mut Random) -> Vec<u8> {
    let mut damaged = content.to_vec();
    let here = page * PAGE..((page + 1) * PAGE).min(damaged.len());
    match random.below(3) {
        0 => damaged[here].fill(0),
        1 => damaged[here].iter_mut().for_each(|b| *b = random.below(256) as u8),
        _ => {
            // Another page in its place: each page by itself is well-formed.
            let other = random.below(content.len() / PAGE) * PAGE;
            damaged[here].copy_from_slice(&content[other..other + PAGE]);
        }
    }
    damaged
}

fn ends_in_words(said: &Said, what: &str) {
    assert!(matches!(said.code, Some(0 | 2 | 4)), "{what}: {said:?}");
    assert!(!said.stderr.contains("panicked"), "{what}: {said:?}");
    if said.code != Some(0) {
        assert!(said.stderr.starts_with("error: "), "{what}: {said:?}");
    }
}

/// Every command that reads ends with data or with words, and salvage gives a database that works.
fn survives_damage(pages: usize, seed: u64) {
    let bench = filled();
    let file = bench.path("results").join(DATABASE_FILE);
    let whole = std::fs::read(&file).unwrap();
    let count = whole.len() / PAGE;
    let mut random = Random::new(seed, 0, 0);
    let (mut noticed, mut saved_trials, mut opened) = (0, 0, 0);
    for round in 0..pages {
        let page = if round == 0 { 0 } else { random.below(count) };
        std::fs::write(&file, damage(&whole, page, &mut random)).unwrap();
        let what = format!("page {page} of {count}, round {round}");
        let said = bench.run(&["trials"]);
        ends_in_words(&said, &what);
        if said.stderr.contains("is damaged") {
            assert!(said.stderr.contains("autotune salvage"), "{what}: {said:?}");
        }
        noticed += usize::from(said.code != Some(0));
        let said = bench.run(&["salvage", "results/autotune.db", "--out", "saved/autotune.db"]);
        ends_in_words(&said, &what);
        if said.code == Some(0) {
            opened += 1;
            let store = Store::open_existing(&bench.path("saved").join(DATABASE_FILE)).unwrap();
            for study in store.studies().unwrap() {
                // Values that garbage stands for are told as such; the rest is analysed.
                if let Ok(analysis) = Analysis::load(&store, study.id) {
                    saved_trials += analysis.trials.len();
                }
            }
        }
        let _ = std::fs::remove_dir_all(bench.path("saved"));
        std::fs::create_dir(bench.path("saved")).unwrap();
    }
    println!(
        "{pages} damaged pages: {noticed} noticed by `trials`, {opened} salvaged with {:.1} of 40 trials on average",
        saved_trials as f64 / opened.max(1) as f64
    );
    assert!(opened * 2 > pages, "most of a database survives one page");
}

#[test]
fn damaged_pages_are_told_and_the_rest_is_saved() {
    survives_damage(12, 5);
}

#[test]
fn a_value_of_another_type_is_damage_and_no_bug() {
    let bench = filled();
    let file = bench.path("results").join(DATABASE_FILE);
    // As when the page of another table lies in a table's place: only a table that is not strict takes such a value.
    let run = |sql: &str| rusqlite::Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    run("PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, ') STRICT, WITHOUT', ') WITHOUT') WHERE name = 'rung'");
    run("DROP TRIGGER rung_update; UPDATE rung SET started_ms = 'noon' WHERE rung = 'measured'");
    bench.run(&["trials"]).code(4).names("is damaged").names("autotune salvage");
}

#[test]
#[ignore = "takes a minute: run it when the store changes"]
fn three_hundred_damaged_pages() {
    survives_damage(300, 6);
}

#[test]
fn a_sound_database_is_salvaged_whole() {
    let bench = filled();
    let (from, to) = (bench.path("results").join(DATABASE_FILE), bench.path("copy.db"));
    let tables = salvage(&from, &to).unwrap();
    assert!(tables.iter().all(|t| t.lost == Some(0) && t.remark.is_none()), "{tables:?}");
    let (a, b) = (Store::open_existing(&from).unwrap(), Store::open_existing(&to).unwrap());
    let study = a.study(None).unwrap().id;
    assert_eq!(
        report::trials_csv(&Analysis::load(&a, study).unwrap()),
        report::trials_csv(&Analysis::load(&b, study).unwrap())
    );
    // History is protected in the new one, too.
    let connection = rusqlite::Connection::open(&to).unwrap();
    assert!(connection.execute("UPDATE trial SET state = 'failed' WHERE state = 'complete'", []).is_err());
    bench.run(&["salvage", "results/autotune.db", "--out", "copy.db"]).code(2).names("exists already");
    bench.run(&["salvage", "none.db"]).code(2).names("none.db");
}

#[test]
fn a_clock_that_jumps_harms_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(DATABASE_FILE);
    let jumps = std::sync::atomic::AtomicI64::new(0);
    let store = Store::open(&path).unwrap().with_clock(move || {
        let n = jumps.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // Forward a year, back two, over and over, as a broken battery and a time server do.
        let shift = [0, 31_536_000, -63_072_000, 3600, -1][(n % 5) as usize];
        jiff::Timestamp::from_second(1_790_000_000 + shift).unwrap()
    });
    let study = fake_study::fill(&store, "jumpy", 8, 5);
    let analysis = Analysis::load_in_depth(&store, study).unwrap();
    assert_eq!(analysis.trials.len(), 16);
    assert!(!analysis.recommendation.front.is_empty());
    let out = folder.path().join("page.html");
    report::write(&store, study, &out).unwrap();
    assert!(!std::fs::read_to_string(&out).unwrap().contains("-31536000"));
}

#[test]
fn a_machine_that_sleeps_mid_trial_goes_on() {
    let bench = Bench::new(json!([]));
    let limits = ["--budget", "400MB", "--trials", "4"];
    let mut running = Running::start(bench.tune(&[&limits[..], &["--json"]].concat()));
    assert!(running.wait_for(|v| v["event"] == "rung_finished"));
    // Study and workers stand still, as under suspend.
    let all = bench.processes();
    let send = |signal| {
        for pid in &all {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid as i32), signal);
        }
    };
    send(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(2));
    send(Signal::SIGCONT);
    running.end().code(0);
    let undisturbed = Bench::new(json!([]));
    undisturbed.run_tune(&limits).code(0);
    assert_eq!(bench.finished(), undisturbed.finished());
}

/// The database as another program finds it.
fn is_whole(path: &Path) -> bool {
    let connection = rusqlite::Connection::open(path).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    let orphans: i64 =
        connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |r| r.get(0)).unwrap();
    check == "ok" && orphans == 0
}

/// Runs a study on disks of growing size, so that each of its writes is once the one that does not fit.
fn full_at_each_write(sizes: impl Iterator<Item = u64>) {
    let (mut full, mut done) = (0, 0);
    for size in sizes {
        let bench = Bench::new(json!([]));
        let Some(disk) = SmallDisk::mount(&bench.path("results"), size) else { return };
        let said = bench.run_tune(&["--budget", "400MB", "--trials", "3"]);
        match said.code {
            Some(0) => done += 1,
            Some(4) => full += 1,
            code => panic!("{code:?} on a disk of {size} bytes: {}", said.stderr),
        }
        assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
        let database = bench.path("results").join(DATABASE_FILE);
        if bench.has_study() {
            assert!(is_whole(&database), "on a disk of {size} bytes");
            assert!(bench.trials().iter().all(|t| t.state.to_string() != "failed"), "no trial is to blame");
        }
        bench.wait_for_silence();
        drop(disk);
    }
    println!("{full} disks were full somewhere, {done} were large enough");
    assert!(full > 0, "no disk was full");
}

#[test]
fn a_disk_that_is_full_at_any_write_blames_no_trial() {
    full_at_each_write([48 << 10, 160 << 10, 300 << 10, 420 << 10, 16 << 20].into_iter());
}

#[test]
#[ignore = "takes minutes: run it when the store or the study changes"]
fn full_at_every_page() {
    full_at_each_write((4..160).map(|pages| pages * 4096));
}

/// Kills studies at random moments until so many kills were made; whatever is left, what was finished stays as it was, and each study comes
/// to what one comes to that nothing disturbs.
fn kills(most: usize) {
    let limits = ["--budget", "400MB", "--trials", "12"];
    let undisturbed = Bench::new(json!([]));
    undisturbed.run_tune(&limits).code(0);
    let wanted = undisturbed.finished();
    let mut random = Random::new(200, 0, 0);
    let (mut made, mut studies, mut trials) = (0, 0, 0);
    while made < most {
        let bench = Bench::new(json!([]));
        let mut kept: Vec<Finished> = Vec::new();
        studies += 1;
        loop {
            let command = match bench.has_study() {
                true => bench.command(&["resume", "--results", "results", "--json"]),
                false => bench.tune(&[&limits[..], &["--json"]].concat()),
            };
            let mut running = Running::start(command);
            for _ in 0..random.below(8) {
                running.wait_for(|_| true);
            }
            std::thread::sleep(Duration::from_micros(random.below(50_000) as u64));
            if !running.kill() {
                break;
            }
            made += 1;
            bench.wait_for_silence();
            if bench.has_study() {
                assert!(is_whole(&bench.path("results").join(DATABASE_FILE)), "after kill {made}");
                let now = bench.finished();
                assert!(now.starts_with(&kept), "after kill {made}");
                kept = now;
            }
            if made >= most {
                break;
            }
        }
        trials += kept.len();
        if bench.has_study() {
            bench.run(&["resume", "--results", "results"]).code(0);
            assert_eq!(bench.finished(), wanted, "study {studies}");
        }
    }
    println!(
        "{made} kills over {studies} studies, {trials} trials finished under them; every database whole, every result the same"
    );
}

#[test]
#[ignore = "takes minutes: run it when the store or the study changes"]
fn two_hundred_kills() {
    kills(200);
}
