-- What can be the same in alerts of several sites: the IOCs and the techniques. head
-- is the beginning of value in lower case, for an index takes no value of any length.
CREATE TABLE alert_marks (
    alert_id   text COLLATE "C" NOT NULL,
    site       text COLLATE "C" NOT NULL, -- of the origin; empty: this one
    kind       text COLLATE "C" NOT NULL, -- a type of IOC, or technique
    value      text COLLATE "C" NOT NULL,
    head       text COLLATE "C" NOT NULL,
    created_at timestamptz      NOT NULL  -- that of the alert
);

CREATE INDEX alert_marks_head   ON alert_marks (head);
CREATE INDEX alert_marks_newest ON alert_marks (created_at);
CREATE INDEX alert_marks_alert  ON alert_marks (alert_id);

INSERT INTO alert_marks (alert_id, site, kind, value, head, created_at)
SELECT DISTINCT a.id, coalesce(a.origin_site, ''), i ->> 'type', i ->> 'value', lower(left(i ->> 'value', 128)), a.created_at
FROM alerts a, jsonb_array_elements(a.iocs) i;

INSERT INTO alert_marks (alert_id, site, kind, value, head, created_at)
SELECT DISTINCT a.id, coalesce(a.origin_site, ''), 'technique', t, lower(t), a.created_at
FROM alerts a, jsonb_array_elements_text(a.mitre_techniques) t;
