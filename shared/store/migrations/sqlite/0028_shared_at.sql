-- When a site raised the newest alert that may have left it, as it says.
ALTER TABLE sites ADD COLUMN shared_at INTEGER;
