-- Who did what. Each record has the hash of the one before it.
CREATE TABLE audit (
    seq        bigint PRIMARY KEY,
    id         text COLLATE "C" NOT NULL UNIQUE,
    at         timestamptz NOT NULL,
    kind       text NOT NULL,
    who        text NOT NULL,
    name       text NOT NULL,
    source     text NOT NULL,
    action     text NOT NULL,
    target     text NOT NULL,
    result     integer NOT NULL,
    request_id text NOT NULL,
    prev       text NOT NULL,
    hash       text NOT NULL
);

-- Its last record. Who appends locks this one row, so that the log has one end.
CREATE TABLE audit_head (
    one  integer PRIMARY KEY CHECK (one = 1),
    seq  bigint NOT NULL,
    hash text NOT NULL
);
INSERT INTO audit_head (one, seq, hash) VALUES (1, 0, '');
