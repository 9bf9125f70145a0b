package conformance

import "strings"

// site makes a bucket with this website, whose objects everybody may read.
func (c *C) site(conf string) string {
	b := c.bucket()
	c.open(b)
	c.do("PUT", "/"+b+"?website", doc("<WebsiteConfiguration>"+conf+"</WebsiteConfiguration>")).is(200)
	c.do("PUT", "/"+b+"?policy", body(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::`+b+`/*"}]}`)).is(204)
	return b
}

// visit asks a bucket's website for a page, which nobody signs.
func (c *C) visit(b, path string, opts ...opt) *R {
	return c.do("GET", path, append([]opt{anon, host(c.siteHost(b))}, opts...)...)
}

func (c *C) siteHost(b string) string {
	_, domain, _ := strings.Cut(c.vhost(b), ".")
	return b + ".s3-website." + domain
}

// page wants an error that a person can read.
func (r *R) page(status int, code string) *R {
	if r.status != status || r.header.Get("X-Amz-Error-Code") != code || !strings.Contains(string(r.body), "<li>Code: "+code+"</li>") || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
		fail("%v; want a page for %d %s", r, status, code)
	}
	return r
}

func rules(of ...string) string {
	return "<IndexDocument><Suffix>index.html</Suffix></IndexDocument><ErrorDocument><Key>error.html</Key></ErrorDocument><RoutingRules><RoutingRule>" + strings.Join(of, "</RoutingRule><RoutingRule>") + "</RoutingRule></RoutingRules>"
}

// noSite is a website configuration that is refused.
func noSite(conf, code string) func(c *C) {
	return misconfigured("website", "WebsiteConfiguration", conf, 400, code)
}

const index = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>"

var websiteRows = []row{
	{"PutBucketWebsite/EmptySuffix", noSite("<IndexDocument><Suffix></Suffix></IndexDocument>", "InvalidArgument")},
	{"PutBucketWebsite/EmptyErrorKey", noSite(index+"<ErrorDocument><Key></Key></ErrorDocument>", "InvalidArgument")},
	{"PutBucketWebsite/RedirectAndIndex", noSite("<RedirectAllRequestsTo><HostName>a</HostName></RedirectAllRequestsTo>"+index, "MalformedXML")},
	{"PutBucketWebsite/RedirectNoHost", noSite("<RedirectAllRequestsTo><Protocol>http</Protocol></RedirectAllRequestsTo>", "MalformedXML")},
	{"PutBucketWebsite/UnknownProtocol", noSite("<RedirectAllRequestsTo><HostName>a</HostName><Protocol>ftp</Protocol></RedirectAllRequestsTo>", "InvalidRequest")},
	{"PutBucketWebsite/RuleUnknownProtocol", noSite(rules("<Redirect><Protocol>ftp</Protocol></Redirect>"), "InvalidRequest")},
	{"PutBucketWebsite/RuleEmptyCondition", noSite(rules("<Condition></Condition><Redirect><HostName>a</HostName></Redirect>"), "MalformedXML")},
	{"PutBucketWebsite/RuleEmptyRedirect", noSite(rules("<Redirect></Redirect>"), "MalformedXML")},
	{"PutBucketWebsite/RuleNoRedirect", noSite(rules("<Condition><KeyPrefixEquals>a</KeyPrefixEquals></Condition>"), "MalformedXML")},
	{"PutBucketWebsite/RuleKeyAndPrefix", noSite(rules("<Redirect><ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith></Redirect>"), "InvalidRequest")},
	{"PutBucketWebsite/RuleBadRedirectCode", noSite(rules("<Redirect><HostName>a</HostName><HttpRedirectCode>306</HttpRedirectCode></Redirect>"), "InvalidRequest")},
	{"PutBucketWebsite/RuleCodeNoNumber", noSite(rules("<Redirect><HostName>a</HostName><HttpRedirectCode>3xx</HttpRedirectCode></Redirect>"), "MalformedXML")},
	{"PutBucketWebsite/RuleBadErrorCode", noSite(rules("<Condition><HttpErrorCodeReturnedEquals>399</HttpErrorCodeReturnedEquals></Condition><Redirect><HostName>a</HostName></Redirect>"), "InvalidRequest")},
	{"PutBucketWebsite/TooManyRules", noSite(rules(strings.Split(strings.Repeat("<Redirect><HostName>a</HostName></Redirect>,", 50)+"<Redirect><HostName>a</HostName></Redirect>", ",")...), "InvalidRequest")},
	{"PutBucketWebsite/TooLong", noSite(index+"<ErrorDocument><Key>"+strings.Repeat("x", 140<<10)+"</Key></ErrorDocument>", "MaxMessageLengthExceeded")},

	{"Website/Index", func(c *C) {
		b := c.site(index)
		c.put(b, "index.html", "top", hdr("Content-Type", "text/html"))
		c.put(b, "docs/index.html", "docs")
		c.put(b, "a b/é.html", "page")
		c.visit(b, "/").is(200).text("top").h("Content-Type", "text/html").hset("Etag")
		c.visit(b, "/docs/").is(200).text("docs")
		c.visit(b, "/a%20b/%C3%A9.html").is(200).text("page")
		c.visit(b, "/index.html?versionId=x&acl").is(200).text("top") // parameters mean nothing
		c.do("HEAD", "/docs/", anon, host(c.siteHost(b))).is(200).h("Content-Length", "4")
	}},
	{"Website/FolderWithoutSlash", func(c *C) {
		b := c.site(index)
		c.put(b, "docs/index.html", "docs")
		c.visit(b, "/docs").is(302).h("Location", "/docs/")
		c.visit(b, "/other").page(403, "AccessDenied")
	}},
	{"Website/NotFound", func(c *C) {
		b := c.site(index)
		c.do("PUT", "/"+b+"?policy", body(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::`+b+`","arn:aws:s3:::`+b+`/*"]}]}`)).is(204)
		c.visit(b, "/<x>").page(404, "NoSuchKey").contains("&lt;x&gt;")
		c.do("HEAD", "/x", anon, host(c.siteHost(b))).is(404).h("X-Amz-Error-Code", "NoSuchKey").text("")
	}},
	{"Website/ErrorDocument", func(c *C) {
		b := c.site(website)
		c.put(b, "error.html", "sorry", hdr("Content-Type", "text/html"))
		c.visit(b, "/x", hdr("Range", "bytes=0-1", "If-None-Match", "*")).is(403).text("sorry").h("Content-Type", "text/html").h("X-Amz-Error-Code", "AccessDenied")
		c.do("HEAD", "/x", anon, host(c.siteHost(b))).is(403).h("Content-Length", "5")
	}},
	{"Website/ErrorDocumentMissing", func(c *C) {
		c.visit(c.site(website), "/x").page(403, "AccessDenied").contains("Custom Error Document")
	}},
	{"Website/Private", func(c *C) {
		b := c.site(website)
		c.put(b, "index.html", "top")
		c.put(b, "error.html", "sorry")
		c.do("DELETE", "/"+b+"?policy").is(204)
		c.visit(b, "/").page(403, "AccessDenied")
		c.do("GET", "/", host(c.siteHost(b))).page(403, "AccessDenied") // signatures do not count
	}},
	{"Website/RangeAndConditions", func(c *C) {
		b := c.site(index)
		e := c.put(b, "k", "hello").header.Get("Etag")
		c.visit(b, "/k", hdr("Range", "bytes=1-2")).is(206).text("el")
		c.visit(b, "/k", hdr("If-None-Match", e)).is(304).text("")
		c.visit(b, "/k", hdr("If-Match", "x")).page(412, "PreconditionFailed")
	}},
	{"Website/RedirectAll", func(c *C) {
		b := c.site("<RedirectAllRequestsTo><HostName>example.com</HostName><Protocol>https</Protocol></RedirectAllRequestsTo>")
		c.visit(b, "/a/b%20c?d=e").is(301).h("Location", "https://example.com/a/b%20c?d=e")
		c.do("PUT", "/"+b+"?website", doc("<WebsiteConfiguration><RedirectAllRequestsTo><HostName>example.com</HostName></RedirectAllRequestsTo></WebsiteConfiguration>")).is(200)
		c.visit(b, "/").is(301).h("Location", "http://example.com/")
	}},
	{"Website/RedirectOfObject", func(c *C) {
		b := c.site(index)
		c.put(b, "old", "v", hdr("X-Amz-Website-Redirect-Location", "/new"))
		c.put(b, "away", "v", hdr("X-Amz-Website-Redirect-Location", "https://example.com/x"))
		c.visit(b, "/old").is(301).h("Location", "/new").text("").h("Etag", "")
		c.visit(b, "/away").is(301).h("Location", "https://example.com/x")
		c.get(b, "old").is(200).text("v").h("X-Amz-Website-Redirect-Location", "/new")
		c.copyTo(b, "copy", b+"/old").is(200)
		c.visit(b, "/copy").is(200).text("v")
		c.copyTo(b, "old", b+"/old", hdr("X-Amz-Website-Redirect-Location", "/newer")).is(200)
		c.visit(b, "/old").is(301).h("Location", "/newer")
		c.do("PUT", "/"+b+"/bad", body("v"), hdr("X-Amz-Website-Redirect-Location", "ftp://example.com")).err(400, "InvalidRedirectLocation")
	}},
	{"Website/RulePrefix", func(c *C) {
		b := c.site(rules("<Condition><KeyPrefixEquals>docs/</KeyPrefixEquals></Condition><Redirect><ReplaceKeyPrefixWith>documents/</ReplaceKeyPrefixWith></Redirect>",
			"<Condition><KeyPrefixEquals>im</KeyPrefixEquals></Condition><Redirect><HostName>img.example.com</HostName><Protocol>https</Protocol><ReplaceKeyWith>x.png</ReplaceKeyWith><HttpRedirectCode>307</HttpRedirectCode></Redirect>"))
		c.put(b, "docs/a", "v")
		c.put(b, "plain", "v")
		c.visit(b, "/docs/a?b").is(301).h("Location", "http://"+c.siteHost(b)+"/documents/a?b")
		c.visit(b, "/images/1").is(307).h("Location", "https://img.example.com/x.png")
		c.visit(b, "/plain").is(200).text("v")
	}},
	{"Website/RuleError", func(c *C) {
		b := c.site(rules("<Condition><KeyPrefixEquals>old/</KeyPrefixEquals><HttpErrorCodeReturnedEquals>403</HttpErrorCodeReturnedEquals></Condition><Redirect><ReplaceKeyPrefixWith>archive/</ReplaceKeyPrefixWith><HttpRedirectCode>302</HttpRedirectCode></Redirect>"))
		c.put(b, "old/a", "v")
		c.put(b, "error.html", "sorry")
		c.visit(b, "/old/a").is(200).text("v")
		c.visit(b, "/old/b").is(302).h("Location", "http://"+c.siteHost(b)+"/archive/b")
		c.visit(b, "/new/b").is(403).text("sorry")
	}},
	{"Website/None", func(c *C) {
		b := c.bucket()
		c.visit(b, "/").page(404, "NoSuchWebsiteConfiguration")
		c.visit(c.fresh(), "/").page(404, "NoSuchBucket")
	}},
	{"Website/OtherMethods", func(c *C) {
		b := c.site(index)
		for _, m := range []string{"PUT", "POST", "DELETE", "PATCH"} {
			c.do(m, "/k", anon, host(c.siteHost(b))).page(405, "MethodNotAllowed")
		}
	}},
	{"Website/CORS", func(c *C) {
		b := c.site(index)
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"?cors", doc("<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://example.com</AllowedOrigin></CORSRule></CORSConfiguration>")).is(200)
		c.visit(b, "/k", origin("https://example.com")).is(200).h("Access-Control-Allow-Origin", "https://example.com")
		c.do("OPTIONS", "/k", anon, host(c.siteHost(b)), origin("https://example.com", "Access-Control-Request-Method", "GET")).is(200).h("Access-Control-Allow-Origin", "https://example.com")
		c.do("OPTIONS", "/k", anon, host(c.siteHost(b)), origin("https://example.com", "Access-Control-Request-Method", "PUT")).page(403, "AccessForbidden")
	}},
	{"Website/PolicyOnSite", func(c *C) {
		b := c.site(index)
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"?policy", body(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::`+b+`/*","Condition":{"StringLike":{"aws:Referer":"http://example.com/*"}}}]}`)).is(204)
		c.visit(b, "/k", hdr("Referer", "http://example.com/page")).is(200).text("v")
		c.visit(b, "/k").page(403, "AccessDenied")
	}},
}

func (r *R) contains(text string) *R {
	if !strings.Contains(string(r.body), text) {
		fail("%v; want %s in it", r, text)
	}
	return r
}
