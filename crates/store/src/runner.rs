//! Which processes run a study: a stored "running" is true only while one of them lives.

use rusqlite::{Connection, params};

use super::{StudyId, WorkerIdentity};

/// Enters this process as one that runs the study, and removes those that are gone.
pub(super) fn begin(connection: &Connection, study: StudyId, now_ms: i64) -> rusqlite::Result<()> {
    for runner in of_study(connection, study)?.iter().filter(|r| !r.is_alive()) {
        remove(connection, study, runner)?;
    }
    let me = WorkerIdentity::current();
    connection.execute(
        "INSERT OR IGNORE INTO runner (study_id, pid, started, boot, begun_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![study.0, me.pid, me.started_ticks.cast_signed(), me.boot_id, now_ms],
    )?;
    Ok(())
}

/// This process no longer runs the study.
pub(super) fn end(connection: &Connection, study: StudyId) -> rusqlite::Result<()> {
    remove(connection, study, &WorkerIdentity::current())
}

/// Whether a process that is entered lives.
pub(super) fn any_alive(connection: &Connection, study: StudyId) -> rusqlite::Result<bool> {
    Ok(of_study(connection, study)?.iter().any(WorkerIdentity::is_alive))
}

/// Whether the worker of a trial that is in work lives: earlier versions enter nothing else.
pub(super) fn any_worker_alive(connection: &Connection, study: StudyId) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT worker_pid, worker_started, worker_boot FROM trial \
         WHERE study_id = ?1 AND state IN ('queued', 'running') AND worker_pid IS NOT NULL",
    )?;
    let workers = statement.query_map([study.0], identity)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(workers.iter().any(WorkerIdentity::is_alive))
}

fn of_study(connection: &Connection, study: StudyId) -> rusqlite::Result<Vec<WorkerIdentity>> {
    let mut statement =
        connection.prepare_cached("SELECT pid, started, boot FROM runner WHERE study_id = ?1")?;
    statement.query_map([study.0], identity)?.collect()
}

fn identity(row: &rusqlite::Row<'_>) -> rusqlite::Result<WorkerIdentity> {
    Ok(WorkerIdentity {
        pid: row.get(0)?,
        started_ticks: row.get::<_, i64>(1)?.cast_unsigned(),
        boot_id: row.get(2)?,
    })
}

fn remove(connection: &Connection, study: StudyId, who: &WorkerIdentity) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM runner WHERE study_id = ?1 AND pid = ?2 AND started = ?3 AND boot = ?4",
        params![study.0, who.pid, who.started_ticks.cast_signed(), who.boot_id],
    )?;
    Ok(())
}
