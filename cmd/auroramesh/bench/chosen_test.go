package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestANameMeansAWorkloadOrAllThatBeginWithIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names, want []string
	}{
		{[]string{"intake"}, []string{"intake-1", "intake-32", "intake-128"}},
		{[]string{"endtoend"}, []string{"endtoend"}},       // which is one itself
		{[]string{"pull"}, []string{"pull-10", "pull-50"}}, // pull-200 takes more than most machines have
		{[]string{"pull-200"}, []string{"pull-200"}},
		{[]string{"detect-traffic"}, []string{"detect-traffic-lan", "detect-traffic-wan"}},
		{[]string{"idle", "pull-50", "detect-killed"}, []string{"pull-50", "idle", "detect-killed"}},
	} {
		o := Options{Names: c.names, Rounds: 1, Scale: 1}
		if err := o.Validate(); err != nil {
			t.Errorf("%v: %v", c.names, err)
		}
		var got []string
		for _, w := range o.chosen() {
			got = append(got, w.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.names, got, c.want)
		}
	}
	var all []string
	for _, w := range (Options{}).chosen() {
		all = append(all, w.Name)
	}
	for _, c := range []struct{ names, without, want []string }{
		{nil, []string{"detect", "idle"}, slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == "idle" || strings.HasPrefix(n, "detect-") })},
		{[]string{"pull-200", "query"}, []string{"pull", "query-8"}, []string{"query-64", "query-leaf-64", "query-http-64"}},
	} {
		var got []string
		for _, w := range (Options{Names: c.names, Without: c.without}).chosen() {
			got = append(got, w.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v without %v: got %v, want %v", c.names, c.without, got, c.want)
		}
	}
	for without, want := range map[string]string{"qery-8": `without: "qery-8" is not allowed: did you mean query-8?`, "idle": `without: "idle" is not allowed: something that leaves a workload`} {
		err := (Options{Names: []string{"idle"}, Without: []string{without}, Rounds: 1, Scale: 1}).Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for name, near := range map[string]string{
		"": "", "fire": "", "qery-8": "query-8", "ingoot": "ingest", "int": "intake or intake-1 or intake-32",
		"intake-": "intake-1 or intake-32 or intake-128", "detect-kill": "detect-killed or detect-killed-wan", "relays": "relay", "INGEST": "ingest or ingest-processor or ingest-relayed",
	} {
		err := (Options{Names: []string{name}, Rounds: 1, Scale: 1}).Validate()
		want := fmt.Sprintf("name: %q is not allowed: ", name)
		if near != "" {
			want += "did you mean " + near + "? There are "
		} else {
			want += "there are "
		}
		want += "ingest, ingest-processor, "
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasSuffix(err.Error(), "or for several at once: intake, query, queue, pull, regions, relay, detect") {
			t.Errorf("got %v, want %s with the groups", err, want)
		}
	}
}
