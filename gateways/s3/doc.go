// Package s3 serves buckets over Amazon's S3 protocol. It translates, and holds
// no truth: any number of gateways serve the same data through client/bucket.
//
// A request passes, in this order: limits (size of headers, requests at a time),
// authentication (Signature Version 4 in the header or the query), routing by
// method, path and subresource, the owner's check, and the operation. The body
// is decoded and verified while it streams (signed chunks, SHA-256, checksums,
// MD5): what does not verify makes the last read fail, and client/bucket stores
// nothing then.
//
// Routing is our own and works on the path as the client sent it: keys may hold
// "//", "..", "%" and anything else in UTF-8. What is not supported is refused by
// name with NotImplemented, never silently ignored. Only a bucket's owner may use
// it; there are no anonymous requests, ACLs or policies. docs/s3.md has the list.
package s3
