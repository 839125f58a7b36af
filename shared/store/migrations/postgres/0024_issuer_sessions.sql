-- Who has signed in to the console at the OIDC issuer, and what they may do.
CREATE TABLE issuer_sessions (
    hash       text COLLATE "C" PRIMARY KEY,
    subject    text NOT NULL,
    name       text NOT NULL,
    scopes     text NOT NULL, -- a JSON list
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX issuer_sessions_by_expiry ON issuer_sessions (expires_at);
