-- What the site has set for single peers; an empty value is that of the default gate.
CREATE TABLE sharing_gates (
    peer           text COLLATE "C" NOT NULL,
    direction      text        NOT NULL,
    min_severity   text        NOT NULL,
    sources        text        NOT NULL, -- this and the next two are JSON lists
    except_sources text        NOT NULL,
    strip_iocs     text        NOT NULL,
    updated_at     timestamptz NOT NULL,
    PRIMARY KEY (peer, direction)
);

-- Alerts of peers that this site will not have, so that nobody looks for them.
CREATE TABLE refused_alerts (
    origin_site     text COLLATE "C" NOT NULL,
    origin_alert_id text COLLATE "C" NOT NULL,
    version         integer     NOT NULL DEFAULT 1,
    rule            text        NOT NULL,
    reason          text        NOT NULL,
    raised_at       timestamptz NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (origin_site, origin_alert_id)
);
