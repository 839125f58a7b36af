package apiclient

import (
	"context"
	"net/http"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/drillreport"
)

const drillsPath = "/api/v1/federation/drills"

// KeepDrill has the site keep the report of a drill.
func (c *Client) KeepDrill(ctx context.Context, r drillreport.Report) error {
	var kept drillreport.Report
	_, err := c.call(ctx, "keeping the report of the drill", http.MethodPost, drillsPath, nil, r.Brief(), &kept)
	return err
}

// Drills is the reports of the last drills, the newest first.
func (c *Client) Drills(ctx context.Context) (ask.DrillList, error) {
	var all ask.DrillList
	_, err := c.call(ctx, "reading the reports of the drills", http.MethodGet, drillsPath, nil, nil, &all)
	return all, err
}
