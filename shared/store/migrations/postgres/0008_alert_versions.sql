-- version is that of the origin, at every site; shared_severity the worst under which
-- a local alert may have left. What was stored before is as it was raised.
ALTER TABLE alerts ADD COLUMN version           integer NOT NULL DEFAULT 1;
ALTER TABLE alerts ADD COLUMN shared_severity   text    NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN retraction        text    NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN retracted_at      timestamptz;
ALTER TABLE alerts ADD COLUMN origin_status     text;
ALTER TABLE alerts ADD COLUMN origin_updated_at timestamptz;

UPDATE alerts SET shared_severity = severity WHERE origin_site IS NULL AND tlp IN ('clear', 'green', 'amber');
UPDATE alerts SET origin_status = 'new', origin_updated_at = raised_at WHERE origin_site IS NOT NULL;

-- Where each version of an alert is in the stream; peer is empty for what all pull alike.
CREATE TABLE published_alerts (
    alert_id     text        NOT NULL,
    peer         text COLLATE "C" NOT NULL,
    version      integer     NOT NULL,
    sequence     bigint      NOT NULL,
    published_at timestamptz NOT NULL,
    PRIMARY KEY (alert_id, peer, version)
);

INSERT INTO published_alerts SELECT alert_id, '', 1, sequence, shared_at FROM shared_alerts;
DROP TABLE shared_alerts;

ALTER TABLE outbox ADD COLUMN peer    text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN version integer NOT NULL DEFAULT 1;
-- withdraws: what was told of the alert before is taken out of the stream first.
ALTER TABLE outbox ADD COLUMN withdraws boolean NOT NULL DEFAULT false;
