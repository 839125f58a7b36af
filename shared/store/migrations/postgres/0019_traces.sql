-- The trace within which a message was committed, as the header carries it; '' where in none.
ALTER TABLE outbox ADD COLUMN traceparent text NOT NULL DEFAULT '';
