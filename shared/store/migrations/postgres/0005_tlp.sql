-- What was stored before there were labels is amber.
ALTER TABLE alerts ADD COLUMN tlp text NOT NULL DEFAULT 'amber';
