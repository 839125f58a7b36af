package store

import (
	"fmt"
	"testing"

	"github.com/auroramesh/auroramesh/shared/access"
)

func entry(id string) access.Entry {
	return access.Entry{
		ID: id, At: t0, Kind: access.KindKey, Who: "k1", Name: awkward, From: "192.0.2.7", Action: "POST /api/v1/alerts",
		Target: "/api/v1/alerts/" + id, Result: 201, RequestID: "r-" + id,
	}
}

func appended(t *testing.T, s *Store, ids ...string) access.Head {
	t.Helper()
	var entries []access.Entry
	for _, id := range ids {
		entries = append(entries, entry(id))
	}
	return must(s.AppendAudit(t.Context(), entries))(t)
}

func theAuditLogIsOneChain(t *testing.T, f fixture) {
	s := f.migrated(t)
	equal(t, "an empty log", must(s.VerifyAudit(t.Context(), nil))(t), access.Verification{})
	appended(t, s, "a", "b", "b")
	noted := appended(t, s, "c")
	head := appended(t, s, "b", "d") // b was sent again

	records := must(s.Audit(t.Context(), 0, 10))(t)
	var ids []string
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	equal(t, "ids", ids, []string{"d", "c", "b", "a"})
	equal(t, "an entry", records[3].Entry, entry("a").Clean())
	equal(t, "a page", must(s.Audit(t.Context(), 3, 1))(t), records[2:3])
	equal(t, "the head", must(s.AuditHead(t.Context()))(t), records[0].Head())
	equal(t, "checked", must(s.VerifyAudit(t.Context(), &noted))(t), access.Verification{Records: 4, Head: head})
}

func whatIsDoneToTheAuditLogIsFound(t *testing.T, f fixture) {
	for name, c := range map[string]struct {
		sql    string
		seq    int64
		reason string
	}{
		"a record is changed":         {"UPDATE audit SET who = 'k2' WHERE seq = 3", 3, "its content is not what it was when it was written"},
		"a result is changed":         {"UPDATE audit SET result = 200 WHERE seq = 1", 1, "its content is not what it was when it was written"},
		"a record is taken out":       {"DELETE FROM audit WHERE seq = 2", 3, "the record before it is missing"},
		"the first is taken out":      {"DELETE FROM audit WHERE seq = 1", 2, "the record before it is missing"},
		"the last is taken out":       {"DELETE FROM audit WHERE seq = 5", 5, "the log ends before its head, record 5"},
		"two change places":           {"UPDATE audit SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq IN (2, 3); UPDATE audit SET seq = -seq WHERE seq < 0", 2, "it does not follow the record before it"},
		"the end is cut off":          {"DELETE FROM audit WHERE seq > 3; UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3)", 4, "the log ends before the record that was noted, 5"},
		"the head alone is set ahead": {"UPDATE audit_head SET seq = 9", 6, "the log ends before its head, record 9"},
	} {
		t.Run(name, func(t *testing.T) {
			s := f.migrated(t)
			if _, err := s.writer.ExecContext(t.Context(), "DELETE FROM audit; UPDATE audit_head SET seq = 0, hash = ''"); err != nil {
				t.Fatal(err)
			}
			noted := appended(t, s, "a", "b", "c", "d", "e")
			if _, err := s.writer.ExecContext(t.Context(), c.sql); err != nil {
				t.Fatal(err)
			}
			v := must(s.VerifyAudit(t.Context(), &noted))(t)
			if v.Broken == nil || v.Broken.Seq != c.seq || v.Broken.Reason != c.reason || v.Records != c.seq-1 && name != "a record is taken out" && name != "the first is taken out" {
				t.Errorf("%+v, broken %+v", v, v.Broken)
			}
		})
	}
}

func aLogThatIsWrittenAnewIsNotTheOneThatWasNoted(t *testing.T, f fixture) {
	s := f.migrated(t)
	noted := appended(t, s, "a", "b")
	if _, err := s.writer.ExecContext(t.Context(), "DELETE FROM audit; UPDATE audit_head SET seq = 0, hash = ''"); err != nil {
		t.Fatal(err)
	}
	appended(t, s, "a", "x", "c")
	if v := must(s.VerifyAudit(t.Context(), nil))(t); v.Broken != nil {
		t.Errorf("by itself: %+v", v.Broken)
	}
	if v := must(s.VerifyAudit(t.Context(), &noted))(t); v.Broken == nil || v.Broken.Seq != 2 {
		t.Errorf("with what was noted: %+v", v.Broken)
	}
}

func replicasThatWriteTheAuditLogAtOnceMakeOneChain(t *testing.T, f fixture) {
	const each = 20
	stores := f.replicas(t, 4)
	atOnce(t, len(stores), func(i int) (int, error) {
		for n := range each {
			if _, err := stores[i].AppendAudit(t.Context(), []access.Entry{entry(fmt.Sprintf("%d-%d", i, n)), entry(fmt.Sprintf("both-%d", n))}); err != nil {
				return 0, err
			}
		}
		return 0, nil
	})
	v := must(stores[0].VerifyAudit(t.Context(), nil))(t)
	if want := int64(len(stores)*each + each); v.Broken != nil || v.Records != want {
		t.Errorf("%+v, broken %+v; want %d records", v, v.Broken, want)
	}
}

func aKeyAndItsRecordStandOrFallTogether(t *testing.T, f fixture) {
	s := f.migrated(t)
	made := must(access.Make(access.NewKey{Name: "a", Scopes: []access.Scope{access.Admin}}, "ops", t0))(t)
	for i, want := range []int64{1, 1} { // the second time the key is there already
		if err := s.CreateKey(t.Context(), made.Key, "hash", entry(fmt.Sprint(i))); (err != nil) != (i == 1) {
			t.Errorf("time %d: %v", i, err)
		}
		if h := must(s.AuditHead(t.Context()))(t); h.Seq != want {
			t.Errorf("time %d: %d records", i, h.Seq)
		}
	}
	must(s.RevokeKey(t.Context(), made.ID, t0, entry("revoked")))(t)
	if _, err := s.RevokeKey(t.Context(), "none", t0, entry("none")); err == nil {
		t.Error("a key that is not there was revoked")
	}
	if h := must(s.AuditHead(t.Context()))(t); h.Seq != 2 {
		t.Errorf("%d records", h.Seq)
	}
}
