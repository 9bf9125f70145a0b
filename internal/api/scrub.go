package api

import (
	"context"
	"net/http"
	"strconv"
)

// The kinds of scrubs that can be asked for.
const (
	Scrub     = "scrub"      // names, versions, sizes, attributes and omap
	DeepScrub = "deep-scrub" // all bytes, too
	Repair    = "repair"     // a deep scrub that decides where nothing else does, for the primary's copy
)

// Inconsistents are the objects of a PG whose copies differ, in the shape of `rados list-inconsistent-obj`.
type Inconsistents struct {
	Epoch   uint64         `json:"epoch"`
	Objects []Inconsistent `json:"inconsistents"`
	More    uint64         `json:"more" doc:"How many more there are that are not listed"`
}

// Inconsistent is one object.
type Inconsistent struct {
	Object  ObjectName  `json:"object"`
	Errors  []string    `json:"errors" doc:"What differs between readable copies"`
	Union   []string    `json:"union_shard_errors" doc:"What is wrong with any copy"`
	Why     string      `json:"why" doc:"Why it was not repaired"`
	Unfound bool        `json:"unfound" doc:"No good copy is left"`
	Shards  []ShardCopy `json:"shards"`
}

// ObjectName names an object and its version.
type ObjectName struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
}

// ShardCopy is one copy of an object.
type ShardCopy struct {
	OSD         int      `json:"osd"`
	Primary     bool     `json:"primary"`
	Errors      []string `json:"errors" doc:"Empty: nothing is wrong"`
	Version     string   `json:"version,omitempty"`
	Size        uint64   `json:"size"`
	Attrs       uint64   `json:"attrs"`
	OmapKeys    uint64   `json:"omap_keys"`
	DataDigest  string   `json:"data_digest,omitempty"`
	AttrsDigest string   `json:"attrs_digest,omitempty"`
	OmapDigest  string   `json:"omap_digest,omitempty"`
	Error       string   `json:"error,omitempty" doc:"What the OSD said when it could not read its copy"`
}

// ScrubStarted says how many PGs will be scrubbed.
type ScrubStarted struct {
	PGs int `json:"pgs"`
}

// PGScrub has a PG scrubbed soon. kind is Scrub, DeepScrub or Repair.
func (c *Client) PGScrub(ctx context.Context, pgid, kind string) (ScrubStarted, error) {
	var out ScrubStarted
	err := c.call(ctx, http.MethodPost, Prefix+"/pgs"+seg(pgid)+seg(kind), nil, nil, &out)
	return out, err
}

// OSDScrub has every PG that an OSD leads scrubbed.
func (c *Client) OSDScrub(ctx context.Context, id int, kind string) (ScrubStarted, error) {
	var out ScrubStarted
	err := c.call(ctx, http.MethodPost, Prefix+"/osds/"+strconv.Itoa(id)+seg(kind), nil, nil, &out)
	return out, err
}

// PGInconsistent lists the objects of a PG whose copies are known to differ.
func (c *Client) PGInconsistent(ctx context.Context, pgid string) (Inconsistents, error) {
	return get[Inconsistents](ctx, c, "/pgs"+seg(pgid)+"/inconsistent", nil)
}
