package gateway_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
)

func TestDeadLettersAreReadRetriedAndDropped(t *testing.T) {
	s := newWholeSite(t)
	list := decode[ask.List[ask.DeadLetter]](t, s.do(t, "GET", "/api/v1/deadletters?skip=3&limit=7", ""))
	if list.Total != 9 || list.Skip != 3 || list.Limit != 7 || list.Items == nil {
		t.Errorf("list %+v", list)
	}
	want := ask.DeadLetter{ID: 7, Function: "alertsink", At: noon}
	if got := decode[ask.DeadLetterText](t, s.do(t, "GET", "/api/v1/deadletters/7", "")); got != (ask.DeadLetterText{DeadLetter: want, Payload: "<x>"}) {
		t.Errorf("letter %+v", got)
	}
	if r := s.do(t, "POST", "/api/v1/deadletters/7/retry", ""); r.status != http.StatusOK || decode[ask.DeadLetter](t, r) != want {
		t.Errorf("retry: %d %s", r.status, r.body)
	}
	if r := s.do(t, "DELETE", "/api/v1/deadletters/7", ""); r.status != http.StatusOK || decode[ask.DeadLetter](t, r) != want {
		t.Errorf("drop: %d %s", r.status, r.body)
	}
	if r := s.do(t, "POST", "/api/v1/deadletters/8/retry", ""); r.status != http.StatusConflict || decode[gateway.Problem](t, r).Detail != "it failed again" {
		t.Errorf("a retry that fails: %d %s", r.status, r.body)
	}
}

func TestALetterThatIsNotThereOrCannotBeIsAProblem(t *testing.T) {
	s := newWholeSite(t)
	for _, op := range []struct{ method, rest string }{{"GET", ""}, {"POST", "/retry"}, {"DELETE", ""}} {
		if r := s.do(t, op.method, "/api/v1/deadletters/9"+op.rest, ""); r.status != http.StatusNotFound || decode[gateway.Problem](t, r).Code != fault.NotFound {
			t.Errorf("%s: %d %s", op.method, r.status, r.body)
		}
		for _, bad := range []string{"0", "-1", "x", "1.5", "18446744073709551616"} {
			r := s.do(t, op.method, "/api/v1/deadletters/"+bad+op.rest, "")
			want := []fault.Field{{Name: "id", Value: bad, Allowed: function.LetterIDForm}}
			if diff := cmp.Diff(want, decode[gateway.Problem](t, r).Errors); r.status != http.StatusUnprocessableEntity || diff != "" {
				t.Errorf("%s %s: %d %s", op.method, bad, r.status, r.body)
			}
		}
	}
	if r := s.do(t, "DELETE", "/api/v1/deadletters/7", "", "Origin", "http://evil.example"); r.status != http.StatusForbidden {
		t.Errorf("from another origin: %d %s", r.status, r.body)
	}
}
