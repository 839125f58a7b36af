-- How each site says that it exchanges alerts, and between which it passes them on as their hub.
ALTER TABLE sites ADD COLUMN exchange   text NOT NULL DEFAULT 'direct';
ALTER TABLE sites ADD COLUMN passes_for jsonb NOT NULL DEFAULT '[]';

-- The proof of who has signed a message that is another site's; '' for the site's own. JSON.
ALTER TABLE outbox ADD COLUMN proof text NOT NULL DEFAULT '';

-- The peers that get what this site raises by the hub, since when, and from which sequence
-- of the stream of shared alerts on. direct: they still get what is before it here.
CREATE TABLE relayed_peers (
    peer     text COLLATE "C" PRIMARY KEY,
    since    timestamptz NOT NULL,
    sequence bigint      NOT NULL,
    direct   boolean     NOT NULL
);

-- The peers between which this site, as their hub, passes alerts on.
CREATE TABLE passed_peers (
    peer  text COLLATE "C" PRIMARY KEY,
    since timestamptz NOT NULL
);

-- Whether it is an alert of another site that is passed on: where it stands in the stream is of
-- use for as long as that keeps it.
ALTER TABLE published_alerts ADD COLUMN passed boolean NOT NULL DEFAULT false;
CREATE INDEX published_passed ON published_alerts (published_at) WHERE passed;
