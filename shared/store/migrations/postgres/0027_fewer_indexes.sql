-- The index of titles begins as this one does. The marks of an alert are found by its
-- time and its id, so one index serves them and those of a time.
DROP INDEX alerts_newest;
DROP INDEX alert_marks_alert;
DROP INDEX alert_marks_newest;
CREATE INDEX alert_marks_newest ON alert_marks (created_at, alert_id);
