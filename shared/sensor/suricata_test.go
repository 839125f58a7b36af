package sensor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestEveryRealSuricataAlertBecomesAValidAlert(t *testing.T) {
	files := map[string]struct {
		records    int
		severities map[federation.Severity]int
	}{
		"first-2015.eve.json":    {136, map[federation.Severity]int{federation.Critical: 9, federation.High: 62, federation.Medium: 42, federation.Low: 23}},
		"honeypot-2018.eve.json": {44, map[federation.Severity]int{federation.Medium: 43, federation.Low: 1}},
	}
	for name, want := range files {
		t.Run(name, func(t *testing.T) {
			f, err := os.Open(filepath.Join("testdata", "suricata", name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			severities, hashes, n := map[federation.Severity]int{}, map[string]int{}, 0
			for rec, err := range Read(f, Options{}) {
				if err != nil || rec.Alert == nil {
					t.Fatalf("line %d: %+v, %v", rec.Line, rec, err)
				}
				n++
				severities[rec.Alert.Severity]++
				hashes[federation.DedupHash(rec.Alert.Title, rec.Alert.Source, rec.Alert.IOCs.Items)]++
				if rec.Alert.ObservedAt == nil {
					t.Errorf("line %d has no time", rec.Line)
				}
			}
			if n != want.records || len(hashes) != n {
				t.Errorf("%d records of which %d are distinct, want %d", n, len(hashes), want.records)
			}
			if diff := cmp.Diff(want.severities, severities); diff != "" {
				t.Error(diff)
			}
		})
	}
}
