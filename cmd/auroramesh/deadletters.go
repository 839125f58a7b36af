package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
)

type deadLettersCmd struct {
	List  lettersListCmd  `cmd:"" default:"withargs" help:"List dead letters, newest first (the default)."`
	Show  lettersShowCmd  `cmd:"" help:"Show one dead letter and its payload."`
	Retry lettersRetryCmd `cmd:"" help:"Let the functions that gave them up handle dead letters again."`
	Drop  lettersDropCmd  `cmd:"" help:"Delete dead letters for good."`
}

// Help is the long help.
func (*deadLettersCmd) Help() string {
	return `A dead letter is a message that a function could not handle. Without another word
the command lists: see "auroramesh deadletters list --help" for its flags.

` + lettersExamples
}

const lettersExamples = `Examples:
  auroramesh deadletters
  auroramesh deadletters show 17
  auroramesh deadletters retry 17 18
  auroramesh deadletters retry --all
  auroramesh deadletters drop 17`

type lettersListCmd struct {
	siteFlags
	jsonFlag
	Limit int `default:"50" help:"How many dead letters to list: 1 to 200 (default ${default})."`
	Skip  int `default:"0" help:"How many dead letters to pass over (default ${default})."`
}

// Help is the long help.
func (*lettersListCmd) Help() string { return lettersExamples }

// Run lists dead letters.
func (c *lettersListCmd) Run(ctx context.Context, io *stdio) error {
	if err := written("limit", c.Limit, ask.MaxLimit); err != nil {
		return err
	}
	page := ask.Page{Skip: c.Skip, Limit: c.Limit}
	if err := page.Validate(); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	list, err := client.DeadLetters(ctx, page)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, list)
	}
	t := newTable(io.out, "ID", "AT", "FUNCTION", "CODE", "SOURCE", "SIZE", "REASON")
	for _, l := range list.Items {
		t.row(strconv.FormatUint(l.ID, 10), stamp(&l.At), short(l.Function, 28), short(l.Code, 20), short(l.Source, 40), strconv.Itoa(l.Size), short(l.Reason, 80))
	}
	if err := t.write(io.out); err != nil {
		return err
	}
	return writePosition(io.out, list)
}

type lettersShowCmd struct {
	siteFlags
	jsonFlag
	ID string `arg:"" name:"id" help:"Id of the dead letter."`
}

// Help is the long help.
func (*lettersShowCmd) Help() string {
	return `Example:
  auroramesh deadletters show 17`
}

// Run shows one dead letter.
func (c *lettersShowCmd) Run(ctx context.Context, io *stdio) error {
	id, err := function.ParseLetterID(c.ID)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	l, err := client.DeadLetter(ctx, id)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, l)
	}
	var s sheet
	s.field("ID", strconv.FormatUint(l.ID, 10))
	s.field("Given up", stamp(&l.At))
	s.field("By", l.Function+", trigger "+l.Trigger)
	s.field("Reason", l.Reason)
	s.field("Code", l.Code)
	s.field("Source", l.Source)
	s.field("Subject", l.Subject)
	s.field("Sequence", strconv.FormatUint(l.Sequence, 10))
	s.field("Size", strconv.Itoa(l.Size)+" bytes")
	s.field("Payload", l.Payload)
	if l.Truncated {
		s.field("Truncated", "the payload goes on")
	}
	return s.write(io.out)
}

type lettersRetryCmd struct {
	siteFlags
	jsonFlag
	All bool     `help:"Retry every dead letter that the site has now, the oldest first."`
	IDs []string `arg:"" optional:"" name:"id" help:"Ids of the dead letters."`
}

// Help is the long help.
func (*lettersRetryCmd) Help() string {
	return `A letter that is handled is deleted. One that fails again stays as it was; the
others are tried all the same, and the exit code is that of the first failure.
With --json the results are one array: id, result, and the letter or the error.

Examples:
  auroramesh deadletters retry 17 18
  auroramesh deadletters retry --all`
}

// Run retries dead letters.
func (c *lettersRetryCmd) Run(ctx context.Context, io *stdio) error {
	if c.All == (len(c.IDs) > 0) {
		return fault.New(fault.Invalid, "name the ids of the dead letters, or --all, and not both")
	}
	ids, err := letterIDs(c.IDs)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.All {
		if ids, err = allLetters(ctx, client); err != nil {
			return err
		}
	}
	return eachLetter(ctx, io, c.JSON, "handled", ids, client.RetryDeadLetter)
}

type lettersDropCmd struct {
	siteFlags
	jsonFlag
	IDs []string `arg:"" name:"id" help:"Ids of the dead letters."`
}

// Help is the long help.
func (*lettersDropCmd) Help() string {
	return `Example:
  auroramesh deadletters drop 17 18`
}

// Run deletes dead letters.
func (c *lettersDropCmd) Run(ctx context.Context, io *stdio) error {
	ids, err := letterIDs(c.IDs)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	return eachLetter(ctx, io, c.JSON, "dropped", ids, client.DropDeadLetter)
}

// letterIDs reads ids, all of them before anything is done with the first.
func letterIDs(args []string) ([]function.LetterID, error) {
	ids := make([]function.LetterID, len(args))
	for i, a := range args {
		var err error
		if ids[i], err = function.ParseLetterID(a); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// allLetters is every dead letter that the site has now, the oldest first.
func allLetters(ctx context.Context, client *apiclient.Client) ([]function.LetterID, error) {
	all, err := apiclient.All(ctx, client.DeadLetters)
	if err != nil {
		return nil, err
	}
	ids := make([]function.LetterID, len(all.Items))
	for i, l := range all.Items {
		ids[i] = function.LetterID{ID: l.ID}
	}
	slices.SortFunc(ids, func(a, b function.LetterID) int { return cmp.Compare(a.ID, b.ID) })
	return slices.Compact(ids), nil // one that was read twice
}

// letterResult is what became of one dead letter.
type letterResult struct {
	ID     uint64          `json:"id"`
	Result string          `json:"result"` // the word for what was to be done, or failed
	Letter *ask.DeadLetter `json:"letter,omitempty"`
	Error  *fault.Error    `json:"error,omitempty"`
}

func (r letterResult) detail() string {
	if r.Error != nil {
		return plain(r.Error.Error())
	}
	return "a message to " + plain(r.Letter.Function) + " from " + plain(r.Letter.Source)
}

// eachLetter does one thing to every letter, and tells what became of each. The
// exit code is that of the first failure.
func eachLetter(ctx context.Context, io *stdio, asJSON bool, done string, ids []function.LetterID, do func(context.Context, function.LetterID) (ask.DeadLetter, error)) error {
	if len(ids) == 0 && !asJSON {
		_, err := fmt.Fprintln(io.out, "There are no dead letters.")
		return err
	}
	widths, colour := []int{8, len(done), 0}, wantsColour(io.out)
	results := make([]letterResult, 0, len(ids))
	var failed []*fault.Error
	for _, id := range ids {
		l, err := do(ctx, id)
		if ctx.Err() != nil {
			break
		}
		r := letterResult{ID: id.ID, Result: done, Letter: &l}
		if err != nil {
			r = letterResult{ID: id.ID, Result: "failed", Error: fault.Of(err)}
			failed = append(failed, r.Error)
		}
		results = append(results, r)
		if asJSON {
			continue
		}
		if len(results) == 1 {
			fmt.Fprint(io.out, line([]string{"ID", "RESULT", "DETAIL"}, widths, colour))
		}
		if _, err := fmt.Fprint(io.out, line([]string{strconv.FormatUint(r.ID, 10), r.Result, r.detail()}, widths, colour)); err != nil {
			return err
		}
	}
	if asJSON {
		if err := writeJSON(io.out, results); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(io.out, "\n%d %s, %d failed\n", len(results)-len(failed), done, len(failed))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(failed) > 0 {
		return fault.New(failed[0].Code, "%d of %d dead letters were not %s", len(failed), len(ids), done)
	}
	return nil
}
