-- What retention lets go of is found without reading what it keeps.
CREATE INDEX alerts_closed ON alerts (updated_at, id) WHERE status IN ('resolved', 'false_positive') OR retracted_at IS NOT NULL;
CREATE INDEX transitions_at ON transitions (at);
CREATE INDEX refused_alerts_at ON refused_alerts (at);

-- Questions that a plan was found to read a whole table for.
CREATE INDEX alerts_tlp ON alerts (tlp, created_at, id);
CREATE INDEX outbox_alert ON outbox (alert_id, peer);
CREATE INDEX refused_alerts_raised ON refused_alerts (origin_site, raised_at, origin_alert_id);
