-- The public keys with which sites sign what they say, this site's own among them.
CREATE TABLE trusted_keys (
    site           text COLLATE "C" NOT NULL PRIMARY KEY,
    key            text        NOT NULL,
    pinned_by      text        NOT NULL, -- first_seen or administrator
    pinned_at      timestamptz NOT NULL,
    refused_reason text        NOT NULL DEFAULT '', -- of what last came in the site's name and was not taken; this and the next two
    refused_key    text        NOT NULL DEFAULT '', -- with which that was rightly signed; '' where with none
    refused_at     timestamptz
);
