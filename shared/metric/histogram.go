package metric

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Histograms are histograms of one figure by one label, for a label of thousands of values:
// each holds a counter a bucket, where one of the client library takes some 4 KB.
type Histograms struct {
	desc   *prometheus.Desc
	bounds []float64

	mu sync.Mutex
	of map[string]*histogram
}

type histogram struct {
	sum   float64
	count []uint64 // by bucket, the last above all bounds
}

// NewHistograms makes them with the upper bounds of the buckets, in order.
func NewHistograms(name, help, label string, bounds []float64) *Histograms {
	return &Histograms{desc: prometheus.NewDesc(name, help, []string{label}, nil), bounds: bounds, of: map[string]*histogram{}}
}

// Observe counts a value in the histogram of a value of the label.
func (h *Histograms) Observe(label string, value float64) {
	bucket, _ := slices.BinarySearch(h.bounds, value)
	h.mu.Lock()
	defer h.mu.Unlock()
	one := h.of[label]
	if one == nil {
		one = &histogram{count: make([]uint64, len(h.bounds)+1)}
		h.of[label] = one
	}
	one.sum += value
	one.count[bucket]++
}

// Describe implements [prometheus.Collector].
func (h *Histograms) Describe(descs chan<- *prometheus.Desc) { descs <- h.desc }

// Collect implements [prometheus.Collector].
func (h *Histograms) Collect(metrics chan<- prometheus.Metric) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for label, one := range h.of {
		upTo, total := make(map[float64]uint64, len(h.bounds)), uint64(0)
		for i, bound := range h.bounds {
			total += one.count[i]
			upTo[bound] = total
		}
		total += one.count[len(h.bounds)]
		metrics <- prometheus.MustNewConstHistogram(h.desc, total, one.sum, upTo, label)
	}
}
