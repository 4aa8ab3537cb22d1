-- What the numbers of a study depend on, segments of a study whose numbers do not compare, and the processes that run it.

-- The identity of everything that a study's numbers depend on, as JSON; none for a study of an earlier version until it is resumed.
CREATE TABLE identity (
    study_id    INTEGER PRIMARY KEY REFERENCES study (id) ON DELETE CASCADE,
    json        TEXT NOT NULL CHECK (json_valid(json)),
    recorded_ms INTEGER NOT NULL
) STRICT;

-- A row of `study` that continues another one (the root) with another identity. A study without a row here is its own first segment.
CREATE TABLE segment (
    study_id     INTEGER PRIMARY KEY REFERENCES study (id) ON DELETE CASCADE,
    root_id      INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    number       INTEGER NOT NULL CHECK (number >= 2),
    reasons_json TEXT NOT NULL CHECK (json_valid(reasons_json)), -- a list of sentences: what differs from the segment before
    UNIQUE (root_id, number)
) STRICT;

-- Processes that run a study: a row whose process is gone means that it was killed, or that the machine went down.
CREATE TABLE runner (
    study_id INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    pid      INTEGER NOT NULL,
    started  INTEGER NOT NULL,
    boot     TEXT NOT NULL,
    begun_ms INTEGER NOT NULL,
    PRIMARY KEY (study_id, pid, started, boot)
) STRICT, WITHOUT ROWID;

-- SHA-256 of the artifact's file, taken when it was built; none in trials of earlier versions.
ALTER TABLE trial ADD COLUMN artifact_sha256 TEXT;
