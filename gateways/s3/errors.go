package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/internal/seal"
)

// apiError is an error in S3's terms.
type apiError struct {
	Code    string
	Status  int
	Message string
	Extra   []extra // further elements
	Header  http.Header
	cause   error // for the log, never sent
}

type extra struct{ name, value string }

func (e *apiError) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.cause)
	}
	return e.Code + ": " + e.Message
}

func (e *apiError) Unwrap() error { return e.cause }

func (e *apiError) with(name, value string) *apiError {
	e.Extra = append(e.Extra, extra{name, value})
	return e
}

// statuses are the codes this gateway answers with.
var statuses = map[string]int{
	"AccessDenied":                                   http.StatusForbidden,
	"AccessForbidden":                                http.StatusForbidden,
	"NoSuchCORSConfiguration":                        http.StatusNotFound,
	"AuthorizationHeaderMalformed":                   http.StatusBadRequest,
	"AuthorizationQueryParametersError":              http.StatusBadRequest,
	"BadDigest":                                      http.StatusBadRequest,
	"BucketAlreadyExists":                            http.StatusConflict,
	"BucketAlreadyOwnedByYou":                        http.StatusConflict,
	"BucketNotEmpty":                                 http.StatusConflict,
	"EntityTooLarge":                                 http.StatusBadRequest,
	"EntityTooSmall":                                 http.StatusBadRequest,
	"IncompleteBody":                                 http.StatusBadRequest,
	"InternalError":                                  http.StatusInternalServerError,
	"InvalidAccessKeyId":                             http.StatusForbidden,
	"InvalidArgument":                                http.StatusBadRequest,
	"InvalidBucketName":                              http.StatusBadRequest,
	"InvalidChunkSizeError":                          http.StatusBadRequest,
	"InvalidDigest":                                  http.StatusBadRequest,
	"InvalidEncryptionAlgorithmError":                http.StatusBadRequest,
	"KMS.NotFoundException":                          http.StatusBadRequest,
	"KMS.DisabledException":                          http.StatusBadRequest,
	"KMS.KeyUnavailableException":                    http.StatusInternalServerError,
	"InvalidLocationConstraint":                      http.StatusBadRequest,
	"InvalidPart":                                    http.StatusBadRequest,
	"InvalidPartNumber":                              http.StatusRequestedRangeNotSatisfiable,
	"InvalidObjectState":                             http.StatusForbidden,
	"InvalidPartOrder":                               http.StatusBadRequest,
	"InvalidRange":                                   http.StatusRequestedRangeNotSatisfiable,
	"InvalidRequest":                                 http.StatusBadRequest,
	"InvalidStorageClass":                            http.StatusBadRequest,
	"InvalidToken":                                   http.StatusBadRequest,
	"ExpiredToken":                                   http.StatusBadRequest,
	"InvalidURI":                                     http.StatusBadRequest,
	"KeyTooLongError":                                http.StatusBadRequest,
	"InvalidPolicyDocument":                          http.StatusBadRequest,
	"MalformedPOSTRequest":                           http.StatusBadRequest,
	"MaxPostPreDataLengthExceededError":              http.StatusBadRequest,
	"MalformedTrailerError":                          http.StatusBadRequest,
	"MalformedXML":                                   http.StatusBadRequest,
	"MaxMessageLengthExceeded":                       http.StatusBadRequest,
	"MetadataTooLarge":                               http.StatusBadRequest,
	"MethodNotAllowed":                               http.StatusMethodNotAllowed,
	"MissingContentLength":                           http.StatusLengthRequired,
	"MissingRequestBodyError":                        http.StatusBadRequest,
	"NoSuchBucket":                                   http.StatusNotFound,
	"NoSuchLifecycleConfiguration":                   http.StatusNotFound,
	"NoSuchKey":                                      http.StatusNotFound,
	"NoSuchUpload":                                   http.StatusNotFound,
	"NoSuchVersion":                                  http.StatusNotFound,
	"NotImplemented":                                 http.StatusNotImplemented,
	"OperationAborted":                               http.StatusConflict,
	"PreconditionFailed":                             http.StatusPreconditionFailed,
	"ReplicationConfigurationNotFoundError":          http.StatusNotFound,
	"ServerSideEncryptionConfigurationNotFoundError": http.StatusNotFound,
	"RequestTimeTooSkewed":                           http.StatusForbidden,
	"RequestTimeout":                                 http.StatusBadRequest,
	"ServiceUnavailable":                             http.StatusServiceUnavailable,
	"SignatureDoesNotMatch":                          http.StatusForbidden,
	"SlowDown":                                       http.StatusServiceUnavailable,
	"TooManyBuckets":                                 http.StatusBadRequest,
	"XAmzContentSHA256Mismatch":                      http.StatusBadRequest,
	"AccessControlListNotSupported":                  http.StatusBadRequest,
	"InvalidBucketAclWithObjectOwnership":            http.StatusBadRequest,
	"MalformedACLError":                              http.StatusBadRequest,
	"MalformedPolicy":                                http.StatusBadRequest,
	"MissingSecurityHeader":                          http.StatusBadRequest,
	"NoSuchBucketPolicy":                             http.StatusNotFound,
	"NoSuchPublicAccessBlockConfiguration":           http.StatusNotFound,
	"OwnershipControlsNotFoundError":                 http.StatusNotFound,
	"UnexpectedContent":                              http.StatusBadRequest,
	"UnresolvableGrantByEmailAddress":                http.StatusBadRequest,
	"InsufficientStorage":                            http.StatusInsufficientStorage,
	"NoSuchSnapshot":                                 http.StatusNotFound,
	"QuotaExceeded":                                  http.StatusForbidden,
	"NotModified":                                    http.StatusNotModified,
	"BadRequest":                                     http.StatusBadRequest,
	"IllegalVersioningConfigurationException":        http.StatusBadRequest,
	"InvalidBucketState":                             http.StatusConflict,
	"InvalidRetentionPeriod":                         http.StatusBadRequest,
	"InvalidTag":                                     http.StatusBadRequest,
	"NoSuchObjectLockConfiguration":                  http.StatusNotFound,
	"NoSuchTagSet":                                   http.StatusNotFound,
	"ObjectLockConfigurationNotFoundError":           http.StatusNotFound,

	"InvalidTargetBucketForLogging": http.StatusBadRequest,
	"InvalidRedirectLocation":       http.StatusBadRequest,
	"NoSuchWebsiteConfiguration":    http.StatusNotFound,
}

func apiErr(code, format string, args ...any) *apiError {
	status, ok := statuses[code]
	if !ok {
		status = http.StatusInternalServerError
	}
	return &apiError{Code: code, Status: status, Message: fmt.Sprintf(format, args...)}
}

func notImplemented(what string) *apiError {
	return apiErr("NotImplemented", "This gateway does not implement %s.", what).with("Feature", what)
}

// toAPI finds the S3 words for an error of the layers below.
func toAPI(err error) *apiError {
	var e *apiError
	if errors.As(err, &e) {
		return e
	}
	if locked := (*bucket.LockedError)(nil); errors.As(err, &locked) {
		e := apiErr("AccessDenied", "Access Denied because object protected by object lock.")
		e.cause = err
		return e
	}
	for _, m := range []struct {
		is   error
		code string
		text string
	}{
		{bucket.ErrNoSuchBucket, "NoSuchBucket", "The specified bucket does not exist."},
		{bucket.ErrKeepsDeleted, "BucketNotEmpty", "The bucket you tried to delete keeps deleted objects that can be brought back. An administrator can purge them."},
		{bucket.ErrHasSnapshots, "BucketNotEmpty", "The bucket you tried to delete has snapshots. An administrator can remove them."},
		{bucket.ErrNoSuchSnapshot, "NoSuchSnapshot", "The specified snapshot does not exist."},
		{bucket.ErrBucketNotEmpty, "BucketNotEmpty", "The bucket you tried to delete is not empty."},
		{bucket.ErrNoSuchKey, "NoSuchKey", "The specified key does not exist."},
		{bucket.ErrNoSuchVersion, "NoSuchVersion", "The specified version does not exist."},
		{bucket.ErrNoSuchUpload, "NoSuchUpload", "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."},
		{bucket.ErrPrecondition, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold."},
		{bucket.ErrInvalidPartOrder, "InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number."},
		{bucket.ErrInvalidPart, "InvalidPart", "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."},
		{bucket.ErrPartTooSmall, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size"},
		{bucket.ErrTooLarge, "EntityTooLarge", "The request is larger than what is allowed."},
		{bucket.ErrObjectSize, "InvalidRequest", "The provided 'x-amz-mp-object-size' header value does not match what was computed."},
		{bucket.ErrBodySize, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header"},
		{seal.ErrSize, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header"},
		{bucket.ErrDigest, "BadDigest", "The Content-MD5 you specified did not match what we received."},
		{bucket.ErrRange, "InvalidRange", "The requested range is not satisfiable."},
		{bucket.ErrInvalidName, "InvalidArgument", "The name is not allowed."},
		{bucket.ErrBusy, "OperationAborted", "A conflicting operation is in progress. Try again."},
		{bucket.ErrChanged, "OperationAborted", "The object was replaced while it was read. Try again."},
		{bucket.ErrQuota, "QuotaExceeded", "The quota of the bucket, or of its owner, does not allow it."},
		{client.ErrNoSpace, "InsufficientStorage", "The cluster has no space left."},
		{client.ErrTimeout, "ServiceUnavailable", "The cluster did not answer in time. Try again."},
		{client.ErrTryLater, "ServiceUnavailable", "The cluster cannot do it now. Try again."},
		{context.DeadlineExceeded, "RequestTimeout", "The request took too long."},
	} {
		if errors.Is(err, m.is) {
			e := apiErr(m.code, "%s", m.text)
			e.cause = err
			return e
		}
	}
	e = apiErr("InternalError", "The gateway met an internal error. Try again.")
	e.cause = err
	return e
}

// headerNotImplemented refuses a header as S3 does.
func headerNotImplemented(name, what string) *apiError {
	e := apiErr("NotImplemented", "A header you provided implies functionality that is not implemented.").with("Header", name)
	e.cause = errors.New(what)
	return e
}

func malformedXML() *apiError {
	return apiErr("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema.")
}

// xmlError is the body of an error's answer.
type xmlError struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	Extra     []xmlExtra
	Resource  string
	RequestID string `xml:"RequestId"`
	HostID    string `xml:"HostId"`
}

type xmlExtra struct {
	XMLName xml.Name
	Value   string `xml:",chardata"`
}

// fail answers a request with an error, unless its answer has begun already.
func (q *request) fail(e *apiError) {
	if q.w.wrote {
		// The status has gone out. Cutting the connection is the only way left to say that the body is not whole.
		panic(http.ErrAbortHandler)
	}
	if q.iam != nil {
		q.failIdentity(e)
		return
	}
	h := q.w.Header()
	for _, name := range []string{"Content-Length", "Content-Range", "Content-Encoding", "Content-Disposition", "Cache-Control", "Expires", "Etag", "Last-Modified"} {
		if e.Code != "NotModified" {
			h.Del(name)
		}
	}
	for k, vs := range e.Header {
		h[k] = vs
	}
	if q.site && e.Status != http.StatusNotModified {
		q.failHTML(e)
		return
	}
	if e.Status == http.StatusNotModified || q.r.Method == http.MethodHead {
		h.Del("Content-Type")
		q.w.WriteHeader(e.Status)
		return
	}
	if e.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	x := xmlError{Code: e.Code, Message: e.Message, Resource: q.r.URL.Path, RequestID: q.id, HostID: q.s.o.HostID}
	for _, v := range e.Extra {
		x.Extra = append(x.Extra, xmlExtra{XMLName: xml.Name{Local: v.name}, Value: v.value})
	}
	q.writeXML(e.Status, x)
}

// writeXML answers with a document.
func (q *request) writeXML(status int, v any) {
	b, err := xml.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("s3: encode %T: %w", v, err)) // our own types always encode; the recovery answers 500
	}
	h := q.w.Header()
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(len(xml.Header)+len(b)))
	q.w.WriteHeader(status)
	if _, err := q.w.Write(append([]byte(xml.Header), b...)); err != nil {
		q.s.log.Debug("send an answer", "request", q.id, "err", err) // the client has gone
	}
}
