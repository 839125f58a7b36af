-- version is that of the origin, at every site; shared_severity the worst under which
-- a local alert may have left. What was stored before is as it was raised.
ALTER TABLE alerts ADD COLUMN version           INTEGER NOT NULL DEFAULT 1;
ALTER TABLE alerts ADD COLUMN shared_severity   TEXT    NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN retraction        TEXT    NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN retracted_at      INTEGER;
ALTER TABLE alerts ADD COLUMN origin_status     TEXT;
ALTER TABLE alerts ADD COLUMN origin_updated_at INTEGER;

UPDATE alerts SET shared_severity = severity WHERE origin_site IS NULL AND tlp IN ('clear', 'green', 'amber');
UPDATE alerts SET origin_status = 'new', origin_updated_at = raised_at WHERE origin_site IS NOT NULL;

-- Where each version of an alert is in the stream; peer is empty for what all pull alike.
CREATE TABLE published_alerts (
    alert_id     TEXT        NOT NULL,
    peer         TEXT NOT NULL,
    version      INTEGER     NOT NULL,
    sequence     INTEGER      NOT NULL,
    published_at INTEGER NOT NULL,
    PRIMARY KEY (alert_id, peer, version)
) STRICT;

INSERT INTO published_alerts SELECT alert_id, '', 1, sequence, shared_at FROM shared_alerts;
DROP TABLE shared_alerts;

ALTER TABLE outbox ADD COLUMN peer    TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
-- withdraws: what was told of the alert before is taken out of the stream first.
ALTER TABLE outbox ADD COLUMN withdraws INTEGER NOT NULL DEFAULT 0;
