package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// s3Events takes the events of the bucket that clients race in. Whatever is killed, each change that took effect
// must be told of, once at least, and none that did not.
type s3Events struct {
	server *http.Server
	ln     net.Listener
	wg     sync.WaitGroup

	mu   sync.Mutex // guards below
	told map[told]int
	all  int
	bad  error
}

// told is what an event tells: what a key became, "" for nothing.
type told struct{ key, etag string }

const eventTopic = "torture"

// hearEvents has the bucket tell of its changes.
func (t *s3Torture) hearEvents(ctx context.Context) (*s3Events, error) {
	h := &s3Events{told: map[told]int{}}
	var err error
	if h.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	h.server = &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	h.wg.Go(func() { _ = h.server.Serve(h.ln) }) // until close
	if r, err := t.cluster.Cairn(ctx, "s3", "topic", "create", eventTopic, "--endpoint", "http://"+h.ln.Addr().String()+"/", "--pool", s3Pool); err != nil || r.Code != 0 {
		h.close()
		return nil, fmt.Errorf("make a topic: %w: %s", err, r.Both())
	}
	a, err := t.c.surely(ctx, s3Request{method: http.MethodPut, path: "/" + raceBucket, query: "notification=", body: fmt.Appendf(nil,
		`<NotificationConfiguration><TopicConfiguration><Topic>arn:aws:sns:us-east-1::%s</Topic><Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event>`+
			`<Filter><S3Key><FilterRule><Name>prefix</Name><Value>key-</Value></FilterRule></S3Key></Filter></TopicConfiguration></NotificationConfiguration>`, eventTopic)})
	if err != nil || a.outcome() != done {
		h.close()
		return nil, fmt.Errorf("configure notifications: %s, %w", a, err)
	}
	return h, nil
}

func (h *s3Events) close() {
	_ = h.server.Close() // nothing is expected any more
	h.wg.Wait()
}

// ServeHTTP takes an event, or now and then does not: then it must come again.
func (h *s3Events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var doc struct {
		Records []struct {
			EventName string `json:"eventName"`
			S3        struct {
				Object struct {
					Key  string `json:"key"`
					ETag string `json:"eTag"`
				} `json:"object"`
			} `json:"s3"`
		}
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return // the gateway was killed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := json.Unmarshal(b, &doc); err != nil || len(doc.Records) != 1 {
		h.bad = fmt.Errorf("event %q: %w", b, err)
		return
	}
	if h.all++; h.all%500 == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	e := doc.Records[0]
	if strings.HasPrefix(e.EventName, "ObjectRemoved:") != (e.S3.Object.ETag == "") {
		h.bad = fmt.Errorf("event %s", b)
	}
	h.told[told{e.S3.Object.Key, e.S3.Object.ETag}]++
}

// check waits until all that happened to the keys was told of, and says how often something was told of twice.
func (h *s3Events) check(ctx context.Context, racers []*racer) (line string, err error) {
	want, may := map[told]int{}, map[told]bool{}
	for _, r := range racers {
		for _, state := range r.chain.was {
			want[told{r.chain.name, state}]++
		}
		for _, l := range r.chain.late {
			may[told{r.chain.name, l.want}] = true
		}
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		h.mu.Lock()
		twice, events := 0, 0
		var missing []string
		for x, n := range want {
			if h.told[x] < n {
				missing = append(missing, fmt.Sprintf("that %s became %s was told %d times of %d", x.key, shown(x.etag), h.told[x], n))
			}
		}
		var invented []string
		for x, n := range h.told {
			if want[x] == 0 && !may[x] {
				invented = append(invented, fmt.Sprintf("that %s became %s was told, and never was so", x.key, shown(x.etag)))
			}
			events += n
			twice += max(0, n-max(1, want[x]))
		}
		bad := h.bad
		h.mu.Unlock()
		slices.Sort(missing)
		switch {
		case bad != nil:
			return "", bad
		case len(invented) > 0:
			return "", fmt.Errorf("%d events of what never happened: %s", len(invented), invented[0])
		case len(missing) == 0:
			return fmt.Sprintf("%d events told of %d changes, %d of them more than once", events, len(want), twice), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("%d changes were not told of: %s", len(missing), missing[0])
		}
	}
}
