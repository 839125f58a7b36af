-- What was stored before there were labels is amber.
ALTER TABLE alerts ADD COLUMN tlp TEXT NOT NULL DEFAULT 'amber';
