-- reason says why a site is offline where it said so itself.
ALTER TABLE sites ADD COLUMN reason TEXT NOT NULL DEFAULT '';
