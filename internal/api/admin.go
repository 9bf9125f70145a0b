package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

type actorKey struct{}

// WithActor returns a context that says on whose behalf a change is made: an
// administrator, as the front end knows them. Such changes are audited.
func WithActor(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

// Actor returns who is behind a change, "" for the cluster itself.
func Actor(ctx context.Context) string {
	who, _ := ctx.Value(actorKey{}).(string)
	return who
}

// AuditEntry is one thing that an administrator did, or was refused.
type AuditEntry struct {
	Index   uint64 `json:"index" doc:"Position in the monitors' log"`
	Time    string `json:"time" format:"date-time"`
	By      string `json:"by" doc:"Address the request came from, and how it was authorized"`
	Command string `json:"command"`
	Outcome string `json:"outcome" doc:"done, or the code of the refusal"`
	Reason  string `json:"reason,omitempty" doc:"Why it was refused"`
}

// Setting is a key of the central configuration.
type Setting struct {
	Key     string `json:"key"`
	Value   string `json:"value" doc:"What is in force"`
	Default string `json:"default"`
	Set     bool   `json:"set" doc:"Somebody has set it; otherwise the default is in force"`
	Kind    string `json:"kind" doc:"number, ratio or duration"`
	Min     string `json:"min"`
	Max     string `json:"max"`
	About   string `json:"about"`
}

// SettingValue is the body of a change of the central configuration.
type SettingValue struct {
	Value string `json:"value" minLength:"1" maxLength:"255"`
}

// ForcePrimary is the body of a request to make an OSD lead a PG that nobody serves.
type ForcePrimary struct {
	OSD        int32 `json:"osd" minimum:"0"`
	AcceptLoss bool  `json:"accept_loss,omitempty" doc:"Acknowledged writes that this OSD's copy lacks are lost; without it the answer says which may be"`
}

// Forced is what PGForce asks of the monitors.
type Forced struct {
	PGID       string
	Term       uint32
	Version    uint64
	OSD        int32
	AcceptLoss bool
	Stuck      bool // its primary is up, and does not serve
}

// AffectedPG is a PG that stands against what an administrator wants to do.
type AffectedPG struct {
	PGID   string `json:"pgid"`
	Pool   string `json:"pool"`
	Reason string `json:"reason"`
}

// OSDCheck is the answer to whether something may be done to OSDs.
type OSDCheck struct {
	OSDs    []int        `json:"osds"`
	OK      bool         `json:"ok"`
	Reasons []string     `json:"reasons" doc:"What stands against it, summed up"`
	PGs     []AffectedPG `json:"pgs" doc:"The PGs concerned, at most 100"`
	NumPGs  int          `json:"num_pgs" doc:"How many PGs are concerned"`
}

// Drain is the body of a request to empty OSDs.
type Drain struct {
	OSDs  []int32 `json:"osds" minItems:"1" maxItems:"1000"`
	Force bool    `json:"force,omitempty" doc:"Even if some PGs find no other place: they stay where they are"`
}

// DrainState is how far the emptying of an OSD is.
type DrainState struct {
	OSD      int   `json:"osd"`
	Up       bool  `json:"up"`
	PGs      int   `json:"pgs_left" doc:"PGs whose in-sync set has it"`
	Objects  int64 `json:"objects_left"`
	Shards   int64 `json:"shards_left" doc:"Shards of chunks that it holds"`
	Bytes    int64 `json:"bytes_left" doc:"Of objects and shards"`
	Empty    bool  `json:"empty" doc:"No PG and no chunk counts on it any more: it may be stopped and removed"`
	Blocked  int   `json:"pgs_blocked" doc:"PGs for which CRUSH finds no other place"`
	Progress int   `json:"progress" doc:"Percent, as far as this monitor has seen"`
}

// DeviceClass is the body of a change of an OSD's class.
type DeviceClass struct {
	Class string `json:"class" minLength:"1" maxLength:"64"`
}

// CrushWeight is the body of a change of an OSD's CRUSH weight.
type CrushWeight struct {
	Weight float64 `json:"weight" minimum:"0" maximum:"10000" doc:"By custom the capacity in TiB"`
}

// CrushMove is the body of a request to put an OSD or a bucket elsewhere in the CRUSH map.
type CrushMove struct {
	Name     string   `json:"name" minLength:"1" maxLength:"64" doc:"osd.3, or the name of a bucket"`
	Location []string `json:"location" minItems:"1" maxItems:"16" doc:"TYPE=NAME, such as rack=r1"`
}

// Progress is long work of the cluster that is under way.
type Progress struct {
	ID        string  `json:"id"`
	Message   string  `json:"message"`
	Progress  float64 `json:"progress" doc:"0 to 1"`
	Started   int64   `json:"started" doc:"Unix seconds"`
	Elapsed   int64   `json:"elapsed" doc:"Seconds"`
	Remaining int64   `json:"remaining" doc:"Seconds that it will take at the present rate; -1: not known"`
	Done      int64   `json:"done" doc:"Object copies, or PGs"`
	Total     int64   `json:"total"`
}

// Audit returns what administrators did, oldest first; limit 0 means everything that is kept.
func (c *Client) Audit(ctx context.Context, limit int) ([]AuditEntry, error) {
	return get[[]AuditEntry](ctx, c, "/audit", url.Values{"limit": {strconv.Itoa(limit)}})
}

// Config returns all keys of the central configuration.
func (c *Client) Config(ctx context.Context) ([]Setting, error) {
	return get[[]Setting](ctx, c, "/config", nil)
}

// ConfigSet sets a key of the central configuration.
func (c *Client) ConfigSet(ctx context.Context, key, value string) error {
	return c.call(ctx, http.MethodPut, Prefix+"/config"+seg(key), nil, SettingValue{Value: value}, nil)
}

// ConfigRemove gives a key of the central configuration its default again.
func (c *Client) ConfigRemove(ctx context.Context, key string) error {
	return c.call(ctx, http.MethodDelete, Prefix+"/config"+seg(key), nil, nil, nil)
}

// PGForce makes an OSD lead a PG that nobody serves.
func (c *Client) PGForce(ctx context.Context, pgid string, f ForcePrimary) error {
	return c.call(ctx, http.MethodPost, Prefix+"/pgs"+seg(pgid)+"/force-primary", nil, f, nil)
}

// OSDCheck asks whether OSDs may be stopped (ok-to-stop), destroyed
// (safe-to-destroy) or emptied (ok-to-drain).
func (c *Client) OSDCheck(ctx context.Context, what string, ids []int) (OSDCheck, error) {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = strconv.Itoa(id)
	}
	return get[OSDCheck](ctx, c, "/osds"+seg(what), url.Values{"osds": {strings.Join(list, ",")}})
}

// OSDDrain begins to empty OSDs.
func (c *Client) OSDDrain(ctx context.Context, d Drain) error {
	return c.call(ctx, http.MethodPost, Prefix+"/osds/drain", nil, d, nil)
}

// OSDUndrain ends it.
func (c *Client) OSDUndrain(ctx context.Context, ids []int32) error {
	return c.call(ctx, http.MethodPost, Prefix+"/osds/undrain", nil, Drain{OSDs: ids}, nil)
}

// DrainState tells how far it is.
func (c *Client) DrainState(ctx context.Context) ([]DrainState, error) {
	return get[[]DrainState](ctx, c, "/osds/drain", nil)
}

// OSDRemove removes an OSD that is down and empty.
func (c *Client) OSDRemove(ctx context.Context, id int) error {
	return c.call(ctx, http.MethodDelete, Prefix+"/osds/"+strconv.Itoa(id), nil, nil, nil)
}

// OSDClass changes an OSD's device class.
func (c *Client) OSDClass(ctx context.Context, id int, class string) error {
	return c.call(ctx, http.MethodPut, Prefix+"/osds/"+strconv.Itoa(id)+"/class", nil, DeviceClass{Class: class}, nil)
}

// CrushReweight changes an OSD's CRUSH weight.
func (c *Client) CrushReweight(ctx context.Context, id int, weight float64) error {
	return c.call(ctx, http.MethodPut, Prefix+"/osds/"+strconv.Itoa(id)+"/crush-weight", nil, CrushWeight{Weight: weight}, nil)
}

// CrushMove puts an OSD or a bucket elsewhere in the CRUSH map.
func (c *Client) CrushMove(ctx context.Context, m CrushMove) error {
	return c.call(ctx, http.MethodPost, Prefix+"/crush/move", nil, m, nil)
}
