package gateway

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"sync"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
)

// maxAuditBatch bounds how many entries are written at a time.
const maxAuditBatch = 200

// audited has next's answer written to the audit log before the client gets it: so
// no change is confirmed that the log does not have. Where the log cannot be
// written, the client is told that, and not that all is well.
func (g *gateway) audited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before := w.Header().Clone()
		held := &heldAnswer{header: w.Header()}
		defer func() {
			if p := recover(); p != nil { // what it did before is not known: it may have changed something
				if err := g.note(r, http.StatusInternalServerError, ""); err != nil {
					g.log.ErrorContext(r.Context(), "a request that failed is not in the audit log", "error", err)
				}
				panic(p)
			}
		}()
		next.ServeHTTP(held, r)
		if err := g.note(r, held.statusOrOK(), w.Header().Get("Location")); err != nil {
			g.log.ErrorContext(r.Context(), "a change is not in the audit log", "route", r.Pattern, "error", err)
			clear(w.Header())
			maps.Copy(w.Header(), before)
			writeProblem(w, r, fault.New(fault.Unavailable, "this was done, but the audit log of the site cannot be written: %s", fault.Of(err).Message))
			return
		}
		w.WriteHeader(held.statusOrOK())
		_, _ = w.Write(held.body.Bytes()) // the client may be gone
	})
}

// heldAnswer keeps an answer back.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *heldAnswer) Header() http.Header { return h.header }

func (h *heldAnswer) WriteHeader(status int) {
	if h.status == 0 && status >= 200 {
		h.status = status
	}
}

func (h *heldAnswer) Write(b []byte) (int, error) { return h.body.Write(b) }

func (h *heldAnswer) statusOrOK() int {
	if h.status == 0 {
		return http.StatusOK
	}
	return h.status
}

// note writes to the audit log what a request came to. What nobody sent who is
// known is not in it, or anyone could fill it: it is counted and logged.
func (g *gateway) note(r *http.Request, result int, made string) error {
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok || x.principal.ID == "" {
		return nil
	}
	target := r.URL.EscapedPath()
	if made != "" && result == http.StatusCreated {
		target = made
	}
	return g.audit.write(r.Context(), access.Entry{
		ID: newRequestID(), At: g.now(), Kind: x.principal.Kind, Who: x.principal.ID, Name: x.principal.Name, From: remote(r),
		Action: r.Pattern, Target: target, Result: result, RequestID: function.RequestID(r.Context()),
	})
}

// auditWriter writes entries as they come, those that come meanwhile together: so
// a thousand requests at once are a few transactions, one after the other.
type auditWriter struct {
	send    func(context.Context, ask.AuditEntries) error
	mu      sync.Mutex
	waiting []*waitingEntry
	busy    bool // somebody sends, or has been told to
}

type waitingEntry struct {
	access.Entry
	written chan error
	turn    chan struct{} // closed where it is for this one to send what waits
}

// write returns once e is in the log.
func (a *auditWriter) write(ctx context.Context, e access.Entry) error {
	w := &waitingEntry{e, make(chan error, 1), make(chan struct{})}
	a.mu.Lock()
	a.waiting = append(a.waiting, w)
	mine := !a.busy
	a.busy = true
	a.mu.Unlock()
	if !mine {
		select {
		case err := <-w.written:
			return err
		case <-w.turn:
		}
	}
	a.sendWaiting(ctx)
	return <-w.written
}

// sendWaiting sends what waits, the caller's entry first, and gives the turn on.
func (a *auditWriter) sendWaiting(ctx context.Context) {
	a.mu.Lock()
	n := min(len(a.waiting), maxAuditBatch)
	batch := a.waiting[:n:n]
	a.waiting = a.waiting[n:]
	a.mu.Unlock()

	var entries ask.AuditEntries
	for _, w := range batch {
		entries.Entries = append(entries.Entries, w.Entry)
	}
	// The change is made whether or not its client waits. Sent twice, an entry is written once.
	ctx = context.WithoutCancel(ctx)
	err := a.send(ctx, entries)
	if err != nil && !fault.Of(err).Code.Permanent() {
		err = a.send(ctx, entries)
	}
	for _, w := range batch {
		w.written <- err
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy = len(a.waiting) > 0; a.busy {
		close(a.waiting[0].turn)
	}
}
