package admin

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/cairnstore/cairn/internal/api"
)

// forwardedBy marks a request that a monitor has passed on. It is not passed on
// again: two monitors that take each other for the leader must not play ball.
const forwardedBy = "Cairn-Forwarded-By"

// localPaths are answered by any monitor, leader or not: they describe the
// monitor or the interface itself.
var localPaths = map[string]bool{"/metrics": true, "/openapi.json": true, "/openapi.yaml": true, "/openapi-3.0.json": true, "/openapi-3.0.yaml": true}

// withoutLeader are the questions that a monitor answers by itself when there is
// no leader to ask, from what it knows: they are what one needs to find out why.
var withoutLeader = map[string]bool{
	api.Prefix + "/mons": true, api.Prefix + "/map": true, api.Prefix + "/map/locate": true,
}

// newForwardTransport returns the transport to other monitors, shared by all requests.
func newForwardTransport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost:   4,
		MaxConnsPerHost:       64,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: requestTimeout + 5*time.Second,
	}
}

// toLeader answers here what the leader must answer, by passing it on.
func (s *Server) toLeader(c *gin.Context) {
	if localPaths[c.Request.URL.Path] {
		return
	}
	q := s.backend.Quorum()
	if q.Leader != "" && q.Leader == q.Self {
		return
	}
	if q.Leader == "" && c.Request.Method == http.MethodGet && withoutLeader[c.Request.URL.Path] {
		return
	}
	if by := c.GetHeader(forwardedBy); by != "" {
		s.abort(c, noLeader(
			fmt.Sprintf("monitor %s does not lead, but monitor %s passed this request on to it: the leader is changing", q.Self, by),
			"retry in a moment"))
		return
	}
	if q.Leader == "" {
		s.abort(c, noLeader(fmt.Sprintf("monitor %s knows of no leading monitor: %s", q.Self, voters(q)),
			"start the missing monitors or restore the network between them, then retry; `cairn mon stat` shows who is there"))
		return
	}
	if q.LeaderAdmin == "" {
		s.abort(c, noLeader(fmt.Sprintf("monitor %s leads, but monitor %s does not know its REST address", q.Leader, q.Self),
			"ask monitor "+q.Leader+" directly, or retry in a moment"))
		return
	}
	target := &url.URL{Scheme: "http", Host: q.LeaderAdmin}
	if u, err := url.Parse(q.LeaderAdmin); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		target = &url.URL{Scheme: u.Scheme, Host: u.Host}
	}
	proxy := &httputil.ReverseProxy{
		Transport: s.transport,
		ErrorLog:  slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = target.Host
			r.Out.Header.Set(forwardedBy, q.Self)
			r.Out.Header.Set(forwardedFor, api.Actor(r.In.Context()))
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			p := api.NewProblem(fmt.Errorf("%w: leading monitor %s at %s, to which monitor %s passed the request: %w",
				api.ErrNoQuorum, q.Leader, q.LeaderAdmin, q.Self, err), "retry in a moment; if it stays so, check that monitor "+q.Leader+" runs and is reachable")
			var oe *net.OpError
			if errors.As(err, &oe) && oe.Op == "dial" {
				p.Code = api.CodeNoLeader // it got nothing, so nothing was done
			}
			writeProblem(w, p)
		},
	}
	proxy.ServeHTTP(c.Writer, c.Request)
	c.Abort()
}

// noLeader is the problem of a request for which nothing was done.
func noLeader(detail, next string) *api.Problem {
	return &api.Problem{Status: http.StatusServiceUnavailable, Title: http.StatusText(http.StatusServiceUnavailable),
		Code: api.CodeNoLeader, Detail: detail, Next: next}
}

func voters(q api.Quorum) string {
	if len(q.Members) == 0 {
		return "it knows of no other monitors"
	}
	names := make([]string, len(q.Members))
	for i, m := range q.Members {
		names[i] = m.Name
	}
	return fmt.Sprintf("the monitors are %s, and more than half of them must be up", strings.Join(names, ", "))
}
