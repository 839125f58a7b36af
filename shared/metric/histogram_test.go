package metric_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/metric"
)

// What the client library says of the same values is what is right.
func TestHistogramsSayWhatThoseOfTheClientLibrarySay(t *testing.T) {
	bounds := []float64{0.5, 1, 2}
	ours := metric.NewHistograms("trip_seconds", "Trips.", "peer", bounds)
	theirs := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "trip_seconds", Help: "Trips.", Buckets: bounds}, []string{"peer"})
	for peer, values := range map[string][]float64{"site-b": {0.1, 0.5, 0.6, 2, 2.1, 7}, "site-c": {1}} {
		for _, v := range values {
			ours.Observe(peer, v)
			theirs.WithLabelValues(peer).Observe(v)
		}
	}
	said := func(c prometheus.Collector) (all []string) {
		reg := prometheus.NewPedanticRegistry()
		reg.MustRegister(c)
		families, err := reg.Gather()
		if err != nil || len(families) != 1 || families[0].GetType().String() != "HISTOGRAM" {
			t.Fatalf("%v, %v", families, err)
		}
		for _, m := range families[0].GetMetric() {
			m.GetHistogram().CreatedTimestamp = nil
			all = append(all, m.String())
		}
		return all
	}
	if diff := cmp.Diff(said(theirs), said(ours), cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
		t.Errorf("(-theirs +ours):\n%s", diff)
	}
}
