-- Whether the peer keeps what it is told of the link, so that it need not be told each time.
ALTER TABLE links ADD COLUMN peer_keeps boolean NOT NULL DEFAULT false;

-- What this site has told each peer of the link to it, as JSON. All replicas of heartbeat go by it.
CREATE TABLE told_views (
    peer text COLLATE "C" PRIMARY KEY,
    view text NOT NULL
);
