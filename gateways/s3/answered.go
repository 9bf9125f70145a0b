package s3

import (
	"encoding/xml"
	"net/http"
)

// What is not done here but asked for: answered as S3 answers for a bucket that does not use it.

// docPayment is the name of the document that says who pays.
const docPayment = "request-payment"

type xmlPayment struct {
	XMLName xml.Name `xml:"RequestPaymentConfiguration"`
	Xmlns   string   `xml:"xmlns,attr,omitempty"`
	Payer   string
}

// getRequestPayment says who pays for requests. Nobody is billed here, whatever it says.
func (q *request) getRequestPayment() error {
	x := xmlPayment{Payer: "BucketOwner"}
	if _, err := q.config(docPayment, &x); err != nil {
		return err
	}
	q.writeXML(http.StatusOK, xmlPayment{Xmlns: xmlNS, Payer: x.Payer})
	return nil
}

func (q *request) putRequestPayment() error {
	var in xmlPayment
	if e := q.needXML(&in, maxSmallXML); e != nil {
		return e
	}
	switch in.Payer {
	case "Requester":
		return q.configure(docPayment, xmlPayment{Payer: in.Payer}, http.StatusOK)
	case "BucketOwner":
		if err := q.b.SetConfig(q.ctx(), map[string][]byte{docPayment: nil}); err != nil {
			return err
		}
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
	return malformedXML()
}

type xmlAccelerate struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ AccelerateConfiguration"`
}

func (q *request) getAccelerate() error {
	q.writeXML(http.StatusOK, xmlAccelerate{}) // empty: never switched on
	return nil
}

func (q *request) getReplication() error {
	return apiErr("ReplicationConfigurationNotFoundError", "The replication configuration was not found").with("BucketName", q.bucket)
}
