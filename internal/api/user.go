package api

// User is somebody with S3 keys.
type User struct {
	Name        string    `json:"name"`
	DisplayName string    `json:"display_name"`
	Email       string    `json:"email,omitempty"`
	Admin       bool      `json:"admin,omitempty" doc:"May look after the identities of all accounts"`
	Suspended   bool      `json:"suspended"`
	Keys        []UserKey `json:"keys"`
}

// UserKey is a pair of S3 keys. The secret is shown when the user is made, and later only on demand.
type UserKey struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key,omitempty"`
}

// UserCreate is the body that makes a user. Keys are made when none are given.
type UserCreate struct {
	Name        string `json:"name" minLength:"1" maxLength:"128" pattern:"^[A-Za-z0-9._@-]+$" patternDescription:"letters, digits and ._@-"`
	DisplayName string `json:"display_name,omitempty" maxLength:"255"`
	Email       string `json:"email,omitempty" maxLength:"255"`
	Admin       bool   `json:"admin,omitempty" doc:"Let it look after the identities of all accounts"`
	AccessKey   string `json:"access_key,omitempty" maxLength:"128"`
	SecretKey   string `json:"secret_key,omitempty" maxLength:"128"`
}

// Bucket is an S3 bucket.
type Bucket struct {
	Name       string `json:"name"`
	Owner      string `json:"owner"`
	Created    int64  `json:"created" doc:"Unix seconds"`
	Objects    int64  `json:"objects" doc:"-1: not counted"`
	Bytes      int64  `json:"bytes" doc:"-1: not counted"`
	Partial    bool   `json:"partial,omitempty" doc:"Counting stopped: there is more than objects and bytes say"`
	Versioning string `json:"versioning,omitempty" doc:"Enabled, Suspended or empty"`

	Policy   string            `json:"policy,omitempty" doc:"How chunks are made of what is put into it, as its settings and its pool say; none, or empty in lists"`
	Settings map[string]string `json:"settings,omitempty" doc:"Its own settings; all others are the pool's"`
}

// BucketSetting is the body that changes one setting of a bucket.
type BucketSetting struct {
	Value string `json:"value" minLength:"1" maxLength:"64" doc:"pool: as its pool"`
}

// BucketSettingKeys are the settings of a bucket that can be changed.
func BucketSettingKeys() []string {
	return []string{"chunk_size", "chunks", "compression", "cut", "dedup", "undelete"}
}

// BucketUsage says what a bucket, an object in it, or all buckets of a user take, and what deduplication and compression save.
type BucketUsage struct {
	User    string `json:"user,omitempty" doc:"Of all buckets of a user"`
	Bucket  string `json:"bucket,omitempty"`
	Key     string `json:"key,omitempty" doc:"Of one object"`
	Objects int64  `json:"objects" doc:"Looked at"`
	Bytes   int64  `json:"bytes" doc:"Of their bodies"`
	Chunked int64  `json:"chunked" doc:"Bytes of these that chunks have; the others lie in the index or in data objects"`
	Refs    int64  `json:"references" doc:"To chunks"`

	Chunks      int64   `json:"chunks" doc:"Different ones"`
	UniqueBytes int64   `json:"unique" doc:"Bytes of the different chunks"`
	SharedBytes int64   `json:"shared" doc:"Bytes of these to which others refer as well"`
	Stored      int64   `json:"stored" doc:"Bytes of the different chunks after compression"`
	Physical    int64   `json:"physical" doc:"Bytes of all their shards, with copies or parity"`
	DedupRatio  float64 `json:"dedup_ratio" doc:"chunked / unique; 1 without chunks"`
	Ratio       float64 `json:"ratio" doc:"chunked / stored; 1 without chunks"`
	Kept        int64   `json:"deleted" doc:"Objects that were deleted and can be brought back; they are in none of the other numbers"`
	KeptBytes   int64   `json:"deleted_bytes" doc:"Of their bodies"`
	Partial     bool    `json:"partial" doc:"A limit ended the look: this is about the first keys"`
}

// BucketInfo is a bucket with its usage, as cairn bucket info shows it.
type BucketInfo struct {
	Bucket Bucket      `json:"bucket"`
	Usage  BucketUsage `json:"usage"`
}

// BucketCreate is the body that makes a bucket.
type BucketCreate struct {
	Name  string `json:"name" minLength:"3" maxLength:"63"`
	Owner string `json:"owner" minLength:"1" maxLength:"128" doc:"A user; see /api/v1/users"`
}
