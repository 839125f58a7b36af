package gateway

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// metrics are the gateway's own figures.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	streams  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, site federation.SiteID) *metrics {
	own := prometheus.Labels{"site": string(site)} // as every figure of a site has it
	return &metrics{
		requests: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name:        "aurora_http_requests_total",
			Help:        "HTTP requests that were answered, by route pattern, method and status code.",
			ConstLabels: own,
		}, []string{"route", "method", "code"})),
		duration: register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:        "aurora_http_request_duration_seconds",
			Help:        "Time from the arrival of an HTTP request to the end of its answer. Event streams, which end when the client leaves, are not in it.",
			ConstLabels: own,
			Buckets:     []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "method"})),
		streams: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name:        "aurora_http_event_streams",
			Help:        "Clients that read the event stream now.",
			ConstLabels: own,
		})),
	}
}

// register adds c to reg, or gives back the same figure that a gateway before this one added.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	err := reg.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	if err != nil {
		panic(err) // another figure has this name: a mistake that every test would see
	}
	return c
}

var knownMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

func (m *metrics) record(route, method string, status int, took time.Duration) {
	if !slices.Contains(knownMethods, method) { // a client can invent methods without end
		method = "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	if route != eventsRoute {
		m.duration.WithLabelValues(route, method).Observe(took.Seconds())
	}
}
