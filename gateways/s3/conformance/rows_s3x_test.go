package conformance

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// S3X is EdgeFS's and ours, not Amazon's: docs/s3x.md. Other servers do not pass these rows.

type kvPage struct {
	Pairs []struct {
		Key   string
		Size  int64
		Value *string
	}
	More bool
	Next string
}

func (r *R) json(v any) {
	if err := json.Unmarshal(r.body, v); err != nil {
		fail("%v: %s", err, r.body)
	}
}

func (c *C) kv(method, b, m, more string, opts ...opt) *R {
	return c.do(method, "/"+b+"/"+m+"?comp=kv"+more, opts...)
}

// pairs lists a map: key=value, or key where values are not asked for.
func (c *C) pairs(b, m, more string) (out []string, p kvPage) {
	c.kv("GET", b, m, more).is(200).json(&p)
	for _, x := range p.Pairs {
		s := x.Key
		if x.Value != nil {
			v, err := base64.StdEncoding.DecodeString(*x.Value)
			if err != nil {
				fail("%v", err)
			}
			s += "=" + string(v)
		}
		out = append(out, s)
	}
	return out, p
}

func same(got []string, want ...string) {
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		fail("%q, want %q", got, want)
	}
}

func (c *C) block(comp, b, key, text string, opts ...opt) *R {
	return c.do("POST", "/"+b+"/"+key+"?comp="+comp, append([]opt{body(text)}, opts...)...)
}

func (c *C) session(b, key string, opts ...opt) string {
	return c.do("POST", "/"+b+"/"+key+"?comp=streamsession", opts...).is(200).hset("X-Session-Id").header.Get("X-Session-Id")
}

func in(id string, kv ...string) opt { return hdr(append([]string{"X-Session-Id", id}, kv...)...) }

var s3xRows = []row{
	{"S3X/KV/OnePair", func(c *C) {
		b := c.bucket()
		c.kv("POST", b, "m", "&key=a%2Fb", body("1")).is(200).h("Etag", etag("1"))
		c.do("GET", "/"+b+"/m?comp=kvget&key=a%2Fb").is(200).text("1")
		c.do("HEAD", "/"+b+"/m?comp=kvget&key=a%2Fb").is(200).h("Content-Length", "1")
		c.kv("DELETE", b, "m", "&key=a%2Fb").is(204)
		c.do("GET", "/"+b+"/m?comp=kvget&key=a%2Fb").err(404, "NoSuchKey")
		c.do("GET", "/"+b+"/m?comp=kvget").err(400, "InvalidArgument")
	}},
	{"S3X/KV/List", func(c *C) {
		b := c.bucket()
		c.kv("POST", b, "m", "", body(`{"b1":"2","a":"1","b2":"3","c":"é"}`)).is(200)
		c.kv("POST", b, "m", "&encoding=base64", body(`{"bin":"AAEC"}`)).is(200)
		c.put(b, "mm", "of another")
		got, _ := c.pairs(b, "m", "")
		same(got, "a", "b1", "b2", "bin", "c")
		got, _ = c.pairs(b, "m", "&values=1")
		same(got, "a=1", "b1=2", "b2=3", "bin=\x00\x01\x02", "c=é")
		got, _ = c.pairs(b, "m", "&key=b&values=0")
		same(got, "b1", "b2", "bin")
		got, p := c.pairs(b, "m", "&maxresults=2")
		same(got, "a", "b1")
		if !p.More || p.Next != "b1" {
			fail("%+v", p)
		}
		got, p = c.pairs(b, "m", "&maxresults=9&marker=b1")
		same(got, "b2", "bin", "c")
		if p.More {
			fail("%+v", p)
		}
		got, _ = c.pairs(b, "none", "")
		same(got)
		c.kv("GET", b, "m", "&maxresults=0").err(400, "InvalidArgument")
	}},
	{"S3X/KV/Delete", func(c *C) {
		b := c.bucket()
		c.kv("POST", b, "m", "", body(`{"a":"1","b":"2","c":"3","d":"4"}`)).is(200)
		c.kv("DELETE", b, "m", "", body(`["a","c","none"]`)).is(200)
		got, _ := c.pairs(b, "m", "")
		same(got, "b", "d")
		c.kv("DELETE", b, "m", "").err(400, "InvalidRequest")
		c.kv("DELETE", b, "m", "&all=1").is(200)
		got, _ = c.pairs(b, "m", "")
		same(got)
		c.do("DELETE", "/"+b).is(204)
	}},
	{"S3X/KV/Limits", func(c *C) {
		b := c.bucket()
		c.kv("POST", b, "m", "&key=k", body(strings.Repeat("x", 1<<20))).is(200)
		c.kv("POST", b, "m", "&key=k", body(strings.Repeat("x", 1<<20+1))).err(400, "EntityTooLarge")
		c.kv("POST", b, "m", "&key="+strings.Repeat("k", 1024), body("v")).err(400, "KeyTooLongError")
		c.kv("POST", b, "m", "", body(`{"":"v"}`)).err(400, "InvalidArgument")
		c.kv("POST", b, "m", "", body(`["a"]`)).err(400, "InvalidRequest")
		c.kv("POST", b, "m", "", body(`{}`)).err(400, "InvalidRequest")
		got, _ := c.pairs(b, "m", "")
		same(got, "k")
	}},
	{"S3X/KV/Access", func(c *C) {
		b := c.bucket()
		c.kv("POST", b, "m", "&key=a", body("1")).is(200)
		o := as(c.other())
		c.kv("GET", b, "m", "", o).err(403, "AccessDenied")
		c.kv("POST", b, "m", "&key=a", body("2"), o).err(403, "AccessDenied")
		c.kv("POST", b, "m", "", body(`{"a":"2"}`), o).err(403, "AccessDenied")
		c.kv("DELETE", b, "m", "", body(`["a"]`), o).err(403, "AccessDenied")
		c.kv("DELETE", b, "m", "&all=1", o).err(403, "AccessDenied")
		c.do("GET", "/"+b+"/m?comp=kvget&key=a", o).err(403, "AccessDenied")
		// A policy for one map opens that one, whatever the query says of a prefix.
		c.policy(b, statement("Allow", everyone, `"s3:ListBucket"`, theBucket, `,"Condition":{"StringLike":{"s3:prefix":"open/*"}}`)).is(204)
		c.kv("GET", b, "open", "", o).is(200)
		c.kv("GET", b, "m", "&prefix=open/x", o).err(403, "AccessDenied")
		got, _ := c.pairs(b, "m", "&values=1")
		same(got, "a=1")
	}},
	{"S3X/KV/Encrypted", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?encryption", doc(encryption("<SSEAlgorithm>AES256</SSEAlgorithm>"))).is(200)
		c.kv("POST", b, "m", "", body(`{"a":"1"}`)).is(200)
		got, _ := c.pairs(b, "m", "&values=1")
		same(got, "a=1")
		c.do("GET", "/"+b+"/m?comp=kvget&key=a").is(200).text("1").h("X-Amz-Server-Side-Encryption", "AES256")
	}},
	{"S3X/AppendBlock/Plain", func(c *C) {
		b := c.bucket()
		c.block("appendblock", b, "k", "one", hdr("Content-Type", "text/x")).is(200).h("X-Ccow-Offset", "0").h("X-Ccow-Size", "3")
		c.block("appendblock", b, "k", "two").is(200).h("X-Ccow-Offset", "3").h("X-Ccow-Size", "6")
		c.get(b, "k").is(200).text("onetwo").h("Content-Type", "text/x")
		c.block("appendblock", b, "k", "x", hdr("X-Ccow-Condition-Append-Offset", "3")).err(412, "PreconditionFailed").h("X-Ccow-Size", "6")
		c.block("appendblock", b, "k", "!", hdr("X-Ccow-Condition-Append-Offset", "6")).is(200)
		c.block("appendblock", b, "k", "x", hdr("X-Ccow-Condition-Append-Offset", "-1")).err(400, "InvalidArgument")
		c.block("appendblock", b, "k", "x", hdr("If-Match", `"none"`)).err(412, "PreconditionFailed")
		c.block("appendblock", b, "k", "x", sseS3).err(400, "InvalidRequest") // it is not encrypted, and would not be
		c.get(b, "k").is(200).text("onetwo!")
	}},
	{"S3X/RandWriteBlock/Plain", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "0123456789", hdr("X-Amz-Meta-A", "b", "X-Amz-Tagging", "t=1"))
		c.block("randwrblock", b, "k", "abc", hdr("X-Ccow-Offset", "2", "X-Ccow-Length", "3")).is(200)
		c.get(b, "k").is(200).text("01abc56789").h("X-Amz-Meta-A", "b").h("X-Amz-Tagging-Count", "1")
		c.block("randwrblock", b, "k", "XYZ", hdr("X-Ccow-Offset", "8")).is(200).h("X-Ccow-Size", "11")
		c.get(b, "k").is(200).text("01abc567XYZ")
		c.block("randwrblock", b, "k", "x", hdr("X-Ccow-Offset", "12")).err(416, "InvalidRange")
		c.block("randwrblock", b, "k", "x").err(400, "InvalidArgument")
		c.block("randwrblock", b, "k", "x", hdr("X-Ccow-Offset", "0", "X-Ccow-Length", "2")).err(400, "InvalidArgument")
		c.block("randwrblock", b, "k", strings.Repeat("x", 8<<20+1), hdr("X-Ccow-Offset", "0")).err(400, "EntityTooLarge")
		c.get(b, "k").is(200).text("01abc567XYZ")
	}},
	{"S3X/RandWriteBlock/Versions", func(c *C) {
		b := c.versioned()
		one := c.put(b, "k", "aaaa").header.Get("X-Amz-Version-Id")
		two := c.block("randwrblock", b, "k", "b", hdr("X-Ccow-Offset", "1")).is(200).header.Get("X-Amz-Version-Id")
		c.getV(b, "k", one).is(200).text("aaaa")
		c.getV(b, "k", two).is(200).text("abaa")
	}},
	{"S3X/Blocks/Access", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		o := as(c.other())
		c.block("appendblock", b, "k", "x", o).err(403, "AccessDenied")
		c.block("randwrblock", b, "k", "x", o, hdr("X-Ccow-Offset", "0")).err(403, "AccessDenied")
		c.do("POST", "/"+b+"/k?comp=streamsession", o).err(403, "AccessDenied")
		c.do("POST", "/"+b+"/k?comp=nonsense").err(501, "NotImplemented")
		c.do("PUT", "/"+b+"/k?comp=appendblock").err(405, "MethodNotAllowed")
		c.do("POST", "/"+b+"?comp=kv").err(400, "InvalidRequest")
		c.get(b, "k").is(200).text("v")
	}},
	{"S3X/Session/Finalize", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "0123456789")
		id := c.session(b, "k")
		c.block("streamsession", b, "k", "ab", in(id, "X-Ccow-Offset", "3")).is(200).h("X-Ccow-Offset", "3").h("X-Ccow-Size", "10")
		c.block("streamsession", b, "k", "END", in(id)).is(200).h("X-Ccow-Offset", "10").h("X-Ccow-Size", "13")
		c.block("appendblock", b, "k", "!", in(id)).is(200)
		c.block("randwrblock", b, "k", "Z", in(id, "X-Ccow-Offset", "0")).is(200)
		c.block("randwrblock", b, "k", "Z", in(id, "X-Ccow-Offset", "99")).err(416, "InvalidRange")
		c.block("appendblock", b, "k", "Z", in(id, "X-Ccow-Condition-Append-Offset", "3")).err(412, "PreconditionFailed").h("X-Ccow-Size", "14")
		c.get(b, "k").is(200).text("0123456789")
		c.do("GET", "/"+b+"/k?comp=streamsession", in(id)).is(200).text("Z12ab56789END!")
		c.do("GET", "/"+b+"/k?comp=streamsession", in(id, "Range", "bytes=2-4")).is(206).text("2ab").h("Content-Range", "bytes 2-4/14")
		c.do("HEAD", "/"+b+"/k?comp=streamsession", in(id)).is(200).h("X-Ccow-Size", "14").h("X-Ccow-Session-Edits", "4")
		c.do("GET", "/"+b+"?uploads").is(200).x("Upload.Key")
		e := c.do("POST", "/"+b+"/k?comp=streamsession&finalize", in(id)).is(200).h("X-Ccow-Size", "14").header.Get("Etag")
		c.get(b, "k").is(200).text("Z12ab56789END!").h("Etag", e)
		c.do("POST", "/"+b+"/k?comp=streamsession&finalize", in(id)).is(200).h("Etag", e) // asked again
		c.block("streamsession", b, "k", "x", in(id)).err(404, "NoSuchSession")
	}},
	{"S3X/Session/New", func(c *C) {
		b := c.bucket()
		id := c.session(b, "k", hdr("Content-Type", "text/x", "X-Ccow-Session-Idle", "60"))
		c.block("streamsession", b, "k", "hello", in(id)).is(200)
		c.get(b, "k").err(404, "NoSuchKey")
		c.do("POST", "/"+b+"/k?comp=streamsession&finalize", in(id)).is(200)
		c.get(b, "k").is(200).text("hello").h("Content-Type", "text/x")
	}},
	{"S3X/Session/Cancel", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		for _, end := range []string{"POST", "DELETE"} {
			id := c.session(b, "k")
			c.block("streamsession", b, "k", "x", in(id)).is(200)
			c.do(end, "/"+b+"/k?comp=streamsession&cancel", in(id)).is(204)
			c.do("GET", "/"+b+"/k?comp=streamsession", in(id)).err(404, "NoSuchSession")
			c.do("POST", "/"+b+"/k?comp=streamsession&finalize", in(id)).err(404, "NoSuchSession")
		}
		c.get(b, "k").is(200).text("v")
	}},
	{"S3X/Session/Changed", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		id := c.session(b, "k")
		c.block("streamsession", b, "k", "x", in(id)).is(200)
		c.put(b, "k", "w")
		c.do("POST", "/"+b+"/k?comp=streamsession&finalize", in(id)).err(409, "OperationAborted")
		c.get(b, "k").is(200).text("w")
	}},
	{"S3X/Session/Others", func(c *C) {
		b := c.acls(hdr("X-Amz-Acl", "public-read-write"))
		c.put(b, "k", "secret")
		id := c.session(b, "k")
		o := as(c.other())
		c.do("GET", "/"+b+"/k?comp=streamsession", in(id), o).err(403, "AccessDenied")
		c.block("streamsession", b, "k", "x", in(id), o).err(403, "AccessDenied")
		c.do("POST", "/"+b+"/k?comp=streamsession&finalize", in(id), o).err(403, "AccessDenied")
		// Who may write an object may begin a session on it, and does not get to read what is in it.
		theirs := c.session(b, "k", o)
		c.do("GET", "/"+b+"/k?comp=streamsession", in(theirs), o).err(403, "AccessDenied")
	}},
	{"S3X/Session/Bad", func(c *C) {
		b := c.bucket()
		c.do("POST", "/"+b+"/k?comp=streamsession", hdr("X-Ccow-Session-Idle", "0")).err(400, "InvalidArgument")
		c.do("POST", "/"+b+"/k?comp=streamsession", body("x")).err(400, "InvalidRequest")
		c.do("GET", "/"+b+"/k?comp=streamsession", in("nonsense")).err(404, "NoSuchSession")
		c.put(b, "e", "v", sseS3)
		c.do("POST", "/"+b+"/e?comp=streamsession").err(501, "NotImplemented")
	}},
	{"S3X/Clone", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Meta-A", "b"))
		c.do("POST", "/"+b+"/c?comp=clone", hdr("X-Amz-Copy-Source", b+"/k")).is(200).x("ETag", etag("v"))
		c.get(b, "c").is(200).text("v").h("X-Amz-Meta-A", "b")
		c.do("POST", "/"+b+"/c?comp=clone").err(400, "InvalidArgument")
		c.do("POST", "/"+b+"/c?comp=clone", as(c.other()), hdr("X-Amz-Copy-Source", b+"/k")).err(403, "AccessDenied")
	}},
	{"S3X/Snapshot", func(c *C) {
		b := c.bucket()
		c.put(b, "a b", "one")
		c.do("POST", "/"+b+"/a%20b?comp=snapshot&name=s1").is(200)
		c.put(b, "a b", "two")
		c.do("POST", "/"+b+"/a%20b?comp=snapshot&name=s2").is(200)
		c.do("POST", "/"+b+"/a%20b?comp=snapshot&name=s1").err(412, "PreconditionFailed")
		c.do("POST", "/"+b+"/a%20b?comp=snapshot").err(400, "InvalidArgument")
		var l struct{ Snapshots []struct{ Name string } }
		c.do("GET", "/"+b+"/a%20b?comp=snapshot").is(200).json(&l)
		if fmt.Sprint(l.Snapshots) != "[{s1} {s2}]" {
			fail("%v", l.Snapshots)
		}
		c.get(b, "a b@s1").is(200).text("one")
		c.do("POST", "/"+b+"/a%20b?comp=clone", hdr("X-Amz-Copy-Source", b+"/a%20b@s1")).is(200)
		c.get(b, "a b").is(200).text("one")
		c.do("DELETE", "/"+b+"/a%20b?comp=snapshot&name=s1").is(204)
		c.get(b, "a b@s1").err(404, "NoSuchKey")
		c.do("GET", "/"+b+"/a%20b?comp=snapshot", as(c.other())).err(403, "AccessDenied")
	}},
	{"S3X/Del", func(c *C) {
		b := c.bucket()
		for _, m := range []string{"DELETE", "POST"} {
			c.put(b, "k", "v")
			c.do(m, "/"+b+"/k?comp=del").is(204)
			c.get(b, "k").err(404, "NoSuchKey")
		}
	}},
}

// s3xEncrypted writes blocks into objects that are encrypted.
func s3xEncrypted() []row {
	return each("Blocks", func(c *C, w way) {
		b, text := c.bucket(), odd(140_000)
		c.put(b, "k", text, w.put)
		opts := []opt{w.read, hdr("X-Ccow-Offset", "65530")}
		c.block("randwrblock", b, "k", "BLOCK-OVER-A-BOUNDARY", opts...).is(200).h(w.header, w.value)
		c.block("appendblock", b, "k", "tail", w.read).is(200).h("X-Ccow-Size", "140004")
		want := text[:65530] + "BLOCK-OVER-A-BOUNDARY" + text[65551:] + "tail"
		if r := c.get(b, "k", w.read).is(200).h(w.header, w.value); string(r.body) != want {
			fail("another body")
		}
		c.ranges(b, "k", w, want, 65529, 65536, 139_999)
		if w.name == "SSE-C" {
			c.block("appendblock", b, "k", "x").err(400, "InvalidRequest")
			c.block("appendblock", b, "k", "x", customer("", keyB)).err(400, "InvalidRequest")
		}
	})
}
