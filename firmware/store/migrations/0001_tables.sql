CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

CREATE TABLE incidents (
  id       TEXT PRIMARY KEY,
  asset_id TEXT NOT NULL,
  state    TEXT NOT NULL,
  level    TEXT NOT NULL, -- wanted now: watch, limit, isolate
  opened   INTEGER NOT NULL, -- ns since the Unix epoch
  updated  INTEGER NOT NULL,
  body     TEXT NOT NULL CHECK (json_valid(body))
) STRICT;

-- The journal: appended, never changed. Unlike the body it keeps every line.
CREATE TABLE transitions (
  incident_id TEXT NOT NULL REFERENCES incidents(id),
  seq         INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  from_state  TEXT NOT NULL,
  to_state    TEXT NOT NULL,
  input       TEXT NOT NULL,
  by_whom     TEXT NOT NULL,
  note        TEXT NOT NULL,
  refused     INTEGER NOT NULL,
  PRIMARY KEY (incident_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE assets (
  id        TEXT PRIMARY KEY,
  last_seen INTEGER NOT NULL,
  body      TEXT NOT NULL CHECK (json_valid(body))
) STRICT;
