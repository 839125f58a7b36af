-- What had to go because the backlog was over its bound, by severity, in all.
CREATE TABLE backlog_drops (
    severity   text PRIMARY KEY,
    dropped    bigint      NOT NULL,
    dropped_at timestamptz NOT NULL
);

-- What the last look saw of each durable consumer of the alert stream.
CREATE TABLE delivery_watch (
    consumer    text COLLATE "C" PRIMARY KEY,
    peer        text COLLATE "C" NOT NULL,
    ack_floor   bigint      NOT NULL,
    deliveries  bigint      NOT NULL,
    waiting     bigint      NOT NULL,
    under_way   bigint      NOT NULL,
    moves       integer     NOT NULL,
    moved_at    timestamptz NOT NULL,
    stalled_at  timestamptz,
    repairs     integer     NOT NULL,
    repaired_at timestamptz
);
