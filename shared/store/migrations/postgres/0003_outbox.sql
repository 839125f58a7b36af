CREATE TABLE outbox (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject   text        NOT NULL,
    msg_id    text        NOT NULL,
    priority  integer     NOT NULL,
    alert_id  text        NOT NULL,
    payload   bytea       NOT NULL,
    queued_at timestamptz NOT NULL
);

CREATE INDEX outbox_next   ON outbox (priority DESC, id);
CREATE INDEX outbox_queued ON outbox (queued_at);
