-- Shared alerts that a peer could not store, as the own server told.
CREATE TABLE refusals (
    peer         text COLLATE "C" NOT NULL,
    sequence     bigint      NOT NULL, -- in the stream of shared alerts
    published_at timestamptz NOT NULL, -- into that stream: a new stream counts from 1 again; 1970 where the message is gone
    subject      text        NOT NULL, -- of the message; '' where it is gone
    alert_id     text        NOT NULL, -- '' where the message is gone or names none
    version      integer     NOT NULL DEFAULT 1, -- of the alert
    reason       text        NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (peer, sequence, published_at)
);

CREATE INDEX refusals_alert ON refusals (alert_id);
CREATE INDEX refusals_at ON refusals (at);
