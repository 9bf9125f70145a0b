package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

// Problem is an error of the REST interface (RFC 7807) with two members of our
// own: a code that programs test, and the next step for people.
type Problem struct {
	Type   string          `json:"type,omitempty" doc:"about:blank"`
	Title  string          `json:"title,omitempty" doc:"The status in words"`
	Status int             `json:"status,omitempty"`
	Detail string          `json:"detail,omitempty" doc:"What went wrong with what, and why"`
	Code   string          `json:"code,omitempty" doc:"not_found, exists, conflict, invalid, no_quorum, no_leader, try_later, not_permitted, unsupported, timeout or internal"`
	Next   string          `json:"next,omitempty" doc:"What to do about it"`
	Errors []ProblemDetail `json:"errors,omitempty" doc:"What is wrong with which part of the request"`
}

// ProblemDetail is one fault of a request.
type ProblemDetail struct {
	Message  string `json:"message,omitempty"`
	Location string `json:"location,omitempty"`
	Value    any    `json:"value,omitempty"`
}

// The codes of a Problem.
const (
	CodeNotFound     = "not_found"
	CodeExists       = "exists"
	CodeConflict     = "conflict"
	CodeInvalid      = "invalid"
	CodeNoQuorum     = "no_quorum" // a change may or may not have been made
	CodeNoLeader     = "no_leader" // nothing was done
	CodeTryLater     = "try_later"
	CodeNotPermitted = "not_permitted"
	CodeUnsupported  = "unsupported"
	CodeTimeout      = "timeout"
	CodeInternal     = "internal"
)

// ErrNotPermitted is the condition of a request that lacks a right or a confirmation.
var ErrNotPermitted = errors.New("not permitted")

// ErrUnsupported is the condition of a request for something this cluster does not offer.
var ErrUnsupported = errors.New("not supported")

// ErrTimeout is the condition of a request whose answer did not come in time.
var ErrTimeout = errors.New("timed out")

// codes maps the code of a problem to its condition and the HTTP status.
var codes = []struct {
	code   string
	err    error
	status int
}{
	{CodeNotFound, ErrNotFound, http.StatusNotFound},
	{CodeExists, ErrExists, http.StatusConflict},
	{CodeConflict, ErrConflict, http.StatusConflict},
	{CodeInvalid, ErrInvalid, http.StatusUnprocessableEntity},
	{CodeNoQuorum, ErrNoQuorum, http.StatusServiceUnavailable},
	{CodeNoLeader, ErrNoQuorum, http.StatusServiceUnavailable},
	{CodeTryLater, ErrTryLater, http.StatusServiceUnavailable},
	{CodeNotPermitted, ErrNotPermitted, http.StatusForbidden},
	{CodeUnsupported, ErrUnsupported, http.StatusNotImplemented},
	{CodeTimeout, ErrTimeout, http.StatusGatewayTimeout},
	{CodeTimeout, context.DeadlineExceeded, http.StatusGatewayTimeout},
}

// NewProblem turns an error into the problem that tells of it. next may be empty.
func NewProblem(err error, next string) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	p = &Problem{Status: http.StatusInternalServerError, Code: CodeInternal, Detail: err.Error(), Next: next}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			p.Status, p.Code = c.status, c.code
			break
		}
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// Error returns cause and next step in one line.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	if p.Detail == "" {
		b.WriteString(p.Title)
	}
	for i, e := range p.Errors {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		if e.Location != "" {
			b.WriteString(e.Location + ": ")
		}
		b.WriteString(e.Message)
	}
	if p.Next != "" {
		b.WriteString("; " + p.Next)
	}
	return b.String()
}

// Is makes errors.Is find the condition behind the code, also on the far side of HTTP.
func (p *Problem) Is(target error) bool {
	for _, c := range codes {
		if c.code == p.Code && c.err == target {
			return true
		}
	}
	return false
}

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the media type of problems instead of that of plain answers.
func (p *Problem) ContentType(ct string) string {
	if ct == "application/json" {
		return "application/problem+json"
	}
	return ct
}
