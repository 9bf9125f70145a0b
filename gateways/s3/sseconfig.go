package s3

import (
	"encoding/xml"
	"fmt"
	"net/http"

	"github.com/cairnstore/cairn/client/kms"
)

// docEncryption is the name of the document that says how objects are encrypted that are put without a word about it.
const docEncryption = "encryption"

type xmlEncryption struct {
	XMLName xml.Name            `xml:"ServerSideEncryptionConfiguration"`
	Xmlns   string              `xml:"xmlns,attr,omitempty"`
	Rules   []xmlEncryptionRule `xml:"Rule"`
}

type xmlEncryptionRule struct {
	Default          *xmlEncryptionDefault `xml:"ApplyServerSideEncryptionByDefault"`
	BucketKeyEnabled *bool                 `xml:",omitempty"`
	// Blocked would forbid kinds of encryption, as S3 does of late.
	Blocked *struct{} `xml:"BlockedEncryptionTypes"`
}

type xmlEncryptionDefault struct {
	SSEAlgorithm   string
	KMSMasterKeyID string `xml:",omitempty"`
}

// defaultSSE is how a bucket encrypts what is put into it.
type defaultSSE struct {
	algorithm, key string
	bucketKey      bool
}

// defaultSSE reads the bucket's default, nil if it has none.
func (q *request) defaultSSE() (*defaultSSE, error) {
	cfg, err := q.b.Config(q.ctx())
	if err != nil {
		return nil, err
	}
	x, err := parsed[xmlEncryption](cfg, docEncryption)
	if err != nil || x == nil {
		return nil, err
	}
	if len(x.Rules) != 1 || x.Rules[0].Default == nil {
		return nil, fmt.Errorf("encryption of bucket %q: a document without a rule", q.bucket)
	}
	r := x.Rules[0]
	return &defaultSSE{algorithm: r.Default.SSEAlgorithm, key: r.Default.KMSMasterKeyID, bucketKey: r.BucketKeyEnabled != nil && *r.BucketKeyEnabled}, nil
}

func (q *request) getEncryption() error {
	var x xmlEncryption
	found, err := q.config(docEncryption, &x)
	if err != nil {
		return err
	}
	if !found {
		return apiErr("ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found").with("BucketName", q.bucket)
	}
	for i := range x.Rules {
		if x.Rules[i].BucketKeyEnabled == nil {
			x.Rules[i].BucketKeyEnabled = new(bool)
		}
	}
	x.Xmlns, x.XMLName = xmlNS, xml.Name{Local: "ServerSideEncryptionConfiguration"}
	q.writeXML(http.StatusOK, x)
	return nil
}

func (q *request) putEncryption() error {
	var in xmlEncryption
	if e := q.needXML(&in, maxSmallXML); e != nil {
		return e
	}
	if len(in.Rules) != 1 || in.Rules[0].Default == nil {
		return malformedXML()
	}
	r := in.Rules[0]
	if r.Blocked != nil {
		return notImplemented("blocked encryption types")
	}
	switch d := r.Default; {
	case d.SSEAlgorithm == algAES256 && d.KMSMasterKeyID != "":
		return apiErr("InvalidArgument", "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms").with("ArgumentName", "ApplyServerSideEncryptionByDefault").with("ArgumentValue", d.KMSMasterKeyID)
	case d.SSEAlgorithm != algAES256 && d.SSEAlgorithm != algKMS:
		return malformedXML()
	}
	if !q.s.o.KMS.Ready() {
		return keyErr(kms.ErrNoRoot, "", true)
	}
	return q.configure(docEncryption, xmlEncryption{Rules: in.Rules}, http.StatusOK)
}

func (q *request) deleteEncryption() error { return q.unconfigure(docEncryption) }
