package alertquery

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
)

// CampaignsFor is how long an answer about campaigns is given again. Every open page of
// the console asks, and each answer reads what came in a day.
const CampaignsFor = 15 * time.Second

// maxRemembered bounds how many different questions are remembered.
const maxRemembered = 64

// remembered are the last answers about campaigns. It is a shortcut, no state: a
// replica without it answers the same, later.
type remembered struct {
	mu      sync.Mutex // held while one looks, so that who asks the same meanwhile waits for the answer
	answers map[ask.CampaignQuery]answer
}

type answer struct {
	list ask.CampaignList
	at   time.Time
}

func (q query) campaigns(ctx context.Context, of ask.CampaignQuery) (ask.CampaignList, error) {
	q.found.mu.Lock()
	defer q.found.mu.Unlock()
	now := q.now()
	if a, ok := q.found.answers[of]; ok && now.Sub(a.at).Abs() < CampaignsFor {
		return a.list, nil
	}
	found, err := q.store.Campaigns(ctx, of, now.Add(-time.Duration(of.Hours)*time.Hour))
	if err != nil {
		return ask.CampaignList{}, err
	}
	for _, c := range found.Items {
		for i := range c.Sites {
			c.Sites[i] = cmp.Or(c.Sites[i], q.bus.Site().ID)
		}
	}
	if len(q.found.answers) >= maxRemembered {
		clear(q.found.answers)
	}
	q.found.answers[of] = answer{found, now}
	return q.found.answers[of].list, nil
}
