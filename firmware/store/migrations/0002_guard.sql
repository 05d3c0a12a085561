CREATE INDEX incidents_state ON incidents(state);

CREATE TRIGGER transitions_stay BEFORE UPDATE ON transitions
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
