-- What a node says of itself, and who has a mail in hand. One process serves from the
-- file; with PostgreSQL there are several.

ALTER TABLE nodes ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN version TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN started INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN lanes INTEGER NOT NULL DEFAULT 0;

ALTER TABLE outbox ADD COLUMN claimed_by INTEGER NOT NULL DEFAULT 0;
