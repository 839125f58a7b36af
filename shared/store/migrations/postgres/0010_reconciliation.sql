-- Ids sort by bytes at both ends of a comparison.
ALTER TABLE alerts ALTER COLUMN origin_alert_id TYPE text COLLATE "C";

-- What two sites compare is read from these indexes alone.
CREATE INDEX alerts_shared   ON alerts (created_at, id, version, severity, shared_severity, tlp, source, retracted_at) WHERE shared_severity <> '';
CREATE INDEX alerts_received ON alerts (origin_site, raised_at, origin_alert_id, version, retracted_at) WHERE origin_site IS NOT NULL;

-- How often a version was sent again to a peer, which bounds how often it may be.
CREATE TABLE resends (
    peer     text COLLATE "C" NOT NULL,
    alert_id text COLLATE "C" NOT NULL,
    version  integer          NOT NULL,
    times    integer          NOT NULL,
    at       timestamptz      NOT NULL,
    PRIMARY KEY (peer, alert_id)
);

CREATE INDEX resends_at ON resends (at);

-- The last that was found.
CREATE TABLE reconciliations (
    peer         text COLLATE "C" NOT NULL,
    direction    text             NOT NULL,
    at           timestamptz      NOT NULL,
    window_from  timestamptz      NOT NULL,
    window_until timestamptz      NOT NULL,
    compared     integer          NOT NULL,
    lost         integer          NOT NULL,
    resent       integer          NOT NULL,
    pending      integer          NOT NULL,
    duplicated   integer          NOT NULL,
    refused      integer          NOT NULL,
    extra        integer          NOT NULL,
    PRIMARY KEY (peer, direction)
);
