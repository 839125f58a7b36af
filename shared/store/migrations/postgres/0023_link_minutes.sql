-- The echoes of each minute of a link, for the chart of its latency. minute counts
-- since 1970; the round trips are in milliseconds, NULL where every echo was lost.
CREATE TABLE link_minutes (
    link_id   text             COLLATE "C" NOT NULL,
    minute    bigint           NOT NULL,
    median_ms double precision,
    max_ms    double precision,
    echoes    integer          NOT NULL,
    lost      integer          NOT NULL,
    PRIMARY KEY (link_id, minute)
);
