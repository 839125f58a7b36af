-- Up to when was compared as something was first missing, that has been ever since.
ALTER TABLE reconciliations ADD COLUMN missing_since timestamptz;
