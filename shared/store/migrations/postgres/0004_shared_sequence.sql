CREATE TABLE shared_alerts (
    alert_id  text        PRIMARY KEY,
    sequence  bigint      NOT NULL,
    shared_at timestamptz NOT NULL
);
