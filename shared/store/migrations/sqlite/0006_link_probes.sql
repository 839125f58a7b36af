-- probe is what this site's echoes over the link said, peer_view what the peer gossiped of it; both JSON.
ALTER TABLE links ADD COLUMN cause     TEXT NOT NULL DEFAULT '';
ALTER TABLE links ADD COLUMN probe     TEXT NOT NULL DEFAULT '{}';
ALTER TABLE links ADD COLUMN peer_view TEXT NOT NULL DEFAULT '{}';
