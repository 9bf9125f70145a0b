// Package conformance holds a gateway against Amazon's S3, one row for each
// operation, case and error.
//
// A row has the name Operation/Case, does what its name says over plain signed
// HTTP or with Amazon's SDK, and states the status, the code and the fields of the
// answer. testdata/gaps.txt lists the rows that our gateway does not pass yet. The
// list may only shrink: a row in it that passes fails the test. So does a row
// outside of it that fails.
//
//	go test ./gateways/s3/conformance                 # a gateway in this process, over a cluster in memory
//	go test ./gateways/s3/conformance -v -rows 'PutObject/'
//	go test ./gateways/s3/conformance -shrink         # take rows that pass off the list, here and in docs/s3.md
//	go test ./gateways/s3/conformance -v -endpoint http://host:port -access K -secret S -alt-access K2 -alt-secret S2
//	... -gaps none                                    # for another server than ours
package conformance
