package sensor

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/ingest.md anew")

const docPath = "../../docs/ingest.md"

// TestTheDocumentedMappingsAreThoseOfTheCode generates docs/ingest.md from the
// tables. After a change: go test ./shared/sensor -run Documented -update
func TestTheDocumentedMappingsAreThoseOfTheCode(t *testing.T) {
	text, err := os.ReadFile("testdata/ingest.md.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer(
		"{{suricata rules}}\n", ruleTable(suricataRules),
		"{{suricata levels}}\n", levelTable("alert.severity", suricataLevels),
		"{{suricata compromises}}\n", compromiseTable(),
		"{{wazuh rules}}\n", ruleTable(wazuhRules),
		"{{wazuh levels}}\n", levelTable("rule.level", wazuhLevels),
		"{{ocsf rules}}\n", ruleTable(ocsfRules),
		"{{ocsf severities}}\n", ocsfSeverityTable(),
		"{{ocsf observables}}\n", observableTable(),
	).Replace(string(text))
	if strings.Contains(want, "{{") {
		t.Fatal("a table of the template is not filled")
	}
	if *update {
		if err := os.WriteFile(docPath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/ingest.md is not what the code says (-code +doc):\n%s", diff)
	}
}

func mdTable(head []string, rows [][]string) string {
	var b strings.Builder
	row := func(cells []string) {
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(c, "|", `\|`)
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	row(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, r := range rows {
		row(r)
	}
	return b.String()
}

func ruleTable[T any](rules []rule[T]) string {
	var rows [][]string
	for _, r := range rules {
		rows = append(rows, []string{r.from, r.to, r.how})
	}
	return mdTable([]string{"In the record", "In the alert", "How"}, rows)
}

func levelTable(field string, levels []level) string {
	var rows [][]string
	for i, l := range levels {
		span := fmt.Sprint(l.from)
		switch {
		case i > 0 && levels[i-1].from > l.from && levels[i-1].from-1 > l.from:
			span = fmt.Sprintf("%d to %d", l.from, levels[i-1].from-1)
		case l.from > 1 && (i == 0 || i == len(levels)-1):
			span += " and above"
		}
		rows = append(rows, []string{span, string(l.severity)})
	}
	return mdTable([]string{"`" + field + "`", "Severity"}, rows)
}

func compromiseTable() string {
	var rows [][]string
	for _, c := range compromises {
		groups := "any"
		if len(c.groups) > 0 {
			groups = strings.Join(c.groups, ", ")
		}
		rows = append(rows, []string{c.category, groups})
	}
	return mdTable([]string{"`alert.category`", "Group of the signature (its second word)"}, rows)
}

func ocsfSeverityTable() string {
	var rows [][]string
	for _, s := range ocsfSeverities {
		rows = append(rows, []string{fmt.Sprint(s.id), s.caption, string(s.severity)})
	}
	return mdTable([]string{"`severity_id`", "Caption", "Severity"}, rows)
}

func observableTable() string {
	var rows [][]string
	for _, o := range observableTypes {
		rows = append(rows, []string{fmt.Sprint(o.id), o.caption, o.to})
	}
	return mdTable([]string{"`type_id`", "Caption", "In the alert"}, rows)
}
