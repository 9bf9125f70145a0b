package api

import "sort"

// Severity is how bad a health check, or the cluster, is. The values are Ceph's.
type Severity string

// The severities, from good to bad.
const (
	HealthOK   Severity = "HEALTH_OK"
	HealthWarn Severity = "HEALTH_WARN"
	HealthErr  Severity = "HEALTH_ERR"
)

// Short is the form in brackets of `health detail`: OK, WRN, ERR.
func (s Severity) Short() string {
	switch s {
	case HealthOK:
		return "OK"
	case HealthWarn:
		return "WRN"
	}
	return "ERR"
}

// Level numbers the severities 0, 1, 2 so that they compare and can be a metric.
func (s Severity) Level() int {
	switch s {
	case HealthOK:
		return 0
	case HealthWarn:
		return 1
	}
	return 2
}

// Health is the answer to "is the cluster well, and if not, what is wrong".
type Health struct {
	Status Severity               `json:"status" enum:"HEALTH_OK,HEALTH_WARN,HEALTH_ERR" doc:"The worst severity of all checks"`
	Checks map[string]HealthCheck `json:"checks" doc:"What is wrong, by code (OSD_DOWN, PG_DEGRADED, ...); empty when all is well"`

	Progress []Progress `json:"progress_events,omitempty" doc:"Long work under way, oldest first"`
}

// HealthCheck is one thing that is wrong.
type HealthCheck struct {
	Severity Severity       `json:"severity" enum:"HEALTH_WARN,HEALTH_ERR"`
	Summary  HealthSummary  `json:"summary"`
	Detail   []HealthDetail `json:"detail" doc:"One entry for each object concerned, at most 50 and then a count of the rest"`
}

// HealthSummary is the one-line form of a check.
type HealthSummary struct {
	Message string `json:"message"`
	Count   int    `json:"count" doc:"How many objects (OSDs, PGs, ...) are concerned"`
}

// HealthDetail names one object that a check is about.
type HealthDetail struct {
	Message string `json:"message"`
}

// Codes returns the codes of the checks in order.
func (h *Health) Codes() []string {
	codes := make([]string, 0, len(h.Checks))
	for c := range h.Checks {
		codes = append(codes, c)
	}
	sort.Strings(codes)
	return codes
}
