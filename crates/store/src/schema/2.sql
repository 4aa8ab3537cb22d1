-- A complete trial, timed once more. What the trial itself ended with stays; whoever reads it gets all its runs together.

CREATE TABLE repeat (
    id          INTEGER PRIMARY KEY,
    trial_id    INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
    run         INTEGER NOT NULL CHECK (run >= 1),
    started_ms  INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL CHECK (duration_ms >= 0),
    failure     TEXT,
    UNIQUE (trial_id, run)
) STRICT;

CREATE TABLE repeat_measurement (
    repeat_id INTEGER NOT NULL REFERENCES repeat (id) ON DELETE CASCADE,
    metric    TEXT NOT NULL,
    unit      TEXT NOT NULL,
    value     ANY CHECK (typeof(value) IN ('real', 'null') OR value = 'nan'),
    low       ANY CHECK (typeof(low) IN ('real', 'null') OR low = 'nan'),
    high      ANY CHECK (typeof(high) IN ('real', 'null') OR high = 'nan'),
    samples   INTEGER NOT NULL CHECK (samples >= 0),
    PRIMARY KEY (repeat_id, metric)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER repeat_update BEFORE UPDATE ON repeat
BEGIN SELECT RAISE(ABORT, 'a repeated measurement cannot be changed'); END;

CREATE TRIGGER repeat_measurement_update BEFORE UPDATE ON repeat_measurement
BEGIN SELECT RAISE(ABORT, 'a repeated measurement cannot be changed'); END;
