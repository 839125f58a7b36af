package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

// fixture opens stores of one database.
type fixture struct{ dsn string }

// open opens the database once more, as a further replica does.
func (f fixture) open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), f.dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (f fixture) migrated(t *testing.T) *Store {
	t.Helper()
	s := f.open(t)
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStore runs every test of the suite on every database.
func TestStore(t *testing.T) {
	backends := []struct {
		name string
		dsn  func(*testing.T) string
	}{
		{"sqlite", func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "a dir", "50%?#ü.db") }},
		{"postgres", func(t *testing.T) string { return postgrestest.Start(t) }},
	}
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			if b.name == "postgres" {
				b.dsn(t) // skips all where there is no PostgreSQL
			}
			for _, test := range suite {
				t.Run(nameOf(test), func(t *testing.T) {
					t.Parallel()
					test(t, fixture{b.dsn(t)})
				})
			}
		})
	}
}

// suite is every test, in the files of what they are about.
var suite = []func(*testing.T, fixture){
	pagesGoOnFromAPlace, theQueueIsSearched, aSearchLooksSoFar, alertsAreCountedSoFar, campaignsAreOfSeveralSites, minutesOfALinkAreKept,
	dropsAddUp, watchesRoundTrip, aStalledDeliveryMarksItsLink, echoesMarkALink, aNewCauseIsATransition, aNewCauseIsToldOnce, aOneWayFailureIsTwoViews,
	theFirstKeyOfASiteIsPinned, keysPinnedAtOnceAreOne, aCrowdIsPinnedAtOnce, anAdministratorPinsAndUnpinsKeys, whatIsRefusedExplainsALateLink,
	migrateIsSafeTwice, migrateIsSafeAtOnce, readyNamesWhatIsMissing, restartKeepsData,
	raisedAlertRoundTrips, labelsRoundTrip, rowsFromBeforeLabelsAreAmber, secondRaiseGivesFirst, raisesAtOnceMakeOne, raiseRollsBackAsOne, alertsRaisedTogether, alertsRaisedTogetherAtOnceMakeOneEach,
	aBatchIsStoredAsOneByOne, whatAnotherStoresMeanwhileIsAReplay, replaysAndDoublesAreNotStored, receivedBatchesAtOnceStoreOnce, receivedAlertRoundTrips, largestAlertFits, unknownAlertIsNotFound,
	alertsComeInPages, alertsAreFiltered, severalFiltersLookSoFar, listsUseIndexes, everyCallUsesIndexes, updateChangesAndTells, updatesAtOnceTellOnce,
	newerVersionsOfAPeerWin, versionsAtOnceLeaveTheNewest, rowsFromBeforeVersionsAreAsRaised,
	refusalsAreNotedOnce, refusalsOfWhatIsHeldCount, oldRefusalsGo,
	whatIsComparedComesInOrder, whatWasSharedSinceIsCounted, whatIsComparedIsReadFromIndexes, resendsBecomeSeldom, resendsAtOnceSendOnce, theLastReconciliationIsKept,
	aPipeStandsOrFallsAsOne, aGateHoldsAtOnce,
	outboxIsByPriority, publishedRowsGo, publishedAlertsKeepTheirSequence, sharingIsNotedAsOne, outboxIDsNeverReturn,
	exchangeIsKept, relayedPeers, theWaysOfAlertsAreKnown, passedPeers, whatIsPassedOnKeepsItsProof, placesOfWhatWasPassedOnGo,
	ownSiteKeepsAgents, agentsBeforeHeartbeat, ownSiteComesBack, sitesComeOwnFirst,
	firstGossipIsSeen, staleGossipChangesNothing, setBackClockIsTakenAfterSilence, gossipHealsSiteAndLink, aLinkIsFoundAlone, gossipOfOneselfIsRefused, gossipAtOnceKeepsNewest, gossipWaitsForGossip, firstGossipAtOnceIsSeenOnce,
	gatesAreSetForAPeer, whatComesInGoesByGatesAndPassedPeers, gatesAreReset, refusedAlertsAreNotedOnce, aNewInboundGateForgetsWhatWasRefused, gatesSetAtOnceStandWhole,
	closedAlertsGo, whatIsComparedStays, historyGoes, notesAboutRefusedAlertsGo, twoThatForgetAtOnceShareTheWork,
	goodbyeTakesSiteAndLinkDown,
	aViewStandsUntilItIsNamedOrMissed, whoLacksAViewIsToldAnew, tellingsAtOnceWaitForEachOther,
	keysAreKeptAndRevoked, sessionsEndWithTheirKey, sessionsOfTheIssuerEnd, theLastDrillsAreKept,
	theAuditLogIsOneChain, whatIsDoneToTheAuditLogIsFound, aLogThatIsWrittenAnewIsNotTheOneThatWasNoted, replicasThatWriteTheAuditLogAtOnceMakeOneChain, aKeyAndItsRecordStandOrFallTogether,
	silenceAges, ageAtOnceGivesEachChangeOnce, ageAgainstGossip, aClockSetBackAgesFromThen, ageNeverHeals,
}

func nameOf(f func(*testing.T, fixture)) string {
	full := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	return full[strings.LastIndex(full, ".")+1:]
}

var (
	// t0 has microseconds, and the last digit of them is 0, which some formats drop.
	t0   = time.Date(2026, 3, 1, 12, 0, 0, 123450*1000, time.UTC)
	own  = federation.Identity{ID: "site-a", Name: "Zürich 東京", Tier: federation.Primary, Version: "0.1.0"}
	ages = federation.Thresholds{Degraded: 45 * time.Second, Down: 120 * time.Second}
)

func after(d time.Duration) time.Time { return t0.Add(d) }

func newID(t *testing.T) string {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

func alertOf(t *testing.T, title string, at time.Time) federation.Alert {
	t.Helper()
	return federation.NewAlert{
		Title: title, Severity: federation.High, Source: "suricata",
		IOCs: federation.IOCInput{Items: []federation.IOC{{Type: federation.IP, Value: "203.0.113.7"}}},
	}.Alert(newID(t), at)
}

// received is the alert with the given id at site-b, as it is stored here.
func received(t *testing.T, originID string) federation.Alert {
	t.Helper()
	return federation.SharedAlert{
		Version: federation.SharedAlertVersion, OriginSite: "site-b", OriginName: "Site B", OriginID: originID, RaisedAt: t0.Add(-time.Second),
		NewAlert: federation.NewAlert{Title: "beacon " + originID, Severity: federation.Critical, Source: "edr"},
	}.Received(newID(t), t0)
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// messages is what waits in the outbox, without ids.
func messages(t *testing.T, s *Store) []string {
	t.Helper()
	var ids []string
	for _, q := range must(s.Outbox(t.Context(), 1000))(t) {
		ids = append(ids, q.MsgID)
	}
	return ids
}

// clearOutbox empties the outbox.
func clearOutbox(t *testing.T, s *Store) {
	t.Helper()
	var done []Confirmed
	for _, q := range must(s.Outbox(t.Context(), 1000))(t) {
		done = append(done, Confirmed{Queued: q})
	}
	if _, err := s.Published(t.Context(), t0, done); err != nil {
		t.Fatal(err)
	}
}

// atOnce runs f n times at the same time and returns what each gave.
func atOnce[T any](t *testing.T, n int, f func(i int) (T, error)) []T {
	t.Helper()
	var (
		wg    sync.WaitGroup
		start = make(chan struct{})
		vs    = make([]T, n)
		errs  = make([]error, n)
	)
	for i := range n {
		wg.Go(func() {
			<-start
			vs[i], errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("caller %d: %v", i, err)
		}
	}
	return vs
}

// replicas opens the database n times.
func (f fixture) replicas(t *testing.T, n int) []*Store {
	t.Helper()
	f.migrated(t)
	stores := make([]*Store, n)
	for i := range stores {
		stores[i] = f.open(t)
	}
	return stores
}

// migrationNames is every migration, in its order.
var migrationNames = []string{
	"0001_sites_and_links",
	"0002_alerts",
	"0003_outbox",
	"0004_shared_sequence",
	"0005_tlp",
	"0006_link_probes",
	"0007_transitions",
	"0008_alert_versions",
	"0009_sharing_gates",
	"0010_reconciliation",
	"0011_refusals",
	"0012_backlog",
	"0013_leaving",
	"0014_trust",
	"0015_retention",
	"0016_keys_and_sessions",
	"0017_audit",
	"0019_traces",
	"0020_queue_pages",
	"0021_alert_marks",
	"0023_link_minutes",
	"0024_issuer_sessions",
	"0025_drills", "0026_exchange", "0027_fewer_indexes", "0028_shared_at", "0029_missing_since", "0030_told_views",
}

func migrateIsSafeTwice(t *testing.T, f fixture) {
	s := f.open(t)
	want := migrationNames
	before := must(s.Migrations(t.Context()))(t)
	if len(before) != len(want) || before[0].AppliedAt != nil {
		t.Errorf("a new database has the migrations %v", before)
	}
	equal(t, "first time", must(s.Migrate(t.Context()))(t), want)
	equal(t, "second time", must(s.Migrate(t.Context()))(t), []string(nil))
	for i, m := range must(s.Migrations(t.Context()))(t) {
		if m.Name != want[i] || m.AppliedAt == nil || time.Since(*m.AppliedAt).Abs() > time.Hour || m.AppliedAt.Location() != time.UTC {
			t.Errorf("migration %d is %s, applied at %v", i, m.Name, m.AppliedAt)
		}
	}
}

func migrateIsSafeAtOnce(t *testing.T, f fixture) {
	var total []string
	for _, applied := range atOnce(t, 6, func(int) ([]string, error) {
		s, err := Open(t.Context(), f.dsn)
		if err != nil {
			return nil, err
		}
		applied, err := s.Migrate(t.Context())
		return applied, errors.Join(err, s.Close())
	}) {
		total = append(total, applied...)
	}
	equal(t, "applied by all together", total, migrationNames)
}

func readyNamesWhatIsMissing(t *testing.T, f fixture) {
	s := f.open(t)
	isFault(t, s.Ready(t.Context()), fault.Unavailable, "run auroramesh migrate")
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("after migrating: %v", err)
	}
	if _, err := s.writer.ExecContext(t.Context(), "DELETE FROM auroramesh_migrations WHERE name = '0004_shared_sequence'"); err != nil {
		t.Fatal(err)
	}
	isFault(t, s.Ready(t.Context()), fault.Unavailable, "0004_shared_sequence: run auroramesh migrate")
	if got := s.Stats().OpenConnections; got == 0 {
		t.Error("Stats counts no connection")
	}
}

func restartKeepsData(t *testing.T, f fixture) {
	first := must(Open(t.Context(), f.dsn))(t)
	must(first.Migrate(t.Context()))(t)
	a := alertOf(t, "kept", t0)
	out := []Outgoing{{Subject: "s", MsgID: "m", Priority: 3, AlertID: a.ID, Payload: []byte{0, 1, 255}}}
	if _, _, err := first.RaiseAlert(t.Context(), a, out); err != nil {
		t.Fatal(err)
	}
	must(first.UpsertOwnSite(t.Context(), own, t0))(t)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	s := f.open(t)
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "alert", must(s.Alert(t.Context(), a.ID))(t), a)
	equal(t, "outbox", must(s.Outbox(t.Context(), 10))(t), []Queued{{ID: 1, Outgoing: out[0], QueuedAt: t0}})
	sites, total, err := s.Sites(t.Context(), own.ID, 0, 0)
	if err != nil || total != 1 || sites[0].Name != own.Name {
		t.Errorf("sites are %v, %d, %v", sites, total, err)
	}
}

func isFault(t *testing.T, err error, code fault.Code, text string) {
	t.Helper()
	got := fault.Of(err)
	if got == nil || got.Code != code || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("the error is %v, want the fault %s with %q", err, code, text)
	}
}
