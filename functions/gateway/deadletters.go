package gateway

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/function"
)

const (
	lettersPath = "/api/v1/deadletters"
	letterPath  = "/api/v1/deadletters/{id}"
)

func (g *gateway) registerDeadLetters(api huma.API) {
	op := operation(http.MethodGet, lettersPath, "list-dead-letters", tagLetters, "List dead letters",
		"The messages that functions of this site could not handle, newest first, each with the reason.")
	op.Parameters = pageParams()
	huma.Register(api, op, func(ctx context.Context, in *pageInput) (*answer[ask.List[ask.DeadLetter]], error) {
		return replyList(put(ctx, g, ask.ListDeadLetters, in.page()))
	})
	registerLetter(g, api, ask.GetDeadLetter, operation(http.MethodGet, letterPath, "get-dead-letter", tagLetters, "Show a dead letter",
		"One dead letter with its payload as text, of which a long one has the first 131072 bytes.", http.StatusNotFound))
	registerLetter(g, api, ask.RetryDeadLetter, operation(http.MethodPost, letterPath+"/retry", "retry-dead-letter", tagLetters, "Retry a dead letter",
		"Hands the message to its function again. Once it is handled the letter is deleted, and is the answer. Where it fails again the problem says why, and the letter stays as it was.",
		http.StatusForbidden, http.StatusNotFound, http.StatusConflict))
	registerLetter(g, api, ask.DropDeadLetter, operation(http.MethodDelete, letterPath, "drop-dead-letter", tagLetters, "Drop a dead letter",
		"Deletes a dead letter for good. The answer is what it was.", http.StatusForbidden, http.StatusNotFound))
}

// registerLetter registers an operation that puts one dead letter to an endpoint.
func registerLetter[T any](g *gateway, api huma.API, e function.Endpoint[function.LetterID, T], op huma.Operation) {
	op.Parameters = []*huma.Param{{
		Name: "id", In: "path", Required: true, Description: "The id of the dead letter at this site",
		Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: ptr(1.0)},
	}}
	type input struct {
		ID string `path:"id" hidden:"true"`
	}
	huma.Register(api, op, func(ctx context.Context, in *input) (*answer[T], error) {
		id, err := function.ParseLetterID(in.ID)
		if err != nil {
			return nil, err
		}
		return reply(put(ctx, g, e, id))
	})
}
