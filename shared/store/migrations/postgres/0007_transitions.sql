-- Every change of a link's or a site's status.
CREATE TABLE transitions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    what       text COLLATE "C" NOT NULL, -- the link or site
    kind       text        NOT NULL,
    was        text        NOT NULL,
    became     text        NOT NULL,
    cause      text        NOT NULL,
    age_us     bigint      NOT NULL, -- of the newest heartbeat, in microseconds
    at         timestamptz NOT NULL
);

CREATE INDEX transitions_what ON transitions (what, at, id);
