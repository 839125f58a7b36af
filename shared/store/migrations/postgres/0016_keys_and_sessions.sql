-- Who may use the API. Of a secret only its SHA-256 is kept.
CREATE TABLE api_keys (
    id           text COLLATE "C" PRIMARY KEY,
    hash         text NOT NULL,
    name         text NOT NULL,
    scopes       text NOT NULL, -- a JSON list
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);

-- Who has signed in to the console, by the key that was used.
CREATE TABLE sessions (
    hash       text COLLATE "C" PRIMARY KEY,
    key_id     text COLLATE "C" NOT NULL REFERENCES api_keys (id),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_by_key ON sessions (key_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
