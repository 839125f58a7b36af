-- Whether the peer keeps what it is told of the link, so that it need not be told each time.
ALTER TABLE links ADD COLUMN peer_keeps INTEGER NOT NULL DEFAULT 0;

-- What this site has told each peer of the link to it, as JSON. All replicas of heartbeat go by it.
CREATE TABLE told_views (
    peer TEXT PRIMARY KEY NOT NULL,
    view TEXT NOT NULL
) STRICT;
