-- The queue is read from a place on, and by where an alert comes from. A search
-- reads titles from their index alone.
CREATE INDEX alerts_titles ON alerts (created_at, id, title);
CREATE INDEX alerts_local  ON alerts (created_at, id) WHERE origin_site IS NULL;
CREATE INDEX alerts_peers  ON alerts (created_at, id) WHERE origin_site IS NOT NULL;
