-- The public keys with which sites sign what they say, this site's own among them.
CREATE TABLE trusted_keys (
    site           TEXT    NOT NULL PRIMARY KEY,
    key            TEXT    NOT NULL,
    pinned_by      TEXT    NOT NULL, -- first_seen or administrator
    pinned_at      INTEGER NOT NULL,
    refused_reason TEXT    NOT NULL DEFAULT '', -- of what last came in the site's name and was not taken; this and the next two
    refused_key    TEXT    NOT NULL DEFAULT '', -- with which that was rightly signed; '' where with none
    refused_at     INTEGER
) STRICT;
