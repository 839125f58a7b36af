package console

import (
	"net/http"
	"slices"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/drillreport"
	"github.com/auroramesh/auroramesh/shared/fault"
)

type drillPage struct {
	drillreport.Report
	Broken string // how the promise was; empty: it was kept
}

func drillOf(r drillreport.Report) drillPage {
	p := drillPage{Report: r}
	if err := r.Verdict(); err != nil {
		p.Broken = fault.Of(err).Message
	}
	return p
}

func (k *Console) showDrill(w http.ResponseWriter, r *http.Request) {
	const title = "Drill"
	all, err := put(r.Context(), k, ask.Drills, ask.None{})
	if err != nil {
		k.fail(w, r, "drill", title, err)
		return
	}
	run := r.PathValue("run")
	i := slices.IndexFunc(all.Items, func(d drillreport.Report) bool { return d.Run == run })
	if i < 0 {
		k.fail(w, r, "drill", title, fault.New(fault.NotFound, "the report of the drill %q is not kept here: the last 20 are", run))
		return
	}
	v := k.view(r, "drill", "Drill of "+all.Items[i].Link, drillOf(all.Items[i]))
	v.Live = false // it does not change
	k.show(w, r, http.StatusOK, "drill", v)
}
