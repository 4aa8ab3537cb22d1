-- Times are milliseconds since 1970 in UTC, durations milliseconds. Columns of type ANY hold a real number (infinities
-- included), the text 'nan', or NULL for a missing value, since SQLite turns NaN into NULL.

CREATE TABLE host (
    id          INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    json        TEXT NOT NULL CHECK (json_valid(json)),
    UNIQUE (fingerprint, json)
) STRICT;

CREATE TABLE study (
    id              INTEGER PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    created_ms      INTEGER NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('running', 'paused', 'finished')),
    reason          TEXT,
    command         TEXT NOT NULL,
    settings_json   TEXT NOT NULL CHECK (json_valid(settings_json)),
    space_json      TEXT NOT NULL CHECK (json_valid(space_json)),
    objectives_json TEXT NOT NULL CHECK (json_valid(objectives_json)),
    versions_json   TEXT NOT NULL CHECK (json_valid(versions_json)),
    seed            INTEGER NOT NULL, -- the bits of an unsigned number
    budget_bytes    INTEGER NOT NULL CHECK (budget_bytes >= 0),
    model_path      TEXT NOT NULL,
    model_hash      TEXT NOT NULL,
    engine          TEXT NOT NULL,
    host_id         INTEGER NOT NULL REFERENCES host (id)
) STRICT;

CREATE TABLE note (
    study_id INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (study_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE trial (
    id             INTEGER PRIMARY KEY,
    study_id       INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    number         INTEGER NOT NULL CHECK (number >= 1),
    candidate      TEXT NOT NULL CHECK (json_valid(candidate)),
    hash           TEXT NOT NULL,
    origin         TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('queued', 'running', 'complete', 'stopped', 'infeasible', 'failed')),
    rung           TEXT CHECK (rung IN ('predicted', 'built', 'measured', 'diverged', 'graded')),
    failure_kind   TEXT,
    failure_text   TEXT,
    artifact_path  TEXT,
    artifact_bytes INTEGER CHECK (artifact_bytes >= 0),
    artifact_hash  TEXT,
    unfinished     TEXT NOT NULL CHECK (json_valid(unfinished)), -- what the ask saw: [[number, rung or null], ...] not yet ended
    attempts       INTEGER NOT NULL DEFAULT 0,
    worker_pid     INTEGER,
    worker_started INTEGER,
    worker_boot    TEXT,
    created_ms     INTEGER NOT NULL,
    started_ms     INTEGER,
    ended_ms       INTEGER,
    UNIQUE (study_id, number),
    UNIQUE (study_id, hash)
) STRICT;

CREATE INDEX trial_open ON trial (study_id, number) WHERE state IN ('queued', 'running');

CREATE TABLE rung (
    trial_id    INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
    rung        TEXT NOT NULL CHECK (rung IN ('predicted', 'built', 'measured', 'diverged', 'graded')),
    started_ms  INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL CHECK (duration_ms >= 0),
    PRIMARY KEY (trial_id, rung)
) STRICT, WITHOUT ROWID;

CREATE TABLE measurement (
    trial_id INTEGER NOT NULL,
    rung     TEXT NOT NULL,
    metric   TEXT NOT NULL,
    unit     TEXT NOT NULL,
    value    ANY CHECK (typeof(value) IN ('real', 'null') OR value = 'nan'),
    low      ANY CHECK (typeof(low) IN ('real', 'null') OR low = 'nan'),
    high     ANY CHECK (typeof(high) IN ('real', 'null') OR high = 'nan'),
    samples  INTEGER NOT NULL CHECK (samples >= 0),
    raw      BLOB, -- each sample as eight little-endian bytes
    PRIMARY KEY (trial_id, rung, metric),
    FOREIGN KEY (trial_id, rung) REFERENCES rung (trial_id, rung) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE generation (
    id         INTEGER PRIMARY KEY,
    trial_id   INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
    task       TEXT NOT NULL,
    sample     INTEGER NOT NULL CHECK (sample >= 0),
    completion TEXT NOT NULL,
    verdict    TEXT NOT NULL,
    detail     TEXT NOT NULL,
    codebleu   TEXT CHECK (codebleu IS NULL OR json_valid(codebleu)),
    UNIQUE (trial_id, task, sample)
) STRICT;

CREATE TABLE event (
    id       INTEGER PRIMARY KEY,
    study_id INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    at_ms    INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    json     TEXT NOT NULL CHECK (json_valid(json))
) STRICT;

CREATE INDEX event_of_study ON event (study_id, id);

-- An ended trial is history: nobody, not even a bug, changes it.
CREATE TRIGGER ended_trial_update BEFORE UPDATE ON trial
WHEN OLD.state NOT IN ('queued', 'running')
BEGIN SELECT RAISE(ABORT, 'an ended trial cannot be changed'); END;

CREATE TRIGGER ended_rung_insert BEFORE INSERT ON rung
WHEN (SELECT state FROM trial WHERE id = NEW.trial_id) NOT IN ('queued', 'running')
BEGIN SELECT RAISE(ABORT, 'an ended trial cannot be changed'); END;

CREATE TRIGGER rung_update BEFORE UPDATE ON rung
BEGIN SELECT RAISE(ABORT, 'a finished rung cannot be changed'); END;

CREATE TRIGGER ended_measurement_insert BEFORE INSERT ON measurement
WHEN (SELECT state FROM trial WHERE id = NEW.trial_id) NOT IN ('queued', 'running')
BEGIN SELECT RAISE(ABORT, 'an ended trial cannot be changed'); END;

CREATE TRIGGER measurement_update BEFORE UPDATE ON measurement
BEGIN SELECT RAISE(ABORT, 'a measurement cannot be changed'); END;

CREATE TRIGGER ended_generation_insert BEFORE INSERT ON generation
WHEN (SELECT state FROM trial WHERE id = NEW.trial_id) NOT IN ('queued', 'running')
BEGIN SELECT RAISE(ABORT, 'an ended trial cannot be changed'); END;

CREATE TRIGGER generation_update BEFORE UPDATE ON generation
BEGIN SELECT RAISE(ABORT, 'a generation cannot be changed'); END;
