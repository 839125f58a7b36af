package console

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
)

// retryTimeout leaves the function that has a dead letter again the time that a
// handler has.
const retryTimeout = 14 * time.Second

// doLetter retries or drops a dead letter. A retry that fails says why, and the letter stays.
func (k *Console) doLetter(w http.ResponseWriter, r *http.Request) {
	const title = "Dead letter"
	if err := r.ParseForm(); err != nil {
		k.fail(w, r, "outcome", title, fault.New(fault.Invalid, "the form cannot be read"))
		return
	}
	id, err := function.ParseLetterID(r.PostForm.Get("id"))
	if err != nil {
		k.fail(w, r, "outcome", title, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), retryTimeout)
	defer cancel()
	p := outcomePage{Back: "/deliveries"}
	switch what := r.PostForm.Get("do"); what {
	case "retry":
		_, err = function.Ask(ctx, k.Bus, k.Site.ID, ask.RetryDeadLetter, id)
		p.Text = fmt.Sprintf("Dead letter %d is handled.", id.ID)
	case "drop":
		_, err = function.Ask(ctx, k.Bus, k.Site.ID, ask.DropDeadLetter, id)
		p.Text = fmt.Sprintf("Dead letter %d is dropped.", id.ID)
	default:
		var wrong fault.Fields
		wrong.Add("do", what, "retry or drop")
		err = wrong.Err("the form is not valid")
	}
	if err != nil {
		p.Text = fmt.Sprintf("Dead letter %d stays as it was.", id.ID)
		p.Failed = []ask.AlertUpdated{{ID: fmt.Sprint(id.ID), Problem: k.said(r, err)}}
	}
	v := k.view(r, "outcome", title, p)
	v.Live = false
	k.show(w, r, http.StatusOK, "outcome", v)
}
