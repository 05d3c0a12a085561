CREATE TABLE drills (
  id      TEXT PRIMARY KEY,
  state   TEXT NOT NULL,
  started INTEGER NOT NULL, -- ns since the Unix epoch
  body    TEXT NOT NULL CHECK (json_valid(body))
) STRICT;
