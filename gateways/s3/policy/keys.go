package policy

import (
	"slices"
	"strings"
)

// The names of condition keys are in lower case here and wherever a request is
// asked for them.

// globals are the keys that go with every action.
var globals = []string{
	"aws:calledvia", "aws:calledviafirst", "aws:calledvialast", "aws:currenttime", "aws:epochtime", "aws:federatedprovider",
	"aws:multifactorauthage", "aws:multifactorauthpresent", "aws:principalaccount", "aws:principalarn", "aws:principalisawsservice",
	"aws:principalorgid", "aws:principalorgpaths", "aws:principalservicename", "aws:principalservicenameslist", "aws:principaltype",
	"aws:referer", "aws:requestedregion", "aws:resourceaccount", "aws:resourceorgid", "aws:resourceorgpaths", "aws:securetransport",
	"aws:sourceaccount", "aws:sourcearn", "aws:sourceidentity", "aws:sourceip", "aws:sourceorgid", "aws:sourceorgpaths",
	"aws:sourceowner", "aws:sourcevpc", "aws:sourcevpcarn", "aws:sourcevpce", "aws:tagkeys", "aws:tokenissuetime", "aws:useragent", "aws:userid", "aws:username", "aws:viaawsservice", "aws:vpcsourceip",
	"s3:authtype", "s3:dataaccesspointaccount", "s3:dataaccesspointarn", "s3:accesspointnetworkorigin", "s3:resourceaccount",
	"s3:signatureage", "s3:signatureversion", "s3:tlsversion", "s3:x-amz-content-sha256",
	"sts:externalid", "sts:rolesessionname", "sts:sourceidentity",
}

// families are keys that end in a name of the user's choice.
var families = []string{"aws:principaltag/", "aws:requesttag/", "aws:resourcetag/", "s3:bucket-tag/", "s3:bucketaccesspoint/"}

func lower(names ...string) []string {
	for i := range names {
		names[i] = "s3:" + strings.ToLower(names[i])
	}
	return names
}

var (
	listing  = lower("ListBucket", "ListBucketVersions")
	creating = lower("CreateBucket", "PutObject", "PutObjectAcl", "PutObjectVersionAcl", "PutBucketAcl")
	putting  = lower("PutObject")
	tagging  = lower("PutObject", "PutObjectTagging", "PutObjectVersionTagging")
	tagged   = lower("GetObject", "GetObjectVersion", "GetObjectAcl", "GetObjectVersionAcl", "GetObjectTagging", "GetObjectVersionTagging",
		"GetObjectAttributes", "GetObjectVersionAttributes", "PutObject", "PutObjectAcl", "PutObjectVersionAcl", "PutObjectTagging", "PutObjectVersionTagging",
		"DeleteObject", "DeleteObjectVersion", "DeleteObjectTagging", "DeleteObjectVersionTagging", "RestoreObject",
		"BypassGovernanceRetention", "PutObjectRetention", "GetObjectRetention", "PutObjectLegalHold", "GetObjectLegalHold",
		"AbortMultipartUpload", "ListMultipartUploadParts")
	versioned = lower("GetObjectVersion", "GetObjectVersionAcl", "GetObjectVersionAttributes", "GetObjectVersionTagging", "GetObjectVersionTorrent",
		"GetObjectVersionForReplication", "DeleteObjectVersion", "DeleteObjectVersionTagging", "PutObjectVersionAcl", "PutObjectVersionTagging",
		"PutObjectRetention", "GetObjectRetention", "PutObjectLegalHold", "GetObjectLegalHold", "BypassGovernanceRetention", "RestoreObject")
	locking = lower("PutObject", "PutObjectRetention", "PutObjectLegalHold", "BypassGovernanceRetention", "PutBucketObjectLockConfiguration", "ReplicateObject")
)

// particular are the keys that go with some actions only.
var particular = map[string][]string{
	"s3:prefix":                                          listing,
	"s3:delimiter":                                       listing,
	"s3:max-keys":                                        listing,
	"s3:versionid":                                       versioned,
	"s3:locationconstraint":                              lower("CreateBucket"),
	"s3:x-amz-acl":                                       creating,
	"s3:x-amz-grant-full-control":                        creating,
	"s3:x-amz-grant-read":                                creating,
	"s3:x-amz-grant-read-acp":                            creating,
	"s3:x-amz-grant-write":                               creating,
	"s3:x-amz-grant-write-acp":                           creating,
	"s3:x-amz-object-ownership":                          lower("CreateBucket", "PutBucketOwnershipControls"),
	"s3:x-amz-copy-source":                               putting,
	"s3:x-amz-metadata-directive":                        putting,
	"s3:x-amz-storage-class":                             putting,
	"s3:x-amz-website-redirect-location":                 putting,
	"s3:x-amz-server-side-encryption":                    lower("PutObject", "ReplicateObject"),
	"s3:x-amz-server-side-encryption-aws-kms-key-id":     lower("PutObject", "ReplicateObject"),
	"s3:x-amz-server-side-encryption-customer-algorithm": lower("PutObject", "GetObject", "GetObjectVersion", "ReplicateObject"),
	"s3:if-match":                                        lower("PutObject", "DeleteObject"),
	"s3:if-none-match":                                   putting,
	"s3:objectcreationoperation":                         putting,
	"s3:requestobjecttagkeys":                            tagging,
	"s3:object-lock-mode":                                locking,
	"s3:object-lock-retain-until-date":                   locking,
	"s3:object-lock-remaining-retention-days":            locking,
	"s3:object-lock-legal-hold":                          locking,
}

// particularFamilies are such keys that end in a name of the user's choice.
var particularFamilies = map[string][]string{
	"s3:existingobjecttag/": tagged,
	"s3:requestobjecttag/":  tagging,
}

// keyActions says with which actions a key goes; none listed means with all.
func keyActions(key string) (only []string, ok bool) {
	if slices.Contains(globals, key) {
		return nil, true
	}
	if only, ok = particular[key]; ok {
		return only, true
	}
	for _, f := range families {
		if len(key) > len(f) && strings.HasPrefix(key, f) {
			return nil, true
		}
	}
	for f, only := range particularFamilies {
		if len(key) > len(f) && strings.HasPrefix(key, f) {
			return only, true
		}
	}
	return nil, false
}
