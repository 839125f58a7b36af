-- Who has signed in to the console at the OIDC issuer, and what they may do.
CREATE TABLE issuer_sessions (
    hash       TEXT PRIMARY KEY,
    subject    TEXT NOT NULL,
    name       TEXT NOT NULL,
    scopes     TEXT NOT NULL, -- a JSON list
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX issuer_sessions_by_expiry ON issuer_sessions (expires_at);
