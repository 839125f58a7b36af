-- Keys sort by bytes ("C"), so that both databases list in the same order.
CREATE TABLE sites (
    id                text COLLATE "C" PRIMARY KEY,
    name              text        NOT NULL,
    tier              text        NOT NULL,
    status            text        NOT NULL,
    agents_total      integer     NOT NULL DEFAULT 0,
    agents_online     integer     NOT NULL DEFAULT 0,
    version           text        NOT NULL,
    last_heartbeat_at timestamptz,
    heartbeat_sent_at timestamptz,
    first_seen_at     timestamptz NOT NULL
);

-- No foreign key to sites: a peer's gossip may come before the own first heartbeat.
CREATE TABLE links (
    id                text COLLATE "C" PRIMARY KEY,
    site_a            text COLLATE "C" NOT NULL,
    site_b            text COLLATE "C" NOT NULL,
    status            text        NOT NULL,
    last_heartbeat_at timestamptz NOT NULL,
    CHECK (site_a < site_b)
);
