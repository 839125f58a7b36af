-- What can be the same in alerts of several sites: the IOCs and the techniques. head
-- is the beginning of value in lower case, for an index takes no value of any length.
CREATE TABLE alert_marks (
    alert_id   TEXT    NOT NULL,
    site       TEXT    NOT NULL, -- of the origin; empty: this one
    kind       TEXT    NOT NULL, -- a type of IOC, or technique
    value      TEXT    NOT NULL,
    head       TEXT    NOT NULL,
    created_at INTEGER NOT NULL  -- that of the alert
) STRICT;

CREATE INDEX alert_marks_head   ON alert_marks (head);
CREATE INDEX alert_marks_newest ON alert_marks (created_at);
CREATE INDEX alert_marks_alert  ON alert_marks (alert_id);

INSERT INTO alert_marks (alert_id, site, kind, value, head, created_at)
SELECT DISTINCT a.id, coalesce(a.origin_site, ''), json_extract(i.value, '$.type'), json_extract(i.value, '$.value'),
       lower(substr(json_extract(i.value, '$.value'), 1, 128)), a.created_at
FROM alerts a, json_each(a.iocs) i;

INSERT INTO alert_marks (alert_id, site, kind, value, head, created_at)
SELECT DISTINCT a.id, coalesce(a.origin_site, ''), 'technique', t.value, lower(t.value), a.created_at
FROM alerts a, json_each(a.mitre_techniques) t;
