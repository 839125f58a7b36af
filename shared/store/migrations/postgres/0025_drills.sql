-- What the last drills found out.
CREATE TABLE drills (
    run     text COLLATE "C" PRIMARY KEY,
    kept_at timestamptz NOT NULL,
    report  text NOT NULL -- JSON
);
