-- What two sites compare is read from these indexes alone.
CREATE INDEX alerts_shared   ON alerts (created_at, id, version, severity, shared_severity, tlp, source, retracted_at) WHERE shared_severity <> '';
CREATE INDEX alerts_received ON alerts (origin_site, raised_at, origin_alert_id, version, retracted_at) WHERE origin_site IS NOT NULL;

-- How often a version was sent again to a peer, which bounds how often it may be.
CREATE TABLE resends (
    peer     TEXT    NOT NULL,
    alert_id TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    times    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (peer, alert_id)
) STRICT;

CREATE INDEX resends_at ON resends (at);

-- The last that was found.
CREATE TABLE reconciliations (
    peer         TEXT    NOT NULL,
    direction    TEXT    NOT NULL,
    at           INTEGER NOT NULL,
    window_from  INTEGER NOT NULL,
    window_until INTEGER NOT NULL,
    compared     INTEGER NOT NULL,
    lost         INTEGER NOT NULL,
    resent       INTEGER NOT NULL,
    pending      INTEGER NOT NULL,
    duplicated   INTEGER NOT NULL,
    refused      INTEGER NOT NULL,
    extra        INTEGER NOT NULL,
    PRIMARY KEY (peer, direction)
) STRICT;
