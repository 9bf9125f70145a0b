package api

// User is somebody with S3 keys.
type User struct {
	Name        string    `json:"name"`
	DisplayName string    `json:"display_name"`
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
}

// BucketCreate is the body that makes a bucket.
type BucketCreate struct {
	Name  string `json:"name" minLength:"3" maxLength:"63"`
	Owner string `json:"owner" minLength:"1" maxLength:"128" doc:"A user; see /api/v1/users"`
}
