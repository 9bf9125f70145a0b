package policy

import "strings"

// on is what an action is done to.
type on uint8

const (
	onService on = iota
	onBucket
	onObject
)

// actions are the actions of S3 that a policy may name, as AWS spells them.
var actions = [...][]string{
	onService: {
		"CreateJob", "GetAccountPublicAccessBlock", "ListAllMyBuckets", "ListJobs", "PutAccountPublicAccessBlock",
	},
	onBucket: {
		"CreateBucket", "DeleteBucket", "DeleteBucketPolicy", "DeleteBucketWebsite",
		"GetAccelerateConfiguration", "GetAnalyticsConfiguration", "GetBucketAcl", "GetBucketCORS", "GetBucketLocation", "GetBucketLogging",
		"GetBucketMetadataTableConfiguration", "GetBucketNotification", "GetBucketObjectLockConfiguration", "GetBucketOwnershipControls",
		"GetBucketPolicy", "GetBucketPolicyStatus", "GetBucketPublicAccessBlock", "GetBucketRequestPayment", "GetBucketTagging",
		"GetBucketVersioning", "GetBucketWebsite", "GetEncryptionConfiguration", "GetIntelligentTieringConfiguration",
		"GetInventoryConfiguration", "GetLifecycleConfiguration", "GetMetricsConfiguration", "GetReplicationConfiguration",
		"ListBucket", "ListBucketMultipartUploads", "ListBucketVersions", "PostBucketLogging",
		"PutAccelerateConfiguration", "PutAnalyticsConfiguration", "PutBucketAcl", "PutBucketCORS", "PutBucketLogging", "PutBucketNotification",
		"PutBucketObjectLockConfiguration", "PutBucketOwnershipControls", "PutBucketPolicy", "PutBucketPublicAccessBlock",
		"PutBucketRequestPayment", "PutBucketTagging", "PutBucketVersioning", "PutBucketWebsite", "PutEncryptionConfiguration",
		"PutIntelligentTieringConfiguration", "PutInventoryConfiguration", "PutLifecycleConfiguration", "PutMetricsConfiguration",
		"PutReplicationConfiguration",
	},
	onObject: {
		"AbortMultipartUpload", "BypassGovernanceRetention", "DeleteObject", "DeleteObjectTagging", "DeleteObjectVersion",
		"DeleteObjectVersionTagging", "GetObject", "GetObjectAcl", "GetObjectAttributes", "GetObjectLegalHold", "GetObjectRetention",
		"GetObjectTagging", "GetObjectTorrent", "GetObjectVersion", "GetObjectVersionAcl", "GetObjectVersionAttributes",
		"GetObjectVersionForReplication", "GetObjectVersionTagging", "GetObjectVersionTorrent", "InitiateReplication",
		"ListMultipartUploadParts", "ObjectOwnerOverrideToBucketOwner", "PutObject", "PutObjectAcl", "PutObjectLegalHold",
		"PutObjectRetention", "PutObjectTagging", "PutObjectVersionAcl", "PutObjectVersionTagging", "ReplicateDelete",
		"ReplicateObject", "ReplicateTags", "RestoreObject",
	},
}

// known maps "s3:name" in lower case to what the action is done to.
var known = func() map[string]on {
	m := map[string]on{}
	for o, names := range actions {
		for _, n := range names {
			m["s3:"+strings.ToLower(n)] = on(o)
		}
	}
	return m
}()

// Known reports whether there is such an action of S3, as "s3:GetObject".
func Known(action string) bool {
	_, ok := known[strings.ToLower(action)]
	return ok
}
