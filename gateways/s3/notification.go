package s3

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
)

const docNotification = "notification"

// xmlNotification is what a bucket tells of its changes, and whom. Topics are the only destinations there are.
type xmlNotification struct {
	XMLName     xml.Name         `xml:"NotificationConfiguration"`
	Xmlns       string           `xml:"xmlns,attr,omitempty"`
	Topics      []xmlDestination `xml:"TopicConfiguration"`
	Queues      []xmlDestination `xml:"QueueConfiguration"`
	Functions   []xmlDestination `xml:"CloudFunctionConfiguration"`
	EventBridge *struct{}        `xml:"EventBridgeConfiguration"`
}

type xmlDestination struct {
	ID       string     `xml:"Id"`
	Topic    string     `xml:"Topic,omitempty"`
	Queue    string     `xml:"Queue,omitempty"`
	Function string     `xml:"CloudFunction,omitempty"`
	Events   []string   `xml:"Event"`
	Filter   *xmlFilter `xml:"Filter"`
}

type xmlFilter struct {
	Rules []xmlFilterRule `xml:"S3Key>FilterRule"`
}

type xmlFilterRule struct{ Name, Value string }

const maxDestinations = 100

// eventNames are what destinations may ask for. The first group happens here, the others never do: nothing is archived,
// replicated or lost by itself.
var eventNames = []string{
	"s3:ObjectCreated:*", "s3:ObjectCreated:Put", "s3:ObjectCreated:Post", "s3:ObjectCreated:Copy", "s3:ObjectCreated:CompleteMultipartUpload",
	"s3:ObjectRemoved:*", "s3:ObjectRemoved:Delete", "s3:ObjectRemoved:DeleteMarkerCreated",
	"s3:LifecycleExpiration:*", "s3:LifecycleExpiration:Delete", "s3:LifecycleExpiration:DeleteMarkerCreated",
	"s3:ObjectTagging:*", "s3:ObjectTagging:Put", "s3:ObjectTagging:Delete", "s3:ObjectAcl:Put",

	"s3:ReducedRedundancyLostObject", "s3:ObjectRestore:*", "s3:ObjectRestore:Post", "s3:ObjectRestore:Completed", "s3:ObjectRestore:Delete",
	"s3:Replication:*", "s3:Replication:OperationFailedReplication", "s3:Replication:OperationMissedThreshold", "s3:Replication:OperationReplicatedAfterThreshold",
	"s3:Replication:OperationNotTracked", "s3:LifecycleTransition", "s3:IntelligentTiering",
}

// covers reports whether asking for one event is asking for the other, too.
func covers(asked, event string) bool {
	group, all := strings.CutSuffix(asked, "*")
	return asked == event || all && strings.HasPrefix(event, group)
}

// affixes returns what keys must begin and end with.
func (d *xmlDestination) affixes() (prefix, suffix string) {
	if d.Filter != nil {
		for _, r := range d.Filter.Rules {
			if strings.EqualFold(r.Name, "prefix") {
				prefix = r.Value
			} else {
				suffix = r.Value
			}
		}
	}
	return prefix, suffix
}

// wants reports whether a destination is to hear of an event.
func (d *xmlDestination) wants(event, key string) bool {
	prefix, suffix := d.affixes()
	return slices.ContainsFunc(d.Events, func(asked string) bool { return covers(asked, event) }) && strings.HasPrefix(key, prefix) && strings.HasSuffix(key, suffix)
}

// overlaps reports whether there may be an event that both want.
func (d *xmlDestination) overlaps(o *xmlDestination) bool {
	dp, ds := d.affixes()
	op, os := o.affixes()
	if !strings.HasPrefix(dp, op) && !strings.HasPrefix(op, dp) || !strings.HasSuffix(ds, os) && !strings.HasSuffix(os, ds) {
		return false
	}
	for _, a := range d.Events {
		for _, b := range o.Events {
			if covers(a, b) || covers(b, a) {
				return true
			}
		}
	}
	return false
}

// topicARN is the name of a topic in configurations; account and region of one that is given do not matter.
func topicARN(region, name string) string { return "arn:aws:sns:" + region + "::" + name }

// topicOf returns the topic that an ARN names.
func topicOf(arn string) (name string, ok bool) {
	f := strings.Split(arn, ":")
	if len(f) != 6 || f[0] != "arn" || f[2] != "sns" || f[5] == "" {
		return "", false
	}
	return f[5], true
}

// check returns what is wrong with a configuration, and gives names to what has none.
func (x *xmlNotification) check() *apiError {
	bad := func(format string, args ...any) *apiError { return apiErr("InvalidArgument", format, args...) }
	all := slices.Concat(x.Topics, x.Queues, x.Functions)
	if len(all) > maxDestinations {
		return bad("At most %d configurations are allowed.", maxDestinations)
	}
	ids := map[string]bool{}
	for i := range all {
		d := &all[i]
		if len(d.Events) == 0 {
			return malformedXML()
		}
		for _, e := range d.Events {
			if !slices.Contains(eventNames, e) {
				return malformedXML()
			}
		}
		if arn := d.Topic + d.Queue + d.Function; strings.Count(arn, ":") < 5 || !strings.HasPrefix(arn, "arn:") {
			return bad("The ARN could not be parsed").with("ArgumentName", "Arn").with("ArgumentValue", arn)
		}
		if len(d.ID) > 255 || d.ID != "" && ids[d.ID] {
			return bad("The configuration id must be unique, and have at most 255 characters.").with("ArgumentName", "Id").with("ArgumentValue", d.ID)
		}
		ids[d.ID] = true
		if d.Filter == nil {
			continue
		}
		names := map[string]bool{}
		for _, r := range d.Filter.Rules {
			name := strings.ToLower(r.Name)
			if name != "prefix" && name != "suffix" {
				return bad("filter rule name must be either prefix or suffix").with("ArgumentName", "FilterRule.Name").with("ArgumentValue", r.Name)
			}
			if names[name] {
				return bad("Cannot specify more than one %s rule in a filter.", name).with("ArgumentName", "FilterRule.Name").with("ArgumentValue", r.Name)
			}
			if len(r.Value) > bucket.MaxKeyBytes {
				return bad("Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation").with("ArgumentName", "FilterRule.Value").with("ArgumentValue", r.Value)
			}
			names[name] = true
		}
	}
	for i := range all {
		for j := range all[:i] {
			if all[i].overlaps(&all[j]) {
				return bad("Configurations overlap. Configurations on the same bucket cannot share a common event type.")
			}
		}
	}
	return nil
}

func (q *request) getNotification() error {
	x := new(xmlNotification)
	if _, err := q.config(docNotification, x); err != nil {
		return err
	}
	x.Xmlns = xmlNS
	q.writeXML(http.StatusOK, x)
	return nil
}

func (q *request) putNotification() error {
	var in xmlNotification
	if e := q.needXML(&in, maxSmallXML); e != nil {
		return e
	}
	if e := in.check(); e != nil {
		return e
	}
	if in.EventBridge != nil {
		return notImplemented("notifications to EventBridge")
	}
	for _, d := range slices.Concat(in.Topics, in.Queues, in.Functions) {
		arn := d.Topic + d.Queue + d.Function
		var doc []byte
		if name, ok := topicOf(d.Topic); ok {
			var err error
			if doc, err = q.s.o.Buckets.Topic(q.ctx(), name); err != nil {
				return err
			}
		}
		if doc == nil {
			return apiErr("InvalidArgument", "Unable to validate the following destination configurations").with("ArgumentName", arn).with("ArgumentValue", "The destination is no topic that exists.")
		}
	}
	for i := range in.Topics {
		if in.Topics[i].ID == "" {
			in.Topics[i].ID = newRequestID() + newRequestID()
		}
	}
	if len(in.Topics) == 0 {
		if err := q.b.SetConfig(q.ctx(), map[string][]byte{docNotification: nil}); err != nil {
			return err
		}
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
	if err := q.b.Notify(q.ctx()); err != nil {
		return err
	}
	return q.configure(docNotification, xmlNotification{Topics: in.Topics}, http.StatusOK)
}

// telling is a bucket.Recorder: it says what is told of the changes that one request, or the lifecycle, makes.
type telling struct {
	s       *Server
	cfg     *xmlNotification
	bucket  string
	owner   string
	by      string // who asked
	from    string // and from which address
	request string
	op      string // an operation of S3, or "" for the lifecycle
}

// record has changes of the bucket told of, if it is configured to.
func (q *request) record(b *bucket.Bucket) error {
	if q.r.Method == http.MethodGet || q.r.Method == http.MethodHead {
		return nil
	}
	cfg, err := b.Config(q.ctx())
	if err != nil || cfg.Doc(docNotification) == nil {
		return err
	}
	x, err := parsed[xmlNotification](cfg, docNotification)
	if err != nil {
		return fmt.Errorf("notifications of bucket %q: %w", b.Name(), err)
	}
	from, _, err := net.SplitHostPort(q.r.RemoteAddr)
	if err != nil {
		from = q.r.RemoteAddr
	}
	by := q.who.name
	if q.who.anonymous() {
		by = "anonymous"
	}
	q.r = q.r.WithContext(bucket.Recording(q.ctx(), &telling{
		s: q.s, cfg: x, bucket: b.Name(), owner: b.Info().Owner, by: by, from: from, request: q.id, op: q.op,
	}))
	return nil
}

// name returns what AWS calls the event, "" if it has no name for it.
func (t *telling) name(what string) string {
	switch {
	case what == bucket.Described && t.op == "PutObjectTagging":
		return "s3:ObjectTagging:Put"
	case what == bucket.Described && t.op == "DeleteObjectTagging":
		return "s3:ObjectTagging:Delete"
	case what == bucket.Described && t.op == "PutObjectAcl":
		return "s3:ObjectAcl:Put"
	case what == bucket.Removed && t.op == "":
		return "s3:LifecycleExpiration:Delete"
	case what == bucket.Marked && t.op == "":
		return "s3:LifecycleExpiration:DeleteMarkerCreated"
	case what == bucket.Removed:
		return "s3:ObjectRemoved:Delete"
	case what == bucket.Marked:
		return "s3:ObjectRemoved:DeleteMarkerCreated"
	case what != bucket.Created || t.op == "":
		return ""
	}
	switch t.op {
	case "CopyObject":
		return "s3:ObjectCreated:Copy"
	case "PostObject":
		return "s3:ObjectCreated:Post"
	case "CompleteMultipartUpload":
		return "s3:ObjectCreated:CompleteMultipartUpload"
	}
	return "s3:ObjectCreated:Put"
}

// The record of an event, as AWS sends it.
type (
	eventRecord struct {
		Version   string         `json:"eventVersion"`
		Source    string         `json:"eventSource"`
		Region    string         `json:"awsRegion"`
		Time      string         `json:"eventTime"`
		Name      string         `json:"eventName"`
		User      eventPrincipal `json:"userIdentity"`
		Request   eventRequest   `json:"requestParameters"`
		Response  eventResponse  `json:"responseElements"`
		Happening eventHappening `json:"s3"`
	}
	eventPrincipal struct {
		ID string `json:"principalId"`
	}
	eventRequest struct {
		Address string `json:"sourceIPAddress"`
	}
	eventResponse struct {
		Request string `json:"x-amz-request-id"`
		Host    string `json:"x-amz-id-2"`
	}
	eventHappening struct {
		Version string      `json:"s3SchemaVersion"`
		ID      string      `json:"configurationId"`
		Bucket  eventBucket `json:"bucket"`
		Object  eventObject `json:"object"`
	}
	eventBucket struct {
		Name  string         `json:"name"`
		Owner eventPrincipal `json:"ownerIdentity"`
		ARN   string         `json:"arn"`
	}
	eventObject struct {
		Key       string `json:"key"`
		Size      *int64 `json:"size,omitempty"`
		ETag      string `json:"eTag,omitempty"`
		Version   string `json:"versionId,omitempty"`
		Sequencer string `json:"sequencer"`
	}
)

// Events implements bucket.Recorder.
func (t *telling) Events(h bucket.Happened) (evs []bucket.Event) {
	name := t.name(h.What)
	if name == "" {
		return nil
	}
	for i := range t.cfg.Topics {
		d := &t.cfg.Topics[i]
		topic, ok := topicOf(d.Topic)
		if !ok || !d.wants(name, h.Key) {
			continue
		}
		object := eventObject{
			Key: strings.ReplaceAll(url.QueryEscape(h.Key), "%2F", "/"), ETag: h.ETag, Sequencer: fmt.Sprintf("%016X", h.Time.UnixNano()),
		}
		if h.What == bucket.Created || h.What == bucket.Described {
			object.Size = &h.Size
		}
		if h.Version != bucket.NullVersion {
			object.Version = h.Version
		}
		doc, err := json.Marshal(map[string][]eventRecord{"Records": {{
			Version: "2.1", Source: "aws:s3", Region: t.s.o.Region, Time: h.Time.UTC().Format("2006-01-02T15:04:05.000Z"), Name: strings.TrimPrefix(name, "s3:"),
			User: eventPrincipal{t.by}, Request: eventRequest{t.from}, Response: eventResponse{t.request, t.s.o.HostID},
			Happening: eventHappening{
				Version: "1.0", ID: d.ID, Bucket: eventBucket{t.bucket, eventPrincipal{t.owner}, "arn:aws:s3:::" + t.bucket}, Object: object,
			},
		}}})
		if err != nil {
			t.s.log.Error("encode an event", "bucket", t.bucket, "err", err)
			continue
		}
		evs = append(evs, bucket.Event{Topic: topic, Doc: doc})
	}
	return evs
}

// Recorded implements bucket.Recorder.
func (t *telling) Recorded(partition string) {
	t.s.metrics.events.WithLabelValues("recorded").Inc()
	t.s.notifier.soon(partition, time.Time{})
}
