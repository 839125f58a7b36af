-- AUTOINCREMENT: an id is never given twice, so a relay cannot delete a row that it did not publish.
CREATE TABLE outbox (
    id        INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    subject   TEXT    NOT NULL,
    msg_id    TEXT    NOT NULL,
    priority  INTEGER NOT NULL,
    alert_id  TEXT    NOT NULL,
    payload   BLOB    NOT NULL,
    queued_at INTEGER NOT NULL
) STRICT;

CREATE INDEX outbox_next   ON outbox (priority DESC, id);
CREATE INDEX outbox_queued ON outbox (queued_at);
