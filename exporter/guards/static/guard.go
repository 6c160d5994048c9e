// Package guard tells whether an application's embed function still gives vectors of the space that
// its index lies in.
//
//	space, err := guard.Load("space.json")
//	found, err := guard.Check(space, embed, guard.Query, false)
//	if !found.OK { log.Fatal(found.Said) }
//
// Two short texts are embedded; long adds a long one, which shows where a server cuts. The verdict is
// "same space", "same model, other prompt", "another space" or "truncating at N". Standard library
// only; guard.py and guard.mjs do the same.
package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sort"
)

// HalfWay from the right vectors to those of another prompt; beyond it that is the nearer.
const HalfWay = 0.5

// Near is the 1 - cosine that rounding to 4 bits stays within, and another model does not.
const Near = 0.05

// Query and Document are the roles of a text.
const (
	Query    = "query"
	Document = "document"
)

// Embed gets a text without a prompt, and a document's title (empty for a query). It returns one
// vector of any length, all of it or cut to one of the space's dims.
type Embed func(text, title string) ([]float64, error)

// Found is what Check tells. Distance is the largest 1 - cosine of the short texts, NaN where there is
// none, and Tolerance what is right for that text.
type Found struct {
	OK        bool
	Verdict   string
	Said      string
	Distance  float64
	Tolerance float64
}

// Space is the content of a space.json, as far as it is asked for here.
type Space struct {
	ModelName     string            `json:"model_name"`
	ModelSHA256   string            `json:"model_sha256"`
	Pipeline      []string          `json:"pipeline"`
	Prompts       map[string]string `json:"prompts"`
	SlidingWindow *int              `json:"sliding_window"`
	MaxTokens     int               `json:"max_tokens"`
	Dim           int               `json:"dim"`
	Dims          []int             `json:"dims"`
	Normalized    bool              `json:"normalized"`
	Artifact      string            `json:"artifact"`
	Probes        *Probes           `json:"probes"`
}

// Probes are texts with their vectors.
type Probes struct {
	Width        int     `json:"width"`
	Query        []Probe `json:"query"`
	Document     []Probe `json:"document"`
	LongQuery    *Probe  `json:"long_query"`
	LongDocument *Probe  `json:"long_document"`
}

// Probe is a text, its vector, and those of mistakes, of which only the first components are kept.
type Probe struct {
	Text      string    `json:"text"`
	Title     string    `json:"title"`
	Vector    []float64 `json:"vector"`
	Tolerance float64   `json:"tolerance"`
	Others    []struct {
		Prompt string    `json:"prompt"`
		Vector []float64 `json:"vector"`
	} `json:"others"`
	Tokens int `json:"tokens"`
	Cuts   []struct {
		Tokens int       `json:"tokens"`
		Vector []float64 `json:"vector"`
	} `json:"cuts"`
}

// Load reads a space.json.
func Load(path string) (*Space, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	space := &Space{}
	if err := json.Unmarshal(content, space); err != nil {
		return nil, fmt.Errorf("%s is no space.json: %w", path, err)
	}
	return space, nil
}

// Check asks an application's own embed function. Errors are embed's, or say that space holds no
// probes.
func Check(space *Space, embed Embed, role string, long bool) (Found, error) {
	if space.Probes == nil {
		return Found{}, errors.New("this space holds no probes: take that of a package or of a table")
	}
	probes, longer := space.Probes.Query, space.Probes.LongQuery
	if role == Document {
		probes, longer = space.Probes.Document, space.Probes.LongDocument
	}
	widths := append([]int{space.Dim}, space.Dims...)
	var rows [][]float64
	worst, far := 0, make([]float64, len(probes))
	for i, probe := range probes {
		row, err := embed(probe.Text, probe.Title)
		if err != nil {
			return Found{}, err
		}
		if wrong := unusable(row, widths); wrong != "" {
			return found("another space", wrong, math.NaN(), probe), nil
		}
		rows = append(rows, row)
		far[i] = distance(row, probe.Vector)
		if far[i]/probe.Tolerance > far[worst]/probes[worst].Tolerance {
			worst = i
		}
	}
	most, of := far[worst], probes[worst]
	if prompt, told := otherPrompt(probes, rows, space.Probes.Width); told {
		said := fmt.Sprintf("texts are embedded with the prompt %s or one like it, the index asks for %s",
			quoted(prompt), quoted(space.Prompts[role]))
		return found("same model, other prompt", said, most, of), nil
	}
	if most > of.Tolerance {
		what := "another model"
		if slices.Max(far) < Near {
			what = "another file of this model, or texts changed on their way"
		}
		said := fmt.Sprintf("%s: %.1e away (1 - cosine), at most %.1e is right", what, most, of.Tolerance)
		return found("another space", said, most, of), nil
	}
	if long && longer != nil {
		row, err := embed(longer.Text, longer.Title)
		if err != nil {
			return Found{}, err
		}
		if verdict, said := truncated(*longer, row, widths, space.Probes.Width); verdict != "" {
			return found(verdict, said, most, of), nil
		}
	}
	said := fmt.Sprintf("vectors of %s, as %s gives them", space.ModelName, space.Artifact)
	return found("same space", said, most, of), nil
}

// Differences returns a line for each thing in which two spaces differ, none where vectors may be
// compared.
func Differences(one, other *Space) []string {
	var lines []string
	compare := func(what string, a, b, shownA, shownB any) {
		if quoted(a) != quoted(b) {
			lines = append(lines, fmt.Sprintf("another %s: %s and %s", what, quoted(shownA), quoted(shownB)))
		}
	}
	compare("model", one.ModelSHA256, other.ModelSHA256, one.ModelName, other.ModelName)
	compare("modules", one.Pipeline, other.Pipeline, one.Pipeline, other.Pipeline)
	compare("prompts", one.Prompts, other.Prompts, one.Prompts, other.Prompts)
	compare("sliding window", one.SlidingWindow, other.SlidingWindow, one.SlidingWindow, other.SlidingWindow)
	compare("limit in tokens", one.MaxTokens, other.MaxTokens, one.MaxTokens, other.MaxTokens)
	compare("normalization", one.Normalized, other.Normalized, one.Normalized, other.Normalized)
	theirs := append([]int{other.Dim}, other.Dims...)
	for _, width := range append([]int{one.Dim}, one.Dims...) {
		if slices.Contains(theirs, width) {
			return lines
		}
	}
	return append(lines, fmt.Sprintf("no width in common: %d and %d components", one.Dim, other.Dim))
}

func unusable(row []float64, widths []int) string {
	if !slices.Contains(widths, len(row)) {
		return fmt.Sprintf("vectors of %d components, this space has %d", len(row), widths[0])
	}
	if length := norm(row); !(length > 0) || math.IsInf(length, 0) {
		return "a vector that is zero or holds no numbers"
	}
	return ""
}

func otherPrompt(probes []Probe, rows [][]float64, width int) (string, bool) {
	best, said, told := HalfWay, "", false
	for j, other := range probes[0].Others {
		var along, total, moved, left float64
		for i, probe := range probes {
			size := min(width, len(rows[i]))
			right, given := unit(probe.Vector[:size]), unit(rows[i][:size])
			wrong := unit(probe.Others[j].Vector[:size])
			for k := range right {
				along += (given[k] - right[k]) * (wrong[k] - right[k])
				total += (wrong[k] - right[k]) * (wrong[k] - right[k])
				moved += (given[k] - right[k]) * (given[k] - right[k])
				left += (given[k] - wrong[k]) * (given[k] - wrong[k])
			}
		}
		if along > HalfWay*total && left < best*moved {
			best, said, told = left/moved, other.Prompt, true
		}
	}
	return said, told
}

func truncated(probe Probe, row []float64, widths []int, width int) (string, string) {
	if wrong := unusable(row, widths); wrong != "" {
		return "another space", wrong
	}
	far := distance(row, probe.Vector)
	given := row[:min(width, len(row))]
	whole := distance(given, probe.Vector)
	cuts := slices.Clone(probe.Cuts)
	sort.SliceStable(cuts, func(a, b int) bool {
		return distance(given, cuts[a].Vector) < distance(given, cuts[b].Vector)
	})
	nearest, tokens := distance(given, cuts[0].Vector), cuts[0].Tokens
	if nearest < HalfWay*whole || (far > probe.Tolerance && nearest < whole) {
		return fmt.Sprintf("truncating at %d", tokens),
			fmt.Sprintf("texts are cut at %d tokens, or near it; this one has %d", tokens, probe.Tokens)
	}
	if far > probe.Tolerance {
		return "another space", fmt.Sprintf("short texts agree, a long one is %.1e away (1 - cosine), "+
			"at most %.1e is right: another sliding window, or cut elsewhere", far, probe.Tolerance)
	}
	return "", ""
}

func found(verdict, said string, distance float64, probe Probe) Found {
	return Found{verdict == "same space", verdict, said, distance, probe.Tolerance}
}

// distance returns 1 - cosine over the components that both have.
func distance(row, vector []float64) float64 {
	a, b := unit(row), unit(vector[:len(row)])
	sum := 0.0
	for i := range a {
		sum += a[i] * b[i]
	}
	return 1 - sum
}

func norm(row []float64) float64 {
	sum := 0.0
	for _, value := range row {
		sum += value * value
	}
	return math.Sqrt(sum)
}

func unit(row []float64) []float64 {
	length, made := norm(row), make([]float64, len(row))
	for i, value := range row {
		made[i] = value / length
	}
	return made
}

func quoted(value any) string {
	var content bytes.Buffer
	encoder := json.NewEncoder(&content)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "?"
	}
	return string(bytes.TrimRight(content.Bytes(), "\n"))
}
