package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
)

// Prefix is the path under which version 1 of the interface lives.
const Prefix = "/api/v1"

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	var out T
	err := c.call(ctx, http.MethodGet, Prefix+path, q, nil, &out)
	return out, err
}

func seg(s string) string { return "/" + url.PathEscape(s) }

// Status returns the overview of the cluster.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/status", nil)
}

// Health returns what is wrong with the cluster.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return get[Health](ctx, c, "/health", nil)
}

// DF returns the space of cluster and pools.
func (c *Client) DF(ctx context.Context) (DF, error) { return get[DF](ctx, c, "/df", nil) }

// Mons describes monitors and quorum.
func (c *Client) Mons(ctx context.Context) (MonStat, error) {
	return get[MonStat](ctx, c, "/mons", nil)
}

// OSDs lists the OSDs.
func (c *Client) OSDs(ctx context.Context) ([]OSDInfo, error) {
	return get[[]OSDInfo](ctx, c, "/osds", nil)
}

// OSDStat counts the OSDs.
func (c *Client) OSDStat(ctx context.Context) (OSDStat, error) {
	return get[OSDStat](ctx, c, "/osds/stat", nil)
}

// OSDTree returns the CRUSH hierarchy with the OSDs' states.
func (c *Client) OSDTree(ctx context.Context) (OSDTree, error) {
	return get[OSDTree](ctx, c, "/osds/tree", nil)
}

// OSDDF returns the OSDs' space.
func (c *Client) OSDDF(ctx context.Context) (OSDDF, error) {
	return get[OSDDF](ctx, c, "/osds/df", nil)
}

// OSDSet carries out an action, one of in, out and down, on an OSD.
func (c *Client) OSDSet(ctx context.Context, id int, action string) error {
	return c.call(ctx, http.MethodPost, Prefix+"/osds/"+strconv.Itoa(id)+seg(action), nil, nil, nil)
}

// OSDReweight sets the weight of an OSD, 0 to 1.
func (c *Client) OSDReweight(ctx context.Context, id int, weight float64) error {
	return c.call(ctx, http.MethodPut, Prefix+"/osds/"+strconv.Itoa(id)+"/reweight", nil, Reweight{Weight: weight}, nil)
}

// FlagSet sets or unsets a cluster flag.
func (c *Client) FlagSet(ctx context.Context, flag string, on bool) error {
	method := http.MethodPut
	if !on {
		method = http.MethodDelete
	}
	return c.call(ctx, method, Prefix+"/flags"+seg(flag), nil, nil, nil)
}

// PGStat sums the PGs.
func (c *Client) PGStat(ctx context.Context) (PGSummary, error) {
	return get[PGSummary](ctx, c, "/pgs/stat", nil)
}

// PGFilter selects PGs; zero values select all.
type PGFilter struct {
	Pool  string
	State string // a word of the state
	OSD   *int   // member of up or acting
}

// PGs lists PGs by id.
func (c *Client) PGs(ctx context.Context, f PGFilter) ([]PG, error) {
	q := url.Values{}
	if f.Pool != "" {
		q.Set("pool", f.Pool)
	}
	if f.State != "" {
		q.Set("state", f.State)
	}
	if f.OSD != nil {
		q.Set("osd", strconv.Itoa(*f.OSD))
	}
	return get[[]PG](ctx, c, "/pgs", q)
}

// PGQuery returns the inner state of a PG as its primary tells it.
func (c *Client) PGQuery(ctx context.Context, pgid string) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, "/pgs"+seg(pgid)+"/query", nil)
}

// Pools lists the pools.
func (c *Client) Pools(ctx context.Context) ([]Pool, error) {
	return get[[]Pool](ctx, c, "/pools", nil)
}

// Pool returns one pool.
func (c *Client) Pool(ctx context.Context, name string) (Pool, error) {
	return get[Pool](ctx, c, "/pools"+seg(name), nil)
}

// PoolCreate makes a pool.
func (c *Client) PoolCreate(ctx context.Context, p PoolCreate) (Pool, error) {
	var out Pool
	err := c.call(ctx, http.MethodPost, Prefix+"/pools", nil, p, &out)
	return out, err
}

// PoolSet changes one setting of a pool.
func (c *Client) PoolSet(ctx context.Context, name, key, value string) (Pool, error) {
	var out Pool
	err := c.call(ctx, http.MethodPut, Prefix+"/pools"+seg(name)+"/settings"+seg(key), nil, PoolSetting{Value: value}, &out)
	return out, err
}

// PoolRemove removes a pool with all its objects. confirm must repeat the name.
func (c *Client) PoolRemove(ctx context.Context, name, confirm string) error {
	return c.call(ctx, http.MethodDelete, Prefix+"/pools"+seg(name), url.Values{"confirm": {confirm}}, nil, nil)
}

// Map returns the cluster map; pgs adds the PG records.
func (c *Client) Map(ctx context.Context, pgs bool) (Map, error) {
	return get[Map](ctx, c, "/map", url.Values{"pgs": {strconv.FormatBool(pgs)}})
}

// Locate computes where an object lives.
func (c *Client) Locate(ctx context.Context, pool, object string) (Location, error) {
	return get[Location](ctx, c, "/map/locate", url.Values{"pool": {pool}, "object": {object}})
}

// Users lists the users; secrets adds their secret keys.
func (c *Client) Users(ctx context.Context, secrets bool) ([]User, error) {
	return get[[]User](ctx, c, "/users", url.Values{"secrets": {strconv.FormatBool(secrets)}})
}

// User returns one user; secrets adds the secret keys.
func (c *Client) User(ctx context.Context, name string, secrets bool) (User, error) {
	return get[User](ctx, c, "/users"+seg(name), url.Values{"secrets": {strconv.FormatBool(secrets)}})
}

// UserCreate makes a user and returns it with its secret key.
func (c *Client) UserCreate(ctx context.Context, u UserCreate) (User, error) {
	var out User
	err := c.call(ctx, http.MethodPost, Prefix+"/users", nil, u, &out)
	return out, err
}

// UserRemove removes a user. confirm must repeat the name.
func (c *Client) UserRemove(ctx context.Context, name, confirm string) error {
	return c.call(ctx, http.MethodDelete, Prefix+"/users"+seg(name), url.Values{"confirm": {confirm}}, nil, nil)
}

// Buckets lists the S3 buckets.
func (c *Client) Buckets(ctx context.Context) ([]Bucket, error) {
	return get[[]Bucket](ctx, c, "/buckets", nil)
}

// Bucket returns one bucket.
func (c *Client) Bucket(ctx context.Context, name string) (Bucket, error) {
	return get[Bucket](ctx, c, "/buckets"+seg(name), nil)
}

// BucketCreate makes a bucket.
func (c *Client) BucketCreate(ctx context.Context, b BucketCreate) (Bucket, error) {
	var out Bucket
	err := c.call(ctx, http.MethodPost, Prefix+"/buckets", nil, b, &out)
	return out, err
}

// BucketSet changes one setting of a bucket.
func (c *Client) BucketSet(ctx context.Context, name, key, value string) (Bucket, error) {
	var out Bucket
	err := c.call(ctx, http.MethodPut, Prefix+"/buckets"+seg(name)+"/settings"+seg(key), nil, BucketSetting{Value: value}, &out)
	return out, err
}

// BucketUsage returns what a bucket takes, or one of its objects unless key is "".
func (c *Client) BucketUsage(ctx context.Context, name, key string) (BucketUsage, error) {
	q := url.Values{}
	if key != "" {
		q.Set("key", key)
	}
	return get[BucketUsage](ctx, c, "/buckets"+seg(name)+"/usage", q)
}

// UserUsage returns what all buckets of a user take together.
func (c *Client) UserUsage(ctx context.Context, name string) (BucketUsage, error) {
	return get[BucketUsage](ctx, c, "/users"+seg(name)+"/usage", nil)
}

// BucketRemove removes an empty bucket. confirm must repeat the name.
func (c *Client) BucketRemove(ctx context.Context, name, confirm string) error {
	return c.call(ctx, http.MethodDelete, Prefix+"/buckets"+seg(name), url.Values{"confirm": {confirm}}, nil, nil)
}
