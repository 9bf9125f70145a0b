package policy

import (
	"encoding/base64"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// comparison is what an operator does, without its prefix, suffix and negation.
type comparison uint8

const (
	stringEquals comparison = iota
	stringFold
	stringLike
	numericEquals
	numericLess
	numericLessEqual
	numericGreater
	numericGreaterEqual
	dateEquals
	dateLess
	dateLessEqual
	dateGreater
	dateGreaterEqual
	boolean
	binary
	ipAddress
	arnLike
	null
)

var operators = map[string]struct {
	cmp comparison
	not bool
}{
	"StringEquals":              {stringEquals, false},
	"StringNotEquals":           {stringEquals, true},
	"StringEqualsIgnoreCase":    {stringFold, false},
	"StringNotEqualsIgnoreCase": {stringFold, true},
	"StringLike":                {stringLike, false},
	"StringNotLike":             {stringLike, true},
	"NumericEquals":             {numericEquals, false},
	"NumericNotEquals":          {numericEquals, true},
	"NumericLessThan":           {numericLess, false},
	"NumericLessThanEquals":     {numericLessEqual, false},
	"NumericGreaterThan":        {numericGreater, false},
	"NumericGreaterThanEquals":  {numericGreaterEqual, false},
	"DateEquals":                {dateEquals, false},
	"DateNotEquals":             {dateEquals, true},
	"DateLessThan":              {dateLess, false},
	"DateLessThanEquals":        {dateLessEqual, false},
	"DateGreaterThan":           {dateGreater, false},
	"DateGreaterThanEquals":     {dateGreaterEqual, false},
	"Bool":                      {boolean, false},
	"BinaryEquals":              {binary, false},
	"IpAddress":                 {ipAddress, false},
	"NotIpAddress":              {ipAddress, true},
	"ArnEquals":                 {arnLike, false},
	"ArnLike":                   {arnLike, false},
	"ArnNotEquals":              {arnLike, true},
	"ArnNotLike":                {arnLike, true},
	"Null":                      {null, false},
}

type quantifier uint8

const (
	plain quantifier = iota
	forAll
	forAny
)

// condition is one key under one operator.
type condition struct {
	key      string // in lower case
	cmp      comparison
	not      bool
	ifExists bool
	set      quantifier
	values   []value
}

// value is what a key is compared with, as its operator reads it.
type value struct {
	pat    pattern   // strings
	arn    []pattern // ARNs, part by part
	num    float64   // numbers, and dates in seconds
	yes    bool
	raw    []byte
	prefix netip.Prefix
}

func parseOperator(name string) (c condition, ok bool) {
	rest := name
	if t, found := strings.CutPrefix(rest, "ForAllValues:"); found {
		rest, c.set = t, forAll
	} else if t, found := strings.CutPrefix(rest, "ForAnyValue:"); found {
		rest, c.set = t, forAny
	}
	if t, found := strings.CutSuffix(rest, "IfExists"); found {
		rest, c.ifExists = t, true
	}
	op, ok := operators[rest]
	if op.cmp == null && (c.ifExists || c.set != plain) {
		return c, false
	}
	c.cmp, c.not = op.cmp, op.not
	return c, ok
}

// parse reads a value of the policy.
func (c *condition) parse(s string, vars bool) (v value, ok bool) {
	switch c.cmp {
	case stringEquals, stringFold:
		v.pat, ok = compile(s, false, vars)
	case stringLike:
		v.pat, ok = compile(s, true, vars)
	case arnLike:
		if v.pat, ok = compile(s, true, vars); ok {
			v.arn = v.pat.split(arnParts)
		}
	case numericEquals, numericLess, numericLessEqual, numericGreater, numericGreaterEqual:
		v.num, ok = parseNumber(s)
	case dateEquals, dateLess, dateLessEqual, dateGreater, dateGreaterEqual:
		v.num, ok = parseDate(s)
	case boolean, null:
		v.yes, ok = parseBool(s)
	case binary:
		var err error
		v.raw, err = base64.StdEncoding.DecodeString(s)
		ok = err == nil
	case ipAddress:
		v.prefix, ok = parsePrefix(s)
	}
	return v, ok
}

func parseNumber(s string) (float64, bool) {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
}

func parseBool(s string) (yes, ok bool) {
	yes = strings.EqualFold(s, "true")
	return yes, yes || strings.EqualFold(s, "false")
}

// parseDate reads ISO 8601 as its W3C profile has it, or seconds since 1970.
func parseDate(s string) (float64, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", time.DateOnly, "2006-01"} {
		if t, err := time.Parse(layout, s); err == nil {
			return float64(t.Unix()) + float64(t.Nanosecond())/1e9, true
		}
	}
	if len(s) == 4 {
		if t, err := time.Parse("2006", s); err == nil {
			return float64(t.Unix()), true
		}
	}
	return parseNumber(s)
}

// parsePrefix reads a network, or an address as the network that it is alone in.
func parsePrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

const arnParts = 6

// holds decides the condition for a request.
func (c *condition) holds(keys Keys) bool {
	have := keys(c.key)
	if c.cmp == null {
		for _, v := range c.values {
			if v.yes == (len(have) == 0) {
				return true
			}
		}
		return false
	}
	if len(have) == 0 {
		return c.ifExists || c.set == forAll || c.not && c.set == plain
	}
	switch c.set {
	case forAll:
		for _, h := range have {
			if c.any(h, keys) == c.not {
				return false
			}
		}
		return true
	case forAny:
		for _, h := range have {
			if c.any(h, keys) != c.not {
				return true
			}
		}
		return false
	}
	for _, h := range have {
		if c.any(h, keys) {
			return !c.not
		}
	}
	return c.not
}

// any compares one value of the request with all of the policy.
func (c *condition) any(have string, keys Keys) bool {
	var num float64
	var parts []string
	var addr netip.Addr
	ok := true
	switch c.cmp {
	case numericEquals, numericLess, numericLessEqual, numericGreater, numericGreaterEqual:
		num, ok = parseNumber(have)
	case dateEquals, dateLess, dateLessEqual, dateGreater, dateGreaterEqual:
		num, ok = parseDate(have)
	case arnLike:
		parts = strings.SplitN(have, ":", arnParts)
	case ipAddress:
		var err error
		addr, err = netip.ParseAddr(have)
		addr, ok = addr.Unmap().WithZone(""), err == nil
	}
	if !ok {
		return false
	}
	for i := range c.values {
		v := &c.values[i]
		switch c.cmp {
		case stringEquals, stringLike:
			ok = v.pat.match(have, keys)
		case stringFold:
			var text string
			text, ok = v.pat.textOf(keys, 4*len(have)+4) // folding changes a character's length that much at most
			ok = ok && strings.EqualFold(text, have)
		case arnLike:
			ok = len(parts) == arnParts && len(v.arn) == arnParts
			for j := 0; ok && j < len(parts); j++ {
				ok = v.arn[j].match(parts[j], keys)
			}
		case numericEquals, dateEquals:
			ok = num == v.num
		case numericLess, dateLess:
			ok = num < v.num
		case numericLessEqual, dateLessEqual:
			ok = num <= v.num
		case numericGreater, dateGreater:
			ok = num > v.num
		case numericGreaterEqual, dateGreaterEqual:
			ok = num >= v.num
		case boolean:
			yes, valid := parseBool(have)
			ok = valid && yes == v.yes
		case binary:
			raw, err := base64.StdEncoding.DecodeString(have)
			ok = err == nil && string(raw) == string(v.raw)
		case ipAddress:
			ok = v.prefix.Contains(addr)
		}
		if ok {
			return true
		}
	}
	return false
}
