package s3

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// formPolicy is what who signed a form lets others upload with it.
type formPolicy struct {
	expires    time.Time
	conditions []formCondition
	least      int64 // bytes of the file
	most       int64
}

// formCondition is something that a field must be.
type formCondition struct {
	starts bool   // the value is only how it begins
	field  string // in lower case
	value  string
	text   string // as it is told to whoever does not meet it
}

func invalidPolicy(format string, args ...any) *apiError {
	return apiErr("InvalidPolicyDocument", "Invalid Policy: %s", fmt.Sprintf(format, args...))
}

func notByPolicy(format string, args ...any) *apiError {
	return apiErr("AccessDenied", "Invalid according to Policy: %s", fmt.Sprintf(format, args...))
}

// parseFormPolicy reads a policy as it stands in a form.
func parseFormPolicy(field string) (*formPolicy, *apiError) {
	if field == "" {
		return nil, invalidPolicy("Expecting '{' but found End-of-Input")
	}
	doc, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(field), ""))
	if err != nil {
		return nil, invalidPolicy("invalid Base64 encoding.")
	}
	var members map[string]json.RawMessage
	d := json.NewDecoder(bytes.NewReader(doc))
	if err := d.Decode(&members); err != nil || members == nil {
		return nil, invalidPolicy("Invalid JSON.")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, invalidPolicy("Invalid JSON.")
	}
	for name := range members {
		if name != "expiration" && name != "conditions" {
			return nil, invalidPolicy("Unexpected: %q", name)
		}
	}
	p := &formPolicy{most: math.MaxInt64}
	if e := p.parseExpiration(members["expiration"]); e != nil {
		return nil, e
	}
	raw, ok := members["conditions"]
	if !ok {
		return nil, invalidPolicy("Policy missing conditions.")
	}
	var conditions []json.RawMessage
	if json.Unmarshal(raw, &conditions) != nil || conditions == nil {
		return nil, invalidPolicy("Invalid 'conditions' value: must be a List.")
	}
	for _, c := range conditions {
		if e := p.add(c); e != nil {
			return nil, e
		}
	}
	return p, nil
}

func (p *formPolicy) parseExpiration(raw json.RawMessage) *apiError {
	if raw == nil {
		return invalidPolicy("Policy missing expiration.")
	}
	var v string
	if json.Unmarshal(raw, &v) != nil {
		return invalidPolicy("Invalid JSON.")
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return invalidPolicy("Invalid 'expiration' value: '%s'", v)
	}
	p.expires = t
	return nil
}

// add takes a condition: {"field": "value"} or ["operation", ...].
func (p *formPolicy) add(raw json.RawMessage) *apiError {
	switch raw[0] {
	case '{':
		return p.addSimple(raw)
	case '[':
	default:
		return invalidPolicy("Invalid condition test: must be a List or Object.")
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return invalidPolicy("Invalid JSON.")
	}
	if len(list) == 0 {
		return invalidPolicy("Invalid Condition: missing operation identifier.")
	}
	var op string
	if json.Unmarshal(list[0], &op) != nil {
		return invalidPolicy("Invalid JSON.")
	}
	lower := strings.ToLower(op)
	if lower != "eq" && lower != "starts-with" && lower != "content-length-range" {
		return invalidPolicy("Invalid Condition: unknown operation '%s'.", op)
	}
	if len(list) != 3 {
		return invalidPolicy("Invalid %s: wrong number of arguments.", op)
	}
	if lower == "content-length-range" {
		least, ok1 := parseSize(list[1])
		most, ok2 := parseSize(list[2])
		if !ok1 || !ok2 {
			return invalidPolicy("Invalid JSON.")
		}
		p.least, p.most = max(p.least, least), min(p.most, most)
		return nil
	}
	var name, value string
	if json.Unmarshal(list[1], &name) != nil || json.Unmarshal(list[2], &value) != nil {
		return invalidPolicy("Invalid JSON.")
	}
	var text bytes.Buffer
	if json.Compact(&text, raw) != nil {
		return invalidPolicy("Invalid JSON.")
	}
	field, ok := strings.CutPrefix(name, "$")
	if !ok {
		field = "\x00" // what no field is called, so that it is never met
	}
	p.conditions = append(p.conditions, formCondition{starts: lower == "starts-with", field: strings.ToLower(field), value: value, text: text.String()})
	return nil
}

func (p *formPolicy) addSimple(raw json.RawMessage) *apiError {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return invalidPolicy("Invalid JSON.")
	}
	if len(members) != 1 {
		return invalidPolicy("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
	}
	for name, v := range members {
		var value *string
		if json.Unmarshal(v, &value) != nil || value == nil {
			return invalidPolicy("Invalid Simple-Condition: value must be a string.")
		}
		p.conditions = append(p.conditions, formCondition{field: strings.ToLower(name), value: *value, text: fmt.Sprintf(`["eq", "$%s", "%s"]`, name, *value)})
	}
	return nil
}

// parseSize reads a number of bytes, which some clients put in quotes.
func parseSize(raw json.RawMessage) (int64, bool) {
	n, err := strconv.ParseInt(strings.Trim(string(raw), `"`), 10, 64)
	return n, err == nil && n >= 0
}

// uncovered are the fields that a policy need not speak of. Nor need it speak of checksums: they only make a form fail.
var uncovered = []string{"x-amz-signature", "signature", "awsaccesskeyid", "policy", "file"}

// check holds the fields of a form, by their names in lower case, against the policy.
func (p *formPolicy) check(fields map[string]string, now time.Time) *apiError {
	if !now.Before(p.expires) {
		return notByPolicy("Policy expired.")
	}
	covered := map[string]bool{}
	for _, c := range p.conditions {
		covered[c.field] = true
		if !c.met(fields[c.field]) {
			return notByPolicy("Policy Condition failed: %s", c.text)
		}
	}
	var extra []string
	for name := range fields {
		if !covered[name] && !slices.Contains(uncovered, name) && !strings.HasPrefix(name, "x-ignore-") && !strings.HasPrefix(name, checksumPrefix) {
			extra = append(extra, name)
		}
	}
	if len(extra) > 0 {
		slices.Sort(extra)
		return notByPolicy("Extra input fields: %s", strings.Join(extra, ", "))
	}
	return nil
}

func (c formCondition) met(value string) bool {
	switch {
	case c.field == "\x00":
		return false
	case !c.starts:
		return value == c.value
	case c.field == "content-type":
		// A browser may send a list: each of it must begin like that.
		for v := range strings.SplitSeq(value, ",") {
			if !strings.HasPrefix(strings.TrimSpace(v), c.value) {
				return false
			}
		}
		return true
	}
	return strings.HasPrefix(value, c.value)
}

// ranged is a file whose length the policy bounds.
type ranged struct {
	r           io.Reader
	n           int64
	least, most int64
}

// Read implements io.Reader.
func (r *ranged) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	r.n += int64(n)
	switch {
	case r.n > r.most:
		// How much there is is told if that is soon known.
		rest, _ := io.Copy(io.Discard, io.LimitReader(r.r, 1<<20))
		return 0, apiErr("EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.").
			with("ProposedSize", strconv.FormatInt(r.n+rest, 10)).with("MaxSizeAllowed", strconv.FormatInt(r.most, 10))
	case err == io.EOF && r.n < r.least:
		return n, apiErr("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size").
			with("ProposedSize", strconv.FormatInt(r.n, 10)).with("MinSizeAllowed", strconv.FormatInt(r.least, 10))
	}
	return n, err
}
