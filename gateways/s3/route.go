package s3

import (
	"net/http"
	"net/url"
	"slices"
)

type handler func(q *request) error

// subresources are the query parameters that choose another operation than the
// plain one. Those in a route below are implemented; asking for another one is
// refused by name. Any other parameter is ignored, as S3 does.
var subresources = []string{
	"accelerate", "acl", "analytics", "attributes", "cors", "delete", "encryption", "intelligent-tiering",
	"inventory", "legal-hold", "lifecycle", "location", "logging", "metadataInventoryTable", "metadataJournalTable",
	"metadataTable", "metrics", "notification", "object-lock", "ownershipControls", "policy", "policyStatus",
	"publicAccessBlock", "renameObject", "replication", "requestPayment", "restore", "retention", "select", "session",
	"tagging", "torrent", "uploadId", "uploads", "versioning", "versions", "website", "partNumber",
}

// what a path names.
const (
	onService = iota
	onBucket
	onObject
)

type route struct {
	level  int
	method string
	sub    string // "" for none
}

type operation struct {
	name   string
	action string // what policies call it; an operation without one is refused
	run    handler
}

// perKey is the action of an operation on many keys, which asks for each of them.
const perKey = "s3:DeleteObject for each key"

var routes = map[route]operation{
	{onService, http.MethodGet, ""}: {"ListBuckets", "s3:ListAllMyBuckets", (*request).listBuckets},

	{onBucket, http.MethodGet, ""}:           {"ListObjects", "s3:ListBucket", (*request).listObjects},
	{onBucket, http.MethodGet, "location"}:   {"GetBucketLocation", "s3:GetBucketLocation", (*request).getBucketLocation},
	{onBucket, http.MethodGet, "versioning"}: {"GetBucketVersioning", "s3:GetBucketVersioning", (*request).getBucketVersioning},
	{onBucket, http.MethodGet, "acl"}:        {"GetBucketAcl", "s3:GetBucketAcl", (*request).getBucketACL},
	{onBucket, http.MethodGet, "uploads"}:    {"ListMultipartUploads", "s3:ListBucketMultipartUploads", (*request).listUploads},
	{onBucket, http.MethodGet, "versions"}:   {"ListObjectVersions", "s3:ListBucketVersions", (*request).listVersions},
	{onBucket, http.MethodPut, ""}:           {"CreateBucket", "s3:CreateBucket", (*request).createBucket},
	{onBucket, http.MethodHead, ""}:          {"HeadBucket", "s3:ListBucket", (*request).headBucket},
	{onBucket, http.MethodDelete, ""}:        {"DeleteBucket", "s3:DeleteBucket", (*request).deleteBucket},
	{onBucket, http.MethodPost, ""}:          {"PostObject", "s3:PutObject", (*request).postObject},
	{onBucket, http.MethodPost, "delete"}:    {"DeleteObjects", perKey, (*request).deleteObjects},

	{onBucket, http.MethodPut, "acl"}:                  {"PutBucketAcl", "s3:PutBucketAcl", (*request).putBucketACL},
	{onBucket, http.MethodGet, "policy"}:               {"GetBucketPolicy", "s3:GetBucketPolicy", (*request).getBucketPolicy},
	{onBucket, http.MethodPut, "policy"}:               {"PutBucketPolicy", "s3:PutBucketPolicy", (*request).putBucketPolicy},
	{onBucket, http.MethodDelete, "policy"}:            {"DeleteBucketPolicy", "s3:DeleteBucketPolicy", (*request).deleteBucketPolicy},
	{onBucket, http.MethodGet, "policyStatus"}:         {"GetBucketPolicyStatus", "s3:GetBucketPolicyStatus", (*request).getBucketPolicyStatus},
	{onBucket, http.MethodGet, "publicAccessBlock"}:    {"GetPublicAccessBlock", "s3:GetBucketPublicAccessBlock", (*request).getPublicAccessBlock},
	{onBucket, http.MethodPut, "publicAccessBlock"}:    {"PutPublicAccessBlock", "s3:PutBucketPublicAccessBlock", (*request).putPublicAccessBlock},
	{onBucket, http.MethodDelete, "publicAccessBlock"}: {"DeletePublicAccessBlock", "s3:PutBucketPublicAccessBlock", (*request).deletePublicAccessBlock},
	{onBucket, http.MethodGet, "ownershipControls"}:    {"GetBucketOwnershipControls", "s3:GetBucketOwnershipControls", (*request).getOwnershipControls},
	{onBucket, http.MethodPut, "ownershipControls"}:    {"PutBucketOwnershipControls", "s3:PutBucketOwnershipControls", (*request).putOwnershipControls},
	{onBucket, http.MethodDelete, "ownershipControls"}: {"DeleteBucketOwnershipControls", "s3:PutBucketOwnershipControls", (*request).deleteOwnershipControls},

	{onBucket, http.MethodGet, "notification"}:   {"GetBucketNotificationConfiguration", "s3:GetBucketNotification", (*request).getNotification},
	{onBucket, http.MethodPut, "notification"}:   {"PutBucketNotificationConfiguration", "s3:PutBucketNotification", (*request).putNotification},
	{onBucket, http.MethodGet, "requestPayment"}: {"GetBucketRequestPayment", "s3:GetBucketRequestPayment", (*request).getRequestPayment},
	{onBucket, http.MethodPut, "requestPayment"}: {"PutBucketRequestPayment", "s3:PutBucketRequestPayment", (*request).putRequestPayment},
	{onBucket, http.MethodGet, "accelerate"}:     {"GetBucketAccelerateConfiguration", "s3:GetAccelerateConfiguration", (*request).getAccelerate},
	{onBucket, http.MethodGet, "replication"}:    {"GetBucketReplication", "s3:GetReplicationConfiguration", (*request).getReplication},
	{onBucket, http.MethodGet, "encryption"}:     {"GetBucketEncryption", "s3:GetEncryptionConfiguration", (*request).getEncryption},
	{onBucket, http.MethodPut, "encryption"}:     {"PutBucketEncryption", "s3:PutEncryptionConfiguration", (*request).putEncryption},
	{onBucket, http.MethodDelete, "encryption"}:  {"DeleteBucketEncryption", "s3:PutEncryptionConfiguration", (*request).deleteEncryption},
	{onBucket, http.MethodGet, "lifecycle"}:      {"GetBucketLifecycleConfiguration", "s3:GetLifecycleConfiguration", (*request).getBucketLifecycle},
	{onBucket, http.MethodPut, "lifecycle"}:      {"PutBucketLifecycleConfiguration", "s3:PutLifecycleConfiguration", (*request).putBucketLifecycle},
	{onBucket, http.MethodDelete, "lifecycle"}:   {"DeleteBucketLifecycle", "s3:PutLifecycleConfiguration", (*request).deleteBucketLifecycle},
	{onBucket, http.MethodGet, "logging"}:        {"GetBucketLogging", "s3:GetBucketLogging", (*request).getBucketLogging},
	{onBucket, http.MethodPut, "logging"}:        {"PutBucketLogging", "s3:PutBucketLogging", (*request).putBucketLogging},
	{onBucket, http.MethodGet, "website"}:        {"GetBucketWebsite", "s3:GetBucketWebsite", (*request).getBucketWebsite},
	{onBucket, http.MethodPut, "website"}:        {"PutBucketWebsite", "s3:PutBucketWebsite", (*request).putBucketWebsite},
	{onBucket, http.MethodDelete, "website"}:     {"DeleteBucketWebsite", "s3:DeleteBucketWebsite", (*request).deleteBucketWebsite},
	{onBucket, http.MethodGet, "cors"}:           {"GetBucketCors", "s3:GetBucketCORS", (*request).getBucketCORS},
	{onBucket, http.MethodPut, "cors"}:           {"PutBucketCors", "s3:PutBucketCORS", (*request).putBucketCORS},
	{onBucket, http.MethodDelete, "cors"}:        {"DeleteBucketCors", "s3:PutBucketCORS", (*request).deleteBucketCORS},
	{onBucket, http.MethodPut, "versioning"}:     {"PutBucketVersioning", "s3:PutBucketVersioning", (*request).putBucketVersioning},
	{onBucket, http.MethodGet, "object-lock"}:    {"GetObjectLockConfiguration", "s3:GetBucketObjectLockConfiguration", (*request).getObjectLock},
	{onBucket, http.MethodPut, "object-lock"}:    {"PutObjectLockConfiguration", "s3:PutBucketObjectLockConfiguration", (*request).putObjectLock},
	{onBucket, http.MethodGet, "tagging"}:        {"GetBucketTagging", "s3:GetBucketTagging", (*request).getBucketTagging},
	{onBucket, http.MethodPut, "tagging"}:        {"PutBucketTagging", "s3:PutBucketTagging", (*request).putBucketTagging},
	{onBucket, http.MethodDelete, "tagging"}:     {"DeleteBucketTagging", "s3:PutBucketTagging", (*request).deleteBucketTagging},

	{onObject, http.MethodPut, "tagging"}:     {"PutObjectTagging", "s3:PutObjectTagging", (*request).putObjectTagging},
	{onObject, http.MethodDelete, "tagging"}:  {"DeleteObjectTagging", "s3:DeleteObjectTagging", (*request).deleteObjectTagging},
	{onObject, http.MethodGet, "retention"}:   {"GetObjectRetention", "s3:GetObjectRetention", (*request).getRetention},
	{onObject, http.MethodPut, "retention"}:   {"PutObjectRetention", "s3:PutObjectRetention", (*request).putRetention},
	{onObject, http.MethodGet, "legal-hold"}:  {"GetObjectLegalHold", "s3:GetObjectLegalHold", (*request).getLegalHold},
	{onObject, http.MethodPut, "legal-hold"}:  {"PutObjectLegalHold", "s3:PutObjectLegalHold", (*request).putLegalHold},
	{onObject, http.MethodPut, "acl"}:         {"PutObjectAcl", "s3:PutObjectAcl", (*request).putObjectACL},
	{onObject, http.MethodGet, ""}:            {"GetObject", "s3:GetObject", (*request).getObject},
	{onObject, http.MethodGet, "acl"}:         {"GetObjectAcl", "s3:GetObjectAcl", (*request).getObjectACL},
	{onObject, http.MethodGet, "attributes"}:  {"GetObjectAttributes", "s3:GetObjectAttributes", (*request).getObjectAttributes},
	{onObject, http.MethodPost, "restore"}:    {"RestoreObject", "s3:RestoreObject", (*request).restoreObject},
	{onObject, http.MethodGet, "tagging"}:     {"GetObjectTagging", "s3:GetObjectTagging", (*request).getObjectTagging},
	{onObject, http.MethodGet, "torrent"}:     {"GetObjectTorrent", "s3:GetObjectTorrent", (*request).getObjectTorrent},
	{onObject, http.MethodGet, "partNumber"}:  {"GetObject", "s3:GetObject", (*request).getObject},
	{onObject, http.MethodHead, ""}:           {"HeadObject", "s3:GetObject", (*request).headObject},
	{onObject, http.MethodHead, "partNumber"}: {"HeadObject", "s3:GetObject", (*request).headObject},
	{onObject, http.MethodPut, ""}:            {"PutObject", "s3:PutObject", (*request).putObject},
	{onObject, http.MethodDelete, ""}:         {"DeleteObject", "s3:DeleteObject", (*request).deleteObject},
	{onObject, http.MethodPost, "uploads"}:    {"CreateMultipartUpload", "s3:PutObject", (*request).createUpload},
	{onObject, http.MethodPut, "uploadId"}:    {"UploadPart", "s3:PutObject", (*request).uploadPart},
	{onObject, http.MethodGet, "uploadId"}:    {"ListParts", "s3:ListMultipartUploadParts", (*request).listParts},
	{onObject, http.MethodPost, "uploadId"}:   {"CompleteMultipartUpload", "s3:PutObject", (*request).completeUpload},
	{onObject, http.MethodDelete, "uploadId"}: {"AbortMultipartUpload", "s3:AbortMultipartUpload", (*request).abortUpload},
}

// whole are subresources of which every method that S3 has is built.
var whole = []string{"attributes", "delete", "location", "restore", "uploadId", "uploads", "versions"}

// refusedHeaders ask for something that would change what is stored or who may
// read it, and that this gateway does not do.
var refusedHeaders = map[string]string{
	"X-Amz-Write-Offset-Bytes": "appending to objects",
}

// route chooses the operation.
func (q *request) route() (operation, *apiError) {
	level := onObject
	switch {
	case q.bucket == "":
		level = onService
	case q.key == "":
		level = onBucket
	}
	if q.query.Has("comp") {
		return q.routeS3X(level)
	}
	if level == onService && q.r.Method == http.MethodGet && q.query.Has("usage") { // of Ceph; elsewhere the name means nothing
		q.op = "GetUsage"
		return operation{q.op, "s3:ListAllMyBuckets", (*request).accountUsage}, nil
	}
	sub := subresourceOf(q.query)
	op, ok := routes[route{level, q.r.Method, sub}]
	if !ok {
		return op, q.refuse(level, sub)
	}
	q.op = op.name
	switch {
	case q.op == "ListObjects" && q.query.Get("list-type") == "2":
		q.op = "ListObjectsV2"
	case q.op == "PutObject" && q.r.Header.Get("X-Amz-Copy-Source") != "":
		q.op, op.run = "CopyObject", (*request).copyObject
	case q.op == "UploadPart" && q.r.Header.Get("X-Amz-Copy-Source") != "":
		q.op, op.run = "UploadPartCopy", (*request).uploadPartCopy
	}
	if q.r.Method == http.MethodPut || q.r.Method == http.MethodPost {
		return op, q.refusedHeader()
	}
	return op, nil
}

// subresourceOf is the parameter that chooses the operation, "" if none does.
func subresourceOf(query url.Values) (sub string) {
	for _, name := range subresources {
		// uploadId wins over partNumber, which comes with it.
		if query.Has(name) && (sub == "" || sub == "partNumber") && !(name == "partNumber" && sub != "") {
			sub = name
		}
	}
	return sub
}

func (q *request) refusedHeader() *apiError {
	for name, what := range refusedHeaders {
		if q.r.Header.Get(name) != "" {
			return notImplemented(what)
		}
	}
	return nil
}

func (q *request) refuse(level int, sub string) *apiError {
	method := q.r.Method
	known := []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodHead, http.MethodOptions}
	switch {
	case level == onObject && method == http.MethodGet && sub == "uploads":
		return apiErr("InvalidRequest", "Key is not expected for the GET method ?uploads subresource")
	case level == onObject && method == http.MethodGet && sub == "versions":
		return apiErr("InvalidRequest", "There is no such thing as the ?versions sub-resource for a key")
	case level == onObject && method == http.MethodPut && sub == "partNumber":
		return apiErr("InvalidArgument", "This operation does not accept partNumber without uploadId").with("ArgumentName", "partNumber").with("ArgumentValue", q.query.Get("partNumber"))
	case slices.Contains(whole, sub) && slices.ContainsFunc(known, func(m string) bool { _, ok := routes[route{level, m, sub}]; return ok }):
		return apiErr("MethodNotAllowed", "The specified method is not allowed against this resource.").with("Method", method)
	case sub != "":
		return notImplemented(method + " ?" + sub)
	case method == http.MethodOptions:
		return notImplemented("cross-origin requests (CORS)")
	case !slices.Contains(known, method) || level == onService || method == http.MethodPost:
		return apiErr("MethodNotAllowed", "The specified method is not allowed against this resource.").with("Method", method)
	}
	return apiErr("MethodNotAllowed", "The specified method is not allowed against this resource.").with("Method", method)
}
