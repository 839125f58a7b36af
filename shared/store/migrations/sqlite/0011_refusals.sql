-- Shared alerts that a peer could not store, as the own server told.
CREATE TABLE refusals (
    peer         TEXT    NOT NULL,
    sequence     INTEGER NOT NULL, -- in the stream of shared alerts
    published_at INTEGER NOT NULL, -- into that stream: a new stream counts from 1 again; 0 where the message is gone
    subject      TEXT    NOT NULL, -- of the message; '' where it is gone
    alert_id     TEXT    NOT NULL, -- '' where the message is gone or names none
    version      INTEGER NOT NULL DEFAULT 1, -- of the alert
    reason       TEXT    NOT NULL,
    at           INTEGER NOT NULL,
    PRIMARY KEY (peer, sequence, published_at)
) STRICT;

CREATE INDEX refusals_alert ON refusals (alert_id);
CREATE INDEX refusals_at ON refusals (at);
