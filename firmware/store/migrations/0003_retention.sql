-- When retention first saw the incident finished, by a clock that was right: its
-- age counts from there at the earliest.
ALTER TABLE incidents ADD COLUMN finished INTEGER; -- ns since the Unix epoch
